"""Spaces of strangers' environments become one array that policies compute with, without losing anything."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rllib_rnd.envs import make_vector_env
from rllib_rnd.envs.plain import PLAIN_DTYPES, PlainEnv, plain_actions, plain_env, plain_observations, plain_vector_env
from rllib_rnd.errors import ConfigError


def box(low: float, high: float, dtype: Any, shape: tuple[int, ...] = (3,)) -> spaces.Box:
    return spaces.Box(low, high, shape, np.dtype(dtype).type)


PARTS = {"a": box(-1, 1, np.float64), "b": spaces.Discrete(3, start=-1), "m": spaces.MultiBinary(2)}
#: Spaces and what they become: shape, type, lowest and highest number. None: they are left alone.
OBSERVATIONS: dict[str, tuple[spaces.Space, tuple[Any, ...] | None]] = {
    "float32": (box(-np.inf, np.inf, "float32"), None),
    "float64": (box(-2, np.inf, "float64"), ((3,), "float32", -2, np.inf)),
    "float16": (box(0, 1, "float16", (4, 5)), ((4, 5), "float32", 0, 1)),
    "uint8": (box(3, 17, "uint8"), None),
    "int8": (box(-3, 3, "int8"), None),
    "bool": (box(0, 1, "bool"), ((3,), "uint8", 0, 1)),
    "uint16": (box(0, 65535, "uint16"), ((3,), "int32", 0, 65535)),
    "uint32": (box(0, 10**6, "uint32"), ((3,), "int64", 0, 10**6)),
    "uint64, small": (box(0, 9, "uint64"), ((3,), "int64", 0, 9)),
    "int64": (box(-9, 9, "int64"), None),
    "scalar": (box(0, 5, "float32", ()), ((1,), "float32", 0, 5)),
    "discrete": (spaces.Discrete(4, start=-2), ((4,), "uint8", 0, 1)),
    "choices": (spaces.MultiDiscrete([2, 3], start=[5, 0]), ((5,), "uint8", 0, 1)),
    "binary": (spaces.MultiBinary((2, 2)), ((4,), "uint8", 0, 1)),
    "dict": (spaces.Dict(PARTS), ((8,), "float32", -1, 1)),
    "dict of choices": (spaces.Dict(a=spaces.Discrete(2), b=spaces.MultiBinary(1)), ((3,), "uint8", 0, 1)),
    "tuple": (spaces.Tuple((spaces.Discrete(2), box(0, 9, "int16"))), ((5,), "int64", 0, 9)),
}
ACTIONS: dict[str, tuple[spaces.Space, spaces.Space | None]] = {
    "discrete": (spaces.Discrete(3, start=2), None),
    "choices": (spaces.MultiDiscrete([2, 3]), None),
    "vector": (box(-2, 2, "float32"), None),
    "grid of choices": (
        spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])),
        spaces.MultiDiscrete([2, 3, 4, 5]),
    ),
    "binary": (spaces.MultiBinary((2, 2)), spaces.MultiDiscrete([2, 2, 2, 2])),
    "matrix": (box(-1, 1, "float64", (2, 3)), box(-1, 1, "float64", (6,))),
    "scalar": (box(0, 4, "float32", ()), box(0, 4, "float32", (1,))),
}


class Echo(gym.Env):
    """Shows samples of its observation space and checks its actions."""

    def __init__(self, observation: spaces.Space, action: spaces.Space) -> None:
        self.observation_space, self.action_space = observation, action
        self.shown: list[Any] = []
        self.taken: list[Any] = []

    def _obs(self) -> Any:
        self.shown.append(self.observation_space.sample())
        return self.shown[-1]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.taken.append(action)
        return self._obs(), 0.0, False, False, {}


def same(found: np.ndarray, space: spaces.Space, shown: Any) -> None:
    """What was shown, flattened by gymnasium (or as it is), in plain numbers."""
    flat = not (isinstance(space, spaces.Box) and space.shape)
    np.testing.assert_allclose(found, np.asarray(spaces.flatten(space, shown) if flat else shown), rtol=1e-6)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observations_become_plain_and_keep_their_numbers(name: str) -> None:
    space, wanted = OBSERVATIONS[name]
    inner = Echo(space, spaces.Discrete(2))
    env = plain_env(inner)
    if wanted is None:
        assert env is inner
        return
    plain: Any = env.observation_space
    shape, dtype, low, high = wanted
    assert isinstance(plain, spaces.Box) and plain.dtype in PLAIN_DTYPES
    assert (plain.shape, plain.dtype, plain.low.min(), plain.high.max()) == (shape, np.dtype(dtype), low, high)
    obs, _ = env.reset(seed=1)
    for _ in range(3):
        assert obs.dtype == plain.dtype and plain.contains(obs)
        same(obs, space, inner.shown[-1])
        obs, *_ = env.step(0)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_vector_environments_likewise(name: str) -> None:
    space, wanted = OBSERVATIONS[name]
    inner = SyncVectorEnv([lambda: Echo(space, spaces.MultiBinary((1, 2)))] * 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    env: Any = plain_vector_env(inner)
    assert env.single_action_space == spaces.MultiDiscrete([2, 2])
    obs, _ = env.reset(seed=1)
    assert obs.dtype == env.single_observation_space.dtype and env.observation_space.contains(obs)
    assert wanted is None or obs.shape == (2, *wanted[0])
    singles = [e.get_wrapper_attr("shown") for e in inner.envs]
    for one, shown in zip(obs, singles, strict=True):
        same(one, space, shown[-1])
    obs, *_ = env.step(np.array([[0, 1], [1, 1]]))
    assert [e.get_wrapper_attr("taken")[-1].tolist() for e in inner.envs] == [[[0, 1]], [[1, 1]]]
    assert env.observation_space.contains(obs) and env.envs is inner.envs  # what else it has is reached


def test_whole_numbers_beside_floats_are_scaled_by_their_own_bounds() -> None:
    """Networks read floats as they are: bytes among them would drown all else."""
    parts = {
        "bytes": box(0, 255, "uint8", (1, 2)),
        "choice": spaces.Discrete(2),
        "float": box(-np.inf, np.inf, "float64", (1,)),
        "signed": box(-8, 4, "int64", (1,)),
        "unbounded": box(-(2**31), 2**31 - 1, "int32", (1,)),
    }
    conversion = plain_observations(spaces.Dict(parts))
    assert conversion is not None
    obs = {"bytes": [[0, 51]], "choice": 1, "float": [300.0], "signed": [-2], "unbounded": [7]}
    found = conversion.convert({name: np.asarray(value, parts[name].dtype) for name, value in obs.items()})
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0.0, 0.2, 0.0, 1.0, 300.0, -0.25, 7.0], rtol=1e-6)
    assert isinstance(conversion.space, spaces.Box) and conversion.space.contains(found)
    assert conversion.space.high.tolist() == [1.0, 1.0, 1.0, 1.0, np.inf, 0.5, 2.0**31]


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_become_plain_and_arrive_as_the_environment_wants_them(name: str) -> None:
    space, wanted = ACTIONS[name]
    inner = Echo(box(0, 1, "float32"), space)
    env = plain_env(inner)
    assert env.action_space == (space if wanted is None else wanted)
    env.reset(seed=1)
    for _ in range(3):
        action = env.action_space.sample()
        env.step(action)
        assert np.array_equal(np.ravel(inner.taken[-1]), np.ravel(action))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Dict(a=box(0, 1, "float32"), mission=spaces.Text(5)),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Dict(a=spaces.Tuple((spaces.Graph(box(0, 1, "float32"), None),))),
        spaces.OneOf((spaces.Discrete(2), spaces.Discrete(3))),
    ],
)
def test_what_no_array_can_be_made_of_is_refused_with_what_to_wrap_it_in(space: spaces.Space) -> None:
    with pytest.raises(ConfigError, match=r"env: observations .* cannot be made into one array.*FilterObservation"):
        plain_observations(space)


def test_actions_of_several_kinds_are_left_to_whoever_builds_the_policy() -> None:
    for space in (spaces.Dict(a=spaces.Discrete(2)), spaces.Tuple((spaces.Discrete(2),))):
        assert plain_actions(space) is None


@pytest.mark.parametrize(
    ("name", "obs", "problem"),
    [
        ("discrete", 2, r"it is 2, not in Discrete\(4, start=-2\)"),
        ("discrete", 0.5, r"it is float64 \[\], not Discrete"),
        ("dict", {"a": np.zeros(3), "b": 2, "m": np.zeros(2, np.int8)}, r"\['b'\] is 2, not in Discrete"),
        ("dict", {"a": np.zeros(4), "b": 1, "m": np.zeros(2, np.int8)}, r"\['a'\] is float64 \[4\], not Box"),
        ("dict", {"a": np.zeros(3), "b": 1}, r"\['m'\] is missing"),
        ("dict", np.zeros(8), "it is a ndarray, not a dict"),
        ("tuple", (1,), r"it is \(1,\), not a tuple of 2"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["reset", "step"])
def test_an_observation_out_of_its_space_is_told_apart(name: str, obs: Any, problem: str, first: bool) -> None:
    inner = Echo(OBSERVATIONS[name][0], spaces.Discrete(2))
    env = plain_env(inner)
    assert isinstance(env, PlainEnv)
    if not first:
        env.reset(seed=1)
    inner._obs = lambda: obs  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=f"Echo returned an observation that is not of its space: {problem}"):
        _ = env.reset() if first else env.step(np.array(0))


@pytest.mark.parametrize(
    ("name", "obs", "came"),
    [
        ("uint16", np.array([0.5, 0.25, 1.0]), "of float64, from 0.25 to 1.0"),
        ("uint16", np.full(3, 2**40), "of int64, from 1099511627776"),
        ("float64", np.zeros(4), r"of shape \(4,\) of float64"),
    ],
)
def test_arrays_are_held_to_their_promise_at_every_step(name: str, obs: Any, came: str) -> None:
    inner = Echo(OBSERVATIONS[name][0], spaces.Discrete(2))
    env = plain_env(inner)
    env.reset(seed=1)
    for _ in range(3):
        env.step(np.array(0))
    inner._obs = lambda: obs  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=rf"env: Echo\.step\(\) .* an observation {came}"):
        env.step(np.array(0))


def test_numbers_too_large_for_single_precision_are_infinite() -> None:
    inner = Echo(box(-np.inf, np.inf, "float64"), spaces.Discrete(2))
    inner._obs = lambda: np.array([1e300, -1e300, 1.0])  # type: ignore[method-assign]
    obs, _ = plain_env(inner).reset()
    assert obs.tolist() == [np.inf, -np.inf, 1.0]


def test_gymnasiums_tables_are_one_hot() -> None:
    env = make_vector_env("FrozenLake-v1", 3)
    obs, _ = env.reset(seed=0)
    assert obs.tolist() == [[1, *[0] * 15]] * 3 and obs.dtype == np.uint8
    assert make_vector_env("Blackjack-v1", 1).single_observation_space.shape == (32 + 11 + 2,)


def test_results_of_another_length_are_left_to_the_caller() -> None:
    """Environments of the old interface are refused with what is new in it, converted or not."""
    inner: Any = Echo(spaces.Discrete(4), spaces.Discrete(2))
    inner.reset, inner.step = lambda **_: 3, lambda _: (3, 0.0, False, {})
    env: Any = plain_env(inner)
    assert env.reset() == 3 and env.step(0) == (3, 0.0, False, {})
