"""Calls of learners: every one gets them, and what it raises is raised."""

from __future__ import annotations

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
