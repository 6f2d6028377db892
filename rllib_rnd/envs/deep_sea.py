"""DeepSea, the exploration test of the Behaviour Suite for Reinforcement Learning (Osband et al. 2019).

An N x N grid. The diver starts top left and sinks one row with each step, moving one column right or left
(never left of column 0). Right costs 0.01 / N; taking right at the bottom right cell pays 1. Episodes last N
steps. Which of the two actions means right differs from cell to cell, so that no single action is a good
habit: of the 2^N action sequences one reaches the treasure. Its return is 1 - 0.01 = 0.99; the best of the
others is 0.

Two options make it a test of intrinsic rewards: the grid drawn in pixels, and a third action that only fills the
screen with noise ("noisy TV": Burda et al. 2019, arXiv:1808.04355, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_rnd.envs.array_env import ArrayVectorEnv, VectorOfOne
from rllib_rnd.envs.family import EnvironmentFamily
from rllib_rnd.options import option, parse_options

DEEP_SEA = "rllib_rnd/DeepSea-v0"
MOVE_COST = 0.01  # of a whole episode spent going right
NOISE_ACTION = 2
_DTYPES: dict[str, Any] = {"uint8": np.uint8, "float32": np.float32}


@dataclass(frozen=True)
class DeepSeaOptions:
    """Options of DeepSea (``env_config``)."""

    size: int = option(10, "N: rows and columns of the grid, and steps of an episode; 10 to 50 usual", low=1, high=1000)
    mapping_seed: int = option(42, "which action means right in which cell is drawn from this seed", low=0)
    dtype: str = option("uint8", "type of the one-hot observation", choices=("uint8", "float32"))
    cell_size: int | None = option(
        None,
        "pixels of a cell's side: images are observed, of 36 pixels or more for convolutions; null: one-hot",
        low=1,
    )
    noisy_tv: bool = option(
        False, "a third action: it sinks as the one that does not mean right, and what is seen then is noise"
    )


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
    right = action == mapping[row * size + column]  # `NOISE_ACTION` never is
    treasure = right & (column == size - 1)  # only the bottom right cell can be left so: column <= row
    reward = np.where(right, -MOVE_COST / size, 0.0) + treasure
    column = np.clip(np.where(right, column + 1, column - 1), 0, size - 1)
    row = row + 1
    return row, column, reward, row == size


class DeepSeaVectorEnv(ArrayVectorEnv):
    """N divers in one set of arrays (NEXT_STEP autoreset).

    Observation ``[N, size * size]``: one-hot of the cell, all zeros at the end of the episode as in bsuite. With
    ``cell_size`` an image ``[N, side, side]`` uint8, side = size * cell_size, of the cell in white on black. After
    action 2 of ``noisy_tv`` every number (every cell of the image) is drawn anew from both values.
    ``info["position"]`` is the cell's index in a grid of ``position_shape`` (rows, columns), ``[N]`` int64; -1 at the
    end of the episode, below the last row. The seed decides the noise alone: the game is deterministic.

    Args:
        num_envs: number of divers.
        render_mode: None only; there is nothing to see.
        **env_config: see `DeepSeaOptions`.

    Raises:
        ConfigError: an unknown option or render mode, or ``num_envs`` below 1.
    """

    STATE = ("row", "column")

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, **env_config: object) -> None:
        self.options = parse_options(DeepSeaOptions, env_config)
        super().__init__(num_envs, render_mode, *_spaces(self.options))
        self.position_shape: tuple[int, int] = (self.options.size, self.options.size)
        self._dtype = _DTYPES[self.options.dtype]
        self._mapping = action_mapping(self.options.size, self.options.mapping_seed)
        self._row, self._column = (np.zeros(num_envs, dtype=np.int64) for _ in range(2))

    def _begin_all(self) -> None:
        self._row, self._column = np.zeros_like(self._row), np.zeros_like(self._column)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every diver: ``obs [N, ...]``, then ``[N]`` arrays, then infos."""
        resetting = self._needs_reset
        # A diver at the end has no cell: it stands in for one in row 0 and its outcome is thrown away.
        row = np.where(resetting, 0, self._row)
        actions = np.asarray(actions)
        row, column, reward, terminated = deep_sea_step(row, self._column, actions, self._mapping, self.options.size)
        if resetting.any():
            row[resetting], column[resetting], reward[resetting], terminated[resetting] = 0, 0, 0.0, False
        self._row, self._column, self._needs_reset = row, column, terminated
        obs = self._observe((actions == NOISE_ACTION) & ~resetting & ~terminated)
        return obs, reward, terminated.copy(), np.zeros(self.num_envs, dtype=bool), self._info()

    def _cells(self) -> np.ndarray:
        size = self.options.size
        return np.where(self._row < size, self._row * size + self._column, -1)

    def _observe(self, noisy: np.ndarray | None = None) -> np.ndarray:
        """Observations; ``noisy [N]`` says who sees noise."""
        size, pixels, cell = self.options.size, self.options.cell_size, self._cells()
        obs = np.zeros((self.num_envs, size * size), dtype=self._dtype)
        here = cell >= 0
        obs[self._envs[here], cell[here]] = 1
        if self.options.noisy_tv and noisy is not None:
            # A screen for every diver, seen or not: else what one sees would depend on the others' actions.
            screens: np.ndarray = np.asarray(self._generator.random(obs.shape)) < 0.5
            obs[noisy] = screens[noisy]
        if pixels is not None:
            board = obs.reshape(-1, size, size).astype(np.uint8) * 255
            obs = board.repeat(pixels, axis=1).repeat(pixels, axis=2)
        return obs


class DeepSeaEnv(VectorOfOne[DeepSeaVectorEnv]):
    """One diver, for `gymnasium.make`; observations and infos as in `DeepSeaVectorEnv`.

    Args:
        render_mode: None only; there is nothing to see.
        **env_config: see `DeepSeaOptions`.

    Raises:
        ConfigError: an unknown option or render mode.
    """

    metadata = DeepSeaVectorEnv.single_metadata()

    def __init__(self, render_mode: str | None = None, **env_config: object) -> None:
        super().__init__(DeepSeaVectorEnv(1, render_mode, **env_config))
        self.options = self.vector.options


def _spaces(options: DeepSeaOptions) -> tuple[spaces.Box, spaces.Discrete]:
    actions: spaces.Discrete = spaces.Discrete(3 if options.noisy_tv else 2)
    if options.cell_size is None:
        return spaces.Box(0, 1, (options.size * options.size,), _DTYPES[options.dtype]), actions
    side = options.size * options.cell_size
    return spaces.Box(0, 255, (side, side), np.uint8), actions


FAMILY = EnvironmentFamily(
    DEEP_SEA,
    "DeepSea, bsuite's exploration test, vectorised",
    DeepSeaOptions,
    own_ids=(DEEP_SEA,),
    make=lambda wanted: DeepSeaEnv(wanted.render_mode, **vars(wanted.options)),
    make_vector=lambda wanted: DeepSeaVectorEnv(wanted.num_envs, **vars(wanted.options)),
)
