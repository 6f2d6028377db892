"""An MLflow store that is locked, read-only, deleted or away: rows are kept and written later, in order, none twice."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rllib_rnd.cli.folders import RunRecord, claim
from rllib_rnd.cli.log import log_run
from rllib_rnd.errors import ConfigError
from rllib_rnd.tracking import mlflow_writer
from rllib_rnd.tracking.mlflow_store import database_path
from tests.tracking.mlflow_trials import make, result, runs, trial
from tests.tracking.test_mlflow_runs import history


def locked(database: Path) -> Callable[[], object]:
    """Another process is in a long transaction; returns what ends it."""
    other = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")

    def end() -> None:
        other.execute("ROLLBACK")
        other.close()

    return end


def deleted(database: Path) -> Callable[[], object]:
    """Somebody has moved the file away; returns what brings it back."""
    database.rename(database.with_suffix(".away"))
    return lambda: database.with_suffix(".away").rename(database)


@pytest.mark.parametrize("fault", [locked, deleted])
def test_rows_are_kept_and_written_in_order_and_once(uri: str, fault: Callable[[Path], Callable[[], object]]) -> None:
    said: list[str] = []
    logger, database = make(uri, said), database_path(uri)
    assert database is not None and logger._writer is not None
    logger.log_trial_start(trial())
    logger.log_trial_result(1, trial(), result(100))
    assert logger._writer.drain(30.0) == 0
    mend, started = fault(database), time.perf_counter()
    for steps in (200, 300, 400):
        logger.log_trial_result(1, trial(), result(steps))
    assert time.perf_counter() - started < 20.0  # the training has not waited
    if fault is deleted:
        while not logger._writer.trouble:
            time.sleep(0.01)
    mend()
    logger.log_trial_end(trial())
    logger.close()
    assert history(uri) == [[100, 200, 300, 400]] and logger.left == 0
    assert fault is locked or ("is gone" in said[0] and "answers again" in said[-1])


@pytest.mark.parametrize("words", ["attempt to write a readonly database", "database or disk is full"])
def test_a_store_that_takes_no_rows_costs_no_other_entry(uri: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    said: list[str] = []
    logger = make(uri, said)
    assert logger._client is not None
    real, refusals = logger._client.log_batch, [0]

    def log_batch(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("metrics", args[1:2]) and refusals[0] < 2:
            refusals[0] += 1
            raise MlflowException(f"(sqlite3.OperationalError) {words}")
        return real(*args, **kwargs)

    logger.log_trial_start(trial())
    monkeypatch.setattr(logger._client, "log_batch", log_batch)
    for steps in (100, 200, 300):
        logger.log_trial_result(1, trial(), result(steps))
    logger.log_trial_end(trial())
    logger.close()
    assert history(uri) == [[100, 200, 300]] and refusals == [2]
    assert f"({words})" in said[0]


def row(steps: int) -> dict[str, Any]:
    """A result as Tune completes it."""
    return {**result(steps), "timestamp": 1_000_000_000 + steps, "trial_id": "a"}


def written(folder: Path, *steps: int) -> str:
    """A trial's folder with these results."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(row(number)) for number in steps]
    with (folder / "result.json").open("a") as file:
        file.write("\n".join(rows) + "\n")
    return str(folder)


def test_rows_that_died_with_their_process_are_written_when_the_run_goes_on(uri: str, tmp_path: Path) -> None:
    """The store was away after 100 steps; the process was killed after 400, and its newest checkpoint is of 300."""
    first = make(uri, [])
    one = trial("a", written(tmp_path / "run" / "trial_a", 100, 200, 300, 400))
    first.log_trial_start(one)
    first.log_trial_result(1, one, row(100))
    assert first._writer is not None and first._writer.drain(30.0) == 0  # and is killed
    second = make(uri, [])
    two = trial("b", written(tmp_path / "run" / "trial_b"))
    second.log_trial_start(two)
    for steps in (400, 500):
        second.log_trial_result(1, two, row(steps))
    second.log_trial_end(two)
    second.close()
    assert history(uri) == [[100, 200, 300, 400, 500]]
    from mlflow.tracking import MlflowClient

    (run,) = runs(uri)
    times = [m.timestamp for m in MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "agent_steps")]
    assert times[1:3] == [1_000_000_200_000, 1_000_000_300_000]  # when they were had


def test_rows_that_were_too_many_to_keep_are_taken_from_the_folder(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_writer, "_MAX_KEPT", 6)
    logger, database = make(uri, []), database_path(uri)
    assert database is not None and logger._writer is not None
    one = trial("a", str(tmp_path / "run" / "trial_a"))
    logger.log_trial_start(one)
    assert logger._writer.drain(30.0) == 0
    mend = deleted(database)
    for steps in range(100, 1100, 100):
        written(tmp_path / "run" / "trial_a", steps)
        logger.log_trial_result(1, one, row(steps))
    assert len(logger._writer._jobs) == 6
    mend()
    logger.log_trial_end(one)
    logger.close()
    assert history(uri) == [[*range(100, 1100, 100)]]


class Server(BaseHTTPRequestHandler):
    """Answers every request with an error, or not at all while ``hangs`` is set."""

    hangs: threading.Event | None = None

    def do_GET(self) -> None:
        if self.hangs is not None:
            self.hangs.wait(60.0)
        self.send_error(500)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(params=["refuses", "hangs", "fails"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a tracking server that is of no use."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    if request.param == "refuses":
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and listens to nobody
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        return
    monkeypatch.setattr(Server, "hangs", threading.Event() if request.param == "hangs" else None)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    listening.daemon_threads, listening.block_on_close = True, False
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_address[1]}"
    if Server.hangs is not None:
        Server.hangs.set()
    listening.shutdown()
    listening.server_close()


def test_a_server_out_of_reach_holds_up_neither_the_training_nor_its_end(server: str) -> None:
    said: list[str] = []
    logger = make(server, said)
    logger.place = "results/run"
    started = time.perf_counter()
    logger.log_trial_start(trial())
    for steps in range(100, 600, 100):
        logger.log_trial_result(1, trial(), result(steps))
    assert time.perf_counter() - started < 20.0  # of the 60 for which the server is silent
    logger.log_trial_end(trial())
    logger.close(patience_s=0.2)
    assert time.perf_counter() - started < 30.0
    assert logger.left > 5 and said[-1].endswith("or by: rllib log results/run")
    assert len(said) == 2, said


def test_what_a_store_lacks_is_written_by_a_command(
    tmp_path: Path, empty_store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    record = RunRecord("study", "rllib train file x.yaml", "s", description={"single": True, "run": "RND"}, key="k")
    run = tmp_path / claim(str(tmp_path), "study", record)
    written(run / "RND_env_1a2b3_00000_0_2026-05-01_10-00-00", 100, 200)
    written(run / "RND_env_1a2b3_00000_0_2026-05-01_09-00-00", 200, 300)  # went on, and a clock was set
    (tmp_path / "mlruns.db").write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
    for _ in range(2):
        assert log_run(run) == 0
        assert history(uri) == [[100, 200, 300]]
    assert "has all 3 results" in capsys.readouterr().out
    (found,) = runs(uri)
    assert found.data.params["run"] == "RND" and found.data.tags["resumes"] == "0"
    with pytest.raises(ConfigError, match=r"has no run\.json"):
        log_run(tmp_path)
