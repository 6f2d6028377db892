"""What the reports of studies share: tables, figures, and the lines that say how the data was measured.

A results.md holds nothing else: what is to be said about the numbers stands in the study's README.md, by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from experiments.provenance import measurements
from rllib_rnd.analysis.results.tables import Table, markdown_lines

COLORS = ("#0b6e99", "#b3541e", "#3d8b37", "#7a3e9d", "#8a8a8a")


def read(path: Path) -> pd.DataFrame:
    """A study's CSV file; a variant called NA is no missing number, a commit of digits no number."""
    return pd.read_csv(path, keep_default_na=False, na_values=["", "nan"], dtype={"commit": str})


def document(folder: Path, title: str, *sections: list[str]) -> str:
    """The text of a results.md.

    Args:
        folder: the study's, with its provenance.
        title: the heading.
        sections: lines of Markdown.
    """
    made = [f"Measured with `{m['command']}` on {m['hardware']}." for m in measurements(folder)]
    lines = [f"# {title}", "", *made, "", "How to read this: [README.md](README.md)."]
    return "\n".join([*lines, *_blocks(sections), ""])


def section(title: str, *blocks: list[str]) -> list[str]:
    """Blocks under a heading."""
    return [f"## {title}", *_blocks(blocks)]


def folded(summary: str, *blocks: list[str]) -> list[str]:
    """Blocks that are shown on demand."""
    return [f"<details><summary>{summary}</summary>", *_blocks(blocks), "", "</details>"]


def _blocks(blocks: Iterable[list[str]]) -> list[str]:
    """Each after an empty line."""
    return [line for block in blocks for line in ("", *block)]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table, its cells as they are written."""
    cells = tuple(tuple(str(cell) for cell in row) for row in rows)
    return markdown_lines(Table("", "", tuple(head), cells))


def image(title: str, name: str) -> list[str]:
    """A figure of the study's folder."""
    return [f"![{title}]({name})"]


def commits(frame: pd.DataFrame) -> str:
    """Of the code that measured."""
    return ", ".join(sorted(set(frame.commit)))


def save(figure: Figure, path: Path) -> None:
    """Writes and closes a figure."""
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
