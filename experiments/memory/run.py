"""What is a memory worth? FNN-1, FNN-8, GRU and IAM in the Warehouse, its memory variant, and MiniGrid.

    python experiments/memory/run.py                            # everything, one run after the other
    python experiments/memory/run.py --studies warehouse --variants IAM GRU   # a part, beside another call
    python experiments/memory/run.py --report                   # results.md from what is there

Writes a CSV and a picture per study and results.md; goes on where it was cut.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import ray
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from studies import Run, draw_returns, run_missing, runs_table

HERE = Path(__file__).parent
TITLES = {
    "warehouse": "Warehouse, 4 million agent steps",
    "warehouse_memory": "WarehouseMemory, where the oldest item pays most",
    "minigrid_memory": "MiniGrid-MemoryS7, success rate",
}
VARIANTS = ("FNN-1", "FNN-8", "GRU", "IAM")
# In the Warehouse by example, elsewhere as changes of one example.
WAREHOUSE = {"FNN-1": "warehouse_fnn", "FNN-8": "warehouse_fnn8", "GRU": "warehouse_gru", "IAM": "warehouse_iam"}
_ITEMS = "[25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36]"
MEMORY = {
    "FNN-1": "{type: fnn, hidden_sizes: [128, 128]}",
    "GRU": "{type: gru, hidden_sizes: [128], memory_size: 64, max_seq_len: 16}",
    "IAM": f"{{type: iam, d_set: static, d_set_indices: {_ITEMS}, hidden_sizes: [128, 128], memory_size: 64, "
    "max_seq_len: 16}",
}
MINIGRID = {
    "FNN-1": "{type: fnn, hidden_sizes: [128, 128]}",
    "GRU": "{type: gru, hidden_sizes: [128], memory_size: 64, max_seq_len: 16}",
    "IAM": "{type: iam, d_set: linear, d_set_size: 32, hidden_sizes: [128, 64], memory_size: 64, max_seq_len: 16}",
}
NOTES = {
    "warehouse": """\
| published, last tenth of 4 million steps | FNN-1 | FNN-8 | GRU or LSTM | IAM |
|---|---|---|---|---|
| the paper, its figure 5 (steps of 8 environments at once) | 39.4 | 35.6 | 35.4 | 41.0 |
| A2C reproduction, 8 environments | 33.4 | 38.4 | 39.6 | 39.8 |
| A2C reproduction, 16 environments | 40.4 | 39.9 | 40.5 | 41.7 |
| PPO reproduction | 35.5 | 34.8 | 39.6 | 38.4 |

For scale: random play 9.3, the nearest item 43.4, the nearest item that can be reached in time, ages known, 44.1.
""",
    "minigrid_memory": """\
No test of memory at this size: the network without one learns it as well, if later.
""",
}


def planned(study: str, variants: list[str]) -> Iterator[Run]:
    """Three seeds of each variant."""
    for seed in range(3):
        for variant in variants:
            if study == "warehouse":
                yield Run(study, variant, WAREHOUSE[variant], seed, 4_000_000, 100.0)
            elif study == "warehouse_memory" and variant in MEMORY:
                settings = (f"backbone={MEMORY[variant]}",)
                yield Run(study, variant, "warehouse_memory_iam", seed, 1_000_000, 100.0, settings=settings)
            elif study == "minigrid_memory" and variant in MINIGRID:
                settings = (f"backbone={MINIGRID[variant]}",)
                yield Run(study, variant, "minigrid_memory_gru", seed, 1_500_000, 0.97, settings=settings)


def summary(frame: pd.DataFrame) -> list[str]:
    """One row per variant: its runs' returns over the last tenth of their steps, and their speed."""
    lines = ["| variant | seeds | mean return, last tenth | lowest | highest | steps/s |", "|---|---|---|---|---|---|"]
    for variant, runs in frame.groupby("variant"):
        last = [rows[rows.agent_steps > 0.9 * rows.agent_steps.max()] for _, rows in runs.groupby("seed")]
        means = [rows.return_mean.mean() for rows in last]
        rates = [rows.agent_steps.iloc[-1] / rows.seconds.iloc[-1] for rows in last]
        mean = sum(means) / len(means)
        lines.append(
            f"| {variant} | {len(means)} | {mean:.4g} | {min(means):.4g} | {max(means):.4g} | "
            f"{sum(rates) / len(rates):,.0f} |"
        )
    return lines


def report() -> None:
    """Writes results.md and the pictures from the CSV files."""
    lines = [
        "# What a memory is worth: results",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), no GPU, torch {torch.__version__}; one thread per run, up to "
        "two runs at a time. Means are over the last 100 episodes of training.",
        "",
        "    python experiments/memory/run.py",
        "",
    ]
    for study, title in TITLES.items():
        path = HERE / f"{study}.csv"
        if not path.exists():
            continue
        frame = pd.read_csv(path)
        draw_returns(frame, HERE / f"{study}.png", title)
        lines += [f"## {title}", "", *summary(frame), ""]
        if study in NOTES:
            lines += [NOTES[study]]
        commits = ", ".join(sorted({str(c) for c in frame.commit}))
        lines += [*runs_table(frame), "", f"Code: commit {commits}.", "", f"![{title}]({study}.png)", ""]
    (HERE / "results.md").write_text("\n".join(lines))


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--studies", nargs="+", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--report", action="store_true", help="run nothing")
    args = parser.parse_args()
    if not args.report:
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
        for study in args.studies:
            run_missing(planned(study, args.variants), HERE / f"{study}.csv")
        ray.shutdown()
    report()


if __name__ == "__main__":
    main()
