"""Spaces as JSON, from which gymnasium's can be made again, and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_rnd.errors import ConfigError

#: A bound as JSON: a number, "inf" and the like, or lists of them.
Numbers: TypeAlias = "float | int | str | list[Numbers]"


def space_to_json(space: gym.Space) -> dict[str, Any]:
    """What tells one space from another. Bounds that all elements share are one number; infinite ones ``"inf"``.

    Raises:
        ConfigError: a kind of space that no policy of this package has to do with.
    """
    if isinstance(space, spaces.Box):
        ends = {"low": _numbers(space.low), "high": _numbers(space.high)}
        return {"type": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **ends}
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiDiscrete):
        sizes = {"nvec": space.nvec.tolist(), "start": space.start.tolist()}
        return {"type": "MultiDiscrete", **sizes, "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.shape)}
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {key: space_to_json(part) for key, part in space.spaces.items()}}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [space_to_json(part) for part in space.spaces]}
    raise ConfigError("env", f"{space} cannot be written down", "Box, Discrete, Multi..., Dict and Tuple")


def space_from_json(data: Mapping[str, Any]) -> gym.Space:
    """The space that `space_to_json` wrote down.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    kind = data["type"]
    if kind == "Box":
        shape, dtype = tuple(data["shape"]), np.dtype(data["dtype"])
        # By way of the bounds' own type: as floats, those of large whole numbers would be rounded.
        low, high = (np.broadcast_to(np.array(data[end], dtype), shape) for end in ("low", "high"))
        return spaces.Box(low, high, dtype=dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"], dtype=np.dtype(data["dtype"]).type)
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(data["nvec"], dtype=np.dtype(data["dtype"]).type, start=data["start"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(data["n"])
    if kind == "Dict":
        return spaces.Dict({key: space_from_json(part) for key, part in data["spaces"].items()})
    if kind == "Tuple":
        return spaces.Tuple([space_from_json(part) for part in data["spaces"]])
    raise ValueError(f"no space: {kind}")


def space_in_words(space: gym.Space) -> str:
    """One line: kind, type, shape, range.

    Raises:
        ConfigError: as `space_to_json`.
    """
    if isinstance(space, spaces.Box):
        low, high = (_numbers(end) for end in (space.low, space.high))
        differ = isinstance(low, list) or isinstance(high, list)
        return f"{space.dtype} {list(space.shape)}, " + ("each in bounds of its own" if differ else f"{low} to {high}")
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return f"one whole number from {first} to {first + int(space.n) - 1}"
    if isinstance(space, spaces.MultiDiscrete):
        starts, sizes = space.start.ravel().tolist(), space.nvec.ravel().tolist()
        ranges = ", ".join(f"{start} to {start + size - 1}" for start, size in zip(starts, sizes, strict=True))
        return f"whole numbers {list(space.shape)}, each in its range: {ranges}"
    if isinstance(space, spaces.MultiBinary):
        return f"zeros and ones {list(space.shape)}"
    if isinstance(space, spaces.Dict):
        return "a dict of " + "; ".join(f"{key!r}: {space_in_words(part)}" for key, part in space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return "a tuple of " + "; ".join(space_in_words(part) for part in space.spaces)
    return str(space_to_json(space))


def _numbers(bound: np.ndarray) -> Numbers:
    """A bound: one number where all are equal, else nested lists."""
    if bound.size and (bound == bound.flat[0]).all():
        return _plain(bound.flat[0].item())
    return _plain(bound.tolist())


def _plain(value: Numbers) -> Numbers:
    """As JSON can say it, which knows no infinity."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
