"""What does sampling while learning cost in learning? The same examples in turn and overlapped, over seeds.

    python -m experiments.overlap.run
    python -m experiments.overlap.run --report-only   # results.md and figures of what is there

Writes deep_sea.csv, minigrid.csv, pictures and results.md; goes on where it was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from experiments.report import document, section
from experiments.run_report import Task, blocks_of_runs, curves_figure, median_speed, save, there
from experiments.studies import Run, deep_sea, local_ray, run_missing, study_parser

HERE = Path(__file__).parent
BUDGET, ENOUGH = 1_000_000, 0.9
TASKS = {
    "deep_sea": Task("DeepSea, N = 20", ENOUGH),
    "minigrid": Task("MiniGrid-MultiRoom-N6, 80 steps (fixed layout)", ENOUGH),
}


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


def results() -> str:
    """The text of results.md."""
    sections = (
        section(task.title, *blocks_of_runs(name, task, variants, extra=median_speed(variants)))
        for name, task, variants in there(HERE, TASKS)
    )
    return document(HERE, "Sampling while learning: results", *sections)


def draw() -> None:
    """The figures."""
    for name, task, variants in there(HERE, TASKS):
        save(curves_figure(name, task, variants), HERE)


def main() -> None:
    """Runs what is missing and writes the report."""
    args = study_parser(__doc__).parse_args()
    if not args.report_only:
        with local_ray():
            for study in TASKS:
                run_missing(planned(study), HERE / f"{study}.csv")
    draw()
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
