"""Sampling while learning: the policy that plays is exactly one update old, and nothing else changes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from tests.conftest import small_config
from tests.test_algorithm import assert_same, weights

pytestmark = pytest.mark.usefixtures("ray_session")


class SlowToTakeWeights(RolloutEnvRunner):
    """Learning is over before the previous weights are acknowledged."""

    def set_state(self, state: Any) -> None:
        super().set_state(state)
        time.sleep(0.5)


def build(overlap: bool, runner: type[RolloutEnvRunner] = RolloutEnvRunner) -> Any:
    config = small_config(overlap_sampling=overlap, lr=1e-2)
    return config.env_runners(num_env_runners=2, num_envs_per_env_runner=2, env_runner_cls=runner).build_algo()


def test_it_needs_runners_of_their_own() -> None:
    with pytest.raises(ConfigError, match="num_env_runners"):
        small_config(overlap_sampling=True).validate()


@pytest.mark.parametrize("runner", [RolloutEnvRunner, SlowToTakeWeights])
def test_rollouts_are_one_update_old_and_carry_their_own_log_probabilities(runner: type[RolloutEnvRunner]) -> None:
    """Each rollout's log-probabilities must be those of the weights before the previous update."""
    algorithm = build(overlap=True, runner=runner)
    learner = algorithm.local_learner()
    module, history = learner.trained_module, []
    update = learner.update_from_rollouts

    def spy(rollouts: list[Any], *others: Any) -> Any:
        history.append(({k: v.clone() for k, v in module.state_dict().items()}, learner.own_share(rollouts)))
        return update(rollouts, *others)

    learner.update_from_rollouts = spy
    for _ in range(4):
        algorithm.train()
    algorithm.stop()
    now = {k: v.clone() for k, v in module.state_dict().items()}
    for i, (_, rollout) in enumerate(history):
        behaviour = history[max(0, i - 1)][0]
        module.load_state_dict(behaviour)
        index = torch.arange(rollout.num_steps * rollout.num_envs)
        logits = module.policy_and_values(rollout.obs(index))[0]
        logp = torch.log_softmax(logits, 1).gather(1, rollout.action.flatten()[:, None])[:, 0]
        torch.testing.assert_close(logp.detach(), rollout.logp.flatten(), atol=1e-5, rtol=1e-4)
    module.load_state_dict(now)


def test_overlapped_runs_repeat_themselves() -> None:
    states = []
    for _ in range(2):
        algorithm = build(overlap=True)
        for _ in range(3):
            algorithm.train()
        states.append(weights(algorithm))
        algorithm.stop()
    assert_same(*states)


def test_samples_follow_on_each_other_and_are_counted_once() -> None:
    counts = []
    for overlap in (False, True):
        algorithm = build(overlap)
        for _ in range(3):
            result = algorithm.train()
        counts.append(result["env_runners"]["num_env_steps_sampled_lifetime"])
        algorithm.stop()
    assert counts[0] == counts[1]


def test_an_overlapped_run_is_saved_and_restored(tmp_path: Any) -> None:
    algorithm = build(overlap=True)
    algorithm.train()
    path = algorithm.save_to_path(tmp_path)
    saved = weights(algorithm)
    algorithm.stop()
    again = build(overlap=True)
    again.restore_from_path(path)
    assert_same(weights(again), saved)
    result = again.train()
    again.stop()
    assert np.isfinite(result["learners"]["default_policy"]["total_loss"])
