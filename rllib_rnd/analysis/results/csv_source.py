"""Runs in a CSV file: curves of studies (``experiments/*/*.csv``) or of a paper, a row per result."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rllib_rnd.analysis.results.rows import joined, thin
from rllib_rnd.analysis.results.run import Run
from rllib_rnd.errors import ConfigError, nearest_name
from rllib_rnd.tracking.metrics import BY_NAME

#: Columns that tell runs apart or describe them; all others are metrics.
_RUN_COLUMNS = ("study", "task", "variant", "size", "seed")
_OTHER_COLUMNS = ("done", "commit", "frames_per_step", "budget")
#: What studies call a metric that has another name here.
_NAMES = {
    "seconds": "time_total_s",
    "intrinsic_reward": "intrinsic_reward_mean",
    "positions": "positions_visited",
    "rooms": "rooms_visited",
}


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the columns and the rows of a CSV file.

    Raises:
        ConfigError: it cannot be read as one, or is empty.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"run {path}", f"cannot be read as a CSV file ({reason})") from error
    if not rows:
        raise ConfigError(f"run {path}", "has no rows")
    return [name.strip() for name in reader.fieldnames or ()], rows


def runs_in_csv(path: Path, metrics: Collection[str] | None = None) -> list[Run]:
    """Returns the runs of a file of curves, in the order of the file.

    Args:
        path: with a column ``agent_steps`` and, where there are several runs, ``variant``, ``seed``, ``study`` or
            ``task``, ``size``; every other column of numbers is a metric.
        metrics: those to read; None: all.

    Raises:
        ConfigError: no curves, or a cell that is no number where one must be.
    """
    columns, rows = read_table(path)
    if "agent_steps" not in columns:
        if {"score", "mean"} & set(columns) or any(n.endswith("_mean") and n not in BY_NAME for n in columns):
            problem = "has no column agent_steps: a table of scores has no curves"
            raise ConfigError(f"run {path}", problem, "files of curves here, score tables in rllib report")
        problem, nearest = "has no column agent_steps, so it holds no curves", nearest_name("agent_steps", columns)
        raise ConfigError(f"run {path}", problem + (f"; it has {nearest!r}" if nearest else ""))
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name, "") for name in _RUN_COLUMNS), []).append(row)
    names = [name for name in columns if name not in (*_RUN_COLUMNS, *_OTHER_COLUMNS)]
    return [_run(path, key, group, names, metrics) for key, group in groups.items()]


def _run(
    path: Path,
    key: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    columns: Sequence[str],
    metrics: Collection[str] | None,
) -> Run:
    own = dict(zip(_RUN_COLUMNS, key, strict=True))
    task = own["task"] or own["study"] or path.stem
    if own["size"] not in ("", "0"):
        task += f" (size={own['size']})"
    variant = own["variant"] or path.stem
    last = rows[-1]
    values = [
        {
            _NAMES.get(name, name): number
            for name in columns
            if (number := _number(row.get(name, ""))) is not None and _wanted(_NAMES.get(name, name), metrics)
        }
        for row in rows
    ]
    if not any("agent_steps" in row for row in values):
        raise ConfigError(f"run {path}", f"column agent_steps of {variant!r} holds no numbers")
    kept, thinned = thin([row for row in values if "agent_steps" in row])
    frames, budget = _number(last.get("frames_per_step", "")), _number(last.get("budget", ""))
    return Run(
        name=f"seed={own['seed']}" if own["seed"] else "",
        source="#".join([str(path), *filter(None, key)]),
        experiment=variant,
        algorithm="",
        seed=int(own["seed"]) if own["seed"].isdigit() else None,
        task=task,
        frames_per_step=None if frames is None else int(frames),
        config={"variant": variant} | ({"seed": int(own["seed"])} if own["seed"].isdigit() else {}),
        state="finished" if last.get("done") == "1" else "unknown",
        metrics=joined(kept),
        budget=None if budget is None else int(budget),
        provenance={"commit": last["commit"]} if last.get("commit") else {},
        thinned=thinned,
    )


def _wanted(name: str, metrics: Collection[str] | None) -> bool:
    return metrics is None or name in metrics or name == "agent_steps"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
