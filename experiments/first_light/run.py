"""First light: does it learn? Runs tuned examples over seeds and writes one CSV row per training iteration.

    python experiments/first_light/run.py cartpole deep_sea deep_sea_size minigrid montezuma
    python experiments/first_light/report.py

A study goes on where it was cut: runs that are already in the CSV are left out.
"""

from __future__ import annotations

import csv
import functools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

import rllib_rnd  # noqa: F401 - registers algorithms and environments
from rllib_rnd.experiment_file import Overrides, load_experiments
from rllib_rnd.tracking.metrics import curated

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "tuned_examples"
FIELDS = [
    "study",
    "variant",
    "size",
    "seed",
    "agent_steps",
    "seconds",
    "return_mean",
    "intrinsic_reward",
    "done",
    "commit",
]


@dataclass(frozen=True)
class Run:
    """One training run: an example with a seed, ended by its budget or by a mean return that is enough."""

    study: str
    variant: str
    example: str
    seed: int
    budget: int
    enough: float
    size: int = 0
    settings: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.study, self.variant, str(self.size), str(self.seed)


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
    elif study == "minigrid":
        for seed in range(10, 13):  # other seeds than those the settings were found with
            for variant in ("rnd", "ppo"):
                yield Run(study, variant, f"minigrid_{variant}", seed, 1_000_000, 0.9)
    else:
        raise SystemExit(f"unknown study {study!r}; there are cartpole, deep_sea, deep_sea_size, minigrid, montezuma")


def deep_sea(study: str, variant: str, size: int, seed: int, budget: int) -> Run:
    """DeepSea: every seed also draws its own action mapping; a rollout is two episodes long."""
    settings = (f"env_config.size={size}", f"env_config.mapping_seed={seed}", f"rollout_fragment_length={2 * size}")
    return Run(study, variant, f"deep_sea_{variant}", seed, budget, 0.9, size, settings)


@functools.cache
def commit() -> str:
    """The version of the code, as git names it."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()


def train(run: Run) -> Iterator[dict[str, Any]]:
    """Trains and yields one row per iteration."""
    overrides = Overrides(settings=run.settings, seed=run.seed)
    (experiment,) = load_experiments(EXAMPLES / f"{run.example}.yaml", overrides)
    algorithm = experiment.sample_config().build_algo()
    started, done = time.time(), False
    while not done:
        result = algorithm.train()
        runner, learner = result["env_runners"], result["learners"]["default_policy"]
        steps, mean_return = int(runner["num_env_steps_sampled_lifetime"]), runner.get("episode_return_mean")
        done = steps >= run.budget or (mean_return is not None and mean_return >= run.enough)
        yield {
            "study": run.study,
            "variant": run.variant,
            "size": run.size,
            "seed": run.seed,
            "agent_steps": steps,
            "seconds": round(time.time() - started, 2),
            "return_mean": "" if mean_return is None else round(float(mean_return), 5),
            "intrinsic_reward": round(float(learner.get("intrinsic_reward_mean", 0.0)), 6),
            "done": int(done),
            "commit": commit(),
        }
    algorithm.stop()


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
        path = HERE / f"{study}.csv"
        finished = set()
        if path.exists():
            with path.open() as file:
                finished = {tuple(r[k] for k in FIELDS[:4]) for r in csv.DictReader(file) if r["done"] == "1"}
        for run in planned(study):
            if run.key in finished:
                continue
            rows = list(train(run))  # written at once: a cut run leaves nothing behind
            new = not path.exists()
            with path.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                if new:
                    writer.writeheader()
                writer.writerows(rows)
            last = rows[-1]
            print(*run.key, last["agent_steps"], last["return_mean"], f"{last['seconds']} s", flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
