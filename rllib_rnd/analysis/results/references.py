"""What scores are held against: random play, a human, a heuristic, and whatever numbers a user brings."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from rllib_rnd.errors import ConfigError

_PACKAGED = "references.csv"
_RANDOM = "random"
_UPPER = ("human", "heuristic")
# A game of Atari by the ids that it has: ALE/Breakout-v5, BreakoutNoFrameskip-v4, Breakout.
_GAME = re.compile(r"(?:ALE/)?(?P<name>[A-Z]\w*?)(?:NoFrameskip-v4|-v5)?(?: \(.*\))?$")

References = Mapping[str, Mapping[str, float]]


def upper(references: Mapping[str, float]) -> float | None:
    """The score that counts as 1; None where it or random play is not known."""
    top = next((references[name] for name in _UPPER if name in references), None)
    return top if _RANDOM in references and top != references[_RANDOM] else None


def packaged() -> dict[str, dict[str, float]]:
    """References that come with the package: Atari's games, and the project's own environments."""
    text = (files("rllib_rnd.analysis.results") / _PACKAGED).read_text(encoding="utf-8")
    return parsed(text, _PACKAGED)


def from_file(path: Path) -> dict[str, dict[str, float]]:
    """A user's references.

    Args:
        path: CSV with a column ``task`` and any columns of numbers. ``random`` with ``human`` or ``heuristic``
            normalise scores; every column is a line in the curves of its task.

    Raises:
        ConfigError: it cannot be read, or is no such table.
    """
    where = f"--references {path}"
    try:
        text = path.read_text(encoding="utf-8-sig")  # as spreadsheets write it
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(where, f"cannot be read: {reason}") from error
    return parsed(text, where)


def parsed(text: str, where: str) -> dict[str, dict[str, float]]:
    """References by name, by task.

    Raises:
        ConfigError: no column ``task``, or a cell that is no number.
    """
    reader = csv.DictReader(text.splitlines())
    if "task" not in (reader.fieldnames or ()):
        raise ConfigError(where, "has no column 'task'", "a CSV file with the columns task, random, human, ...")
    found: dict[str, dict[str, float]] = {}
    for line, row in enumerate(reader, start=2):
        task = row.pop("task")
        for name, cell in row.items():
            if name and cell and cell.strip():
                found.setdefault(task, {})[name] = _number(cell, f"{where}, line {line}, {name}")
    return found


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(where, f"{cell!r} is no number", "a finite number")
    return value


def references_of(task: str, known: References) -> dict[str, float]:
    """What is known of a task, by its name or, for Atari, by its game."""
    if task in known:
        return dict(known[task])
    game = _GAME.match(task)
    return dict(known.get(game["name"], {})) if game else {}
