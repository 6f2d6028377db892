"""What scores say: task by task, and over all tasks. They may come of runs or of a table of somebody's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from rllib_rnd.analysis.results.content import Question, Section
from rllib_rnd.analysis.results.figures.chart import Chart
from rllib_rnd.analysis.results.figures.charts import (
    aggregates_chart,
    improvement_chart,
    points_chart,
    profile_chart,
)
from rllib_rnd.analysis.results.references import upper
from rllib_rnd.analysis.results.scores import ScoreTable
from rllib_rnd.analysis.results.statistics import (
    AGGREGATES,
    FEWEST_SEEDS,
    RESAMPLES,
    Estimate,
    enough,
    estimate,
    improvement,
    iqm,
    mean_of_runs,
    normalised,
    profile_band,
    standard_error,
    winners,
    wins,
)
from rllib_rnd.analysis.results.tables import PlusMinus, Row, Table

_MOST_PANELS = 24  # tasks that are drawn one by one
_MOST_VARIANTS = 6  # of which every pair is compared
_THRESHOLDS = 81
_RAW = ("iqm", "mean")  # aggregates that mean something without a scale from 0 to 1, of one task


def present(values: np.ndarray) -> np.ndarray:
    """The runs that have a score."""
    return values[np.isfinite(values)]


def spread(values: np.ndarray) -> PlusMinus:
    """Mean and standard error; of fewer than three runs without the error."""
    if not len(values):
        return PlusMinus(math.nan, math.nan)
    return PlusMinus(mean_of_runs(values), standard_error(values) if len(values) >= FEWEST_SEEDS else math.nan)


def means_of(table: ScoreTable) -> dict[str, dict[str, float]]:
    """The mean over runs by variant, by task."""
    return {
        task: {name: spread(present(values)).mean for name, values in row.items()} for task, row in table.scores.items()
    }


def normalised_table(table: ScoreTable) -> ScoreTable:
    """The tasks whose references are known, with scores from 0 (random) to 1 (human, heuristic)."""
    scores: dict[str, Mapping[str, np.ndarray]] = {}
    for task, row in table.scores.items():
        references = table.references.get(task, {})
        top = upper(references)
        if top is not None:
            scores[task] = {name: normalised(values, references["random"], top) for name, values in row.items()}
    return ScoreTable(f"normalised {table.metric}", scores, {}, table.groups, table.statistic)


# --- task by task ---------------------------------------------------------------------------------------------------


def task_section(table: ScoreTable) -> Section:
    """Section 2: mean ± standard error, best, IQM, winner, normalised scores, win counts."""
    if not any(len(present(values)) for row in table.scores.values() for values in row.values()):
        return Section("tasks", "Task by task", left_out=f"No run has a value of {table.metric}.")
    tables = [means_table(table)]
    if len(table.variants) > 1 and len(table.tasks) > 1:
        tables.append(wins_table(table))
    if table.groups:
        tables.append(group_table(table))
    charts: list[Chart] = []
    lines = _about_scores(table)
    if any(len(values) > 1 for row in table.scores.values() for values in row.values()):
        shown = {
            task: {name: present(values) for name, values in table.scores[task].items()}
            for task in table.tasks[:_MOST_PANELS]
        }
        lines += [f"Drawn are the first {len(shown)} of {len(table.tasks)} tasks."] * (len(shown) < len(table.tasks))
        charts.append(points_chart("points", f"{table.metric} of every run", shown, table.variants, table.metric))
    return Section("tasks", "Task by task", tuple(lines), tuple(charts), tuple(tables), (detail_table(table),))


def _about_scores(table: ScoreTable) -> list[str]:
    """What a score is, and of how many runs."""
    what = {"last": "the last value", "mean": "the mean over the whole training", "best": "the best value"}
    known = what.get(table.statistic)
    of = "a run" if table.metric == "score" else f"{table.metric} of a run"
    lines = [f"A score is {known} of {of}." if known else "Scores are those of the table."]
    fewest = min(len(present(values)) for row in table.scores.values() for values in row.values())
    if fewest < FEWEST_SEEDS:
        lines.append(
            f"Some variants have fewer than {FEWEST_SEEDS} seeds: they are shown as points, without an error or an "
            "interval."
        )
    return lines


def means_table(table: ScoreTable) -> Table:
    """One row per task: mean ± standard error of each variant, and who wins."""
    means, best = means_of(table), set()
    rows: list[Row] = []
    for r, task in enumerate(table.tasks):
        first = winners(means[task]) if len(table.variants) > 1 else []
        cells = [spread(present(table.scores[task].get(name, np.empty(0)))) for name in table.variants]
        rows.append((task, *cells, *([" = ".join(first) or "-"] if len(table.variants) > 1 else [])))
        best |= {(r, 1 + i) for i, name in enumerate(table.variants) if name in first}
    winner = ("winner",) if len(table.variants) > 1 else ()
    errors = any(isinstance(cell, PlusMinus) and not math.isnan(cell.error) for row in rows for cell in row)
    note = "Mean over seeds ± standard error." if errors else ""
    if winner:
        note = f"{note} The winner has the largest mean; equal means are all named, and one alone wins nothing.".strip()
    return Table("tasks", table.metric, ("task", *table.variants, *winner), tuple(rows), note, frozenset(best))


def wins_table(table: ScoreTable) -> Table:
    """Tasks won by each variant alone, and those that it shares the best mean of."""
    means = means_of(table)
    alone = wins(means)
    shared: Counter[str] = Counter()
    for row in means.values():
        first = winners(row)
        shared.update(first if len(first) > 1 else ())
    contested = {name: sum(name in row for row in fought(means)) for name in table.variants}
    rows = tuple((name, alone.get(name, 0), shared[name], contested[name]) for name in table.variants)
    most = max(count for _, count, _, _ in rows)
    best = frozenset((r, 1) for r, row in enumerate(rows) if most and row[1] == most)
    note = "A tie is nobody's win. Tasks are those that another variant has a score of, too."
    return Table("wins", "Tasks won", ("variant", "wins", "ties", "tasks"), rows, note, best)


def fought(means: Mapping[str, Mapping[str, float]]) -> list[dict[str, float]]:
    """The means, by variant, of the tasks that two variants or more have a score of."""
    known = [{name: value for name, value in row.items() if not math.isnan(value)} for row in means.values()]
    return [row for row in known if len(row) > 1]


def ranked(table: ScoreTable) -> list[str]:
    """Variants, best first: by their mean over tasks of the place in each task's order, then of the score.

    Those that are alone on their tasks come behind, and last those without a score.
    """
    means = means_of(table)
    against_others = fought(means)

    def place(name: str) -> tuple[int, float, float]:
        known = [row for row in against_others if name in row]
        scores = [row[name] for row in known or means.values() if np.isfinite(row.get(name, np.nan))]
        if not scores:
            return 2, 0.0, 0.0
        places = [float(np.mean([other > row[name] for other in row.values()])) for row in known]
        return (0, float(np.mean(places)), -float(np.mean(scores))) if known else (1, 0.0, -float(np.mean(scores)))

    return sorted(table.variants, key=place)


def group_table(table: ScoreTable) -> Table:
    """Tasks won by each variant, by group of tasks."""
    means = means_of(table)
    groups: dict[str, list[str]] = {}
    for task in table.tasks:
        groups.setdefault(table.groups.get(task, ""), []).append(task)
    rows: list[Row] = []
    best = set()
    for r, (group, tasks) in enumerate(groups.items()):
        alone = wins({task: means[task] for task in tasks})
        most = max(alone.values())
        cells = [f"{alone.get(name, 0)} ({alone.get(name, 0) / len(tasks):.1%})" for name in table.variants]
        rows.append((group or "-", len(tasks), *cells))
        best |= {(r, 2 + i) for i, name in enumerate(table.variants) if most and alone.get(name) == most}
    note = "Wins, and their share of the group's tasks."
    columns = ("group", "tasks", *table.variants)
    return Table("wins_by_group", "Tasks won, by group", columns, tuple(rows), note, frozenset(best))


def detail_table(table: ScoreTable) -> Table:
    """One row per task and variant."""
    scaled = normalised_table(table)
    rows: list[Row] = []
    for task, row in table.scores.items():
        for name, every in row.items():
            values = present(every)
            numbers = spread(values)
            scores = scaled.scores.get(task, {}).get(name)
            rows.append(
                (
                    task,
                    name,
                    len(values),
                    numbers,
                    float(values.max()) if len(values) else None,
                    float(iqm([values])) if len(values) >= FEWEST_SEEDS else None,
                    None if scores is None else spread(present(scores)),
                )
            )
    columns = ("task", "variant", "seeds", "mean", "best", "iqm", "normalised")
    note = "Normalised: 0 is random play, 1 a human or a heuristic, where both are known."
    return Table("scores", "Every variant on every task", columns, tuple(rows), note)


# --- over tasks -----------------------------------------------------------------------------------------------------


def shared(table: ScoreTable) -> dict[str, list[np.ndarray]]:
    """Scores by variant, one array for each task that every variant has played."""
    common = [
        task
        for task, row in table.scores.items()
        if all(len(present(row.get(name, np.empty(0)))) for name in table.variants)
    ]
    return {name: [present(table.scores[task][name]) for task in common] for name in table.variants}


def overall_section(table: ScoreTable, question: Question) -> Section:
    """Section 3: aggregates with intervals, performance profiles, pairwise probability of improvement."""
    raw, scaled = shared(table), normalised_table(table)
    tasks = len(next(iter(raw.values()), []))
    if not tasks:
        return Section("overall", "Over all tasks", left_out="No task was played by every variant.")
    one = len(table.tasks) == 1
    by_variant = shared(scaled) if scaled.scores else raw if one else {}
    lines = [_coverage(table, tasks)]
    charts: list[Chart] = []
    tables: list[Table] = []
    if by_variant and any(len(scores) for scores in by_variant.values()):
        label = scaled.metric if scaled.scores else table.metric
        names = tuple(AGGREGATES) if scaled.scores else _RAW
        found = aggregates(by_variant, names, question.seed)
        tables.append(aggregates_table(found, label))
        charts.append(aggregates_chart("aggregates", f"aggregates of {label}", found, table.variants))
        charts.append(_profiles(by_variant, label, question.seed))
        if scaled.scores and len(scaled.scores) < len(table.tasks):
            known = f"{len(scaled.scores)} of {len(table.tasks)}"
            lines.append(f"Aggregates are of the tasks whose references are known: {known}.")
    else:
        lines.append(
            "No aggregates and profiles: the tasks have no references to normalise their scores by (--references)."
        )
    if len(table.variants) > 1:
        pairs = improvements({name: raw[name] for name in ranked(table)}, question)  # as in the verdict
        tables.append(improvement_table(pairs))
        charts.append(improvement_chart("improvement", "probability of improvement of pairs of variants", pairs))
    if not all(enough(scores) for scores in raw.values()):
        lines.append(f"Intervals need {FEWEST_SEEDS} seeds of every task; without them there are points only.")
    else:
        lines.append(
            f"Intervals are of 95 %, from {RESAMPLES:,} resamples of the seeds within each task (seed {question.seed})."
        )
    return Section("overall", "Over all tasks", tuple(lines), tuple(charts), tuple(tables))


def _coverage(table: ScoreTable, tasks: int) -> str:
    if tasks == len(table.tasks):
        return f"Of {tasks} task{'s' * (tasks > 1)}."
    return f"Of the {tasks} tasks of {len(table.tasks)} that every variant played."


def aggregates(
    by_variant: Mapping[str, Sequence[np.ndarray]], names: Sequence[str], seed: int
) -> dict[str, dict[str, Estimate]]:
    """Estimates by variant, by aggregate."""
    return {
        name: {variant: estimate(AGGREGATES[name], scores, seed) for variant, scores in by_variant.items()}
        for name in names
    }


def aggregates_table(found: Mapping[str, Mapping[str, Estimate]], label: str) -> Table:
    """One row per variant; less is better of the optimality gap alone."""
    variants = list(next(iter(found.values())))
    rows: tuple[Row, ...] = tuple((variant, *(found[name][variant] for name in found)) for variant in variants)
    best = set()
    for i, (name, estimates) in enumerate(found.items()):
        sign = -1.0 if name == "optimality_gap" else 1.0
        first = winners({variant: sign * estimates[variant].value for variant in variants})
        best |= {(r, 1 + i) for r, variant in enumerate(variants) if variant in first and len(variants) > 1}
    note = "Less is better of the optimality gap." if "optimality_gap" in found else ""
    return Table("aggregates", f"Aggregates of {label}", ("variant", *found), rows, note, frozenset(best))


def _profiles(by_variant: Mapping[str, Sequence[np.ndarray]], label: str, seed: int) -> Chart:
    pooled = np.concatenate([task for scores in by_variant.values() for task in scores])
    low, high = float(pooled.min()), float(np.percentile(pooled, 98))
    room = 0.05 * (high - low) or 1.0
    thresholds = np.linspace(low - room, high + room, _THRESHOLDS)
    bands = {variant: profile_band(scores, thresholds, seed) for variant, scores in by_variant.items()}
    return profile_chart("profiles", f"share of runs above each {label}", thresholds, bands, list(by_variant), label)


def improvements(by_variant: Mapping[str, Sequence[np.ndarray]], question: Question) -> dict[str, Estimate]:
    """Probability of improvement by "a > b": over the baseline, else of each over those behind it.

    Args:
        by_variant: scores, in the order of the variants; of many only the first is compared with the others.
        question: with the baseline, if any.
    """
    variants, base = list(by_variant), question.baseline
    if base is not None:
        pairs = [(name, base) for name in variants if name != base]
    else:
        firsts = variants if len(variants) <= _MOST_VARIANTS else variants[:1]
        pairs = [(a, b) for i, a in enumerate(firsts) for b in variants[i + 1 :]]
    return {f"{a} > {b}": improvement(by_variant[a], by_variant[b], question.seed) for a, b in pairs}


def improvement_table(pairs: Mapping[str, Estimate]) -> Table:
    """One row per pair."""
    rows: tuple[Row, ...] = tuple((*pair.split(" > ", 1), found) for pair, found in pairs.items())
    note = "How probably a run of the first scores more than one of the second on the same task; 0.5 is no difference."
    return Table("improvement", "Probability of improvement", ("variant", "over", "probability"), rows, note)
