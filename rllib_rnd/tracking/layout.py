"""Fitting what a display shows into the columns of a terminal: what matters least goes first, nothing is cut in two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

_GAP = 3


@dataclass(frozen=True)
class Part:
    """A piece of text.

    Attributes:
        rank: 0 is the most important; the highest goes first.
        text: what is shown.
    """

    rank: int
    text: str


def fit_line(parts: Sequence[Part], width: int, separator: str = ", ") -> str:
    """Returns the parts as one line that has at most ``width`` cells."""
    kept = [part for part in parts if part.text]
    while len(kept) > 1 and cell_len(separator.join(part.text for part in kept)) > width:
        kept.remove(max(reversed(kept), key=lambda part: part.rank))
    return shorten(separator.join(part.text for part in kept), width)


def fit_grid(parts: Sequence[Part], width: int, rows: int) -> list[list[str]]:
    """Returns the parts as rows of as many columns as fit, at most so many rows.

    A part that is wider than the whole is shortened.
    """
    kept = list(parts)
    while kept:
        texts = [shorten(part.text, width) for part in kept]
        columns = next(n for n in range(min(6, len(texts)), 0, -1) if n == 1 or _grid_width(texts, n) <= width)
        if -(-len(texts) // columns) <= rows:
            return [texts[start : start + columns] for start in range(0, len(texts), columns)]
        kept.remove(max(reversed(kept), key=lambda part: part.rank))
    return []


def _grid_width(texts: Sequence[str], columns: int) -> int:
    return sum(max(map(cell_len, texts[i::columns])) + _GAP for i in range(columns)) - _GAP


def fit_columns(ranks: Sequence[int], widths: Sequence[int], width: int, gap: int = 2) -> list[int]:
    """Returns the numbers of the columns of a table that fit side by side."""
    kept = list(range(len(ranks)))
    while len(kept) > 1 and sum(widths[i] + gap for i in kept) - gap > width:
        kept.remove(max(reversed(kept), key=lambda i: ranks[i]))
    return kept


def shorten(text: str, width: int) -> str:
    """Returns the text in at most ``width`` cells, its end replaced by dots."""
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 3)).rstrip() + "..."[:width]
