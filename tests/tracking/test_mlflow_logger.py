"""MLflow: what is logged, how runs end, and that a broken store does not stop training."""

import builtins
import multiprocessing
import string
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from rllib_rnd import RNDConfig
from rllib_rnd.tracking.mlflow_logger import import_ahead
from rllib_rnd.tracking.mlflow_store import (
    database_path,
    database_uri,
    store_uri,
    valid_keys,
)
from rllib_rnd.tracking.mlflow_writer import Job, StoreWriter
from rllib_rnd.tracking.parameters import parameters
from tests.tracking.mlflow_trials import make, result, runs, trial


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


def test_it_is_imported_ahead_in_a_thread_and_failing_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import_ahead().join()
    assert "mlflow.tracking" in sys.modules
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.setitem(sys.modules, name, None)
    import_ahead().join()
    assert capfd.readouterr() == ("", "")


def test_a_store_out_of_reach_costs_one_line() -> None:
    said: list[str] = []
    logger = make("sqlite:////proc/no/such/folder/x.db", said)
    logger.log_trial_start(trial())
    logger.log_trial_end(trial())
    assert not logger.active
    logger.close()  # does not wait for what was never there
    assert "training goes on without it" in said[0]
    assert len(said) == 2
    assert said[1].startswith(f"MLflow: 6 entries could not be written ({said[0].split('(')[1].split(')')[0]}). They ")


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
    while not said:
        time.sleep(0.01)
    logger.close(patience_s=0.1)
    assert said[0] == "MLflow store does not answer (disk full); entries are kept until it does, training goes on."
    assert said[-1].startswith("MLflow: 6 entries could not be written (disk full). They are in the run's folder")


def test_an_entry_that_is_refused_does_not_hold_up_the_others(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    logger = make(uri, said)
    logger.log_trial_start(trial())
    as_they_are = {"agent_steps+": 100.0}
    monkeypatch.setattr("rllib_rnd.tracking.mlflow_gaps.valid_keys", lambda values: as_they_are)
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
