"""Do backbones for images learn? Catch from pixels, each at small size, until nearly every ball is caught.

    python -m experiments.pixels.run
    python -m experiments.pixels.run --variants vit   # a part, beside another call
    python -m experiments.pixels.run --report-only    # results.md and figures of what is there

Writes catch.csv, catch.png and results.md; goes on where it was cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from experiments.report import (
    document,
    draw_returns,
    image,
    last_rows,
    measured,
    read,
    runs_table,
    solved,
    table,
)
from experiments.studies import Run, local_ray, run_missing, study_parser

HERE = Path(__file__).parent
BUDGET, ENOUGH = 500_000, 0.95
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


def summary(frame: pd.DataFrame) -> list[str]:
    """One row per backbone: how many runs solved the task, and their agent steps."""
    rows, last = [], last_rows(frame)
    for variant in [name for name in BACKBONES if name in set(last.variant)]:
        ends = last[last.variant == variant]
        steps = [f"{ends.agent_steps.agg(of):,.0f}" for of in ("median", "min", "max")]
        rows.append((variant, solved(ends, ENOUGH), *steps, f"{ends.rate.median():,.0f}"))
    return table(("backbone", "solved", "median agent steps", "least", "most", "steps/s"), rows)


def results() -> str:
    """The text of results.md."""
    frame = read(HERE / "catch.csv")
    blocks = (summary(frame), runs_table(frame), measured(frame), image("Catch", "catch.png"))
    return document(HERE, "Backbones on a small game in pixels: results", *blocks)


def draw() -> None:
    """The figure: some of the backbones, or the lines could not be told apart."""
    frame = read(HERE / "catch.csv")
    draw_returns(frame[frame.variant.isin(DRAWN)], HERE / "catch.png", "Catch")


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
