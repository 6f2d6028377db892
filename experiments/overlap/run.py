"""What does sampling while learning cost in learning? The same examples in turn and overlapped, over seeds.

    python experiments/overlap/run.py

Writes deep_sea.csv, minigrid.csv, pictures and results.md; goes on where it was cut.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import ray
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from studies import Run, deep_sea, draw_returns, run_missing, runs_table

HERE = Path(__file__).parent
TITLES = {"deep_sea": "DeepSea, N = 20", "minigrid": "MiniGrid-MultiRoom-N6, 80 steps (fixed layout)"}


def planned(study: str) -> Iterator[Run]:
    """Five seeds, one runner of its own in both variants: only the order of playing and learning differs."""
    for seed in range(20, 25):
        if study == "deep_sea":
            base = deep_sea(study, "rnd", 20, seed, 1_000_000)
        else:
            base = Run(study, "rnd", "minigrid_rnd", seed, 1_000_000, 0.9)
        for variant, overlap in (("in turn", "false"), ("overlapped", "true")):
            settings = (*base.settings, "num_env_runners=1", f"overlap_sampling={overlap}")
            yield replace(base, variant=variant, settings=settings)


def main() -> None:
    """Runs what is missing and writes the report."""
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
    lines = [
        "# Sampling while learning: results",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), no GPU, torch {torch.__version__}; one runner, one learner. "
        "A run ends at a mean return of 0.9 (solved) or after 1,000,000 agent steps.",
        "",
        "    python experiments/overlap/run.py",
        "",
    ]
    for study, title in TITLES.items():
        path = HERE / f"{study}.csv"
        run_missing(planned(study), path)
        frame = pd.read_csv(path)
        draw_returns(frame, HERE / f"{study}.png", title)
        last = frame.groupby(["variant", "seed"], as_index=False).last()
        last["rate"] = last.agent_steps / last.seconds
        lines += [f"## {title}", "", "| variant | solved | median agent steps | median steps/s |", "|---|---|---|---|"]
        for variant, rows in last.groupby("variant"):
            solved = f"{(rows.return_mean >= 0.9).sum()} of {len(rows)}"
            lines.append(f"| {variant} | {solved} | {rows.agent_steps.median():,.0f} | {rows.rate.median():,.0f} |")
        commits = ", ".join(sorted(set(frame.commit)))
        lines += ["", *runs_table(frame), "", f"Code: commit {commits}.", "", f"![{title}]({study}.png)", ""]
    (HERE / "results.md").write_text("\n".join(lines))
    ray.shutdown()


if __name__ == "__main__":
    main()
