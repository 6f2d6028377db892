"""RIDE: the change that an action makes in learned features, shared among the visits of a state in an episode."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.intrinsic.episodic_counts import EpisodicCounts
from rllib_rnd.intrinsic.networks import ICM_CONVS, ForwardDynamics, InverseDynamics
from rllib_rnd.intrinsic.transitions import TransitionOptions, TransitionReward
from rllib_rnd.modules.repeats import newest_keys
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, Spaces, count_samples
from rllib_rnd.rollout import Rollout


@dataclass(frozen=True)
class RIDEOptions(TransitionOptions):
    """Options of ``ride``."""

    episodic: bool = option(True, "stop returns at episode ends; RIDE: True, all rewards are one stream")
    normalize_reward: bool = option(
        False, "divide by the running std of the discounted past sum of rewards; RIDE: False"
    )
    feature_dim: int = option(128, "D, size of the features; published code: 128", low=1)
    reward_scale: float = option(0.5, "weight of the reward itself; RIDE: 0.5, on some tasks 0.1", low=0.0)
    forward_coeff: float = option(10.0, "weight of the forward loss; RIDE: 10", low=0.0)
    inverse_coeff: float = option(0.1, "weight of the inverse loss; RIDE: 0.1", low=0.0)
    episodic_counts: bool = option(True, "divide by the root of the visits in this episode; false: an ablation of RIDE")
    capacity: int = option(
        1024, "different states remembered per environment and episode; then the first seen is forgotten", low=1
    )


@INTRINSIC_REWARDS.register
class RIDE(TransitionReward[RIDEOptions]):
    """Rewarding impact-driven exploration: the change of features that a step makes, less at each visit.

    Raileanu and Rocktaeschel 2020 (arXiv:2002.12292). ``r_t = scale ||phi_{t+1} - phi_t||_2 / sqrt(N_ep(s_{t+1}))``:
    the features are trained by an inverse and a forward model as those of ICM, so that a large change is one that the
    agent made; ``N_ep`` counts the visits of ``s_{t+1}`` in the episode, this one included, so that going to and fro
    does not pay. The reward does not fade over training, and needs no state to be seen twice between episodes.

    States are told apart by the bytes of the newest frame. Convolutions and their ELU are those of `ICM`.

    Attributes:
        counts: visits per environment in its current episode; they outlive rollouts.

    Raises:
        ConfigError: an action space that there is no policy for.
    """

    name = "ride"
    Options = RIDEOptions
    source = "Raileanu and Rocktaeschel 2020 (arXiv:2002.12292)"
    cost = "one encoding and one look-up per step; training encodes two observations per sample"
    convs = ICM_CONVS
    activation = nn.ELU

    def __init__(self, spaces: Spaces, options: RIDEOptions) -> None:
        super().__init__(spaces, options)
        self.inverse = InverseDynamics(options.feature_dim, spaces.action_features, [options.model_size])
        self.forward_model = ForwardDynamics(options.feature_dim, spaces.action_features, options.model_size)
        self.counts = EpisodicCounts(options.capacity)

    @torch.no_grad()
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """``[T, N]``, 0 on reset steps. No features: the encoder changes with every step of the optimizer."""
        phi = self.encode(rollout).unflatten(0, (-1, rollout.num_envs))
        r_t = self.options.reward_scale * (phi[1:] - phi[:-1]).norm(dim=2)
        if self.options.episodic_counts:
            r_t = r_t / self._visits(rollout).clamp(min=1).sqrt()
        return rollout.per_step(r_t), {}

    def _visits(self, rollout: Rollout) -> Tensor:
        """``[T, N]`` visits of ``obs_{t+1}`` in its episode."""
        keys = newest_keys(rollout).view(-1, rollout.num_envs)
        return self.counts.count_rollout(keys, rollout.is_first, rollout.broken)

    def terms(
        self, rollout: Rollout, features: dict[str, Tensor], index: Tensor, generator: torch.Generator
    ) -> LossTerms:
        """``ride_inverse_loss`` and ``ride_forward_loss`` with their weights.

        Both train the encoder. Forward: the squared error, summed over features.
        """
        phi_t, phi_tp1, action_t = self.transitions(rollout, index)
        inverse = self.inverse.loss(phi_t, phi_tp1, action_t).sum()
        forward = (self.forward_model(phi_t, action_t) - phi_tp1).square().sum()
        count = count_samples(index)
        return {
            "ride_inverse_loss": (self.options.inverse_coeff * inverse, count),
            "ride_forward_loss": (self.options.forward_coeff * forward, count),
        }
