"""Turns the CSV files of run.py into ``results.md`` and one picture per study.

python experiments/first_light/report.py
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from studies import COLORS, draw_returns, runs_table, save

HERE = Path(__file__).parent


def draw_sizes(frame: pd.DataFrame, path: Path) -> None:
    """Agent steps until solved against the size of DeepSea; unsolved runs are open marks at their budget."""
    last = frame.groupby(["size", "seed"], as_index=False).last()
    solved = last.return_mean >= 0.9
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(last[solved]["size"], last[solved].agent_steps, "o", color=COLORS[0], label="solved")
    if (~solved).any():
        axes.plot(last[~solved]["size"], last[~solved].agent_steps, "o", mfc="none", color="grey", label="not solved")
    median = last.groupby("size").agent_steps.median()
    axes.plot(median.index, median, color=COLORS[0], lw=1, alpha=0.5, label="median (not solved: its budget)")
    axes.set(xlabel="N (DeepSea is N x N)", ylabel="agent steps to a mean return of 0.9", title="RND on DeepSea")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save(figure, path)


def montezuma(frame: pd.DataFrame) -> list[str]:
    """The table of the Montezuma run (ten rows and the first key), and its picture."""
    picked = frame.iloc[[round(i * (len(frame) - 1) / 9) for i in range(10)]]
    lines = [
        "One run, seed 0, 32 environments, one core; 1 agent step = 4 frames. Returns: raw, of the last 100 episodes.",
        "",
        "| agent steps | mean return | best return | rooms visited | intrinsic reward | after scaling | entropy |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in picked.fillna(0.0).itertuples():  # no episode has ended in the first rollouts
        lines.append(
            f"| {row.agent_steps:,.0f} | {row.return_mean:.1f} | {row.return_max:.0f} | {row.rooms_visited:.0f} "
            f"| {row.intrinsic_reward_mean:.4f} | {row.intrinsic_reward_normalized_mean:.4f} | {row.entropy:.2f} |"
        )
    keys = frame[frame.return_max >= 100]
    first = f"first at {keys.iloc[0].agent_steps:,.0f} agent steps" if len(keys) else "not once"
    lines += ["", f"The first key (100 points) was taken {first}. {frame.time_total_s.max() / 60:.0f} minutes in all."]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 5), sharex=True)
    top.semilogy(frame.agent_steps, frame.intrinsic_reward_mean, color=COLORS[0], lw=1.2)
    top.set(ylabel="intrinsic reward (raw)", title="RND on Montezuma's Revenge")
    bottom.plot(frame.agent_steps, frame.return_mean, color=COLORS[0], lw=1.4)
    bottom.set(xlabel="agent steps", ylabel="mean return")
    rooms = bottom.twinx()
    rooms.plot(frame.agent_steps, frame.rooms_visited, color=COLORS[1], lw=1.4)
    rooms.set_ylabel("rooms visited", color=COLORS[1])
    rooms.set_ylim(0, frame.rooms_visited.max() + 1)
    rooms.yaxis.get_major_locator().set_params(integer=True)
    for axes in (top, bottom):
        axes.grid(alpha=0.25)
    save(figure, HERE / "montezuma.png")
    return lines


def main() -> None:
    """Writes results.md and the pictures."""
    lines = [
        "# First light: results",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), no GPU, torch {torch.__version__}.",
        "Other work shared the machine, so the seconds are upper bounds. Command: see README.md.",
        "",
    ]
    titles = {
        "cartpole": "CartPole-v1",
        "deep_sea": "DeepSea, N = 20",
        "deep_sea_size": "DeepSea, steps to solve against N",
        "minigrid": "MiniGrid-MultiRoom-N6, 80 steps (fixed layout)",
        "point_maze": "PointMaze, layout medium, continuous actions",
        "montezuma": "Montezuma's Revenge",
    }
    for study, title in titles.items():
        path = HERE / f"{study}.csv"
        if not path.exists():
            continue
        frame = pd.read_csv(path)
        table = montezuma(frame) if study == "montezuma" else runs_table(frame)
        commits = ", ".join(sorted(set(frame.commit)))
        lines += [f"## {title}", "", *table, "", f"Code: commit {commits}.", "", f"![{title}]({study}.png)", ""]
        if study == "deep_sea_size":
            base = pd.read_csv(HERE / "deep_sea.csv")
            draw_sizes(pd.concat([frame, base[base.variant == "rnd"]]), HERE / f"{study}.png")
        elif study != "montezuma":
            draw_returns(frame, HERE / f"{study}.png", title)
    (HERE / "results.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
