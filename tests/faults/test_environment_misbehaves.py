"""Environments that misbehave: one property over a table, in the main process, remote runners and users' vectors."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.faults.environment_faults import MISBEHAVIOURS, Misbehaviour, environment_misbehaves, hangs
from tests.faults.small_training import Training

pytestmark = pytest.mark.usefixtures("ray_session")

PLAYED = {"local": (0, "Faulty"), "vector": (0, "FaultyVector"), "remote": (1, "Faulty")}


@pytest.fixture(scope="module", params=PLAYED)
def training(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    remote, env = PLAYED[request.param]
    training = Training(tmp_path_factory.mktemp(request.param), remote, env, warmup_steps=4)
    training.build()
    training.train()
    yield training
    training.stop()


@pytest.mark.parametrize("row", MISBEHAVIOURS, ids=lambda row: f"{row.act} in {row.where}".replace(" ", "_"))
def test_no_broken_sample_is_learned_from_and_the_environment_is_named(training: Training, row: Misbehaviour) -> None:
    outcome = environment_misbehaves(training, row)
    if row.act == "outside" and training.remote:
        return  # said in the runner's process
    if row.ends or row.says:
        assert re.search(row.ends or row.says, outcome.seen), outcome.seen


def test_one_that_hangs_is_interrupted_where_it_hangs(training: Training) -> None:
    if training.remote:
        pytest.skip("a remote runner that hangs is ended and started anew: test_runner_killed.py holds that")
    outcome = hangs(training)
    assert re.search(r"failed in step\(\): HangError: .* hangs: it is not done within sample_timeout_s", outcome.seen)
    assert re.search(r"faulty.py:\d+, in _act", outcome.seen)
