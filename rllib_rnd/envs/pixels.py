"""Any gymnasium environment that renders pictures, seen as these pictures; classic control from pixels above all.

The picture takes the place of the observation: grey, shrunk to a square, the last K stacked, as is usual for Atari
(Mnih et al. 2015). Rendering costs far more than the physics of classic control: milliseconds, not microseconds.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, load_env_creator

from rllib_rnd.envs.by_id import find_spec, make_by_id
from rllib_rnd.envs.family import (
    EnvironmentFamily,
    FrameStack,
    Wanted,
    check_render_mode,
    check_saved_stack,
    frame_resizer,
)
from rllib_rnd.envs.plain import plain_env
from rllib_rnd.envs.saving import clone_state, restore_state, why_not_saved
from rllib_rnd.errors import ConfigError, at
from rllib_rnd.options import option, parse_options

PIXELS = "rllib_rnd/Pixels-v0"


@dataclass(frozen=True)
class PixelsOptions:
    """Options of Pixels (``env_config``)."""

    id: str = option("", "gymnasium id of the environment that is seen, for example CartPole-v1; required")
    kwargs: dict[str, Any] = option({}, "keyword arguments of gymnasium.make for that environment")
    frame_size: int = option(84, "height and width of the observation", low=36, high=512)
    frame_stack: int = option(4, "frames in one observation, newest last", low=1, high=16)
    frame_skip: int = option(
        1, "steps of that environment per agent step; rewards are added up, the last picture is seen", low=1, high=60
    )
    interpolation: str = option(
        "area",
        "how pictures are shrunk; linear is cheaper but skips pixels, and thin lines with them",
        choices=("area", "linear"),
    )
    grayscale: bool = option(True, "true: [K, H, W]; false: colour, [K, H, W, 3]")


class PixelsEnv(gym.Env):
    """One environment seen through its own pictures.

    Observation ``[K, H, W]`` uint8, grey, or ``[K, H, W, 3]``, newest frame last; after a reset all K are the reset
    frame. Actions, rewards and ends are those of the inner environment, its time limit included (which counts its
    own steps, not agent steps). Of its infos, those of the last inner step, the numbers are passed on.

    Args:
        render_mode: None or "rgb_array" (the inner picture, ``[height, width, 3]`` uint8).
        **env_config: see `PixelsOptions`.

    Raises:
        ConfigError: an unknown option, render mode or id, no id, an environment that cannot be made or does not
            render "rgb_array", or a package that it or its pictures need is missing.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - as gymnasium

    def __init__(self, render_mode: str | None = None, **env_config: object) -> None:
        import cv2

        self.options = parse_options(PixelsOptions, env_config)
        check_render_mode(render_mode, self)
        self.render_mode = render_mode
        self.inner = _make_inner(self.options)
        fps = self.inner.metadata.get("render_fps", self.metadata["render_fps"])
        self.metadata = {**self.metadata, "render_fps": fps // self.options.frame_skip or 1}
        size, k = self.options.frame_size, self.options.frame_stack
        shape = (k, size, size) if self.options.grayscale else (k, size, size, 3)
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        self.action_space = self.inner.action_space
        self._to_grey = functools.partial(cv2.cvtColor, code=cv2.COLOR_RGB2GRAY)
        self._resize = frame_resizer(size, self.options.interpolation)
        self._stack = np.zeros(shape, dtype=np.uint8)
        self._ended = True
        # A package that is missing for pictures shows when the first is drawn: here, and not in the middle of a run.
        self.inner.reset()
        self._picture()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode; ``seed`` and ``options`` go to the inner environment."""
        super().reset(seed=seed)
        _, info = self.inner.reset(seed=seed, options=options)
        self._ended = False
        self._stack[:] = self._frame()
        return self._stack.copy(), _numbers(info)

    def step(self, action: int | np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One agent step: up to ``frame_skip`` inner steps, fewer if the episode ends within them.

        Raises:
            RuntimeError: the episode has ended (or never began) and `reset` was not called.
        """
        if self._ended:
            raise RuntimeError("The episode is over: call reset() before step().")
        total = 0.0
        for _ in range(self.options.frame_skip):
            _, reward, terminated, truncated, info = self.inner.step(action)
            total += float(reward)
            self._ended = terminated or truncated
            if self._ended:
                break
        self._stack[:-1] = self._stack[1:]
        self._stack[-1] = self._frame()
        return self._stack.copy(), total, bool(terminated), bool(truncated), _numbers(info)

    def _frame(self) -> np.ndarray:
        picture = self._picture()
        return self._resize(self._to_grey(picture) if self.options.grayscale else picture)

    def _picture(self) -> np.ndarray:
        """The inner environment's picture, ``[height, width, 3]`` uint8.

        Raises:
            ConfigError: a package is missing, or what is rendered is no picture.
        """
        name = self.options.id
        try:
            picture: Any = self.inner.render()
        except gym.error.DependencyNotInstalled as error:
            if "pygame" not in str(error):
                raise ConfigError("id", f"pictures of {name!r} need a package ({error})") from error
            raise ConfigError(
                "id",
                f"pictures of {name!r} need pygame, which is not installed. Install it: "
                'pip install "rllib_rnd[classic-control]"',
            ) from error
        if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
            found = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
            raise ConfigError("id", f"{name!r} renders {found}; needed is uint8 [height, width, 3]")
        return picture

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The inner environment's picture, ``[height, width, 3]`` uint8, or None without a render mode."""
        return self._picture() if self.render_mode == "rgb_array" else None

    def clone_state(self) -> dict[str, Any]:
        """Saves stack and inner environment, if that can be saved (see `why_no_state`)."""
        return {"inner": clone_state(self.inner), "stack": self._stack.copy(), "ended": self._ended}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state, also in another process.

        Raises:
            ConfigError: the state was saved with another frame size or stack.
        """
        check_saved_stack(state["stack"], self._stack)
        restore_state(self.inner, state["inner"])
        self._stack[:], self._ended = state["stack"], state["ended"]

    @property
    def why_no_state(self) -> str | None:
        """Why the inner environment cannot be saved, in words; None: it can."""
        return why_not_saved(self.inner)

    def close(self) -> None:
        """Closes the inner environment."""
        self.inner.close()


def _make_inner(options: PixelsOptions) -> gym.Env:
    """Makes the environment that is seen, in render mode "rgb_array".

    Raises:
        ConfigError: no id, an unknown one, an environment that does not render "rgb_array", wrong arguments, or a
            missing package.
    """
    if not options.id:
        raise ConfigError("id", "missing; give the gymnasium id of an environment, for example CartPole-v1")
    fixed = sorted({"id", "render_mode"} & set(options.kwargs))
    if fixed:
        raise ConfigError("kwargs", f"{fixed} cannot be set there; the render mode is always 'rgb_array'")
    # pygame switches sound on along with the rest; without a sound card that fills stderr with warnings. Likewise it
    # looks for a screen, which servers lack and pictures do not need.
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    if not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    with at("id"):
        spec = find_spec(options.id)
    # Looked at before an environment is made, for one asked for a render mode that it lacks fails in its own way.
    _require_rgb_array(options.id, _env_class(spec))
    inner = make_by_id(options.id, options.kwargs, "rgb_array", name_path="id", arguments_path="kwargs")
    _require_rgb_array(options.id, inner)  # again, for entry points that are functions
    return inner


def _env_class(spec: EnvSpec) -> object:
    """The class or function behind an id; None where a package for it is missing."""
    entry = spec.entry_point
    try:
        return load_env_creator(entry) if isinstance(entry, str) else entry
    except (ImportError, gym.error.DependencyNotInstalled):
        return None  # making the environment will say which


def _require_rgb_array(env_id: str, env_or_class: object) -> None:
    modes = getattr(env_or_class, "metadata", {}).get("render_modes")
    if modes is not None and "rgb_array" not in modes:
        raise ConfigError("id", f"{env_id!r} has the render modes {list(modes)}; needed is 'rgb_array'")


def _numbers(info: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if isinstance(value, (bool, int, float, np.number, np.bool_))}


def _make(wanted: Wanted[PixelsOptions]) -> gym.Env:
    check_render_mode(wanted.render_mode, PixelsEnv)
    with at("env_config"):
        env = PixelsEnv(wanted.render_mode, **vars(wanted.options))
    return plain_env(env)  # actions are those of the environment that is seen


FAMILY = EnvironmentFamily(
    PIXELS,
    "any gymnasium environment as rendered pixels",
    PixelsOptions,
    own_ids=(PIXELS,),
    make=_make,
    stack=lambda options: FrameStack(options.frame_stack),
)
