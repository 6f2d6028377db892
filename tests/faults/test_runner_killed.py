"""Env runners that die or hang, wherever they are: training goes on with the others, and they come back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.faults import environment_faults
from tests.faults import runner_faults as faults
from tests.faults.outcome import Outcome
from tests.faults.small_training import Training

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    training = Training(tmp_path_factory.mktemp("killed"))
    training.evaluate_too(remote=1)
    yield training.build()
    training.stop()


IN_ORDER: dict[Callable[[Training], Outcome], str] = {
    faults.killed_in_random_play: r"Env runner \d is lost: its process has ended .* It is started anew",  # the first
    faults.one_killed_while_sampling: r"Env runner \d is lost: its process has ended .* It is started anew",
    faults.all_killed_while_sampling: r"Env runner \d is lost: its process has ended .* It is started anew",
    faults.killed_between_iterations: r"Env runner 1 is lost: .* another is there in its place",
    faults.killed_in_weight_sync: r"Env runner \d is lost: its process has ended .* It is started anew",
    faults.rollout_does_not_fit_into_the_store: (
        r"The rollout of env runner \d is lost: Ray's object store is full, .* A smaller num_envs_per_env_runner, "
        r".* holds more. It plays another"
    ),
    # The restart may have failed before the death is told of.
    faults.constructor_raises_at_the_restart: r"Env runner \d is lost: (its process has ended|it cannot be made)",
    environment_faults.hangs: r"Env runners \[\d\] have not finished within sample_timeout_s = 4.0 s: .*Faulty",
    faults.evaluation_runner_killed: r"Env runner 1 is lost: its process has ended",
    faults.evaluation_runner_hangs: r"have not finished within evaluation_sample_timeout_s = 4.0 s: .*Faulty",
}


@pytest.mark.parametrize("fault", IN_ORDER, ids=lambda fault: fault.__name__)
def test_training_goes_on_and_the_runner_comes_back(training: Training, fault: Callable[[Training], Outcome]) -> None:
    if fault is not faults.killed_in_random_play and not training.batches:
        training.settle()  # it runs alone
    outcome = fault(training)
    assert re.search(IN_ORDER[fault], outcome.seen), outcome.seen


def test_with_overlap_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    training = Training(tmp_path_factory.mktemp("overlap"), overlap_sampling=True, warmup_steps=0).build()
    training.settle()
    faults.one_killed_while_sampling(training)
    training.stop()


def test_a_process_that_every_reset_ends_ends_the_training(tmp_path_factory: pytest.TempPathFactory) -> None:
    training = Training(tmp_path_factory.mktemp("crash"), remote=1, warmup_steps=0)
    training.config.fault_tolerance(num_consecutive_env_runner_failures_tolerance=1)
    training.build()
    outcome = faults.every_rollout_ends_a_process(training)
    assert re.search(
        r"env: 'tests.*Faulty': env runners failed 2 times in a row without finishing a rollout "
        r"\(num_consecutive_env_runner_failures_tolerance = 1\); the last was env runner 1: its process has ended",
        outcome.seen,
    )
    training.stop()
