"""The table of metrics against results of every algorithm: what may stop a run is really reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_rnd import IntrinsicPPOConfig
from rllib_rnd.experiment.metric_names import REPORTED_WITH
from rllib_rnd.presets import ALGORITHMS
from rllib_rnd.tracking.metrics import curated, find, full_path, known_stop_keys, lookup, user_metrics

pytestmark = pytest.mark.usefixtures("ray_session")


class Telling(gym.Env):
    """Tells where it is and how far, sends one broken observation, and fails once in its 20th step."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Discrete(2)
    made = 0

    def __init__(self, **_: object) -> None:
        type(self).made += 1
        self.steps, self.all_steps, self.fails = 0, 0, type(self).made == 1

    def _info(self) -> dict[str, Any]:
        return {"room": self.steps, "position": self.steps, "progress": float(self.steps)}

    def reset(self, *, seed: int | None = None, **_: Any) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.steps = 0
        return self.observation(), self._info()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps, self.all_steps = self.steps + 1, self.all_steps + 1
        if self.fails and self.all_steps == 20:
            raise OSError("it fails once")
        return self.observation(), 1.0, self.steps >= 4, False, self._info()

    def observation(self) -> np.ndarray:
        obs = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return obs * np.float32(np.nan) if self.fails and self.all_steps == 10 else obs


@pytest.fixture
def environment() -> Iterator[str]:
    Telling.made = -1  # the first is looked at, the second plays
    gym.register("Telling-v0", Telling)
    yield "Telling-v0"
    gym.registry.pop("Telling-v0")


BYOL = {"type": "byol", "augmentation": "noise", "projector_hidden": 8, "projection_size": 4, "predictor_hidden": 8}


def configured(algorithm: str, environment: str) -> IntrinsicPPOConfig:
    config = ALGORITHMS[algorithm].get_default_config().environment(environment)
    config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=16)
    config.training(num_epochs=1, num_minibatches=1, minibatch_size=None, torch_threads=1, warmup_steps=0)
    config.fault_tolerance(restart_failed_sub_environments=True, restart_failed_env_runners=False)
    config.evaluation(evaluation_interval=1, evaluation_duration=1).debugging(seed=0, log_level="ERROR")
    if algorithm == "SND":
        config.training(intrinsic_reward={"type": "snd_v", "augmentation": "noise", "hidden_sizes": [8]})
    if algorithm == "RND":
        config.training(intrinsic_reward={"type": "rnd", "feature_dim": 8, "hidden_sizes": [8]})
        config.training(auxiliary_loss=BYOL, pretraining={"max_rollouts": 1})
    return config


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_metric_that_may_stop_a_run_is_reported(environment: str, algorithm: str) -> None:
    config = configured(algorithm, environment)
    config.training(max_evaluation_steps=3)  # a step less than an episode takes
    run = config.build_algo()
    run.runners.crew.hanging = run.runners.crew.restarts = 1  # as after an environment that hung
    results = [run.train() for _ in range(4)]
    run.stop()
    lacking = [starts for setting, (starts, _) in REPORTED_WITH.items() if not getattr(config, setting)]
    assert len(lacking) == {"IntrinsicPPO": 2, "RND": 0, "SND": 1}[algorithm]
    absent = tuple(start for starts in lacking for start in starts)
    for name in known_stop_keys():
        found = any(find(result, full_path(name)) is not None for result in results)
        assert found != full_path(name).startswith(absent or "nothing"), name
    assert [user_metrics(result) for result in results] == [{}] * len(results)


def test_metrics_of_callbacks_are_reported_by_their_names() -> None:
    def on_train_result(*, metrics_logger: Any, result: dict[str, Any], **_: Any) -> None:
        metrics_logger.log_value("logged", 3.0, reduce="max")
        metrics_logger.log_value(("nested", "deep"), 4.0)
        result["put"], result["env_runners"]["put_below"] = 1, np.float32(2.0)

    config = configured("IntrinsicPPO", "CartPole-v1").callbacks(
        on_train_result=on_train_result,
        on_sample_end=lambda *, metrics_logger, **_: metrics_logger.log_value("sampled", 5.0),
    )
    run = config.build_algo()
    run.train()
    result = run.train()
    run.stop()
    expected = {"logged": 3.0, "nested/deep": 4.0, "put": 1.0, "put_below": 2.0, "sampled": 5.0}
    assert user_metrics(result) == expected | {"evaluation_sampled": 5.0}
    assert expected.items() <= curated(result).items()  # which MLflow keeps
    assert all(find(result, name) == value for name, value in user_metrics(result).items())  # which stop looks at
    assert lookup(result, "env_runners/sampled") == 5.0
