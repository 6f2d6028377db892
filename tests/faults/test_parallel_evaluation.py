"""Evaluation in parallel to training: runners of evaluation die and hang meanwhile, and training does not mind.

What is trained is trained in another thread there, by the process itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.faults import runner_faults as faults
from tests.faults.small_training import Training

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    training = Training(tmp_path_factory.mktemp("parallel"), remote=0, warmup_steps=0)
    training.evaluate_too(remote=1, parallel=True)
    yield training.build()
    training.stop()


def test_a_runner_of_evaluation_that_dies_is_missed_once(training: Training) -> None:
    training.settle()
    outcome = faults.evaluation_runner_killed(training)
    assert re.search(r"Env runner 1 is lost: its process has ended", outcome.seen), outcome.seen


def test_a_runner_of_evaluation_that_hangs_is_ended(training: Training) -> None:
    if not training.batches:
        training.settle()  # it runs alone
    outcome = faults.evaluation_runner_hangs(training)
    assert re.search(r"have not finished within evaluation_sample_timeout_s = 4.0 s: .*Faulty", outcome.seen)
