"""One or two sentences made from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rllib_rnd.analysis.results.content import Question
from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.score_sections import (
    fought,
    means_of,
    normalised_table,
    present,
    ranked,
    shared,
    spread,
)
from rllib_rnd.analysis.results.scores import ScoreTable, more_is_better
from rllib_rnd.analysis.results.statistics import FEWEST_SEEDS, Estimate, estimate, improvement, iqm, winners, wins
from rllib_rnd.analysis.results.tables import number

_MOST_NAMED = 4


def verdict(table: ScoreTable, question: Question, tasks: Mapping[str, Sequence[Variant]] | None = None) -> list[str]:
    """What came out, and of how much.

    Args:
        table: scores of all runs.
        question: metric, threshold and baseline.
        tasks: the runs behind them, where there are any: they tell of thresholds and the budget.

    Returns:
        Sentences; the last is about seeds and budget.
    """
    if not any(len(present(values)) for row in table.scores.values() for values in row.values()):
        return [f"No run has a value of {table.metric} yet."]
    order = ranked(table)
    sentences = [_solved(tasks, order, question)] if question.threshold is not None and tasks else []
    if len(order) > 1:
        one, other = _pair(order, question)
        sentences.append(_compared(table, one, other, question))
        if question.threshold is None or not tasks:
            sentences.insert(0, _best(table, order))
    elif not sentences:
        sentences.append(_alone(table, order[0], question))
    return [*sentences, _amount(table, tasks)]


def _pair(order: Sequence[str], question: Question) -> tuple[str, str]:
    """The best and what it is compared with."""
    if question.baseline is None:
        return order[0], order[1]
    best = next(name for name in order if name != question.baseline)
    return best, question.baseline


def _solved(tasks: Mapping[str, Sequence[Variant]], order: Sequence[str], question: Question) -> str:
    """How many seeds reached the threshold."""
    words: list[str] = []
    for name in order[:_MOST_NAMED]:
        runs = [
            run for variants in tasks.values() for variant in variants if variant.name == name for run in variant.runs
        ]
        values = [run.metrics.get(question.metric, np.empty(0)) for run in runs]
        reached = sum(bool((v >= question.threshold).any()) for v in values)
        seeds = "seeds" if len(tasks) == 1 else "runs"
        first = f" {seeds}" if not words else ""
        words.append(f"{name} {'reaches it ' if not words else ''}with {reached} of {len(runs)}{first}")
    return f"{question.metric} of {number(float(question.threshold or 0))}: {_some(words, len(order))}."


def _some(words: Sequence[str], count: int) -> str:
    """The first of so many, and how many are left out."""
    left = count - len(words)
    return ", ".join(words) + (f", and {left} more in the table" if left > 0 else "")


def _best(table: ScoreTable, order: Sequence[str]) -> str:
    """Who has the largest mean, of one task or of most."""
    means = means_of(table)
    if len(table.tasks) == 1:
        row, (task,) = table.scores[table.tasks[0]], table.tasks
        first = winners(means[task])
        if not first:
            return f"Of {order[0]} alone there is a {table.metric}: {spread(present(row[order[0]]))}."
        if len(first) > 1:
            value = number(means[task][first[0]])
            return f"{_and(first)} are tied for the {_first(table.metric)} {table.metric} ({value})."
        numbers = [f"{name} {spread(present(row[name]))}" for name in order[1:_MOST_NAMED]]
        numbers.insert(0, f"{spread(present(row[first[0]]))}")
        return f"{first[0]} has the {_first(table.metric)} {table.metric}: {_some(numbers, len(order))}."
    counts, tasks = wins(means), len(fought(means))
    if not tasks:
        return "No task has scores of two variants: there is nothing to compare."
    most = sorted(order, key=lambda name: -counts[name])
    words = _some([f"{name} {counts[name]}" for name in most[1:_MOST_NAMED]], len(most) - 1)
    if not counts[most[0]]:
        return f"Of {_tasks(tasks)} none is won by one variant alone."
    if counts[most[0]] == counts[most[1]]:
        tied = [name for name in most if counts[name] == counts[most[0]]]
        return f"{_and(tied)} win most tasks, {counts[most[0]]} of {tasks} each."
    return f"{most[0]} wins {counts[most[0]]} of {_tasks(tasks)} ({words})."


def _tasks(count: int) -> str:
    return f"{count} task{'s' * (count != 1)}"


def _first(metric: str) -> str:
    """What the largest value of a metric is: of most metrics more is not better."""
    return "best" if more_is_better(metric) else "largest"


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _compared(table: ScoreTable, one: str, other: str, question: Question) -> str:
    """Probability of improvement of one over the other, and what its interval means."""
    pair = ScoreTable(
        table.metric,
        {task: {name: row[name] for name in (one, other) if name in row} for task, row in table.scores.items()},
    )
    scores = shared(pair)
    if not scores.get(one):
        return f"{one} and {other} have no task in common."
    found = improvement(scores[one], scores[other], question.seed)
    return f"Probability of improvement of {one} over {other}: {found}{_meaning(found)}."


def _meaning(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return ", without an interval: too few seeds"
    if found.low <= 0.5 <= found.high:
        return ", which does not tell them apart"
    return "" if found.value > 0.5 else ": most of its runs score less"


def _alone(table: ScoreTable, name: str, question: Question) -> str:
    """One variant: its mean, or the aggregate over tasks."""
    if len(table.tasks) == 1:
        return f"{name} ends with a {table.metric} of {spread(present(table.scores[table.tasks[0]][name]))}."
    scaled = normalised_table(table)
    scores = shared(scaled).get(name, [])
    if not scores:
        return f"{name} was run on {len(table.tasks)} tasks."
    return f"IQM of the {scaled.metric} of {name} over {len(scores)} tasks: {estimate(iqm, scores, question.seed)}."


def _amount(table: ScoreTable, tasks: Mapping[str, Sequence[Variant]] | None) -> str:
    """Seeds and budget, and what too few seeds forbid."""
    counts = sorted({len(present(values)) for row in table.scores.values() for values in row.values()})
    few, many = counts[0], counts[-1]
    if tasks is None and many == 1:
        return "One score of each variant on each task: points, with no interval."
    seeds = f"{few} seed{'s' * (few != 1)} each" if few == many else f"{few} to {many} seeds each"
    words = [seeds]
    runs = [run for variants in (tasks or {}).values() for variant in variants for run in variant.runs]
    if runs:
        steps = sorted(run.agent_steps for run in runs if run.agent_steps)
        played = f"{steps[0]:,}" if steps[0] == steps[-1] else f"{steps[0]:,} to {steps[-1]:,}"
        words.append(f"{played} agent steps played")
        budgets = sorted({run.budget for run in runs if run.budget is not None})
        if budgets:
            asked = f"{budgets[0]:,}" if len(budgets) == 1 else f"{budgets[0]:,} to {budgets[-1]:,}"
            words.append(f"of a budget of {asked}")
    ending = "." if few >= FEWEST_SEEDS else f"; fewer than {FEWEST_SEEDS} seeds are shown as points, with no interval."
    return f"{', '.join(words[:2])}{' ' + words[2] if len(words) > 2 else ''}{ending}"
