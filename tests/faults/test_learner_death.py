"""A learner whose process dies, or that fails while another waits for it: a clear error at once, nothing is left."""

from __future__ import annotations

import dataclasses

import pytest

from rllib_rnd.experiment.restarts import is_death
from rllib_rnd.training import learners
from rllib_rnd.training.learners import LearnerDiedError
from tests.faults.learning_faults import (
    IN_A_STEP,
    IN_A_SUM,
    LIMIT_S,
    disk_full,
    learner_death,
    learner_stopped,
    not_finite_rewards,
)

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.mark.parametrize("number", [1, 2])
def test_a_learner_that_is_killed_ends_training_in_one_line(number: int) -> None:
    """Also in the middle of a sum that the other one waits in."""
    death = learner_death(number, IN_A_STEP if number == 1 else IN_A_SUM)
    assert isinstance(death.error, LearnerDiedError), repr(death.error)
    which = "the learner" if number == 1 else "learner 2 of 2"
    assert str(death.error).startswith(f"{which} (process ") and "signal 9" in str(death.error)
    assert "\n" not in str(death.error)
    assert death.seconds < 60.0 and not death.left


@pytest.mark.parametrize(("number", "where"), [(1, "get_state"), (2, "")], ids=["RLlib waits", "of two"])
def test_a_learner_that_is_stopped_is_given_up_in_one_line(number: int, where: str) -> None:
    death = learner_stopped(number, where)
    assert isinstance(death.error, LearnerDiedError), repr(death.error)
    which = "the learner" if number == 1 else "2 of 2 learners"  # the other waits for it
    assert str(death.error).startswith(f"no answer of {which} within learn_timeout_s = {LIMIT_S} s: a process hangs or")
    assert "\n" not in str(death.error) and is_death(death.error)
    assert death.seconds < 60.0 and not death.left


def test_a_learner_that_raises_does_not_leave_the_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learners, "GRACE_S", 0.5)
    death = learner_death(2, dataclasses.replace(IN_A_SUM, act="raise", number=5, text="placed"))
    assert isinstance(death.error, OSError) and "placed" in str(death.error)
    assert death.seconds < 60.0 and not death.left


def test_faults_without_processes_are_measured_as_well() -> None:
    assert disk_full().lost == "nothing"
    assert "nonfinite_updates: 1" in not_finite_rewards().seen
