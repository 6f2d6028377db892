"""MLflow: a curated set of parameters and metrics per trial, in an embedded store or on a server."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback

from rllib_rnd.errors import in_words
from rllib_rnd.settings import SETTINGS
from rllib_rnd.tracking.metrics import curated, read
from rllib_rnd.tracking.mlflow_store import alone, database_path, valid_keys, valid_text
from rllib_rnd.tracking.mlflow_writer import Job, StoreWriter, reason_of

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_MAX_TAG_LENGTH = 5000
_PATIENCE_S = 60.0  # for what is still to be written when a run has ended


def parameters(config: AlgorithmConfig) -> dict[str, str]:
    """Returns the curated settings of one configuration object; nested ones dotted."""
    flat: dict[str, str] = {}
    for setting in SETTINGS.values():
        if setting.logged and setting.name in vars(config):
            _flatten(setting.key, getattr(config, setting.name), flat)
    return flat


def _flatten(name: str, value: object, flat: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for key, child in value.items():
            _flatten(f"{name}.{key}", child, flat)
    elif isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
        for index, child in enumerate(value):
            _flatten(f"{name}.{index}", child, flat)
    else:
        flat[name] = in_words(value, str)  # numbers with all their digits


def is_refusal(error: Exception) -> bool:
    """Whether the store says that what it was sent is wrong; all else may pass."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return 400 <= error.get_http_status_code() < 500 and error.get_http_status_code() not in (408, 429)
    return isinstance(error, (ValueError, TypeError, LookupError, AttributeError))


class MLflowLogger(LoggerCallback):
    """Logs every trial as one MLflow run, its metrics against agent steps.

    MLflow missing or its store out of reach costs one printed line, never the training: what a store that is locked,
    full or away does not take is kept and written when it answers.

    Args:
        uri: tracking store, as `store_uri` gives it.
        experiment: MLflow experiment name.
        algorithm: name of the algorithm.
        make_config: turns a trial's ``config`` mapping into a configuration object.
        tags: further tags of every run.
        say: prints one line to the user.
        interrupted: whether Ctrl-C was pressed; ended trials are then KILLED.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        algorithm: str,
        make_config: Callable[[Mapping[str, Any]], Any],
        tags: Mapping[str, str],
        say: Callable[[str], None],
        interrupted: Callable[[], bool],
    ) -> None:
        self.uri = uri
        self.experiment = experiment
        self.algorithm = algorithm
        self.tags = dict(tags)
        self._run_ids: dict[str, str] = {}
        self._open_trials: set[str] = set()
        self._make_config: Callable[[Mapping[str, Any]], Any] | None = make_config
        self._say: Callable[[str], None] | None = say
        self._interrupted: Callable[[], bool] | None = interrupted
        self._client: MlflowClient | None = None
        self._writer: StoreWriter | None = None
        self._experiment_id = ""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks; a database connection cannot be pickled.
        gone = dict.fromkeys(("_client", "_writer", "_make_config", "_say", "_interrupted"))
        return {**self.__dict__, **gone}

    @property
    def active(self) -> bool:
        """Whether the store could be opened."""
        return self._client is not None

    def open(self) -> None:
        """Opens the store and the experiment; prints one line if that is not possible."""
        # Without these a server that is down would hold up the start for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        try:
            import mlflow.tracking  # noqa: F401
        except ImportError:
            self._tell("MLflow is not installed; training goes on without it (pip install mlflow).")
            return
        for name in ("mlflow", "mlflow.store.db.utils", "alembic"):  # importing mlflow sets its loggers up
            logging.getLogger(name).setLevel(logging.CRITICAL)  # faults are told in one line
        self._writer = StoreWriter(self._tell, is_refusal)
        try:
            self._connect()
        except Exception as error:  # any fault of the store: the run matters more than its log
            # The writer goes on trying: its first job needs the store.
            self._tell(
                f"MLflow store {self.uri} cannot be used ({reason_of(error)}); training goes on without it "
                "and tries it again from time to time."
            )
            self._writer.trouble = reason_of(error)

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
            self._client = client
        return self._client

    def _create(self, client: MlflowClient) -> str:
        database = database_path(self.uri)
        location = None if database is None else (database.resolve().parent / "mlartifacts").as_uri()
        return str(client.create_experiment(self.experiment, artifact_location=location))

    def _tell(self, line: str) -> None:
        if self._say is not None:
            self._say(line)

    def _put(self, write: Callable[[MlflowClient], None], spare: bool = False) -> None:
        if self._writer is not None:
            self._writer.put(Job(lambda: write(self._connect()), spare))

    def log_trial_start(self, trial: Trial) -> None:
        """Opens a run with the trial's settings."""
        trial_id, name = trial.trial_id, valid_text(str(trial))
        if self._writer is None or trial_id in self._open_trials:
            return
        self._open_trials.add(trial_id)
        tags = {**self.tags, "algorithm": self.algorithm, "trial_folder": str(trial.path or "")}
        tags = {key: valid_text(str(value), _MAX_TAG_LENGTH) for key, value in valid_keys(tags).items()}
        texts = valid_keys({"run": self.algorithm, **self._parameters(trial.config)})
        started = int(time.time() * 1000)

        def create(client: MlflowClient) -> None:
            run = client.create_run(self._experiment_id, start_time=started, run_name=name, tags=tags)
            self._run_ids[trial_id] = run.info.run_id

        def describe(client: MlflowClient) -> None:
            from mlflow.entities import Param

            params = [Param(key, valid_text(str(value))) for key, value in texts.items()]
            if trial_id in self._run_ids:
                for start in range(0, len(params), 100):  # MLflow's limit for one request
                    client.log_batch(self._run_ids[trial_id], params=params[start : start + 100])

        self._put(create)
        self._put(describe)

    def _parameters(self, values: Mapping[str, Any]) -> dict[str, str]:
        try:
            return parameters(self._make_config(values)) if self._make_config else {}
        except Exception as error:  # of whatever a user's configuration does when it is built
            self._tell(f"MLflow: the settings of a trial cannot be logged ({reason_of(error)}); training goes on.")
            return {}

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Logs the curated metrics of one result; the step is the number of agent steps."""
        trial_id, values = trial.trial_id, valid_keys(curated(result))
        step, now = int(read(result, "agent_steps") or 0), int(time.time() * 1000)

        def write(client: MlflowClient) -> None:
            from mlflow.entities import Metric

            if trial_id in self._run_ids:
                client.log_batch(self._run_ids[trial_id], [Metric(key, v, now, step) for key, v in values.items()])

        if trial_id in self._open_trials:
            self._put(write, spare=True)

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Closes the trial's run as FINISHED, FAILED or KILLED."""
        stopped = self._interrupted is not None and self._interrupted()
        self._terminate(trial.trial_id, "FAILED" if failed else "KILLED" if stopped else "FINISHED")

    def close(self, status: str = "KILLED", patience_s: float = _PATIENCE_S) -> None:
        """Closes the runs that are still open, after a hard stop, and waits until all is written.

        Args:
            status: of the open runs.
            patience_s: how long a store that does not answer is waited for; one that never did is not.
        """
        for trial_id in sorted(self._open_trials):
            self._terminate(trial_id, status)
        if self._writer is None:
            return
        if self.active and self._writer.trouble:
            self._tell(f"Waiting for the MLflow store, {patience_s:.0f} s at most ({self._writer.trouble}).")
        left = self._writer.drain(patience_s if self.active else 0.0)
        if left:
            self._tell(f"MLflow: {left} entries could not be written ({self._writer.trouble or 'the store is slow'}).")

    def _terminate(self, trial_id: str, status: str) -> None:
        if trial_id not in self._open_trials:
            return
        self._open_trials.remove(trial_id)
        ended = int(time.time() * 1000)

        def end(client: MlflowClient) -> None:
            if trial_id in self._run_ids:
                client.set_terminated(self._run_ids[trial_id], status, end_time=ended)
                del self._run_ids[trial_id]  # not before: this may be tried again

        self._put(end)
