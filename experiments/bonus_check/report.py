"""Tables and figures of the bonus check."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from experiments.report import (
    COLORS,
    commits,
    document,
    folded,
    frames,
    image,
    last_rows,
    measured,
    runs_table,
    save,
    section,
    solved,
    table,
)

HERE = Path(__file__).parent
TITLES = {
    "minigrid": "MiniGrid-MultiRoom-N4-S5, one fixed layout, 60 steps, one reward at the end",
    "deep_sea_pixels": "DeepSea in pixels: 12 x 12 cells, 36 x 36 pixels",
}


def results(variants: Sequence[str], enough: Mapping[str, float]) -> str:
    """The text of results.md.

    Args:
        variants: the rewards in the order of the tables.
        enough: per task the mean return that ends a run.
    """
    sections = []
    speed = frames(HERE, ["speed"]).get("speed")
    for task, frame in frames(HERE, TITLES).items():
        costs = None if speed is None else speed[speed.study == task]
        sections.append(
            section(
                TITLES[task],
                _summary(frame, _known(variants, frame), enough[task], costs),
                measured(frame),
                [] if costs is None else [f"Cost: code: commit {commits(costs)}."],
                image(TITLES[task], f"{task}.png"),
                folded("Every run", runs_table(frame)),
            )
        )
    for frame in frames(HERE, ["noisy_tv"]).values():
        sections.append(section("Noisy TV", _noisy_tv(frame, _known(variants, frame)), measured(frame)))
    return document(HERE, "Does every intrinsic reward work at all? Results", *sections)


def draw(variants: Sequence[str], rules: Mapping[str, tuple[int, float]]) -> None:
    """The figures.

    Args:
        variants: the rewards in the order of the figures.
        rules: per task its budget in agent steps and the mean return that is enough.
    """
    for task, frame in frames(HERE, TITLES).items():
        _draw(frame, _known(variants, frame), *rules[task], TITLES[task], HERE / f"{task}.png")


def _known(variants: Sequence[str], frame: pd.DataFrame) -> list[str]:
    return [variant for variant in variants if variant in set(frame.variant)]


def _summary(frame: pd.DataFrame, variants: list[str], enough: float, speed: pd.DataFrame | None) -> list[str]:
    """One row per reward."""
    head = ("reward", "solved", "median agent steps", "final return, mean", "least", "positions seen, mean")
    last, rows, seconds = last_rows(frame), [], None
    if speed is not None and len(speed):
        seconds = (speed.sample_s + speed.learn_s).groupby(speed.variant).min()
    for variant in variants:
        runs = last[last.variant == variant]
        middle = runs.agent_steps.astype(float).where(runs.return_mean >= enough, float("inf")).median()
        steps = f"{middle:,.0f}" if middle < float("inf") else f"more than {runs.agent_steps.max():,}"
        cost = "-" if seconds is None or variant not in seconds else f"{seconds[variant] / seconds['none']:.2f}"
        returns = (f"{runs.return_mean.mean():.2f}", f"{runs.return_mean.min():.2f}")
        rows.append((variant, solved(runs, enough), steps, *returns, f"{runs.positions.mean():.1f}", cost))
    return table((*head, "cost of an iteration, times none"), rows)


def _noisy_tv(frame: pd.DataFrame, variants: list[str]) -> list[str]:
    head = ("reward", "runs", "return at the end, mean", "least", "watching, mean", "most", "bonus of noise, mean")
    rows = []
    for variant in variants:
        runs = frame[frame.variant == variant]
        bonus = "-" if runs.tv_bonus.isna().all() else f"{runs.tv_bonus.mean():.3g}"
        spans = (runs.return_mean.mean(), runs.return_mean.min(), runs.tv_share.mean(), runs.tv_share.max())
        rows.append((variant, len(runs), *(f"{value:.2f}" for value in spans), bonus))
    return table(head, rows)


def _draw(frame: pd.DataFrame, variants: list[str], budget: int, enough: float, title: str, path: Path) -> None:
    """Agent steps until solved, a dot per run; rings are runs that used up their budget."""
    last = last_rows(frame)
    figure, axes = plt.subplots(figsize=(7, 0.3 * len(variants) + 1.2))
    for y, variant in enumerate(reversed(variants)):
        rows = last[last.variant == variant]
        done = rows.return_mean >= enough
        axes.plot(rows.agent_steps[done], [y] * done.sum(), "o", color=COLORS[0], alpha=0.8)
        axes.plot(rows.agent_steps[~done], [y] * (~done).sum(), "o", mfc="none", color=COLORS[1], alpha=0.8)
    axes.axvline(budget, color=COLORS[4], lw=0.8, ls=":")
    axes.set_yticks(range(len(variants)), list(reversed(variants)))
    axes.set(xlabel="agent steps (ring: not solved)", title=re.split("[,:]", title)[0], xlim=(0, None))
    axes.grid(axis="x", alpha=0.25)
    save(figure, path)
