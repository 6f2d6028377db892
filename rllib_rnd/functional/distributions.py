"""Distributions over actions, as functions of a policy's outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from rllib_rnd.functional.shapes import check_shape

# Log-probability of an action that does not exist: so small that it is never drawn, but a number, unlike that of 0.
_NEVER = -1e9


class ActionDistribution(Protocol):
    """What the algorithm needs of a distribution; ``inputs`` are ``[B, num_inputs]`` outputs of a policy."""

    num_inputs: int

    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draws actions; returns them (``[B]`` or ``[B, A]``) and their log-probabilities ``[B]``."""

    def mode(self, inputs: Tensor) -> Tensor:
        """The most likely actions."""

    def logp_and_entropy(self, inputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of given actions, and entropies; each ``[B]``."""


class Categorical:
    """One of ``num_actions`` actions; the inputs are logits."""

    def __init__(self, num_actions: int) -> None:
        self.num_inputs = num_actions

    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draws ``[B]`` int64 actions."""
        log_probs = torch.log_softmax(inputs, dim=1)
        action = torch.multinomial(log_probs.exp(), 1, generator=generator)
        return action[:, 0], log_probs.gather(1, action)[:, 0]

    def mode(self, inputs: Tensor) -> Tensor:
        """The largest logit, ``[B]`` int64."""
        return inputs.argmax(dim=1)

    def logp_and_entropy(self, inputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Of ``action [B]``.

        Raises:
            ValueError: shapes that do not fit.
        """
        check_shape("action", action, (len(inputs),))
        log_probs = torch.log_softmax(inputs, dim=1)
        logp = log_probs.gather(1, action[:, None].long())[:, 0]
        return logp, -(log_probs.exp() * log_probs).sum(dim=1)


class MultiCategorical:
    """Several independent choices, of ``sizes[i]`` actions each; the inputs are their logits side by side."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes, self.num_inputs = list(sizes), sum(sizes)
        sizes_t, places = torch.tensor(self.sizes), torch.arange(max(self.sizes))
        # [A, n]: what a smaller choice lacks, and which of the inputs each place is.
        self._missing = places >= sizes_t[:, None]
        self._index = ((sizes_t.cumsum(0) - sizes_t)[:, None] + places).masked_fill(self._missing, 0)

    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draws ``[B, A]`` int64 actions."""
        log_probs = self._log_probs(inputs)
        action = torch.multinomial(log_probs.exp().flatten(0, 1), 1, generator=generator).view(log_probs.shape[:2])
        return action, _of_chosen(log_probs, action)

    def mode(self, inputs: Tensor) -> Tensor:
        """The largest logit of each choice, ``[B, A]`` int64."""
        return self._log_probs(inputs).argmax(dim=2)

    def logp_and_entropy(self, inputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Of ``action [B, A]``, summed over the choices.

        Raises:
            ValueError: shapes that do not fit.
        """
        check_shape("action", action, (len(inputs), len(self.sizes)))
        log_probs = self._log_probs(inputs)
        return _of_chosen(log_probs, action), -(log_probs.exp() * log_probs).sum(dim=(1, 2))

    def _log_probs(self, inputs: Tensor) -> Tensor:
        """``[B, A, n]``, n the largest size; what a smaller choice lacks has no probability."""
        if self._index.device != inputs.device:
            self._missing, self._index = self._missing.to(inputs.device), self._index.to(inputs.device)
        logits = inputs[:, self._index].masked_fill(self._missing, -math.inf)
        return torch.log_softmax(logits, dim=2).masked_fill(self._missing, _NEVER)


def _of_chosen(log_probs: Tensor, action: Tensor) -> Tensor:
    """``[B, A, n]`` and ``[B, A]`` -> ``[B]``, the sum of those chosen."""
    return log_probs.gather(2, action[:, :, None].long())[:, :, 0].sum(dim=1)


class DiagonalGaussian:
    """Independent normal distributions of ``num_dims`` numbers; the inputs are means, then log standard deviations."""

    def __init__(self, num_dims: int) -> None:
        self.num_inputs = 2 * num_dims

    def sample(self, inputs: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draws ``[B, A]`` actions, unbounded."""
        mean, log_std = inputs.chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        action = mean + log_std.exp() * noise
        return action, self.logp_and_entropy(inputs, action)[0]

    def mode(self, inputs: Tensor) -> Tensor:
        """The means."""
        return inputs.chunk(2, dim=1)[0]

    def logp_and_entropy(self, inputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Of ``action [B, A]``: ``-sum((a - mean)^2 / (2 std^2) + log std + log(2 pi) / 2)``; the entropy is
        ``sum(log std + log(2 pi e) / 2)``.

        Raises:
            ValueError: shapes that do not fit.
        """
        mean, log_std = inputs.chunk(2, dim=1)
        check_shape("action", action, tuple(mean.shape))
        constant = 0.5 * math.log(2.0 * math.pi)
        logp = -(0.5 * ((action - mean) / log_std.exp()).square() + log_std + constant).sum(dim=1)
        return logp, (log_std + constant + 0.5).sum(dim=1)
