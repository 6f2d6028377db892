"""DeepSea, the exploration test of the Behaviour Suite for Reinforcement Learning (Osband et al. 2019).

An N x N grid. The diver starts top left and sinks one row with each step, moving one column right or left
(never left of column 0). Right costs 0.01 / N; taking right at the bottom right cell pays 1. Episodes last N
steps. Which of the two actions means right differs from cell to cell, so that no single action is a good
habit: of the 2^N action sequences one reaches the treasure. Its return is 1 - 0.01 = 0.99; the best of the
others is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rllib_rnd.errors import ConfigError
from rllib_rnd.options import option, parse_options

MOVE_COST = 0.01  # of a whole episode spent going right
_DTYPES: dict[str, Any] = {"uint8": np.uint8, "float32": np.float32}


@dataclass(frozen=True)
class DeepSeaOptions:
    """Options of DeepSea (``env_config``)."""

    size: int = option(10, "N: rows and columns of the grid, and steps of an episode; 10 to 50 usual", low=1, high=1000)
    mapping_seed: int = option(42, "which action means right in which cell is drawn from this seed", low=0)
    dtype: str = option("uint8", "type of the one-hot observation", choices=("uint8", "float32"))


def action_mapping(size: int, mapping_seed: int) -> np.ndarray:
    """Draws the action (0 or 1) that means right in each cell, ``[N * N]`` int64, row by row."""
    return np.random.default_rng(mapping_seed).integers(0, 2, size=size * size)


def deep_sea_step(
    row: np.ndarray, column: np.ndarray, action: np.ndarray, mapping: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The dynamics, for any number of divers at once; every argument ``[N]``.

    Returns:
        The new row, the new column, the reward (float64) and whether the episode terminated.
    """
    right = action == mapping[row * size + column]
    treasure = right & (column == size - 1)  # only the bottom right cell can be left so: column <= row
    reward = np.where(right, -MOVE_COST / size, 0.0) + treasure
    column = np.clip(np.where(right, column + 1, column - 1), 0, size - 1)
    row = row + 1
    return row, column, reward, row == size


class DeepSeaVectorEnv(VectorEnv):
    """N divers in one set of arrays (NEXT_STEP autoreset).

    Observation ``[N, size * size]``: one-hot of the cell, all zeros at the end of the episode as in bsuite.
    ``info["position"]`` is the cell's index in a grid of ``position_shape`` (rows, columns), ``[N]`` int64; -1 at the
    end of the episode, below the last row.

    Args:
        num_envs: number of divers.
        **env_config: see `DeepSeaOptions`.

    Raises:
        ConfigError: an unknown option, or ``num_envs`` below 1.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as gymnasium
        "autoreset_mode": AutoresetMode.NEXT_STEP,
        "render_modes": [],
    }

    def __init__(self, num_envs: int = 1, **env_config: Any) -> None:
        self.options = parse_options(DeepSeaOptions, env_config, "env_config")
        if num_envs < 1:
            raise ConfigError(f"num_envs: {num_envs} is out of range; allowed is 1 or more.")
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = _spaces(self.options)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.position_shape: tuple[int, int] = (self.options.size, self.options.size)
        self._dtype = _DTYPES[self.options.dtype]
        self._mapping = action_mapping(self.options.size, self.options.mapping_seed)
        self._indices = np.arange(num_envs)
        self._row = np.zeros(num_envs, dtype=np.int64)
        self._column = np.zeros(num_envs, dtype=np.int64)
        self._needs_reset = np.zeros(num_envs, dtype=bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Puts every diver to the top left. The seed changes nothing: the game is deterministic."""
        del seed, options
        self._row[:] = 0
        self._column[:] = 0
        self._needs_reset[:] = False
        return self._observe()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every diver: ``obs [N, size * size]``, then ``[N]`` arrays, then infos."""
        resetting = self._needs_reset
        # A diver at the end has no cell: it stands in for one in row 0 and its outcome is thrown away.
        row = np.where(resetting, 0, self._row)
        row, column, reward, terminated = deep_sea_step(
            row, self._column, np.asarray(actions), self._mapping, self.options.size
        )
        if resetting.any():
            row[resetting], column[resetting], reward[resetting], terminated[resetting] = 0, 0, 0.0, False
        self._row, self._column, self._needs_reset = row, column, terminated
        obs, info = self._observe()
        return obs, reward, terminated.copy(), np.zeros(self.num_envs, dtype=bool), info

    def _observe(self) -> tuple[np.ndarray, dict[str, Any]]:
        size = self.options.size
        here = self._row < size
        cell = np.where(here, self._row * size + self._column, -1)
        obs = np.zeros((self.num_envs, size * size), dtype=self._dtype)
        obs[self._indices[here], cell[here]] = 1
        return obs, {"position": cell, "_position": np.ones(self.num_envs, dtype=bool)}

    @property
    def can_clone_state(self) -> bool:
        """Always: the state is three small arrays."""
        return True

    def clone_state(self) -> dict[str, np.ndarray]:
        """Saves all that decides the future."""
        return {
            "row": self._row.copy(),
            "column": self._column.copy(),
            "needs_reset": self._needs_reset.copy(),
        }

    def restore_state(self, state: dict[str, np.ndarray]) -> None:
        """Goes back to a saved state.

        Raises:
            ConfigError: the state is of another number of environments.
        """
        if len(state["row"]) != self.num_envs:
            raise ConfigError(f"state: saved from {len(state['row'])} environments, this vector has {self.num_envs}.")
        self._row, self._column = state["row"].copy(), state["column"].copy()
        self._needs_reset = state["needs_reset"].copy()


class DeepSeaEnv(gym.Env):
    """One diver, for `gymnasium.make`. Observation ``[size * size]`` and ``info["position"]`` as in `DeepSeaVectorEnv`.

    Args:
        render_mode: None only; there is nothing to see.
        **env_config: see `DeepSeaOptions`.

    Raises:
        ConfigError: an unknown option.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - as gymnasium

    def __init__(self, render_mode: str | None = None, **env_config: Any) -> None:
        self.options = parse_options(DeepSeaOptions, env_config, "env_config")
        self.render_mode = render_mode
        self.observation_space, self.action_space = _spaces(self.options)
        self.position_shape: tuple[int, int] = (self.options.size, self.options.size)
        self._mapping = action_mapping(self.options.size, self.options.mapping_seed)
        self._row = self._column = np.zeros(1, dtype=np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Puts the diver to the top left."""
        super().reset(seed=seed)
        self._row = self._column = np.zeros(1, dtype=np.int64)
        return self._observe()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One row down.

        Raises:
            RuntimeError: the episode has ended and `reset` was not called.
        """
        if self._row[0] == self.options.size:
            raise RuntimeError("The episode is over: call reset() before step().")
        self._row, self._column, reward, terminated = deep_sea_step(
            self._row, self._column, np.array([action]), self._mapping, self.options.size
        )
        obs, info = self._observe()
        return obs, float(reward[0]), bool(terminated[0]), False, info

    def _observe(self) -> tuple[np.ndarray, dict[str, Any]]:
        size = self.options.size
        cell = int(self._row[0] * size + self._column[0]) if self._row[0] < size else -1
        obs = np.zeros(size * size, dtype=_DTYPES[self.options.dtype])
        if cell >= 0:
            obs[cell] = 1
        return obs, {"position": cell}

    def clone_state(self) -> tuple[int, int]:
        """Saves row and column."""
        return int(self._row[0]), int(self._column[0])

    def restore_state(self, state: tuple[int, int]) -> None:
        """Goes back to a saved state."""
        self._row, self._column = np.array(state[:1]), np.array(state[1:])


def _spaces(options: DeepSeaOptions) -> tuple[spaces.Box, spaces.Discrete]:
    obs_space = spaces.Box(0, 1, (options.size * options.size,), _DTYPES[options.dtype])
    return obs_space, spaces.Discrete(2)
