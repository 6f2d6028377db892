"""The scale of an intrinsic reward: the standard deviation of its discounted sum over the past."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from rllib_rnd.functional.discounted_filter import discounted_filter
from rllib_rnd.modules.running_moments import RunningMoments

logger = logging.getLogger(__name__)


class RewardFilter(nn.Module):
    """Divides rewards by the running standard deviation of ``R_t = gamma R_{t-1} + r_t``.

    Burda et al. 2018 (arXiv:1810.12894), section 2.4: the mean is not subtracted, R is never reset (neither
    at an episode's end nor between rollouts), and the variance is taken over all steps of all environments.
    With several learners each keeps R of its own environments; the variance is common to all.

    Attributes:
        carry: ``[N]`` float64, R after the last step; ``[0]`` until the first rollout shows N. If N changes
            later (environments were added or lost), nobody can tell which environment is which, and R
            restarts at 0.
        moments: mean, variance and count of R.

    Args:
        gamma: discount of the sum, usually that of the intrinsic value stream.
    """

    carry: torch.Tensor

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("carry", torch.zeros(0, dtype=torch.float64))
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
        num_envs = r_t.shape[1]
        if self.carry.shape[0] != num_envs:
            if self.carry.shape[0] > 0:
                message = "%d environments instead of %d: the intrinsic reward's discounted sums restart at 0."
                logger.warning(message, num_envs, self.carry.shape[0])
            self.carry = torch.zeros(num_envs, dtype=torch.float64, device=r_t.device)
        filtered_t, carry = discounted_filter(r_t, self.carry, self.gamma, valid_t)
        self.carry = carry
        self.moments.update(filtered_t.flatten(), valid_t.flatten())

    @torch.no_grad()
    def forward(self, r_t: torch.Tensor) -> torch.Tensor:
        """Returns ``r_t / (std + 1e-8)`` in the dtype of ``r_t``."""
        return r_t / (self.std + 1e-8).to(r_t.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # The saved carry has as many environments as the run that saved it; take its size before copying.
        saved = state_dict.get(f"{prefix}carry")
        if saved is not None and tuple(saved.shape) != tuple(self.carry.shape):
            self.carry = torch.zeros(tuple(saved.shape), dtype=torch.float64, device=self.carry.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
