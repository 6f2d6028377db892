"""What the reports of studies share: tables, figures, and the lines that say how the data was measured.

A results.md holds nothing else: what is to be said about the numbers stands in the study's README.md, by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from experiments.provenance import measurements

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
    """A Markdown table."""
    lines = [head, *rows]
    written = [f"| {' | '.join(str(cell) for cell in cells)} |" for cells in lines]
    return [written[0], "|" + "---|" * len(head), *written[1:]]


def image(title: str, name: str) -> list[str]:
    """A figure of the study's folder."""
    return [f"![{title}]({name})"]


def measured(frame: pd.DataFrame) -> list[str]:
    """Seeds, steps and commit of runs."""
    seeds = ", ".join(str(seed) for seed in sorted(frame.seed.unique()))
    runs = len(frame.groupby(["variant", "size", "seed"]))
    steps = f"at most {int(frame.agent_steps.max()):,} agent steps each"
    return [f"Seeds: {seeds}; runs: {runs}, {steps}; code: commit {commits(frame)}."]


def commits(frame: pd.DataFrame) -> str:
    """Of the code that measured."""
    return ", ".join(sorted(set(frame.commit)))


def last_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The state in which every run ended, with its agent steps per second as ``rate``."""
    last = frame.groupby(["variant", "size", "seed"], as_index=False).last()
    return last.assign(rate=last.agent_steps / last.seconds)


def solved(last: pd.DataFrame, enough: float) -> str:
    """How many runs ended with a mean return that is enough."""
    return f"{(last.return_mean >= enough).sum()} of {len(last)}"


def frames(folder: Path, names: Iterable[str]) -> dict[str, pd.DataFrame]:
    """What has been measured, of the CSV files of these names."""
    return {name: read(path) for name in names if (path := folder / f"{name}.csv").exists()}


def sections_of_runs(
    folder: Path, titles: Mapping[str, str], summary: Callable[[pd.DataFrame], list[str]] | None = None
) -> Iterator[list[str]]:
    """One section per CSV file of runs that is there.

    Args:
        folder: the study's.
        titles: by name of the CSV file and the figure.
        summary: makes the table that stands above that of all runs.
    """
    for name, frame in frames(folder, titles).items():
        above = [] if summary is None else [summary(frame)]
        yield section(titles[name], *above, runs_table(frame), measured(frame), image(titles[name], f"{name}.png"))


def draw_runs(folder: Path, titles: Mapping[str, str]) -> None:
    """The figures of `sections_of_runs`."""
    for name, frame in frames(folder, titles).items():
        draw_returns(frame, folder / f"{name}.png", titles[name])


def runs_table(frame: pd.DataFrame) -> list[str]:
    """One row per run: the state in which it ended."""
    head = ("variant", "N", "seed", "agent steps", "mean return (last 100 episodes)", "seconds")
    rows = last_rows(frame).itertuples()
    return table(
        head,
        (
            (r.variant, r.size or "-", r.seed, f"{r.agent_steps:,}", f"{r.return_mean:.3g}", f"{r.seconds:.0f}")
            for r in rows
        ),
    )


def draw_returns(frame: pd.DataFrame, path: Path, title: str) -> None:
    """Mean return against agent steps, one line per run."""
    figure, axes = plt.subplots(figsize=(7, 4))
    colors = dict(zip(sorted(frame.variant.unique(), reverse=True), COLORS, strict=False))
    for (variant, _), rows in frame.groupby(["variant", "seed"]):
        axes.plot(rows.agent_steps, rows.return_mean, color=colors[variant], alpha=0.8, lw=1.4)
    for variant, color in colors.items():
        axes.plot([], [], color=color, label=f"{variant} ({frame.seed.nunique()} seeds)")
    axes.set(xlabel="agent steps", ylabel="mean return", title=title)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Writes and closes a figure."""
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
