"""Atari on vector environments written in C++: ale-py's own, and envpool (which also tells the console's memory).

Both step all games in threads, without a worker process for each. Only single frames are taken from them: the
stack is kept here, so that it is the one of `AtariEnv` (after a reset all K frames are the reset frame).

What differs from `AtariEnv`, by the native code: sticky actions and no-ops come from the emulator's random stream, a
game that ends within a skip shows the maximum with an older frame in its last observation, and states cannot be saved.
"""

from __future__ import annotations

import abc
import importlib.util
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rllib_rnd.envs.atari_options import (
    FLICKER_STREAM,
    ROOM_BYTES,
    AtariOptions,
    action_names,
    atari_games,
    room_of,
)
from rllib_rnd.envs.info import EPISODE_FRAME_NUMBER, GAME_GOES_ON, LIVES, ROOM
from rllib_rnd.envs.vector import Seed
from rllib_rnd.errors import ConfigError

_NO_CAP = 2**30  # raw frames: half a year of play


Infos = Mapping[str, np.ndarray]  # of all games, by name


class NativeStep(NamedTuple):
    """What native code returns for N games: ``frame [N, H, W]``, ``[N]`` arrays, console memory or None."""

    frame: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    lives: np.ndarray
    frame_number: np.ndarray
    ram: np.ndarray | None


class NativeAtariVectorEnv(VectorEnv, abc.ABC):
    """N games in C++ threads, in gymnasium's NEXT_STEP mode; observation, reward and info as `AtariEnv`.

    Args:
        game: name as in the gymnasium id.
        num_envs: N.
        options: see `AtariOptions`.
        num_threads: threads that step the games.
    """

    def __init__(self, game: str, num_envs: int, options: AtariOptions, num_threads: int) -> None:
        self.game, self.options, self.num_envs, self._num_threads = game, options, num_envs, num_threads
        self._rom = atari_games()[game]
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.render_mode, self.spec = None, None
        size = options.frame_size
        shape = (options.frame_stack, size, size)
        self.single_observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        # A subset is chosen from all 18 actions, which native code numbers as the joystick does.
        self._all_actions = options.full_action_space or options.actions is not None
        num_actions = self._make()
        self._joystick = None
        if options.actions is not None:
            self._joystick = np.array([action_names()[name] for name in options.actions])
            num_actions = len(options.actions)
        self.single_action_space = gym.spaces.Discrete(num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._stack = np.zeros((num_envs, *shape), np.uint8)
        self._was_done = np.zeros(num_envs, bool)
        self._flicker_random = np.random.default_rng()

    #: Why states cannot be saved.
    why_no_state = "its backend in C++ keeps the games to itself; env_config.backend: gymnasium does not"

    @abc.abstractmethod
    def _make(self) -> int:
        """Makes what can be made without a seed; returns the number of actions."""

    @abc.abstractmethod
    def _reset(self, seed: int | None) -> tuple[np.ndarray, Infos]:
        """Resets all games, game i with ``seed + i``; without a seed the random streams go on."""

    @abc.abstractmethod
    def _step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Steps all games, as gymnasium does; those that had ended are reset instead."""

    @abc.abstractmethod
    def _told(self, info: Infos) -> tuple[np.ndarray, np.ndarray | None]:
        """Raw frames since each game began, ``[N]``, and the consoles' memory, ``[N, 128]``, where it is told."""

    def _native(
        self, obs: np.ndarray, reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, info: Infos
    ) -> NativeStep:
        return NativeStep(obs[:, 0], reward, terminated, truncated, info["lives"], *self._told(info))

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Resets every game; ``obs [N, K, H, W]`` uint8.

        Raises:
            ConfigError: a list of seeds, which the native code does not take.
        """
        if seed is not None and not isinstance(seed, (int, np.integer)):
            raise ConfigError("seed", f"{seed!r} is not supported by native Atari environments", "one int")
        obs, info = self._reset(None if seed is None else int(seed))
        nothing = np.zeros(self.num_envs, bool)
        new = self._native(obs, np.zeros(self.num_envs), nothing, nothing, info)
        if seed is not None:
            self._flicker_random = np.random.default_rng([int(seed), FLICKER_STREAM])
        self._was_done[:] = True
        self._push(new.frame)
        self._was_done[:] = False
        return self._observation(), self._info(new)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One agent step of every game: ``obs [N, K, H, W]``, then ``[N]`` arrays, then infos."""
        actions = np.asarray(actions)
        new = self._native(*self._step(actions if self._joystick is None else self._joystick[actions]))
        self._push(new.frame)
        self._was_done = new.terminated | new.truncated
        return self._observation(), new.reward.astype(np.float64), new.terminated, new.truncated, self._info(new)

    def _push(self, frame: np.ndarray) -> None:
        """Adds new frames ``[N, H, W]``; games that were reset begin with K of them."""
        # A fresh array each step: a caller may keep what it was given.
        stack = np.empty_like(self._stack)
        stack[:, :-1] = self._stack[:, 1:]
        if self.options.flicker_prob > 0.0:
            blank = self._flicker_random.random(self.num_envs) < self.options.flicker_prob
            frame = np.where(blank[:, None, None], np.uint8(0), frame)
            if self.options.flicker_level == "stack":
                stack[blank] = 0
        stack[:, -1] = frame
        stack[self._was_done] = frame[self._was_done, None]
        self._stack = stack

    def _observation(self) -> np.ndarray:
        return self._stack[:, ::-1].copy() if self.options.stack_order == "newest_first" else self._stack

    def _info(self, new: NativeStep) -> dict[str, Any]:
        info = {LIVES: new.lives, EPISODE_FRAME_NUMBER: new.frame_number}
        if self.options.terminal_on_life_loss:
            info[GAME_GOES_ON] = new.terminated & (new.lives > 0)
        if self._rom in ROOM_BYTES and new.ram is not None:
            info[ROOM] = room_of(self._rom, new.ram)
        return {**info, **{f"_{key}": np.ones(self.num_envs, bool) for key in info}}


class AleAtariVectorEnv(NativeAtariVectorEnv):
    """ale-py's `AtariVectorEnv`. It does not tell the console's memory: no rooms."""

    def _make(self) -> int:
        from ale_py.vector_env import AtariVectorEnv

        o = self.options
        self._env = AtariVectorEnv(
            self._rom,
            self.num_envs,
            num_threads=self._num_threads,
            max_num_frames_per_episode=o.max_frames or _NO_CAP,
            repeat_action_probability=o.sticky_action_prob,
            full_action_space=self._all_actions,
            img_height=o.frame_size,
            img_width=o.frame_size,
            stack_num=1,
            frameskip=o.frame_skip,
            maxpool=o.frame_skip > 1,
            noop_max=o.noop_max,
            episodic_life=o.terminal_on_life_loss,
            reward_clipping=False,
            use_fire_reset=False,
        )
        return int(self._env.single_action_space.n)

    def _reset(self, seed: int | None) -> tuple[np.ndarray, Infos]:
        obs, info = self._env.reset(seed=seed)
        return obs, info

    def _step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Infos]:
        obs, reward, terminated, truncated, info = self._env.step(actions.astype(np.int64, copy=False))
        return obs, reward, terminated, truncated, info

    def _told(self, info: Infos) -> tuple[np.ndarray, np.ndarray | None]:
        return info["episode_frame_number"], None

    def close_extras(self, **_: object) -> None:
        """Ends the threads."""
        self._env.close()


class EnvPoolAtariVectorEnv(NativeAtariVectorEnv):
    """envpool (Weng et al. 2022, arXiv:2206.10558), the one native backend that can report rooms.

    It plays at least one raw frame of no-op after a reset (none at all crashes it), and its games are seeded when they
    are made: `reset(seed=)` makes them anew.
    """

    def _make(self) -> int:
        import envpool

        o = self.options
        self._arguments: dict[str, Any] = {
            "task_id": f"{self.game}-v5",
            "num_envs": self.num_envs,
            "num_threads": self._num_threads,
            "max_episode_steps": max(1, (o.max_frames or _NO_CAP) // o.frame_skip),
            "stack_num": 1,
            "frame_skip": o.frame_skip,
            "noop_max": max(1, o.noop_max),
            "episodic_life": o.terminal_on_life_loss,
            "use_fire_reset": False,
            "img_height": o.frame_size,
            "img_width": o.frame_size,
            "full_action_space": self._all_actions,
            "repeat_action_probability": o.sticky_action_prob,
            "use_inter_area_resize": o.interpolation == "area",
        }
        self._env: Any = None
        spec_arguments = {key: value for key, value in self._arguments.items() if key != "num_envs"}
        return int(envpool.make_spec(**spec_arguments).action_space.n)

    def _reset(self, seed: int | None) -> tuple[np.ndarray, Infos]:
        import envpool

        if self._env is None or seed is not None:
            first = int(np.random.SeedSequence().generate_state(1)[0] % 2**30) if seed is None else seed
            self._env = envpool.make_gymnasium(**self._arguments, env_seed=[first + i for i in range(self.num_envs)])
        obs, info = self._env.reset()
        return obs, info

    def _step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Infos]:
        obs, reward, terminated, truncated, info = self._env.step(actions.astype(np.int32, copy=False))
        return obs, reward, terminated, truncated, info

    def _told(self, info: Infos) -> tuple[np.ndarray, np.ndarray | None]:
        return info["elapsed_step"] * self.options.frame_skip, info["ram"]

    def close_extras(self, **_: object) -> None:
        """Ends the threads."""
        self._env = None


_NATIVE: dict[str, type[NativeAtariVectorEnv]] = {"ale": AleAtariVectorEnv, "envpool": EnvPoolAtariVectorEnv}


def atari_backend(game: str, options: AtariOptions) -> tuple[str, str]:
    """Which backend steps the games, and why.

    Returns:
        ``gymnasium``, ``ale`` or ``envpool``; the reason in one sentence.

    Raises:
        ConfigError: the backend asked for is not installed, or cannot do what the options ask.
    """
    why_not = {name: _obstacle(name, options) for name in _NATIVE}
    if options.backend != "auto":
        obstacle = why_not.get(options.backend)
        if obstacle:
            raise ConfigError("backend", f"{options.backend!r} is not possible: {obstacle}")
        return options.backend, "asked for by env_config.backend"
    if atari_games()[game] in ROOM_BYTES:
        if why_not["envpool"] is None:
            return "envpool", "the fastest that reports rooms"
        return "gymnasium", f"reports rooms, a process per core steps its games; {why_not['envpool']}"
    for name in ("ale", "envpool"):  # the faster one first, see benchmarks/results/environments.md
        if why_not[name] is None:
            return name, f"{game} has no known rooms, so the fastest installed"
    return "gymnasium", str(why_not["ale"])


def _obstacle(backend: str, options: AtariOptions) -> str | None:
    """Why a native backend cannot be used, or None."""
    if backend == "envpool" and importlib.util.find_spec("envpool") is None:
        return 'envpool is not installed: pip install "rllib_rnd[envpool]"'
    if backend == "ale" and options.interpolation != "area":
        return f"ale shrinks frames by 'area' only, env_config.interpolation is {options.interpolation!r}."
    unlike = {"grayscale": options.grayscale, "fire_reset": not options.fire_reset}
    unlike["sticky_level"] = options.sticky_level == "frame" or options.sticky_action_prob == 0.0
    for name, possible in unlike.items():
        if not possible:
            return f"native code cannot do env_config.{name} {getattr(options, name)!r}."
    return None


def make_native_atari(
    backend: str, game: str, num_envs: int, options: AtariOptions, num_threads: int
) -> NativeAtariVectorEnv:
    """Makes N games on the backend that `atari_backend` named."""
    return _NATIVE[backend](game, num_envs, options, num_threads)
