"""How far a single run of Montezuma's Revenge comes: runs that `rllib train` has made, side by side.

    python -m experiments.montezuma_runs.run results/montezuma_runs   # reads the runs of that folder, trains nothing
    python -m experiments.montezuma_runs.run --report-only            # results.md and figure of the data

Writes runs.csv, provenance.json, runs.png, a map of the rooms of each run that left the first, and results.md. What is
known of runs that are not in the folder stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.provenance import NAME, measurements
from experiments.report import COLORS, document, folded, image, read, save, section, table
from experiments.run_report import measured, runs_of, variants_in
from experiments.studies import study_parser
from rllib_rnd.analysis.results.run import Run
from rllib_rnd.analysis.results.runs import load_runs
from rllib_rnd.cli.map import draw_map

HERE = Path(__file__).parent
DATA = HERE / "runs.csv"
#: Rows of a run that are kept, at even distances, beside those in which something was found.
KEPT_ROWS = 100
KEY, MOST_ROOMS = 100.0, 4
_COLUMNS = {
    "agent_steps": "agent_steps",
    "seconds": "time_total_s",
    "return_mean": "return_mean",
    "best": "return_max",
    "rooms": "rooms_visited",
    "entropy": "entropy",
    "approx_kl": "approx_kl",
    "intrinsic_reward": "intrinsic_reward_mean",
    "intrinsic_return_std": "intrinsic_return_std",
}


def label(run: Run) -> str:
    """The folder that `rllib train --name` gave it."""
    return run.trials[0].split("/")[0]


def rows_of(run: Run) -> pd.DataFrame:
    """What is kept of a run: its best return and its rooms so far, and how it was then."""
    frame = pd.DataFrame({column: run.metrics[name] for column, name in _COLUMNS.items()})
    frame["best"] = frame.best.fillna(0.0).cummax()
    frame["rooms"] = frame.rooms.ffill().fillna(0).cummax().astype(int)
    frame["agent_steps"] = frame.agent_steps.astype(int)
    every = max(1, len(frame) // KEPT_ROWS)
    found = (frame.best.diff().fillna(0) > 0) | (frame.rooms.diff().fillna(0) > 0)
    kept = frame[found | (frame.index % every == 0) | (frame.index == len(frame) - 1)].copy()
    kept.insert(0, "variant", label(run))
    kept.insert(1, "seed", run.seed)
    return kept.assign(commit=run.provenance["commit"][:7])


def collect(storage: str) -> None:
    """Takes the runs of a folder into the data, and draws the map of each."""
    kept = [read(DATA)] if DATA.exists() else []
    known = {measurement["command"]: measurement for measurement in measurements(HERE)}
    for run in load_runs([storage]):
        kept = [rows[rows.variant != label(run)] for rows in kept]
        kept.append(rows_of(run))
        command = run.provenance["command"].replace("rllib train", "python -m rllib_rnd train", 1)
        hardware = "{cores} cores ({hardware}), torch {torch}".format(**run.provenance)
        known[command] = {"command": command, "hardware": hardware}
        if kept[-1].rooms.max() > 1:
            draw_map([str(Path(storage) / label(run))], out=str(HERE / map_of(label(run))))
    pd.concat(kept).to_csv(DATA, index=False, float_format="%.5g")
    (HERE / NAME).write_text(json.dumps([*known.values()], indent=1) + "\n")


def map_of(name: str) -> str:
    """The file with the map of a run's rooms."""
    return f"{name}_map.png"


def first(rows: pd.DataFrame, column: str, value: float) -> str:
    """When something was first as much: agent steps, and minutes."""
    there = rows[rows[column] >= value]
    return "-" if there.empty else f"{there.iloc[0].agent_steps:,}, {there.iloc[0].seconds / 60:.0f} min"


def summary(frame: pd.DataFrame) -> list[str]:
    """One row per run."""
    rows = []
    for name, run in by_run(frame):
        end = run.iloc[-1]
        found = [first(run, "best", KEY), *(first(run, "rooms", n) for n in range(2, MOST_ROOMS + 1))]
        reached = (f"{end.return_mean:,.0f}", f"{end.best:,.0f}", end.rooms)
        state = (f"{end.approx_kl:.4f}", f"{end.entropy:.2f}")
        cost = (f"{end.agent_steps:,}", f"{end.seconds / 60:.0f}", f"{end.agent_steps / end.seconds:,.0f}")
        rows.append((name, *cost, *found, *reached, *state))
    head = ("agent steps", "minutes", "steps/s", "key", *(f"room {n}" for n in range(2, MOST_ROOMS + 1)))
    return table(("run", *head, "mean return at the end", "best", "rooms", "KL", "entropy"), rows)


def by_run(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Runs in the order in which they were taken in."""
    for name in dict.fromkeys(frame.variant):
        yield name, frame[frame.variant == name]


def draw() -> None:
    """Rooms and mean return against agent steps, and against minutes."""
    frame = read(DATA)
    figure, panels = plt.subplots(2, 2, figsize=(10, 6), sharey="row", sharex="col")
    colors = (*COLORS, *plt.get_cmap("tab10").colors)  # type: ignore[attr-defined]
    for (name, run), color in zip(by_run(frame), colors, strict=False):
        for column, x in enumerate((run.agent_steps / 1e6, run.seconds / 60)):
            panels[0, column].step(x, run.rooms, where="post", color=color, label=name)
            panels[1, column].plot(x, run.return_mean, color=color)
    for axes, text in zip(panels[1], ("million agent steps", "minutes"), strict=True):
        axes.set(xlabel=text, ylim=(0, None))
    panels[0, 0].set(ylabel="rooms entered", ylim=(0, frame.rooms.max() + 1))
    panels[1, 0].set(ylabel="mean return of the last 100 episodes")
    panels[0, 0].set_yticks(np.arange(0, frame.rooms.max() + 2))
    for axes in panels.flat:
        axes.grid(alpha=0.25)
    panels[0, 0].legend(frameon=False, fontsize=8)
    save(figure, HERE / "runs.png")


def results() -> str:
    """The text of results.md."""
    frame = read(DATA)
    maps = [
        line
        for name, run in by_run(frame)
        if run.rooms.max() > 1
        for line in (*image(f"rooms of {name}", map_of(name)), "")
    ]
    return document(
        HERE,
        "How far a single run comes: results",
        section("Runs", summary(frame), measured(runs_of(variants_in(DATA)))),
        image("rooms and returns", "runs.png"),
        folded("Maps of rooms", maps[:-1]),
    )


def main() -> None:
    """Takes in what a folder has, and writes the report."""
    parser = study_parser(__doc__)
    parser.add_argument("storage", nargs="?", default="results/montezuma_runs", help="folder of runs (%(default)s)")
    args = parser.parse_args()
    if not args.report_only:
        collect(args.storage)
    draw()
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
