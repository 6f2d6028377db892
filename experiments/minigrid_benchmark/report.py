"""Tables and figures of the MiniGrid benchmark, honest with what is not there yet."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.minigrid_benchmark.tasks import REWARDS, SEARCH_TASK, SEEDS, TASKS, Task
from experiments.report import document, folded, image, section, table
from experiments.run_report import METRIC, columns_of, measured, per_variant, runs_of, save, variants_in
from rllib_rnd.analysis.results.curves import curve_of
from rllib_rnd.analysis.results.figures.chart import Chart
from rllib_rnd.analysis.results.figures.charts import Panel, curves_chart
from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.run import SECONDS_PER_HOUR, Run
from rllib_rnd.analysis.results.run_sections import efficiency_table, survivals
from rllib_rnd.analysis.results.score_sections import aggregates, aggregates_table, shared
from rllib_rnd.analysis.results.scores import ScoreTable
from rllib_rnd.analysis.results.statistics import FEWEST_SEEDS, Estimate, estimate, iqm
from rllib_rnd.analysis.results.tables import Cell, markdown_lines, number

HERE = Path(__file__).parent
PUBLISHED = HERE / "published.csv"
FIGURE = "curves"
SEARCH = "search"
_LAST = 0.9  # a run's score is its mean return after this share of its budget


@dataclass(frozen=True)
class Published:
    """A number of others.

    Attributes:
        task: a name of `TASKS`.
        system: who played.
        agent_steps: that it took, or that it was given.
        mean_return: at their end; None where it is not told.
        source: where it stands.
        note: what it is a number of.
    """

    task: str
    system: str
    agent_steps: int
    mean_return: float | None
    source: str
    note: str


def published() -> list[Published]:
    """What is known of others."""
    with PUBLISHED.open(newline="") as file:
        return [
            Published(
                row["task"],
                row["system"],
                int(float(row["agent_steps"])),
                float(row["mean_return"]) if row["mean_return"] else None,
                row["source"],
                row["note"],
            )
            for row in csv.DictReader(file)
        ]


def score(run: Run) -> float:
    """The mean return over the last tenth of a run's agent steps."""
    steps, returns = run.metrics["agent_steps"], run.metrics[METRIC]
    return float(np.nanmean(returns[steps > _LAST * steps[-1]]))


def found(folder: Path = HERE) -> dict[str, list[Variant]]:
    """The runs of each task that has some, cut to the task's budget."""
    there = {}
    for name, task in TASKS.items():
        if (path := folder / f"{name}.csv").exists():
            variants = [cut(variant, task.budget) for variant in variants_in(path, list(REWARDS))]
            there[name] = [variant for variant in variants if variant.runs]
    return there


def longer(folder: Path = HERE) -> dict[str, list[Variant]]:
    """Runs that were given more than their task's budget, one variant for each budget."""
    there: dict[str, list[Variant]] = {}
    for name, task in TASKS.items():
        if not (path := folder / f"{name}.csv").exists():
            continue
        for variant in variants_in(path, list(REWARDS)):
            for budget in sorted({run.budget for run in variant.runs if run.budget}):
                runs = tuple(run for run in variant.runs if run.budget == budget)
                if budget > task.budget:
                    label = f"{variant.name}, {millions(budget)}"
                    there.setdefault(name, []).append(Variant(label, runs, variant.settings))
    return there


def cut(variant: Variant, budget: int) -> Variant:
    """Its runs as they stood after so many agent steps; shorter ones are left out."""
    runs = [run for run in variant.runs if run.agent_steps >= budget]
    return Variant(variant.name, tuple(_cut(run, budget) for run in runs), variant.settings)


def _cut(run: Run, budget: int) -> Run:
    """To the first row that has the whole budget: an iteration overshoots."""
    steps = run.metrics["agent_steps"]
    whole = run.cut(float(steps[np.flatnonzero(steps >= budget)[0]]))
    return dataclasses.replace(whole, budget=budget)


def millions(agent_steps: float) -> str:
    """For people."""
    return f"{agent_steps / 1e6:.3g} M"


# --- tables ---------------------------------------------------------------------------------------------------------


def scores(variants: Sequence[Variant]) -> dict[str, np.ndarray]:
    """A score per run, by variant."""
    return {variant.name: np.array([score(run) for run in variant.runs]) for variant in variants}


def seeds_told(variant: Variant) -> str:
    """How many of the seeds that are planned are there."""
    return f"{len(variant.runs)} of {len(SEEDS)}"


def steps_per_second(variant: Variant) -> float:
    """Agent steps over the CPU time that they took."""
    return sum(run.agent_steps for run in variant.runs) / sum(run.final("cpu_s") for run in variant.runs)


def task_table(task: Task, variants: Sequence[Variant]) -> list[str]:
    """One row per reward."""
    names = [variant.name for variant in variants]
    by_name = scores(variants)
    survival = {task.title: survivals(variants, METRIC, task.threshold)}
    times = columns_of(
        efficiency_table(survival, {task.title: task.threshold}, METRIC), "reached", "median agent steps"
    )
    columns: dict[str, Mapping[str, Cell]] = {
        "seeds": {v.name: seeds_told(v) for v in variants},
        "budget": {v.name: millions(v.runs[0].budget or 0) for v in variants},
        "return (IQM)": {name: estimate(iqm, [values]) for name, values in by_name.items()},
        "lowest": {name: float(values.min()) for name, values in by_name.items()},
        "best": {name: float(values.max()) for name, values in by_name.items()},
        f"reached {task.threshold:g}": times["reached"],
        "after agent steps (median)": times["median agent steps"],
        "steps/s of a core": {v.name: round(steps_per_second(v)) for v in variants},
        "core-hours, all seeds": {
            v.name: round(sum(r.final("cpu_s") for r in v.runs) / SECONDS_PER_HOUR, 2) for v in variants
        },
    }
    return per_variant(names, columns)


def published_table(name: str, task: Task) -> list[str]:
    """What others reached, and how many times our budget they had."""
    rows = [
        (
            other.system,
            "-" if other.mean_return is None else number(other.mean_return),
            millions(other.agent_steps),
            f"{other.agent_steps / task.budget:.2g}",
            other.note,
            other.source,
        )
        for other in published()
        if other.task == name
    ]
    head = ("others", "return", "agent steps", "times our budget", "what it is", "source")
    return table(head, rows) if rows else []


def overview(tasks: Mapping[str, Sequence[Variant]]) -> list[str]:
    """One row per reward, one column per task: return, seeds and budget in each cell."""
    columns: dict[str, Mapping[str, Cell]] = {}
    for name, variants in tasks.items():
        values = scores(variants)
        columns[TASKS[name].title] = {v.name: overview_cell(v, estimate(iqm, [values[v.name]])) for v in variants}
    return per_variant(list(REWARDS), columns)


def overview_cell(variant: Variant, value: Estimate) -> str:
    """A number that is of fewer seeds than planned says so."""
    return f"{value} ({seeds_told(variant)} seeds, {millions(variant.runs[0].budget or 0)})"


def over_all(tasks: Mapping[str, Sequence[Variant]]) -> list[str]:
    """IQM over the runs of all tasks that every reward has seeds enough of, with stratified bootstrap intervals."""
    whole = {
        TASKS[name].title: scores(variants)
        for name, variants in tasks.items()
        if {v.name for v in variants} == set(REWARDS) and all(len(v.runs) >= FEWEST_SEEDS for v in variants)
    }
    if not whole:
        return []
    estimates = aggregates(shared(ScoreTable(METRIC, whole)), ("iqm", "mean"), seed=0)
    return markdown_lines(aggregates_table(estimates, METRIC))


def every_run(variants: Sequence[Variant]) -> list[str]:
    """One row per run."""
    head = ("reward", "seed", "agent steps", "return, last tenth", "core-minutes")
    rows = [
        (v.name, run.seed, f"{run.agent_steps:,}", number(score(run)), f"{run.final('cpu_s') / 60:.1f}")
        for v in variants
        for run in v.runs
    ]
    return table(head, rows)


def search_table(variants: Sequence[Variant]) -> list[str]:
    """One row per setting: its mean return at the end and over all of training, and how many runs came to the end's."""
    rows = []
    for variant in sorted(variants, key=lambda v: list(REWARDS).index(v.name.split()[0])):
        reward, _, setting = variant.name.partition(" ")
        ends = [score(run) for run in variant.runs]
        over_all_of_it = float(np.mean([np.nanmean(run.metrics[METRIC]) for run in variant.runs]))
        solved = f"{sum(end >= SEARCH_TASK.threshold for end in ends)} of {len(ends)}"
        minutes = sum(run.final("cpu_s") for run in variant.runs) / 60
        rows.append((reward, setting, solved, number(float(np.mean(ends))), number(over_all_of_it), f"{minutes:.1f}"))
    return table(("reward", "setting", "solved", "return, last tenth", "return, all of it", "core-minutes"), rows)


# --- the report -----------------------------------------------------------------------------------------------------


def results(folder: Path = HERE) -> str:
    """The text of results.md."""
    tasks, more = found(folder), longer(folder)
    sections = []
    if tasks:
        blocks = [overview(tasks), over_all(tasks), image("returns against agent steps", f"{FIGURE}.png")]
        sections.append(section("All tasks", *filter(None, blocks)))
    for name, task in TASKS.items():
        others = published_table(name, task)
        variants = tasks.get(name, [])
        if not variants and not others:
            continue
        parts = [others]
        if variants:
            table_ = task_table(task, variants)
            parts = [table_, others, measured(runs_of(variants)), folded("Every run", every_run(variants))]
        if name in more:
            parts.insert(1, task_table(task, more[name]))
        sections.append(section(task.title, *filter(None, parts)))
    if (path := folder / f"{SEARCH}.csv").exists():
        sections.append(section(f"Search of the weights, on {SEARCH_TASK.title}", search_table(variants_in(path))))
    return document(folder, "Eight rewards on procedural MiniGrid: results", *sections)


def figure(tasks: Mapping[str, Sequence[Variant]]) -> Chart:
    """A panel per task, a line per reward."""
    panels = []
    for name, variants in tasks.items():
        by_name = {variant.name: variant for variant in variants}
        curves = [
            curve_of(reward, by_name[reward].runs, METRIC, "agent steps") if reward in by_name else None
            for reward in REWARDS
        ]
        marks = {
            f"{other.system}, {millions(other.agent_steps)}": other.mean_return
            for other in published()
            if other.task == name and other.mean_return is not None
        }
        panels.append(Panel(TASKS[name].title, "agent steps", "mean return", tuple(curves), marks))
    return curves_chart(FIGURE, "returns against agent steps", panels, list(REWARDS))


def draw(folder: Path = HERE) -> None:
    """The figure, of what is there."""
    if tasks := found(folder):
        save(figure(tasks), folder)
