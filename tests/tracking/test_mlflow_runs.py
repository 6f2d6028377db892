"""Runs in an MLflow store that go on, are nested, were killed, or are written by many at once."""

import multiprocessing
import os
import pickle
import signal
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from rllib_rnd.redaction import without_password
from rllib_rnd.tracking.identity import has_ended, this_process
from rllib_rnd.tracking.mlflow_open import OpenRun
from rllib_rnd.tracking.mlflow_store import charts_link
from rllib_rnd.tracking.mlflow_writer import reason_of
from tests.tracking.mlflow_trials import make, result, runs, trial


def history(uri: str, name: str = "agent_steps") -> list[list[int]]:
    """The steps of a metric in each run, in the order they were written."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return [[m.step for m in client.get_metric_history(run.info.run_id, name)] for run in runs(uri)]


def test_a_run_that_goes_on_is_the_same_run_without_a_step_twice(uri: str) -> None:
    """The first process died after 300 steps, its newest checkpoint is of 200; a setting is changed on the way."""
    said: list[str] = []
    first = make(uri, said, "KILLED")
    first.log_trial_start(trial("a"))
    for steps in (100, 200, 300):
        first.log_trial_result(1, trial("a"), result(steps))
    first.log_trial_end(trial("a"))
    first.close()
    (before,) = runs(uri)
    assert before.info.status == "KILLED"

    second = make(uri, said)
    again = trial("b", "/storage/study/trial_b", lr=0.25, extrinsic_reward="sign")
    second.log_trial_start(again)
    assert second._writer is not None and second._writer.drain(30.0) == 0
    assert [run.info.status for run in runs(uri)] == ["RUNNING"]
    for steps in (300, 400):
        second.log_trial_result(1, again, result(steps))
    second.log_trial_end(again)
    second.close()
    (run,) = runs(uri)
    assert (run.info.run_id, run.info.status) == (before.info.run_id, "FINISHED")
    assert history(uri) == [[100, 200, 300, 400]]
    assert run.data.params["lr"] == "0.5" and run.data.metrics["setting/lr"] == 0.25  # once, then what it became
    assert run.data.tags["setting/extrinsic_reward"] == "sign"
    assert run.data.tags["trial_folder"] == "/storage/study/trial_b" and run.data.tags["resumes"] == "1"
    assert run.data.tags["trial_folders"].split("\n") == ["/storage/study/trial_a", "/storage/study/trial_b"]
    assert said == []
    assert second.experiment_id == run.info.experiment_id

    third = make(uri, said)  # with the same changes, which are there
    third.log_trial_start(again)
    third.close()
    assert history(uri, "setting/lr") == [[0, 300]]


def test_a_sweep_is_one_run_with_its_trials_inside_also_when_it_goes_on(uri: str) -> None:
    from mlflow.tracking import MlflowClient

    for number, status in enumerate(["KILLED", "FINISHED"]):
        logger = make(uri, [], status, sweep=True)
        for name in ("a", "b"):
            one = trial(name)
            one.evaluated_params = {"lr": 0.5, "seed": name}
            logger.log_trial_start(one)
            logger.log_trial_result(1, one, result(100 + 100 * number))
            logger.log_trial_end(one, failed=name == "b" and status == "FINISHED")
        logger.close("KILLED", "KILLED" if status == "KILLED" else "")
    found = {run.info.run_name: run for run in runs(uri)}
    assert set(found) == {"study_2", "lr=0.5, seed=a", "lr=0.5, seed=b"}
    parent = found.pop("study_2")
    assert (parent.info.status, parent.data.tags["sweep"], parent.data.metrics) == ("FAILED", "true", {})
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent.info.run_id}
    assert sorted(run.info.status for run in found.values()) == ["FAILED", "FINISHED"]
    client = MlflowClient(tracking_uri=uri)
    for run in found.values():
        assert [m.step for m in client.get_metric_history(run.info.run_id, "return_mean")] == [100, 200]


def test_settings_that_change_in_training_are_metrics_and_never_refused(uri: str) -> None:
    """As population based training does it: the trial has another configuration when it is started again."""
    said: list[str] = []
    logger = make(uri, said, sweep=True)
    one = trial()
    logger.log_trial_start(one)
    for steps, lr in ((100, 0.5), (200, 0.25), (300, 0.125)):
        if lr != one.config["lr"]:
            one.config = {**one.config, "lr": lr}
            logger.log_trial_start(one)
        logger.log_trial_result(1, one, result(steps))
    logger.close("FINISHED")
    (run,) = [run for run in runs(uri) if "sweep" not in run.data.tags]
    assert said == [] and run.data.params["lr"] == "0.5"
    from mlflow.tracking import MlflowClient

    points = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "setting/lr")
    assert sorted((m.step, m.value) for m in points) == [(0, 0.5), (100, 0.25), (200, 0.125)]


def test_the_store_keeps_the_file_the_settings_and_where_checkpoints_are(uri: str, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    (tmp_path / "x.yaml").write_text("x: {run: RND}", encoding="utf-8")
    folder = tmp_path / "run" / "trial"
    folder.mkdir(parents=True)
    (folder / "map.png").write_bytes(b"png")
    (folder / "result.json").write_text("{}", encoding="utf-8")
    logger = make(uri, [], source=tmp_path / "x.yaml")
    one = trial(folder=str(folder))
    logger.log_trial_start(one)
    logger.log_trial_result(1, one, result(100))
    logger.log_trial_result(2, one, result(200))
    logger.log_trial_save(one)
    logger.log_trial_end(one)
    logger.close()
    (run,) = runs(uri)
    assert run.data.tags["checkpoint"] == f"{folder}/checkpoint_000001"
    client = MlflowClient(tracking_uri=uri)
    found = {f.path for f in client.list_artifacts(run.info.run_id)}
    assert found == {"x.yaml", "configuration.yaml", "curves.csv", "media"}
    curves = Path(client.download_artifacts(run.info.run_id, "curves.csv")).read_text(encoding="utf-8").splitlines()
    assert curves[0].startswith("agent_steps,return_mean") and [row.split(",")[0] for row in curves[1:]] == [
        "100",
        "200",
    ]
    assert float(curves[2].split(",")[1]) == run.data.metrics["return_mean"]
    assert [f.path for f in client.list_artifacts(run.info.run_id, "media")] == ["media/map.png"]
    kept = Path(client.download_artifacts(run.info.run_id, "configuration.yaml")).read_text(encoding="utf-8")
    assert "lr: 0.5\n" in kept and "intrinsic_reward.type: rnd\n" in kept


def test_no_place_for_files_costs_one_line(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    logger = make(uri, said)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError("bucket is away")

    monkeypatch.setattr(logger._client, "log_text", full)
    logger.log_trial_start(trial())
    logger.log_trial_result(1, trial(), result(100))
    logger.log_trial_end(trial())
    logger.close()
    assert said == ["MLflow keeps no files of this run (bucket is away); its metrics are logged."]
    assert history(uri) == [[100]]


def die(uri: str, sweep: bool = False) -> None:
    logger = make(uri, [], sweep=sweep)
    logger.log_trial_start(trial())
    logger.log_trial_result(1, trial(), result(100))
    assert logger._writer is not None and logger._writer.drain(30.0) == 0
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_next_start_closes_what_was_killed(uri: str) -> None:
    """Anything that starts in the storage; what still runs is left alone."""
    context = multiprocessing.get_context("fork")
    killed = context.Process(target=die, args=(uri,))
    killed.start()
    killed.join()
    assert [run.info.status for run in runs(uri)] == ["RUNNING"]
    alive = make(uri, [], key="alive")
    alive.log_trial_start(trial())
    other = make(uri, [], key="other")
    for logger in (alive, other):
        assert logger._writer is not None and logger._writer.drain(30.0) == 0
    by_key = {run.data.tags["run_key"]: run for run in runs(uri)}
    assert {key: run.info.status for key, run in by_key.items()} == {"k": "KILLED", "alive": "RUNNING"}
    assert by_key["k"].info.end_time < by_key["alive"].info.start_time  # when its last row was written
    alive.close()


def test_a_killed_sweep_ends_with_the_last_of_its_trials(uri: str) -> None:
    killed = multiprocessing.get_context("fork").Process(target=die, args=(uri, True))
    killed.start()
    killed.join()
    make(uri, [], key="other")
    ended = {"mlflow.parentRunId" in run.data.tags: run.info for run in runs(uri)}
    assert {info.status for info in ended.values()} == {"KILLED"} and len(ended) == 2
    assert ended[False].end_time == ended[True].end_time >= ended[True].start_time


def test_snapshots_of_sweeps_that_were_begun_before_are_read() -> None:
    assert pickle.loads(b"crllib_rnd.tracking.mlflow_logger\n_Open\n.") is OpenRun


def test_no_password_of_a_server_is_said_or_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in what is printed, nor in what Tune pickles into the run's folder, nor in a link."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said: list[str] = []
    logger = make("http://bob:S3cret@127.0.0.1:9", said)
    logger.log_trial_start(trial())
    logger.close()
    assert len(said) == 2 and "http://***@127.0.0.1:9 cannot be used (127.0.0.1:9: Connection refused)" in said[0]
    for text in (*said, repr(pickle.dumps(logger)), charts_link(logger.uri, "1")):
        assert "S3cret" not in text and "bob" not in text
    assert charts_link(logger.uri, "1").startswith("http://127.0.0.1:9/#/")
    assert without_password("postgresql+psycopg2://h/db?sslmode=on&password=S3 x") == (
        "postgresql+psycopg2://h/db?sslmode=on&password=*** x"
    )
    assert "S3" not in reason_of(OSError(f"{'x' * 140} http://bob:S3cret@host"))  # cut in the middle of it
    for kept in ("sqlite:////home/a@b/mlruns.db", "s3://bucket/a@b", "mail a@b", "http://host:5000/x@y"):
        assert without_password(kept) == kept


def test_processes_are_told_apart() -> None:
    mine = this_process()
    host, pid, start = mine.rsplit(":", 2)
    assert not has_ended(mine) and pid == str(os.getpid())
    assert has_ended(f"{host}:{pid}:another boot-1")  # another process has had its number
    assert has_ended(f"{host}:4194305:{start}")  # above the largest number there can be
    assert not has_ended(f"elsewhere:{pid}:1") and not has_ended("nonsense") and not has_ended("")


def log_rows(uri: str, number: int, barrier: Barrier) -> None:
    barrier.wait()
    said: list[str] = []
    logger = make(uri, said, key=f"run {number}")
    logger.log_trial_start(trial())
    for steps in range(100, 900, 100):
        logger.log_trial_result(1, trial(), result(steps))
    logger.log_trial_end(trial())
    logger.close()
    raise SystemExit(0)


def test_eight_processes_at_once_lose_no_row(uri: str) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    processes = [context.Process(target=log_rows, args=(uri, number, barrier)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert [run.info.status for run in runs(uri)] == ["FINISHED"] * 8
    assert history(uri) == [list(range(100, 900, 100))] * 8
    assert [len(run.data.params) > 20 for run in runs(uri)] == [True] * 8
