"""The soak's own judgement: what it places, what it finds wrong with rows, what it calls a leak."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from benchmarks.soaking import publish
from benchmarks.soaking.killer import ENDS_DRIVER, ENDS_TRIAL, flip_byte
from benchmarks.soaking.report import fault_rows, read_csv, write_report
from benchmarks.soaking.rows import Recovery, Results, Row, problems_of_iterations, problems_of_rows, recovery, row_of
from benchmarks.soaking.schedule import KINDS, Fault, schedule
from benchmarks.soaking.slopes import slope, slopes_by_role
from benchmarks.soaking.training import Training


def first(seed: int, count: int) -> list[Fault]:
    return list(itertools.islice(schedule(seed), count))


def test_a_seed_alone_decides_the_schedule() -> None:
    assert first(3, 40) == first(3, 40)
    assert [f.kind for f in first(3, 40)] != [f.kind for f in first(4, 40)]
    assert [f.number for f in first(3, 5)] == [0, 1, 2, 3, 4]


def test_each_round_of_a_schedule_has_every_kind_once() -> None:
    faults = first(0, 2 * len(KINDS))
    for part in (faults[: len(KINDS)], faults[len(KINDS) :]):
        assert sorted(f.kind for f in part) == sorted(KINDS)
    assert {f.kind for f in faults if f.hold_s} == {"stop_runner", "lock_store", "full_disk"}
    assert all(15.0 <= f.wait_s <= 60.0 and 0.0 <= f.choice < 1.0 for f in faults)
    assert set(ENDS_DRIVER) | set(ENDS_TRIAL) <= set(KINDS)


def life(begin: int, end: int) -> list[Row]:
    """Rows of one life, 100 agent steps and 10 samples of statistics each."""
    return [Row(i, 100.0 * i, 100.0, i - begin + 1, moments=10.0 * i) for i in range(begin, end + 1)]


def test_a_run_that_was_restored_from_a_checkpoint_is_right() -> None:
    assert problems_of_rows(life(1, 7) + life(6, 9) + life(10, 12), {1: 5, 2: 9}) == []


@pytest.mark.parametrize(
    ("rows", "floors", "problem"),
    [
        (life(1, 7) + life(9, 9), {}, "life 1 begins with iteration 9, but no row says how iteration 8 ended"),
        (life(1, 7) + life(4, 9), {1: 5}, "life 1 begins with iteration 4, though iteration 5 was saved"),
        (life(1, 7) + life(1, 2), {1: 5}, "life 1 begins with iteration 1, though iteration 5 was saved"),
        (life(1, 3) + life(1, 6)[4:], {}, "iteration 5 (life 0): follows iteration 3"),
        (life(1, 3) + life(1, 3)[2:], {}, "iteration 3 (life 0): follows iteration 3"),
        (life(1, 3)[1:], {}, "the first row is of iteration 2"),
    ],
)
def test_iterations_that_are_lost_or_doubled_are_found(rows: list[Row], floors: dict[int, int], problem: str) -> None:
    assert problem in problems_of_rows(rows, floors)


def test_a_life_that_begins_beyond_the_last_row_is_found() -> None:
    rows = life(1, 9) + life(4, 6) + life(9, 10)  # iteration 8 is known, but of a life that was given up
    assert problems_of_rows(rows) == ["life 2 begins with iteration 9, beyond the last row (6)"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"agent_steps": 350.0}, "350 agent steps, not 300 + 100"),
        ({"moments": 30.0}, "statistics of 30 samples after 30"),
        ({"broken": ("total_loss", "plugins/x")}, "not finite: total_loss, plugins/x"),
    ],
)
def test_a_row_that_does_not_follow_from_the_one_before_is_found(change: dict[str, float], problem: str) -> None:
    rows = life(1, 4)
    rows[3] = dataclasses.replace(rows[3], **change)  # type: ignore[arg-type]
    assert problems_of_rows(rows) == [f"iteration 4 (life 0): {problem}"]


def test_iterations_in_which_nothing_was_sampled_are_found() -> None:
    rows = [*life(1, 3), Row(4, 300.0, 0.0, 4, moments=30.0), Row(5, 400.0, 100.0, 5, moments=30.0)]
    still = "iteration 5 (life 0): statistics of 30 samples after 30"
    assert problems_of_rows(rows) == [still, "nothing was sampled in iterations 4"]


def timed(rows: list[Row], start: float, took: float = 2.0) -> list[Row]:
    """Rows that end every ``took`` seconds."""
    return [dataclasses.replace(row, ended=start + took * (i + 1), took=took) for i, row in enumerate(rows)]


def test_the_iteration_that_a_fault_falls_into_is_not_the_one_that_shows_recovery() -> None:
    rows = timed(life(1, 5), 100.0)  # ends at 102 to 110
    half = dataclasses.replace(life(1, 7)[5], sampled=50.0)  # iteration 6, without one of two runners
    rows += timed([half, *life(1, 8)[6:]], 110.0, took=3.0)
    assert recovery(rows[:4], 109.5, False) == Recovery(4)
    assert recovery(rows[:5], 109.5, False) == Recovery(4, next_s=0.5, back_s=0.5)
    assert recovery(rows, 109.5, False) == Recovery(4, next_s=0.5, back_s=0.5, full_s=6.5)


def test_a_trial_that_begins_anew_is_back_where_it_was_later() -> None:
    rows = timed(life(1, 7), 100.0) + timed(life(6, 9), 150.0)
    assert recovery(rows[:7], 112.5, True) == Recovery(7)  # iteration 7 came after the fault: it was on its way
    assert recovery(rows[:8], 112.5, True) == Recovery(7, next_s=39.5, full_s=39.5, lost=2)
    assert recovery(rows, 112.5, True) == Recovery(7, next_s=39.5, back_s=43.5, full_s=39.5, lost=2)


def test_missing_and_doubled_iterations_of_a_store_are_named_in_ranges() -> None:
    assert problems_of_iterations("MLflow", [1.0, 2.0, 3.0]) == []
    assert problems_of_iterations("MLflow", [1, 2, 2, 5, 9, 9], until=11) == [
        "MLflow: more than once: iterations 2, 9",
        "MLflow: missing: iterations 3-4, 6-8, 10-11",
    ]


def result(iteration: int, loss: float = 0.5) -> dict[str, object]:
    return {
        "training_iteration": iteration,
        "iterations_since_restore": iteration,
        "env_runners": {"num_env_steps_sampled_lifetime": 64.0 * iteration, "num_env_steps_sampled": 64},
        "learners": {
            "default_policy": {"total_loss": loss, "num_trainable_parameters": math.nan, "plugins": {"a": 1.0}}
        },
        "soak": {"moments": 128.0},
        "timestamp": 1000 + iteration,
        "time_this_iter_s": 1.5,
    }


def test_results_are_read_while_they_are_written(tmp_path: Path) -> None:
    trial = tmp_path / "RND_x_2026-01-01_00-00-00"
    trial.mkdir()
    file, results = trial / "result.json", Results(tmp_path)
    assert results.update() == [] and results.last == 0
    whole, half = json.dumps(result(1)) + "\n", json.dumps(result(2))
    file.write_text(whole + half[:50])
    assert [row.iteration for row in results.update()] == [1]
    file.write_text(whole + half + "\n")
    (row,) = results.update()
    assert row == Row(2, 128.0, 64.0, 2, 128.0, ended=1002.0, took=1.5, folder=trial.name)
    assert results.last == 2 and results.update() == []


def test_what_is_not_finite_is_named_but_for_what_rllib_never_counts() -> None:
    assert row_of(result(1)).broken == ()
    assert row_of(result(1, loss=math.inf)).broken == ("total_loss",)


def series(per_hour: float, hours: float = 1.0, noise: float = 0.0) -> tuple[list[float], list[float]]:
    times = np.arange(0.0, 3600.0 * hours, 5.0)
    warm = 50.0 * (1.0 - np.exp(-times / 60.0))  # the first minutes of every process
    values = 300.0 + warm + per_hour * times / 3600.0 + noise * np.random.default_rng(0).normal(size=len(times))
    return times.tolist(), values.tolist()


def test_a_slope_is_found_behind_warm_up_noise_and_spikes() -> None:
    times, values = series(12.0, noise=2.0)
    values[400:404] = [900.0] * 4
    found = slope(times, values)
    assert found is not None and found.grows
    assert found.low <= 12.0 <= found.high and abs(found.per_hour - 12.0) < 2.0
    assert abs(found.hours - 50.0 / 60.0) < 0.01  # less ten minutes


def test_what_does_not_grow_is_no_leak() -> None:
    found = slope(*series(0.0, noise=2.0))
    assert found is not None and not found.grows and found.low < 0.0 < found.high


def test_a_short_life_says_nothing() -> None:
    assert slope(*series(1000.0, hours=0.05)) is None
    assert slope([0.0], [1.0]) is None


def test_the_longest_life_of_a_role_is_measured() -> None:
    samples = [{"t": str(t), "role": "runner", "pid": "1", "uss_mib": "300"} for t in range(0, 300, 5)]
    times, values = series(60.0, hours=0.5)
    samples += [
        {"t": str(t), "role": "runner", "pid": "2", "uss_mib": str(v)} for t, v in zip(times, values, strict=True)
    ]
    found, lives = slopes_by_role(samples, "uss_mib")["runner"]
    assert lives == 2 and abs(found.per_hour - 60.0) < 3.0


def test_a_flipped_byte_changes_the_largest_file_alone(tmp_path: Path) -> None:
    (tmp_path / "learner").mkdir()
    (tmp_path / "learner" / "module").write_bytes(bytes(range(100)))
    (tmp_path / "small").write_bytes(b"abc")
    assert flip_byte(tmp_path) == "learner/module"
    changed = (tmp_path / "learner" / "module").read_bytes()
    assert [i for i, (a, b) in enumerate(zip(changed, range(100), strict=True)) if a != b] == [50]
    assert (tmp_path / "small").read_bytes() == b"abc"


def test_what_mlflow_holds_is_read_of_the_runs_that_are_not_deleted(tmp_path: Path) -> None:
    training = Training(tmp_path)
    assert training.logged_iterations() == [] and training.logged_runs() == 0
    training.store.parent.mkdir()
    store = sqlite3.connect(training.store)
    store.execute("create table runs (run_uuid, lifecycle_stage)")
    store.execute("create table metrics (run_uuid, key, value)")
    store.executemany("insert into runs values (?, ?)", [("a", "active"), ("b", "deleted")])
    rows = [("a", "iteration", 1.0), ("a", "iteration", 2.0), ("a", "entropy", 7.0), ("b", "iteration", 3.0)]
    store.executemany("insert into metrics values (?, ?, ?)", rows)
    store.commit()
    store.close()
    assert training.logged_iterations() == [1.0, 2.0] and training.logged_runs() == 1


def test_the_report_tells_faults_slopes_and_what_was_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times, values = series(60.0, hours=0.5)
    lines = ["t,life,role,pid,rss_mib,uss_mib,pss_mib,shared_mib,handles,threads"]
    lines += [f"{t},0,trial,7,1,{v},{v},0,50,30" for t, v in zip(times, values, strict=True)]
    (tmp_path / "soak.csv").write_text("\n".join(lines) + "\n")
    lines = ["t,life,iteration,agent_steps,store_mib,store_objects,shm_mib,storage_mib,orphans,load"]
    lines += [f"{t},0,{i},{10 * i},5,9,6,7,0,1.5" for i, t in enumerate(times)]
    (tmp_path / "machine.csv").write_text("\n".join(lines) + "\n")
    names = "t,number,kind,target,held_s,iteration,exit_code,ended_s,next_iteration_s,back_s,all_runners_s"
    faults = f"{names},iterations_lost\n60,0,kill_driver,1,0,9,-9,0,20,31,31,4\n90,1,kill_driver,1,0,9,-9,0,40,,,6\n"
    (tmp_path / "faults.csv").write_text(faults)
    (tmp_path / "state.json").write_text(json.dumps({"lives": 3, "problems": [[61, "a row is missing"]]}))
    write_report(tmp_path)
    text = (tmp_path / "soak.md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert "- 61 s: a row is missing" in text
    assert "| SIGKILL of the driver, then --resume | 2 | 30 (20 to 40) | 31 | 31 | 5 (4 to 6) | -9 |" in text
    assert "| trial | 1 | 0.37 | " in text
    assert "| Ray's object store, MiB | 0.0 [0.0, 0.0] | 5.00 |" in text
    assert (tmp_path / "soak.png").stat().st_size > 10_000
    assert "0.50 hours, 359 iterations" in text and "2 faults, 3 drivers" in text and "1 thing went wrong." in text
    found = json.loads((tmp_path / "soak.json").read_text())
    (tmp_path / "faults.csv").unlink()
    (tmp_path / "state.json").write_text(json.dumps({"lives": 1, "problems": []}))
    write_report(tmp_path)
    assert (tmp_path / "soak.md").read_text().startswith("# A soak without faults\n\n0.50 hours, 359 iterations")
    still = {**json.loads((tmp_path / "soak.json").read_text()), "agent_steps": 2 * found["agent_steps"]}
    page = publish.rewritten(f"a\n{publish.BEGIN}\nold\n{publish.END}\nb\n", {"faults": found, "still": still})
    assert page.startswith(f"a\n{publish.BEGIN}\nUnder faults: 0.50 hours") and page.endswith(f"\n{publish.END}\nb\n")
    assert "cost 50 % of the agent steps" in page and "- wrong at 61 s: a row is missing" in page
    assert publish.rewritten(page, {"faults": found, "still": still}) == page


def test_kinds_that_did_not_come_have_no_row(tmp_path: Path) -> None:
    assert read_csv(tmp_path / "none.csv") == []
    assert fault_rows([]) == []
