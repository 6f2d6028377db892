"""Intrinsic rewards of single transitions, measured on copies: nothing that a reward remembers changes."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.pixels import frame_stack, newest_first
from rllib_rnd.analysis.states import States
from rllib_rnd.intrinsic.base import IntrinsicReward
from rllib_rnd.modules.environment_rows import EnvironmentRows
from rllib_rnd.plugin_contract import checked_reward
from rllib_rnd.rollout import Rollout

# Transitions that are computed together, where they do not influence each other.
_CHUNK = 256


@dataclass
class OneStep(Rollout):
    """A rollout of one step whose two observations keep the stacks that they were given with.

    In a rollout the stack of ``obs_tp1`` is that of ``obs_t`` moved on by one frame, which an observation with blanked
    pixels is not.

    Attributes:
        stacks: ``[2 * N, *obs_shape]``, ``obs_0`` and then ``obs_1`` of every environment.
    """

    stacks: Tensor | None = None

    def obs(self, index: Tensor) -> Tensor:
        """``[B]`` flat indices ``t * N + n`` -> ``[B, *obs_shape]``."""
        assert self.stacks is not None
        return self.stacks[index]


def one_step(obs_tm1: np.ndarray, action_tm1: np.ndarray, obs: np.ndarray, stack: int, newest_first: bool) -> OneStep:
    """Transitions of N environments ``[N, ...]``, each with an episode of its own that begins with ``obs_tm1``.

    Args:
        obs_tm1, action_tm1, obs: observation, action, observation.
        stack: K.
        newest_first: how observations order their frames.
    """
    before, after = (torch.from_numpy(np.ascontiguousarray(x)) for x in (obs_tm1, obs))
    if stack == 1:
        frames = torch.stack([before, after])
    else:
        old, new = (x.flip(1) if newest_first else x for x in (before, after))
        frames = torch.cat([old.transpose(0, 1), new[None, :, -1]])
    num = len(obs)
    none, never = torch.zeros(1, num), torch.zeros(1, num, dtype=torch.bool)
    return OneStep(
        frames=frames,
        is_first=torch.cat([~never, never]),
        action=torch.from_numpy(np.ascontiguousarray(action_tm1))[None],
        logp=none,
        value=torch.zeros(2, num, 1),
        reward=none.clone(),
        terminated=never,
        truncated=never.clone(),
        frame_stack=stack,
        newest_first=newest_first,
        stacks=torch.cat([before, after]),
    )


@torch.no_grad()
def measured_rewards(
    agent: Agent, reward: IntrinsicReward, states: States, obs: np.ndarray, together: bool
) -> np.ndarray:
    """Raw rewards ``[B]`` of arriving at ``obs [B, *obs_shape]`` (raw), or with ``reward_on: current`` of being there.

    What is remembered of all of training stays as it is; an episode's memory holds the observation before and nothing
    else.

    Args:
        agent: whose reward it is.
        reward: of its module.
        states: what was before.
        obs: the observations.
        together: many at once, of a reward that says that it is a function of its observation alone; else states are
            computed one by one, so that they do not see each other.

    Raises:
        ConfigError: the reward is a user's and breaks the contract.
    """
    obs_tm1 = obs if reward.options.reward_on == "current" else states.obs_tm1
    size = _CHUNK if together else 1
    lone, stack, order = _Copy(agent, reward), frame_stack(agent), newest_first(agent)
    parts = []
    for start in range(0, len(obs), size):
        rows = slice(start, start + size)
        rollout = one_step(obs_tm1[rows], states.action_tm1[rows], obs[rows], stack, order)
        parts.append(lone.compute(rollout)[0])
    return torch.cat(parts).double().numpy()


class _Copy:
    """A reward's copy that forgets what it computed: same parameters, its own statistics, no rows."""

    def __init__(self, agent: Agent, reward: IntrinsicReward) -> None:
        # What is not to be copied: weights, the policy's backbone, and the episodes of the environments of training.
        memo: dict[int, object] = {id(x): x for x in (*reward.parameters(), agent.module.backbone)}
        for part, name in _rows(reward):
            rows = part.get_buffer(name)
            memo[id(rows)] = rows[:0].clone()
        self._reward: IntrinsicReward = copy.deepcopy(reward, memo)
        passing = {id(part.get_buffer(name)) for part, name in _rows(self._reward)}
        self._fixed = [x for x in self._reward.buffers() if id(x) not in passing]
        self._known = [x.clone() for x in self._fixed]

    def compute(self, rollout: Rollout) -> Tensor:
        """Rewards ``[T, N]``."""
        versions = [x._version for x in self._fixed]
        r_t, _ = checked_reward(self._reward, self._reward.compute, rollout)
        for buffer, version, known in zip(self._fixed, versions, self._known, strict=True):
            if buffer._version != version:
                buffer.copy_(known)
        for part, name in _rows(self._reward):
            setattr(part, name, part.get_buffer(name)[:0])
        return r_t


def _rows(reward: IntrinsicReward) -> list[tuple[EnvironmentRows, str]]:
    parts = [part for part in reward.modules() if isinstance(part, EnvironmentRows)]
    return [(part, name) for part in parts for name in part.row_names()]
