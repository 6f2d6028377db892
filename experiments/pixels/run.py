"""Do backbones for images learn? Catch from pixels, each at small size, until nearly every ball is caught.

    python -m experiments.pixels.run
    python -m experiments.pixels.run --variants vit   # a part, beside another call
    python -m experiments.pixels.run --report-only    # results.md and figures of what is there

Writes catch.csv, catch.png and results.md; goes on where it was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from experiments.report import document
from experiments.run_report import Task, blocks_of_runs, curves_figure, median_speed, save, variants_in
from experiments.studies import Run, local_ray, run_missing, study_parser

HERE = Path(__file__).parent
BUDGET, ENOUGH = 500_000, 0.95
TASK = Task("Catch", ENOUGH)
DRAWN = ("nature_cnn", "CWCA", "vit", "michalnand_d")
_VIT = "patch_size: 8, dim: 64, depth: 2, num_heads: 4, head_dim: 16, mlp_dim: 128"
BACKBONES = {
    "nature_cnn": "{type: nature_cnn, hidden_sizes: [256]}",
    "michalnand_a": "{type: michalnand_a, hidden_sizes: [256, 256]}",
    "michalnand_b": "{type: michalnand_b, hidden_sizes: [256]}",
    "michalnand_c": "{type: michalnand_c, hidden_sizes: [256]}",
    "michalnand_d": "{type: michalnand_d, hidden_sizes: [256]}",
    **{v: f"{{type: self_attention, variant: {v}}}" for v in ("NA", "SWA", "CWRA", "CWCA", "CWRCA")},
    "vit": f"{{type: vit, {_VIT}}}",
    "vit_explorative, two passes": f"{{type: vit_explorative, passes: two, {_VIT}}}",
    "vit_explorative, one pass": f"{{type: vit_explorative, passes: one, {_VIT}}}",
    "gru": "{type: gru, hidden_sizes: [64], memory_size: 64, max_seq_len: 8}",
}


def planned(variants: list[str]) -> Iterator[Run]:
    """Three seeds of each backbone."""
    for seed in range(3):
        for variant in variants:
            settings = (f"backbone={BACKBONES[variant]}",)
            yield Run("catch", variant, "catch_ppo", seed, BUDGET, ENOUGH, settings=settings)


def results() -> str:
    """The text of results.md."""
    variants = variants_in(HERE / "catch.csv", list(BACKBONES))
    blocks = blocks_of_runs("catch", TASK, variants, extra=median_speed(variants))
    return document(HERE, "Backbones on a small game in pixels: results", *blocks)


def draw() -> None:
    """The figure: some of the backbones, or the lines could not be told apart."""
    variants = variants_in(HERE / "catch.csv", list(BACKBONES))
    save(curves_figure("catch", TASK, [variant for variant in variants if variant.name in DRAWN]), HERE)


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = study_parser(__doc__)
    parser.add_argument("--variants", nargs="+", default=list(BACKBONES), choices=list(BACKBONES))
    args = parser.parse_args()
    if not args.report_only:
        with local_ray():
            run_missing(planned(args.variants), HERE / "catch.csv")
    draw()
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
