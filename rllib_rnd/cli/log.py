"""``rllib log``: writes into an MLflow store what a run's folder holds and the store lacks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rllib_rnd.analysis.results.folders import is_trial, runs_in_folder
from rllib_rnd.analysis.results.settings import flat_settings
from rllib_rnd.cli.folders import RECORD, RunRecord
from rllib_rnd.cli.runtime import RUN_ERROR, say
from rllib_rnd.cli.sweep import is_sweep
from rllib_rnd.errors import ConfigError
from rllib_rnd.tracking.identity import RunIdentity
from rllib_rnd.tracking.metrics import read
from rllib_rnd.tracking.mlflow_gaps import rows_between
from rllib_rnd.tracking.mlflow_logger import MLflowLogger
from rllib_rnd.tracking.mlflow_store import store_uri, valid_keys, valid_text, without_password
from rllib_rnd.tracking.system import SystemMetrics

_STATES = {"finished": "FINISHED", "failed": "FAILED", "crashed": "FAILED"}


class _LoggerOfFolder(MLflowLogger):
    """As while training, but that settings are what stands in the trial's folder."""

    def _texts(self, config: Mapping[str, Any]) -> dict[str, str]:
        found = {"run": self.algorithm, **flat_settings(config)}
        return {key: valid_text(str(value)) for key, value in valid_keys(found).items()}


class _NoMachine(SystemMetrics):
    """What this machine does now says nothing of a training that is over."""

    def read(self) -> dict[str, float]:
        """Nothing."""
        return {}


def log_run(place: Path, patience_s: float = 60.0) -> int:
    """Writes the rows of a run that its MLflow store has not got, the run itself if it is not there either.

    Args:
        place: the run's folder, with a ``run.json``.
        patience_s: how long a store that does not answer is waited for.

    Returns:
        The exit code: 0, or 1 if the store did not take all.

    Raises:
        ConfigError: no such run, one that is still running, or no store.
    """
    folder = place.expanduser().resolve()
    record = RunRecord.read(folder)
    if record is None:
        raise ConfigError(f"run {place}", f"has no {RECORD} that can be read", "the folder of a run of rllib train")
    runs = runs_in_folder(folder, ())
    if any(run.state == "running" for run in runs):
        raise ConfigError(f"run {place}", "is still running; it writes by itself what its store lacks")
    uri = store_uri(str(folder.parent))
    if uri is None:
        raise ConfigError(f"run {place}", "there is no MLflow store for it", "a path, or MLFLOW_TRACKING_URI")
    sweep = is_sweep(record.description)
    tags = {"experiment": record.experiment, "folder": folder.name, "command": record.command, **record.provenance}
    states = {Path(trial).name: run.state for run in runs for trial in run.trials}
    said: list[str] = []
    logger = _LoggerOfFolder(
        uri=uri,
        experiment=record.experiment,
        algorithm=str(record.description.get("run") or ""),
        make_config=lambda config: config,
        identity=RunIdentity(folder.name, record.key, sweep, None, tags),
        say=said.append,
        status=lambda _: "FINISHED",
    )
    logger.place, logger._reopens = str(place), False
    logger._system = _NoMachine()
    logger.open()
    trials = [path for path in sorted(folder.iterdir()) if path.is_dir() and is_trial(path)]
    rows = 0
    for parts in [[trial] for trial in trials] if sweep else [trials] if trials else []:
        status = next((_STATES[states[p.name]] for p in parts[::-1] if states.get(p.name) in _STATES), "KILLED")
        rows += _log(logger, parts, status)
    logger.close("KILLED", patience_s=patience_s)
    for line in said:
        say(line)
    if not logger.active or logger.left:
        return RUN_ERROR
    say(f"{folder.name}: {without_password(uri)} has all {rows} results.")
    return 0


def _log(logger: MLflowLogger, parts: list[Path], status: str) -> int:
    """Writes one run of the store; its rows."""
    rows = rows_between(parts, -math.inf, math.inf)
    params: dict[str, Any] = {}
    for part in parts:
        try:
            params = json.loads((part / "params.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    trial: Any = SimpleNamespace(
        trial_id=str(rows[-1].get("trial_id", parts[-1].name)) if rows else parts[-1].name,
        config=params,
        evaluated_params={},
        path=str(parts[-1]),
        checkpoint=None,
    )
    logger.log_trial_start(trial)
    for row in rows:
        logger.log_trial_result(int(read(row, "iteration") or 0), trial, row)
    logger._status = lambda _: status
    logger.log_trial_end(trial)
    return len(rows)
