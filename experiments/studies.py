"""What studies share: runs of tuned examples over seeds, one CSV row per training iteration, tables and curves.

A study goes on where it was cut: runs that are already in its CSV are left out.
"""

from __future__ import annotations

import csv
import functools
import math
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

import rllib_rnd  # noqa: F401 - registers algorithms and environments
from rllib_rnd.experiment.file import Overrides, load_experiments

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "tuned_examples"
COLORS = ("#0b6e99", "#b3541e", "#3d8b37", "#7a3e9d", "#8a8a8a")
KEY = ("study", "variant", "size", "seed")  # columns that tell runs apart


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

    @property
    def columns(self) -> dict[str, Any]:
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


@functools.cache
def commit() -> str:
    """The version of the code, as git names it."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()


def build(run: Run) -> Any:
    """The algorithm of a run."""
    overrides = Overrides(settings=run.settings, seed=run.seed)
    (experiment,) = load_experiments(EXAMPLES / f"{run.example}.yaml", overrides)
    config = experiment.sample_config()
    return (config if run.env is None else config.environment(run.env)).build_algo()


def train(run: Run, measure: Callable[[Any], dict[str, Any]] = lambda algorithm: {}) -> Iterator[dict[str, Any]]:
    """Trains and yields one row per iteration, with the columns that ``measure`` makes of the algorithm."""
    algorithm = build(run)
    started, done = time.time(), False
    while not done:
        result = algorithm.train()
        runner, learner = result["env_runners"], result["learners"]["default_policy"]
        steps, mean_return = int(runner["num_env_steps_sampled_lifetime"]), runner.get("episode_return_mean")
        done = steps >= run.budget or (mean_return is not None and mean_return >= run.enough)
        done = done or time.time() - started >= 60 * run.minutes
        yield {
            **run.columns,
            "agent_steps": steps,
            "seconds": round(time.time() - started, 2),
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


def run_missing(runs: Iterable[Run], path: Path, carry_out: Callable[[Run], Iterable[dict[str, Any]]] = train) -> None:
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
        last = rows[-1]
        told = [f"{name} {last[name]}" for name in ("agent_steps", "return_mean", "seconds") if name in last]
        print(*run.key, *told, flush=True)


def append(rows: list[dict[str, Any]], path: Path) -> None:
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


def runs_table(frame: pd.DataFrame) -> list[str]:
    """One Markdown row per run: the state in which it ended."""
    lines = [
        "| variant | N | seed | agent steps | mean return (last 100 episodes) | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for (variant, size, seed), rows in frame.groupby(["variant", "size", "seed"]):
        last = rows.iloc[-1]
        shown = size if size else "-"
        lines.append(
            f"| {variant} | {shown} | {seed} | {last.agent_steps:,} | {last.return_mean:.3g} | {last.seconds:.0f} |"
        )
    return lines


def draw_returns(frame: pd.DataFrame, path: Path, title: str) -> None:
    """Mean return against agent steps, one line per run."""
    figure, axes = plt.subplots(figsize=(7, 4))
    colors = dict(zip(sorted(frame.variant.unique(), reverse=True), COLORS, strict=False))
    for (variant, _), rows in frame.groupby(["variant", "seed"]):
        axes.plot(rows.agent_steps, rows.return_mean, color=colors[variant], alpha=0.8, lw=1.4)
    for variant, color in colors.items():
        axes.plot([], [], color=color, label=f"{variant} ({frame.seed.nunique()} seeds)")
    axes.set(xlabel="agent steps", ylabel="mean return", title=title)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Writes and closes a figure."""
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
