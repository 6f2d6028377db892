"""What a family of environments is: names, options, makers; and the small checks that several of them share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.errors import ConfigError, at
from rllib_rnd.options import parse_options

Options = TypeVar("Options")

#: Backends whose environments are stepped by threads in C++.
NATIVE_BACKENDS = ("ale", "envpool")


class FrameStack(NamedTuple):
    """How the frames of an observation lie on its axis 0: ``size`` of them, the newest last or first."""

    size: int = 1
    newest_first: bool = False


@dataclass(frozen=True)
class Wanted(Generic[Options]):
    """What a family is asked for: environments of one name with one set of options.

    Attributes:
        env_id: the name.
        options: checked.
        render_mode: of single environments.
        num_envs: how many.
        num_threads: threads for environments written in C++; None for one per core.
    """

    env_id: str
    options: Options
    render_mode: str | None = None
    num_envs: int = 1
    num_threads: int | None = None

    @property
    def threads(self) -> int:
        """Threads that are of use: no more than environments."""
        return min(self.num_envs, self.num_threads or os.cpu_count() or 1)


@dataclass(frozen=True)
class EnvironmentFamily(Generic[Options]):
    """One kind of environment. The file that defines it ends with one; `registry` lists them.

    The paths of what `require` and `read` raise are completed here, by ``env`` and ``env_config``.

    Attributes:
        pattern: what its names look like.
        description: one line.
        options_class: dataclass of its ``env_config``; None where that holds free arguments.
        make: makes one environment.
        own_ids: names that begin with this package's; they are registered with gymnasium too.
        matches: whether a name belongs to it; None: it is one of `own_ids`.
        require: looks for the name and the packages it needs; raises `ConfigError`.
        read: checks ``env_config``; None: the fields of `options_class`, each on its own.
        make_vector: makes a vector environment, or returns None for copies of single ones; None: always copies.
        stack: how frames are stacked; None: there is one.
        backend: which of several backends steps it, and why; None: there is one.
        processes: how many processes of their own step a vector of them, 0 for none; None: none.
    """

    pattern: str
    description: str
    options_class: type[Options] | None
    make: Callable[[Wanted[Options]], gym.Env]
    own_ids: tuple[str, ...] = ()
    matches: Callable[[str], bool] | None = None
    require: Callable[[str], object] | None = None
    read: Callable[[Mapping[str, Any]], Options] | None = None
    make_vector: Callable[[Wanted[Options]], VectorEnv | None] | None = None
    stack: Callable[[Options], FrameStack] | None = None
    backend: Callable[[Wanted[Options]], tuple[str, str]] | None = None
    processes: Callable[[Wanted[Options]], int] | None = None

    def owns(self, env_id: str) -> bool:
        """Whether a name belongs to this family."""
        return env_id in self.own_ids if self.matches is None else self.matches(env_id)

    def single(self, env_id: str, env_config: Mapping[str, Any], render_mode: str | None) -> gym.Env:
        """A single environment.

        Raises:
            ConfigError: a wrong name or option, or a missing package.
        """
        self._check_name(env_id)
        return self.make(Wanted(env_id, self._options(env_config), render_mode))

    def vector(self, env_id: str, num_envs: int, env_config: Mapping[str, Any], num_threads: int | None) -> VectorEnv:
        """A vector environment in NEXT_STEP autoreset mode.

        Raises:
            ConfigError: as `single`.
        """
        self._check_name(env_id)
        wanted = Wanted(env_id, self._options(env_config), None, num_envs, num_threads)
        env = None if self.make_vector is None else self.make_vector(wanted)
        return LeanVectorEnv([functools.partial(self.make, wanted)] * num_envs) if env is None else env

    def frame_stack(self, env_config: Mapping[str, Any]) -> FrameStack:
        """How frames are stacked on axis 0 of an observation.

        Raises:
            ConfigError: a wrong option.
        """
        return FrameStack() if self.stack is None else self.stack(self._options(env_config))

    def find_backend(self, env_id: str, env_config: Mapping[str, Any]) -> tuple[str, str] | None:
        """Which of several backends steps it, and why; None where there is one.

        Raises:
            ConfigError: as `vector`, or the backend that is asked for cannot do it.
        """
        if self.backend is None:
            return None
        self._check_name(env_id)
        return self.backend(Wanted(env_id, self._options(env_config)))

    def count_processes(
        self, env_id: str, num_envs: int, env_config: Mapping[str, Any], num_threads: int | None
    ) -> int:
        """How many processes of their own step the environments of `vector`.

        Raises:
            ConfigError: as `find_backend`.
        """
        if self.processes is None:
            return 0
        self._check_name(env_id)
        return self.processes(Wanted(env_id, self._options(env_config), None, num_envs, num_threads))

    def _check_name(self, env_id: str) -> None:
        if self.require is not None:
            with at("env"):
                self.require(env_id)

    def _options(self, env_config: Mapping[str, Any]) -> Options:
        with at("env_config"):
            if self.read is not None:
                return self.read(env_config)
            assert self.options_class is not None  # free arguments have a `read`
            return parse_options(self.options_class, env_config)


def check_num_envs(num_envs: int) -> None:
    """Refuses a number of environments that is none.

    Raises:
        ConfigError: it is not a whole number of 1 or more.
    """
    if not isinstance(num_envs, int) or num_envs < 1:
        raise ConfigError("num_envs", f"{num_envs!r} is out of range", "a whole number, 1 or more")


def check_render_mode(render_mode: str | None, env: gym.Env | VectorEnv | type[gym.Env]) -> None:
    """Refuses a render mode that an environment does not have.

    Raises:
        ConfigError: it is neither None nor one of the environment's metadata.
    """
    allowed = [None, *env.metadata["render_modes"]]
    if render_mode not in allowed:
        raise ConfigError("render_mode", f"{render_mode!r} is not one of {allowed}")


def check_saved_stack(saved: np.ndarray, own: np.ndarray) -> None:
    """Refuses a saved state whose stack of frames has another shape than the environment's.

    Raises:
        ConfigError: the shapes differ.
    """
    if saved.shape != own.shape:
        raise ConfigError("state", f"saved with stack {saved.shape}, this environment's is {own.shape}")


def frame_resizer(size: int, interpolation: str = "area") -> Callable[[np.ndarray], np.ndarray]:
    """A function that shrinks a picture to ``size`` x ``size`` pixels, by area or linear interpolation."""
    import cv2

    method = cv2.INTER_AREA if interpolation == "area" else cv2.INTER_LINEAR
    return functools.partial(cv2.resize, dsize=(size, size), interpolation=method)
