"""Makers of a user's own environments: classes and functions by import path, from Python, or registered with Ray.

Two conventions are known. RLlib's: one positional argument, the ``env_config`` as an ``EnvContext`` (a dict that knows
its runner besides); gymnasium's: the entries of ``env_config`` as keyword arguments. `takes_context` tells them apart.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from rllib_rnd.errors import ConfigError, at
from rllib_rnd.own_code import cause_of, check_arguments, import_name, import_path, is_import_path, name_of

if TYPE_CHECKING:
    from ray.rllib.env.env_context import EnvContext

#: A class or function that makes an environment.
Maker = Callable[..., Any]
#: What a configuration's ``env`` may be.
EnvSpecifier = str | Maker

GYM_VERSION = re.compile(r"-v\d+\Z")
# What RLlib's users call the argument that is the whole configuration, and what they annotate it with.
_CONTEXT_NAME = re.compile(r"_*|.*(conf|cfg|context|ctx|params|options|settings).*")
_CONTEXT_TYPE = re.compile(r".*\b(EnvContext|dict|Dict|Mapping|EnvConfigDict)\b.*")


@dataclass(frozen=True)
class RegisteredMaker:
    """What was registered under a name, to be sent along with the name: Ray's registry lives as long as Ray does.

    Attributes:
        name: as it was registered.
        creator: makes an environment of an ``EnvContext``.
    """

    name: str
    creator: Maker

    def __call__(self, env_config: EnvContext) -> object:
        """An environment."""
        return self.creator(env_config)

    def __str__(self) -> str:
        return self.name


def portable(env: EnvSpecifier) -> EnvSpecifier:
    """The same environment as any process can make it, also one that reads a checkpoint.

    A name that was registered with ``ray.tune.register_env`` brings along what it stands for; a class or function
    becomes its import path where it has one. What has none (that of ``__main__``) is pickled by value by Ray.
    """
    if isinstance(env, str):
        return RegisteredMaker(env, find_maker(env)) if is_registered(env) else env
    return import_name(env) or env


def env_name(env: EnvSpecifier) -> str:
    """What an environment is called in messages."""
    return str(env) if isinstance(env, str | RegisteredMaker) else name_of(env)


def is_own(name: str) -> bool:
    """Whether it is a name registered with ``ray.tune.register_env``, or an import path."""
    if is_registered(name):
        return True
    if not is_import_path(name) or GYM_VERSION.search(name):
        return False
    # Gymnasium's ids may hold dots.
    return ":" in name or (name not in gym.registry and _is_importable(name.partition(".")[0]))


def is_registered(name: str) -> bool:
    """Whether a name was registered with ``ray.tune.register_env``."""
    if "ray" not in sys.modules:  # nobody can have registered any
        return False
    from ray.tune.registry import ENV_CREATOR, _global_registry

    return bool(_global_registry.contains(ENV_CREATOR, name))


def _is_importable(module: str) -> bool:
    try:
        return module in sys.modules or importlib.util.find_spec(module) is not None
    except ValueError:  # modules without a spec
        return False


def find_maker(name: str) -> Maker:
    """The class or function that a name stands for.

    Raises:
        ConfigError: it does not import, or is neither.
    """
    if is_registered(name):
        from ray.tune.registry import ENV_CREATOR, _global_registry

        creator: Maker = _global_registry.get(ENV_CREATOR, name)
        return creator
    maker: Maker = import_path(name)
    if not callable(maker):
        raise ConfigError("", f"{name!r} is not a class or a function that makes an environment")
    return maker


def makes_vectors(maker: Maker) -> bool:
    """Whether it is a class of vector environments."""
    return inspect.isclass(maker) and issubclass(maker, VectorEnv)


def takes_context(maker: Maker, env_config: Mapping[str, Any]) -> bool:
    """Whether a maker follows RLlib's convention: its first argument is the whole ``env_config``.

    It does if no other argument must be given, the first is called ``config`` or alike or is annotated as a mapping (a
    lambda's only has to be needed), and ``env_config`` has no entry for any of them, which is gymnasium's convention.
    """
    try:
        parameters = list(inspect.signature(maker).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional or {p.name for p in parameters} & set(env_config):
        return False
    first, *others = parameters
    if any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in others):
        return False
    if getattr(maker, "__name__", "") == "<lambda>" and first.default is first.empty:
        return True
    annotation = "" if first.annotation is first.empty else str(first.annotation)
    return bool(_CONTEXT_NAME.fullmatch(first.name) or _CONTEXT_TYPE.fullmatch(annotation))


def make_own(
    name: str, maker: Maker, env_config: Mapping[str, Any], render_mode: str | None = None, index: int = 0
) -> gym.Env:
    """Makes one environment.

    Args:
        name: of the environment.
        maker: what makes it.
        env_config: its options; an ``EnvContext`` hands on what it knows.
        render_mode: None leaves the environment its own.
        index: of the environment in its vector.

    Raises:
        ConfigError: it makes vectors, does not take these options, raises an error, or makes something else.
    """
    if makes_vectors(maker):
        raise ConfigError("env", f"{name!r} is a vector environment; a single one is needed here")
    arguments: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    if isinstance(maker, RegisteredMaker) or is_registered(name) or takes_context(maker, env_config):
        maker = functools.partial(maker, _context(env_config, index))
    else:
        arguments |= env_config
    with at("env_config"):
        check_arguments(maker, arguments, name)
    try:
        with at("env_config"):  # of which a constructor may say what is wrong with them
            made: gym.Env = maker(**arguments)
    except ConfigError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise ConfigError("env", f"{name} cannot be made with {dict(env_config)}: {cause_of(error)}") from error
    _check_made(made, name)
    return made


def _check_made(made: object, name: str) -> None:
    from ray.rllib.env.multi_agent_env import MultiAgentEnv

    if isinstance(made, MultiAgentEnv):
        raise ConfigError("env", f"{name} is a multi-agent environment, which is not supported", "a single-agent one")
    if not isinstance(made, gym.Env):
        allowed = "a single gymnasium.Env"
        if "gym" in {cls.__module__.partition(".")[0] for cls in type(made).__mro__}:
            allowed += ": gym is no longer kept, gymnasium took its place (other imports, reset and step return more)"
        raise ConfigError("env", f"{name} makes a {name_of(type(made))}", allowed)


def _context(env_config: Mapping[str, Any], index: int) -> EnvContext:
    from ray.rllib.env.env_context import EnvContext

    known = env_config if isinstance(env_config, EnvContext) else EnvContext(dict(env_config), worker_index=0)
    return known.copy_with_overrides(vector_index=index)
