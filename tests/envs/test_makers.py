"""Environments from Python: classes, functions and registered names, after RLlib's convention and gymnasium's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from ray import tune
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv

import rllib_rnd
from rllib_rnd.checkpoints import checkpoint_config
from rllib_rnd.cli.evaluate import EvaluateOptions, evaluate
from rllib_rnd.envs import frame_stack, make_env, make_vector_env
from rllib_rnd.envs.makers import RegisteredMaker, env_name, is_own, portable, takes_context
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import load_experiments
from tests.conftest import small_config


class Steps(gym.Env[np.ndarray, np.int64]):
    """Ends after ``size`` steps; tells which runner and place it belongs to."""

    def __init__(self, size: int = 3) -> None:
        self.size, self.place = size, 0
        self.observation_space = gym.spaces.Box(0, 1, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(**kwargs)
        self.t = 0
        return np.zeros(2, np.float32), {"position": self.place}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return np.ones(2, np.float32), 1.0, self.t >= self.size, False, {"position": self.place}


class ContextSteps(Steps):
    """As RLlib's users write it."""

    def __init__(self, config: EnvContext) -> None:
        super().__init__(config["size"])
        self.place = 10 * config.worker_index + config.vector_index


class Agents(MultiAgentEnv):
    """More than one."""


def keyword(*, size: int) -> Steps:
    return Steps(size)


def optional(env_config: Mapping[str, int] | None = None) -> Steps:
    return Steps((env_config or {}).get("size", 5))


def by_value() -> type[Steps]:
    """A class that no other process can import."""

    class Local(ContextSteps):
        pass

    return Local


WAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "a class after gymnasium": (Steps, {"size": 4}),
    "a class after RLlib": (ContextSteps, {"size": 4}),
    "a class that cannot be imported": (by_value(), {"size": 4}),
    "a function of keywords": (keyword, {"size": 4}),
    "a function of one mapping": (optional, {"size": 4}),
    "a lambda": (lambda c: ContextSteps(c), {"size": 4}),
    "a lambda of keywords": (lambda size: Steps(size), {"size": 4}),
    "a registered name": ("own_steps", {"size": 4}),
    "an import path": (f"{__name__}:ContextSteps", {"size": 4}),
    "a dotted import path": (f"{__name__}.Steps", {"size": 4}),
}


@pytest.fixture(autouse=True)
def registered() -> None:
    tune.register_env("own_steps", lambda config: ContextSteps(config))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_makes_single_and_vector_environments(way: str) -> None:
    for env in (WAYS[way][0], portable(WAYS[way][0])):
        single = make_env(env, WAYS[way][1])
        assert isinstance(single.unwrapped, Steps) and single.unwrapped.size == 4
        vector = make_vector_env(env, 2, WAYS[way][1])
        obs, _ = vector.reset(seed=0)
        assert obs.shape == (2, 2) and frame_stack(env, WAYS[way][1]).size == 1


def test_a_context_knows_runner_and_place() -> None:
    context = EnvContext({"size": 2}, worker_index=3, num_workers=4)
    _, infos = make_vector_env(ContextSteps, 3, context).reset(seed=0)
    assert infos["position"].tolist() == [30, 31, 32]


@pytest.mark.parametrize(
    ("maker", "env_config", "takes"),
    [
        (ContextSteps, {"size": 1}, True),
        (Steps, {}, False),
        (Steps, {"size": 1}, False),
        (lambda anything: None, {"size": 1}, True),
        (lambda anything: None, {"anything": 1}, False),
        (lambda: None, {}, False),
        (lambda config, render_mode=None: None, {}, True),
        (lambda config, level: None, {}, False),
        (lambda *, config: None, {}, False),
        (optional, {}, True),
        (keyword, {"size": 1}, False),
        (3, {}, False),
    ],
)
def test_conventions_are_told_apart_by_the_signature(maker: Any, env_config: dict[str, int], takes: bool) -> None:
    assert takes_context(maker, env_config) is takes


def test_what_has_an_import_path_is_named_by_it() -> None:
    assert portable(Steps) == f"{__name__}:Steps" and portable("CartPole-v1") == "CartPole-v1"
    local, sent = by_value(), portable("own_steps")
    assert portable(local) is local and env_name(local).endswith("by_value.<locals>.Local")
    assert isinstance(sent, RegisteredMaker) and env_name(sent) == str(sent) == "own_steps"
    assert env_name("CartPole-v1") == "CartPole-v1"


def test_ids_with_dots_stay_gymnasiums() -> None:
    gym.register("tests.v0.Dotted", entry_point=f"{__name__}:Steps")
    try:
        assert not is_own("tests.v0.Dotted") and not is_own("no_such_module.Env") and is_own(f"{__name__}.Steps")
    finally:
        del gym.registry["tests.v0.Dotted"]


def broken(config: EnvContext) -> None:
    raise OSError("the simulator is gone")


@pytest.mark.parametrize(
    ("env", "env_config", "message"),
    [
        (Steps, {"siez": 3}, "env_config.siez: unknown key 'siez'. Did you mean 'size'?"),
        (
            broken,
            {"size": 3},
            r":broken cannot be made with {'size': 3}: OSError: the simulator is gone \(.*:\d+",
        ),
        (
            ContextSteps,
            {},
            r":ContextSteps cannot be made with {}: KeyError: 'size' \(.*test_makers.py:\d+, in",
        ),
        (lambda config: dict(config), {}, "env: .* makes a builtins:dict; allowed is a single gymnasium.Env."),
        (Agents, {}, "is a multi-agent environment, which is not supported"),
        (3, {}, "env: 3 is no environment name"),
        ("", {}, "env: '' is no environment name"),
    ],
)
def test_what_cannot_be_made_is_refused(env: Any, env_config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env(env, env_config)


@pytest.mark.usefixtures("ray_session")
def test_a_class_of_no_module_is_played_by_runners_and_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    config = small_config(env="CartPole-v1").environment(by_value(), env_config={"size": 3})
    config.env_runners(num_env_runners=1).evaluation(evaluation_interval=1, evaluation_duration=1)
    algorithm = config.build_algo()
    result = algorithm.train()
    assert result["env_runners"]["episode_return_mean"] == 3.0
    assert result["evaluation"]["env_runners"]["episode_return_mean"] == 3.0
    assert set(algorithm.places["position"].visits) == {10, 11, 12, 13}  # of runner 1
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    played = evaluate(str(path), EvaluateOptions(episodes=2))
    assert played.env.endswith("Local") and played.summary()["return_mean"] == 3.0
    restored = rllib_rnd.RND.from_checkpoint(path)
    assert restored.train()["env_runners"]["episode_return_mean"] == 3.0
    restored.stop()


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("way", ["a class after RLlib", "a registered name"])
def test_a_checkpoint_names_the_environment(way: str, tmp_path: Path) -> None:
    algorithm = small_config(env="CartPole-v1").environment(WAYS[way][0], env_config={"size": 3}).build_algo()
    path = Path(algorithm.save_to_path(tmp_path / "checkpoint"))
    algorithm.stop()
    expected = {"a class after RLlib": f"{__name__}:ContextSteps", "a registered name": "own_steps"}[way]
    assert env_name(checkpoint_config(path).env) == expected


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("break_it", [lambda config: broken(config)])
def test_runners_that_do_not_start_say_why(break_it: Callable[..., Any]) -> None:
    config = small_config(env="CartPole-v1").environment(break_it).env_runners(num_env_runners=1)
    config.fault_tolerance(restart_failed_env_runners=True)  # RLlib's default, which drops the error
    with pytest.raises(ConfigError, match=r"runners do not start: env: .*: OSError: the simulator is gone \("):
        config.build_algo()


def test_python_files_may_register_and_hand_over_environments(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "import gymnasium as gym\nfrom ray import tune\nfrom rllib_rnd import RNDConfig\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\nclass Mine(CartPoleEnv): pass\n"
        "tune.register_env('of_a_file', lambda config: Mine())\n"
        "experiments = {'class': {'config': RNDConfig().environment(Mine)}, 'dict': {'run': 'RND', 'env': 'of_a_file'},"
        " 'name': {'config': RNDConfig().environment('of_a_file')}, 'rllib': {'run': 'PPO', 'env': 'of_a_file'}}"
    )
    found = {e.name: e.sample_config().env for e in load_experiments(tmp_path / "x.py")}
    assert found["class"].__name__ == "Mine" and found["rllib"] == "of_a_file"
    assert isinstance(found["name"], RegisteredMaker) and isinstance(found["dict"], RegisteredMaker)
