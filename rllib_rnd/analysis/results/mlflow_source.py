"""Runs in an MLflow store: a database file, its URI, or a server's."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import yaml

from rllib_rnd.analysis.results.mlflow_database import StoredRun, stored_runs
from rllib_rnd.analysis.results.processes import state_of_process
from rllib_rnd.analysis.results.rows import joined, rows_of, thin
from rllib_rnd.analysis.results.run import MACHINE_MEMORY, Run
from rllib_rnd.analysis.results.settings import flat_settings, task_of
from rllib_rnd.errors import ConfigError, nearest_name
from rllib_rnd.redaction import without_password

_STATES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "stopped"}
_MEMORY = "system/system_memory_usage_percentage"
_CHANGED = "setting/"  # what population based training changed
_NO_METRICS = ("system/", _CHANGED)  # the first are of the machine
_PROVENANCE = ("commit", "dirty", "command", "hardware", "cores", "python", "ray", "torch", "rllib_rnd")


def runs_in_store(place: str, metrics: Collection[str] | None = None) -> list[Run]:
    """Returns the runs that this package logged to a store, oldest first.

    Args:
        place: file or URI; ``#`` and a run's id or an experiment's name choose among its runs.
        metrics: those to read; None: all.

    Raises:
        ConfigError: no store there, one of another kind, a server that does not answer, no such run.
    """
    address, _, chosen = place.partition("#")
    stored = _chosen(_own(stored_runs(address)), place, chosen)
    runs = [_run(one, address, metrics) for one in stored]
    return _continued(runs, [one.tags for one in stored])


def _own(stored: Sequence[StoredRun]) -> list[StoredRun]:
    """Those that trained: no other projects' runs, no parents of sweeps."""
    parents = {one.tags.get("mlflow.parentRunId") for one in stored}
    return [
        one
        for one in stored
        if ("agent_steps" in one.metrics or "algorithm" in one.tags)
        and one.run_id not in parents
        and one.tags.get("sweep") != "true"
    ]


def _chosen(stored: list[StoredRun], place: str, chosen: str) -> list[StoredRun]:
    if not stored:
        raise ConfigError(f"run {without_password(place)}", "the store holds no runs of this package")
    if not chosen:
        return stored
    found = [one for one in stored if chosen in (one.run_id, one.experiment)]
    if not found:
        names = [*sorted({one.experiment for one in stored}), *(one.run_id for one in stored)]
        problem = f"the store has no run or experiment {chosen!r}"
        raise ConfigError(f"run {without_password(place)}", problem, nearest=nearest_name(chosen, names))
    return found


def _run(stored: StoredRun, address: str, metrics: Collection[str] | None) -> Run:
    params = {**stored.params, **_changes(stored)}
    algorithm = params.pop("run", stored.tags.get("algorithm", ""))
    config = flat_settings({_key(key): _value(text) for key, text in params.items()})
    task, frames = task_of(config)
    rows, written = _rows(stored, metrics)
    kept, thinned = thin(rows)
    seed, folders = config.get("seed"), stored.tags.get("trial_folders", stored.tags.get("trial_folder", ""))
    return Run(
        name=stored.name if "=" in stored.name else "",  # what a sweep drew
        source=f"{without_password(address)}#{stored.run_id}",  # it stands on pages that are handed on
        experiment=stored.experiment,
        algorithm=algorithm,
        seed=seed if isinstance(seed, int) else None,
        task=task,
        frames_per_step=frames,
        config=config,
        state=_state(stored, written),
        metrics=joined(kept),
        resumed=_resumes(stored.tags),
        budget=_budget(stored.tags),
        provenance=_provenance(stored),
        written=written,
        thinned=thinned,
        trials=tuple(_trial(Path(folder).name, stored.tags) for folder in folders.split("\n") if folder),
    )


def _changes(stored: StoredRun) -> dict[str, str]:
    """The settings that changed on the way, as they were at last."""
    found = {key: value for key, value in stored.tags.items() if key.startswith(_CHANGED)}
    keys = sorted(key for key in stored.metrics if key.startswith(_CHANGED))
    for key, value, _, _ in sorted(stored.history(keys) if keys else (), key=lambda entry: entry[2:]):
        found[key] = str(value)
    return {key.removeprefix(_CHANGED): value for key, value in found.items()}


def _trial(name: str, tags: Mapping[str, str]) -> str:
    return f"{tags.get('folder', '')}/{name}"


def _key(key: str) -> str:
    """``intrinsic_reward.0.gamma`` as experiment files have it: ``intrinsic_reward[0].gamma``."""
    head, *parts = key.split(".")
    return head + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)


def _value(text: str) -> object:
    try:
        return float(text) if not text.lstrip("+-").isdigit() else int(text)
    except ValueError:
        pass
    try:
        value: object = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value


def _rows(stored: StoredRun, metrics: Collection[str] | None) -> tuple[list[dict[str, float]], float | None]:
    """Rows by agent steps, oldest first, and when the last was written.

    A run that was restored logs some steps twice; what was written last counts.
    """
    names = {key: key for key in stored.metrics if not key.startswith(_NO_METRICS)}
    names |= {_MEMORY: MACHINE_MEMORY} if _MEMORY in stored.metrics else {}
    wanted = {key for key, name in names.items() if metrics is None or name in {*metrics, "agent_steps", "iteration"}}
    steps: dict[int, dict[str, float]] = {}
    written = 0
    for key, value, timestamp, step in sorted(stored.history(sorted(wanted)), key=lambda entry: entry[2]):
        written = max(written, timestamp)
        if math.isfinite(value):
            steps.setdefault(step, {})[names[key]] = value
    rows = [{"agent_steps": float(step), **steps[step]} for step in sorted(steps)]
    return rows, written / 1000 if written else None


def _state(stored: StoredRun, written: float | None) -> str:
    known = _STATES.get(stored.status)
    if known is not None:
        return known
    host, _, pid = stored.tags.get("process", "").rpartition(":")[0].rpartition(":")  # host:pid:start
    return state_of_process(host, int(pid) if pid.isdigit() else None, written)


def _budget(tags: Mapping[str, str]) -> int | None:
    try:
        return int(json.loads(tags["stop"])["agent_steps"])
    except (KeyError, ValueError, TypeError):
        return None


def _resumes(tags: Mapping[str, str]) -> int:
    return int(tags["resumes"]) if tags.get("resumes", "").isdigit() else 0


def _provenance(stored: StoredRun) -> dict[str, str]:
    created = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(stored.started / 1000))
    return {"created": created, **{name: stored.tags[name] for name in _PROVENANCE if stored.tags.get(name)}}


def _continued(runs: Sequence[Run], tags: Sequence[Mapping[str, str]]) -> list[Run]:
    """Joins a run with the one that it went on from: ``--resume`` used to make another run in the same folder."""
    found: list[Run] = []
    for run, own in zip(runs, tags, strict=True):
        before = _trial(Path(own.get("started_from", "")).parent.name, own)
        index = next((i for i, other in enumerate(found) if before in other.trials), None)
        if index is None:
            found.append(run)
            continue
        other = found[index]
        found[index] = dataclasses.replace(
            run,
            source=other.source,
            metrics=joined([*rows_of(other.metrics), *rows_of(run.metrics)]),
            resumed=other.resumed + 1,
            trials=other.trials + run.trials,
            provenance={**run.provenance, **other.provenance},
        )
    return found
