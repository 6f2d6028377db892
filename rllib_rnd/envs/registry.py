"""The families of environments, in the order in which a name is looked for in them; from a name to an environment."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from rllib_rnd.envs import atari, by_id, catch, deep_sea, doom, mario, minigrid, pixels, point_maze, warehouse
from rllib_rnd.envs.family import NATIVE_BACKENDS, EnvironmentFamily, FrameStack, check_num_envs
from rllib_rnd.envs.makers import EnvSpecifier, env_name
from rllib_rnd.errors import ConfigError

_FAMILIES: tuple[EnvironmentFamily[Any], ...] = (
    atari.FAMILY,
    mario.FAMILY,
    doom.FAMILY,
    deep_sea.FAMILY,
    catch.FAMILY,
    point_maze.FAMILY,
    warehouse.FAMILY,
    pixels.FAMILY,
    minigrid.FAMILY,
    by_id.OWN_FAMILY,
    by_id.GYMNASIUM_FAMILY,  # last: it takes any name
)


def list_environments() -> list[EnvironmentFamily[Any]]:
    """Returns the families, in the order in which a name is looked for in them."""
    return list(_FAMILIES)


def find_family(env: EnvSpecifier | None) -> tuple[EnvironmentFamily[Any], str]:
    """Returns the family that an environment belongs to, and its name.

    Args:
        env: a name, or a class or function that makes an environment.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(env, str) and env:
        return next(family for family in _FAMILIES if family.owns(env)), env
    if callable(env):
        return by_id.own_family(env), env_name(env)
    raise ConfigError("env", f"{env!r} is no environment name", [family.pattern for family in _FAMILIES])


def own_ids() -> list[str]:
    """Returns the ids that begin with this package's name."""
    return [env_id for family in _FAMILIES for env_id in family.own_ids]


def register_environments() -> None:
    """Registers the package's own ids with gymnasium, for `gymnasium.make` and `gymnasium.make_vec`."""
    for env_id in own_ids():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point=functools.partial(_gymnasium_entry, env_id),
                vector_entry_point=functools.partial(_gymnasium_vector_entry, env_id),
            )


def env_config_class(env: EnvSpecifier) -> type | None:
    """Returns the options dataclass of an environment's ``env_config``; None where it holds free arguments.

    Raises:
        ConfigError: ``env`` is neither a name nor what makes an environment.
    """
    return find_family(env)[0].options_class


def frame_stack(env: EnvSpecifier | None, env_config: Mapping[str, Any] | None = None) -> FrameStack:
    """Returns how frames are stacked on axis 0 of an observation.

    Raises:
        ConfigError: bad options.
    """
    return find_family(env)[0].frame_stack(env_config or {})


def make_vector_env(
    env: EnvSpecifier | None, num_envs: int, env_config: Mapping[str, Any] | None = None, num_threads: int | None = None
) -> VectorEnv:
    """Makes ``num_envs`` copies of an environment as one vector environment in NEXT_STEP autoreset mode.

    ``reset(seed=s)`` gives environment i the seed s + i (families in numpy: one stream for all). Rewards are raw.

    Args:
        env: a name, see `list_environments`, or a class or function that makes an environment.
        num_envs: number of environments, at least 1.
        env_config: options of the family, or keyword arguments of the environment.
        num_threads: threads for environments written in C++; None for one per core.

    Raises:
        ConfigError: unknown name (with the nearest ones), bad options, a missing package, a vector
            environment in another autoreset mode.
    """
    family, name = find_family(env)
    check_num_envs(num_envs)
    return family.vector(name, num_envs, env_config or {}, num_threads)


def make_env(
    env: EnvSpecifier | None, env_config: Mapping[str, Any] | None = None, render_mode: str | None = None
) -> gym.Env:
    """Makes a single environment (for videos, checks and own loops); arguments as in `make_vector_env`.

    Raises:
        ConfigError: as `make_vector_env`; or the name is that of a vector environment.
    """
    family, name = find_family(env)
    return family.single(name, env_config or {}, render_mode)


def backend_note(env: EnvSpecifier | None, env_config: Mapping[str, Any] | None = None) -> str | None:
    """Which backend steps an Atari game or a MiniGrid task and why, in one line; None for other environments.

    Raises:
        ConfigError: as `make_vector_env`.
    """
    found = _find_backend(env, env_config)
    return None if found is None else f"{found[0]} ({found[1]})"


def steps_in_threads(env: EnvSpecifier | None, env_config: Mapping[str, Any] | None = None) -> bool:
    """Whether environments are stepped by threads in C++.

    Raises:
        ConfigError: as `make_vector_env`.
    """
    found = _find_backend(env, env_config)
    return found is not None and found[0] in NATIVE_BACKENDS


def count_processes(
    env: EnvSpecifier | None, num_envs: int, env_config: Mapping[str, Any] | None = None, num_threads: int | None = None
) -> int:
    """How many processes of their own step the environments of `make_vector_env`, whose arguments these are.

    Raises:
        ConfigError: as `make_vector_env`.
    """
    family, name = find_family(env)
    return family.count_processes(name, num_envs, env_config or {}, num_threads)


def _find_backend(env: EnvSpecifier | None, env_config: Mapping[str, Any] | None) -> tuple[str, str] | None:
    family, name = find_family(env)
    return family.find_backend(name, env_config or {})


def _gymnasium_entry(env_id: str, render_mode: str | None = None, **env_config: object) -> gym.Env:
    return make_env(env_id, env_config, render_mode)


def _gymnasium_vector_entry(env_id: str, num_envs: int = 1, **env_config: object) -> VectorEnv:
    return make_vector_env(env_id, num_envs, env_config)
