"""Super Mario Bros. on the NES emulator nes-py and the game package gym-super-mario-bros, an optional extra.

Both packages are written for gym and numpy 1. This module uses them with gymnasium and numpy 2 without a change
to their files. One environment, one class, no chain of wrappers, as for Atari: frame skip with the maximum of its
last two frames, grey frames of one size, a stack, sticky actions. The reward is the game package's own: progress
to the right, less the clock, less 25 for a death, within [-15, 15] at each raw frame.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import warnings
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from rllib_rnd.envs.family import EnvironmentFamily, FrameStack, frame_resizer
from rllib_rnd.envs.info import PROGRESS, ROOM
from rllib_rnd.envs.replay import ReplayedEnv
from rllib_rnd.errors import ConfigError, nearest_name
from rllib_rnd.options import option

MARIO_PREFIX = "rllib_rnd/SuperMarioBros"
_WHOLE_GAME = f"{MARIO_PREFIX}-v0"
_STAGE_ID = re.compile(re.escape(MARIO_PREFIX) + r"-([1-8])-([1-4])-v0\Z")
_WORLDS, _STAGES = range(1, 9), range(1, 5)

_SCREEN = (240, 256)

# The bit of each button in the controller's byte.
_RIGHT, _LEFT, _DOWN, _UP, _B, _A = 0x80, 0x40, 0x20, 0x10, 0x02, 0x01
_RIGHT_ONLY = (0, _RIGHT, _RIGHT | _A, _RIGHT | _B, _RIGHT | _A | _B)
_SIMPLE = (*_RIGHT_ONLY, _A, _LEFT)
_COMPLEX = (*_SIMPLE, _LEFT | _A, _LEFT | _B, _LEFT | _A | _B, _DOWN, _UP)
_ACTIONS = {"right_only": _RIGHT_ONLY, "simple": _SIMPLE, "complex": _COMPLEX}
_GAME_OVER_LIFE = 0xFF  # the life counter after the last of three lives: 2, 1, 0, 255


@dataclass(frozen=True)
class MarioOptions:
    """Options of Super Mario Bros. (``env_config``). One agent step is ``frame_skip`` raw frames (60 a second)."""

    actions: str = option(
        "complex",
        "joystick: right_only (5 actions: none, right, with A to jump, B to run), simple (7: also jump, left) or "
        "complex (12: also left with A and B, down, up), the usual choice of RND code for Mario",
        choices=("simple", "complex", "right_only"),
    )
    frame_size: int = option(84, "height and width of the grey observation", low=36, high=240)
    frame_stack: int = option(4, "frames in one observation, newest last", low=1, high=16)
    frame_skip: int = option(
        4, "raw frames per agent step; the last two are combined by maximum, rewards added up", low=1, high=60
    )
    sticky_action_prob: float = option(
        0.0,
        "chance, at each raw frame, that the previous frame's action is executed again; without it, and without "
        "no-ops, the game is deterministic",
        low=0.0,
        high=1.0,
    )
    noop_max: int = option(
        0, "at most so many raw frames of no-op after a reset, at least 1; 0 = none", low=0, high=1000
    )
    max_steps: int | None = option(
        None, "agent steps after which an episode is truncated (not terminated); null = the game's clock only", low=1
    )
    reward_scale: float = option(
        1.0, "the reward is multiplied by it; 1/15 = 0.0667 brings a raw frame's into [-1, 1]", low=0.0, high=1000.0
    )
    rom_mode: str = option(
        "vanilla",
        "graphics: vanilla, downsample (black background, plain scenery), pixel (coarse), rectangle (blocks)",
        choices=("vanilla", "downsample", "pixel", "rectangle"),
    )
    interpolation: str = option(
        "area", "how frames are shrunk; area keeps thin lines, linear is cheaper", choices=("area", "linear")
    )


def mario_ids() -> list[str]:
    """Returns the 33 ids: the whole game, then each stage of each world."""
    return [_WHOLE_GAME, *(f"{MARIO_PREFIX}-{world}-{stage}-v0" for world in _WORLDS for stage in _STAGES)]


def parse_mario_id(env_id: str) -> tuple[int, int] | None:
    """Returns (world, stage) of a stage's id, or None for the whole game.

    Raises:
        ConfigError: no such id; the message has the nearest one.
    """
    if env_id == _WHOLE_GAME:
        return None
    match = _STAGE_ID.match(env_id)
    if match is None:
        allowed = [_WHOLE_GAME, f"{MARIO_PREFIX}-<world>-<stage>-v0 with world 1 to 8 and stage 1 to 4"]
        raise ConfigError("", f"unknown environment {env_id!r}", allowed, nearest_name(env_id, mario_ids()))
    return int(match[1]), int(match[2])


class _IntRam:
    """The console's 2 KiB of memory; a single byte reads as a Python int.

    The game package computes with bytes as numpy 1 did. In numpy 2 a uint8 stays a uint8, so that
    ``ram[a] * 256`` raises and ``255 - ram[a]`` plus 255 wraps around.
    """

    def __init__(self, ram: np.ndarray) -> None:
        self.array = ram

    def __getitem__(self, key: int | slice) -> int | np.ndarray:
        value = self.array[key]
        return value if isinstance(key, slice) else int(value)

    def __setitem__(self, key: int | slice, value: int | np.ndarray) -> None:
        self.array[key] = value


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """Keeps gym's notice off stderr, and takes back what its import changes for the whole process."""
    audio = os.environ.get("SDL_AUDIODRIVER")
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if audio is None:
            os.environ.pop("SDL_AUDIODRIVER", None)
        else:
            os.environ["SDL_AUDIODRIVER"] = audio


@functools.cache
def _game_class() -> type[Any]:
    """The game package's environment, with what numpy 2 and the end of the game need."""
    with _quiet_import():
        from gym_super_mario_bros.smb_env import SuperMarioBrosEnv
        from nes_py._rom import ROM

    # The sizes computed from the header do not fit in its uint8.
    ROM.header = property(lambda rom: rom.raw_data[:16].astype(int))

    class Game(SuperMarioBrosEnv):
        def _ram_buffer(self) -> _IntRam:
            return _IntRam(super()._ram_buffer())

        def _screen_buffer(self) -> np.ndarray:
            rgb = super()._screen_buffer()
            # The pixels as they lie in memory: rgb is a reversed view, which cv2 takes only as a copy (0.2 ms).
            self.bgrx = rgb.base.reshape(*_SCREEN, 4)
            return rgb

        def _get_done(self) -> bool:
            # After the last castle the console waits for a button for ever, and the package for the next world.
            return bool(super()._get_done() or (self._world == _WORLDS[-1] and self._is_world_over))

    return Game


def import_mario() -> type[Any]:
    """Imports the emulator and the game; returns the class of game objects.

    Raises:
        ConfigError: a package is not installed; the message has the command.
    """
    try:
        return _game_class()
    except (ImportError, OSError) as error:  # nes-py raises OSError where its compiled library is missing
        raise ConfigError(
            "", f'Super Mario Bros. needs an extra ({error}). Install it: pip install "rllib_rnd[mario]"'
        ) from error


class MarioEnv(ReplayedEnv):
    """The whole game (three lives, from 1-1 on) or one stage (one life, ends at its flag or axe).

    Observation ``[K, H, W]`` uint8, grey, newest frame last; after a reset all K are the reset frame. Reward:
    that of the game package, added up over the skipped frames, times ``reward_scale``. ``info``: ``x_pos`` and
    ``y_pos`` (pixels; from the stage's left end and from the screen's bottom), ``world``, ``stage``, ``room``
    (stages counted from 1: (world - 1) * 4 + stage), ``flag_get`` (whether the flag or axe was reached in this
    step), ``coins``, ``life`` (lives left after this one; -1 when the game is over), ``score``, ``time`` (what
    the game's clock shows, 400 at the start of 1-1; 20 raw frames are one unit), ``progress`` (``x_pos`` again).

    Death scenes, stage changes and pipes are skipped by the game package within one raw frame; observation and
    ``info`` are those after it. A whole game is over one raw frame after its last death, and that frame has the
    reward of a death too, as in the package.

    Args:
        world_stage: (world 1 to 8, stage 1 to 4), or None for the whole game.
        options: see `MarioOptions`.
        render_mode: None or "rgb_array" (``[240, 256, 3]`` uint8).

    Raises:
        ConfigError: no such stage or render mode, or a package is missing.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 60}  # noqa: RUF012 - as gymnasium

    def __init__(
        self,
        world_stage: tuple[int, int] | None = None,
        options: MarioOptions | None = None,
        render_mode: str | None = None,
    ) -> None:
        import cv2

        if world_stage is not None and (world_stage[0] not in _WORLDS or world_stage[1] not in _STAGES):
            raise ConfigError("world_stage", f"{world_stage} is no stage", "worlds 1 to 8, stages 1 to 4")
        self.world_stage, self.options = world_stage, options or MarioOptions()
        size, skip = self.options.frame_size, self.options.frame_skip
        super().__init__(size, self.options.frame_stack, skip, render_mode)
        self.game = import_mario()(rom_mode=self.options.rom_mode, target=world_stage)
        self._close_engine = weakref.finalize(self, self.game.close)
        self._close_engine.atexit = False  # it is memory of this process
        self._joypad_bytes = _ACTIONS[self.options.actions]
        self.action_space = spaces.Discrete(len(self._joypad_bytes))
        self._resize = frame_resizer(size, self.options.interpolation)
        self._to_grey = functools.partial(cv2.cvtColor, code=cv2.COLOR_BGRA2GRAY)
        self._screens = np.zeros((2, *_SCREEN), dtype=np.uint8)
        self._executed = 0  # the joypad byte of the previous raw frame
        self._steps = 0  # agent steps in the episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode. Without a seed the random stream goes on; with one, the run is repeatable.

        Raises:
            RuntimeError: the environment was closed.
        """
        self._require_open()
        super().reset(seed=seed, options=options)
        self._restart()
        if self.options.noop_max > 0:
            wanted = int(self.np_random.integers(1, self.options.noop_max + 1))
            for _ in range(wanted):
                if self._play(0)[1]:
                    self._restart()
                    break
        self._executed, self._steps, self._ended = 0, 0, False
        self._capture(0)
        self._stack[:] = self._resize(self._screens[0])
        return self._stack.copy(), self._info(flag_get=False)

    def _restart(self) -> None:
        self.game.reset()
        self._played.clear()

    def _play(self, joypad: int) -> tuple[float, bool, bool]:
        """One raw frame: (reward, whether the game or stage is over, whether flag or axe was reached)."""
        self._played.append(joypad)
        _, reward, done, info = self.game.step(joypad)
        return reward, done, info["flag_get"]

    def _capture(self, index: int) -> None:
        self._to_grey(self.game.bgrx, dst=self._screens[index])

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One agent step: up to ``frame_skip`` raw frames, fewer if the game or stage ends within them.

        Raises:
            RuntimeError: the episode has ended (or never began) and `reset` was not called.
        """
        self._require_begun()
        joypad, p, skip = self._joypad_bytes[action], self.options.sticky_action_prob, self.options.frame_skip
        total, filled, terminated, flag_get = 0.0, 0, False, False
        for frame in range(skip):
            if p == 0.0 or self.np_random.random() >= p:
                self._executed = joypad
            reward, terminated, flag = self._play(self._executed)
            total += reward
            # In the whole game a flag is seen for one raw frame, then the next stage has begun.
            flag_get = flag_get or flag
            if terminated or frame >= skip - 2:
                self._capture(filled)
                filled += 1
            if terminated:
                break
        screen = self._screens[0]
        if filled == 2:
            np.maximum(screen, self._screens[1], out=screen)
        self._stack[:-1] = self._stack[1:]
        self._stack[-1] = self._resize(screen)
        self._steps += 1
        limit = self.options.max_steps
        truncated = not terminated and limit is not None and self._steps >= limit
        self._ended = terminated or truncated
        reward = total * self.options.reward_scale
        return self._stack.copy(), reward, terminated, truncated, self._info(flag_get)

    def _info(self, flag_get: bool) -> dict[str, Any]:
        info = self.game._get_info()
        del info["status"]  # a string: vector environments gather numbers
        info["flag_get"] = flag_get
        info["life"] = -1 if info["life"] == _GAME_OVER_LIFE else info["life"]
        info[PROGRESS] = info["x_pos"]
        info[ROOM] = (info["world"] - 1) * len(_STAGES) + info["stage"]
        return info

    def _picture(self) -> np.ndarray:
        return self.game.screen

    def _own_state(self) -> dict[str, Any]:
        # The emulator has no state that can leave its process, but it is deterministic: one byte for each raw frame
        # since the reset says all. Playing 500 of them (125 agent steps) again takes about a second.
        return {"screen": zlib.crc32(self.game.bgrx), "executed": self._executed, "steps": self._steps}

    def _replay(self, state: dict[str, Any]) -> None:
        self._restart()
        for joypad in bytes(state["played"]):
            if self.game.done:
                break
            self._play(joypad)
        if zlib.crc32(self.game.bgrx) != state["screen"]:
            raise ConfigError(
                "state", "played again it leads to another screen; was it saved in another stage or rom_mode?"
            )
        self._executed, self._steps = state["executed"], state["steps"]


def _require(env_id: str) -> None:
    parse_mario_id(env_id)
    import_mario()


FAMILY = EnvironmentFamily(
    "rllib_rnd/SuperMarioBros-v0 or -<world>-<stage>-v0",
    'Super Mario Bros., the game or one stage (pip install "rllib_rnd[mario]")',
    MarioOptions,
    own_ids=tuple(mario_ids()),
    matches=lambda env_id: env_id.startswith(MARIO_PREFIX),
    require=_require,
    make=lambda wanted: MarioEnv(parse_mario_id(wanted.env_id), wanted.options, wanted.render_mode),
    stack=lambda options: FrameStack(options.frame_stack),
)
