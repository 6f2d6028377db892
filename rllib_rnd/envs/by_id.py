"""Environments that are not this package's: any gymnasium id, and classes named by their import path."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv

from rllib_rnd.envs.atari_options import atari_games
from rllib_rnd.envs.family import EnvironmentFamily, Wanted
from rllib_rnd.envs.makers import GYM_VERSION, Maker, find_maker, is_own, make_own, makes_vectors
from rllib_rnd.envs.plain import plain_env, plain_vector_env
from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.errors import ConfigError, at
from rllib_rnd.own_code import check_arguments, import_path

_ALLOWED = ("what `rllib list environments` prints", "any gymnasium id", "module:Id-v0", "package.module:Class")


def find_spec(env_id: str, also_known: Iterable[str] = ()) -> EnvSpec:
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
            raise ConfigError("", f"cannot import {module!r} of {env_id!r} ({error})") from error
    if name in gym.registry:
        return gym.registry[name]
    if not GYM_VERSION.search(name):
        # Gymnasium takes the newest version of an id without one; a run must say what it ran.
        versions = sorted(known for known in gym.registry if GYM_VERSION.sub("", known) == name)
        if versions:
            raise ConfigError("", f"{env_id!r} has no version", versions)
    close = difflib.get_close_matches(env_id, dict.fromkeys([*gym.registry, *also_known]), n=3, cutoff=0.5)
    hint = f". Nearest: {', '.join(close)}" if close else ""
    raise ConfigError("", f"unknown environment {env_id!r}{hint}", _ALLOWED)


def make_by_id(
    env_id: str,
    arguments: Mapping[str, Any],
    render_mode: str | None,
    name_path: str = "env",
    arguments_path: str = "env_config",
) -> gym.Env:
    """Makes one environment of a gymnasium id, with its own spaces.

    Args:
        env_id: an id that `find_spec` knows.
        arguments: keyword arguments of the environment.
        render_mode: None leaves the environment its own.
        name_path: where the id stands, for errors.
        arguments_path: where the arguments stand.

    Raises:
        ConfigError: bad arguments, or a missing package.
    """
    arguments = _with_render_mode(arguments, render_mode)
    try:
        # Gymnasium's checker warns about style at each first step; the spaces are checked where they are used.
        return gym.make(env_id, disable_env_checker=True, **arguments)
    except (TypeError, gym.error.Error, ImportError) as error:
        raise _creation_error(env_id, arguments, error, name_path, arguments_path) from error


def _with_render_mode(arguments: Mapping[str, Any], render_mode: str | None) -> dict[str, Any]:
    return {**arguments} if render_mode is None else {**arguments, "render_mode": render_mode}


def _checked(env: VectorEnv, env_id: str, num_envs: int) -> VectorEnv:
    """The vector environment with plain spaces; refused if it would hand the runner something else than expected."""
    mode = env.metadata.get("autoreset_mode")
    problem = None
    if mode != AutoresetMode.NEXT_STEP:
        problem = (
            f"has autoreset mode {getattr(mode, 'name', repr(mode))}; allowed is NEXT_STEP (set "
            "metadata['autoreset_mode'] to gymnasium.vector.AutoresetMode.NEXT_STEP; step() must do so)"
        )
    elif env.num_envs != num_envs:
        problem = f"holds {env.num_envs} environments; {num_envs} were asked for by its argument num_envs"
    if problem:
        env.close()
        raise ConfigError("env", f"the vector environment {env_id!r} {problem}")
    return plain_vector_env(env)


def _creation_error(
    env_id: str,
    arguments: Mapping[str, Any],
    error: Exception,
    name_path: str = "env",
    arguments_path: str = "env_config",
) -> ConfigError:
    """Turns what gymnasium raised into the clearest error: a wrong argument is named with the nearest one."""
    if isinstance(error, gym.error.DependencyNotInstalled | ImportError):
        return ConfigError(name_path, f"{env_id!r} needs a package that is missing ({error})")
    spec = gym.registry.get(env_id.rpartition(":")[2])
    entry = spec.entry_point if spec is not None else None
    try:
        if isinstance(entry, str):
            with at(name_path):
                entry = import_path(entry)
        if entry is not None:
            with at(arguments_path):
                check_arguments(entry, {**(spec.kwargs if spec else {}), **arguments}, env_id)
    except ConfigError as clearer:
        return clearer
    return ConfigError(arguments_path, f"{env_id} cannot be made with {dict(arguments)} ({error})")


# --- any gymnasium id ---------------------------------------------------------------------------------------------


def _require_id(env_id: str) -> None:
    """Names this package's ids and the games among the nearest of an unknown name."""
    try:
        games = [f"ALE/{game}-v5" for game in atari_games()]
    except ConfigError:  # no emulator is installed
        games = []
    find_spec(env_id, also_known=games)


def _make_vector_by_id(wanted: Wanted[dict[str, Any]]) -> VectorEnv | None:
    """The id's own vector environment where it has no single one.

    Raises:
        ConfigError: bad arguments, a missing package, or an autoreset mode that is not NEXT_STEP.
    """
    if find_spec(wanted.env_id).entry_point is not None:
        return None
    try:
        env = gym.make_vec(wanted.env_id, wanted.num_envs, vectorization_mode="vector_entry_point", **wanted.options)
    except (TypeError, gym.error.Error, ImportError) as error:
        raise _creation_error(wanted.env_id, wanted.options, error) from error
    return _checked(env, wanted.env_id, wanted.num_envs)


GYMNASIUM_FAMILY = EnvironmentFamily(
    "any other gymnasium id",
    "gymnasium.make; env_config holds the keyword arguments",
    None,
    matches=lambda _: True,
    require=_require_id,
    read=dict,
    make=lambda wanted: plain_env(make_by_id(wanted.env_id, wanted.options, wanted.render_mode)),
    make_vector=_make_vector_by_id,
)


# --- a user's own -----------------------------------------------------------------------------------


def own_family(maker: Maker | None = None) -> EnvironmentFamily[Mapping[str, Any]]:
    """The family of a user's own environments.

    Args:
        maker: what makes them; None: what their name stands for.
    """

    def make(wanted: Wanted[Mapping[str, Any]], index: int = 0) -> gym.Env:
        """The environment ``index`` of its vector."""
        made = make_own(wanted.env_id, maker or find_maker(wanted.env_id), wanted.options, wanted.render_mode, index)
        return plain_env(made)

    def make_vector(wanted: Wanted[Mapping[str, Any]]) -> VectorEnv | None:
        """A vector environment of the user's own, or single ones that know their places in the vector."""
        found = maker or find_maker(wanted.env_id)
        if not makes_vectors(found):
            return LeanVectorEnv([functools.partial(make, wanted, index) for index in range(wanted.num_envs)])
        arguments = {"num_envs": wanted.num_envs, **wanted.options}
        with at("env_config"):
            check_arguments(found, arguments, wanted.env_id)
            env = found(**arguments)
        return _checked(env, wanted.env_id, wanted.num_envs)

    return EnvironmentFamily(
        "package.module:Class",
        "your own gymnasium.Env or VectorEnv (NEXT_STEP); env_config: its arguments, or RLlib's one argument",
        None,
        matches=is_own,
        require=find_maker if maker is None else None,
        read=lambda env_config: env_config,
        make=make,
        make_vector=make_vector,
    )


OWN_FAMILY = own_family()
