"""Calls of learners: every one gets them, and what it raises is raised."""

from __future__ import annotations

import logging

import pytest

from rllib_rnd.training.learners import foreach_learner
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.mark.parametrize("learners", [0, 1])
def test_the_result_or_the_error_of_each_comes_back(learners: int) -> None:
    algorithm = small_config().learners(num_learners=learners).build_algo()
    rollouts = algorithm.runners.random_play(4)
    assert foreach_learner(algorithm.learner_group, "update_statistics", rollouts) == [None]
    with pytest.raises(AttributeError, match="no_such_method"):
        foreach_learner(algorithm.learner_group, "no_such_method")
    algorithm.stop()


@pytest.mark.parametrize(("reward", "warmup_steps", "warned"), [("rnd", 0, 1), ("rnd", 20, 0), ("count", 0, 0)])
def test_a_reward_that_wants_random_play_and_gets_none_is_told_of_once(
    reward: str, warmup_steps: int, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    algorithm = small_config(intrinsic_reward=reward, warmup_steps=warmup_steps).build_algo()
    with caplog.at_level(logging.WARNING, "rllib_rnd"):
        for _ in range(2):
            algorithm.train()
    assert sum("warmup_steps is 0, but rnd" in record.getMessage() for record in caplog.records) == warned
    algorithm.stop()
