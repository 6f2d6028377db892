"""First light: does it learn? Tuned examples over seeds, and Montezuma's Revenge.

    python -m experiments.first_light.run
    python -m experiments.first_light.run --studies cartpole deep_sea   # a part, beside another call
    python -m experiments.first_light.run --report-only                 # results.md and figures of what is there

Writes a CSV and a picture per study and results.md; goes on where it was cut.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from experiments.first_light.report import MONTEZUMA_SEED, STUDIES, draw, results
from experiments.provenance import commit, note
from experiments.studies import EXAMPLES, Run, deep_sea, local_ray, run_missing, study_parser
from rllib_rnd.tracking.metrics import curated

HERE = Path(__file__).parent


def planned(study: str) -> Iterator[Run]:
    """The runs of a study; that of Montezuma's Revenge is `montezuma`."""
    if study == "cartpole":
        for variant, enough in (("ppo", 450.0), ("rnd", 400.0)):
            for seed in range(3):
                yield Run(study, variant, f"cartpole_{variant}", seed, 200_000, enough)
    elif study == "deep_sea":
        for variant in ("rnd", "ppo"):
            for seed in range(5):
                yield deep_sea(study, variant, 20, seed, 1_000_000)
    elif study == "deep_sea_size":
        for size in (10, 30, 40):
            for seed in range(3):
                yield deep_sea(study, "rnd", size, seed, 3_000_000)
    elif study == "point_maze":
        for seed in range(3):
            for variant, budget in (("rnd", 2_000_000), ("ppo", 1_000_000)):
                yield Run(study, variant, f"point_maze_{variant}", seed, budget, 0.95)
    elif study == "minigrid":
        for seed in range(10, 13):  # other seeds than those the settings were found with
            for variant in ("rnd", "ppo"):
                yield Run(study, variant, f"minigrid_{variant}", seed, 1_000_000, 0.9, after=200_000)


def montezuma() -> None:
    """Trains on Montezuma's Revenge through the command line, or goes on with it, and keeps the metrics as a CSV."""
    settings = ("num_env_runners=0", "num_envs_per_env_runner=32", "torch_threads=1")
    storage, name = HERE / "results", "montezuma"
    command = [Path(sys.executable).with_name("rllib"), "train", "file", EXAMPLES / "montezuma_rnd_32envs.yaml"]
    command += ["--stop", "agent_steps=1000000", "--seed", str(MONTEZUMA_SEED), "--storage", storage, "--name", name]
    command += [word for setting in settings for word in ("--set", f"config.{setting}")]
    command += ["--resume"] if (storage / name).exists() else []
    subprocess.run([str(word) for word in command], check=True)
    (results,) = (storage / name).glob("*/result.json")
    found = [curated(json.loads(line)) for line in results.read_text().splitlines()]
    rows = [{**{key: f"{value:.6g}" for key, value in row.items()}, "commit": commit()} for row in found]
    with (HERE / "montezuma.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    note(HERE)


def main() -> None:
    """Runs what is missing and writes the report."""
    parser = study_parser(__doc__)
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=list(STUDIES))
    args = parser.parse_args()
    if not args.report_only:
        if "montezuma" in args.studies:
            montezuma()
        with local_ray():
            for study in args.studies:
                run_missing(planned(study), HERE / f"{study}.csv")
    draw()
    (HERE / "results.md").write_text(results())


if __name__ == "__main__":
    main()
