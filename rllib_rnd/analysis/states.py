"""States: observations that are looked into, and what was known when they were seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.errors import ConfigError


@dataclass(frozen=True)
class States:
    """B observations that are looked into (numpy).

    Attributes:
        obs: ``[B, *obs_shape]`` raw, frame stack included.
        memory: ``[B, F]``, the policy's before it saw ``obs``; F is 0 without one.
        is_first: ``[B]`` bool, ``obs`` begins an episode: there is nothing before it.
        action: ``[B, ...]`` what the policy did then (its own action, not yet the environment's).
        obs_tm1: ``[B, *obs_shape]``, the observation before; ``obs`` itself where ``is_first``.
        action_tm1: ``[B, ...]``, the action that led here; zeros where ``is_first``.
        step: ``[B]`` int64, agent steps of the episode before ``obs``.
        episode: ``[B]`` int64, which episode.
        room: ``[B]`` int64; -1: unknown.
    """

    obs: np.ndarray
    memory: np.ndarray
    is_first: np.ndarray
    action: np.ndarray
    obs_tm1: np.ndarray
    action_tm1: np.ndarray
    step: np.ndarray
    episode: np.ndarray
    room: np.ndarray

    def __post_init__(self) -> None:
        """Refuses columns of different lengths.

        Raises:
            ValueError: there are some.
        """
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"States: columns of different lengths: {lengths}.")

    def __len__(self) -> int:
        """B."""
        return len(self.obs)

    def select(self, index: npt.ArrayLike) -> States:
        """Some of the states: ``index`` is whole numbers in any order, or ``[B]`` bool."""
        rows = np.asarray(index)
        rows = rows if rows.dtype == np.bool_ else rows.astype(np.int64)
        return States(**{name: getattr(self, name)[rows] for name in COLUMNS})

    @classmethod
    def of_tape(cls, tape: Tape, episode: int = 0, index: npt.ArrayLike | None = None) -> States:
        """The T observations of a tape that the policy acted on: state t is the tape's observation t.

        The last observation, after which nothing was done, is left out.

        Args:
            tape: of one episode.
            episode: its number.
            index: ``[B]`` whole numbers, which of them, in any order, so that no others are gathered (a stack of four
                frames is four times as large as the tape); None: all.
        """
        rollout = tape.rollout().to_torch()
        rows = np.arange(len(tape.action)) if index is None else np.asarray(index, dtype=np.int64)
        is_first = np.array(tape.is_first[:-1], dtype=bool)
        is_first[:1] = True  # nothing is known of what was before
        is_first = is_first[rows]
        before = np.where(is_first, rows, rows - 1)  # where nothing was before, the observation itself
        every = np.stack(tape.action)
        return cls(
            obs=rollout.obs(torch.from_numpy(rows)).numpy(),
            memory=np.stack(tape.memory[:-1])[rows],
            is_first=is_first,
            action=every[rows],
            obs_tm1=rollout.obs(torch.from_numpy(before)).numpy(),
            action_tm1=np.where(_rows(is_first, every), np.zeros_like(every[:1]), every[before]),
            step=np.concatenate([[0], np.cumsum(tape.valid)])[:-1].astype(np.int64)[rows],
            episode=np.full(len(rows), episode, dtype=np.int64),
            room=np.array([-1 if room is None else room for room in tape.rooms[:-1]], dtype=np.int64)[rows],
        )

    @classmethod
    def join(cls, parts: Sequence[States]) -> States:
        """Several of them as one.

        Raises:
            ValueError: there are none.
        """
        if not parts:
            raise ValueError("States.join: nothing to join.")
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS})

    @classmethod
    @torch.no_grad()
    def of_observations(cls, obs: np.ndarray, agent: Agent) -> States:
        """Observations of which nothing else is known: each by itself, the first of its own episode.

        The action is the one that the policy takes most likely.

        Args:
            obs: ``[B, *obs_shape]`` raw, B of one or more.
            agent: whose policy it is.

        Raises:
            ConfigError: they are not the observations of this agent.
        """
        space = agent.module.backbone.observation_space
        obs = np.asarray(obs)
        if obs.shape[1:] != space.shape or not len(obs):
            raise ConfigError("states", f"observations of shape {list(obs.shape)}", f"[B, {_listed(space.shape)}]")
        dtype = np.dtype(space.dtype)
        if not np.can_cast(obs.dtype, dtype, "same_kind"):
            raise ConfigError("states", f"observations of type {obs.dtype}", str(dtype))
        obs = obs.astype(dtype)
        if not np.isfinite(obs).all():
            raise ConfigError("states", "observations hold numbers that are none (NaN, infinite)", "finite numbers")
        count, module = len(obs), agent.module
        memory = np.zeros((count, module.backbone.state_size), dtype=np.float32)
        is_first = np.ones(count, dtype=bool)
        outputs, _, _ = module.policy_and_values(*network_inputs(agent, obs, memory, is_first))
        action = module.distribution.mode(outputs).numpy()
        return cls(
            obs=obs,
            memory=memory,
            is_first=is_first,
            action=action,
            obs_tm1=obs,
            action_tm1=np.zeros_like(action),
            step=np.zeros(count, dtype=np.int64),
            episode=np.arange(count, dtype=np.int64),
            room=np.full(count, -1, dtype=np.int64),
        )

    @classmethod
    def of_nothing(cls, agent: Agent) -> States:
        """One observation of zeros, for asking networks and methods what they have."""
        space = agent.module.backbone.observation_space
        return cls.of_observations(np.zeros((1, *space.shape), dtype=space.dtype), agent)


COLUMNS = [f.name for f in fields(States)]


def chunks(states: States, size: int) -> Iterator[tuple[slice, States]]:
    """States in their order, at most ``size`` at once, and the rows of each piece."""
    for start in range(0, len(states), size):
        rows = slice(start, min(start + size, len(states)))
        yield rows, states.select(np.arange(rows.start, rows.stop))


def network_inputs(
    agent: Agent, obs: np.ndarray, memory: np.ndarray, is_first: np.ndarray
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What an agent's backbone is given of B states, which are one step of B environments.

    Args:
        agent: whose backbone it is.
        obs: ``[B, *obs_shape]`` raw.
        memory: ``[B, F]`` before ``obs``.
        is_first: ``[B]`` bool.

    Returns:
        Observations ``[B, ...]``, memories ``[B, F]`` and beginnings ``[1, B]``; the last two are None for a backbone
        without memory.
    """
    seen = torch.from_numpy(np.ascontiguousarray(obs))
    if not agent.module.backbone.state_size:
        return seen, None, None
    before = torch.from_numpy(np.ascontiguousarray(memory, dtype=np.float32))
    return seen, before, torch.from_numpy(np.ascontiguousarray(is_first, dtype=bool))[None]


def states_between(tape: Tape, start: int, stop: int, episode: int = 0) -> States:
    """`States.of_tape` for the observations ``start .. stop - 1`` alone, without gathering any others for good."""
    first = max(0, start - tape.frame_stack)  # what a stack shows depends on resets as far back
    ahead = ("is_first", "memory", "rooms", "positions", "life_lost")
    there = ("action", "logp", "reward", "terminated", "truncated")
    lists = {name: getattr(tape, name)[first : stop + 1] for name in (*ahead, "dist_inputs", "value")}
    lists |= {name: getattr(tape, name)[first:stop] for name in there}
    part = replace(tape, **lists, frames=tape.frames[first : stop + tape.frame_stack], pictures=[])
    states = States.of_tape(part, episode).select(np.arange(start - first, stop - first))
    return replace(states, step=states.step + int(tape.valid[:first].sum()))


def _rows(mask: np.ndarray, like: np.ndarray) -> np.ndarray:
    """``mask [B]`` with as many axes as ``like [B, ...]``."""
    return mask.reshape(-1, *[1] * (like.ndim - 1))


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
