"""Running mean and variance as buffers: saved, restored and moved with the module that holds them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from rllib_rnd.functional.moments import Moments, batch_moments, combine_moments
from rllib_rnd.modules.distributed import all_reduce_sum, world_size

# float64 elements converted at a time while a batch is read (64 MiB), so a rollout of frames is never a
# float copy.
_CHUNK_ELEMENTS = 2**23


class RunningMoments(nn.Module):
    """Mean and population variance of everything seen so far, over all learners.

    Batches are merged with the formula of Chan et al. (``functional.combine_moments``), so the result does
    not depend on how the data were cut into batches. Before the first sample the mean is 0 and the variance
    1, which makes ``normalize`` the identity; these placeholders carry no weight afterwards.

    Attributes:
        mean: ``[*shape]`` float64.
        var: ``[*shape]`` float64.
        count: ``[]`` float64, samples seen by all learners together.
    """

    mean: torch.Tensor
    var: torch.Tensor
    count: torch.Tensor

    def __init__(self, shape: Sequence[int] = ()) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tuple(shape), dtype=torch.float64))
        self.register_buffer("var", torch.ones(tuple(shape), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @property
    def std(self) -> torch.Tensor:
        """``[*shape]`` float64 standard deviation."""
        return self.var.sqrt()

    @torch.no_grad()
    def update(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> None:
        """Adds a batch. With several learners every one must call this; their batches are added together.

        A batch with a number that is not finite, on any of them, is left out: no mean would ever recover from it.

        Args:
            x: ``[B, *shape]`` of any dtype.
            mask: ``[B]`` bool, samples to count; None counts all.

        Raises:
            ValueError: ``x`` or ``mask`` has the wrong shape.
        """
        if tuple(x.shape[1:]) != tuple(self.mean.shape):
            raise ValueError(f"x: expected shape [B, *{list(self.mean.shape)}], got {list(x.shape)}.")
        if mask is not None and tuple(mask.shape) != tuple(x.shape[:1]):
            raise ValueError(f"mask: expected shape {list(x.shape[:1])}, got {list(mask.shape)}.")
        batch = merge_over_learners(self._chunked_moments(x, mask))
        if batch[2] > 0:
            merged = combine_moments((self.mean, self.var, self.count), batch)
            if not all(bool(torch.isfinite(value).all()) for value in merged):
                return
            for buffer, value in zip((self.mean, self.var, self.count), merged, strict=True):
                buffer.copy_(value)

    def normalize(self, x: torch.Tensor, clip: float | None = None) -> torch.Tensor:
        """Returns ``(x - mean) / std`` in float32, limited to ``[-clip, clip]``.

        An element that was always constant has no scale: where it deviates the result is very large and
        ends at the clip, which is what a novelty detector wants to see.

        Args:
            x: ``[..., *shape]``.
            clip: limit, or None.
        """
        mean, scale = self.mean.float(), 1.0 / (self.std + 1e-8)
        normalized = (x.float() - mean) * scale.float()
        return normalized if clip is None else normalized.clamp_(-clip, clip)

    def _chunked_moments(self, x: torch.Tensor, mask: torch.Tensor | None) -> Moments:
        rows = max(1, _CHUNK_ELEMENTS // max(1, self.mean.numel()))
        moments: Moments = (
            torch.zeros_like(self.mean),
            torch.zeros_like(self.var),
            torch.zeros_like(self.count),
        )
        for start in range(0, x.shape[0], rows):
            part = slice(start, start + rows)
            chunk = batch_moments(x[part], None if mask is None else mask[part])
            moments = combine_moments(moments, chunk)
        return moments


def merge_over_learners(moments: Moments) -> Moments:
    """Joins the moments of every learner's share of a batch; unchanged where there is only one learner.

    Two sums: first the common mean, then the squared deviations from it.
    """
    if world_size() == 1:
        return moments
    mean, var, count = moments
    first = all_reduce_sum(torch.cat([(mean * count).flatten(), count.reshape(1)]))
    total = first[-1]
    common = (first[:-1] / total.clamp(min=1.0)).reshape(mean.shape)
    squares = all_reduce_sum((var + (mean - common).square()) * count)
    return common, squares / total.clamp(min=1.0), total
