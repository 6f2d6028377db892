"""A clock that is set back or forward: durations stay right, and what is newest is known by how far it is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rllib_rnd.analysis.results.folders import runs_in_folder
from rllib_rnd.checkpoints import checkpoints_in, find_checkpoint, newest_valid
from rllib_rnd.checkpoints.manifest import MANIFEST, Manifest
from rllib_rnd.checkpoints.names import by_progress
from tests.conftest import small_config
from tests.faults.two_learners import STEPS, learner_with, played

HOUR, DAY = 3600.0, 24 * 3600.0


@pytest.fixture(params=[-HOUR, DAY])
def jumping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every look at the clock of the day finds it an hour earlier, or a day later, than the one before."""
    now, shift = time.time, [0.0]

    def jumped() -> float:
        shift[0] += request.param
        return now() + shift[0]

    monkeypatch.setattr(time, "time", jumped)
    yield


@pytest.mark.usefixtures("ray_session", "jumping")
def test_times_and_rates_of_training_are_those_of_a_clock_that_nobody_sets() -> None:
    started = time.perf_counter()
    algorithm = small_config().build_algo()
    results = [algorithm.train() for _ in range(2)]
    algorithm.stop()
    passed = time.perf_counter() - started
    assert 0.0 < results[0]["time_this_iter_s"] < results[1]["time_total_s"] < passed
    assert results[1]["throughput"]["agent_steps_per_s"] > 0.0
    for name in ("sample_s", "learn_s", "sync_s"):
        assert 0.0 <= results[1]["timers"][name] < passed


@pytest.mark.usefixtures("jumping")
def test_a_learner_reads_no_clock_that_can_be_set() -> None:
    learner = learner_with("intrinsic_reward", "rnd")
    result = learner.update_from_rollouts([played(learner)], STEPS)["default_policy"]
    assert 0.0 <= float(result["transfer_s"]) < HOUR


def trial(run: Path, clock: str, iterations: range, every: int = 5) -> None:
    """A trial's folder that started when the clock said so, with a result and a checkpoint of some iterations."""
    folder = run / f"RND_env_1a2b3_00000_0_{clock}"
    folder.mkdir(parents=True)
    rows = []
    for number, iteration in enumerate(iterations):
        steps = {"num_env_steps_sampled_lifetime": 100 * iteration, "episode_return_mean": float(iteration)}
        rows.append(json.dumps({"training_iteration": iteration, "env_runners": steps}))
        if iteration % every == 0:
            checkpoint = folder / f"checkpoint_{number // every:06d}"
            checkpoint.mkdir()
            manifest = Manifest(4, "rllib_rnd:RND", iteration, 100 * iteration, clock, {}, {})
            (checkpoint / MANIFEST).write_text(manifest.to_json())
    (folder / "result.json").write_text("\n".join(rows) + "\n")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three parts: the clock went back two hours before the second, and half an hour forward before the third."""
    run = tmp_path / "run"
    trial(run, "2026-05-01_12-00-00", range(1, 13))
    trial(run, "2026-05-01_10-00-00", range(11, 23))  # goes on from the checkpoint of iteration 10
    trial(run, "2026-05-01_10-30-00", range(21, 28))
    (run / "run.json").write_text(
        json.dumps({"experiment": "run", "command": "", "start": "", "description": {"single": True}})
    )
    return run


def test_the_newest_checkpoint_is_the_one_that_is_farthest_on(run: Path) -> None:
    iterations = [json.loads((path / MANIFEST).read_text())["iteration"] for path in checkpoints_in(run)]
    assert iterations == [5, 10, 15, 20, 25]
    newest = newest_valid(run)
    assert newest is not None and newest.parent.name.endswith("10-30-00")


def test_a_corrupt_one_that_was_farther_on_does_not_outrank_what_went_on_from_before_it(run: Path) -> None:
    (first,) = (path for path in run.iterdir() if path.name.endswith("12-00-00"))
    broken = first / "checkpoint_000002"
    broken.mkdir()
    (broken / MANIFEST).write_text("{")
    newest = newest_valid(run)
    assert newest is not None and newest.parent.name.endswith("10-30-00")


def test_curves_of_all_parts_are_joined_in_the_order_of_training(run: Path) -> None:
    (found,) = runs_in_folder(run)
    assert found.metrics["iteration"].tolist() == [*range(1, 28)]
    assert found.metrics["agent_steps"].tolist() == [100.0 * i for i in range(1, 28)]


@pytest.mark.parametrize(
    ("begins", "order"),
    [
        ([1, 11, 21], "abc"),
        ([11, 1, 21], "bac"),
        ([21, None, 1, 11], "cdab"),
        ([1, None], "ab"),
        ([10, 10, 10], "abc"),
        ([None, None], "ab"),
    ],
)
def test_parts_follow_on_each_other(begins: list[Any], order: str) -> None:
    parts = "abcd"[: len(begins)]
    assert by_progress(parts, lambda part: begins[parts.index(part)]) == list(order)


def test_experiments_are_still_told_apart_by_when_they_were_started(tmp_path: Path) -> None:
    trial(tmp_path / "long", "2026-05-01_10-00-00", range(1, 30))
    trial(tmp_path / "late", "2026-05-01_12-00-00", range(1, 8))
    said: list[str] = []
    newest = checkpoints_in(tmp_path)[-1]
    assert newest.parent.parent.name == "late"
    assert find_checkpoint(tmp_path, said.append) == newest
    assert said == ["newest of 2 experiments: late"]
