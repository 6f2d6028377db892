"""Tables of scores in CSV files: somebody's results, without the runs behind them.

Long: columns ``task`` (or ``game``), ``variant``, ``score`` or ``mean``, and ``seed`` where there are several.
Wide: a row per task with columns ``<variant>_mean`` and, where other numbers are known, ``<variant>_last``.
Columns with the names of references (``random``, ``human``, ``heuristic``) and of groups of tasks may stand in both.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rllib_rnd.analysis.results.scores import ScoreTable
from rllib_rnd.errors import ConfigError, at, unknown_name_error

STATISTICS = ("mean", "last", "best")
#: Of numbers of which a table does not say what they are of their run.
GIVEN = "given"
_TASK = ("task", "game", "env")
_SCORE = ("score", "mean")
_REFERENCES = ("random", "human", "heuristic")
_ALLOWED = "a table with task, variant, seed, score, or with a column VARIANT_mean for each variant"

Rows = Sequence[Mapping[str, str]]


def is_score_file(path: Path) -> bool:
    """Whether a CSV file holds scores rather than curves: it has tasks, but no agent steps."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = [name.strip() for name in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return "agent_steps" not in columns and any(name in columns for name in _TASK)


def read_scores(
    path: Path, metric: str = "score", group: str | None = None, statistic: str | None = None
) -> ScoreTable:
    """Reads a table of scores.

    Args:
        path: of the file.
        metric: what the scores are called.
        group: the column that tells groups of tasks apart, or None.
        statistic: which columns of a wide table count, one of `STATISTICS`; None: the mean.

    Raises:
        ConfigError: it is no such table; two scores of one seed, or a cell that is no number.
    """
    with at(f"scores {path}"):
        columns, rows = _read(path)
    if columns and group is not None and group not in columns:
        raise unknown_name_error("column", group, columns, "--group")
    with at(f"scores {path}"):
        task = next((name for name in _TASK if name in columns), None)
        if task is None or not rows:
            raise ConfigError("", "has no column 'task'" if task is None else "has no rows", _ALLOWED)
        if "variant" in columns:
            if statistic is not None:
                problem = f"--statistic {statistic}: it chooses columns of a wide table, and here each row is a score"
                raise ConfigError("", problem)
            scores, statistic = _long(rows, columns, task), GIVEN
        else:
            statistic = STATISTICS[0] if statistic is None else statistic
            scores = _wide(rows, columns, task, statistic)
        references: dict[str, dict[str, float]] = {}
        for line, row in enumerate(rows, start=2):
            found = {name: _number(row[name], line, name) for name in _REFERENCES if row.get(name)}
            references.setdefault(row[task], {}).update(found)
        groups = {} if group is None else {row[task]: row[group] for row in rows}
        return ScoreTable(metric, scores, references, groups, statistic)


def _read(path: Path) -> tuple[list[str], Rows]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [name.strip() for name in reader.fieldnames or ()]
            rows = [{key.strip(): (value or "").strip() for key, value in row.items() if key} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError("", f"cannot be read as a CSV file: {reason}") from error
    return columns, rows


def _long(rows: Rows, columns: Sequence[str], task: str) -> dict[str, dict[str, np.ndarray]]:
    """A row per score."""
    column = next((name for name in _SCORE if name in columns), None)
    if column is None:
        raise ConfigError("", "has no column 'score' or 'mean'", _ALLOWED)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for line, row in enumerate(rows, start=2):
        seeds = found.setdefault(row[task], {}).setdefault(row["variant"], {})
        seed = row.get("seed", "")
        if seed in seeds:
            which = f"seed {seed}" if seed else "a variant without a seed"
            raise ConfigError("", f"line {line}: a second score of {which} of {row['variant']} on {row[task]}")
        seeds[seed] = _number(row[column], line, column, missing=True)
    return {
        name: {variant: np.array(list(seeds.values())) for variant, seeds in variants.items()}
        for name, variants in found.items()
    }


def _wide(rows: Rows, columns: Sequence[str], task: str, statistic: str) -> dict[str, dict[str, np.ndarray]]:
    """A row per task."""
    kinds = {kind: [n.removesuffix(f"_{kind}") for n in columns if n.endswith(f"_{kind}")] for kind in STATISTICS}
    there = {kind: names for kind, names in kinds.items() if names}
    if not there:
        raise ConfigError("", "has neither a column 'variant' nor columns VARIANT_mean", _ALLOWED)
    if statistic not in there:
        raise ConfigError("", f"--statistic {statistic}: no column ends in _{statistic}", list(there))
    every = list(dict.fromkeys(name for names in there.values() for name in names))
    lacking = [name for name in every if name not in there[statistic]]
    if lacking:
        other = next(kind for kind, names in there.items() if lacking[0] in names)
        problem = (
            f"{lacking[0]} has only its {other}, the others their {statistic}: one cannot be held against the other"
        )
        raise ConfigError("", problem, "the same statistic of every variant")
    return {
        row[task]: {
            name: np.array([_number(row[f"{name}_{statistic}"], line, f"{name}_{statistic}", missing=True)])
            for name in every
        }
        for line, row in enumerate(rows, start=2)
    }


def _number(cell: str, line: int, column: str, missing: bool = False) -> float:
    """A finite number; NaN for an empty cell where that is a missing run."""
    if missing and cell.lower() in ("", "nan", "na", "-"):
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError("", f"line {line}, {column}: {cell!r} is no number", "a finite number")
    return value
