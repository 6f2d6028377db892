"""What environments return, held against their promise: cast where nothing is lost, else refused with its place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from rllib_rnd.envs.plain import plain_env, plain_vector_env
from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.errors import ConfigError
from rllib_rnd.sampling.intake import EnvironmentFailedError
from rllib_rnd.sampling.play import play_in
from rllib_rnd.sampling.seeds import ResetSeeds

VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (4, 4, 3), np.uint8)
WHOLE = spaces.Box(-9, 9, (2,), np.int32)
GOOD = {id(VECTOR): np.zeros(3, np.float32), id(IMAGE): np.zeros((4, 4, 3), np.uint8), id(WHOLE): np.zeros(2, np.int32)}


class Returns(gym.Env):
    """Hands back what it is told to, at the step of that number; all else is as promised."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: gym.Space, at: int, **given: Any) -> None:
        self.observation_space, self.at, self.given, self.t = space, at, given, 0

    def _obs(self) -> Any:
        return (
            self.given.get("obs", GOOD[id(self.observation_space)])
            if self.t == self.at
            else GOOD[id(self.observation_space)]
        )

    def _value(self, name: str, usual: Any) -> Any:
        return self.given.get(name, usual) if self.t == self.at else usual

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self._value("reset", (self._obs(), self._value("info", {})))

    def step(self, action: int) -> Any:
        self.t += 1
        values = (
            self._obs(),
            self._value("reward", 1.0),
            self._value("terminated", False),
            self._value("truncated", False),
            self._value("info", {}),
        )
        return self._value("step", values)


def game(space: gym.Space, at: int, **given: Any) -> Any:
    """Play of two environments, of which the second lies."""
    env = LeanVectorEnv([lambda: Returns(space, -1), lambda: Returns(space, at, **given)])
    settings: Any = SimpleNamespace(env="CartPole-v1", env_config={}, normalize_actions=True, clip_actions=False)
    return play_in(env, settings, ResetSeeds(0))


CAST = {
    "float64": (VECTOR, np.full(3, 0.1)),
    "float16": (VECTOR, np.full(3, 0.5, np.float16)),
    "int64 as floats": (VECTOR, np.arange(3)),
    "list": (VECTOR, [0.5, 0, True]),
    "tensor": (VECTOR, torch.full((3,), 0.5)),
    "other bytes": (VECTOR, np.full(3, 0.5, ">f4")),
    "int64 as int32": (WHOLE, np.arange(2)),
    "list in an image": (IMAGE, np.full((4, 4, 3), 7).tolist()),
}


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("name", CAST)
def test_what_loses_nothing_is_cast(name: str, at: int) -> None:
    space, obs = CAST[name]
    rollout = game(space, at, obs=obs).rollout(None, 4)
    assert rollout.frames.dtype == space.dtype
    np.testing.assert_allclose(rollout.frames[at, 1], np.asarray(obs), rtol=1e-6)


REFUSED = {
    "floats in an image": (IMAGE, np.full((4, 4, 3), 0.5, np.float32), "float32, from 0.5 to 0.5"),
    "int64 in an image": (IMAGE, np.full((4, 4, 3), 300), "int64, from 300 to 300"),
    "numbers that wrap": (IMAGE, np.full((4, 4, 3), 256, np.uint16), "uint16, from 256 to 256"),
    "too large for int32": (WHOLE, np.full(2, 2**40), "int64, from 1099511627776"),
    "list out of range": (IMAGE, np.full((4, 4, 3), -1).tolist(), "int64, from -1 to -1"),
    "one channel": (IMAGE, np.zeros((4, 4, 1), np.uint8), r"shape \(4, 4, 1\)"),
    "channels first": (IMAGE, np.zeros((3, 4, 4), np.uint8), r"shape \(3, 4, 4\)"),
    "scalar": (VECTOR, 0.3, r"shape \(\)"),
    "one number": (VECTOR, np.zeros(1, np.float32), r"shape \(1,\)"),
    "nothing": (VECTOR, None, "NoneType"),
    "text": (VECTOR, "abc", "str"),
    "ragged": (VECTOR, [[0.1], [0.2, 0.3]], "no array"),
    "complex": (VECTOR, np.zeros(3, complex), "ndarray"),
    "floats as whole numbers": (WHOLE, np.zeros(2), "float64"),
}


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_become_something_else_is_refused_with_what_came_and_what_was_promised(name: str, at: int) -> None:
    space, obs, came = REFUSED[name]
    method = "reset" if at == 0 else "step"
    promised = f"shape {space.shape} of {space.dtype}".replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(
        ConfigError, match=rf"env: Returns.{method}\(\) \(.*test_contract.py:\d+\) .*{came}.*{promised}"
    ):
        game(space, at, obs=obs).rollout(None, 4)


OLD: dict[str, tuple[dict[str, Any], str]] = {
    "four values": (
        {"step": (GOOD[id(VECTOR)], 1.0, False, {})},
        r"step\(\) .* 4 values; allowed is \(obs, reward, term",
    ),
    "no info": ({"reset": GOOD[id(VECTOR)]}, r"reset\(\) .* one ndarray; allowed is \(obs, info\)"),
    "info of another kind": ({"info": None}, "an info of NoneType; allowed is a dict"),
    "no reward": ({"reward": None}, "a reward of None; allowed is one number"),
    "text as a reward": ({"reward": "1"}, "a reward of '1'"),
    "two rewards": ({"reward": np.ones(2)}, r"a reward of an array of shape \(2,\)"),
    "no flag": ({"truncated": None}, "truncated None"),
}


@pytest.mark.parametrize("name", OLD)
def test_what_is_no_result_of_gymnasiums_is_refused(name: str) -> None:
    given, message = OLD[name]
    with pytest.raises(ConfigError, match=message) as error:
        game(VECTOR, 0 if "reset" in given else 2, **given).rollout(None, 4)
    assert "test_contract.py:" in str(error.value)


@pytest.mark.parametrize("reward", [3, True, np.float32(3.0), np.array([3.0]), np.array(3), torch.tensor(3.0)])
def test_one_number_is_a_reward_whatever_it_is_in(reward: Any) -> None:
    assert (
        game(VECTOR, 2, reward=reward, terminated=np.array([True])).rollout(None, 3).reward[1, 1]
        == np.asarray(reward).item()
    )


@pytest.mark.parametrize("reward", [np.nan, np.inf, -np.inf, 1e39])
def test_a_reward_that_is_no_finite_number_is_a_failure_with_its_place(reward: float) -> None:
    with pytest.raises(EnvironmentFailedError, match=r"environment 1 is .*finite number; see Returns.step\(\) \(.*py:"):
        game(VECTOR, 2, reward=reward).rollout(None, 4)


class Vectors(VectorEnv):
    """A vector environment of its own that returns what it is told to."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - as gymnasium

    def __init__(self, **given: Any) -> None:
        self.num_envs, self.given = 2, given
        self.single_observation_space, self.single_action_space = VECTOR, spaces.Discrete(2)
        self.observation_space, self.action_space = spaces.Box(-1, 1, (2, 3)), spaces.MultiDiscrete([2, 2])

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.zeros((2, 3), np.float32), {}

    def step(self, actions: np.ndarray) -> Any:
        no = np.zeros(2, dtype=bool)
        usual = {"obs": np.zeros((2, 3), np.float32), "reward": np.ones(2), "terminated": no, "truncated": no}
        return *(self.given.get(name, value) for name, value in usual.items()), {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"obs": np.zeros(3, np.float32)}, r"shape \(3,\) of float32; .* shape \(2, 3\)"),
        ({"reward": 1.0}, r"rewards of shape \(\)"),
        ({"reward": np.ones((2, 1))}, r"rewards of shape \(2, 1\)"),
        ({"terminated": np.zeros(3, bool)}, r"terminated of shape \(3,\)"),
    ],
)
def test_vector_environments_are_held_to_theirs(given: dict[str, Any], message: str) -> None:
    settings: Any = SimpleNamespace(env="CartPole-v1", env_config={}, normalize_actions=True, clip_actions=False)
    with pytest.raises(ConfigError, match=rf"Vectors.step\(\) \(.*test_contract.py:\d+\) returned .*{message}"):
        play_in(Vectors(**given), settings, ResetSeeds(0)).rollout(None, 2)
    good = play_in(Vectors(obs=np.full((2, 3), 0.5)), settings, ResetSeeds(0)).rollout(None, 2)
    assert good.frames.dtype == np.float32 and (good.frames[1] == 0.5).all()


@pytest.mark.parametrize(
    "told",
    [
        [{"a": 1.0}, {"a": "x"}],
        [{"a": np.zeros(2)}, {"a": np.zeros(3)}],
        [{"a": {"b": 1}}, {"a": None}],
        [{"a": None}, {"a": {"b": 1}}],
        [{}, {"a": np.zeros(2)}],
        [{0: 1.0}, {0: "x"}],
    ],
)
def test_infos_need_not_be_alike(told: list[dict[Any, Any]]) -> None:
    env = LeanVectorEnv([lambda info=info: Returns(VECTOR, 1, info=info) for info in told])  # type: ignore[misc]
    env.reset()
    infos = env.step(np.zeros(2, dtype=int))[-1]
    (key,) = {key for info in told for key in info}
    assert infos[f"_{key}"].tolist() == [key in info for info in told]
    for i, info in enumerate(told):
        if key in info and not isinstance(infos[key], dict):
            np.testing.assert_equal(infos[key][i], info[key])


class Promises(gym.Env):
    """An environment as it should be, for the ways in which it may not be."""

    observation_space: Any = VECTOR
    action_space: Any = spaces.Discrete(2)
    position_shape: Any = (2, 3)
    position_walls: Any = np.zeros((2, 3), bool)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return GOOD[id(VECTOR)], {}

    def step(self, action: int) -> Any:
        return GOOD[id(VECTOR)], 0.0, False, False, {}


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("observation_space", None, "has no observation_space; allowed is a gymnasium.spaces.Space"),
        ("observation_space", (4,), r"has the observation_space \(4,\); allowed is a gymnasium.spaces.Space"),
        ("action_space", None, "has no action_space"),
        ("action_space", 2, "has the action_space 2"),
        ("position_shape", 5, r"has the position_shape 5; allowed is two whole numbers, \(rows, columns\)"),
        ("position_shape", (2, 2, 2), r"has the position_shape \(2, 2, 2\)"),
        ("position_shape", (2.0, 3.0), r"has the position_shape \(2.0, 3.0\)"),
        ("position_shape", (0, 3), r"has the position_shape \(0, 3\)"),
        ("position_walls", np.zeros((3, 3)), r"position_walls of shape \(3, 3\); .* its position_shape, \(2, 3\)"),
        ("reset", lambda _: None, r"reset\(\) .*unexpected keyword argument 'seed'; allowed is reset\(self, \*, seed="),
        ("reset", lambda _, seed=None: None, "unexpected keyword argument 'options'"),
        ("step", lambda _: None, r"step\(\) .*too many positional arguments; allowed is step\(self, action\)"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_an_environment_lacks_is_named_when_it_is_made(
    attribute: str, value: object, words: str, wrapped: bool
) -> None:
    cls: Any = type("Lacks", (Promises,), {attribute: value})
    env = cls()
    with pytest.raises(ConfigError, match=f"env: Lacks.* ?{words}"):
        plain_env(gym.Wrapper(env) if wrapped else env)


def test_what_has_all_is_left_alone() -> None:
    for shape in ((2, 3), [2, 3], (np.int64(2), np.int32(3)), None):
        env: Any = type("Has", (Promises,), {"position_shape": shape})()
        assert plain_env(env) is env


def test_a_vector_environment_without_spaces_is_refused() -> None:
    env: Any = type("Vector", (VectorEnv,), {"num_envs": 2})()
    with pytest.raises(ConfigError, match=r"env: Vector .*has no single_observation_space"):
        plain_vector_env(env)
