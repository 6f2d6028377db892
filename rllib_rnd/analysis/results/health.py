"""Section 6: is the bonus alive, do features move, is the policy still random, what was skipped, what did it cost."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from rllib_rnd.analysis.results.content import Section, in_order
from rllib_rnd.analysis.results.curves import Curve, curve_of
from rllib_rnd.analysis.results.figures.chart import Chart, short
from rllib_rnd.analysis.results.figures.charts import Panel, curves_chart
from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.run import MACHINE_MEMORY, SECONDS_PER_HOUR, Run, finals
from rllib_rnd.analysis.results.tables import Cell, Row, Table

#: What is watched over training, in this order: short names, of further rewards with their number behind.
WATCHED = (
    "intrinsic_reward_mean",
    "intrinsic_reward_normalized_mean",
    "explained_variance_extrinsic",
    "explained_variance_intrinsic",
    "entropy",
    "approx_kl",
    "clip_fraction",
    "grad_norm",
)
# What plug-ins tell of features that are learned: how far they move, how far they are apart.
_FEATURES = re.compile(r"(drift|feature_std|feature_spread|feature_norm|collapse)")
_SKIPPED = ("nonfinite_updates", "broken_observations")  # counts since the start
_RESTARTS = ("env_failures", "hanging_env_runners", "env_runner_restarts")
_SPLIT = ("sample_s", "learn_s", "sync_s")
DEAD_BONUS = 0.01  # of its first tenth: a bonus below that share is spent
_MOST_CHARTS = 2  # tasks that are drawn


def health_section(tasks: Mapping[str, Sequence[Variant]], names: Sequence[str]) -> Section:
    """Charts of what is watched, and tables of how it ended and what it cost."""
    runs = [run for variants in tasks.values() for variant in variants for run in variant.runs]
    metrics = watched_of(runs)
    charts: list[Chart] = []
    for i, (task, variants) in enumerate(list(tasks.items())[:_MOST_CHARTS]):
        panels = [panel for name in metrics if (panel := _panel(variants, names, name)) is not None]
        if panels:
            name = f"health_{i + 1}" if len(tasks) > 1 else "health"
            charts.append(curves_chart(name, f"health of training on {task}", panels, names, _where(task, tasks)))
    cost = cost_table(tasks)
    if not metrics and not cost.rows:
        return Section("health", "Health", left_out="The runs tell nothing of it.")
    lines = [line for task, variants in tasks.items() for line in _bonuses(task, variants, len(tasks) > 1)]
    if len(tasks) > _MOST_CHARTS:
        lines.append(f"Drawn are the first {_MOST_CHARTS} of {len(tasks)} tasks; the tables have all.")
    tables = [ended_table(tasks, names, metrics)] if metrics else []
    return Section("health", "Health", tuple(lines), tuple(charts), (cost, *tables))


def _where(task: str, tasks: Mapping[str, object]) -> str:
    return task if len(tasks) > 1 else ""


def watched_of(runs: Sequence[Run]) -> list[str]:
    """The metrics that some run knows: `WATCHED`, those of further rewards, and what plug-ins tell of features."""
    known = list(dict.fromkeys(name for run in runs for name in run.metrics))
    found = [name for first in WATCHED for name in sorted(known) if re.fullmatch(rf"{first}(_\d+)?", name)]
    return found + sorted(name for name in known if _FEATURES.search(name) and name not in found)


def _panel(variants: Sequence[Variant], names: Sequence[str], metric: str) -> Panel | None:
    curves: tuple[Curve | None, ...] = tuple(
        curve_of(variant.name, variant.runs, metric, "agent steps") if variant else None
        for variant in in_order(variants, names)
    )
    return Panel(short(metric, 44), "agent steps", "", curves) if any(curves) else None


def _bonuses(task: str, variants: Sequence[Variant], named: bool) -> list[str]:
    """Whether the bonus of each variant still pays, against what it paid in the first tenth of training."""
    words = []
    for variant in variants:
        shares = [share for run in variant.runs if (share := bonus_left(run)) is not None]
        if shares:
            share = float(np.mean(shares))
            state = "spent" if share < DEAD_BONUS else "alive"
            words.append(f"{variant.name} {share:.3g} times ({state})")
    where = f" on {task}" if named else ""
    return (
        [f"The raw bonus at the end is, of what it was in the first tenth{where}: {', '.join(words)}."] if words else []
    )


def bonus_left(run: Run) -> float | None:
    """The mean raw bonus in the last tenth of training over that in the first tenth; None without a bonus."""
    steps, bonus = run.metrics.get("agent_steps"), run.metrics.get("intrinsic_reward_mean")
    if steps is None or bonus is None or not np.isfinite(bonus).any():
        return None
    known = np.isfinite(bonus)
    steps, bonus = steps[known], bonus[known]
    tenth = 0.1 * (steps[-1] - steps[0])
    first, last = bonus[steps <= steps[0] + tenth].mean(), bonus[steps >= steps[-1] - tenth].mean()
    return float(last / first) if first > 0 else None


def ended_table(tasks: Mapping[str, Sequence[Variant]], names: Sequence[str], metrics: Sequence[str]) -> Table:
    """One row per task and metric: the mean over runs of the last value."""
    rows: list[Row] = []
    for task, variants in tasks.items():
        for metric in metrics:
            cells = [_mean(finals(v.runs, metric)) if v else None for v in in_order(variants, names)]
            if any(cell is not None for cell in cells):
                rows.append((task, metric, *cells) if len(tasks) > 1 else (metric, *cells))
    columns = (*(("task",) if len(tasks) > 1 else ()), "metric", *names)
    return Table("health", "How it ended", columns, tuple(rows), "Last values, mean over runs.")


def cost_table(tasks: Mapping[str, Sequence[Variant]]) -> Table:
    """One row per task and variant: what was skipped, restarts, where time went, memory, speed, cost."""
    rows: list[Row] = []
    for task, variants in tasks.items():
        for variant in variants:
            rows.append((*((task,) if len(tasks) > 1 else ()), variant.name, *_cost(variant.runs)))
    columns = ("variant", "skipped updates", "restarts", "sample / learn / sync", "peak memory", "steps/s", "hours")
    columns = (*(("task",) if len(tasks) > 1 else ()), *columns, "core-hours")
    note = (
        "Skipped updates and restarts (resumed runs, environments made anew) are sums over runs, hours and core-hours "
        "too; core-hours are hours times the cores of the machine, where they are known. Memory is the most that was "
        "in use on the machine, by whatever ran there."
    )
    return Table("cost", "Troubles and cost", columns, tuple(rows), note)


def _cost(runs: Sequence[Run]) -> tuple[Cell, ...]:
    told = any(name in run.metrics for run in runs for name in _SKIPPED)
    skipped = sum(_count(run, name) for run in runs for name in _SKIPPED) if told else None
    restarts = sum(run.resumed + sum(_count(run, name) for name in _RESTARTS) for run in runs)
    hours = [run.final("time_total_s") / SECONDS_PER_HOUR for run in runs]
    cores = [_cores(run) for run in runs]
    paid = [h * c for h, c in zip(hours, cores, strict=True) if c is not None and math.isfinite(h)]
    memory = [float(np.nanmax(v)) for run in runs if _any(v := run.metrics.get(MACHINE_MEMORY, np.empty(0)))]
    known = [h for h in hours if math.isfinite(h)]
    return (
        skipped,
        restarts,
        _split(runs),
        f"{max(memory):.0f}%" if memory else None,
        _mean(np.array([_speed(run) for run in runs])),
        sum(known) if known else None,
        sum(paid) if len(paid) == len(runs) else None,
    )


def _count(run: Run, metric: str) -> int:
    value = run.final(metric)
    return int(value) if math.isfinite(value) else 0


def _cores(run: Run) -> float | None:
    try:
        return float(run.provenance["cores"])
    except (KeyError, ValueError):
        return None


def _split(runs: Sequence[Run]) -> str | None:
    """Shares of sampling, learning and weight transport."""
    seconds = [sum(float(np.nansum(run.metrics.get(name, np.zeros(1)))) for run in runs) for name in _SPLIT]
    total = sum(seconds)
    return " / ".join(f"{part / total:.0%}" for part in seconds) if total > 0 else None


def _speed(run: Run) -> float:
    """Agent steps per second over the whole run."""
    seconds = run.final("time_total_s")
    return run.agent_steps / seconds if seconds > 0 else math.nan


def _mean(values: np.ndarray) -> float | None:
    return float(np.nanmean(values)) if _any(values) else None


def _any(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())
