"""Counting visits: keys of observations, and how often each environment has seen a key in its current episode."""

from __future__ import annotations

import math

import gymnasium as gym
import torch
from torch import Tensor, nn

from rllib_rnd.modules.environment_rows import EnvironmentRows
from rllib_rnd.modules.observations import box_space
from rllib_rnd.modules.running_moments import RunningMoments

# Numbers converted at a time while a rollout is projected (32 MiB): bounds memory.
_CHUNK_ELEMENTS = 2**22

# Limit of normalised observations before they are projected, as of RND's inputs.
_CLIP = 5.0


class SimHash(nn.Module):
    """Keys that similar observations share: the signs of random projections, one bit each.

    Charikar 2002, "Similarity estimation techniques from rounding algorithms"; Tang et al. 2017, "#Exploration"
    (arXiv:1611.04717), eq. 2: ``phi(s) = sgn(A g(s))``, A of k x D numbers drawn from N(0, 1) once. Two
    observations at an angle a share a given bit with probability 1 - a / pi.

    g normalises every element by the moments of the first batch that `fit` sees, and limits it to -5..5. They stay
    as they are from then on, since a key must not change its meaning; before, g is the identity.

    Attributes:
        projection: A, ``[bits, D]``, a buffer.
        moments: of the normalisation.

    Args:
        space: of one observation (or frame of it) as it is hashed.
        bits: k, at most 63.
    """

    projection: Tensor
    bit_values: Tensor

    def __init__(self, space: gym.Space, bits: int) -> None:
        super().__init__()
        shape = box_space(space).shape
        self.moments = RunningMoments(shape)
        self.register_buffer("projection", torch.randn(bits, math.prod(shape)))
        self.register_buffer("bit_values", 2 ** torch.arange(bits), persistent=False)

    def fit(self, frames: Tensor, valid: Tensor) -> None:
        """Sets the normalisation by ``frames [B, ...]`` where ``valid [B]``, the first time; all learners call it."""
        if self.moments.count == 0:
            self.moments.update(frames, valid)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """``[B, *space.shape]`` raw -> ``[B]`` int64, 0 to ``2^bits - 1``."""
        keys = torch.empty(len(frames), dtype=torch.int64, device=frames.device)
        rows = max(1, _CHUNK_ELEMENTS // self.projection.shape[1])
        for start in range(0, len(frames), rows):
            x = self.moments.normalize(frames[start : start + rows], _CLIP).flatten(1)
            keys[start : start + rows] = ((x @ self.projection.T > 0) * self.bit_values).sum(dim=1)
        return keys


class EpisodicCounts(EnvironmentRows):
    """How often each environment has seen a key in its current episode.

    A row lists the episode's different keys. It outlives rollouts and starts anew with `renew_rows`. It holds
    ``capacity`` of them: a further one takes the place of the key that came first, which then counts as never
    seen. To be called new again, a state must wait until ``capacity`` other ones have been seen for the first time.

    Call `fit_rows` before `count`; `count_rollout` does all of it.

    Attributes:
        keys: ``[N, capacity]`` int64.
        counts: ``[N, capacity]`` int64, visits of the key in that place; 0 is an empty place.
        written: ``[N]`` int64, keys written so far, whose remainder by the capacity is the next place.

    Args:
        capacity: different keys per environment and episode.
    """

    keys: Tensor
    counts: Tensor
    written: Tensor

    def __init__(self, capacity: int = 1024) -> None:
        super().__init__()
        self.capacity = capacity
        self.register_rows("keys", torch.zeros(capacity, dtype=torch.int64))
        self.register_rows("counts", torch.zeros(capacity, dtype=torch.int64))
        self.register_rows("written", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def count(self, keys: Tensor, active: Tensor) -> Tensor:
        """Counts one visit per environment.

        Args:
            keys: ``[N]`` int64.
            active: ``[N]`` bool, False leaves an environment alone.

        Returns:
            ``[N]`` int64, visits of the key in this episode, this one included; 0 where not active.
        """
        used = max(1, min(self.capacity, int(self.written.max())))
        match = (self.keys[:, :used] == keys[:, None]) & (self.counts[:, :used] > 0)
        seen, place = match.to(torch.uint8).max(dim=1)
        is_new = seen == 0
        place = torch.where(is_new, self.written % self.capacity, place)[:, None]
        old = self.counts.gather(1, place)[:, 0]
        count = torch.where(is_new, 0, old) + 1
        self.keys.scatter_(1, place, torch.where(active, keys, self.keys.gather(1, place)[:, 0])[:, None])
        self.counts.scatter_(1, place, torch.where(active, count, old)[:, None])
        self.written += active & is_new
        return torch.where(active, count, 0)

    @torch.no_grad()
    def count_rollout(self, keys: Tensor, is_first: Tensor, broken: Tensor | None = None) -> Tensor:
        """Counts the visits of a rollout, which follows on the previous call's.

        An episode's first observation counts as a visit: coming back to it is no news.

        Args:
            keys: ``[T + 1, N]`` int64 of ``obs_0 .. obs_T``.
            is_first: ``[T + 1, N]`` bool, as in `Rollout`.
            broken: ``[T + 1, N]`` bool, as there: no visits; None: there are none such.

        Returns:
            ``[T, N]`` int64, visits of ``obs_{t+1}`` in its episode, this one included; 0 where it is none.
        """
        seen = torch.ones_like(is_first) if broken is None else ~broken
        self.fit_rows(keys.shape[1], keys.device)
        starts = is_first.any(dim=1).tolist()
        visits = torch.zeros_like(keys[1:])
        for t in range(len(visits)):
            if starts[t]:
                self.renew_rows(is_first[t])
                self.count(keys[t], is_first[t] & seen[t])
            visits[t] = self.count(keys[t + 1], ~is_first[t + 1] & seen[t + 1])
        return visits
