"""Do backbones for images learn? Catch from pixels, each at small size, until nearly every ball is caught.

    python experiments/pixels/run.py
    python experiments/pixels/run.py --variants vit   # a part, beside another call
    python experiments/pixels/run.py --report         # results.md from what is there

Writes catch.csv, catch.png and results.md; goes on where it was cut.
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
BUDGET, ENOUGH = 500_000, 0.95
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


def report() -> None:
    """Writes results.md and the picture from the CSV file."""
    # One variant is called NA, which is no missing number.
    frame = pd.read_csv(HERE / "catch.csv", keep_default_na=False, na_values=[""])
    draw_returns(frame[frame.variant.isin(["nature_cnn", "CWCA", "vit", "michalnand_d"])], HERE / "catch.png", "Catch")
    last = frame.groupby(["variant", "seed"], as_index=False).last()
    last["rate"] = last.agent_steps / last.seconds
    lines = [
        "# Backbones on a small game in pixels: results",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), no GPU, torch {torch.__version__}; one thread per run, up to "
        f"two runs at a time. Catch, 40 x 40 pixels; a run ends at a mean return of {ENOUGH} over 100 episodes "
        f"(solved) or after {BUDGET:,} agent steps. The same settings for all, tuned_examples/catch_ppo.yaml.",
        "",
        "    python experiments/pixels/run.py",
        "",
        "| backbone | solved | median agent steps | least | most | steps/s |",
        "|---|---|---|---|---|---|",
    ]
    for variant in [name for name in BACKBONES if name in set(last.variant)]:
        rows = last[last.variant == variant]
        steps = rows.agent_steps
        lines.append(
            f"| {variant} | {(rows.return_mean >= ENOUGH).sum()} of {len(rows)} | {steps.median():,.0f} | "
            f"{steps.min():,} | {steps.max():,} | {rows.rate.median():,.0f} |"
        )
    commits = ", ".join(sorted({str(c) for c in frame.commit}))
    lines += ["", *runs_table(frame), "", f"Code: commit {commits}.", "", "![Catch](catch.png)", ""]
    (HERE / "results.md").write_text("\n".join(lines))


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--variants", nargs="+", default=list(BACKBONES), choices=list(BACKBONES))
    parser.add_argument("--report", action="store_true", help="run nothing")
    args = parser.parse_args()
    if not args.report:
        ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
        run_missing(planned(args.variants), HERE / "catch.csv")
        ray.shutdown()
    report()


if __name__ == "__main__":
    main()
