"""MLflow: a curated set of parameters and metrics per trial, in an embedded store or on a server."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback

from rllib_rnd.settings import SETTINGS
from rllib_rnd.tracking.metrics import curated, read

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_MAX_VALUE_LENGTH = 500  # MLflow's databases limit a parameter's text


def store_uri(storage: str) -> str | None:
    """Returns where runs are logged: ``MLFLOW_TRACKING_URI``, or a database in the storage folder.

    None if there is no server and the storage is not a local folder (a database needs a file system).
    """
    server = os.environ.get("MLFLOW_TRACKING_URI")
    if server:
        return server
    if "://" in storage:
        return None
    return f"sqlite:///{Path(storage).expanduser().resolve() / 'mlruns.db'}"


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
        flat[name] = str(value)[:_MAX_VALUE_LENGTH]


class MLflowLogger(LoggerCallback):
    """Logs every trial as one MLflow run, its metrics against agent steps.

    MLflow missing or its store out of reach costs one printed line, never the training.

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
        self.run_ids: dict[str, str] = {}
        self._make_config: Callable[[Mapping[str, Any]], Any] | None = make_config
        self._say: Callable[[str], None] | None = say
        self._interrupted: Callable[[], bool] | None = interrupted
        self._client: Any = None
        self._experiment_id = ""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks; a database connection cannot be pickled.
        gone = dict.fromkeys(("_client", "_make_config", "_say", "_interrupted"))
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
            from mlflow.tracking import MlflowClient
        except ImportError:
            self._tell("MLflow is not installed; training goes on without it (pip install mlflow).")
            return
        for name in ("mlflow", "mlflow.store.db.utils", "alembic"):  # importing mlflow sets its loggers up
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            client = MlflowClient(tracking_uri=self.uri)
            found = client.get_experiment_by_name(self.experiment)
            self._experiment_id = found.experiment_id if found else self._create(client)
            self._client = client
        except Exception as error:  # any fault of the store: the run matters more than its log
            reason = str(error).splitlines()[0][:160]
            self._tell(f"MLflow store {self.uri} cannot be used ({reason}); training goes on without it.")

    def _create(self, client: MlflowClient) -> str:
        location = None
        if self.uri.startswith("sqlite:///"):
            folder = Path(self.uri.removeprefix("sqlite:///")).parent
            location = (folder / "mlartifacts").as_uri()
        return str(client.create_experiment(self.experiment, artifact_location=location))

    def _tell(self, line: str) -> None:
        if self._say is not None:
            self._say(line)

    def log_trial_start(self, trial: Trial) -> None:
        """Opens a run with the trial's settings."""
        if self._client is None or trial.trial_id in self.run_ids:
            return
        with self._guard():
            from mlflow.entities import Param

            tags = {**self.tags, "algorithm": self.algorithm, "trial_folder": str(trial.local_path or "")}
            run = self._client.create_run(self._experiment_id, run_name=str(trial), tags=tags)
            self.run_ids[trial.trial_id] = run.info.run_id
            values = parameters(self._make_config(trial.config)) if self._make_config else {}
            params = [Param(key, value) for key, value in {"run": self.algorithm, **values}.items()]
            for start in range(0, len(params), 100):  # MLflow's limit for one request
                self._client.log_batch(run.info.run_id, params=params[start : start + 100])

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Logs the curated metrics of one result; the step is the number of agent steps."""
        run_id = self.run_ids.get(trial.trial_id)
        if self._client is None or run_id is None:
            return
        with self._guard():
            from mlflow.entities import Metric

            step, now = int(read(result, "agent_steps") or 0), int(time.time() * 1000)
            self._client.log_batch(run_id, [Metric(k, v, now, step) for k, v in curated(result).items()])

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Closes the trial's run as FINISHED, FAILED or KILLED."""
        stopped = self._interrupted is not None and self._interrupted()
        self._terminate(trial.trial_id, "FAILED" if failed else "KILLED" if stopped else "FINISHED")

    def close(self, status: str = "KILLED") -> None:
        """Closes the runs that are still open, after a hard stop."""
        for trial_id in list(self.run_ids):
            self._terminate(trial_id, status)

    def _terminate(self, trial_id: str, status: str) -> None:
        run_id = self.run_ids.pop(trial_id, None)
        if self._client is not None and run_id is not None:
            with self._guard():
                self._client.set_terminated(run_id, status)

    def _guard(self) -> _Guard:
        return _Guard(self)

    def give_up(self, error: BaseException) -> None:
        """Stops logging after a fault of the store, with one line."""
        self._client = None
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        self._tell(f"MLflow logging stopped ({reason}); training goes on.")


class _Guard:
    """Keeps a fault of the MLflow store away from the training."""

    def __init__(self, logger: MLflowLogger) -> None:
        self._logger = logger

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        self._logger.give_up(error)
        return True
