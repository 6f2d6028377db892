"""Who gets how many threads."""

from __future__ import annotations

from typing import Any

import pytest

from rllib_rnd.threads import Threads, describe_processes, plan_threads
from tests.conftest import small_config


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Threads(learner=8, runner=8)),  # in turn: each has everything
        ({"num_learners": 2}, Threads(learner=4, runner=8)),
        ({"num_env_runners": 4}, Threads(learner=8, runner=1)),
        ({"num_env_runners": 4, "num_cpus_per_env_runner": 2}, Threads(learner=8, runner=2)),
        ({"num_env_runners": 4, "overlap_sampling": True}, Threads(learner=4, runner=1)),
        ({"num_env_runners": 6, "overlap_sampling": True, "num_learners": 2}, Threads(learner=1, runner=1)),
        ({"num_env_runners": 16, "overlap_sampling": True}, Threads(learner=1, runner=1)),
        ({"num_env_runners": 1, "num_cpus_per_env_runner": 64}, Threads(learner=8, runner=8)),
        ({"torch_threads": 3}, Threads(learner=3, runner=8)),
    ],
)
def test_the_cores_are_shared(settings: dict[str, Any], expected: Threads) -> None:
    config = small_config().training(torch_threads=None)
    for name, value in settings.items():
        setattr(config, name, value)
    assert plan_threads(config, cores=8) == expected


def test_the_line_for_people_names_processes_and_threads() -> None:
    config = small_config().training(torch_threads=None)
    line = describe_processes(config, cores=4)
    assert line == (
        "the main process plays (environments in C++: 4 threads), the main process learns (4 threads), in turn; "
        "4 cores here"
    )
    config.env_runners(num_env_runners=2).learners(num_learners=1).training(overlap_sampling=True)
    assert describe_processes(config, cores=4) == (
        "2 runners x 1 thread, 1 learner x 2 threads, at the same time; 4 cores here"
    )
