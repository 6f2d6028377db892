"""From an environment's name to a vector environment: which family it belongs to, its options, its maker."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.vector import AutoresetMode, VectorEnv

from rllib_rnd.envs import minigrid
from rllib_rnd.envs.atari import AtariEnv, AtariOptions, atari_games
from rllib_rnd.envs.atari_native import atari_backend, make_native_atari
from rllib_rnd.envs.deep_sea import DeepSeaEnv, DeepSeaOptions, DeepSeaVectorEnv
from rllib_rnd.envs.minigrid import MiniGridOneHotEnv, MiniGridOptions
from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.errors import ConfigError, unknown_name_error
from rllib_rnd.options import import_path, parse_options

DEEP_SEA = "rllib_rnd/DeepSea-v0"
_ATARI = re.compile(r"(?:ALE/(\w+)-v5|(\w+)NoFrameskip-v4)\Z")
_GYM_VERSION = re.compile(r"-v\d+\Z")


class EnvironmentFamily(NamedTuple):
    """A row of `list_environments`."""

    pattern: str
    description: str
    options_class: type | None


_FAMILIES = {
    "atari": EnvironmentFamily(
        "ALE/<Game>-v5 or <Game>NoFrameskip-v4",
        "Atari 2600: sticky actions, grey frame stacks, raw rewards, rooms for five games",
        AtariOptions,
    ),
    "deep_sea": EnvironmentFamily(DEEP_SEA, "DeepSea, bsuite's exploration test, vectorised", DeepSeaOptions),
    "minigrid": EnvironmentFamily(
        "MiniGrid-*", 'MiniGrid with one-hot vectors (pip install "rllib_rnd[minigrid]")', MiniGridOptions
    ),
    "gymnasium": EnvironmentFamily(
        "any other gymnasium id", "gymnasium.make; env_config holds the keyword arguments", None
    ),
    "import": EnvironmentFamily(
        "package.module:Class",
        "your own gymnasium.Env or VectorEnv (NEXT_STEP); env_config: its arguments",
        None,
    ),
}


def list_environments() -> list[EnvironmentFamily]:
    """Returns one row for each kind of environment name: pattern, description, options dataclass or None."""
    return list(_FAMILIES.values())


def register_environments() -> None:
    """Registers the project's own ids with gymnasium, for `gymnasium.make` and `gymnasium.make_vec`."""
    if DEEP_SEA not in gym.registry:
        gym.register(
            DEEP_SEA,
            entry_point="rllib_rnd.envs.deep_sea:DeepSeaEnv",
            vector_entry_point="rllib_rnd.envs.deep_sea:DeepSeaVectorEnv",
        )


def env_config_class(env_id: str) -> type | None:
    """Returns the options dataclass of an environment's ``env_config``; None where it holds free arguments.

    Raises:
        ConfigError: ``env_id`` is not a name.
    """
    return _FAMILIES[_family(env_id)].options_class


def frame_stack(env_id: str, env_config: Mapping[str, Any] | None = None) -> int:
    """Returns K, the number of stacked frames on axis 0 of an observation (newest last); 1 where none are.

    Raises:
        ConfigError: bad options.
    """
    if _family(env_id) != "atari":
        return 1
    return parse_options(AtariOptions, env_config, "env_config").frame_stack


def make_vector_env(
    env_id: str, num_envs: int, env_config: Mapping[str, Any] | None = None, num_threads: int | None = None
) -> VectorEnv:
    """Makes ``num_envs`` copies of an environment as one vector environment in NEXT_STEP autoreset mode.

    ``reset(seed=s)`` gives environment i the seed s + i. Rewards are raw.

    Args:
        env_id: see `list_environments`.
        num_envs: number of environments, at least 1.
        env_config: options of the family, or keyword arguments of the environment.
        num_threads: threads for environments written in C++; None for one per core.

    Raises:
        ConfigError: unknown name (with the nearest ones), bad options, a missing package, a vector
            environment in another autoreset mode.
    """
    family = _family(env_id)
    if not isinstance(num_envs, int) or num_envs < 1:
        raise ConfigError(f"num_envs: {num_envs!r} is out of range; allowed is a whole number, 1 or more.")
    config = dict(env_config or {})
    if family == "deep_sea":
        return DeepSeaVectorEnv(num_envs, **config)
    if family == "import":
        return _make_imported_vector(env_id, num_envs, config)
    if family == "gymnasium":
        return _make_gymnasium_vector(env_id, num_envs, config)
    maker = _env_maker(env_id, config)
    if family == "atari":
        options = parse_options(AtariOptions, config, "env_config")
        backend, _ = atari_backend(_game(env_id), options)
        if backend != "gymnasium":
            threads = min(num_envs, num_threads or os.cpu_count() or 1)
            return make_native_atari(backend, _game(env_id), num_envs, options, threads)
    return LeanVectorEnv([maker] * num_envs)


def backend_note(env_id: str, env_config: Mapping[str, Any] | None = None) -> str | None:
    """Which backend steps an Atari game and why, in one line; None for other environments.

    Raises:
        ConfigError: as `make_vector_env`.
    """
    if _family(env_id) != "atari":
        return None
    backend, reason = atari_backend(_game(env_id), parse_options(AtariOptions, env_config, "env_config"))
    return f"{backend} ({reason})"


def make_env(env_id: str, env_config: Mapping[str, Any] | None = None, render_mode: str | None = None) -> gym.Env:
    """Makes a single environment (for videos, checks and own loops); arguments as in `make_vector_env`.

    Raises:
        ConfigError: as `make_vector_env`; or the name is that of a vector environment.
    """
    return _env_maker(env_id, dict(env_config or {}), render_mode)()


def _family(env_id: str) -> str:
    if not isinstance(env_id, str) or not env_id:
        raise ConfigError(
            f"env: {env_id!r} is no environment name; allowed: {[f.pattern for f in _FAMILIES.values()]}."
        )
    if env_id == DEEP_SEA:
        return "deep_sea"
    if _ATARI.match(env_id):
        return "atari"
    if env_id.startswith("MiniGrid-"):
        return "minigrid"
    if ":" in env_id and not _GYM_VERSION.search(env_id):
        return "import"
    return "gymnasium"


def _env_maker(env_id: str, config: dict[str, Any], render_mode: str | None = None) -> Callable[[], gym.Env]:
    """Checks name and options now; returns a function that makes one environment."""
    family = _family(env_id)
    if family == "atari":
        atari_options = parse_options(AtariOptions, config, "env_config")
        return functools.partial(AtariEnv, _game(env_id), atari_options, render_mode)
    if family == "minigrid":
        minigrid_options = parse_options(MiniGridOptions, config, "env_config")
        minigrid.import_minigrid()
        _find_spec(env_id)
        return functools.partial(MiniGridOneHotEnv, env_id, minigrid_options, render_mode)
    if family == "deep_sea":
        parse_options(DeepSeaOptions, config, "env_config")
        return functools.partial(DeepSeaEnv, render_mode=render_mode, **config)
    if render_mode is not None:
        config = {**config, "render_mode": render_mode}
    if family == "import":
        cls = import_path(env_id, "env")
        if inspect.isclass(cls) and issubclass(cls, VectorEnv):
            raise ConfigError(f"env: {env_id!r} is a vector environment; a single one is needed here.")
        _check_arguments(cls, config, env_id)
        return functools.partial(cls, **config)
    _find_spec(env_id)
    return functools.partial(_make_gymnasium, env_id, config)


def _game(env_id: str) -> str:
    match = _ATARI.match(env_id)
    assert match is not None  # _family said so
    game = match[1] or match[2]
    if game not in atari_games():
        template = "ALE/{}-v5" if match[1] else "{}NoFrameskip-v4"
        raise unknown_name_error("environment", env_id, [template.format(g) for g in atari_games()], "env")
    return game


def _find_spec(env_id: str) -> Any:
    """Looks an id up in gymnasium's registry, the module before its colon imported.

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
    if not _GYM_VERSION.search(name):
        # Gymnasium takes the newest version of an id without one; a run must say what it ran.
        versions = sorted(known for known in gym.registry if _GYM_VERSION.sub("", known) == name)
        if versions:
            raise ConfigError(f"env: {env_id!r} has no version; allowed: {versions}.")
    known = [DEEP_SEA, *(i for i in gym.registry if i != DEEP_SEA)]
    if not env_id.startswith("MiniGrid-"):
        known += [f"ALE/{game}-v5" for game in _installed_games()]
    nearest = difflib.get_close_matches(env_id, dict.fromkeys(known), n=3, cutoff=0.5)
    hint = f" Nearest: {', '.join(nearest)}." if nearest else ""
    patterns = "; ".join(f.pattern for f in _FAMILIES.values())
    raise ConfigError(f"env: unknown environment {env_id!r}.{hint} Allowed: {patterns}.")


def _installed_games() -> list[str]:
    try:
        return list(atari_games())
    except ConfigError:
        return []


def _make_gymnasium(env_id: str, config: dict[str, Any]) -> gym.Env:
    try:
        return gym.make(env_id, disable_env_checker=True, **config)
    except (TypeError, gym.error.Error, ImportError) as error:
        raise _creation_error(env_id, config, error) from error


def _make_gymnasium_vector(env_id: str, num_envs: int, config: dict[str, Any]) -> VectorEnv:
    spec = _find_spec(env_id)
    mode = "sync" if spec.entry_point is not None else "vector_entry_point"
    # Gymnasium's checker warns about style at each first step; the spaces are checked where they are used.
    extra: dict[str, Any] = {"disable_env_checker": True} if mode == "sync" else {}
    try:
        env = gym.make_vec(env_id, num_envs, vectorization_mode=mode, **extra, **config)
    except (TypeError, gym.error.Error, ImportError) as error:
        raise _creation_error(env_id, config, error) from error
    return _require_next_step(env, env_id)


def _make_imported_vector(env_id: str, num_envs: int, config: dict[str, Any]) -> VectorEnv:
    cls = import_path(env_id, "env")
    if inspect.isclass(cls) and issubclass(cls, VectorEnv):
        config = {"num_envs": num_envs, **config}
        _check_arguments(cls, config, env_id)
        env: VectorEnv = cls(**config)
        return _require_next_step(env, env_id)
    return LeanVectorEnv([_env_maker(env_id, config)] * num_envs)


def _require_next_step(env: VectorEnv, env_id: str) -> VectorEnv:
    mode = env.metadata.get("autoreset_mode")
    if mode != AutoresetMode.NEXT_STEP:
        name = getattr(mode, "name", repr(mode))
        env.close()
        raise ConfigError(
            f"env: the vector environment {env_id!r} has autoreset mode {name}; allowed is NEXT_STEP "
            "(set metadata['autoreset_mode'] to gymnasium.vector.AutoresetMode.NEXT_STEP; step() must do so)."
        )
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
