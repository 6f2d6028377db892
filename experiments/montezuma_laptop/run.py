"""How soon do two cores find the first key and the second room of Montezuma's Revenge? Settings at equal minutes.

    python -m experiments.montezuma_laptop.run                                    # all, 12.5 hours
    python -m experiments.montezuma_laptop.run --hours 2                          # as many runs as fit
    python -m experiments.montezuma_laptop.run --variants laptop wider --seeds 0  # a part
    python -m experiments.montezuma_laptop.run --report-only                      # results.md and figure of the data

Writes montezuma.csv, montezuma.png and results.md; goes on with the runs that are missing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from experiments.report import COLORS, document, folded, image, read, save, section, table
from experiments.run_report import measured, runs_of, variants_in
from experiments.studies import Row, Run, local_ray, run_missing, study_parser, train
from rllib_rnd.threads import count

HERE = Path(__file__).parent
DATA = HERE / "montezuma.csv"
EXAMPLE = "montezuma_rnd_laptop"
_NO_LIMIT = 1_000_000_000  # of agent steps: all runs are as long in minutes
#: What changes one thing of the example each, but for the two last.
VARIANTS: dict[str, tuple[str, ...]] = {
    "laptop": (),
    "fewer passes": ("num_epochs=2",),
    "smaller steps": ("lr=1.0e-4",),
    "scale of the whole past": ("intrinsic_reward.reward_momentum=1.0",),
    "84 pixels": ("env_config.frame_size=84",),
    "wider": ("num_envs_per_env_runner=512", "num_minibatches=32", "intrinsic_reward.update_proportion=0.0625"),
    "narrower": ("num_envs_per_env_runner=64", "num_minibatches=4", "intrinsic_reward.update_proportion=0.5"),
    "paper's networks": (
        "backbone={type: nature_cnn}",
        "intrinsic_reward={type: rnd, update_proportion: 0.125, reward_momentum: 0.5}",
    ),
    "noveld": ("intrinsic_reward.type=noveld",),
    "paper, 32 environments": (
        "env_config.frame_size=84",
        "num_envs_per_env_runner=32",
        "num_epochs=4",
        "num_minibatches=4",
        "lr=1.0e-4",
        "warmup_steps=6400",
        "backbone={type: nature_cnn}",
        "intrinsic_reward={type: rnd, update_proportion: 1.0}",
    ),
}
SEEDS, MINUTES = (0, 1, 2), 25
#: A wide run ends more episodes in an iteration than RLlib's 100, and none is to be missed.
EPISODES = 1000
KEY, SECOND_ROOM = 100.0, 2
_KEEP_EVERY = 20  # rows in which nothing happened


def planned(variants: Sequence[str], seeds: Sequence[int], minutes: int) -> Iterator[Run]:
    """All variants of the first seed, then of the next."""
    for seed in seeds:
        for variant in variants:
            settings = (f"metrics_num_episodes_for_smoothing={EPISODES}", *VARIANTS[variant])
            run = Run("montezuma", variant, EXAMPLE, seed, _NO_LIMIT, math.inf, minutes, settings, minutes=minutes)
            yield run


def within(hours: float, runs: Iterator[Run], clock: Callable[[], float] = time.monotonic) -> Iterator[Run]:
    """The runs that can end within so many hours; those that are left are for another call."""
    end = clock() + 3600 * hours
    for run in runs:
        if clock() + 60 * run.minutes > end:
            print(f"No time is left for {run.variant}, seed {run.seed}, and those after it.", flush=True)
            return
        yield run


def eventful(run: Run) -> Iterator[Row]:
    """The rows of `train` in which something was found, with the best return so far, and some between."""
    best, known = 0.0, (0.0, 0)
    for i, row in enumerate(train(run)):
        best = max(best, float(row["return_max"] or 0.0))
        rooms = int(row["rooms"] or 0)
        if i % _KEEP_EVERY == 0:
            print(run.variant, run.seed, *(row[name] for name in ("agent_steps", "seconds")), best, rooms, flush=True)
        if (best, rooms) != known or i % _KEEP_EVERY == 0 or row["done"]:
            yield {**row, "best": best, "rooms": rooms}
        known = (best, rooms)


def first(rows: pd.DataFrame, column: str, value: float) -> pd.Series | None:
    """The first row of a run in which something is as much; None: it never is."""
    there = rows[rows[column] >= value]
    return None if there.empty else there.iloc[0]


def found(run: pd.DataFrame, column: str, value: float) -> tuple[str, str]:
    """Agent steps and minutes to that."""
    row = first(run, column, value)
    return ("-", "-") if row is None else (f"{row.agent_steps:,}", f"{row.seconds / 60:.1f}")


def every_run(frame: pd.DataFrame) -> list[str]:
    """One row per run."""
    rows = []
    for (variant, seed), run in _by_run(frame):
        end = run.iloc[-1]
        events = (*found(run, "best", KEY), *found(run, "rooms", SECOND_ROOM))
        rows.append((variant, seed, *events, end.rooms, f"{end.best:,.0f}", f"{end.return_mean:.1f}", *_pace(end)))
    head = ("key: steps", "minutes", "second room: steps", "minutes", "rooms", "best return", "mean return at the end")
    return table(("variant", "seed", *head, "agent steps", "steps/s"), rows)


def summary(frame: pd.DataFrame) -> list[str]:
    """One row per variant, medians over seeds; a run that did not find something counts as later than all others."""
    rows = []
    for variant, runs in _by_variant(frame):
        each = [run for _, run in runs.groupby("seed")]
        cells: list[str] = []
        for column, value in (("best", KEY), ("rooms", SECOND_ROOM)):
            events = [first(run, column, value) for run in each]
            cells.append(f"{sum(event is not None for event in events)} of {len(each)}")
            for name, scale, digits in (("agent_steps", 1, 0), ("seconds", 60, 1)):
                waits = sorted(math.inf if event is None else event[name] / scale for event in events)
                middle = waits[(len(waits) - 1) // 2]
                cells.append("-" if math.isinf(middle) else f"{middle:,.{digits}f}")
        ends = pd.DataFrame([run.iloc[-1] for run in each])
        speed = (ends.agent_steps / ends.seconds).median()
        values = (f"{ends.rooms.mean():.1f}", f"{ends.best.mean():,.0f}", f"{ends.return_mean.mean():.1f}")
        rows.append((variant, *cells, *values, f"{speed:,.0f}"))
    head = ("key", "agent steps", "minutes", "second room", "agent steps", "minutes")
    return table(("variant", *head, "rooms", "best return", "mean return at the end", "steps/s"), rows)


def _pace(end: pd.Series) -> tuple[str, str]:
    return f"{end.agent_steps:,}", f"{end.agent_steps / end.seconds:,.0f}"


def _by_variant(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for variant in VARIANTS:
        if (frame.variant == variant).any():
            yield variant, frame[frame.variant == variant]


def _by_run(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, int], pd.DataFrame]]:
    for variant, runs in _by_variant(frame):
        for seed, run in runs.groupby("seed"):
            yield (variant, int(seed)), run


def draw() -> None:
    """Rooms entered and mean return against minutes, a line per run of the longest budget."""
    frame = read(DATA)
    frame = frame[frame["size"] == frame["size"].max()]
    figure, panels = plt.subplots(2, 1, figsize=(8, 7), sharex=True)
    colors = dict(zip(VARIANTS, (*COLORS, *plt.get_cmap("tab10").colors), strict=False))  # type: ignore[attr-defined]
    for (variant, seed), run in _by_run(frame):
        label = variant if seed == frame[frame.variant == variant].seed.min() else None
        style = {"color": colors[variant], "lw": 1.3, "alpha": 0.9, "label": label}
        panels[0].step(run.seconds / 60, run.rooms, where="post", **style)
        panels[1].plot(run.seconds / 60, run.return_mean, **style)
    panels[0].set(title="rooms entered", ylim=(0, frame.rooms.max() + 1))
    panels[0].yaxis.get_major_locator().set_params(integer=True)
    panels[1].set(title=f"mean return of the last {EPISODES:,} episodes", xlabel="minutes", ylim=(0, None))
    for axes in panels:
        axes.grid(alpha=0.25)
    panels[0].legend(frameon=False, fontsize=8)
    save(figure, HERE / "montezuma.png")


def results() -> str:
    """The text of results.md: a section for each length of runs."""
    frame = read(DATA)
    sections = []
    for minutes, runs in sorted(frame.groupby("size"), reverse=True):
        blocks = [summary(runs), folded("Every run", every_run(runs))]
        sections.append(section(f"{count(int(minutes), 'minute')} each", *blocks))
    whole = [*measured(runs_of(variants_in(DATA))), "", *image("rooms and returns", "montezuma.png")]
    return document(HERE, "The first key on two cores: results", *sections, whole)


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = study_parser(__doc__)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--minutes", type=int, default=MINUTES, help="of each run (%(default)s)")
    parser.add_argument("--hours", type=float, default=math.inf, help="begin no run that would not end by then")
    args = parser.parse_args()
    if not args.report_only:
        with local_ray():
            run_missing(within(args.hours, planned(args.variants, args.seeds, args.minutes)), DATA, eventful)
    draw()
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
