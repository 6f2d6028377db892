"""First light: does it learn? Runs tuned examples over seeds and writes one CSV row per training iteration.

    python experiments/first_light/run.py cartpole deep_sea deep_sea_size minigrid point_maze montezuma
    python experiments/first_light/report.py

A study goes on where it was cut: runs that are already in the CSV are left out.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ray

sys.path.insert(0, str(Path(__file__).parents[1]))
from studies import EXAMPLES, Run, commit, deep_sea, run_missing

from rllib_rnd.tracking.metrics import curated

HERE = Path(__file__).parent


def planned(study: str) -> Iterator[Run]:
    """The runs of a study."""
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
                yield Run(study, variant, f"minigrid_{variant}", seed, 1_000_000, 0.9)
    else:
        raise SystemExit(
            f"unknown study {study!r}; there are cartpole, deep_sea, deep_sea_size, minigrid, point_maze, montezuma"
        )


def montezuma() -> None:
    """Trains on Montezuma's Revenge through the command line, or goes on with it, and keeps the metrics as a CSV."""
    settings = ("num_env_runners=0", "num_envs_per_env_runner=32", "torch_threads=1")
    storage, name = HERE / "results", "montezuma"
    command = [Path(sys.executable).with_name("rllib"), "train", "file", EXAMPLES / "montezuma_rnd_32envs.yaml"]
    command += ["--stop", "agent_steps=1000000", "--seed", "0", "--storage", storage, "--name", name]
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


def main(studies: list[str]) -> None:
    """Runs what is missing of the named studies."""
    if "montezuma" in studies:
        studies.remove("montezuma")
        montezuma()
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
    for study in studies:
        run_missing(planned(study), HERE / f"{study}.csv")
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
