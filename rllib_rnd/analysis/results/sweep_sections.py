"""What a sweep says: its best configuration, how much each setting matters, and all that was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rllib_rnd.analysis.results.content import Question, Section
from rllib_rnd.analysis.results.figures.parallel import parallel_chart
from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.score_sections import spread
from rllib_rnd.analysis.results.statistics import FEWEST_SEEDS
from rllib_rnd.analysis.results.sweep import Importance, Setting, Sweep, importance, sweeps_of
from rllib_rnd.analysis.results.tables import Cell, Row, Table, number, shown

_MOST_SWEEPS = 6  # that are told of
_MOST_AXES = 8  # settings in one figure
_BEST = 5  # variants in the table of the best
_NOTHING = 0.1  # R² of a forest, below which it has learned nothing
_UNEQUAL = 1.05  # the longest run over the shortest, from which their lengths are called unequal


def sweep_sections(tasks: Mapping[str, Sequence[Variant]], question: Question) -> tuple[Section, ...]:
    """One section where a task's runs are of a sweep, none elsewhere."""
    sweeps = sweeps_of(tasks, question.metric)
    if not sweeps:
        return ()
    lines: list[str] = []
    charts, tables = [], []
    for i, sweep in enumerate(sweeps[:_MOST_SWEEPS]):
        end = f"_{i + 1}" if len(sweeps) > 1 else ""
        title = f": {sweep.experiment} on {sweep.task}" if len(sweeps) > 1 else ""
        found = importance(sweep, question.seed)
        shares = found.shares
        lines += _words(sweep, question.metric, found)
        if np.ptp(sweep.means) == 0.0:
            continue
        tables += [settings_table(sweep, shares, end, title), best_table(sweep, question.metric, end, title)]
        axes = sorted(sweep.settings, key=lambda setting: -shares.get(setting.name, 0.0))[:_MOST_AXES]
        left_out = len(sweep.settings) - len(axes)
        caption = (
            "One line per variant, the best one thick; colour: its score, from low (blue) to high (orange). Equal "
            "values meet at one height; lines that go the same way lie on each other, the better ones above."
        )
        if left_out:
            caption += f" Left out are the {left_out} settings that matter least."
        alt = f"settings and {question.metric} of every variant of {sweep.experiment}"
        charts.append(parallel_chart(f"sweep{end}", alt, axes, question.metric, sweep.means, caption))
    if len(sweeps) > _MOST_SWEEPS:
        lines.append(f"These are the first {_MOST_SWEEPS} of {len(sweeps)} sweeps.")
    if any("importance" in table.columns for table in tables):
        lines.append(
            f"Importance is Optuna's (fANOVA, seed {question.seed}): how much of the differences in score a setting "
            "explains by itself, within the range that was drawn. All settings together make 1."
        )
    if charts and any(len(scores) < FEWEST_SEEDS for sweep in sweeps for scores in sweep.scores):
        lines.append("The best of many single runs is also a lucky one: run it again with other seeds.")
    return (Section("sweep", "Sweep", tuple(lines), tuple(charts), tuple(tables)),)


def _words(sweep: Sweep, metric: str, found: Importance) -> list[str]:
    """The best variant, how far importance is to be believed, what was left out."""
    means, first = sweep.means, sweep.ranked[0]
    if np.ptp(means) == 0.0:
        return [
            f"All {len(means)} variants of {sweep.experiment} on {sweep.task} have the same {metric}: none is best."
        ]
    ties = int(np.sum(means == means[first]))
    settings = ", ".join(f"{setting.name}={_value(setting, first)}" for setting in sweep.settings[:_MOST_AXES])
    shared = f", as {ties - 1} more" if ties > 1 else ""
    lines = [
        f"Best of {len(means)} variants of {sweep.experiment} on {sweep.task}: {settings} "
        f"({metric} {spread(sweep.scores[first])}{shared})."
    ]
    if found.reason:
        lines.append(f"No importance of settings: {found.reason}.")
    elif found.predicted < _NOTHING:
        lines.append(
            "Do not believe the importance: of runs that it has not seen, its forest predicts the score no better "
            f"than their mean does (R² {found.predicted:.2f}). It takes more runs."
        )
    else:
        lines.append(
            f"The forest behind the importance explains {found.predicted:.0%} of the differences between runs that "
            "it has not seen (R²)."
        )
    if sweep.unscored:
        lines.append(f"Left out: {sweep.unscored} without a value of {metric}.")
    steps = [run.agent_steps for variant in sweep.variants for run in variant.runs if run.agent_steps]
    if steps and max(steps) > _UNEQUAL * min(steps):
        lines.append("Runs that ended earlier than others are scored where they ended.")
    return lines


def settings_table(sweep: Sweep, shares: Mapping[str, float], end: str = "", title: str = "") -> Table:
    """One row per setting, the most important first: its best value, what was drawn, its importance."""
    first, names = sweep.ranked[0], list(shares)
    settings = sorted(sweep.settings, key=lambda s: names.index(s.name) if s.name in shares else len(names))
    rows: list[Row] = []
    for setting in settings:
        cells: tuple[Cell, ...] = (setting.name, _cell(setting, first), _drawn(setting))
        rows.append((*cells, shares[setting.name]) if shares else cells)
    columns = ("setting", "best", "drawn", *(["importance"] if shares else []))
    note = "Of settings that change during a run (population based training) those at its end count."
    return Table(f"sweep_settings{end}", f"Best configuration{title}", columns, tuple(rows), note)


def best_table(sweep: Sweep, metric: str, end: str = "", title: str = "") -> Table:
    """The best variants with their settings; equal means share a place."""
    means, rows = sweep.means, []
    for i in sweep.ranked[:_BEST]:
        place = 1 + int(np.sum(means > means[i]))
        score = spread(sweep.scores[i])
        rows.append((place, score, len(sweep.scores[i]), *(_cell(setting, i) for setting in sweep.settings)))
    columns = ("place", metric, "runs", *(setting.name for setting in sweep.settings))
    best = frozenset((r, 1) for r, row in enumerate(rows) if row[0] == 1)
    return Table(f"sweep_best{end}", f"The {len(rows)} best of {len(means)}{title}", columns, tuple(rows), "", best)


def _cell(setting: Setting, i: int) -> Cell:
    """The value of a variant; whole numbers without a point."""
    value = setting.values[i]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _value(setting: Setting, i: int) -> str:
    return shown(_cell(setting, i)).replace(",", "") if setting.numeric else str(setting.values[i])


def _drawn(setting: Setting) -> str:
    """All values where they are few, else the range, or how many."""
    values = setting.different()
    words = [number(value) if isinstance(value, float) else value for value in values]
    if setting.few:
        return ", ".join(words)
    return f"{words[0]} to {words[-1]}" if setting.numeric else f"{len(words)} different"
