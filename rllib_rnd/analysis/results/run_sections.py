"""What runs did on their way: curves, steps to a threshold, exploration, and what differs between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rllib_rnd.analysis.results.content import Question, Section, Switch, in_order
from rllib_rnd.analysis.results.curves import AXES, axis_values, curve_of
from rllib_rnd.analysis.results.figures.chart import Chart, Picture, short
from rllib_rnd.analysis.results.figures.charts import Panel, curves_chart, survival_chart
from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.references import References
from rllib_rnd.analysis.results.run import Run, finals
from rllib_rnd.analysis.results.statistics import FEWEST_SEEDS, Survival, steps_to, survival
from rllib_rnd.analysis.results.tables import Table, number
from rllib_rnd.envs.info import PLACES

_MOST_PANELS = 24
_MOST_MARKS = 8  # references that are drawn as lines
Tasks = Mapping[str, Sequence[Variant]]


def curves_section(tasks: Tasks, names: Sequence[str], question: Question, references: References) -> Section:
    """Section 4: the metric against agent steps, frames and hours; steps to a threshold."""
    shown = dict(list(tasks.items())[:_MOST_PANELS])
    lines = [
        "Thick lines are means over seeds, with their standard error, as far as every seed goes; thin lines are single "
        f"runs. Of fewer than {FEWEST_SEEDS} seeds there are single runs only."
    ]
    if len(shown) < len(tasks):
        lines.append(f"Drawn are the first {len(shown)} of {len(tasks)} tasks; the table below has all.")
    charts: dict[str, Chart] = {}
    for axis in AXES:
        panels = _panels(shown, names, question.metric, axis, references)
        if panels:
            charts[axis] = curves_chart(
                f"curves_{axis.replace(' ', '_')}", f"{question.metric} against {axis}", panels, names
            )
    missing = [axis for axis in AXES if axis not in charts]
    if missing:
        lines.append(f"Not against {' or '.join(missing)}: no run tells them.")
    if not charts:
        return Section("curves", "Curves", left_out=f"No run has a curve of {question.metric}.")
    thresholds = {task: threshold_of(variants, question) for task, variants in tasks.items()}
    found = {task: survivals(tasks[task], question.metric, level) for task, level in thresholds.items()}
    lines.append(_about_threshold(question))
    chosen = {task: level for task, level in thresholds.items() if math.isfinite(level)}
    if len(chosen) < len(tasks):
        lines.append(
            f"No run got beyond where runs began on {', '.join(task for task in tasks if task not in chosen)}."
        )
    falling, tables = _efficiency(found, chosen, list(shown), names, question.metric) if chosen else ((), ())
    return Section("curves", "Curves", tuple(lines), (Switch("axis", charts), *falling), tables)


def _efficiency(
    found: Mapping[str, Mapping[str, Survival]],
    thresholds: Mapping[str, float],
    shown: Sequence[str],
    names: Sequence[str],
    metric: str,
) -> tuple[tuple[Chart, ...], tuple[Table, ...]]:
    """Agent steps to the threshold of each task: a chart of those that are shown, and a table of all."""
    titles = {f"{short(task, 34)} ≥ {number(thresholds[task])}": found[task] for task in shown if task in thresholds}
    alt = "share of runs that have not reached the threshold, against agent steps"
    caption = "Runs that never reach it count as long as they were watched (Kaplan and Meier)."
    chart = survival_chart("steps_to_threshold", alt, titles, names, caption)
    table = efficiency_table({task: found[task] for task in thresholds}, thresholds, metric)
    return (chart,), (table,)


def _panels(
    tasks: Tasks, names: Sequence[str], metric: str, axis: str, references: References | None = None
) -> list[Panel]:
    """A panel per task in which some run knows the axis and the metric."""
    panels = []
    for task, variants in tasks.items():
        curves = tuple(
            curve_of(variant.name, variant.runs, metric, axis) if variant else None
            for variant in in_order(variants, names)
        )
        marks = dict(list((references or {}).get(task, {}).items())[:_MOST_MARKS])
        if any(curves):
            panels.append(Panel(short(task, 44), axis, metric, curves, marks))
    return panels


def threshold_of(variants: Sequence[Variant], question: Question) -> float:
    """What is enough: as asked, or half way from where runs begin to where the best variant ends; NaN: no such way."""
    if question.threshold is not None:
        return question.threshold
    ends = [np.nanmean(ends) for v in variants if np.isfinite(ends := finals(v.runs, question.metric)).any()]
    begins = [_first(run, question.metric) for variant in variants for run in variant.runs]
    if not ends or max(ends) <= np.nanmean(begins):
        return math.nan
    return float(0.5 * (np.nanmean(begins) + max(ends)))


def _first(run: Run, metric: str) -> float:
    values = run.metrics.get(metric, np.empty(0))
    known = values[np.isfinite(values)]
    return float(known[0]) if len(known) else math.nan


def _about_threshold(question: Question) -> str:
    if question.threshold is not None:
        return f"Sample efficiency is to {question.metric} of {number(question.threshold)}."
    return (
        "Sample efficiency is to half way from where runs begin to where the best variant ends; --threshold names what "
        "is enough."
    )


def survivals(variants: Sequence[Variant], metric: str, threshold: float) -> dict[str, Survival]:
    """When the runs of each variant reach a threshold; those without a result were never watched."""
    found = {}
    for variant in variants:
        reached = []
        for run in variant.runs:
            if not run.agent_steps:
                continue
            steps, values = run.metrics["agent_steps"], run.metrics.get(metric)
            reached.append(steps_to(steps, np.full(len(steps), math.nan) if values is None else values, threshold))
        found[variant.name] = survival([steps for steps, _ in reached], [there for _, there in reached])
    return found


def efficiency_table(
    found: Mapping[str, Mapping[str, Survival]], thresholds: Mapping[str, float], metric: str
) -> Table:
    """One row per task and variant."""
    rows = tuple(
        (task, thresholds[task], name, f"{s.reached} of {s.runs}", None if s.median is None else int(s.median))
        for task, variants in found.items()
        for name, s in variants.items()
    )
    note = "Agent steps after which half of the runs are there; a dash where they never were."
    columns = ("task", "threshold", "variant", "reached", "median agent steps")
    return Table("steps_to_threshold", f"Agent steps to a {metric}", columns, rows, note)


# --- exploration ----------------------------------------------------------------------------------------------------


def exploration_section(tasks: Tasks, names: Sequence[str], maps: Sequence[Picture] = ()) -> Section:
    """Section 5: places and rooms over time, first visits, maps where checkpoints hold them."""
    charts: list[Chart] = []
    rows = []
    for kind in PLACES:
        metric = f"{kind}s_visited"
        panels = _panels(dict(list(tasks.items())[:_MOST_PANELS]), names, metric, "agent steps")
        if panels:
            charts.append(curves_chart(metric, f"{metric} against agent steps", panels, names))
        for task, variants in tasks.items():
            rows += [row for variant in variants if (row := _places_row(task, variant, metric)) is not None]
    if not charts and not maps:
        return Section("exploration", "Exploration", left_out="The tasks tell no rooms or positions.")
    columns = ("task", "variant", "metric", "mean at the end", "most", "agent steps to half of it")
    note = "Agent steps to half: when a run had seen half of what it saw in all, mean over seeds."
    table = Table("exploration", "Places seen", columns, tuple(rows), note)
    return Section("exploration", "Exploration", (), (*charts, *maps), (table,) if rows else ())


def _places_row(task: str, variant: Variant, metric: str) -> tuple[str, str, str, float, float, float] | None:
    ends = finals(variant.runs, metric)
    if not np.isfinite(ends).any():
        return None
    halves = []
    for run, end in zip(variant.runs, ends, strict=True):
        if np.isfinite(end):
            halves.append(steps_to(run.metrics["agent_steps"], run.metrics[metric], 0.5 * end)[0])
    return task, variant.name, metric, float(np.nanmean(ends)), float(np.nanmax(ends)), float(np.mean(halves))


# --- what differs ---------------------------------------------------------------------------------------------------


def differences_section(tasks: Tasks) -> Section:
    """Section 7: settings that differ between variants; commit, versions, hardware and command of each run."""
    variants = list({v.name: v for group in tasks.values() for v in group}.values())
    keys = list(dict.fromkeys(key for variant in variants for key in variant.settings))
    tables = []
    lines: tuple[str, ...] = ("The variants differ in nothing that was set.",)
    if keys and len(variants) > 1:
        lines = ("Only what differs; all else is the same in every variant.",)
        rows = tuple((key, *(_words(variant.settings.get(key)) for variant in variants)) for key in keys)
        tables.append(Table("settings", "Settings", ("setting", *(v.name for v in variants)), rows))
    elif len(variants) == 1:
        lines = ("There is one variant.",)
    runs = [(variant.name, run) for group in tasks.values() for variant in group for run in variant.runs]
    return Section("differences", "What differs, and where it was run", lines, (), tuple(tables), _run_tables(runs))


def _words(value: object) -> str:
    return "-" if value is None else str(value)


def _run_tables(runs: Sequence[tuple[str, Run]]) -> tuple[Table, ...]:
    """State, and origin, of each run."""
    states = tuple(
        (
            run.name,
            run.task,
            variant,
            "-" if run.seed is None else str(run.seed),
            run.state,
            run.agent_steps,
            run.budget,
            run.resumed,
            _hours(run),
        )
        for variant, run in runs
    )
    columns = ("run", "task", "variant", "seed", "state", "agent steps", "budget", "resumed", "hours")
    note = "Resumed: how many times the run was gone on with."
    keys = list(dict.fromkeys(key for _, run in runs for key in run.provenance))
    origin = tuple((run.name, run.source, *(run.provenance.get(key, "-") for key in keys)) for _, run in runs)
    return (
        Table("runs", "Runs", columns, states, note),
        Table("provenance", "Where each run comes from", ("run", "source", *keys), origin),
    )


def _hours(run: Run) -> float | None:
    hours = axis_values(run, "hours")
    return None if hours is None or not np.isfinite(hours).any() else float(np.nanmax(hours))
