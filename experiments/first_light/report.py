"""Tables and figures of first light."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from experiments.report import document, image, section
from experiments.run_report import (
    METRIC,
    Task,
    blocks_of_runs,
    curves_figure,
    measured,
    save,
    there,
    variants_in,
)
from rllib_rnd.analysis.results.curves import curve_of
from rllib_rnd.analysis.results.figures.chart import Chart
from rllib_rnd.analysis.results.figures.charts import Panel, curves_chart, survival_chart
from rllib_rnd.analysis.results.groups import Variant, grouped
from rllib_rnd.analysis.results.run import Run
from rllib_rnd.analysis.results.run_sections import survivals
from rllib_rnd.analysis.results.runs import load_runs
from rllib_rnd.analysis.results.tables import Row, Table, markdown_lines

HERE = Path(__file__).parent
#: Of CartPole's two ends, 450 with PPO and 400 with RND, the one that both come by.
TASKS = {
    "cartpole": Task("CartPole-v1", 400.0),
    "deep_sea": Task("DeepSea, N = 20", 0.9),
    "minigrid": Task("MiniGrid-MultiRoom-N6, 80 steps (fixed layout)", 0.9),
    "point_maze": Task("PointMaze, layout medium, continuous actions", 0.95),
}
SIZES = "deep_sea_size"
SIZES_TASK = Task("DeepSea, steps to solve against N", 0.9)
MONTEZUMA = "montezuma"
MONTEZUMA_TITLE = "Montezuma's Revenge"
MONTEZUMA_SEED = 0
KEY_POINTS = 100
_DRAWN = {
    "mean return": METRIC,
    "rooms visited": "rooms_visited",
    "intrinsic reward": "intrinsic_reward_mean",
    "after scaling": "intrinsic_reward_normalized_mean",
}
_TOLD = {"agent steps": "agent_steps", **_DRAWN, "best return": "return_max", "entropy": "entropy"}
STUDIES = ("cartpole", "deep_sea", SIZES, "minigrid", "point_maze", MONTEZUMA)


def results() -> str:
    """The text of results.md."""
    sections = {
        name: section(task.title, *blocks_of_runs(name, task, variants)) for name, task, variants in there(HERE, TASKS)
    }
    if sizes := by_size():
        sections[SIZES] = section(SIZES_TASK.title, *blocks_of_runs(SIZES, SIZES_TASK, sizes))
    if (run := montezuma_run()) is not None:
        figure = image(MONTEZUMA_TITLE, f"{MONTEZUMA}.png")
        sections[MONTEZUMA] = section(MONTEZUMA_TITLE, montezuma_table(run), key_table(run), measured([run]), figure)
    return document(HERE, "First light: results", *(sections[name] for name in STUDIES if name in sections))


def draw() -> None:
    """The figures."""
    for name, task, variants in there(HERE, TASKS):
        save(curves_figure(name, task, variants), HERE)
    if sizes := by_size():
        save(sizes_figure(sizes), HERE)
    if (run := montezuma_run()) is not None:
        save(montezuma_figure(run), HERE)


def by_size() -> list[Variant]:
    """The runs of RND in DeepSea, a variant per N: those of N = 20 are of the study before."""
    paths = [HERE / f"{name}.csv" for name in (SIZES, "deep_sea")]
    if not all(path.exists() for path in paths):
        return []
    found: dict[int, Variant] = {}
    for task, variants in grouped(load_runs([str(path) for path in paths])).items():
        size = int(task.partition("(size=")[2].rstrip(")"))
        (rnd,) = (variant for variant in variants if variant.runs[0].experiment == "rnd")
        found[size] = dataclasses.replace(rnd, name=f"N = {size}")
    return [found[size] for size in sorted(found)]


def sizes_figure(sizes: list[Variant]) -> Chart:
    """The share of runs that have not solved DeepSea yet, a line per N."""
    assert SIZES_TASK.enough is not None
    found = {SIZES_TASK.title: survivals(sizes, METRIC, SIZES_TASK.enough)}
    return survival_chart(SIZES, SIZES_TASK.title, found, [variant.name for variant in sizes], "")


def montezuma_run() -> Run | None:
    """The run of Montezuma's Revenge, if it is there."""
    path = HERE / f"{MONTEZUMA}.csv"
    return dataclasses.replace(variants_in(path)[0].runs[0], seed=MONTEZUMA_SEED) if path.exists() else None


def montezuma_table(run: Run) -> list[str]:
    """Ten iterations of the run."""
    last = len(run.metrics["agent_steps"]) - 1
    rows: list[Row] = []
    for i in range(10):
        at = round(i * last / 9)
        steps, *values = (float(run.metrics[name][at]) for name in _TOLD.values())
        rows.append((int(steps), *values))
    return markdown_lines(Table("", "", tuple(_TOLD), tuple(rows)))


def key_table(run: Run) -> list[str]:
    """When the first key was taken, and how long the run took."""
    keys = run.metrics["agent_steps"][run.metrics["return_max"] >= KEY_POINTS]
    head = (f"first key ({KEY_POINTS} points) after agent steps", "minutes in all")
    row = (int(keys[0]) if len(keys) else math.nan, round(run.final("time_total_s") / 60))
    return markdown_lines(Table("", "", head, (row,)))


def montezuma_figure(run: Run) -> Chart:
    """What is watched, against agent steps."""
    panels = [
        Panel(title, "agent steps", "", (curve_of("rnd", [run], name, "agent steps"),))
        for title, name in _DRAWN.items()
    ]
    return curves_chart(MONTEZUMA, f"RND on {MONTEZUMA_TITLE}", panels, ["rnd"])
