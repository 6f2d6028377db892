"""A table of results and the ways it is written: for people, as CSV, as LaTeX, as JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rllib_rnd.analysis.results.statistics import Estimate, decimals

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

_NOTHING = "-"
_EQUAL = 1e-12  # of a mean: an error below that share is what floating point leaves of equal numbers
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass(frozen=True)
class PlusMinus:
    """A mean over runs.

    Attributes:
        mean: NaN where there is no run.
        error: its standard error; NaN where there are too few runs for one.
    """

    mean: float
    error: float

    def __str__(self) -> str:
        if math.isnan(self.error):
            return number(self.mean)
        if self.error <= _EQUAL * max(1.0, abs(self.mean)):
            return f"{number(self.mean)} ± 0"
        digits = decimals(self.error)
        return f"{self.mean:,.{digits}f} ± {self.error:,.{digits}f}"


Cell = str | int | float | Estimate | PlusMinus | None
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Rows of one kind.

    Attributes:
        name: of its files, without a suffix.
        title: above it.
        columns: headings.
        rows: as many cells each as there are columns; None is shown as a dash.
        note: below it.
        best: places (row, column) that are set in bold.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    best: frozenset[tuple[int, int]] = field(default_factory=frozenset)


def number(value: float) -> str:
    """A number for people: 4 digits that count, thousands separated, a dash for none."""
    if math.isnan(value):
        return _NOTHING
    if abs(value) >= 1000 or (isinstance(value, int) and not isinstance(value, bool)):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def shown(cell: Cell) -> str:
    """A cell for people."""
    if cell is None:
        return _NOTHING
    if isinstance(cell, (int, float)):
        return number(cell)
    return str(cell)


def is_number(cell: Cell) -> bool:
    """Whether a cell stands to the right."""
    return not isinstance(cell, str)


def csv_text(table: Table) -> str:
    """As CSV, numbers whole; of an interval or an error each number has a column."""
    spread = [_parts(table, column) for column in range(len(table.columns))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        f"{name}_{part}" if part else name for name, parts in zip(table.columns, spread, strict=True) for part in parts
    )
    for row in table.rows:
        writer.writerow(_plain(cell, part) for cell, parts in zip(row, spread, strict=True) for part in parts)
    return text.getvalue()


def _parts(table: Table, column: int) -> tuple[str, ...]:
    """The columns that a column of a table becomes in CSV, by what is added to its name."""
    cells = [row[column] for row in table.rows]
    if any(isinstance(cell, Estimate) for cell in cells):
        return ("", "low", "high")
    return ("", "error") if any(isinstance(cell, PlusMinus) for cell in cells) else ("",)


def _plain(cell: Cell, part: str) -> str | int | float:
    value: object = cell
    if isinstance(cell, Estimate):
        value = {"": cell.value, "low": cell.low, "high": cell.high}[part]
    elif isinstance(cell, PlusMinus):
        value = cell.error if part else cell.mean
    elif part:
        value = None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    assert isinstance(value, (str, int, float))
    return value


def latex_text(table: Table) -> str:
    r"""As a ``tabular`` with booktabs' rules (``\usepackage{booktabs}``)."""
    numbers = [all(is_number(row[i]) for row in table.rows) for i in range(len(table.columns))]
    lines = [
        f"% {' '.join(table.title.split())}",
        r"\begin{tabular}{" + "".join("r" if right else "l" for right in numbers) + "}",
        r"\toprule",
        _latex_row([_latex(name) for name in table.columns]),
        r"\midrule",
    ]
    for r, row in enumerate(table.rows):
        cells = [_latex(shown(cell)) for cell in row]
        lines.append(_latex_row([rf"\textbf{{{c}}}" if (r, i) in table.best else c for i, c in enumerate(cells)]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def json_of(table: Table) -> dict[str, Json]:
    """As JSON: a list of rows by column; NaN is null."""
    return {
        "title": table.title,
        "note": table.note,
        "rows": [{name: _json(cell) for name, cell in zip(table.columns, row, strict=True)} for row in table.rows],
    }


def _json(cell: Cell) -> Json:
    if isinstance(cell, Estimate):
        return {"value": _json(cell.value), "low": _json(cell.low), "high": _json(cell.high)}
    if isinstance(cell, PlusMinus):
        return {"mean": _json(cell.mean), "standard_error": _json(cell.error)}
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def markdown_lines(table: Table) -> list[str]:
    """As a table in Markdown, without its title."""
    rows = [
        [f"**{shown(cell)}**" if (r, i) in table.best else shown(cell) for i, cell in enumerate(row)]
        for r, row in enumerate(table.rows)
    ]
    written = [f"| {' | '.join(cells)} |" for cells in (table.columns, *rows)]
    return [written[0], "|" + "---|" * len(table.columns), *written[1:]]
