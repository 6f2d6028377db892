"""An environment that hangs in a remote runner: said by name, or replaced and counted; the rest trains on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from tests.conftest import small_config
from tests.faults.small_training import limit

pytestmark = pytest.mark.usefixtures("ray_session")


class HangingEnv(gym.Env):
    """Hangs once, for ever, in whichever process first finds no file at ``marker``."""

    def __init__(self, marker: str) -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.marker = Path(marker)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> Any:
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return np.zeros(2, np.float32), 0.0, False, False, {}
        while True:
            time.sleep(1.0)


def build(marker: Path, restart: bool) -> Any:
    config = small_config("IntrinsicPPO", env="tests.faults.test_hanging_environment:HangingEnv")
    config.environment(env_config={"marker": str(marker)})
    config.env_runners(num_env_runners=2, num_envs_per_env_runner=1)
    return config.fault_tolerance(restart_failed_env_runners=restart).build_algo()


def test_a_hanging_runner_is_replaced_and_counted(tmp_path: Path) -> None:
    algorithm = build(tmp_path / "hung", restart=True)
    with limit(algorithm, "sample_timeout_s", 4.0):
        first = algorithm.train()["env_runners"]
    assert first["hanging_env_runners"] == 1
    assert first["num_env_steps_sampled_lifetime"] == 16  # the rollout of the other runner
    until = time.monotonic() + 240.0  # a process starts slowly on a busy machine
    while (result := algorithm.train()["env_runners"])["num_env_steps_sampled"] <= 16:
        assert time.monotonic() < until, "the replaced runner never came back"
        time.sleep(0.5)
    algorithm.stop()
    assert result["hanging_env_runners"] == 1


def test_without_restarts_it_is_an_error_that_names_runner_and_environment(tmp_path: Path) -> None:
    algorithm = build(tmp_path / "hung", restart=False)
    limited = limit(algorithm, "sample_timeout_s", 4.0)
    with pytest.raises(RuntimeError, match=r"\[\d\] have not finished .* sample_timeout_s = 4.0 s.*Hanging"), limited:
        algorithm.train()
    algorithm.stop()
