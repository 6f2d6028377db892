"""Tables and figures of the bonus check."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.report import commits, document, read, section
from experiments.run_report import (
    METRIC,
    Columns,
    Task,
    blocks_of_runs,
    last_value,
    measured,
    per_variant,
    runs_of,
    save,
    there,
    variants_in,
)
from rllib_rnd.analysis.results.figures.chart import Chart
from rllib_rnd.analysis.results.figures.charts import points_chart
from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.score_sections import spread
from rllib_rnd.analysis.results.statistics import steps_to
from rllib_rnd.analysis.results.tables import Cell, PlusMinus

HERE = Path(__file__).parent
NONE = "none"  # no reward but the game's
NOISY_TV = "noisy_tv"


def results(rewards: Sequence[str], tasks: Mapping[str, Task]) -> str:
    """The text of results.md.

    Args:
        rewards: in the order of the tables.
        tasks: by name of the CSV file and the figure.
    """
    sections = []
    speed = read(path) if (path := HERE / "speed.csv").exists() else None
    for name, task, variants in there(HERE, tasks, rewards):
        extra: dict[str, Mapping[str, Cell]] = {"positions seen": means_of(variants, "positions_visited")}
        costs: list[list[str]] = []
        if speed is not None and len(own := speed[speed.study == name]):
            extra["cost of an iteration, times none"] = costs_of(own)
            costs = [[f"Cost: code: commit {commits(own)}."]]
        table, *blocks = blocks_of_runs(name, task, variants, extra=extra)
        sections.append(section(task.title, table, *costs, *blocks))
    if (path := HERE / f"{NOISY_TV}.csv").exists():
        variants = variants_in(path, rewards)
        sections.append(section("Noisy TV", noisy_tv_table(variants), measured(runs_of(variants))))
    return document(HERE, "Does every intrinsic reward work at all? Results", *sections)


def draw(rewards: Sequence[str], tasks: Mapping[str, Task]) -> None:
    """The figures."""
    for name, task, variants in there(HERE, tasks, rewards):
        save(steps_figure(name, task, variants), HERE)


def means_of(variants: Sequence[Variant], metric: str) -> dict[str, PlusMinus]:
    """The last value of a metric, by variant."""
    return {variant.name: spread(np.array([run.final(metric) for run in variant.runs])) for variant in variants}


def costs_of(speed: pd.DataFrame) -> dict[str, float]:
    """How long an iteration takes, against one without a reward, by reward; of several runs the fastest counts."""
    seconds = (speed.sample_s + speed.learn_s).groupby(speed.variant).min()
    return {str(reward): round(float(value), 2) for reward, value in (seconds / seconds[NONE]).items()}


def noisy_tv_table(variants: Sequence[Variant]) -> list[str]:
    """One row per reward: its return, how often it watches, and what noise is paid."""
    columns: Columns = {
        "runs": {variant.name: len(variant.runs) for variant in variants},
        "return at the end": {v.name: spread(np.array([last_value(run) for run in v.runs])) for v in variants},
        "watching": means_of(variants, "tv_share"),
        "bonus of noise": means_of(variants, "tv_bonus"),
    }
    return per_variant([variant.name for variant in variants], columns)


def steps_figure(name: str, task: Task, variants: Sequence[Variant]) -> Chart:
    """Agent steps until solved, a point per solved run; beside each reward, how many of its runs there are."""
    assert task.enough is not None
    points = {}
    for variant in variants:
        found = [steps_to(run.metrics["agent_steps"], run.metrics[METRIC], task.enough) for run in variant.runs]
        solved = [steps for steps, there in found if there]
        points[f"{variant.name} ({len(solved)} of {len(variant.runs)})"] = np.array(solved, dtype=np.float64)
    title = re.split("[,:]", task.title)[0]
    return points_chart(name, task.title, {title: points}, list(points), "agent steps until solved")
