"""The rows of a ``result.json``: the curated metrics of each, read fast, and no more rows than a curve can show.

A result of RLlib is 15 kB of JSON, 12 of which repeat the configuration. Tune's ``progress.csv`` is shorter, but has
only the columns of the first result, often without a return.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rllib_rnd.analysis.results.run import MACHINE_MEMORY
from rllib_rnd.tracking.metrics import METRICS, curated

T = TypeVar("T")

#: Of a longer file rows at even distances are read, so many.
MAX_ROWS = 500
_FIRST_GUESS = 1 << 16  # bytes by which the length of a line is judged
_CONFIG, _AFTER_CONFIG = b'"config": {', b'"time_since_restore"'
_MEMORY = "perf/ram_util_percent"  # of Tune's, in every result
_THROUGHPUT = ("env_runners/num_env_steps_sampled", "time_this_iter_s")  # of algorithms that report none

#: Where a path's number goes: the metric's name, and how many other places of it come first. None: nowhere.
_places: dict[str, tuple[str, int] | None] = {}


@dataclass
class Rows:
    """What a file of results holds.

    Attributes:
        values: a row's curated metrics, oldest first.
        last: the last result as it stands there, with all that is in it.
        thinned: about one of so many rows is there.
        restarts: how often the training was restored and went on in the same file.
        unreadable: how many of the lines that were read are no result; one at the end, cut short by a kill, is none
            of them where others are results.
    """

    values: list[dict[str, float]] = field(default_factory=list)
    last: Mapping[str, Any] = field(default_factory=dict)
    thinned: int = 1
    restarts: int = 0
    unreadable: int = 0


def read_rows(path: Path, metrics: Collection[str] | None = None, max_rows: int = MAX_ROWS) -> Rows:
    """Reads the results that a trial logged; lines that are no whole result are left out.

    Args:
        path: ``result.json``; a file that is not there has no rows.
        metrics: names to keep besides agent steps and iteration; None: all.
        max_rows: of a file with more, rows at even distances are read, and the last.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_file():
        return Rows()
    lines, thinned = _lines(path, max_rows)
    parsed = [_parsed(line) for line in lines if line.strip()]
    results = [result for result in parsed if result is not None]
    values = [curated_fast(result) for result in results]
    if metrics is not None:
        kept = {*metrics, "agent_steps", "iteration"}
        values = [{name: value for name, value in row.items() if name in kept} for row in values]
    rows = Rows(values, results[-1] if results else {}, thinned)
    if thinned == 1:  # else pieces of lines are among them
        rows.unreadable = sum(result is None for result in (parsed[:-1] if results else parsed))
    since = [result["time_since_restore"] for result in results if "time_since_restore" in result]
    rows.restarts = sum(later < earlier for earlier, later in itertools.pairwise(since))
    return rows


def _lines(path: Path, max_rows: int) -> tuple[list[bytes], int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(_FIRST_GUESS)
        length = len(first) / max(1, first.count(b"\n")) if len(first) < size else 0.0
        if size <= length * max_rows * 1.5 or not length:  # near enough: read as it is
            lines = (first + file.read()).splitlines()
            kept, step = thin(lines[:-1], max_rows)  # the last may be cut short: then the one before it counts
            return kept + lines[-1:], step
        found, seen = [], -1
        for number in range(max_rows):
            start, line = _line_after(file.fileno(), number * size // max_rows, 2 * int(length))
            if start != seen:
                found.append(line)
            seen = start
        file.seek(max(0, size - 8 * int(length) - _FIRST_GUESS))
        found += file.read().splitlines()[-2:]  # the last may be cut short
    return found, max(1, round(size / length / max_rows))


def _line_after(file: int, offset: int, length: int) -> tuple[int, bytes]:
    """The first line that begins at an offset or after it, and where that is; ``length`` bytes are read at first."""
    before = 1 if offset else 0  # a line begins where the byte before it ends one
    chunk = os.pread(file, length, offset - before)
    start = chunk.find(b"\n") + 1 if offset else 0
    end = chunk.find(b"\n", start) if start or not offset else -1
    if end < 0 and len(chunk) == length:
        return _line_after(file, offset, 4 * length)
    return offset - before + start, chunk[start:] if end < 0 else chunk[start:end]


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line as a mapping without its ``config``; None if it is none."""
    start, end = line.find(_CONFIG), line.rfind(_AFTER_CONFIG)
    if 0 <= start < end:
        try:
            return _mapping(json.loads(line[:start] + line[end:]))
        except ValueError:
            pass  # a user's own entry of that name
    try:
        return _mapping(json.loads(line))
    except (ValueError, RecursionError):
        return None


def _mapping(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def curated_fast(result: Mapping[str, Any]) -> dict[str, float]:
    """As `curated`, remembering which path is which metric; and the machine's memory."""
    values: dict[str, float] = {}
    ranks: dict[str, int] = {}
    stack: list[tuple[str, Mapping[str, Any]]] = [("", result)]
    while stack:
        prefix, section = stack.pop()
        for key, value in section.items():
            kind = type(value)
            if kind is dict:
                stack.append((f"{prefix}{key}/", value))
            elif (kind is float or kind is int) and value == value:
                path = prefix + key
                place = _places[path] if path in _places else _place(path)
                if place is not None and place[1] <= ranks.get(place[0], place[1]):
                    values[place[0]], ranks[place[0]] = float(value), place[1]
    if "agent_steps_per_s" not in values and _THROUGHPUT[1] in result:
        values |= {k: v for k, v in curated(_only(result, _THROUGHPUT)).items() if k == "agent_steps_per_s"}
    return values


def _only(result: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    return {path.partition("/")[0]: result.get(path.partition("/")[0]) for path in paths}


def _place(path: str) -> tuple[str, int] | None:
    """Asks the table of metrics by a result that holds nothing but this path."""
    if path == _MEMORY:
        return _places.setdefault(path, (MACHINE_MEMORY, 0))
    nested: Any = 1.0
    for part in reversed(path.split("/")):
        nested = {part: nested}
    name = next(iter(curated(nested)), None)
    rank = 0
    if name is None:  # the second of several rewards, which is looked for only behind the first
        name = next((f"{m.name}{path[len(m.paths[0]) :]}" for m in METRICS if _numbered(path, m.paths[0])), None)
    else:
        rank = next((m.paths.index(path) for m in METRICS if m.name == name and path in m.paths), 0)
    _places[path] = None if name is None else (name, rank)
    return _places[path]


def _numbered(path: str, first: str) -> bool:
    return path.startswith(first + "_") and path[len(first) + 1 :].isdigit()


def thin(rows: Sequence[T], max_rows: int = MAX_ROWS) -> tuple[list[T], int]:
    """Returns rows at even distances, the last one among them, and the distance."""
    step = -(-len(rows) // max_rows)
    return (list(rows) if step < 2 else [*rows[:-1:step], rows[-1]]), max(1, step)


def joined(rows: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Returns rows as one array per metric; rows that a later one has overtaken (trained again after a restore) go.

    Args:
        rows: oldest first, of all trials of a run.

    Returns:
        By name, float64 ``[rows]``, NaN where a row lacks the metric; ``agent_steps`` never falls.
    """
    kept: list[Mapping[str, float]] = []
    steps, iteration = float("inf"), float("inf")
    for row in reversed(rows):
        now, number = row.get("agent_steps", float("-inf")), row.get("iteration", float("-inf"))
        once = number < iteration if "iteration" in row else now < steps or "agent_steps" not in row
        if once and now <= steps:
            kept.append(row)
            steps, iteration = row.get("agent_steps", steps), row.get("iteration", iteration)
    kept.reverse()
    names = sorted({name for row in kept for name in row} | ({"agent_steps"} if kept else set()))
    arrays = {name: np.array([row.get(name, np.nan) for row in kept]) for name in names}
    if "agent_steps" in arrays:  # pre-training tells none, and is before the first step
        arrays["agent_steps"] = np.maximum.accumulate(np.nan_to_num(arrays["agent_steps"], nan=0.0))
    return arrays


def rows_of(metrics: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
    """The inverse of `joined`: arrays by metric as rows."""
    count = len(next(iter(metrics.values()))) if metrics else 0
    return [{name: float(v[i]) for name, v in metrics.items() if not np.isnan(v[i])} for i in range(count)]
