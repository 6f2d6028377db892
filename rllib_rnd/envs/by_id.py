"""Environments that are not this package's: any gymnasium id, and classes named by their import path."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv

from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.errors import ConfigError, unknown_name_error
from rllib_rnd.options import import_path

GYM_VERSION = re.compile(r"-v\d+\Z")
RULE = "Allowed: what `rllib list environments` prints, any gymnasium id, module:Id-v0, package.module:Class."


def find_spec(env_id: str, also_known: Iterable[str] = ()) -> Any:
    """Looks an id up in gymnasium's registry, the module before its colon imported.

    Args:
        env_id: the id.
        also_known: names that are not in that registry but may have been meant.

    Raises:
        ConfigError: unknown id, with the nearest ones, or a module that does not import.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"env: cannot import {module!r} of {env_id!r} ({error}).") from error
    if name in gym.registry:
        return gym.registry[name]
    if not GYM_VERSION.search(name):
        # Gymnasium takes the newest version of an id without one; a run must say what it ran.
        versions = sorted(known for known in gym.registry if GYM_VERSION.sub("", known) == name)
        if versions:
            raise ConfigError(f"env: {env_id!r} has no version; allowed: {versions}.")
    close = difflib.get_close_matches(env_id, dict.fromkeys([*gym.registry, *also_known]), n=3, cutoff=0.5)
    hint = f" Nearest: {', '.join(close)}." if close else ""
    raise ConfigError(f"env: unknown environment {env_id!r}.{hint} {RULE}")


def gymnasium_maker(env_id: str, config: dict[str, Any], render_mode: str | None) -> Callable[[], gym.Env]:
    """A function that makes one environment of a gymnasium id; the id is checked now."""
    find_spec(env_id)
    return functools.partial(_make_gymnasium, env_id, _with_render_mode(config, render_mode))


def gymnasium_vector(env_id: str, num_envs: int, config: dict[str, Any], num_threads: int | None) -> VectorEnv:
    """Copies of a single environment, or the id's own vector environment where it has no other.

    Raises:
        ConfigError: bad arguments, a missing package, or an autoreset mode that is not NEXT_STEP.
    """
    if find_spec(env_id).entry_point is not None:
        return LeanVectorEnv([gymnasium_maker(env_id, config, None)] * num_envs)
    try:
        env = gym.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point", **config)
    except (TypeError, gym.error.Error, ImportError) as error:
        raise _creation_error(env_id, config, error) from error
    return _checked(env, env_id, num_envs)


def imported_maker(env_id: str, config: dict[str, Any], render_mode: str | None) -> Callable[[], gym.Env]:
    """A function that makes one environment of a class named by its import path; its arguments are checked now.

    Raises:
        ConfigError: the class is a vector environment, or does not take these arguments.
    """
    cls = import_path(env_id, "env")
    config = _with_render_mode(config, render_mode)
    if inspect.isclass(cls) and issubclass(cls, VectorEnv):
        raise ConfigError(f"env: {env_id!r} is a vector environment; a single one is needed here.")
    _check_arguments(cls, config, env_id)
    return functools.partial(_flat, cls, config)


def imported_vector(env_id: str, num_envs: int, config: dict[str, Any], num_threads: int | None) -> VectorEnv:
    """Copies of an imported environment, or an imported vector environment.

    Raises:
        ConfigError: as `imported_maker`, or an autoreset mode that is not NEXT_STEP.
    """
    cls = import_path(env_id, "env")
    if inspect.isclass(cls) and issubclass(cls, VectorEnv):
        config = {"num_envs": num_envs, **config}
        _check_arguments(cls, config, env_id)
        return _checked(cls(**config), env_id, num_envs)
    return LeanVectorEnv([imported_maker(env_id, config, None)] * num_envs)


def _with_render_mode(config: dict[str, Any], render_mode: str | None) -> dict[str, Any]:
    return config if render_mode is None else {**config, "render_mode": render_mode}


def _make_gymnasium(env_id: str, config: dict[str, Any]) -> gym.Env:
    try:
        # Gymnasium's checker warns about style at each first step; the spaces are checked where they are used.
        return _flat(gym.make, {"id": env_id, "disable_env_checker": True, **config})
    except (TypeError, gym.error.Error, ImportError) as error:
        raise _creation_error(env_id, config, error) from error


def _flat(make: Callable[..., gym.Env], arguments: dict[str, Any]) -> gym.Env:
    """Makes an environment; observations that are dictionaries or tuples of numbers become one vector."""
    env = make(**arguments)
    space = env.observation_space
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple) and space.is_np_flattenable:
        env = gym.wrappers.FlattenObservation(env)
    return env


def _checked(env: VectorEnv, env_id: str, num_envs: int) -> VectorEnv:
    """Refuses a vector environment that would hand the runner something else than it expects."""
    mode = env.metadata.get("autoreset_mode")
    problem = None
    if mode != AutoresetMode.NEXT_STEP:
        problem = (
            f"has autoreset mode {getattr(mode, 'name', repr(mode))}; allowed is NEXT_STEP (set "
            "metadata['autoreset_mode'] to gymnasium.vector.AutoresetMode.NEXT_STEP; step() must do so)"
        )
    elif env.num_envs != num_envs:
        problem = f"holds {env.num_envs} environments; {num_envs} were asked for by its argument num_envs"
    elif not isinstance(env.single_observation_space, gym.spaces.Box):
        problem = f"has observations {env.single_observation_space}; allowed is one array (Box)"
    if problem:
        env.close()
        raise ConfigError(f"env: the vector environment {env_id!r} {problem}.")
    return env


def _check_arguments(maker: Callable[..., Any], config: Mapping[str, Any], env_id: str) -> None:
    """Refuses keyword arguments that a class does not take.

    Raises:
        ConfigError: naming the argument and the nearest that exists, or one that is missing.
    """
    if not callable(maker):
        raise ConfigError(f"env: {env_id!r} is not a class or a function that makes an environment.")
    try:
        signature = inspect.signature(maker)
    except (TypeError, ValueError):
        return
    kinds = signature.parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in kinds):
        names = [p.name for p in kinds if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        for key in config:
            if key not in names:
                raise unknown_name_error("key", key, names, f"env_config (arguments of {env_id})")
    try:
        signature.bind(**config)
    except TypeError as error:
        raise ConfigError(f"env_config: {env_id} cannot be made with {dict(config)} ({error}).") from error


def _creation_error(env_id: str, config: Mapping[str, Any], error: Exception) -> ConfigError:
    """Turns what gymnasium raised into the clearest error: a wrong argument is named with the nearest one."""
    if isinstance(error, gym.error.DependencyNotInstalled | ImportError):
        return ConfigError(f"env: {env_id!r} needs a package that is missing ({error}).")
    spec = gym.registry.get(env_id.rpartition(":")[2])
    entry = spec.entry_point if spec is not None else None
    if isinstance(entry, str):
        entry = import_path(entry, "env")
    if entry is not None:
        try:
            _check_arguments(entry, {**(spec.kwargs if spec else {}), **config}, env_id)
        except ConfigError as clearer:
            return clearer
    return ConfigError(f"env_config: {env_id} cannot be made with {dict(config)} ({error}).")
