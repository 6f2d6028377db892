"""Every registered reward at a size that takes a moment, for properties that all of them have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.modules import build_backbone
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout
from tests.intrinsic import episodic_checks, transition_checks
from tests.intrinsic.rollouts import image_space, random_rollout, vector_space

_SND = {"feature_dim": 8, "hidden_sizes": [16], "update_proportion": 1.0}
#: Options, with all samples in every loss.
SMALL: dict[str, dict[str, Any]] = {
    **transition_checks.SMALL,
    **episodic_checks.SMALL,
    "rnd": {"feature_dim": 16, "hidden_sizes": [16], "update_proportion": 1.0},
    "modified_rnd": {"feature_dim": 16, "update_proportion": 1.0},
    "feature_entropy": {"feature_dim": 8, "hidden_sizes": [16], "buffer_size": 4},
    **{name: _SND for name in ("snd_std", "snd_vic")},
    **{name: {**_SND, "keep_proportion": 1.0} for name in ("snd_v", "snd_infonce", "snd_barlow")},
}
SMALL["disagreement"] = {**SMALL["disagreement"], "update_proportion": 1.0}
NAMES = INTRINSIC_REWARDS.names()
PICTURES_ONLY = ("modified_rnd",)


def _pays_for(name: str, reward_on: str) -> bool:
    try:
        INTRINSIC_REWARDS.parse({"type": name, "reward_on": reward_on}, "intrinsic_reward")
    except ConfigError:
        return False
    return True


#: Each reward with each observation that it can be paid for.
CASES = [(name, reward_on) for name in NAMES for reward_on in ("next", "current") if _pays_for(name, reward_on)]


def frame_shape(name: str) -> tuple[int, ...]:
    """Of the observations of `make` and `rollout`: five numbers, or a small picture."""
    return (36, 36) if name in PICTURES_ONLY else (5,)


def make(name: str, seed: int = 0, **options: Any) -> Any:
    """A small reward, in training mode; actions are one of four."""
    torch.manual_seed(seed)
    space = image_space(36, 36) if name in PICTURES_ONLY else vector_space(5)
    cls, parsed = INTRINSIC_REWARDS.parse({"type": name, **SMALL[name], **options}, "intrinsic_reward")
    reward: Any = cls(Spaces(space, gym.spaces.Discrete(4)), parsed)
    kind = {"type": "nature_cnn" if name in PICTURES_ONLY else "mlp", "hidden_sizes": [8]}
    reward.use_backbone(build_backbone(kind, space))
    return reward.train()


def rollout(
    name: str, steps: int = 6, envs: int = 2, seed: int = 0, first: Any = None, states: int | None = None
) -> Rollout:
    """Random observations, all different or of as many states.

    ``first`` are the (t, n) of reset observations, by default all at the start.
    """
    data = random_rollout(frame_shape(name), max(5, steps), max(2, envs), seed=seed)
    if states is not None:
        drawn = torch.randint(states, data.frames.shape[:2], generator=torch.Generator().manual_seed(seed))
        data = replace(data, frames=random_rollout(frame_shape(name), max(5, states)).frames[:states, 0][drawn])
    data = transition_checks.cut(data.select_envs(0, envs), 0, steps)
    is_first = torch.zeros((steps + 1, envs), dtype=torch.bool)
    for t, n in [(0, n) for n in range(envs)] if first is None else first:
        is_first[t, n] = True
    ended = torch.zeros((steps, envs), dtype=torch.bool)
    ended[:-1] = is_first[2:]  # a reset observation comes two steps after an episode's last one
    return replace(data, is_first=is_first, terminated=ended, truncated=torch.zeros_like(ended))


def losses(reward: Any, data: Rollout, index: Tensor | None = None, features: Any = None, seed: int = 0) -> Any:
    """What `terms` returns, by default for all valid samples."""
    features = reward.compute(data)[1] if features is None else features
    index = data.valid.flatten().nonzero()[:, 0] if index is None else index
    return reward.terms(data, features, index, torch.Generator().manual_seed(seed))
