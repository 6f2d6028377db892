"""What the tests of self-supervised network distillation share."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.intrinsic.snd.networks import derived_generator
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout
from tests.intrinsic.rollouts import vector_space

T, N = 6, 3
NAMES = ("snd_v", "snd_std", "snd_vic", "snd_infonce", "snd_barlow")
AUGMENTED = ("snd_v", "snd_infonce", "snd_barlow")
DISCRETE: gym.spaces.Discrete = gym.spaces.Discrete(4)
SMALL = {"feature_dim": 16, "hidden_sizes": [32, 32], "update_proportion": 1.0}


def make(name: str, space: gym.spaces.Box | None = None, frame_stack: int = 1, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    cls, parsed = INTRINSIC_REWARDS.parse({"type": name, **SMALL, **options}, "intrinsic_reward")
    return cls(Spaces(vector_space(5) if space is None else space, DISCRETE, frame_stack), parsed)


def terms(
    reward: Any, data: Rollout, seed: int = 0, features: Any = None, index: Tensor | None = None
) -> dict[str, Any]:
    """The named (sum, count) of all or some samples, reset steps left out as the learner does."""
    index = torch.arange(data.num_steps * data.num_envs) if index is None else index
    index = index[data.valid.flatten()[index]]
    features = reward.compute(data)[1] if features is None else features
    return reward.terms(data, features, index, torch.Generator().manual_seed(seed))


def mean(term: tuple[Tensor, Tensor]) -> Tensor:
    return term[0] / term[1].clamp(min=1.0)


def train(reward: Any, data: Rollout, steps: int, lr: float = 1e-3) -> list[dict[str, float]]:
    optimizer, history = torch.optim.Adam(reward.parameters(), lr=lr), []
    features = reward.compute(data)[1]
    for step in range(steps):
        named = {name: mean(term) for name, term in terms(reward, data, step, features).items()}
        optimizer.zero_grad()
        torch.stack(list(named.values())).sum().backward()
        optimizer.step()
        history.append({name: value.item() for name, value in named.items()})
    return history


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def samples_of(reward: Any, data: Rollout, seed: int = 0) -> tuple[Tensor, torch.Generator]:
    """The flat indices that one call of `terms` trains on, and its generator after their draw."""
    generator = derived_generator(torch.Generator().manual_seed(seed))
    usable = data.valid.flatten().nonzero().squeeze(1)
    order = torch.randperm(len(usable), generator=generator)
    return usable[order[: int(np.ceil(reward.options.update_proportion * len(usable)))]], generator
