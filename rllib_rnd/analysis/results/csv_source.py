"""Runs in a CSV file: curves of studies (``experiments/*/*.csv``) or of a paper, a row per result."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rllib_rnd.analysis.results.rows import MAX_ROWS, joined
from rllib_rnd.analysis.results.run import Run
from rllib_rnd.errors import ConfigError, nearest_name
from rllib_rnd.tracking.metrics import BY_NAME
from rllib_rnd.tracking.parameters import number_of

#: Columns that tell runs apart or describe them; all others are metrics.
_RUN_COLUMNS = ("study", "task", "variant", "size", "seed")
_NO_METRICS = (*_RUN_COLUMNS, "done", "commit", "frames_per_step", "budget")
#: What studies call a metric that has another name here.
_NAMES = {
    "seconds": "time_total_s",
    "intrinsic_reward": "intrinsic_reward_mean",
    "positions": "positions_visited",
    "rooms": "rooms_visited",
}


def _cells(path: Path) -> Iterator[list[str]]:
    """Yields the rows of a CSV file, the columns first.

    Raises:
        ConfigError: it cannot be read as one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.reader(file):
                if row:
                    yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"run {path}", f"cannot be read as a CSV file ({reason})") from error


@dataclass
class _Table:
    """The rows of one run.

    Attributes:
        count: of those that tell agent steps.
        last: of all.
        kept: those that are looked at, as `thin` chooses them.
    """

    count: int = 0
    last: list[str] = field(default_factory=list)
    kept: list[list[str]] = field(default_factory=list)

    @property
    def step(self) -> int:
        """About one of so many rows is kept."""
        return max(1, -(-self.count // MAX_ROWS))


def _tables(path: Path, columns: Sequence[str]) -> dict[tuple[str, ...], _Table]:
    """The runs of a file; it is read twice, so that rows that are not looked at are never held together."""
    places = [columns.index(name) if name in columns else None for name in _RUN_COLUMNS]
    steps = columns.index("agent_steps")

    def rows() -> Iterator[tuple[tuple[str, ...], list[str], bool]]:
        for row in itertools.islice(_cells(path), 1, None):
            row += [""] * (len(columns) - len(row))
            key = tuple("" if place is None else row[place].strip() for place in places)
            yield key, row, number_of(row[steps]) is not None

    tables: dict[tuple[str, ...], _Table] = {}
    for key, row, counts in rows():
        table = tables.setdefault(key, _Table())
        table.count, table.last = table.count + counts, row
    seen = Counter[tuple[str, ...]]()
    for key, row, counts in rows():
        table = tables[key]
        if counts and (seen[key] % table.step == 0 or seen[key] == table.count - 1):
            table.kept.append(row)
        seen[key] += counts
    return tables


def runs_in_csv(path: Path, metrics: Collection[str] | None = None) -> list[Run]:
    """Returns the runs of a file of curves, in the order of the file.

    Args:
        path: with a column ``agent_steps`` and, where there are several runs, ``variant``, ``seed``, ``study`` or
            ``task``, ``size``; every other column of numbers is a metric.
        metrics: those to read; None: all.

    Raises:
        ConfigError: no curves, or a cell that is no number where one must be.
    """
    lines = _cells(path)
    columns = [name.strip() for name in next(lines, [])]
    if next(lines, None) is None:
        raise ConfigError(f"run {path}", "has no rows")
    if "agent_steps" not in columns:
        if {"score", "mean"} & set(columns) or any(n.endswith("_mean") and n not in BY_NAME for n in columns):
            problem = "has no column agent_steps: a table of scores has no curves"
            raise ConfigError(f"run {path}", problem, "files of curves here, score tables in rllib report")
        problem, nearest = "has no column agent_steps, so it holds no curves", nearest_name("agent_steps", columns)
        raise ConfigError(f"run {path}", problem + (f"; it has {nearest!r}" if nearest else ""))
    return [_run(path, key, table, columns, metrics) for key, table in _tables(path, columns).items()]


def _run(
    path: Path,
    key: Sequence[str],
    table: _Table,
    columns: Sequence[str],
    metrics: Collection[str] | None,
) -> Run:
    own = dict(zip(_RUN_COLUMNS, key, strict=True))
    task = own["task"] or own["study"] or path.stem
    if own["size"] not in ("", "0"):
        task += f" (size={own['size']})"
    variant = own["variant"] or path.stem
    last = {name: cell.strip() for name, cell in zip(columns, table.last, strict=False)}
    wanted = [(i, _NAMES.get(name, name)) for i, name in enumerate(columns) if name not in _NO_METRICS]
    wanted = [(i, name) for i, name in wanted if metrics is None or name in (*metrics, "agent_steps")]
    values = [{name: number for i, name in wanted if (number := number_of(row[i])) is not None} for row in table.kept]
    if not values:
        raise ConfigError(f"run {path}", f"column agent_steps of {variant!r} holds no numbers")
    frames, budget = number_of(last.get("frames_per_step", "")), number_of(last.get("budget", ""))
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
        metrics=joined(values),
        budget=None if budget is None else int(budget),
        provenance={"commit": last["commit"]} if last.get("commit") else {},
        thinned=table.step,
    )
