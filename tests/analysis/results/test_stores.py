"""Runs in MLflow stores and CSV files."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from rllib_rnd.analysis.results.groups import grouped
from rllib_rnd.analysis.results.mlflow_database import runs_in_database, runs_on_server
from rllib_rnd.analysis.results.run import MACHINE_MEMORY
from rllib_rnd.analysis.results.runs import Run, load_runs
from rllib_rnd.errors import ConfigError
from tests.analysis.results.made_runs import results, write_record, write_trial

PARAMS = {
    "run": "RND",
    "env": "ALE/MontezumaRevenge-v5",
    "lr": "0.0003",
    "lambda": "0.95",
    "seed": "3",
    "minibatch_size": "null",
    "intrinsic_reward.0.type": "rnd",
    "clip_param": "1e-05",
    "hidden": "[128, 64]",
}


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> Path:
    return Path(shutil.copy(empty_store, tmp_path / "mlruns.db"))


def log(
    store: Path,
    experiment: str,
    rows: list[tuple[int, dict[str, float]]],
    status: str | None = "FINISHED",
    params: Mapping[str, str] = PARAMS,
    **tags: str,
) -> str:
    """Logs a run through MLflow's client as training does; None leaves it open."""
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    found = client.get_experiment_by_name(experiment)
    home = found.experiment_id if found else client.create_experiment(experiment)
    run = client.create_run(home, run_name="some_name", tags={"algorithm": "RND", "folder": experiment, **tags})
    client.log_batch(run.info.run_id, params=[Param(key, value) for key, value in params.items()])
    now = int(time.time() * 1000)
    for number, (step, values) in enumerate(rows):
        metrics = [Metric(key, value, now + number, step) for key, value in values.items()]
        client.log_batch(run.info.run_id, metrics=metrics)
    if status is not None:
        client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


def row(step: int, value: float) -> tuple[int, dict[str, float]]:
    return step, {"agent_steps": float(step), "return_mean": value}


def test_a_run_of_a_store(store: Path) -> None:
    run_id = log(store, "montezuma", [row(100, 1.0), row(200, float("nan")), row(300, 3.0)], commit="abc",
                 stop='{"agent_steps": 300.0, "return_mean": 9}', resumes="2")  # fmt: skip
    (run,) = load_runs([str(store)])
    assert run.source == f"{store}#{run_id}"
    assert (run.experiment, run.algorithm, run.task, run.frames_per_step) == ("montezuma", "RND", PARAMS["env"], 4)
    assert (run.seed, run.state, run.budget, run.provenance["commit"]) == (3, "finished", 300, "abc")
    assert run.resumed == 2
    assert run.config["intrinsic_reward[0].type"] == "rnd"
    assert (run.config["lr"], run.config["clip_param"], run.config["hidden"]) == (0.0003, 1e-05, [128, 64])
    assert run.config["minibatch_size"] is None
    assert run.metrics["agent_steps"].tolist() == [100, 200, 300]
    assert run.metrics["return_mean"].tolist() == pytest.approx([1.0, np.nan, 3.0], nan_ok=True)


def test_settings_that_population_based_training_changed_are_those_of_the_end(store: Path) -> None:
    rows = [(0, {"setting/lr": 0.0003}), (100, {"setting/lr": 0.002, "return_mean": 1.0}), (200, {"setting/lr": 0.001})]
    log(store, "a", rows, "FINISHED", PARAMS, **{"setting/hidden": "[64]"})
    (run,) = load_runs([str(store)])
    assert (run.config["lr"], run.config["hidden"], run.config["lambda"]) == (0.001, [64], 0.95)
    assert "setting/lr" not in run.metrics


@pytest.mark.parametrize(
    ("status", "state"), [("FINISHED", "finished"), ("FAILED", "failed"), ("KILLED", "stopped"), (None, "running")]
)
def test_states(store: Path, status: str | None, state: str) -> None:
    log(store, "a", [row(1, 1.0)], status)
    assert load_runs([str(store)])[0].state == state


def test_a_run_that_was_left_open_long_ago_is_unknown(store: Path) -> None:
    log(store, "a", [row(1, 1.0)], None)
    with sqlite3.connect(store) as database:
        database.execute("UPDATE metrics SET timestamp = timestamp - 10000000")
    assert load_runs([str(store)])[0].state == "unknown"


def test_a_run_whose_process_is_gone_has_crashed(store: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    log(store, "a", [row(1, 1.0)], None, process=f"{socket.gethostname()}:{process.pid}:0123-456")
    log(store, "b", [row(1, 1.0)], None, process=f"{socket.gethostname()}:{os.getpid()}:0123-456")
    assert [run.state for run in load_runs([str(store)])] == ["crashed", "running"]


def test_the_file_is_read_as_mlflow_reads_it(store: Path) -> None:
    """What the client gives is what the tables hold."""
    log(store, "a", [row(100, 1.0), row(200, 2.0)], tag="x")
    log(store, "b", [row(100, 5.0)], "KILLED")
    direct, client = runs_in_database(store, str(store)), runs_on_server(f"sqlite:///{store}")
    assert len(direct) == len(client) == 2
    for one, other in zip(direct, client, strict=True):
        names = ("run_id", "experiment", "name", "status", "started", "metrics")
        assert [getattr(one, n) for n in names] == [getattr(other, n) for n in names]
        assert dict(one.params) == dict(other.params)
        assert dict(one.tags) == dict(other.tags)
        assert sorted(one.history(one.metrics)) == sorted(other.history(one.metrics))


def test_reading_touches_nothing(store: Path) -> None:
    log(store, "a", [row(1, 1.0)])
    before = store.read_bytes()
    load_runs([str(store), f"sqlite:///{store}"])
    assert store.read_bytes() == before
    assert [path.name for path in store.parent.iterdir()] == [store.name]


def test_parents_of_sweeps_deleted_runs_and_other_projects_are_left_out(store: Path) -> None:
    from mlflow.tracking import MlflowClient

    parent = log(store, "sweep", [])
    log(store, "sweep", [row(1, 1.0)], "FINISHED", PARAMS, **{"mlflow.parentRunId": parent})
    gone = log(store, "sweep", [row(1, 7.0)])
    log(store, "sweep", [], None, sweep="true")  # whose trials have not begun
    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    client.delete_run(gone)
    client.create_run(client.create_experiment("language_model"))
    (run,) = load_runs([str(store)])
    assert run.final("return_mean") == 1.0


def test_steps_that_were_logged_twice_count_once(store: Path) -> None:
    """A run that went on from a checkpoint before its end."""
    log(store, "a", [row(100, 1.0), row(200, 1.0), row(300, 1.0), row(200, 2.0), row(300, 2.0), row(400, 2.0)])
    (run,) = load_runs([str(store)])
    assert run.metrics["agent_steps"].tolist() == [100, 200, 300, 400]
    assert run.metrics["return_mean"].tolist() == [1, 2, 2, 2]


def test_a_resume_under_another_id_is_joined(store: Path) -> None:
    log(store, "a", [row(100, 1.0), row(200, 1.0)], "KILLED", trial_folder="/x/a/first")
    log(store, "a", [row(200, 2.0), row(300, 2.0)], trial_folder="/x/a/second", started_from="/x/a/first/checkpoint_0")
    log(store, "b", [row(300, 9.0)], trial_folder="/x/b/third", started_from="/x/a/second/checkpoint_0")  # a new run
    first, second = load_runs([str(store)])
    assert (first.resumed, first.state, first.metrics["return_mean"].tolist()) == (1, "finished", [1, 2, 2])
    assert (second.resumed, second.final("return_mean")) == (0, 9.0)


def test_a_run_that_is_in_the_store_and_in_a_folder_counts_once(store: Path, tmp_path: Path) -> None:
    write_record(tmp_path / "results" / "a")
    trial = write_trial(tmp_path / "results" / "a", results([5.0]), {"env": "CartPole-v1"})
    log(store, "a", [row(1, 1.0)], trial_folder=f"/tmp/ray/artifacts/{trial.name}")
    runs = load_runs([str(tmp_path / "results"), str(store)])
    assert [run.final("return_mean") for run in runs] == [5.0]


def test_part_of_a_store_is_chosen(store: Path) -> None:
    run_id = log(store, "first", [row(1, 1.0)])
    log(store, "second", [row(1, 2.0)])
    assert [run.final("return_mean") for run in load_runs([f"{store}#{run_id}"])] == [1.0]
    assert [run.final("return_mean") for run in load_runs([f"sqlite:///{store}#second"])] == [2.0]
    with pytest.raises(ConfigError, match=r"no run or experiment 'secnd'\. Nearest: 'second'"):
        load_runs([f"{store}#secnd"])


def test_only_the_metrics_that_are_asked_for(store: Path) -> None:
    log(store, "a", [(5, {"agent_steps": 5.0, "return_mean": 1.0, "entropy": 2.0})])
    (run,) = load_runs([str(store)], metrics=["entropy"])
    assert set(run.metrics) == {"agent_steps", "entropy"}


def test_of_the_machine_only_its_memory_is_read(store: Path) -> None:
    of_machine = {"system/system_memory_usage_percentage": 40.0, "system/cpu_utilization_percentage": 9.0}
    log(store, "a", [(5, {"agent_steps": 5.0, **of_machine})])
    (run,) = load_runs([str(store)])
    assert set(run.metrics) == {"agent_steps", MACHINE_MEMORY} and run.final(MACHINE_MEMORY) == 40.0


def spoil(path: Path, how: str) -> str:
    """Makes a place that is no store that can be read; returns what a user types."""
    if how == "newer schema":
        with sqlite3.connect(path) as database:
            database.execute("ALTER TABLE metrics RENAME COLUMN step TO place")
            database.execute("UPDATE alembic_version SET version_num = 'ffff'")
    elif how == "empty file":
        path.write_bytes(b"")
    elif how == "other database":
        path.unlink()
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE runs (a)")
    elif how == "broken":
        path.write_bytes(path.read_bytes()[:100] + b"\xff" * 5000)
    elif how == "missing":
        path.unlink()
        return f"sqlite:///{path}"
    elif how == "no server":
        return "http://127.0.0.1:9"
    elif how == "unknown scheme":
        return "gopher://x"
    return str(path)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("newer schema", "another version of MLflow (schema ffff)"),
        ("empty file", "no MLflow store"),
        ("other database", "no MLflow store"),
        ("broken", "no database that can be read"),
        ("missing", "there is no such file"),
        ("no server", "cannot be read"),
        ("unknown scheme", "cannot be read"),
        ("nothing in it", "holds no runs of this package"),
    ],
)
def test_what_is_no_store_is_refused_in_one_line(
    store: Path, how: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    place = spoil(store, how)
    existed = store.exists()
    with pytest.raises(ConfigError) as caught:
        load_runs([place])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"run {place}")
    assert store.exists() == existed  # nothing is made where nothing was


def table(path: Path, text: str) -> list[Run]:
    path.write_text(text)
    return load_runs([str(path)])


def test_curves_of_a_study(tmp_path: Path) -> None:
    text = """study,variant,size,seed,agent_steps,seconds,return_mean,intrinsic_reward,done,commit
deep_sea,rnd,10,0,100,1.5,,0.5,0,abc
deep_sea,rnd,10,0,200,3.0,0.25,0.4,1,abc
deep_sea,rnd,20,0,100,1.5,nan,0.5,0,abc
deep_sea,ppo,10,1,100,1.5,0.1,0.0,1,abc
"""
    runs = table(tmp_path / "deep_sea.csv", text)
    assert [(run.task, run.experiment, run.seed, run.state) for run in runs] == [
        ("deep_sea (size=10)", "rnd", 0, "finished"),
        ("deep_sea (size=20)", "rnd", 0, "unknown"),
        ("deep_sea (size=10)", "ppo", 1, "finished"),
    ]
    assert runs[0].metrics["time_total_s"].tolist() == [1.5, 3.0]
    assert runs[0].metrics["intrinsic_reward_mean"].tolist() == [0.5, 0.4]
    assert np.isnan(runs[0].metrics["return_mean"][0])
    assert runs[0].provenance == {"commit": "abc"}
    tasks = grouped(runs)
    assert [[variant.name for variant in variants] for variants in tasks.values()] == [["rnd", "ppo"], ["rnd"]]


def test_of_long_curves_rows_at_even_distances_are_kept(tmp_path: Path) -> None:
    lines = [f"a,{step},{step}, {step / 2}" for step in range(1200)] + ["a,,,", "b,5,", " b ,6,1, 2 ,surplus"]
    a, b = table(tmp_path / "long.csv", "\n".join(["variant, agent_steps ,entropy,return_mean", *lines]))
    assert a.metrics["agent_steps"].tolist() == [*range(0, 1199, 3), 1199] and a.thinned == 3
    assert (a.metrics["return_mean"] == a.metrics["agent_steps"] / 2).all()
    assert (b.metrics["agent_steps"].tolist(), b.final("return_mean"), b.thinned) == ([5, 6], 2.0, 1)


def test_curves_of_one_run(tmp_path: Path) -> None:
    (run,) = table(tmp_path / "montezuma.csv", "\ufeffagent_steps,return_mean\n1,2\n3,4\n")
    assert (run.task, run.experiment, run.seed, run.final("return_mean")) == ("montezuma", "montezuma", None, 4.0)


def test_the_studies_of_this_project() -> None:
    studies = Path(__file__).parents[3] / "experiments"
    runs = load_runs([str(studies / "memory" / "warehouse.csv"), str(studies / "first_light" / "deep_sea_size.csv")])
    tasks = grouped(runs)
    assert {variant.name: len(variant.runs) for variant in tasks["warehouse"]} == dict.fromkeys(
        ("IAM", "GRU", "FNN-1", "FNN-8"), 3
    )
    assert all(task.startswith(("warehouse", "deep_sea_size (size=")) for task in tasks)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rows"),
        ("agent_steps,return_mean\n", "has no rows"),
        ("agent_step,return_mean\n1,2\n", "has no column agent_steps, so it holds no curves; it has 'agent_step'"),
        ("task,variant,seed,score\na,b,0,1\n", "a table of scores has no curves"),
        ("game,A_mean,B_mean\nx,1,2\n", "a table of scores has no curves"),
        ("agent_steps,return_mean\nx,2\n", "holds no numbers"),
    ],
)
def test_csv_files_without_curves_are_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(tmp_path / "a.csv", text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_csv_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00agent_steps")
    with pytest.raises(ConfigError, match="cannot be read as a CSV file"):
        load_runs([str(tmp_path / "a.csv")])


def test_no_password_of_a_server_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigError) as caught:
        load_runs(["http://bob:S3cret@127.0.0.1:9"])
    problem = "the MLflow store cannot be read (127.0.0.1:9: Connection refused)"
    assert str(caught.value) == f"run http://***@127.0.0.1:9: {problem}."
