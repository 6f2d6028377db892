"""What a soak keeps in its folder for a later call and for the report."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class State:
    """What a later call needs to know of an earlier one.

    Attributes:
        seconds: so far.
        lives: drivers that were started.
        faults: that were placed.
        floors: as of `problems_of_rows`; by text, as JSON has it.
        problems: (second, what was wrong).
    """

    seconds: float = 0.0
    lives: int = 0
    faults: int = 0
    floors: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    @staticmethod
    def read(out: Path) -> State:
        """The state that a soak's folder holds."""
        path = out / "state.json"
        return State(**json.loads(path.read_text())) if path.is_file() else State()


def rounded(row: Mapping[str, object]) -> dict[str, object]:
    """A row with numbers of two digits; nothing where there is none."""
    return {k: round(v, 2) if isinstance(v, float) else "" if v is None else v for k, v in row.items()}


def append(path: Path, rows: list[dict[str, object]]) -> None:
    """Writes rows behind those of a file, whose first line has the names."""
    if not rows:
        return
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)
