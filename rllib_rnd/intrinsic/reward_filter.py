"""The scale of an intrinsic reward: the standard deviation of its discounted sum over the past."""

from __future__ import annotations

from typing import ClassVar

import torch

from rllib_rnd.functional.discounted_filter import discounted_filter
from rllib_rnd.modules.environment_rows import EnvironmentRows
from rllib_rnd.modules.running_moments import RunningMoments


class RewardFilter(EnvironmentRows):
    """Divides rewards by the running standard deviation of ``R_t = gamma R_{t-1} + r_t``.

    Burda et al. 2018 (arXiv:1810.12894), section 2.4: the mean is not subtracted, R is never reset (neither
    at an episode's end nor between rollouts), and the variance is taken over all steps of all environments.
    With several learners each keeps R of its own environments; the variance is common to all.

    With a momentum below 1 earlier rollouts count less, by that factor for each rollout since (the code
    of DEIR, Wan et al. 2023, arXiv:2304.10770, does so with the statistics of the rewards themselves, with 0.9): the
    first, whose rewards are tens of times as large as those that follow, then does not rule the scale for hundreds.

    Attributes:
        carry: ``[N]`` float64, R after the last step.
        moments: mean, variance and count of R.

    Args:
        gamma: discount of the sum, usually that of the intrinsic value stream.
        momentum: weight that the past keeps at each rollout, above 0 to 1; RND: 1.
    """

    carry: torch.Tensor
    belongs_to_episode: ClassVar[bool] = False

    def __init__(self, gamma: float, momentum: float = 1.0) -> None:
        super().__init__()
        self.gamma, self.momentum = gamma, momentum
        self.register_rows("carry", torch.zeros((), dtype=torch.float64))
        self.moments = RunningMoments()

    @property
    def std(self) -> torch.Tensor:
        """``[]`` float64, what rewards are divided by; 1 before the first reward."""
        return self.moments.std

    @torch.no_grad()
    def update(self, r_t: torch.Tensor, valid_t: torch.Tensor) -> None:
        """Moves R and its moments forward over one rollout.

        Args:
            r_t: ``[T, N]`` raw rewards.
            valid_t: ``[T, N]`` bool; reset steps are skipped.
        """
        self.fit_rows(r_t.shape[1], r_t.device)
        filtered_t, carry = discounted_filter(r_t, self.carry, self.gamma, valid_t)
        self.carry = carry
        self.moments.count *= self.momentum
        self.moments.update(filtered_t.flatten(), valid_t.flatten())

    @torch.no_grad()
    def forward(self, r_t: torch.Tensor) -> torch.Tensor:
        """Returns ``r_t / (std + 1e-8)`` in the dtype of ``r_t``."""
        return r_t / (self.std + 1e-8).to(r_t.dtype)
