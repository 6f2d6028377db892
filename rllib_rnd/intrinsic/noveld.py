"""NovelD: rewards stepping from the known to the new, once per state and episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS, Traced
from rllib_rnd.intrinsic.distillation import prediction_errors
from rllib_rnd.intrinsic.episodic_counts import EpisodicCounts
from rllib_rnd.intrinsic.rnd import RND, RNDOptions
from rllib_rnd.modules.repeats import newest_keys
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, Spaces
from rllib_rnd.rollout import Rollout


@dataclass(frozen=True)
class NovelDOptions(RNDOptions):
    """Options of ``noveld``: those of RND, two of which have one value only, and its own."""

    reward_on: Literal["next"] = option("next", "fixed: step t is rewarded for going from obs_t to obs_{t+1}")
    error_reduction: Literal["mean"] = option("mean", "fixed: novelty is the norm of the error whatever its reduction")
    update_proportion: float = option(1.0, "share of samples the predictor trains on; NovelD: 1", low=0.0, high=1.0)
    episodic: bool = option(True, "stop returns at episode ends; NovelD: True, all rewards are one stream")
    alpha: float = option(0.5, "weight of the novelty that is left; NovelD: 0.5, BeBold: 1", low=0.0)
    capacity: int = option(
        4096, "different frames remembered per environment and episode; then the first seen is forgotten", low=1
    )


@INTRINSIC_REWARDS.register
class NovelD(RND):
    """``max(novelty(s_{t+1}) - alpha novelty(s_t), 0)`` where s_{t+1} is seen for the first time in its episode.

    Zhang et al. 2021, "NovelD: A Simple yet Effective Exploration Criterion" (NeurIPS 2021), section 3; earlier, with
    alpha = 1, "BeBold" (arXiv:2012.08621). ``novelty(s) = ||f(x) - g(x)||_2`` with target f and predictor g of
    RND, x the newest frame. "First time" compares the bytes of newest frames (`EpisodicCounts`); an episode's first
    observation counts as seen.

    Networks and options are those of `RND`; its statistics and its loss take in the reset observations as well.

    Attributes:
        episode_counts: visits in the current episodes.

    Raises:
        ConfigError: images are too small.
    """

    name = "noveld"
    Options = NovelDOptions
    source = "Zhang et al. 2021 (NeurIPS; BeBold: arXiv:2012.08621)"
    cost = "that of rnd, plus a hash per step"

    options: NovelDOptions

    def __init__(self, spaces: Spaces, options: NovelDOptions) -> None:
        super().__init__(spaces, options)
        self.episode_counts = EpisodicCounts(options.capacity)

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """``[T, N]`` (0 on reset steps) and the target's features ``[T * N, D]``: ``target`` of ``obs_{t+1}``,
        ``target_t`` of ``obs_t``."""
        novelty, target = self._novelty(rollout)
        keys = newest_keys(rollout).reshape(novelty.shape)
        visits = self.episode_counts.count_rollout(keys, rollout.is_first, rollout.broken)
        gain = (novelty[1:] - self.options.alpha * novelty[:-1]).clamp(min=0.0)
        num_envs = rollout.num_envs
        features = {"target": target[num_envs:], "target_t": target[:-num_envs]}
        return torch.where(visits == 1, gain, 0.0), features

    def terms(
        self, rollout: Rollout, features: dict[str, Tensor], index: Tensor, generator: torch.Generator
    ) -> LossTerms:
        """``rnd_predictor_loss`` as of RND, and of the reset observations that episodes begin with.

        Their novelty is subtracted from that of an episode's first step, and no step leads to them.
        """
        total, count = super().terms(rollout, features, index, generator)["rnd_predictor_loss"]
        first = index[rollout.is_first.flatten()[index]]
        first_total, first_count = self.distil(
            lambda kept: self.run_on(self.predictor, rollout, kept), features["target_t"], first, generator
        )
        return {"rnd_predictor_loss": (total + first_total, count + first_count)}

    def traced(self) -> Traced | None:
        """None: the reward is a difference between two observations, and 0 where the episode has seen the second."""
        return None

    @torch.no_grad()
    def update_statistics(self, rollout: Rollout) -> None:
        """Adds the newest frame of every observation once to the per-element moments, over all learners."""
        self.obs_moments.update(rollout.all_newest_frames(), rollout.new_obs.flatten())

    def _novelty(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Novelty of ``obs_0 .. obs_T``, ``[T + 1, N]``, and the target's features of them, ``[(T + 1) * N, D]``."""
        chunks = rollout.index_chunks(num_steps=rollout.num_steps + 1)
        target, novelty = prediction_errors(
            lambda index: self.run_on(self.target, rollout, index),
            lambda index: self.run_on(self.predictor, rollout, index),
            chunks,
            lambda d: d.norm(dim=1),
        )
        return novelty.reshape(-1, rollout.num_envs), target
