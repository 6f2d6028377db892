"""Probes: what the features of agents know of the world that they were trained in, agents against each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.insight.agents import HERE, Sheet, nearest
from experiments.provenance import commit
from experiments.report import commits, folded, image, read, save, section, table
from experiments.studies import Row, local_ray
from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.probing.options import ProbeOptions
from rllib_rnd.analysis.probing.probe_states import PlayPlan
from rllib_rnd.analysis.probing.probes import probe

NAME = "probes"
KEY = ("task",)
#: Run and agent steps of each agent; the first one plays.
AGENTS = {
    "montezuma": {name: (name, 500_000) for name in ("rnd", "snd_v", "rnd_byol", "ppo")},
    "warehouse": {name: (f"warehouse_{name}", 4_000_000) for name in ("iam", "gru", "fnn")},
}
PLANS = {
    "montezuma": ProbeOptions(PlayPlan(max_steps=400, states=2_000), models=("linear",)),
    "warehouse": ProbeOptions(PlayPlan(max_steps=200, states=2_000), models=("linear",)),
}


def measure(storage: Path) -> None:
    """Measures what is missing in probes.csv."""
    sheet = Sheet(HERE / f"{NAME}.csv", KEY)
    for task, runs in AGENTS.items():
        if sheet.has(task=task):
            continue
        found = {name: nearest(storage, run, task, steps) for name, (run, steps) in runs.items()}
        agents = {name: one.load() for name, one in found.items() if one is not None}
        if len(agents) < len(runs):
            continue  # they are compared on the same states, so all have to be there
        steps = {name: one.agent_steps for name, one in found.items() if one is not None}
        sheet.add(list(rows_of(task, agents, steps)))


def rows_of(task: str, agents: dict[str, Agent], steps: dict[str, int]) -> Iterator[Row]:
    """One row per agent, layer, variable, model and kind of labels."""
    with local_ray():
        found = probe(agents, PLANS[task])
    for row in found.rows:
        numbers = {k: float(f"{getattr(row, k):.5g}") for k in ("score", "low", "high", "chance")}
        words = {k: getattr(row, k) for k in ("agent", "layer", "variable", "model", "labels", "metric", "settings")}
        sizes = {"inputs": row.inputs, "states": row.states, "games": row.games}
        first = next(iter(agents.values()))
        yield {
            "task": task,
            **words,
            **numbers,
            **sizes,
            "agent_steps": steps.get(row.agent, 0),
            "seed": int(first.config.seed or 0),
            "commit": commit(),
        }


# --- report ------------------------------------------------------------------------------------------------------


def sections() -> Iterator[list[str]]:
    """Of what has been measured."""
    if not (HERE / f"{NAME}.csv").exists():
        return
    frame = read(HERE / f"{NAME}.csv")
    for task in [task for task in AGENTS if task in set(frame.task)]:
        of = frame[frame.task == task]
        yield section(
            f"Probes: {task}",
            policies(of),
            folded("every layer, linear", every_layer(of)),
            image(f"probes of {task}", f"probes_{task}.png"),
            trained(of),
        )


def policies(frame: pd.DataFrame) -> list[str]:
    """What policies and memories know, by variable: score and interval of linear probes."""
    of = frame[(frame.layer.isin(("policy", "memory", "pixels"))) & (frame.labels == "true")]
    pairs = list(dict.fromkeys(zip(of.agent, of.layer, strict=True)))
    shuffled = frame[(frame.labels == "shuffled") & (frame.model == "linear") & (frame.layer == "policy")]
    rows = []
    for variable in dict.fromkeys(of.variable):
        of_variable = of[of.variable == variable]
        cells = [_cell(of_variable[(of_variable.agent == a) & (of_variable.layer == layer)]) for a, layer in pairs]
        control = shuffled[shuffled.variable == variable].score
        rows.append((variable, of_variable.metric.iloc[0], *cells, f"{control.mean():.2f}" if len(control) else "-"))
    names = [agent if agent == layer else f"{agent}: {layer}" for agent, layer in pairs]
    return table(("linear probes", "metric", *names, "shuffled labels"), rows)


def _cell(rows: pd.DataFrame) -> str:
    """``score [low, high]`` of the linear probe."""
    linear = rows[rows.model == "linear"]
    if linear.empty:
        return "-"
    one = linear.iloc[0]
    return f"{one.score:.2f} [{one.low:.2f}, {one.high:.2f}]"


def every_layer(frame: pd.DataFrame) -> list[str]:
    """Scores of linear probes of every layer, a row per layer."""
    of = frame[(frame.model == "linear") & (frame.labels == "true")]
    variables = list(dict.fromkeys(of.variable))
    rows = []
    for (agent, layer), found in of.groupby(["agent", "layer"], sort=False):
        score = found.set_index("variable").score
        rows.append((agent, layer, *(f"{score[name]:.2f}" if name in score.index else "-" for name in variables)))
    return table(("agent", "layer", *variables), rows)


def trained(frame: pd.DataFrame) -> list[str]:
    """Who was trained for how long, on what the probes were measured."""
    steps = frame[frame.agent_steps > 0].groupby("agent", sort=False).agent_steps.first()
    told = ", ".join(f"{name} {count:,}" for name, count in steps.items())
    seeds = ", ".join(str(seed) for seed in sorted(frame.seed.unique()))
    measured = f"{frame.states.max():,} states of {frame.games.max()} games"
    return [f"Seeds: {seeds}; agent steps: {told}; measured on {measured}; code: commit {commits(frame)}."]


def draw(storage: Path | None) -> None:
    """A heat map per task: variables down, agents and layers across."""
    if not (HERE / f"{NAME}.csv").exists():
        return
    frame = read(HERE / f"{NAME}.csv")
    for task, of in frame[(frame.model == "linear") & (frame.labels == "true")].groupby("task"):
        columns = list(dict.fromkeys(zip(of.agent, of.layer, strict=True)))
        variables = list(dict.fromkeys(of.variable))
        scores = of.set_index(["variable", "agent", "layer"]).score
        grid = np.array([[scores.get((v, *column), np.nan) for column in columns] for v in variables])
        figure, axes = plt.subplots(figsize=(2.5 + 0.5 * len(columns), 1.8 + 0.34 * len(variables)))
        drawn = axes.imshow(np.clip(grid, 0.0, 1.0), vmin=0.0, vmax=1.0, aspect="auto")
        for i, row in enumerate(grid):
            for j, score in enumerate(row):
                color = "white" if score < 0.6 else "black"
                axes.text(j, i, f"{score:.2f}", ha="center", va="center", fontsize=7, color=color)
        axes.set_xticks(
            range(len(columns)), [f"{a}: {layer}" for a, layer in columns], rotation=60, ha="right", fontsize=8
        )
        axes.set_yticks(range(len(variables)), variables, fontsize=8)
        axes.set_title(f"{task}: R2 or balanced accuracy of linear probes, below 0 as 0", fontsize=10)
        figure.colorbar(drawn, ax=axes)
        save(figure, HERE / f"probes_{task}.png")
