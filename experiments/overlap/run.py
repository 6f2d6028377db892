"""What does sampling while learning cost in learning? The same examples in turn and overlapped, over seeds.

    python -m experiments.overlap.run
    python -m experiments.overlap.run --report-only   # results.md and figures of what is there

Writes deep_sea.csv, minigrid.csv, pictures and results.md; goes on where it was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from experiments.report import document, draw_runs, last_rows, sections_of_runs, solved, table
from experiments.studies import Run, deep_sea, local_ray, run_missing, study_parser

HERE = Path(__file__).parent
BUDGET, ENOUGH = 1_000_000, 0.9
TITLES = {"deep_sea": "DeepSea, N = 20", "minigrid": "MiniGrid-MultiRoom-N6, 80 steps (fixed layout)"}


def planned(study: str) -> Iterator[Run]:
    """Five seeds, one runner of its own in both variants: only the order of playing and learning differs."""
    for seed in range(20, 25):
        if study == "deep_sea":
            base = deep_sea(study, "rnd", 20, seed, BUDGET)
        else:
            base = Run(study, "rnd", "minigrid_rnd", seed, BUDGET, ENOUGH)
        for variant, overlap in (("in turn", "false"), ("overlapped", "true")):
            settings = (*base.settings, "num_env_runners=1", f"overlap_sampling={overlap}")
            yield replace(base, variant=variant, settings=settings)


def summary(frame: pd.DataFrame) -> list[str]:
    """One row per variant: how many runs solved the task, and medians."""
    rows = (
        (variant, solved(last, ENOUGH), f"{last.agent_steps.median():,.0f}", f"{last.rate.median():,.0f}")
        for variant, last in last_rows(frame).groupby("variant")
    )
    return table(("variant", "solved", "median agent steps", "median steps/s"), rows)


def results() -> str:
    """The text of results.md."""
    return document(HERE, "Sampling while learning: results", *sections_of_runs(HERE, TITLES, summary))


def main() -> None:
    """Runs what is missing and writes the report."""
    args = study_parser(__doc__).parse_args()
    if not args.report_only:
        with local_ray():
            for study in TITLES:
                run_missing(planned(study), HERE / f"{study}.csv")
    draw_runs(HERE, TITLES)
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
