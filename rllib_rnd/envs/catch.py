"""Catch, the smallest game in pixels: a ball falls, a paddle at the bottom has to be under it.

Mnih et al. 2014, "Recurrent Models of Visual Attention" (arXiv:1406.6247), section 4.2; also in the Behaviour Suite
(Osband et al. 2020, arXiv:1908.03568). Thousands of steps per second, so that a network for images can show within a
minute whether it learns. With ``visible_rows`` the ball is seen at the beginning of its fall only and has to be
remembered, as in bsuite's memory tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_rnd.envs.array_env import ArrayVectorEnv, VectorOfOne
from rllib_rnd.envs.family import EnvironmentFamily
from rllib_rnd.options import option, parse_options

CATCH = "rllib_rnd/Catch-v0"


@dataclass(frozen=True)
class CatchOptions:
    """Options of Catch (``env_config``)."""

    size: int = option(10, "rows and columns of the board; an episode is one step less", low=2, high=100)
    cell_size: int = option(4, "pixels of a cell's side; images of 36 pixels or more are read by convolutions", low=1)
    visible_rows: int | None = option(
        None, "the ball is seen in its first so many rows only, then remembered; null: always", low=1
    )


class CatchVectorEnv(ArrayVectorEnv):
    """N games in one set of arrays (NEXT_STEP autoreset).

    Observation ``[N, size * cell_size, size * cell_size]`` uint8: ball and paddle 255, the rest 0. Actions: 0 left,
    1 stay, 2 right. The ball begins in a random column of row 0 and falls one row per step; at the bottom the episode
    terminates, with 1 if the paddle is there and -1 if not. The paddle begins in the middle. ``info["position"]`` is
    the paddle's column, ``[N]`` int64.

    Args:
        num_envs: number of games.
        render_mode: None or "rgb_array" (the observation in grey, ball and paddle always seen).
        **env_config: see `CatchOptions`.

    Raises:
        ConfigError: an unknown option or render mode, or ``num_envs`` below 1.
    """

    STATE = ("row", "ball", "paddle")
    metadata: dict[str, Any] = {  # noqa: RUF012 - as gymnasium
        **ArrayVectorEnv.metadata,
        "render_modes": ["rgb_array"],
        "render_fps": 5,
    }

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, **env_config: object) -> None:
        self.options = parse_options(CatchOptions, env_config)
        side = self.options.size * self.options.cell_size
        super().__init__(num_envs, render_mode, spaces.Box(0, 255, (side, side), np.uint8), spaces.Discrete(3))
        self.position_shape: tuple[int, int] = (1, self.options.size)
        self._row, self._ball, self._paddle = (np.zeros(num_envs, dtype=np.int64) for _ in range(3))

    def _begin_all(self) -> None:
        self._begin(np.ones(self.num_envs, dtype=bool))

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every game: ``obs [N, side, side]``, then ``[N]`` arrays, then infos."""
        resetting, last = self._needs_reset, self.options.size - 1
        self._row = self._row + 1
        self._paddle = np.clip(self._paddle + np.asarray(actions) - 1, 0, last)
        self._begin(resetting)
        terminated = self._row == last
        reward = np.where(terminated, np.where(self._ball == self._paddle, 1.0, -1.0), 0.0)
        self._needs_reset = terminated.copy()
        return self._observe(), reward, terminated, np.zeros(self.num_envs, dtype=bool), self._info()

    def _begin(self, where: np.ndarray) -> None:
        """New balls in the environments of the mask ``where [N]``."""
        # A number for every environment, needed or not: else one game's balls would depend on another's ends.
        balls = self._generator.integers(0, self.options.size, self.num_envs)
        self._row[where], self._ball[where], self._paddle[where] = 0, balls[where], self.options.size // 2

    def _board(self, ball_is_seen: np.ndarray) -> np.ndarray:
        """``[N, side, side]`` uint8."""
        size, cell = self.options.size, self.options.cell_size
        board = np.zeros((self.num_envs, size, size), dtype=np.uint8)
        board[self._envs[ball_is_seen], self._row[ball_is_seen], self._ball[ball_is_seen]] = 255
        board[self._envs, size - 1, self._paddle] = 255
        return board.repeat(cell, axis=1).repeat(cell, axis=2)

    def _observe(self) -> np.ndarray:
        seen = self.options.visible_rows
        return self._board(np.ones(self.num_envs, dtype=bool) if seen is None else self._row < seen)

    def _cells(self) -> np.ndarray:
        return self._paddle.copy()

    def _pictures(self) -> tuple[np.ndarray, ...]:
        boards = self._board(np.ones(self.num_envs, dtype=bool))
        return tuple(board[:, :, None].repeat(3, axis=2) for board in boards)


class CatchEnv(VectorOfOne[CatchVectorEnv]):
    """One game, for `gymnasium.make`; observations and infos as in `CatchVectorEnv`.

    Args:
        render_mode: None or "rgb_array".
        **env_config: see `CatchOptions`.

    Raises:
        ConfigError: an unknown option or render mode.
    """

    metadata = CatchVectorEnv.single_metadata()

    def __init__(self, render_mode: str | None = None, **env_config: object) -> None:
        super().__init__(CatchVectorEnv(1, render_mode, **env_config))
        self.options = self.vector.options


FAMILY = EnvironmentFamily(
    CATCH,
    "Catch, the smallest game in pixels, vectorised; with hidden balls a memory test",
    CatchOptions,
    own_ids=(CATCH,),
    make=lambda wanted: CatchEnv(wanted.render_mode, **vars(wanted.options)),
    make_vector=lambda wanted: CatchVectorEnv(wanted.num_envs, **vars(wanted.options)),
)
