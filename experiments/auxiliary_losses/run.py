"""Does a representation loss on the policy's network help RND? None, BYOL and Barlow Twins, with three weights.

    python -m experiments.auxiliary_losses.run
    python -m experiments.auxiliary_losses.run --tasks catch --seeds 0   # a part, beside another call
    python -m experiments.auxiliary_losses.run --report-only             # results.md and figures of what is there

Writes a CSV file and a figure per task and results.md; goes on where it was cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.report import document, section
from experiments.run_report import Task, curves_figure, save, there
from experiments.short_runs import blocks_of_short_runs, train_here
from experiments.studies import Run, run_missing, study_parser

HERE = Path(__file__).parent
BASELINE = "rnd"
_ENOUGH = 0.9
TASKS = {
    "deep_sea_pixels": Task("DeepSea in pixels: 12 x 12 cells, 36 x 36 pixels", _ENOUGH),
    "catch": Task("Catch: 10 x 10 cells, 40 x 40 pixels", _ENOUGH),
}
BUDGETS = {"deep_sea_pixels": 60_000, "catch": 150_000}  # agent steps
EXAMPLES = {"deep_sea_pixels": "deep_sea_pixels_rnd", "catch": "catch_ppo"}
#: RND on Catch, whose example has no bonus: as in tuned_examples/sweeps/catch_explorative_asha.yaml.
CATCH_RND = (
    "extrinsic_coeff=2.0",
    "warmup_steps=64",
    "intrinsic_reward={type: rnd, gamma: 0.99, feature_dim: 64, update_proportion: 0.5}",
)
#: Projectors as wide as the features, 256; views that move by less than half a cell, or cells could not be told apart.
_SHIFT = "augmentation: shift, shift_pixels: 1"
_BYOL = "type: byol, projector_hidden: 256, projection_size: 64, predictor_hidden: 128"
_BARLOW = "type: barlow_twins, projector_sizes: [256, 256, 256]"
_WEIGHTS = (0.01, 0.1, 1)
LOSSES = {
    BASELINE: None,
    **{f"byol {weight:g}": f"{{{_BYOL}, {_SHIFT}, coeff: {weight}}}" for weight in _WEIGHTS},
    **{f"barlow_twins {weight:g}": f"{{{_BARLOW}, {_SHIFT}, coeff: {weight}}}" for weight in _WEIGHTS},
}
DRAWN = (BASELINE, "byol 0.01", "byol 1", "barlow_twins 0.01", "barlow_twins 1")


def settings(task: str, loss: str) -> tuple[str, ...]:
    """Overrides of the example."""
    own = CATCH_RND if task == "catch" else ()
    options = LOSSES[loss]
    return own if options is None else (*own, f"auxiliary_loss={options}")


def planned(task: str, losses: Sequence[str], seeds: Sequence[int]) -> Iterator[Run]:
    """All losses of the first seed, then of the next: what is cut is still balanced."""
    for seed in seeds:
        for loss in losses:
            yield Run(task, loss, EXAMPLES[task], seed, BUDGETS[task], _ENOUGH, settings=settings(task, loss))


def results() -> str:
    """The text of results.md."""
    sections = []
    for name, task, variants in there(HERE, TASKS, list(LOSSES)):
        sections.append(section(task.title, *blocks_of_short_runs(name, task, variants, BASELINE)))
    return document(HERE, "Representation losses beside RND: results", *sections)


def draw() -> None:
    """The figures: some of the weights, or the lines could not be told apart."""
    for name, task, variants in there(HERE, TASKS, list(LOSSES)):
        save(curves_figure(name, task, [variant for variant in variants if variant.name in DRAWN]), HERE)


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = study_parser(__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), choices=list(LOSSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    if not args.report_only:
        for task in args.tasks:
            run_missing(planned(task, args.losses, args.seeds), HERE / f"{task}.csv", train_here)
    draw()
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
