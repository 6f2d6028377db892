"""Rows that a store has not got while it was away: taken from the run's folder, when the run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_rnd.tracking.metrics import curated, read
from rllib_rnd.tracking.mlflow_store import valid_keys
from rllib_rnd.tracking.result_files import RESULTS

if TYPE_CHECKING:
    from mlflow.entities import Metric

_MAX_METRICS = 1000  # of one request, as MLflow has it


def folders_with_rows(trial_folder: str, sweep: bool) -> list[Path]:
    """The folders with a run's results, that of one of its trials being this: each resume of a lone run has its own."""
    folder = Path(trial_folder)
    if sweep or not folder.parent.is_dir():
        return [folder]
    return sorted(path for path in folder.parent.iterdir() if (path / RESULTS).is_file())


def rows_between(folders: Iterable[Path], after: float, before: float) -> list[dict[str, Any]]:
    """Results with an iteration above ``after`` and below ``before``, in their order and each once.

    What was trained again after a restore counts as it was the last time.
    """
    found: dict[float, dict[str, Any]] = {}
    for folder in folders:
        try:
            lines = (folder / RESULTS).read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:  # cut short by a kill
                continue
            iteration = read(row, "iteration")
            if iteration is not None and after < iteration < before:
                known = found.get(iteration)
                if known is None or time_of(known) <= time_of(row):
                    found[iteration] = row
    return [found[iteration] for iteration in sorted(found)]


def time_of(result: Mapping[str, Any]) -> int:
    """When a result was had, ms since 1970; now, where it does not say so."""
    timestamp = result.get("timestamp")
    return int(1000 * (timestamp if isinstance(timestamp, (int, float)) else time.time()))


def metrics_of(result: Mapping[str, Any], more: Mapping[str, float] | None = None) -> list[Metric]:
    """A result as MLflow's metrics, against agent steps."""
    from mlflow.entities import Metric

    step, now = int(read(result, "agent_steps") or 0), time_of(result)
    return [Metric(key, value, now, step) for key, value in valid_keys({**curated(result), **(more or {})}).items()]


def write_rows(rows: Iterable[Mapping[str, Any]], write: Callable[[list[Metric], Mapping[str, Any]], None]) -> None:
    """Writes results in their order, as many at a time as one request takes.

    Args:
        rows: results.
        write: is handed their metrics and the last of them.
    """
    waiting: list[Metric] = []
    last: Mapping[str, Any] = {}
    for row in rows:
        metrics = metrics_of(row)
        if len(waiting) + len(metrics) > _MAX_METRICS:
            write(waiting, last)
            waiting = []
        waiting, last = waiting + metrics, row
    if waiting:
        write(waiting, last)
