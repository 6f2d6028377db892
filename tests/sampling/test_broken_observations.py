"""NaN and infinite observations: play survives them, nothing learns from them, those who send no others are named."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.functional.distributions import Categorical, DiagonalGaussian
from rllib_rnd.sampling.intake import MAX_BROKEN_IN_A_ROW, EnvironmentFailedError
from rllib_rnd.sampling.play import Play, play_in
from rllib_rnd.sampling.policy import Policy
from rllib_rnd.sampling.seeds import ResetSeeds
from rllib_rnd.training.batch import extrinsic_reward
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("ray_session")

VALUES = [np.nan, np.inf, -np.inf, 1e30]
LENGTH = 7


class Sensor(gym.Env):
    """Sends ``value`` in one of its numbers at the steps of an episode that ``at`` names; 7 steps."""

    def __init__(self, value: float, at: tuple[int, ...] = (0, 3), box: bool = False, dtype: str = "float32") -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.dtype(dtype).type)
        self.action_space = spaces.Box(-1.0, 1.0, (2,)) if box else spaces.Discrete(3)
        self.value, self.at, self.t = value, at, 0

    def _obs(self) -> np.ndarray:
        obs = np.full(3, 0.25, self.observation_space.dtype)
        if self.t in self.at:
            obs[1] = self.value
        return obs

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.t += 1
        return self._obs(), 1.0, self.t == LENGTH, False, {}


gym.register("tests/Sensor-v0", entry_point=Sensor)  # type: ignore[arg-type]


def play(*envs: gym.Env) -> Play:
    settings: Any = SimpleNamespace(env="CartPole-v1", env_config={}, normalize_actions=True, clip_actions=False)
    return play_in(LeanVectorEnv([lambda env=env: env for env in envs]), settings, ResetSeeds(0))  # type: ignore[misc]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_what_is_no_number_is_0_and_its_neighbours_are_no_samples(value: float, dtype: str) -> None:
    game = play(Sensor(value, dtype=dtype), Sensor(0.0, dtype=dtype))
    with np.errstate(over="ignore"):
        rollout = game.rollout(None, 9)
    assert rollout.frames.dtype == dtype and np.isfinite(rollout.frames.astype(np.float64)).all()
    # Observations 0 and 3, then 7 steps and the reset step: 8 begins the next episode.
    assert np.flatnonzero(rollout.broken[:, 0]).tolist() == [0, 3, 8] and not rollout.broken[:, 1].any()
    assert rollout.frames[3, 0].tolist() == [0.25, 0.0, 0.25]
    assert np.flatnonzero(~rollout.valid[:, 0]).tolist() == [0, 2, 3, 7, 8]
    assert np.flatnonzero(~rollout.valid[:, 1]).tolist() == [7]
    assert game.intake.num_broken == 3


@pytest.mark.parametrize(
    ("value", "box", "backbone"), [(np.nan, False, "mlp"), (np.inf, True, "mlp"), (np.nan, False, "lstm")]
)
def test_training_goes_on_and_nothing_in_it_meets_the_value(value: float, box: bool, backbone: str) -> None:
    config = small_config(env="tests/Sensor-v0", backbone={"type": backbone, "hidden_sizes": [8]})
    config.environment(env_config={"value": value, "box": box})
    if backbone == "lstm":
        config.training(backbone={"type": "lstm", "hidden_sizes": [8], "max_seq_len": 4})
    algorithm = config.build_algo()
    result = [algorithm.train() for _ in range(2)][-1]
    assert result["learners"]["default_policy"]["nonfinite_updates"] == 0
    assert result["env_runners"]["broken_observations"] > 4 and result["env_runners"]["episode_return_mean"] == LENGTH
    state = algorithm.learner_module().state_dict()
    assert all(bool(tensor.isfinite().all()) for tensor in state.values() if tensor.is_floating_point())
    rollout = algorithm.env_runner.sample()
    assert all(np.isfinite(getattr(rollout, name)).all() for name in ("frames", "value", "logp", "memory", "action"))
    algorithm.stop()


def test_a_broken_observations_action_is_drawn_from_a_uniform_policy() -> None:
    def sure(obs: torch.Tensor, memory: Any, is_first: Any) -> tuple[torch.Tensor, torch.Tensor, None]:
        return torch.tensor([[60.0, 0.0, 0.0]]).repeat(len(obs), 1), torch.zeros((len(obs), 1)), None

    obs, broken = np.zeros((3000, 1), np.float32), np.arange(3000) % 2 == 0
    for deterministic in (False, True):
        policy = Policy(sure, Categorical(3), torch.Generator().manual_seed(0), deterministic=deterministic)
        action = policy.decide(obs, policy.empty_memory(3000), np.ones(3000, bool), broken).action
        assert (action[~broken] == 0).all()
        assert np.bincount(action[broken], minlength=3) == pytest.approx([500] * 3, abs=75)


def test_networks_that_are_not_finite_are_named_instead_of_torchs_error() -> None:
    policy = Policy(lambda obs, *_: (obs * torch.nan, obs[:, :0], None), Categorical(2), torch.Generator())
    with pytest.raises(RuntimeError, match="weights are not finite"):
        policy.decide(np.zeros((1, 2), np.float32), policy.empty_memory(1), np.ones(1, bool))


def test_an_environment_of_nothing_else_fails_by_name_and_the_first_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    env = Sensor(np.nan, at=tuple(range(LENGTH + 1)))
    game = play(Sensor(0.0), env)
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(
            EnvironmentFailedError,
            match=rf"{MAX_BROKEN_IN_A_ROW} observations in a row of environment 1 .*Sensor.step\(\)",
        ),
    ):
        game.rollout(None, 2 * MAX_BROKEN_IN_A_ROW)
    assert len([record for record in caplog.records if "NaN" in record.message]) == 1
    assert game.intake.num_broken == MAX_BROKEN_IN_A_ROW


def test_gains_around_a_broken_observation_still_count_for_the_steps_before() -> None:
    rollout = play(Sensor(np.nan)).rollout(None, 9).to_torch()
    assert extrinsic_reward(rollout, "raw")[:, 0].tolist() == [1, 1, 1, 1, 1, 1, 1, 0, 1]


def test_a_drawn_action_beside_the_means_changes_no_inputs_of_the_distribution() -> None:
    distribution = DiagonalGaussian(2)
    policy = Policy(
        lambda obs, *_: (torch.ones(len(obs), 4), obs[:, :1], None),
        distribution,
        torch.Generator().manual_seed(0),
        deterministic=True,
    )
    decision = policy.decide(np.zeros((2, 3), np.float32), np.zeros((2, 0)), np.zeros(2, bool), np.array([True, False]))
    np.testing.assert_array_equal(decision.dist_inputs, [[0.0] * 4, [1.0] * 4])
    np.testing.assert_array_equal(decision.action[1], [1.0, 1.0])
    assert (decision.action[0] != 0.0).all()
    logp, _ = distribution.logp_and_entropy(torch.from_numpy(decision.dist_inputs), torch.from_numpy(decision.action))
    np.testing.assert_allclose(decision.logp, logp)
