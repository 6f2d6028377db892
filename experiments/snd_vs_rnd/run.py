"""Does the bonus vanish? RND and SND-V on Montezuma's Revenge, the same PPO.

The size of the bonus over time, where the agent plays and in rooms that it has never seen, and the rooms it has seen.

    python experiments/snd_vs_rnd/run.py
    python experiments/snd_vs_rnd/run.py --variants rnd --seeds 0   # a part, beside another call
    python experiments/snd_vs_rnd/run.py --report                   # results.md from what is there

Writes montezuma.csv, montezuma.png and results.md; goes on where it was cut.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import ray
import torch

from rllib_rnd.envs.atari import AtariEnv
from rllib_rnd.envs.atari_options import ROOM_BYTES, AtariOptions
from rllib_rnd.rollout import Rollout

sys.path.insert(0, str(Path(__file__).parents[1]))
from studies import COLORS, KEY, Run, run_missing, save, train

HERE = Path(__file__).parent
BUDGET = 2_500_000
#: Ends a run too.
MINUTES = 92.0
#: Both train on every sample once per rollout (half of it in each of two epochs), as in both papers;
#: each is paid for the observation that its paper pays for.
VARIANTS = {
    "rnd": "{type: rnd, update_proportion: 0.5}",
    "snd_v": "{type: snd_v, update_proportion: 0.5, reward_scale: 0.5, reward_on: current}",
}
#: The start of a run, whose mean bonus is 1 in the table and the picture.
FIRST_STEPS = 50_000
#: The third floor of the pyramid: out of reach here, at least three rooms from the first.
UNSEEN_ROOMS = range(8, 15)
FRAMES_PER_ROOM = 16
READING = (
    "SND's authors expect its bonus to stay where RND's vanishes. Where the agent plays this is not seen: both bonuses "
    "fall and go on falling, that of SND-V further. Neither run has left the first room, so nothing new was there to "
    "be paid for. In rooms that no run has seen neither bonus vanishes: RND pays there nine tenths of what it "
    "paid at first, SND-V two thirds, lately rising, and both more than a hundred times what they pay in play. "
    "So up to here neither network has learned to call the unseen known; RND separates the two more clearly, perhaps "
    "because pixels that never changed before lie far outside the range that its input is normalised by. The budget is "
    "1 % of the published one, with one seed: what happens once several rooms are known, this study cannot say."
)
_SETTINGS = ("num_env_runners=0", "num_envs_per_env_runner=32", "num_epochs=2", "torch_threads=1", "warmup_steps=1280")


def planned(variants: list[str], seeds: list[int]) -> Iterator[Run]:
    """All variants of the first seed, then of the next."""
    for seed in seeds:
        for variant in variants:
            settings = (*_SETTINGS, f"intrinsic_reward={VARIANTS[variant]}")
            example = "montezuma_rnd_32envs"
            yield Run("montezuma", variant, example, seed, BUDGET, 1e9, settings=settings, minutes=MINUTES)


def unseen_frames() -> torch.Tensor:
    """Frames of `UNSEEN_ROOMS` with a player acting at random, ``[M, 84, 84]`` uint8.

    The game is told by its memory which room it is in and draws that; keys and enemies stay those of the first room.
    """
    env, random, frames = AtariEnv("MontezumaRevenge", AtariOptions(frame_stack=1)), np.random.default_rng(0), []
    for room in UNSEEN_ROOMS:
        env.reset(seed=room)
        while len(frames) < (room - UNSEEN_ROOMS[0] + 1) * FRAMES_PER_ROOM:
            env.ale.setRAM(ROOM_BYTES["montezuma_revenge"], room)
            env.step(0)  # draws the room
            obs, _, _, _, info = env.step(int(random.integers(env.action_space.n)))
            if info["room"] == room:
                frames.append(obs[-1])
    return torch.from_numpy(np.stack(frames))


def told(run: Run) -> Iterator[dict[str, Any]]:
    """`train` with the raw bonus of unseen rooms, and a line now and then: a run takes hours."""
    frames = unseen_frames()
    none = torch.zeros(1, len(frames))
    # One step of as many environments, so that it does not matter which of its observations is rewarded.
    probe = Rollout(
        frames=frames.expand(2, *frames.shape),
        is_first=torch.zeros(2, len(frames), dtype=torch.bool),
        action=none.long(),
        logp=none,
        value=torch.zeros(2, len(frames), 2),
        reward=none,
        terminated=none.bool(),
        truncated=none.bool(),
    )

    def measure(algorithm: Any) -> dict[str, Any]:
        module = algorithm.learner_module().eval()
        return {"unseen_bonus": float(f"{float(module.rewards()[0].compute(probe)[0].mean()):.5g}")}

    for i, row in enumerate(train(run, measure)):
        if i % 10 == 0:
            print(
                *(row[k] for k in (*KEY, "agent_steps", "intrinsic_reward", "unseen_bonus", "rooms", "seconds")),
                flush=True,
            )
        yield row


def first(rows: pd.DataFrame, column: str) -> float:
    """Mean of a column over the first `FIRST_STEPS` agent steps of a run."""
    return float(rows[column][rows.agent_steps <= FIRST_STEPS].mean())


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Three views of the bonus and the rooms against agent steps, one line per run."""
    figure, panels = plt.subplots(4, 1, figsize=(7, 11), sharex=True)
    for color, variant in zip(COLORS, VARIANTS, strict=False):
        for seed, rows in frame[frame.variant == variant].groupby("seed"):
            curves = (
                rows.intrinsic_reward / first(rows, "intrinsic_reward"),
                rows.unseen_bonus / first(rows, "unseen_bonus"),
                rows.unseen_bonus / rows.intrinsic_reward,
            )
            style = {"color": color, "lw": 1.3, "alpha": 0.9, "label": variant if seed == frame.seed.min() else None}
            for axes, curve in zip(panels, curves, strict=False):
                axes.plot(rows.agent_steps, curve.rolling(5, min_periods=1).mean(), **style)
            panels[3].step(rows.agent_steps, rows.rooms, where="post", **style)
    since = f"1: its first {FIRST_STEPS:,} steps"
    titles = (f"bonus in play ({since})", f"bonus in unseen rooms ({since})", "bonus in unseen rooms / in play")
    for axes, title in zip(panels, titles, strict=False):
        axes.set(title=title, yscale="log")
    panels[1].set(yscale="linear", ylim=(0, None))
    panels[3].set(title="rooms seen", xlabel="agent steps", ylim=(0, frame.rooms.max() + 1))
    panels[3].yaxis.get_major_locator().set_params(integer=True)
    for axes in panels:
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    save(figure, path)


def table(frame: pd.DataFrame, common: int) -> list[str]:
    """One Markdown row per run; the bonus at ``common`` agent steps."""
    head = "reward, seed, in play at first, kept, unseen at first, kept, contrast, rooms, largest return, agent steps, "
    columns = (head + "steps/s").split(", ")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for (variant, seed), rows in frame.groupby(["variant", "seed"]):
        late = rows[(rows.agent_steps > 0.9 * common) & (rows.agent_steps <= common)]
        play, unseen, end = first(rows, "intrinsic_reward"), first(rows, "unseen_bonus"), rows.iloc[-1]
        bonuses = (
            play,
            late.intrinsic_reward.mean() / play,
            unseen,
            late.unseen_bonus.mean() / unseen,
            (late.unseen_bonus / late.intrinsic_reward).mean(),
        )
        lines.append(
            f"| {variant} | {seed} | {' | '.join(f'{b:.3g}' for b in bonuses)} | {rows.rooms.max():.0f} | "
            f"{rows.return_max.max():.0f} | {end.agent_steps:,} | {end.agent_steps / end.seconds:,.0f} |"
        )
    return lines


def report() -> None:
    """Writes results.md and the picture from the CSV file."""
    frame = pd.read_csv(HERE / "montezuma.csv")
    draw(frame, HERE / "montezuma.png")
    common = int(frame.groupby(["variant", "seed"]).agent_steps.max().min())
    lines = [
        "# Does the bonus vanish? Results",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), no GPU, torch {torch.__version__}; one thread per run, up to "
        f"two runs at a time, {MINUTES:g} minutes each, at times beside other work. Montezuma's Revenge, 32 "
        "environments; "
        f"tuned_examples/montezuma_rnd_32envs.yaml with {', '.join(_SETTINGS)}, and "
        + "; ".join(f"`{spec}`" for spec in VARIANTS.values())
        + ".",
        "",
        "    python experiments/snd_vs_rnd/run.py",
        "",
        f"In play: the mean of an iteration's samples. Unseen: the mean of {FRAMES_PER_ROOM} frames of each of the "
        f"rooms {UNSEEN_ROOMS[0]} to {UNSEEN_ROOMS[-1]}, the pyramid's third floor, which no run has reached; the "
        "game's memory was told that the player is there. At first: the raw bonus, mean of the run's first "
        f"{FIRST_STEPS:,} agent steps (each four frames). Kept: mean of the last tenth of the first {common:,} agent "
        "steps, which all runs have, over that. Contrast: unseen over in play, in that tenth.",
        "",
        *table(frame, common),
    ]
    lines += ["", READING]
    commits = ", ".join(sorted({str(c) for c in frame.commit}))
    lines += ["", f"Code: commit {commits}.", "", "![bonus and rooms](montezuma.png)", ""]
    (HERE / "results.md").write_text("\n".join(lines))


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--report", action="store_true", help="run nothing")
    args = parser.parse_args()
    if not args.report:
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
        run_missing(planned(args.variants, args.seeds), HERE / "montezuma.csv", told)
        ray.shutdown()
    report()


if __name__ == "__main__":
    main()
