"""Tables and pictures of the bonus check."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from studies import COLORS, runs_table, save

TITLES = {
    "minigrid": "MiniGrid-MultiRoom-N4-S5, one fixed layout, 60 steps, one reward at the end",
    "deep_sea_pixels": "DeepSea in pixels: 12 x 12 cells, 36 x 36 pixels",
}
NOTES = {
    "minigrid": "The policy reads the grid's state as numbers, so `modified_rnd`, which reads images, is not there.",
    "deep_sea_pixels": "Cells that can be reached: 78, the end left out. The best return is 0.99; staying left has 0.",
}


def write_report(folder: Path, variants: list[str], rules: dict[str, tuple[int, float]]) -> None:
    """Writes results.md and the pictures from the CSV files.

    Args:
        folder: where they are.
        variants: the rewards in the order of the tables.
        rules: per task its budget in agent steps and the mean return that is enough.
    """
    lines = [
        "# Does every intrinsic reward work at all? Results",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), no GPU, torch {torch.__version__}; one thread per run, up to "
        "two runs at a time. The same PPO for all; a reward's options are its defaults but for what "
        "[run.py](run.py) lists: networks of the policy's size, the running scale of RND, and returns that do not end "
        "with the episode. Little was searched for: a reward that fails here may need other options. Tried by hand on "
        "MiniGrid, seed 0, at 300,000 to 400,000 steps, without success: NovelD with alpha 0.5, with and without "
        "normalisation; four settings of BYOL-Explore (horizon 1 and 4, with and without prioritisation). `snd_std` "
        "with `norm_coeff: 5.0e-6` solves it with one of three seeds, after 499,507 steps.",
        "",
        "Cost of an iteration: sampling and learning, the least of eight (MiniGrid: beside other work): differences "
        "of a sixth say nothing. A benchmark at Atari's size: "
        "[benchmarks/results/bonuses.md](../../benchmarks/results/bonuses.md).",
        "",
        "    python experiments/bonus_check/run.py",
        "",
    ]
    speed = _read(folder / "speed.csv")
    for task, title in TITLES.items():
        frame = _read(folder / f"{task}.csv")
        if frame is None:
            continue
        budget, enough = rules[task]
        rows = [v for v in variants if v in set(frame.variant)]
        _draw(frame, rows, budget, enough, title, folder / f"{task}.png")
        lines += [f"## {title}", "", f"A run ends at a mean return of {enough} over 100 episodes (solved) or after "]
        lines[-1] += f"{budget:,} agent steps. {NOTES[task]}"
        lines += ["", *_summary(frame, rows, enough, None if speed is None else speed[speed.study == task]), ""]
        lines += [f"![{title}]({task}.png)", "", "<details><summary>Every run</summary>", "", *runs_table(frame)]
        lines += ["", f"Code: commit {_commits(frame)}.", "", "</details>", ""]
    television = _read(folder / "noisy_tv.csv")
    if television is not None:
        lines += _noisy_tv(television, variants, rules["noisy_tv"][0])
    (folder / "results.md").write_text("\n".join(lines))


def _read(path: Path) -> pd.DataFrame | None:
    return pd.read_csv(path) if path.exists() else None


def _commits(frame: pd.DataFrame) -> str:
    return ", ".join(sorted({str(c) for c in frame.commit}))


def _summary(frame: pd.DataFrame, variants: list[str], enough: float, speed: pd.DataFrame | None) -> list[str]:
    """One row per reward."""
    last = frame.groupby(["variant", "seed"], as_index=False).last()
    lines = [
        "| reward | solved | median agent steps | final return, mean | least | positions seen, mean | cost of an "
        "iteration, times none |",
        "|---|---|---|---|---|---|---|",
    ]
    seconds = None
    if speed is not None and len(speed):
        seconds = (speed.sample_s + speed.learn_s).groupby(speed.variant).min()
    for variant in variants:
        rows = last[last.variant == variant]
        solved = rows.return_mean >= enough
        middle = rows.agent_steps.astype(float).where(solved, float("inf")).median()
        steps = f"{middle:,.0f}" if middle < float("inf") else f"more than {rows.agent_steps.max():,}"
        cost = "-" if seconds is None or variant not in seconds else f"{seconds[variant] / seconds['none']:.2f}"
        lines.append(
            f"| {variant} | {solved.sum()} of {len(rows)} | {steps} | {rows.return_mean.mean():.2f} | "
            f"{rows.return_mean.min():.2f} | {rows.positions.mean():.1f} | {cost} |"
        )
    return lines


def _draw(frame: pd.DataFrame, variants: list[str], budget: int, enough: float, title: str, path: Path) -> None:
    """Agent steps until solved, a dot per run; rings are runs that used up their budget."""
    last = frame.groupby(["variant", "seed"], as_index=False).last()
    figure, axes = plt.subplots(figsize=(7, 0.3 * len(variants) + 1.2))
    for y, variant in enumerate(reversed(variants)):
        rows = last[last.variant == variant]
        solved = rows.return_mean >= enough
        axes.plot(rows.agent_steps[solved], [y] * solved.sum(), "o", color=COLORS[0], alpha=0.8)
        axes.plot(rows.agent_steps[~solved], [y] * (~solved).sum(), "o", mfc="none", color=COLORS[1], alpha=0.8)
    axes.axvline(budget, color=COLORS[4], lw=0.8, ls=":")
    axes.set_yticks(range(len(variants)), list(reversed(variants)))
    axes.set(xlabel="agent steps (ring: not solved)", title=re.split("[,:]", title)[0], xlim=(0, None))
    axes.grid(axis="x", alpha=0.25)
    save(figure, path)


def _noisy_tv(frame: pd.DataFrame, variants: list[str], budget: int) -> list[str]:
    lines = [
        "## Noisy TV",
        "",
        "The same DeepSea with a third action that sinks the diver as the wrong one does and fills the screen with "
        f"noise (`noisy_tv: true`); {budget:,} agent steps each, no run ends earlier. *Watching*: share of the "
        "policy's steps at the end that turn to the noise, a third by chance. *Bonus*: mean of what steps of random "
        "play that show noise are paid after training, over that of steps that do not; above 1 noise pays better. The "
        "second says what the reward does. The first does not alone: the noise is the one action that costs nothing in "
        "every cell, so that PPO without a bonus ends there too. With a third action none learned the way to the "
        "treasure in this time.",
        "",
        "| reward | runs | return at the end, mean | least | watching, mean | most | bonus of noise, mean |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant in [v for v in variants if v in set(frame.variant)]:
        rows = frame[frame.variant == variant]
        bonus = "-" if rows.tv_bonus.isna().all() else f"{rows.tv_bonus.mean():.3g}"
        lines.append(
            f"| {variant} | {len(rows)} | {rows.return_mean.mean():.2f} | {rows.return_mean.min():.2f} | "
            f"{rows.tv_share.mean():.2f} | {rows.tv_share.max():.2f} | {bonus} |"
        )
    return [*lines, "", f"Code: commit {_commits(frame)}.", ""]
