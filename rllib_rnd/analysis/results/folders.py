"""Runs in result folders: a trial's, an experiment's, a whole storage."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from rllib_rnd.analysis.results.processes import state_of_process
from rllib_rnd.analysis.results.rows import Rows, joined, read_rows
from rllib_rnd.analysis.results.run import Run
from rllib_rnd.analysis.results.settings import flat_settings, task_of
from rllib_rnd.checkpoints.names import by_progress
from rllib_rnd.tracking.labels import label_of_folder
from rllib_rnd.tracking.metrics import full_path
from rllib_rnd.tracking.stopping import reached

_RECORD, _RESULTS, _PARAMS, _ERROR = "run.json", "result.json", "params.json", "error.txt"
_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}$")
_DEEPEST = 4  # folders below a storage in which experiments are looked for
_STEPS = full_path("agent_steps")


@dataclass
class Trial:
    """One trial's folder, read.

    Attributes:
        folder: its place.
        params: nested settings, {} where they cannot be read.
        rows: what it logged.
    """

    folder: Path
    params: Mapping[str, Any]
    rows: Rows

    @property
    def stamp(self) -> str:
        """The time of its start as its folder's name has it, which copying keeps."""
        found = _STAMP.search(self.folder.name)
        return found.group() if found else ""


def is_trial(folder: Path) -> bool:
    """Whether a folder is one trial's; one that was never begun is empty, and known by its name."""
    if (folder / _RESULTS).is_file() or (folder / _PARAMS).is_file():
        return True
    return bool(_STAMP.search(folder.name)) and (folder.parent / _RECORD).is_file()


def runs_in_folder(folder: Path, metrics: Collection[str] | None = None) -> list[Run]:
    """Returns the runs in a trial's, an experiment's or a storage folder, oldest first within an experiment.

    Args:
        folder: any of them.
        metrics: those to read; None: all.

    Raises:
        OSError: a file cannot be read.
    """
    if folder.name.startswith("checkpoint_") and is_trial(folder.parent):
        folder = folder.parent
    if is_trial(folder):
        return _runs([folder], _record(folder.parent), metrics)
    return [run for home, trials in _experiments(folder) for run in _runs(trials, _record(home), metrics)]


def _experiments(folder: Path, depth: int = 0) -> Iterator[tuple[Path, list[Path]]]:
    """Yields the folders of experiments with those of their trials."""
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    trials = [path for path in below if is_trial(path)]
    if trials:
        yield folder, trials
        return
    for path in below if depth < _DEEPEST else []:
        try:
            yield from _experiments(path, depth + 1)
        except PermissionError:
            continue


def _record(home: Path) -> dict[str, Any]:
    """What an experiment's folder says of itself, see `rllib_rnd.cli.folders`; {} where it says nothing."""
    return _json(home / _RECORD)


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _runs(folders: Sequence[Path], record: Mapping[str, Any], metrics: Collection[str] | None) -> list[Run]:
    trials = [Trial(folder, _json(folder / _PARAMS), read_rows(folder / _RESULTS, metrics)) for folder in folders]
    trials.sort(key=lambda trial: (trial.stamp, trial.folder.name))
    description = record.get("description") or {}
    if description.get("single") is True:
        trials = by_progress(trials, lambda trial: next((row.get("iteration") for row in trial.rows.values), None))
    return [_run(parts, record, description) for parts in _continued(trials, description.get("single") is True)]


def _continued(trials: Sequence[Trial], single: bool) -> list[list[Trial]]:
    """Groups the trials that are one run: each resume of a lone run has a folder of its own.

    Elsewhere a trial goes on with another if its settings are the same and it does not begin with the first iteration.
    """
    if single:
        return [list(trials)]
    runs: list[list[Trial]] = []
    for trial in trials:
        first = trial.rows.values[0].get("iteration", 1.0) if trial.rows.values else 1.0
        same = [run for run in runs if first > 1 and run[-1].params == trial.params and trial.params]
        if same:
            same[-1].append(trial)
        else:
            runs.append([trial])
    return runs


def _run(parts: Sequence[Trial], record: Mapping[str, Any], description: Mapping[str, Any]) -> Run:
    filled = [part for part in parts if part.rows.values]
    newest = filled[-1] if filled else parts[-1]
    config = _config(parts, description)
    task, frames = task_of(config)
    stop = description.get("stop") or {}
    seed, budget = config.get("seed"), stop.get(_STEPS, stop.get("agent_steps"))
    home = parts[-1].folder.parent
    last = newest.rows.last
    own_folder, label = len(parts) == 1, label_of_folder(parts[-1].folder)
    return Run(
        name="" if label == parts[-1].folder.name else label,
        source=str(parts[0].folder if own_folder else home),
        experiment=str(record.get("experiment") or home.name),
        algorithm=str(description.get("run") or parts[-1].folder.name.partition("_")[0]),
        seed=seed if isinstance(seed, int) else None,
        task=task,
        frames_per_step=frames,
        config=config,
        state=_state(parts[-1], newest, stop, record.get("process") if description.get("single") is True else None),
        metrics=joined([row for part in filled for row in part.rows.values]),
        resumed=len(parts) - 1 + sum(part.rows.restarts for part in parts),
        budget=None if budget is None else int(budget),
        provenance=_provenance(record),
        written=_time_of(last),
        thinned=max(part.rows.thinned for part in parts),
        unreadable=sum(part.rows.unreadable for part in parts),
        trials=tuple(f"{home.name}/{part.folder.name}" for part in parts),
    )


def _config(parts: Sequence[Trial], description: Mapping[str, Any]) -> dict[str, object]:
    """The settings of a run; of one that was never begun what its record and its folder's name tell."""
    params = next((part.params for part in reversed(parts) if part.params), None)
    if params is not None:
        return flat_settings(params)
    settings = flat_settings(description.get("config") or {})
    drawn = {key.rpartition(".")[0] for key in settings if key.endswith((".grid_search", ".tune", ".sampler"))}
    settings = {key: value for key, value in settings.items() if key.rpartition(".")[0] not in drawn}
    for name, value in re.findall(r"([^,=\s]+)=([^,]+)", label_of_folder(parts[-1].folder)):
        where = next((key for key in drawn if key == name or key.endswith("." + name)), name)
        settings[where] = yaml.safe_load(value)
    return settings


def _provenance(record: Mapping[str, Any]) -> dict[str, str]:
    noted = {str(key): str(value) for key, value in (record.get("provenance") or {}).items()}
    return {key: str(record[key]) for key in ("command", "created") if record.get(key)} | noted


def _state(newest: Trial, filled: Trial, stop: Mapping[str, float], process: object) -> str:
    """How a run stands, from its newest trial's folder.

    A result that Tune marked as the last is the end: finished if a stop condition is met or none is known, else
    stopped (Ctrl-C, a scheduler). One that was saved out of turn is what Ctrl-C leaves of a sweep's trials. A run
    without either goes on where its process lives, else it crashed.

    Args:
        newest: the trial that began last.
        filled: the last one with a result.
        stop: conditions by their paths.
        process: of the command, as a lone run's record has it.
    """
    error, results = newest.folder / _ERROR, newest.folder / _RESULTS
    if error.is_file() and not (results.is_file() and results.stat().st_mtime > error.stat().st_mtime + 1.0):
        return "failed"
    last = filled.rows.last
    if newest is not filled or not last:  # a trial without a result: not begun, or just begun
        command = _state_of_command(process)
        if command != "crashed" or not last:
            return command
    if stop and reached(last, stop) is not None:
        return "finished"
    if last.get("done") is True:
        return "stopped" if stop else "finished"
    state = state_of_process(str(last.get("hostname")), last.get("pid"), _time_of(last))
    return "stopped" if last.get("should_checkpoint") is True and state != "running" else state


def _state_of_command(process: object) -> str:
    """Whether the command of a record still trains, before its first result; ``unknown`` where that does not tell."""
    try:
        told: dict[str, str] = dict(process)  # type: ignore[call-overload]
        return state_of_process(told["host"], int(told["pid"]), datetime.fromisoformat(told["since"]).timestamp())
    except (TypeError, KeyError, ValueError):
        return "unknown"


def _time_of(result: Mapping[str, Any]) -> float | None:
    """When a result was written, seconds since 1970; None where it does not say so."""
    timestamp = result.get("timestamp")
    return float(timestamp) if isinstance(timestamp, (int, float)) else None
