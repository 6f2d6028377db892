"""Tables and figures of first light."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from experiments.report import (
    COLORS,
    document,
    draw_runs,
    frames,
    image,
    last_rows,
    measured,
    save,
    section,
    sections_of_runs,
    table,
)

HERE = Path(__file__).parent
TITLES = {
    "cartpole": "CartPole-v1",
    "deep_sea": "DeepSea, N = 20",
    "deep_sea_size": "DeepSea, steps to solve against N",
    "minigrid": "MiniGrid-MultiRoom-N6, 80 steps (fixed layout)",
    "point_maze": "PointMaze, layout medium, continuous actions",
    "montezuma": "Montezuma's Revenge",
}
MONTEZUMA_SEED = 0
KEY_POINTS = 100


def results() -> str:
    """The text of results.md."""
    of_runs = {study: title for study, title in TITLES.items() if study != "montezuma"}
    sections = list(sections_of_runs(HERE, of_runs))
    for frame in frames(HERE, ["montezuma"]).values():
        run = frame.assign(variant="rnd", size=0, seed=MONTEZUMA_SEED)
        title = TITLES["montezuma"]
        blocks = (montezuma_table(frame), key_table(frame), measured(run), image(title, "montezuma.png"))
        sections.append(section(title, *blocks))
    return document(HERE, "First light: results", *sections)


def montezuma_table(frame: pd.DataFrame) -> list[str]:
    """Ten iterations of the run."""
    of_play = ("agent steps", "mean return", "best return", "rooms visited")
    of_bonus = ("intrinsic reward", "after scaling")
    picked = frame.iloc[[round(i * (len(frame) - 1) / 9) for i in range(10)]]
    rows = []
    for row in picked.fillna(0.0).itertuples():  # no episode has ended in the first rollouts
        returns = (f"{row.return_mean:.1f}", f"{row.return_max:.0f}")
        bonus = (f"{row.intrinsic_reward_mean:.4f}", f"{row.intrinsic_reward_normalized_mean:.4f}")
        rows.append((f"{row.agent_steps:,.0f}", *returns, f"{row.rooms_visited:.0f}", *bonus, f"{row.entropy:.2f}"))
    return table((*of_play, *of_bonus, "entropy"), rows)


def key_table(frame: pd.DataFrame) -> list[str]:
    """When the first key was taken, and how long the run took."""
    keys = frame[frame.return_max >= KEY_POINTS]
    first = f"{keys.iloc[0].agent_steps:,.0f}" if len(keys) else "-"
    head = (f"first key ({KEY_POINTS} points) after agent steps", "minutes in all")
    return table(head, [(first, f"{frame.time_total_s.max() / 60:.0f}")])


def draw() -> None:
    """The figures."""
    draw_runs(HERE, {study: TITLES[study] for study in ("cartpole", "deep_sea", "minigrid", "point_maze")})
    found = frames(HERE, TITLES)
    if "deep_sea_size" in found and "deep_sea" in found:
        base = found["deep_sea"]
        draw_sizes(pd.concat([found["deep_sea_size"], base[base.variant == "rnd"]]), HERE / "deep_sea_size.png")
    if "montezuma" in found:
        draw_montezuma(found["montezuma"], HERE / "montezuma.png")


def draw_sizes(frame: pd.DataFrame, path: Path) -> None:
    """Agent steps until solved against the size of DeepSea; unsolved runs are open marks at their budget."""
    last = last_rows(frame)
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


def draw_montezuma(frame: pd.DataFrame, path: Path) -> None:
    """Bonus, mean return and rooms against agent steps."""
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
    save(figure, path)
