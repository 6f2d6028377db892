"""Distributions over actions, as functions of a policy's outputs."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from rllib_rnd.functional.shapes import check_shape


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
