"""My Way Home on ViZDoom (Kempka et al. 2016, arXiv:1605.02097), an optional extra: Doom seen in the first person.

The scenario is the package's own ``my_way_home``: rooms and corridors of different textures, no monsters, a green
armour in one of the rooms. Pathak et al. 2017 (arXiv:1705.05363) made its sparse-reward form a test of curiosity:
the armour pays 1, nothing else pays, and the harder settings start the player far from it.
"""

from __future__ import annotations

import functools
import os
import tempfile
import weakref
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from gymnasium import spaces

from rllib_rnd.envs.family import EnvironmentFamily, FrameStack, frame_resizer
from rllib_rnd.envs.info import POSITION, ROOM
from rllib_rnd.envs.replay import ReplayedEnv
from rllib_rnd.errors import ConfigError
from rllib_rnd.options import option

if TYPE_CHECKING:
    from vizdoom import DoomGame

DOOM_MY_WAY_HOME = "rllib_rnd/DoomMyWayHome-v0"

_BUTTONS = ("TURN_LEFT", "TURN_RIGHT", "MOVE_FORWARD", "MOVE_LEFT", "MOVE_RIGHT")
# What each action holds down, as indices into _BUTTONS; None: nothing.
_ACTIONS: dict[str, tuple[int | None, ...]] = {"scenario": (None, 0, 1, 2, 3, 4), "icm": (None, 2, 0, 1)}
_LIVING_REWARD = -0.0001  # the scenario's, per tic
# The scenario's places to start from, in map units: the west room, and the end of the southern dead end. Each episode
# begins at one of 17 places; these two are the settings of the paper, 10th and 15th in the scenario's numbering.
_STARTS = {"sparse": (240.0, -176.0), "very_sparse": (543.986, -672.089)}

# Bounds of the scenario's 18 sectors, rooms and corridors alike, in its numbering: west, east, south, north.
_SECTORS = np.array(
    [
        (160, 320, -256, -96),
        (384, 544, -256, -96),
        (384, 544, -32, 128),
        (608, 768, -256, -96),
        (608, 768, -32, 128),
        (384, 544, -544, -384),
        (960, 1120, -32, 128),
        (960, 1120, -256, -96),
        (992, 1088, -416, -256),
        (1008, 1072, -96, -32),
        (768, 960, 16, 80),
        (544, 608, 16, 80),
        (656, 720, -96, -32),
        (432, 496, -96, -32),
        (432, 496, -384, -256),
        (320, 384, -208, -144),
        (432, 576, -704, -544),
        (544, 608, -208, -144),
    ]
)
_WEST, _NORTH = 160, 128
_CELL = 32  # map units; the player is as wide, and walks as far in about four tics
_ROWS, _COLUMNS = 26, 30


@dataclass(frozen=True)
class DoomOptions:
    """Options of My Way Home (``env_config``). One agent step is ``frame_skip`` tics, of which 35 are a second."""

    reward: str = option(
        "sparse",
        "sparse: 1 at the armour; original: less 0.0001 for each tic, as the scenario has it",
        choices=("sparse", "original"),
    )
    start: str = option(
        "dense",
        "dense: one of 17 places; sparse: the room farthest to the west; very_sparse: the end of the southern dead "
        "end (Pathak et al. 2017); the heading is random",
        choices=("dense", "sparse", "very_sparse"),
    )
    actions: str = option(
        "scenario",
        "scenario: 6 actions, none, turn left, turn right, forward, sideways left, sideways right; icm: 4, none, "
        "forward, turn left, turn right (Pathak et al. 2017)",
        choices=("scenario", "icm"),
    )
    frame_size: int = option(84, "height and width of the grey observation; 42 in the ICM paper", low=36, high=120)
    frame_stack: int = option(4, "frames in one observation, newest last", low=1, high=16)
    frame_skip: int = option(4, "tics per agent step; the picture after the last is seen", low=1, high=60)
    max_tics: int = option(2100, "tics after which an episode is truncated (525 agent steps)", low=1)


class DoomMap(NamedTuple):
    """``walls [rows, columns]`` bool: cells of ``info["position"]`` that no room and no corridor reaches into."""

    walls: np.ndarray


def import_vizdoom() -> ModuleType:
    """Imports the engine's package.

    Raises:
        ConfigError: it is not installed; the message has the command.
    """
    try:
        import vizdoom
    except ImportError as error:
        raise ConfigError("", f'Doom needs an extra ({error}). Install it: pip install "rllib_rnd[vizdoom]"') from error
    return vizdoom


def find_sector(x: float, y: float) -> int:
    """Returns the room or corridor that a place (map units) is in, 0 to 17 in the scenario's numbering, or -1."""
    west, east, south, north = _SECTORS.T
    inside = (west <= x) & (x <= east) & (south <= y) & (y <= north)
    return int(inside.argmax()) if inside.any() else -1


def find_cell(x: float, y: float) -> int:
    """Returns the cell of a place (map units), row by row from the north-west, or -1 outside the map."""
    row, column = int((_NORTH - y) // _CELL), int((x - _WEST) // _CELL)
    return row * _COLUMNS + column if 0 <= row < _ROWS and 0 <= column < _COLUMNS else -1


def _make_map() -> DoomMap:
    walls = np.ones((_ROWS, _COLUMNS), bool)
    for west, east, south, north in _SECTORS:
        rows = slice((_NORTH - north) // _CELL, -((south - _NORTH) // _CELL))
        walls[rows, (west - _WEST) // _CELL : -((_WEST - east) // _CELL)] = False
    return DoomMap(walls)


class DoomEnv(ReplayedEnv):
    """The player looks for the armour; reaching it pays 1 and ends the episode.

    Observation ``[K, H, W]`` uint8, grey, newest frame last; after a reset all K are the reset frame. Where the
    engine has no picture any more, after the armour was reached, the last one is shown again. ``info``: ``position``
    (index of the player's cell of 32 x 32 map units in a grid of ``position_shape``, north up) and ``room`` (one of
    the scenario's 18 rooms and corridors). ``maze.walls`` is the map.

    Each object has the engine in a process of its own; nothing is written but a directory for temporary files, which
    goes with the process.

    Args:
        options: see `DoomOptions`.
        render_mode: None or "rgb_array" (``[120, 160, 3]`` uint8).

    Raises:
        ConfigError: no such render mode, or the package is missing.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 35}  # noqa: RUF012 - as gymnasium

    def __init__(self, options: DoomOptions | None = None, render_mode: str | None = None) -> None:
        import cv2

        self.options = options or DoomOptions()
        size, skip = self.options.frame_size, self.options.frame_skip
        super().__init__(size, self.options.frame_stack, skip, render_mode)
        import_vizdoom()
        self._held = [[int(i == button) for i in range(len(_BUTTONS))] for button in _ACTIONS[self.options.actions]]
        self.action_space = spaces.Discrete(len(self._held))
        self.position_shape: tuple[int, int] = (_ROWS, _COLUMNS)
        self.maze = _make_map()
        self._to_grey = functools.partial(cv2.cvtColor, code=cv2.COLOR_RGB2GRAY)
        self._shrink = frame_resizer(size)
        self._screen = np.zeros((120, 160, 3), np.uint8)
        self._episode_seed = 0
        self._tics = 0

        files = tempfile.TemporaryDirectory(prefix="doom-")
        self.game = _start_engine(self.options, files.name)
        self._close_engine = weakref.finalize(self, _end_engine, self.game, files)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode. Without a seed the random stream goes on; with one, the run is repeatable.

        Raises:
            RuntimeError: the environment was closed.
        """
        self._require_open()
        super().reset(seed=seed, options=options)
        # The scenario chooses the place: one in 17 begins where a fixed start is, and beginning takes a millisecond.
        while True:
            self._begin(int(self.np_random.integers(2**31)))
            if self.options.start == "dense" or np.allclose(self._place(), _STARTS[self.options.start], atol=1.0):
                break
        self._stack[:] = self._frame()
        return self._stack.copy(), self._info()

    def _begin(self, episode_seed: int) -> None:
        self._episode_seed = episode_seed
        self.game.set_seed(episode_seed)
        self.game.new_episode()
        self._played.clear()
        self._tics, self._ended = 0, False

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One agent step: up to ``frame_skip`` tics, fewer if the armour or the last tic is reached within them.

        Raises:
            RuntimeError: the episode has ended (or never began) and `reset` was not called.
        """
        self._require_begun()
        reward = self._play(int(action))
        finished = bool(self.game.is_episode_finished())
        terminated = finished or reward > 0.5  # the engine ends the map a tic after the armour has paid
        truncated = not terminated and self._tics >= self.options.max_tics
        self._ended = terminated or truncated
        self._stack[:-1] = self._stack[1:]
        if not finished:
            self._stack[-1] = self._frame()
        return self._stack.copy(), reward, terminated, truncated, self._info()

    def _play(self, action: int) -> float:
        tics = min(self.options.frame_skip, self.options.max_tics - self._tics)
        self._tics += tics
        self._played.append(action)
        return float(self.game.make_action(self._held[action], tics))

    def _frame(self) -> np.ndarray:
        self._look()
        return self._shrink(self._to_grey(self._screen))

    def _look(self) -> None:
        self._screen = self.game.get_state().screen_buffer

    def _place(self) -> tuple[float, float]:
        """The player's x and y in map units, also after the end of the episode."""
        variable = import_vizdoom().GameVariable
        return self.game.get_game_variable(variable.POSITION_X), self.game.get_game_variable(variable.POSITION_Y)

    def _info(self) -> dict[str, Any]:
        x, y = self._place()
        return {POSITION: find_cell(x, y), ROOM: find_sector(x, y)}

    def get_action_meanings(self) -> list[str]:
        """Returns the button that each action holds down, NOOP for none."""
        return ["NOOP" if button is None else _BUTTONS[button] for button in _ACTIONS[self.options.actions]]

    def _picture(self) -> np.ndarray:
        return self._screen

    def _own_state(self) -> dict[str, Any]:
        # The engine is deterministic: its seed and a byte for each agent step say all; 0.1 s at most to play again.
        return {"episode_seed": self._episode_seed}

    def _replay(self, state: dict[str, Any]) -> None:
        self._begin(state["episode_seed"])
        for action in bytes(state["played"]):
            self._play(action)
        if not self.game.is_episode_finished():
            self._look()


def _start_engine(options: DoomOptions, directory: str) -> DoomGame:
    vizdoom = import_vizdoom()
    # With a section for each of the games that it knows, the engine does not make a directory where the program runs.
    config = os.path.join(directory, "engine.ini")
    with open(config, "w", encoding="ascii") as file:
        file.writelines(f"[{game}.AutoExec]\n" for game in ("Doom", "Heretic", "Hexen", "Strife", "Chex"))
    game = vizdoom.DoomGame()
    game.load_config(os.path.join(vizdoom.scenarios_path, "my_way_home.cfg"))
    game.set_doom_config_path(config)
    game.set_available_buttons([getattr(vizdoom.Button, name) for name in _BUTTONS])
    game.set_available_game_variables([])
    game.set_living_reward(_LIVING_REWARD if options.reward == "original" else 0.0)
    # Counted here instead: the engine shows no picture once its own limit is reached.
    game.set_episode_timeout(0)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_160X120)
    game.init()
    return game


def _end_engine(game: DoomGame, files: tempfile.TemporaryDirectory) -> None:
    game.close()
    files.cleanup()


FAMILY = EnvironmentFamily(
    DOOM_MY_WAY_HOME,
    'My Way Home, Doom in the first person, sparse reward (pip install "rllib_rnd[vizdoom]")',
    DoomOptions,
    own_ids=(DOOM_MY_WAY_HOME,),
    require=lambda _: import_vizdoom(),
    make=lambda wanted: DoomEnv(wanted.options, wanted.render_mode),
    stack=lambda options: FrameStack(options.frame_stack),
)
