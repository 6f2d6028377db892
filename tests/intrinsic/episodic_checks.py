"""What the tests of counts and episodic memories share: making rewards, rollouts of many short episodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout
from tests.intrinsic.rollouts import random_rollout, vector_space
from tests.intrinsic.transition_checks import cut

SMALL: dict[str, dict[str, Any]] = {
    "count": {"table_bits": 16},
    "noveld": {"feature_dim": 16, "hidden_sizes": [16]},
    "ngu": {
        "feature_dim": 4,
        "hidden_sizes": [16],
        "model_size": 16,
        "capacity": 32,
        "num_neighbors": 3,
        "rnd_feature_dim": 16,
        "rnd_hidden_sizes": [16],
    },
    "e3b": {"feature_dim": 4, "hidden_sizes": [16], "model_size": 16},
    "re3": {"feature_dim": 8, "hidden_sizes": [16], "capacity": 64},
}


def make(
    name: str,
    space: gym.spaces.Box | None = None,
    action_space: gym.Space[Any] | None = None,
    frame_stack: int = 1,
    seed: int = 0,
    **options: Any,
) -> Any:
    """A small reward of one type; observations are vectors of five floats and actions one of four by default."""
    torch.manual_seed(seed)
    spec = {"type": name, **SMALL[name], **options}
    cls, parsed = INTRINSIC_REWARDS.parse(spec, "intrinsic_reward")
    actions = gym.spaces.Discrete(4) if action_space is None else action_space
    reward: Any = cls(Spaces(vector_space(5) if space is None else space, actions, frame_stack), parsed)
    return reward


def short_episodes(steps: int = 40, envs: int = 4, states: int = 5, seed: int = 0) -> tuple[Rollout, Tensor]:
    """Random one-hot observations in episodes of about five steps, the first beginning with the rollout.

    Returns:
        The rollout, and which state each observation is, ``[T + 1, N]``.
    """
    generator = torch.Generator().manual_seed(seed)
    state = torch.randint(states, (steps + 1, envs), generator=generator)
    is_first = torch.rand((steps + 1, envs), generator=generator) < 0.2
    is_first[0] = True
    frames = torch.nn.functional.one_hot(state, states).float()
    return replace(random_rollout((states,), steps, envs, frames=frames.numpy()), is_first=is_first), state


def visits_by_hand(state: Tensor, is_first: Tensor) -> Tensor:
    """``[T, N]`` visits of ``obs_{t+1}`` in its episode, with one dictionary per environment."""
    visits = torch.zeros_like(state[1:])
    seen: list[Counter[int]] = [Counter() for _ in range(state.shape[1])]
    for t in range(len(visits)):
        for n in range(state.shape[1]):
            if is_first[t, n]:
                seen[n] = Counter([int(state[t, n])])
            if not is_first[t + 1, n]:
                seen[n][int(state[t + 1, n])] += 1
                visits[t, n] = seen[n][int(state[t + 1, n])]
    return visits


def in_pieces(reward: Any, rollout: Rollout, *stops: int) -> Tensor:
    """Rewards of a rollout that arrives in pieces which end before the given steps."""
    bounds = [0, *stops, rollout.num_steps]
    pieces = [cut(rollout, start, stop) for start, stop in pairwise(bounds)]
    return torch.cat([reward.compute(piece)[0] for piece in pieces])


def same_buffers(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))
