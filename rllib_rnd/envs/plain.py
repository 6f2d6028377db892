"""Plain spaces: what environments of others see and take, as the one array that policies and learners compute with.

Observations become a Box of uint8, int8 to int64 or float32 with one axis or more; actions one of Discrete,
MultiDiscrete and Box with one axis. What is plain already is passed through untouched. This package's own environments
are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, SupportsFloat, TypeVar, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space, iterate

from rllib_rnd.envs.bounds import largest_sizes
from rllib_rnd.envs.contract import check_attributes, read_obs
from rllib_rnd.envs.saving import why_vector_not_saved
from rllib_rnd.errors import ConfigError

ResultT = TypeVar("ResultT")

#: Types that observations are left in. Torch computes with no other whole numbers everywhere, and networks in float32.
PLAIN_DTYPES = tuple(map(np.dtype, (np.uint8, np.int8, np.int16, np.int32, np.int64, np.float32)))

# What becomes zeros and ones, and all that there are numbers in.
_CHOICES = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
_NUMBERS = (spaces.Box, *_CHOICES)

# Observations of a Dict, a Tuple or choices that are compared with their space: of the first reset and the first step.
_CHECKED = 2


class Conversion(NamedTuple):
    """One space made into another.

    Attributes:
        space: what comes out, of a single environment.
        convert: one element of the space before -> one of the space after; of actions the other way round.
    """

    space: gym.Space
    convert: Callable[[Any], Any]


def plain_observations(space: gym.Space) -> Conversion | None:
    """How observations become plain; None if they are.

    Discrete and MultiDiscrete become one-hots, what a Dict or a Tuple holds is flattened and joined, whole numbers
    beside floats over the largest that their space allows; float64 and float16 become float32 (what is too large for
    it becomes infinite), bool uint8, uint16 int32.

    Raises:
        ConfigError: no array can be made of them.
    """
    if isinstance(space, spaces.Box) and space.shape:
        dtype = _plain_dtype(space)
        return None if dtype == space.dtype else Conversion(_cast_space(space, dtype), _caster(dtype))
    if not all(isinstance(leaf, _NUMBERS) for leaf in _leaves(space)):
        raise ConfigError(
            "env",
            f"observations {space} cannot be made into one array",
            "Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of these; wrap the environment in "
            "gymnasium.wrappers.TransformObservation, or leave a part out with gymnasium.wrappers.FilterObservation",
        )
    flat = spaces.flatten_space(space)
    assert isinstance(flat, spaces.Box)
    ones = all(isinstance(leaf, _CHOICES) for leaf in _leaves(space))  # gymnasium makes int64 of them
    dtype = np.dtype(np.uint8) if ones else _plain_dtype(flat)
    cast = _caster(dtype)
    largest = np.concatenate([_largest(leaf) for leaf in _leaves(space)])
    if dtype.kind != "f" or (largest == 1.0).all():
        return Conversion(_cast_space(flat, dtype), lambda obs: cast(spaces.flatten(space, obs)))
    joined = _box(cast(flat.low / largest), cast(flat.high / largest))
    return Conversion(joined, lambda obs: cast(spaces.flatten(space, obs) / largest))


def _largest(leaf: gym.Space) -> np.ndarray:
    """What the numbers of a part are divided by before it is joined to floats, ``[spaces.flatdim(leaf)]`` float64.

    Whole numbers by the largest that their space allows, as in a vector of nothing else: among floats, which networks
    read as they are, nobody could tell them any more. 1: nothing, also where the bounds are only those of a type.
    """
    size = None
    if isinstance(leaf, spaces.Box) and np.dtype(leaf.dtype).kind in "iu":
        size = largest_sizes(leaf.low, leaf.high)
    return np.ones(spaces.flatdim(leaf)) if size is None else np.maximum(size.ravel(), 1.0)


def _leaves(space: gym.Space) -> list[gym.Space]:
    """The spaces that a Dict or a Tuple is made of in the end, or the space itself."""
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return [space]
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
    return [leaf for part in parts for leaf in _leaves(part)]


def plain_actions(space: gym.Space) -> Conversion | None:
    """How actions become plain, or None: a Box or a MultiDiscrete of several axes is flattened, MultiBinary becomes a
    MultiDiscrete of twos.

    What is left as it is may still be a space that there is no policy for.
    """
    shape, dtype = space.shape, space.dtype

    def back(action: np.ndarray) -> np.ndarray:
        return np.asarray(action, dtype).reshape(shape)

    if isinstance(space, spaces.MultiBinary):
        return Conversion(spaces.MultiDiscrete(np.full(math.prod(shape or ()), 2)), back)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim != 1:
        return Conversion(spaces.MultiDiscrete(space.nvec.ravel(), start=space.start.ravel()), back)
    if isinstance(space, spaces.Box) and len(space.shape) != 1:
        return Conversion(_box(space.low.ravel(), space.high.ravel()), back)
    return None


def _plain_dtype(space: spaces.Box) -> np.dtype[Any]:
    """The type that numbers of a space are kept in."""
    dtype = np.dtype(space.dtype)
    if dtype.kind in "bf":
        return np.dtype(np.float32 if dtype.kind == "f" else np.uint8)
    if dtype in PLAIN_DTYPES:
        return dtype
    larger = {2: np.int32, 4: np.int64}  # than unsigned numbers of so many bytes
    is_small = int(space.high.max()) <= np.iinfo(np.int64).max
    return np.dtype(larger.get(dtype.itemsize, np.int64 if is_small else np.float32))


def _cast_space(space: spaces.Box, dtype: np.dtype[Any]) -> spaces.Box:
    cast = _caster(dtype)
    return _box(cast(space.low), cast(space.high))


def _box(low: np.ndarray, high: np.ndarray) -> spaces.Box:
    """Of the type of its bounds."""
    return spaces.Box(low, high, dtype=low.dtype.type)


def _caster(dtype: np.dtype[Any]) -> Callable[[Any], np.ndarray]:
    def cast(numbers: object) -> np.ndarray:
        with np.errstate(over="ignore"):  # infinite then, and treated like all that is not finite
            return np.asarray(numbers).astype(dtype, copy=False)

    return cast


def _misfits(space: gym.Space, obs: object, place: str = "") -> Iterator[str]:
    """What of an observation is not as its space says, in words; bounds of arrays are not looked at."""
    name = place or "it"
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, Mapping):
            yield f"{name} is a {type(obs).__name__}, not a dict"
            return
        for key, part in space.spaces.items():
            if key in obs:
                yield from _misfits(part, obs[key], f"{place}[{key!r}]")
            else:
                yield f"{place}[{key!r}] is missing"
    elif isinstance(space, spaces.Tuple):
        if not isinstance(obs, tuple | list) or len(obs) != len(space.spaces):
            yield f"{name} is {obs!r}, not a tuple of {len(space.spaces)}"
            return
        for i, part in enumerate(space.spaces):
            yield from _misfits(part, obs[i], f"{place}[{i}]")
    else:
        array = np.asarray(obs)
        whole = np.dtype(space.dtype).kind in "iub"
        if array.shape != space.shape or array.dtype.kind not in ("iub" if whole else "iubf"):
            yield f"{name} is {array.dtype} {list(array.shape)}, not {space}"
        elif not isinstance(space, spaces.Box) and not space.contains(array.astype(space.dtype)[()]):
            yield f"{name} is {obs!r}, not in {space}"


def _held(obs: object, space: spaces.Box, env: gym.Env | VectorEnv, method: str) -> np.ndarray:
    """The observation if it is as its space promises.

    Raises:
        ConfigError: it is not.
    """
    if type(obs) is np.ndarray and obs.dtype == space.dtype and obs.shape == space.shape:
        return obs
    return read_obs(obs, space.shape, np.dtype(space.dtype), env, method)


def _with_plain_obs(result: ResultT, length: int, plain: Callable[[Any], np.ndarray]) -> ResultT:
    """What an environment returned, the observation in it plain; untouched if it has not the ``length`` promised,
    which is for whoever called to judge."""
    if not isinstance(result, tuple | list) or len(result) != length:
        return result
    return cast("ResultT", (plain(result[0]), *result[1:]))


class PlainEnv(gym.Wrapper):
    """An environment with plain spaces.

    Args:
        env: the environment.
        observations, actions: the conversions; None where the space is plain.
    """

    def __init__(self, env: gym.Env, observations: Conversion | None, actions: Conversion | None) -> None:
        super().__init__(env)
        self._observations, self._actions = observations, actions
        self._unchecked = 0 if observations is None else _CHECKED
        if observations is not None:
            self.observation_space = observations.space
        if actions is not None:
            self.action_space = actions.space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The environment's reset.

        Raises:
            ConfigError: its observation is not of its space.
        """
        result = self.env.reset(seed=seed, options=options)
        return _with_plain_obs(result, 2, lambda obs: self._plain(obs, "reset"))

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """The environment's step.

        Raises:
            ConfigError: as `reset`.
        """
        sent = action if self._actions is None else self._actions.convert(action)
        result = self.env.step(sent)
        return _with_plain_obs(result, 5, lambda obs: self._plain(obs, "step"))

    def _plain(self, obs: object, method: str) -> np.ndarray:
        space = self.env.observation_space
        if isinstance(space, spaces.Box):
            obs = _held(obs, space, self.env, method)
        elif self._unchecked:
            # Later ones are trusted. A number out of range would make a wrong one-hot, a cast hide a wrong type.
            self._unchecked -= 1
            for problem in _misfits(self.env.observation_space, obs):
                name = type(self.env.unwrapped).__name__
                raise ConfigError("env", f"{name} returned an observation that is not of its space: {problem}")
        return cast("np.ndarray", obs) if self._observations is None else self._observations.convert(obs)


class PlainVectorEnv(VectorWrapper):
    """A vector environment with plain spaces; arguments as of `PlainEnv`, of single environments."""

    def __init__(self, env: VectorEnv, observations: Conversion | None, actions: Conversion | None) -> None:
        super().__init__(env)
        self._observations, self._actions = observations, actions
        if observations is not None:
            self.single_observation_space = observations.space
            self.observation_space = batch_space(observations.space, env.num_envs)
        if actions is not None:
            self.single_action_space = actions.space
            self.action_space = batch_space(actions.space, env.num_envs)

    def __getattr__(self, name: str) -> object:
        """What else the environment has, such as a state that can be saved."""
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The environment's reset."""
        return _with_plain_obs(self.env.reset(seed=seed, options=options), 2, lambda obs: self._plain(obs, "reset"))

    def step(  # type: ignore[override]
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """The environment's step."""
        if self._actions is not None:
            actions = np.stack([self._actions.convert(action) for action in actions])
        return _with_plain_obs(self.env.step(actions), 5, lambda obs: self._plain(obs, "step"))

    @property
    def can_clone_state(self) -> bool:
        """Whether the environment can save its state."""
        return bool(getattr(self.env, "can_clone_state", False))

    @property
    def why_no_state(self) -> str | None:
        """Why it cannot, in words; None: it can."""
        return why_vector_not_saved(self.env)

    @property
    def state_rows(self) -> tuple[str, ...]:
        """The entries of a saved state that hold a row per environment, as far as it says so."""
        return tuple(getattr(self.env, "state_rows", ()))

    def clone_state(self) -> dict[str, Any]:
        """Saves the environment's state."""
        return cast("dict[str, Any]", self.env.clone_state())  # type: ignore[attr-defined]

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state."""
        self.env.restore_state(state)  # type: ignore[attr-defined]

    def _plain(self, obs: object, method: str) -> np.ndarray:
        if self._observations is None:
            return cast("np.ndarray", obs)
        space = self.env.single_observation_space
        if isinstance(space, spaces.Box) and space.shape:
            batched = cast("spaces.Box", self.env.observation_space)
            return self._observations.convert(_held(obs, batched, self.env, method))  # of all environments at once
        return np.stack([self._observations.convert(one) for one in iterate(self.env.observation_space, obs)])


def plain_env(env: gym.Env) -> gym.Env:
    """The environment itself, or in a wrapper that makes its spaces plain.

    Raises:
        ConfigError: no array can be made of its observations, or as of `check_attributes`.
    """
    check_attributes(env)
    observations, actions = plain_observations(env.observation_space), plain_actions(env.action_space)
    return env if observations is None and actions is None else PlainEnv(env, observations, actions)


def plain_vector_env(env: VectorEnv) -> VectorEnv:
    """As `plain_env`, of a vector environment.

    Raises:
        ConfigError: as `plain_env`.
    """
    check_attributes(env)
    observations = plain_observations(env.single_observation_space)
    actions = plain_actions(env.single_action_space)
    return env if observations is None and actions is None else PlainVectorEnv(env, observations, actions)
