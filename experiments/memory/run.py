"""What is a memory worth? FNN-1, FNN-8, GRU and IAM in the Warehouse, its memory variant, and MiniGrid.

    python -m experiments.memory.run                            # everything, one run after the other
    python -m experiments.memory.run --studies warehouse --variants IAM GRU   # a part, beside another call
    python -m experiments.memory.run --report-only              # results.md and figures of what is there

Writes a CSV and a picture per study and results.md; goes on where it was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from experiments.report import document, draw_runs, sections_of_runs, table
from experiments.studies import Run, local_ray, run_missing, study_parser

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
    rows = []
    for variant, runs in frame.groupby("variant"):
        last = [rows[rows.agent_steps > 0.9 * rows.agent_steps.max()] for _, rows in runs.groupby("seed")]
        means = [rows.return_mean.mean() for rows in last]
        rates = [rows.agent_steps.iloc[-1] / rows.seconds.iloc[-1] for rows in last]
        returns = [f"{value:.4g}" for value in (sum(means) / len(means), min(means), max(means))]
        rows.append((variant, len(means), *returns, f"{sum(rates) / len(rates):,.0f}"))
    return table(("variant", "seeds", "mean return, last tenth", "lowest", "highest", "steps/s"), rows)


def results() -> str:
    """The text of results.md."""
    return document(HERE, "What a memory is worth: results", *sections_of_runs(HERE, TITLES, summary))


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = study_parser(__doc__)
    parser.add_argument("--studies", nargs="+", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    args = parser.parse_args()
    if not args.report_only:
        with local_ray():
            for study in args.studies:
                run_missing(planned(study, args.variants), HERE / f"{study}.csv")
    draw_runs(HERE, TITLES)
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
