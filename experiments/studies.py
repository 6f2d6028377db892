"""What studies share: runs of tuned examples over seeds, one CSV row per training iteration.

A study goes on where it was cut: runs that are already in its CSV are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ray
import torch

from experiments.provenance import commit, note
from rllib_rnd import IntrinsicPPO, Rollout
from rllib_rnd.experiment.file import Overrides, load_experiments

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "tuned_examples"
KEY = ("study", "variant", "size", "seed")  # columns that tell runs apart

Row = dict[str, str | int | float]


@dataclass(frozen=True)
class Run:
    """One training run: an example with a seed, ended by its budget, its time or a mean return that is enough."""

    study: str
    variant: str
    example: str
    seed: int
    budget: int
    enough: float
    size: int = 0
    settings: tuple[str, ...] = ()
    env: str | None = None  # in place of the example's
    minutes: float = math.inf  # ends it too
    after: int = 0  # agent steps that it goes on for once it was good enough: does it stay so?

    @property
    def columns(self) -> Row:
        """What tells it apart, by the columns of `KEY`."""
        return {name: getattr(self, name) for name in KEY}

    @property
    def key(self) -> tuple[str, ...]:
        """As it stands in a CSV file."""
        return tuple(str(value) for value in self.columns.values())


def deep_sea(study: str, variant: str, size: int, seed: int, budget: int) -> Run:
    """DeepSea: every seed also draws its own action mapping; a rollout is two episodes long."""
    settings = (f"env_config.size={size}", f"env_config.mapping_seed={seed}", f"rollout_fragment_length={2 * size}")
    return Run(study, variant, f"deep_sea_{variant}", seed, budget, 0.9, size, settings)


def study_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every study has."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--report-only", action="store_true", help="run nothing: results.md and figures of the data")
    return parser


@contextlib.contextmanager
def local_ray() -> Iterator[None]:
    """Ray on this machine, for runs."""
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
    try:
        yield
    finally:
        ray.shutdown()


def build(run: Run) -> IntrinsicPPO:
    """The algorithm of a run."""
    overrides = Overrides(settings=run.settings, seed=run.seed)
    (experiment,) = load_experiments(EXAMPLES / f"{run.example}.yaml", overrides)
    config = experiment.sample_config()
    algorithm: IntrinsicPPO = (config if run.env is None else config.environment(run.env)).build_algo()
    return algorithm


def raw_bonus(algorithm: IntrinsicPPO, rollout: Rollout) -> torch.Tensor:
    """What the learner's intrinsic reward pays for a rollout of tensors, before any scaling, ``[T, N]``."""
    module = algorithm.learner_module().eval()
    bonus: torch.Tensor = module.rewards()[0].compute(rollout)[0]
    return bonus


def train(run: Run, measure: Callable[[IntrinsicPPO], Row] = lambda algorithm: {}) -> Iterator[Row]:
    """Trains and yields one row per iteration, with the columns that ``measure`` makes of the algorithm."""
    algorithm = build(run)
    started, done, last = time.monotonic(), False, run.budget
    while not done:
        result = algorithm.train()
        runner, learner = result["env_runners"], result["learners"]["default_policy"]
        steps, mean_return = int(runner["num_env_steps_sampled_lifetime"]), runner.get("episode_return_mean")
        if mean_return is not None and mean_return >= run.enough:
            last = min(last, steps + run.after)
        done = steps >= last or time.monotonic() - started >= 60 * run.minutes
        yield {
            **run.columns,
            "agent_steps": steps,
            "seconds": round(time.monotonic() - started, 2),
            "return_mean": "" if mean_return is None else round(float(mean_return), 5),
            "return_max": runner.get("episode_return_max", ""),
            "intrinsic_reward": float(f"{float(learner.get('intrinsic_reward_mean', 0.0)):.5g}"),
            "positions": runner.get("positions_visited", ""),
            "rooms": runner.get("rooms_visited", ""),
            **measure(algorithm),
            "done": int(done),
            "commit": commit(),
        }
    algorithm.stop()


def run_missing(runs: Iterable[Run], path: Path, carry_out: Callable[[Run], Iterable[Row]] = train) -> None:
    """Carries out what is not in the CSV file yet (rows with the columns of `train`) and adds it; Ray must be up."""
    finished = set()
    if path.exists():
        with path.open() as file:
            finished = {tuple(r[k] for k in KEY) for r in csv.DictReader(file) if r["done"] == "1"}
    for run in runs:
        if run.key in finished:
            continue
        rows = list(carry_out(run))  # written at once: a cut run leaves nothing behind
        append(rows, path)
        note(path.parent)
        last = rows[-1]
        told = [f"{name} {last[name]}" for name in ("agent_steps", "return_mean", "seconds") if name in last]
        print(*run.key, *told, flush=True)


def append(rows: list[Row], path: Path) -> None:
    """Adds rows to a CSV file, in the columns that it has."""
    fields = list(rows[0])
    if path.exists():
        with path.open() as file:
            fields = next(csv.reader(file))
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fields, extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerows(rows)
