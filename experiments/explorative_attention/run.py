"""Explorative attention against a plain ViT and a CNN, with RND, on two small games in pixels.

    python -m experiments.explorative_attention.run
    python -m experiments.explorative_attention.run --tasks catch --seeds 0   # a part, beside another call
    python -m experiments.explorative_attention.run --report-only             # results.md and figures of what is there

Writes a CSV file and a figure per task and results.md; goes on where it was cut.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.auxiliary_losses.run import BUDGETS, CATCH_RND, EXAMPLES, TASKS
from experiments.pixels.run import HERE as PIXELS
from experiments.pixels.run import TASK as WITHOUT_BONUS
from experiments.report import document, image, section
from experiments.run_report import (
    curves_figure,
    measured,
    per_variant,
    runs_of,
    save,
    there,
    variants_in,
)
from experiments.short_runs import blocks_of_short_runs, sooner, steps_column, train_here
from experiments.studies import Run, run_missing, study_parser
from rllib_rnd.analysis.results.groups import Variant

HERE = Path(__file__).parent
BASELINE = "vit"
FIGURE = "catch_without_bonus"
#: Patches of two by two cells.
_PATCH = {"deep_sea_pixels": 6, "catch": 8}
_VIT = "dim: 64, depth: 2, num_heads: 4, head_dim: 16, mlp_dim: 128"
BACKBONES = {
    "nature_cnn": "type: nature_cnn, hidden_sizes: [256]",
    BASELINE: f"type: vit, {_VIT}",
    "vit_explorative, two passes": f"type: vit_explorative, passes: two, {_VIT}",
    "vit_explorative, one pass": f"type: vit_explorative, passes: one, {_VIT}",
}


def settings(task: str, backbone: str) -> tuple[str, ...]:
    """Overrides of the example."""
    own = CATCH_RND if task == "catch" else ()
    patch = "" if backbone == "nature_cnn" else f", patch_size: {_PATCH[task]}"
    return (*own, f"backbone={{{BACKBONES[backbone]}{patch}}}")


def planned(task: str, backbones: Sequence[str], seeds: Sequence[int]) -> Iterator[Run]:
    """All backbones of the first seed, then of the next: what is cut is still balanced."""
    enough = TASKS[task].enough
    assert enough is not None
    for seed in seeds:
        for name in backbones:
            own = settings(task, name)
            yield Run(task, name, EXAMPLES[task], seed, BUDGETS[task], enough, settings=own)


def without_bonus() -> list[Variant]:
    """The same backbones on Catch without a bonus: the runs of experiments/pixels."""
    return [v for v in variants_in(PIXELS / "catch.csv", list(BACKBONES)) if v.name in BACKBONES]


def section_without_bonus() -> list[str]:
    """Their steps; their seconds are those of the clock, beside other work."""
    found = without_bonus()
    names = [variant.name for variant in found]
    seeds = {variant.name: len(variant.runs) for variant in found}
    table = per_variant(names, {"seeds": seeds, **steps_column(WITHOUT_BONUS, found)})
    shown = image("Catch without a bonus", f"{FIGURE}.png")
    made = measured(runs_of(found))
    return section("Catch without a bonus, to 0.95", table, sooner(WITHOUT_BONUS, found, BASELINE), made, shown)


def results() -> str:
    """The text of results.md."""
    sections = []
    for name, task, variants in there(HERE, TASKS, list(BACKBONES)):
        sections.append(section(task.title, *blocks_of_short_runs(name, task, variants, BASELINE)))
    sections.append(section_without_bonus())
    return document(HERE, "Explorative attention, a plain ViT and a CNN: results", *sections)


def draw() -> None:
    """The figures."""
    for name, task, variants in there(HERE, TASKS, list(BACKBONES)):
        save(curves_figure(name, task, variants), HERE)
    save(
        curves_figure(FIGURE, dataclasses.replace(WITHOUT_BONUS, title="Catch without a bonus"), without_bonus()), HERE
    )


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = study_parser(__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), choices=list(BACKBONES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    if not args.report_only:
        for task in args.tasks:
            run_missing(planned(task, args.backbones, args.seeds), HERE / f"{task}.csv", train_here)
    draw()
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
