"""MLflow: what is logged, how runs end, and that a broken store does not stop training."""

import builtins
import multiprocessing
import os
import pickle
import shutil
import signal
import string
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_rnd import RNDConfig
from rllib_rnd.tracking.identity import RunIdentity, has_ended, this_process
from rllib_rnd.tracking.mlflow_logger import MLflowLogger
from rllib_rnd.tracking.mlflow_store import (
    charts_link,
    database_path,
    database_uri,
    store_uri,
    valid_keys,
    without_password,
)
from rllib_rnd.tracking.mlflow_writer import Job, StoreWriter, reason_of
from rllib_rnd.tracking.parameters import parameters


@pytest.fixture
def uri(tmp_path: Path, empty_store: Path) -> str:
    """A new store."""
    return f"sqlite:///{shutil.copy(empty_store, tmp_path / 'mlruns.db')}"


class Trial(SimpleNamespace):
    def __str__(self) -> str:
        return f"trial_{self.trial_id}"


def trial(name: str = "a", folder: str = "/storage/study/trial_a", **config: object) -> Trial:
    return Trial(
        trial_id=name,
        config={"lr": 0.5, "seed": 7, **config},
        evaluated_params={},
        checkpoint=SimpleNamespace(path=f"{folder}/checkpoint_000001"),
        local_path="/tmp/staging/study/trial_a",
        path=folder,
    )


def result(steps: int) -> dict[str, Any]:
    """One iteration is 100 agent steps."""
    runners = {"num_env_steps_sampled_lifetime": steps, "episode_return_mean": 2.0, "sample": 1, "env_step_timer": 2}
    return {"env_runners": runners, "config": {"x": 1}, "training_iteration": max(1, steps // 100)}


def make(
    uri: str, said: list[str], status: str = "FINISHED", sweep: bool = False, key: str = "k", source: Path | None = None
) -> MLflowLogger:
    logger = MLflowLogger(
        uri=uri,
        experiment="study",
        algorithm="RND",
        make_config=lambda values: RNDConfig().update_from_dict(dict(values)),
        identity=RunIdentity("study_2", key, sweep, source, {"folder": "study_2", "commit": "abc", "dirty": "true"}),
        say=said.append,
        status=lambda result: status,
    )
    logger.open()
    if logger._writer is not None:
        logger._writer._first_pause_s = 0.01
        if logger.active:
            assert logger._writer.drain(30.0) == 0  # what is done to the store first
    return logger


def runs(uri: str) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("study")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_parameters_are_curated_and_dotted() -> None:
    config = RNDConfig().training(lr=0.5, intrinsic_reward=[{"type": "rnd", "gamma": 0.9}])
    config.environment("x", env_config={"size": 5})
    values = parameters(config)
    assert values["lr"] == "0.5"
    assert values["lambda"] == "0.95"
    assert values["intrinsic_reward.0.gamma"] == "0.9"
    assert values["env_config.size"] == "5"
    assert "num_gpus" not in values


@pytest.mark.parametrize(
    ("failed", "interrupted", "status"),
    [(False, False, "FINISHED"), (True, False, "FAILED"), (False, True, "KILLED")],
)
def test_a_run_holds_the_curated_set_and_its_end(uri: str, failed: bool, interrupted: bool, status: str) -> None:
    said: list[str] = []
    logger = make(uri, said, "KILLED" if interrupted else "FINISHED", source=Path("/files/x.yaml"))
    logger.log_trial_start(trial())
    logger.log_trial_result(1, trial(), result(100))
    logger.log_trial_result(2, trial(), result(200))
    logger.log_trial_end(trial(), failed=failed)
    logger.close()
    (run,) = runs(uri)
    assert run.info.status == status
    curated = {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}
    assert curated == {"agent_steps": 200.0, "return_mean": 2.0, "iteration": 2.0}
    assert run.data.metrics["system/system_memory_usage_percentage"] > 0.0
    assert (run.data.params["lr"], run.data.params["run"]) == ("0.5", "RND")
    tags = run.data.tags
    assert (run.info.run_name, tags["folder"], tags["seed"]) == ("study_2", "study_2", "7")
    assert tags["trial_folder"] == trial().path  # where it is kept, not where Ray stages it
    assert tags["mlflow.source.name"] == "/files/x.yaml"
    assert (tags["commit"], tags["dirty"], tags["mlflow.source.git.commit"]) == ("abc", "true", "abc")
    assert said == []
    from mlflow.tracking import MlflowClient

    history = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "return_mean")
    assert sorted(m.step for m in history) == [100, 200]  # the axis is agent steps


def test_open_runs_are_killed_after_a_hard_stop(uri: str) -> None:
    logger = make(uri, [], sweep=True)
    logger.log_trial_start(trial("a"))
    logger.log_trial_start(trial("b"))
    logger.log_trial_end(trial("a"))
    logger.close("KILLED")
    assert sorted(run.info.status for run in runs(uri)) == ["FINISHED", "KILLED", "KILLED"]


def test_mlflow_missing_costs_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_mlflow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("mlflow"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", no_mlflow)
        logger = make(f"sqlite:///{tmp_path / 'x.db'}", said)
        logger.log_trial_start(trial())
        logger.log_trial_result(1, trial(), result(1))
        logger.log_trial_end(trial())
    assert said == ["MLflow is not installed; training goes on without it (pip install mlflow)."]
    assert not logger.active


def test_a_store_out_of_reach_costs_one_line() -> None:
    said: list[str] = []
    logger = make("sqlite:////proc/no/such/folder/x.db", said)
    logger.log_trial_start(trial())
    logger.log_trial_end(trial())
    assert not logger.active
    logger.close()  # does not wait for what was never there
    assert "training goes on without it" in said[0]
    assert said[1:] == [f"MLflow: 6 entries could not be written ({said[0].split('(')[1].split(')')[0]})."]


@pytest.mark.parametrize("fault", ["log_batch", "create_run", "set_terminated"])
def test_what_a_store_does_not_take_is_written_when_it_answers(
    uri: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    said: list[str] = []
    logger = make(uri, said)
    real, tries = getattr(logger._client, fault), 0

    def locked(*args: Any, **kwargs: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries in (1, 2, 3):
            raise MlflowException("(sqlite3.OperationalError) database is locked\n[SQL: ...]", TEMPORARILY_UNAVAILABLE)
        return real(*args, **kwargs)

    monkeypatch.setattr(logger._client, fault, locked)
    logger.log_trial_start(trial())
    for step in range(1, 4):
        logger.log_trial_result(step, trial(), result(100 * step))
    logger.log_trial_end(trial())
    logger.close()
    (run,) = runs(uri)
    assert (run.info.status, run.data.metrics["agent_steps"]) == ("FINISHED", 300.0)
    assert len(run.data.params) > 20
    assert said[0].startswith("MLflow store does not answer (database is locked)")
    assert "answers again" in said[-1]


def test_a_store_that_stays_away_ends_with_one_line(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    logger = make(uri, said)

    def broken(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(logger._client, "create_run", broken)
    logger.log_trial_start(trial())
    logger.log_trial_result(1, trial(), result(1))
    logger.log_trial_end(trial())
    logger.close(patience_s=0.1)
    assert said[0] == "MLflow store does not answer (disk full); entries are kept until it does, training goes on."
    assert said[-1] == "MLflow: 6 entries could not be written (disk full)."


def test_an_entry_that_is_refused_does_not_hold_up_the_others(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    logger = make(uri, said)
    logger.log_trial_start(trial())
    as_they_are = {"agent_steps+": 100.0}
    monkeypatch.setattr("rllib_rnd.tracking.mlflow_logger.valid_keys", lambda values: as_they_are)
    logger.log_trial_result(1, trial(), result(100))
    monkeypatch.undo()
    logger.log_trial_result(2, trial(), result(200))
    logger.close("FINISHED")
    (run,) = runs(uri)
    assert run.data.metrics["agent_steps"] == 200.0
    assert len(said) == 1 and said[0].startswith("MLflow refuses an entry (Invalid value")


def test_very_many_waiting_entries_lose_their_oldest_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rllib_rnd.tracking.mlflow_writer._MAX_KEPT", 5)
    done: list[int] = []
    ready = False

    def job(number: int) -> Job:
        def run() -> None:
            if not ready:
                raise OSError("away")
            done.append(number)

        return Job(run, spare=number not in (1, 99))

    writer = StoreWriter(lambda line: None, lambda error: False, pause_s=0.01)
    for number in (*range(20), 99):
        writer.put(job(number))
    ready = True
    assert writer.drain(10.0) == 0
    assert done == [0, 1, 18, 19, 99]


PUNCTUATION = "".join(sorted(set(string.punctuation) - {"/"}))
ODD_NAMES = ["50%", "%41", "a?b", "a#b", "a b", "ü", "a+b&c", "a@b:c", "漢", PUNCTUATION]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_path_of_any_characters_has_a_uri_of_its_own(name: str) -> None:
    path = Path("/somewhere") / name / "mlruns.db"
    uri = database_uri(path)
    assert uri is not None and database_path(uri) == path


def test_a_store_in_a_folder_of_any_name_and_settings_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / ODD_NAMES[-1]
    folder.mkdir()
    said: list[str] = []
    uri = store_uri(str(folder))
    assert uri is not None
    logger = make(uri, said)
    logger._make_config = lambda values: RNDConfig().environment("x", env_config={name: 1 for name in ODD_NAMES})
    odd = trial("ü\udce4")
    logger.log_trial_start(odd)
    logger.log_trial_result(1, odd, result(100) | {"learners": {"default_policy": {"plugins": {"a+b": 0.5}}}})
    logger.close("FINISHED")
    assert said == []
    (run,) = runs(uri)
    assert len([key for key in run.data.params if key.startswith("env_config.")]) == len(ODD_NAMES)
    assert run.data.metrics["a_b"] == 0.5
    assert {p.name for p in folder.iterdir()} <= {"mlruns.db", ".mlruns.db.lock", "mlartifacts"}
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]  # and no folder of a mangled name


def test_keys_are_what_mlflow_takes_and_stay_apart() -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    odd = ["", "..", "/a", "a/", "a//b", "a/./b", "a+b", "a-b", "a?b", "ü", "\udce4", "x" * 400, "x" * 401]
    names = [*string.printable, *odd]
    keys = list(valid_keys(dict.fromkeys(names, 0)))
    assert len(keys) == len(set(keys)) == len(names)
    for key in keys:
        assert 0 < len(key) <= 250
        for check in (_validate_param_name, _validate_metric_name, _validate_tag_name):
            check(key)
    assert [*valid_keys({"env_config.size": 1, "a/b c-d": 2})] == ["env_config.size", "a/b c-d"]


def open_store(uri: str, barrier: Barrier) -> None:
    barrier.wait()
    said: list[str] = []
    logger = make(uri, said)
    raise SystemExit(0 if logger.active and not said else 1)


def test_runs_that_open_a_fresh_store_at_once_all_have_it(tmp_path: Path) -> None:
    import mlflow.tracking  # noqa: F401  (what takes long, before they are let go)

    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
    processes = [context.Process(target=open_store, args=(uri, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_an_experiment_deleted_in_mlflow_is_brought_back(uri: str) -> None:
    first = make(uri, [])
    assert first._client is not None
    first._client.delete_experiment(first._experiment_id)
    said: list[str] = []
    logger = make(uri, said)
    logger.log_trial_start(trial())
    logger.close()
    assert len(runs(uri)) == 1 and said == []


def test_where_runs_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store_uri(str(tmp_path)) == f"sqlite:///{tmp_path.resolve()}/mlruns.db"
    assert store_uri("s3://bucket/runs") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert store_uri("s3://bucket/runs") == "http://host:5000"


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
