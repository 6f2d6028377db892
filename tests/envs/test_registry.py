"""From names to environments: every route, and the errors of each."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from rllib_rnd.envs import env_config_class, frame_stack, list_environments, make_env, make_vector_env
from rllib_rnd.envs.atari_options import AtariOptions
from rllib_rnd.envs.deep_sea import DeepSeaOptions, DeepSeaVectorEnv
from rllib_rnd.envs.minigrid_rules import MiniGridOptions
from rllib_rnd.envs.registry import own_ids
from rllib_rnd.errors import ConfigError
from tests.conftest import small_config


class OwnEnv(gym.Env):
    def __init__(self, width: int = 3) -> None:
        self.width = width
        self.observation_space = spaces.Box(0, 1, (width,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(self.width, np.float32), {}

    def step(self, action: int) -> Any:
        return np.ones(self.width, np.float32), 1.0, True, False, {}


class SameStepVectorEnv(VectorEnv):
    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs


class AlwaysThreeVectorEnv(VectorEnv):
    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int) -> None:
        self.num_envs = 3


class TextVectorEnv(VectorEnv):
    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.single_observation_space = num_envs, gym.spaces.Text(5)
        self.single_action_space = gym.spaces.Discrete(2)


class DictEnv(OwnEnv):
    """Observations as goal-conditioned tasks have them."""

    def __init__(self) -> None:
        super().__init__()
        vector = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = gym.spaces.Dict({"goal": vector, "place": vector})  # type: ignore[assignment]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return {"goal": np.ones(2, np.float32), "place": np.zeros(2, np.float32)}, {}


# The file's own module name under pytest's import mode; an import path needs one that Python can find.
HERE = __name__


@pytest.mark.parametrize(
    ("env_id", "config", "shape", "stack"),
    [
        ("ALE/Breakout-v5", {}, (4, 84, 84), 4),
        ("MontezumaRevengeNoFrameskip-v4", {"frame_size": 96, "frame_stack": 2}, (2, 96, 96), 2),
        ("rllib_rnd/DeepSea-v0", {"size": 5}, (25,), 1),
        ("CartPole-v1", {}, (4,), 1),
        ("MiniGrid-Empty-5x5-v0", {}, (984,), 1),
        (f"{HERE}:OwnEnv", {"width": 6}, (6,), 1),
        ("rllib_rnd.envs.deep_sea:DeepSeaVectorEnv", {"size": 4}, (16,), 1),
        ("rllib_rnd/Warehouse-v0", {}, (73,), 1),
        ("rllib_rnd/MiniWarehouse-v0", {"num_stacked": 2}, (74,), 1),
        ("rllib_rnd/PointMaze-v0", {}, (4,), 1),
        ("rllib_rnd/Pixels-v0", {"id": "CartPole-v1", "frame_stack": 2}, (2, 84, 84), 2),
        ("ALE/Breakout-v5", {"grayscale": False, "frame_size": 96}, (4, 96, 96, 3), 4),
        ("ALE/Breakout-v5", {"preset": "iam"}, (1, 84, 84), 1),
    ],
)
def test_every_route_makes_a_next_step_vector(
    env_id: str, config: dict[str, Any], shape: tuple[int, ...], stack: int
) -> None:
    if env_id.startswith("MiniGrid"):
        pytest.importorskip("minigrid")
    env = make_vector_env(env_id, 2, config)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    obs, _ = env.reset(seed=0)
    assert obs.shape == (2, *shape) and env.single_observation_space.shape == shape
    assert frame_stack(env_id, config) == (stack, False)
    obs, reward, terminated, truncated, _ = env.step(np.zeros_like(env.action_space.sample()))
    assert obs in env.observation_space
    assert reward.shape == terminated.shape == truncated.shape == (2,)
    env.close()


def test_gymnasium_ids_reset_in_the_next_step() -> None:
    env = make_vector_env("CartPole-v1", 3)
    env.reset(seed=0)
    for _ in range(200):
        obs, _, terminated, _, _ = env.step(np.ones(3, dtype=np.int64))
        if terminated.any():
            break
    i = int(terminated.argmax())
    assert abs(obs[i, 2]) > 0.2  # the pole has fallen: the true last observation
    obs, reward, terminated, _, _ = env.step(np.ones(3, dtype=np.int64))
    assert abs(obs[i, 2]) <= 0.05 and reward[i] == 0 and not terminated[i]


def test_env_config_goes_to_a_gymnasium_environment_as_arguments() -> None:
    env = make_vector_env("CartPole-v1", 1, {"sutton_barto_reward": True})
    env.reset(seed=0)
    assert env.step(np.zeros(1, dtype=np.int64))[1][0] == 0.0


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("ALE/MontezumaRevange-v5", "'ALE/MontezumaRevenge-v5'"),
        ("MontezumasRevengeNoFrameskip-v4", "'MontezumaRevengeNoFrameskip-v4'"),
        ("CartPol-v1", "CartPole-v1"),
        ("CartPole-v9", "CartPole-v1"),
        ("CartPole", "has no version"),
        ("rllib_rnd/DeepSee-v0", "rllib_rnd/DeepSea-v0"),
        ("ALE/Breakout-v4", "ALE/Breakout-v5"),
        ("no.such.module:Env", "cannot import"),
        ("no_such_module:Env-v0", "cannot import"),
        ("rllib_rnd.envs.deep_sea:DeepSeeEnv", "cannot import"),
        ("", "no environment name"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(env_id: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_vector_env(env_id, 1)


@pytest.mark.parametrize(
    ("env_id", "config", "message"),
    [
        ("ALE/Pong-v5", {"frame_sise": 84}, r"^env_config\.frame_sise: unknown key 'frame_sise'.*'frame_size'"),
        ("ALE/Pong-v5", {"sticky_action_prob": 1.5}, r"^env_config\.sticky_action_prob: 1.5 is out of range"),
        ("ALE/Pong-v5", {"interpolation": "aria"}, "'area'"),
        ("CartPole-v1", {"sutton_barto_rewards": True}, "'sutton_barto_reward'"),
        (f"{HERE}:OwnEnv", {"widht": 3}, "'width'"),
        ("rllib_rnd/DeepSea-v0", {"sizes": 3}, "'size'"),
    ],
)
def test_bad_options_are_refused(env_id: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_vector_env(env_id, 1, config)


def test_bad_numbers_of_environments_are_refused() -> None:
    for number in (0, -1, 2.0):
        with pytest.raises(ConfigError, match="num_envs"):
            make_vector_env("CartPole-v1", number)  # type: ignore[arg-type]


def test_a_vector_environment_in_another_autoreset_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"SAME_STEP; allowed is NEXT_STEP"):
        make_vector_env(f"{HERE}:SameStepVectorEnv", 2)


def test_single_environments() -> None:
    assert make_env("ALE/Pong-v5", {"frame_stack": 3}, "rgb_array").reset(seed=0)[0].shape == (3, 84, 84)
    assert make_env("CartPole-v1").reset(seed=0)[0].shape == (4,)
    assert make_env(f"{HERE}:OwnEnv").reset(seed=0)[0].shape == (3,)
    with pytest.raises(ConfigError, match="vector environment"):
        make_env("rllib_rnd.envs.deep_sea:DeepSeaVectorEnv")
    with pytest.raises(ConfigError, match="render_mode"):
        make_env("ALE/Pong-v5", render_mode="human")


def test_options_classes_and_the_list() -> None:
    assert env_config_class("ALE/Pong-v5") is AtariOptions
    assert env_config_class("PongNoFrameskip-v4") is AtariOptions
    assert env_config_class("rllib_rnd/DeepSea-v0") is DeepSeaOptions
    assert env_config_class("MiniGrid-Empty-5x5-v0") is MiniGridOptions
    assert env_config_class("CartPole-v1") is None
    rows = list_environments()
    assert {AtariOptions, DeepSeaOptions, MiniGridOptions, None} < {row.options_class for row in rows}
    for row in rows:
        assert row.pattern and row.description
        for field in dataclasses.fields(row.options_class) if row.options_class else ():
            assert field.metadata["help"]


def test_a_gymnasium_id_with_only_a_vector_entry_point() -> None:
    gym.register("OnlyVector-v0", vector_entry_point=DeepSeaVectorEnv, kwargs={"size": 3})
    gym.register("OnlySameStep-v0", vector_entry_point=SameStepVectorEnv)  # type: ignore[arg-type]
    try:
        assert make_vector_env("OnlyVector-v0", 2).reset()[0].shape == (2, 9)
        with pytest.raises(ConfigError, match="SAME_STEP"):
            make_vector_env("OnlySameStep-v0", 2)
    finally:
        del gym.registry["OnlyVector-v0"], gym.registry["OnlySameStep-v0"]


@pytest.mark.parametrize(
    ("name", "message"), [("AlwaysThreeVectorEnv", "3 environments; 2 were asked"), ("TextVectorEnv", "one array")]
)
def test_vector_environments_that_do_not_fit_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_vector_env(f"{HERE}:{name}", 2)


def test_dictionaries_of_numbers_become_one_vector() -> None:
    env = make_vector_env(f"{HERE}:DictEnv", 2)
    assert env.reset()[0].tolist() == [[1.0, 1.0, 0.0, 0.0]] * 2


STRANGER = """
import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class Corridor(VectorEnv):
    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs=1, length=5):
        self.num_envs, self.length = num_envs, length
        self.single_observation_space = gym.spaces.Box(0, 1, (length,), np.float32)
        self.single_action_space = gym.spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def _obs(self):
        return np.eye(self.length, dtype=np.float32)[self.place]

    def reset(self, *, seed=None, options=None):
        self.place = np.zeros(self.num_envs, int)
        self.done = np.zeros(self.num_envs, bool)
        return self._obs(), {}

    def step(self, actions):
        moved = np.clip(self.place + 2 * actions - 1, 0, self.length - 1)
        self.place = np.where(self.done, 0, moved)
        self.done = ~self.done & (self.place == self.length - 1)
        return self._obs(), self.done.astype(float), self.done.copy(), np.zeros(self.num_envs, bool), {}


gym.register("StrangersCorridor-v0", vector_entry_point=Corridor)
"""


@pytest.mark.usefixtures("ray_session")
def test_a_vector_environment_of_an_unknown_package_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_strangers_package.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    config = small_config(env="a_strangers_package:StrangersCorridor-v0").environment(env_config={"length": 4})
    algorithm = config.build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert result["env_runners"]["episode_return_mean"] == 1.0
    assert algorithm.env_runner.num_envs == 4


@pytest.mark.parametrize("env_id", ["rllib_rnd/DeepSea-v0", "rllib_rnd/Warehouse-v0", "rllib_rnd/PointMaze-v0"])
def test_own_ids_work_with_gymnasium_itself(env_id: str) -> None:
    single, vector = gym.make(env_id), gym.make_vec(env_id, num_envs=3)
    assert single.reset(seed=0)[0] in single.observation_space
    assert vector.reset(seed=0)[0].shape == (3, *single.observation_space.shape)  # type: ignore[misc]
    assert set(own_ids()) <= set(gym.registry)
    single.close(), vector.close()


def test_own_ids_take_options_and_render_modes_from_gymnasium() -> None:
    env = gym.make("rllib_rnd/Warehouse-v0", render_mode="rgb_array", removal_bug=False, num_stacked=8)
    assert env.reset(seed=0)[0].shape == (8 * 73,)
    picture: Any = env.render()
    assert picture.ndim == 3 and picture.dtype == np.uint8
    env.close()
