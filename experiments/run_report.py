"""What the reports of runs share: their tables and figures, made by the code of ``rllib report``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.report import folded, image
from rllib_rnd.analysis.results.content import Question
from rllib_rnd.analysis.results.curves import curve_of
from rllib_rnd.analysis.results.figures.chart import Chart
from rllib_rnd.analysis.results.figures.charts import Panel, curves_chart
from rllib_rnd.analysis.results.groups import Variant, grouped
from rllib_rnd.analysis.results.run import Run
from rllib_rnd.analysis.results.run_sections import efficiency_table, survivals
from rllib_rnd.analysis.results.runs import load_runs
from rllib_rnd.analysis.results.score_sections import detail_table, improvement_table, improvements, shared, spread
from rllib_rnd.analysis.results.scores import ScoreTable
from rllib_rnd.analysis.results.tables import Cell, Row, Table, markdown_lines

METRIC = "return_mean"
#: Cells by variant, by heading.
Columns = Mapping[str, Mapping[str, Cell]]


def last_value(run: Run) -> float:
    """The mean return with which a run ended."""
    return run.final(METRIC)


@dataclass(frozen=True)
class Task:
    """The runs of one task, which are in a CSV file of a study.

    Attributes:
        title: of its section and its figure.
        enough: the mean return that ends a run; None: all runs are as long, and are compared by their scores.
        references: what scores are held against, by name: lines in the figure.
        score: what a run is worth.
        score_name: heading of that.
    """

    title: str
    enough: float | None = None
    references: Mapping[str, float] = field(default_factory=dict)
    score: Callable[[Run], float] = last_value
    score_name: str = "mean return"


def variants_in(path: Path, order: Sequence[str] = ()) -> list[Variant]:
    """The variants of a CSV file of runs of one task.

    Args:
        path: of the file.
        order: names in the order of tables and figures; others follow by name.
    """
    places = {name: place for place, name in enumerate(order)}
    found = [variant for variants in grouped(load_runs([str(path)])).values() for variant in variants]
    return sorted(found, key=lambda variant: (places.get(variant.name, len(places)), variant.name))


def runs_of(variants: Sequence[Variant]) -> list[Run]:
    """All their runs."""
    return [run for variant in variants for run in variant.runs]


# --- tables ---------------------------------------------------------------------------------------------------------


def scores_table(task: Task, variants: Sequence[Variant]) -> ScoreTable:
    """A score per run."""
    scores = {variant.name: np.array([task.score(run) for run in variant.runs]) for variant in variants}
    return ScoreTable(METRIC, {task.title: scores}, {task.title: task.references})


def summary(task: Task, variants: Sequence[Variant], extra: Columns | None = None) -> list[str]:
    """One row per variant: its scores, when it solved the task, what a study adds, and its speed."""
    scores = scores_table(task, variants)
    known = ("normalised",) if {"random", "heuristic"} <= set(task.references) else ()
    lowest = {name: float(values.min()) for name, values in scores.scores[task.title].items()}
    columns = columns_of(detail_table(scores), "seeds", "mean", "best", *known)
    columns = {"seeds": columns["seeds"], task.score_name: columns.pop("mean"), "lowest": lowest} | columns
    if task.enough is not None:
        found = {task.title: survivals(variants, METRIC, task.enough)}
        table = efficiency_table(found, {task.title: task.enough}, METRIC)
        columns |= columns_of(table, "reached", "median agent steps")
    speed = {variant.name: spread(np.array([steps_per_second(run) for run in variant.runs])) for variant in variants}
    return per_variant([variant.name for variant in variants], {**columns, **(extra or {}), "steps/s": speed})


def pairs(task: Task, variants: Sequence[Variant]) -> list[str]:
    """How probably each variant is better than each other; nothing of runs that end as soon as they are good enough."""
    if task.enough is not None or len(variants) < 2:
        return []
    return markdown_lines(improvement_table(improvements(shared(scores_table(task, variants)), Question())))


def columns_of(table: Table, *names: str) -> dict[str, Mapping[str, Cell]]:
    """Columns of a table that has a row per variant."""
    variant = table.columns.index("variant")
    places = {name: table.columns.index(name) for name in names}
    return {name: {str(row[variant]): row[place] for row in table.rows} for name, place in places.items()}


def per_variant(variants: Sequence[str], columns: Columns) -> list[str]:
    """A table of one row per variant; a cell that is not there is a dash."""
    rows = tuple((name, *(cells.get(name) for cells in columns.values())) for name in variants)
    return markdown_lines(Table("", "", ("variant", *columns), rows))


def every_run(variants: Sequence[Variant]) -> list[str]:
    """One row per run: the state in which it ended."""
    rows: list[Row] = [
        (variant.name, str(run.seed), run.agent_steps, last_value(run), round(run.final("time_total_s")))
        for variant in variants
        for run in variant.runs
    ]
    columns = ("variant", "seed", "agent steps", "mean return (last 100 episodes)", "seconds")
    return markdown_lines(Table("", "", columns, tuple(rows)))


def steps_per_second(run: Run) -> float:
    """Agent steps over the time that they took."""
    return run.agent_steps / run.final("time_total_s")


def median_speed(variants: Sequence[Variant]) -> dict[str, Mapping[str, Cell]]:
    """A column for those whose runs shared the machine with other work, which the mean would be of."""
    medians = {v.name: float(np.median([steps_per_second(run) for run in v.runs])) for v in variants}
    return {"median steps/s": medians}


def measured(runs: Sequence[Run]) -> list[str]:
    """Seeds, steps and commit of runs."""
    seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in runs if run.seed is not None}))
    code = ", ".join(sorted({run.provenance["commit"] for run in runs}))
    steps = f"at most {max(run.agent_steps for run in runs):,} agent steps each"
    return [f"Seeds: {seeds}; runs: {len(runs)}, {steps}; code: commit {code}."]


# --- figures --------------------------------------------------------------------------------------------------------


def curves_figure(name: str, task: Task, variants: Sequence[Variant]) -> Chart:
    """Mean return against agent steps, under the name of its file."""
    lines = tuple(curve_of(variant.name, variant.runs, METRIC, "agent steps") for variant in variants)
    panel = Panel(task.title, "agent steps", "mean return", lines, task.references)
    return curves_chart(name, task.title, [panel], [variant.name for variant in variants])


def save(chart: Chart, folder: Path) -> None:
    """Writes a figure of the report as a PNG file."""
    name = f"{chart.name}.png"
    (folder / name).write_bytes(chart.files()[name])


# --- whole studies --------------------------------------------------------------------------------------------------


def there(
    folder: Path, tasks: Mapping[str, Task], order: Sequence[str] = ()
) -> Iterator[tuple[str, Task, list[Variant]]]:
    """What has been measured: the names of CSV files, with their runs."""
    for name, task in tasks.items():
        if (path := folder / f"{name}.csv").exists():
            yield name, task, variants_in(path, order)


def blocks_of_runs(name: str, task: Task, variants: Sequence[Variant], extra: Columns | None = None) -> list[list[str]]:
    """Tables, figure and origin of the runs of a task."""
    blocks = [summary(task, variants, extra), pairs(task, variants), measured(runs_of(variants))]
    return [*filter(None, blocks), image(task.title, f"{name}.png"), folded("Every run", every_run(variants))]
