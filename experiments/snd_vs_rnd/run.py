"""Does the bonus vanish? RND and SND-V on Montezuma's Revenge, the same PPO.

The size of the bonus over time, where the agent plays and in rooms that it has never seen, and the rooms it has seen.

    python -m experiments.snd_vs_rnd.run
    python -m experiments.snd_vs_rnd.run --variants rnd --seeds 0   # a part, beside another call
    python -m experiments.snd_vs_rnd.run --report-only              # results.md and figures of what is there

Writes montezuma.csv, montezuma.png and results.md; goes on where it was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.report import COLORS, document, image, read, save, table
from experiments.run_report import measured, runs_of, variants_in
from experiments.studies import KEY, Row, Run, local_ray, raw_bonus, run_missing, study_parser, train
from rllib_rnd import IntrinsicPPO, Rollout
from rllib_rnd.envs.atari import AtariEnv
from rllib_rnd.envs.atari_options import ROOM_BYTES, AtariOptions

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
_SETTINGS = ("num_env_runners=0", "num_envs_per_env_runner=32", "num_epochs=2", "torch_threads=1", "warmup_steps=1280")


def planned(variants: list[str], seeds: list[int]) -> Iterator[Run]:
    """All variants of the first seed, then of the next."""
    for seed in seeds:
        for variant in variants:
            settings = (*_SETTINGS, f"intrinsic_reward={VARIANTS[variant]}")
            example = "montezuma_rnd_32envs"
            yield Run("montezuma", variant, example, seed, BUDGET, 1e9, settings=settings, minutes=MINUTES)


def unseen_frames() -> np.ndarray:
    """Frames of `UNSEEN_ROOMS` with a player acting at random, ``[M, 84, 84]`` uint8.

    The game is told by its memory which room it is in and draws that; keys and enemies stay those of the first room.
    """
    env, random = AtariEnv("MontezumaRevenge", AtariOptions(frame_stack=1)), np.random.default_rng(0)
    num_actions = int(env.action_space.n)  # type: ignore[attr-defined]
    frames: list[np.ndarray] = []
    for room in UNSEEN_ROOMS:
        env.reset(seed=room)
        while len(frames) < (room - UNSEEN_ROOMS[0] + 1) * FRAMES_PER_ROOM:
            env.ale.setRAM(ROOM_BYTES["montezuma_revenge"], room)
            env.step(0)  # draws the room
            obs, _, _, _, info = env.step(int(random.integers(num_actions)))
            if info["room"] == room:
                frames.append(obs[-1])
    return np.stack(frames)


def told(run: Run) -> Iterator[Row]:
    """`train` with the raw bonus of unseen rooms, and a line now and then: a run takes hours."""
    frames = unseen_frames()
    # One step of as many environments, so that it does not matter which of its observations is rewarded.
    arrays = Rollout.empty(1, len(frames), frames.shape[1:], frames.dtype, num_streams=2)
    arrays.frames[:] = frames
    probe = arrays.to_torch()

    def measure(algorithm: IntrinsicPPO) -> Row:
        return {"unseen_bonus": float(f"{float(raw_bonus(algorithm, probe).mean()):.5g}")}

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


def draw() -> None:
    """Three views of the bonus and the rooms against agent steps, one line per run."""
    frame = read(HERE / "montezuma.csv")
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
    save(figure, HERE / "montezuma.png")


def summary(frame: pd.DataFrame, common: int) -> list[str]:
    """One row per run; the bonus at ``common`` agent steps, which all runs have."""
    rows = []
    for (variant, seed), run in frame.groupby(["variant", "seed"]):
        late = run[(run.agent_steps > 0.9 * common) & (run.agent_steps <= common)]
        play, unseen, end = first(run, "intrinsic_reward"), first(run, "unseen_bonus"), run.iloc[-1]
        bonuses = (
            play,
            late.intrinsic_reward.mean() / play,
            unseen,
            late.unseen_bonus.mean() / unseen,
            (late.unseen_bonus / late.intrinsic_reward).mean(),
        )
        game = (f"{run.rooms.max():.0f}", f"{run.return_max.max():.0f}")
        speed = (f"{end.agent_steps:,}", f"{end.agent_steps / end.seconds:,.0f}")
        rows.append((variant, seed, *(f"{bonus:.3g}" for bonus in bonuses), *game, *speed))
    of_bonus = ("in play at first", "kept", "unseen at first", "kept", "contrast")
    return table(("reward", "seed", *of_bonus, "rooms", "largest return", "agent steps", "steps/s"), rows)


def results() -> str:
    """The text of results.md."""
    frame = read(HERE / "montezuma.csv")
    common = int(frame.groupby(["variant", "seed"]).agent_steps.max().min())
    span = (f"up to {FIRST_STEPS:,}", f"{0.9 * common:,.0f} to {common:,}")
    spans = table(("agent steps of *at first*", "of *kept* and *contrast*"), [span])
    runs = runs_of(variants_in(HERE / "montezuma.csv"))
    blocks = (summary(frame, common), spans, measured(runs), image("bonus and rooms", "montezuma.png"))
    return document(HERE, "Does the bonus vanish? Results", *blocks)


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = study_parser(__doc__)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    args = parser.parse_args()
    if not args.report_only:
        with local_ray():
            run_missing(planned(args.variants, args.seeds), HERE / "montezuma.csv", told)
    draw()
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
