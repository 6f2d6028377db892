"""MLflow: a curated set of parameters and metrics per trial, in an embedded store or on a server."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback

from rllib_rnd.redaction import without_password
from rllib_rnd.tracking.identity import RunIdentity
from rllib_rnd.tracking.mlflow_gaps import folders_with_rows, metrics_of
from rllib_rnd.tracking.mlflow_open import OpenRun
from rllib_rnd.tracking.mlflow_runs import (
    FOLDERS,
    KEY,
    close_orphans,
    find_run,
    log_curves,
    log_description,
    log_files,
    media_in,
    reopen,
    set_tags,
    tags_of,
)
from rllib_rnd.tracking.mlflow_store import alone, database_path, impatience, valid_keys, valid_text
from rllib_rnd.tracking.mlflow_writer import Job, StoreWriter, reason_of
from rllib_rnd.tracking.parameters import parameters
from rllib_rnd.tracking.system import SystemMetrics

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_PATIENCE_S = 60.0  # for what is still to be written when a run has ended
#: As it is called in Tune's snapshots of sweeps that were begun before it had a file of its own.
_Open = OpenRun


def is_refusal(error: Exception) -> bool:
    """Whether the store says that what it was sent is wrong; all else may pass."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return 400 <= error.get_http_status_code() < 500 and error.get_http_status_code() not in (408, 429)
    return isinstance(error, (ValueError, TypeError, LookupError, AttributeError))


def import_ahead() -> threading.Thread:
    """Imports MLflow, which takes seconds, in a thread of its own; what goes wrong is told when a store is opened."""
    os.environ.update(impatience())

    def load() -> None:
        with contextlib.suppress(Exception):
            importlib.import_module("mlflow.tracking")

    thread = threading.Thread(target=load, name="import-mlflow", daemon=True)
    thread.start()
    return thread


class MLflowLogger(LoggerCallback):
    """Logs every trial as one MLflow run, its metrics against agent steps; those of a sweep are nested in one run.

    A run that goes on continues its MLflow run. Parameters are logged once; settings that change later, as population
    based training does, are metrics ``setting/NAME``.

    MLflow missing or its store out of reach costs one printed line, never the training: what a store that is locked,
    full or away does not take is kept and written when it answers.

    Args:
        uri: tracking store, as `store_uri` gives it.
        experiment: MLflow experiment name.
        algorithm: name of the algorithm.
        make_config: turns a trial's ``config`` mapping into a configuration object.
        identity: whose run it is.
        say: prints one line to the user.
        status: of a trial that ended without an error, by its last result: FINISHED, KILLED or FAILED.

    Attributes:
        place: the run's folder, as a user may type it.
        left: entries that had not been written when it was closed.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        algorithm: str,
        make_config: Callable[[Mapping[str, Any]], Any],
        identity: RunIdentity,
        say: Callable[[str], None],
        status: Callable[[Mapping[str, Any]], str],
    ) -> None:
        self.uri = uri
        self.experiment = experiment
        self.algorithm = algorithm
        self.identity = identity
        self._open: dict[str, OpenRun] = {}
        self._parent = OpenRun()
        self._failed = False
        self._make_config: Callable[[Mapping[str, Any]], Any] | None = make_config
        self._say: Callable[[str], None] | None = say
        self._status: Callable[[Mapping[str, Any]], str] | None = status
        self._client: MlflowClient | None = None
        self._file: Path | None = None
        self._writer: StoreWriter | None = None
        self._system = SystemMetrics()
        self._told_artifacts = False
        self._experiment_id = ""
        self.place, self.left = "", 0
        self._reopens = True
        self._begun = threading.Event()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into the run's folder: no database connection, and no password.
        gone = dict.fromkeys(("_client", "_writer", "_begun", "_make_config", "_say", "_status"))
        return {**self.__dict__, **gone, "_open": {}, "uri": without_password(self.uri)}

    @property
    def active(self) -> bool:
        """Whether the store could be opened."""
        return self._client is not None

    @property
    def experiment_id(self) -> str:
        """Of the runs' MLflow experiment; "" before the store has answered."""
        return self._experiment_id

    def open(self, wait: bool = True) -> None:
        """Opens the store and the experiment; prints one line if that is not possible.

        Args:
            wait: until that is done. A new store takes seconds; else they pass while training starts.
        """
        os.environ.update(impatience())
        try:
            if wait:
                import mlflow.tracking  # noqa: F401
            missing = importlib.util.find_spec("mlflow") is None
        except (ImportError, ValueError):
            missing = True
        if missing:
            self._tell("MLflow is not installed; training goes on without it (pip install mlflow).")
            return
        self._writer = StoreWriter(self._tell, is_refusal)
        begin = functools.partial(self._begin, self._writer)
        if wait:
            with contextlib.suppress(Exception):  # the writer goes on trying: its first job needs the store
                begin()
        else:
            self._writer.put(Job(begin))
        self._put(_close_orphans)
        if self.identity.sweep:
            self._put(self._begin_parent)

    def _begin(self, writer: StoreWriter) -> None:
        """Imports MLflow, and tries the store for the first time.

        Raises:
            Exception: any fault of the store, which is told; the run matters more than its log.
        """
        try:
            import mlflow.tracking  # noqa: F401

            for name in ("mlflow", "mlflow.store.db.utils", "alembic"):  # importing mlflow sets its loggers up
                logging.getLogger(name).setLevel(logging.CRITICAL)  # faults are told in one line
            self._connect()
        except Exception as error:
            if not self._begun.is_set():
                self._tell(
                    f"MLflow store {self.uri} cannot be used ({reason_of(error)}); training goes on without it "
                    "and tries it again from time to time."
                )
            writer.trouble = reason_of(error)
            raise
        finally:
            self._begun.set()

    def _connect(self) -> MlflowClient:
        """Returns the client of the store; opens it if that is still to be done."""
        if self._client is None:
            from mlflow.tracking import MlflowClient

            with alone(self.uri):
                client = MlflowClient(tracking_uri=self.uri)
                found = client.get_experiment_by_name(self.experiment)
                if found and found.lifecycle_stage == "deleted":  # in MLflow's own interface; its name stays taken
                    client.restore_experiment(found.experiment_id)
                self._experiment_id = found.experiment_id if found else self._create(client)
            self._client, self._file = client, database_path(self.uri)
        return self._client

    def _create(self, client: MlflowClient) -> str:
        database = database_path(self.uri)
        location = None if database is None else (database.resolve().parent / "mlartifacts").as_uri()
        return str(client.create_experiment(self.experiment, artifact_location=location))

    def _tell(self, line: str) -> None:
        if self._say is not None:
            self._say(without_password(line))

    def _put(self, write: Callable[[MlflowClient], None], spare: bool = False) -> None:
        def job() -> None:
            client = self._connect()
            if self._file is not None and not self._file.exists():  # SQLite would go on writing into what is deleted
                raise FileNotFoundError(f"{self._file} is gone")
            write(client)

        if self._writer is not None:
            self._writer.put(Job(job, spare))

    def _put_in(self, run: OpenRun, write: Callable[[MlflowClient], object], spare: bool = False) -> None:
        """Writes into a run, unless the store has refused to begin it."""

        def if_there(client: MlflowClient) -> None:
            if run.run_id:
                write(client)

        self._put(if_there, spare)

    def _quietly(self, write: Callable[[], object]) -> None:
        """Does what may be left out; a store that refuses it, or has no place for files, is told of once."""
        try:
            write()
        except Exception as error:  # whatever keeps files: a disk, a bucket, a server
            if not self._told_artifacts:
                self._told_artifacts = True
                self._tell(f"MLflow keeps no files of this run ({reason_of(error)}); its metrics are logged.")

    def _begin_parent(self, client: MlflowClient) -> None:
        identity = self.identity
        tags = tags_of(identity, {"algorithm": self.algorithm, KEY: identity.key, "sweep": "true"})
        found = find_run(client, identity.key)
        if found is not None:
            reopen(client, found, tags)
            self._parent.run_id, self._experiment_id = found.info.run_id, found.info.experiment_id
        else:
            run = client.create_run(self._experiment_id, run_name=identity.name, tags=tags)
            self._parent.run_id = run.info.run_id
        self._keep_files(client, self._parent.run_id, identity.source, {})

    def _keep_files(self, client: MlflowClient, run_id: str, source: Path | None, settings: Mapping[str, str]) -> None:
        self._quietly(lambda: log_description(client, run_id, source, settings))

    def log_trial_start(self, trial: Trial) -> None:
        """Opens the trial's run with its settings, or notes which of them have changed."""
        if self._writer is None:
            return
        known = self._open.get(trial.trial_id)
        if known is not None:
            self._note_changes(known, trial)
            return
        name, folder = valid_text(self.identity.trial_name(trial)), str(trial.path or "")
        state = self._open[trial.trial_id] = OpenRun(config=trial.config)
        state.folders = folders_with_rows(folder, self.identity.sweep)
        more = {"algorithm": self.algorithm, "trial_folder": folder, FOLDERS: folder}
        more |= {KEY: self.identity.trial_key(trial), "seed": str(trial.config.get("seed"))}
        values = state.texts = self._texts(trial.config)
        started = int(time.time() * 1000)

        def begin(client: MlflowClient) -> None:
            tags = tags_of(self.identity, more)
            if self._parent.run_id:
                tags["mlflow.parentRunId"] = self._parent.run_id
            found = find_run(client, tags[KEY])
            if found is not None:
                reopen(client, found, tags, self._reopens)
                state.goes_on_from(found)
                self._experiment_id = found.info.experiment_id
                return
            run = client.create_run(self._experiment_id, start_time=started, run_name=name, tags=tags)
            state.run_id = run.info.run_id

        self._put(begin)
        self._put_in(state, lambda client: state.write_settings(client, values))
        source = None if self.identity.sweep else self.identity.source
        self._put_in(state, lambda client: self._quietly(lambda: log_description(client, state.run_id, source, values)))

    def _texts(self, config: Mapping[str, Any]) -> dict[str, str]:
        """The parameters of a trial as MLflow takes them."""
        found = {"run": self.algorithm}
        try:
            found |= parameters(self._make_config(config)) if self._make_config else {}
        except Exception as error:  # of whatever a user's configuration does when it is built
            self._tell(f"MLflow: the settings of a trial cannot be logged ({reason_of(error)}); training goes on.")
        return {key: valid_text(str(value)) for key, value in valid_keys(found).items()}

    def _note_changes(self, state: OpenRun, trial: Trial) -> None:
        """A scheduler has given a running trial another configuration."""
        if trial.config is not state.config:
            state.config, values, before = trial.config, self._texts(trial.config), state.texts
            if values != before:
                state.texts = values
                self._put_in(state, lambda client: state.write_changes(client, values))

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Logs the curated metrics of one result; the step is the number of agent steps."""
        state = self._open.get(trial.trial_id)
        if state is None:
            return
        state.result = result
        self._note_changes(state, trial)
        metrics = metrics_of(result, self._system.read())  # now: the time of a row is not that of its last try
        self._put_in(state, lambda client: state.write_row(client, metrics, result), spare=True)

    def log_trial_save(self, trial: Trial) -> None:
        """Notes where the newest checkpoint is."""
        state, checkpoint = self._open.get(trial.trial_id), trial.checkpoint
        if state is not None and checkpoint is not None:
            tags = {"checkpoint": str(checkpoint.path)}
            self._put_in(state, lambda client: set_tags(client, state.run_id, tags), spare=True)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Closes the trial's run as FINISHED, FAILED or KILLED."""
        self._failed = self._failed or failed
        state = self._open.get(trial.trial_id)
        if state is None:
            return
        status = self._status(state.result) if self._status is not None else "FINISHED"
        folder = Path(trial.path or "")
        files = media_in([folder] if self.identity.sweep else [folder, folder.parent]) if trial.path else []
        self._put_in(state, lambda client: self._quietly(lambda: log_curves(client, state.run_id)))
        if files:
            self._put_in(state, lambda client: self._quietly(lambda: log_files(client, state.run_id, files)))
        self._terminate(trial.trial_id, "FAILED" if failed else status)

    def close(self, status: str = "KILLED", parent: str = "", patience_s: float = _PATIENCE_S) -> None:
        """Closes the runs that are still open, after a hard stop, and waits until all is written.

        Args:
            status: of the open runs.
            parent: status of the run of a sweep; "" is that of the open runs, if there are any.
            patience_s: how long a store that does not answer is waited for; one that never did is not.
        """
        left_open = sorted(self._open)
        for trial_id in left_open:
            self._terminate(trial_id, status)
        if self._writer is None:
            return
        self._begun.wait(patience_s)
        if self.identity.sweep:
            whole = parent or ("FAILED" if self._failed else status if left_open else "FINISHED")
            self._put_in(self._parent, lambda client: client.set_terminated(self._parent.run_id, whole))
        if self.active and self._writer.trouble:
            self._tell(f"Waiting for the MLflow store, {patience_s:.0f} s at most ({self._writer.trouble}).")
        left = self.left = self._writer.drain(patience_s if self.active else 0.0)
        if left:
            trouble = self._writer.trouble or "the store is slow"
            self._tell(
                f"MLflow: {left} entries could not be written ({trouble}). They are in the run's folder, and written "
                f"when it goes on, or by: rllib log {self.place or 'FOLDER'}"
            )

    def _terminate(self, trial_id: str, status: str) -> None:
        state, ended = self._open.pop(trial_id, None), int(time.time() * 1000)
        if state is not None:
            self._put_in(state, lambda client: client.set_terminated(state.run_id, status, end_time=ended))


def _close_orphans(client: MlflowClient) -> None:
    with contextlib.suppress(Exception):  # of a store of another kind; nothing of this run depends on it
        close_orphans(client)
