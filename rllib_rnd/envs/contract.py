"""What an environment hands over, held against what it promises: faults name class, file, what came and what was due.

The fast way through is a comparison of types in the callers; what is in here runs for what is unusual.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from rllib_rnd.envs.info import POSITION_SHAPE, POSITION_WALLS
from rllib_rnd.errors import ConfigError

# Of each method, how many values and which.
_RETURNED = {
    "step": (5, "(obs, reward, terminated, truncated, info), as gymnasium's environments return since 0.26"),
    "reset": (2, "(obs, info), as gymnasium's environments return since 0.26"),
}
_NUMBER = "one number"


def source(env: gym.Env | VectorEnv, method: str) -> str:
    """``Class.method() (file.py:12)`` of the environment inside all wrappers, of a vector of copies the first."""
    inner = getattr(env.unwrapped, "envs", [env])[0].unwrapped
    name = f"{type(inner).__name__}.{method}()"
    try:
        function = inspect.unwrap(getattr(type(inner), method))
        return f"{name} ({function.__code__.co_filename}:{function.__code__.co_firstlineno})"
    except AttributeError:  # written in C
        return name


def check_attributes(env: gym.Env | VectorEnv) -> None:
    """Holds what an environment has against what it must: its spaces, what it is called with, the size of a grid.

    Raises:
        ConfigError: a space is missing or is none, ``reset`` or ``step`` do not take what they are called with, or
            ``position_shape`` or ``position_walls`` are of no grid.
    """
    layer: Any = env
    while layer is not None:
        _check_call(layer, "reset", "self, *, seed=None, options=None", seed=0, options=None)
        _check_call(layer, "step", "self, action", 0)
        layer = layer.env if isinstance(layer, gym.Wrapper | VectorWrapper) else None
    single = "single_" if isinstance(env, VectorEnv) else ""
    for name in (f"{single}observation_space", f"{single}action_space"):
        space = getattr(env, name, None)
        if not isinstance(space, gym.Space):
            problem = f"has no {name}" if space is None else f"has the {name} {space!r}"
            raise ConfigError("env", f"{_class_of(env)} {problem}", "a gymnasium.spaces.Space, set in __init__()")
    shape, walls = (getattr(env.unwrapped, name, None) for name in (POSITION_SHAPE, POSITION_WALLS))
    if shape is not None and not _is_grid(shape):
        problem, allowed = f"the {POSITION_SHAPE} {shape!r}", "two whole numbers, (rows, columns), 1 or more each"
        raise ConfigError("env", f"{_class_of(env)} has {problem}", allowed)
    if shape is not None and walls is not None and np.shape(walls) != tuple(shape):
        problem = f"{POSITION_WALLS} of shape {np.shape(walls)}"
        raise ConfigError("env", f"{_class_of(env)} has {problem}", f"that of its {POSITION_SHAPE}, {tuple(shape)}")


def _check_call(env: gym.Env | VectorEnv, method: str, promised: str, *args: object, **keywords: object) -> None:
    """Refuses a method that cannot be called with these arguments, as its signature tells, where it has one."""
    try:
        signature = inspect.signature(getattr(env, method))
    except (TypeError, ValueError):  # written in C
        return
    try:
        signature.bind(*args, **keywords)
    except TypeError as error:
        raise ConfigError("env", f"{source(env, method)}: {error}", f"{method}({promised})") from error


def _is_grid(shape: object) -> bool:
    whole = isinstance(shape, tuple | list) and all(isinstance(n, int | np.integer) and n >= 1 for n in shape)
    return whole and len(shape) == 2  # type: ignore[arg-type]


def _class_of(env: gym.Env | VectorEnv) -> str:
    """``Class (file.py)`` of the environment inside all wrappers."""
    cls = type(env.unwrapped)
    try:
        return f"{cls.__name__} ({inspect.getfile(cls)})"
    except (OSError, TypeError):  # of a notebook, or written in C
        return cls.__name__


def read_result(result: object, env: gym.Env | VectorEnv, method: str) -> Sequence[Any]:
    """The five values of ``step``, or the two of ``reset``.

    Raises:
        ConfigError: there are not so many.
    """
    length, promised = _RETURNED[method]
    if isinstance(result, tuple | list) and len(result) == length:
        return result
    raise ConfigError("env", f"{source(env, method)} returned {_count(result)}", promised)


def read_obs(
    obs: object, shape: tuple[int, ...], dtype: np.dtype[Any], env: gym.Env | VectorEnv, method: str
) -> np.ndarray:
    """An observation as its space promises: of its shape exactly, its type cast where that loses no more than digits.

    Floats become other floats and whole numbers floats or whole numbers of the same sign (numpy's "same_kind"), if
    none of them is too large; Python's own numbers and lists have no type, their values must survive.

    Raises:
        ConfigError: it is no array of that shape, or its numbers would become others.
    """
    promised = f"what its observation space promises, shape {shape} of {dtype}"
    try:
        found = np.asarray(obs)
    except (TypeError, ValueError) as error:
        raise ConfigError("env", f"{source(env, method)} returned no array ({error})", promised) from error
    if found.shape != shape or found.dtype.kind not in "biuf":
        kind = type(obs).__name__ if found.dtype.kind not in "biuf" else f"shape {found.shape} of {found.dtype}"
        raise ConfigError("env", f"{source(env, method)} returned an observation of {kind}", promised)
    if np.can_cast(found.dtype, dtype, "same_kind") or not (hasattr(obs, "dtype") or found.dtype.kind == "f"):
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is treated as such
            cast = found.astype(dtype)
        if dtype.kind == "f" or np.can_cast(found.dtype, dtype) or (cast == found).all():
            return cast
    low, high = (found.min(), found.max()) if found.size else ("nothing", "nothing")
    raise ConfigError(
        "env",
        f"{source(env, method)} returned an observation of {found.dtype}, from {low} to {high}, whose numbers would "
        f"become others in {dtype}",
        f"{promised}: scale it and cast it, or change the space",
    )


def read_number(value: object, env: gym.Env | VectorEnv, name: str) -> float:
    """A reward or a flag as one number; arrays that hold one number count as one.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return float(value)
    array = value if isinstance(value, np.ndarray) else np.asarray(value) if hasattr(value, "__array__") else None
    if array is not None and array.size == 1 and array.dtype.kind in "biuf":
        return float(array.reshape(()))
    what = f"an array of shape {array.shape}" if array is not None else repr(value)
    raise ConfigError("env", f"{source(env, 'step')} returned {name} {what}", _NUMBER)


def read_column(values: object, num_envs: int, env: VectorEnv, name: str) -> np.ndarray:
    """Rewards or flags of a vector environment, ``[N]``.

    Raises:
        ConfigError: they are no ``N`` numbers.
    """
    array = np.asarray(values)
    if array.shape == (num_envs,) and array.dtype.kind in "biuf":
        return array
    kind = f"shape {array.shape} of {array.dtype}"
    raise ConfigError("env", f"{source(env, 'step')} returned {name} of {kind}", f"{num_envs} numbers, one each")


def read_info(info: object, env: gym.Env | VectorEnv, method: str) -> dict[Any, Any]:
    """The info.

    Raises:
        ConfigError: it is no dictionary.
    """
    if isinstance(info, dict):
        return info
    raise ConfigError("env", f"{source(env, method)} returned an info of {type(info).__name__}", "a dict")


def _count(result: object) -> str:
    if isinstance(result, tuple | list):
        return f"{len(result)} values"
    return f"one {type(result).__name__}"


def batch_info(infos: Sequence[dict[Any, Any]], key: object) -> tuple[np.ndarray, np.ndarray]:
    """What environments tell under a key as an array of any objects ``[N]``, and who tells it ``[N]`` bool."""
    values = np.full(len(infos), None, dtype=object)
    for i, info in enumerate(infos):
        values[i] = info.get(key)
    return values, np.array([key in info for info in infos])
