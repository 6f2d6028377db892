"""Runs one cell of each study's table again, and fails where it leaves the interval of what is stored.

    make benchmark-quick
    python -m experiments.quick                              # every cell, about ten minutes on one core
    python -m experiments.quick --studies memory pixels      # some

A cell's interval is the 95 % prediction interval for a further run (Student's t over the stored seeds, of the logarithm
where the number is one of agent steps): a change of the code that alters the random stream makes a further run of a
stored seed. A single stored run has no interval; its number may move by a quarter. Nothing is written.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.long_runs import rows_in
from experiments.report import table
from experiments.studies import HERE, Run, deep_sea, local_ray, train

_TOLERANCE = 0.25  # of a number of which there is one run
_LEAST = 0.02  # half a width of an interval over its middle: seeds may all end alike


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is cheap to run again.

    Attributes:
        name: of its row, and what its number is.
        stored: the number of each stored seed.
        again: runs it and returns the number.
        in_steps: whether it is one of agent steps.
    """

    name: str
    stored: Callable[[], list[float]]
    again: Callable[[], float]
    in_steps: bool = False


def interval_of(stored: list[float], in_steps: bool = False) -> tuple[float, float]:
    """Where a further run lies with a probability of 95 %, if runs differ as the stored ones do.

    Args:
        stored: a number per run.
        in_steps: its logarithm is taken, for steps to a goal have a long tail.
    """
    from scipy.stats import t

    values = np.log(stored) if in_steps else np.asarray(stored, dtype=np.float64)
    middle, runs = float(values.mean()), len(values)
    least = _LEAST if in_steps else _LEAST * abs(middle)
    if runs == 1:
        width = math.log1p(_TOLERANCE) if in_steps else _TOLERANCE * abs(middle)
    else:
        width = float(t.ppf(0.975, runs - 1) * values.std(ddof=1) * math.sqrt(1 + 1 / runs))
    low, high = middle - max(width, least), middle + max(width, least)
    return (math.exp(low), math.exp(high)) if in_steps else (low, high)


# --- cells that are runs --------------------------------------------------------------------------------------------


def rows_of(study: str, name: str, variant: str, size: int = 0) -> dict[str, list[dict[str, str]]]:
    """The stored rows of a variant, by seed."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows_in(HERE / study / f"{name}.csv"):
        if row["variant"] == variant and row.get("size", str(size)) == str(size):
            found.setdefault(row["seed"], []).append(row)
    return found


def first_enough(rows: list[dict[str, str]], enough: float) -> float:
    """Agent steps of the first row that is good enough; of the last one where none is."""
    known = [row for row in rows if row["return_mean"]]
    return float(next((row for row in known if float(row["return_mean"]) >= enough), rows[-1])["agent_steps"])


def solved(study: str, name: str, run: Run) -> Cell:
    """Agent steps after which a run is good enough and ends."""

    def stored() -> list[float]:
        return [first_enough(rows, run.enough) for rows in rows_of(study, name, run.variant, run.size).values()]

    def again() -> float:
        _, high = interval_of(stored(), in_steps=True)
        short = dataclasses.replace(run, budget=math.ceil(high) + 1, after=0)
        with local_ray():
            return float([row["agent_steps"] for row in train(short)][-1])

    size = f", N = {run.size}" if run.size else ""
    return Cell(f"{run.variant}{size}, seed {run.seed}: agent steps to {run.enough:g}", stored, again, in_steps=True)


def first_bonus(study: str, name: str, run: Run, agent_steps: int) -> Cell:
    """The mean intrinsic reward of a run's first iterations."""

    def mean(rows: Iterator[Mapping[str, object]]) -> float:
        first = [row for row in rows if int(str(row["agent_steps"])) <= agent_steps]
        return float(np.mean([float(str(row["intrinsic_reward"])) for row in first]))

    def stored() -> list[float]:
        return [mean(iter(rows)) for rows in rows_of(study, name, run.variant, run.size).values()]

    def again() -> float:
        with local_ray():
            return mean(iter(list(train(dataclasses.replace(run, budget=agent_steps - 1)))))

    return Cell(f"{run.variant}, seed {run.seed}: mean bonus of the first {agent_steps:,} agent steps", stored, again)


def _run(runs: Iterator[Run], variant: str, seed: int) -> Run:
    """The one that a study plans."""
    return next(run for run in runs if (run.variant, run.seed) == (variant, seed))


def first_light() -> Cell:
    """DeepSea, N = 10."""
    return solved("first_light", "deep_sea_size", deep_sea("deep_sea_size", "rnd", 10, 0, 3_000_000))


def bonus_check() -> Cell:
    """MiniGrid with counts."""
    from experiments.bonus_check.run import planned

    return solved("bonus_check", "minigrid", _run(planned("minigrid", ["count"], [1]), "count", 1))


def overlap() -> Cell:
    """DeepSea, in turn."""
    from experiments.overlap.run import planned

    return solved("overlap", "deep_sea", _run(planned("deep_sea"), "in turn", 23))


def pixels() -> Cell:
    """Catch with the smallest network."""
    from experiments.pixels.run import planned

    return solved("pixels", "catch", _run(planned(["NA"]), "NA", 0))


def auxiliary_losses() -> Cell:
    """DeepSea in pixels with RND and the middle weight of BYOL."""
    from experiments.auxiliary_losses.run import planned

    (run,) = planned("deep_sea_pixels", ["byol 0.1"], [0])
    return solved("auxiliary_losses", "deep_sea_pixels", run)


def explorative_attention() -> Cell:
    """Catch with RND and the CNN."""
    from experiments.explorative_attention.run import planned

    (run,) = planned("catch", ["nature_cnn"], [0])
    return solved("explorative_attention", "catch", run)


def memory() -> Cell:
    """MiniGrid's Memory with influence-aware memory."""
    from experiments.memory.run import planned

    return solved("memory", "minigrid_memory", _run(planned("minigrid_memory", ["IAM"]), "IAM", 0))


def snd_vs_rnd() -> Cell:
    """Montezuma's Revenge, the first four iterations."""
    from experiments.snd_vs_rnd.run import planned

    run = _run(planned(["rnd"], [0]), "rnd", 0)
    return first_bonus("snd_vs_rnd", "montezuma", run, 16_500)


def montezuma_laptop() -> Cell:
    """Montezuma's Revenge in fewer environments, the first iteration."""
    from experiments.montezuma_laptop.run import planned

    run = _run(planned(["narrower"], [0], 1), "narrower", 0)
    return first_bonus("montezuma_laptop", "montezuma", run, 8_192)


def montezuma_runs() -> Cell:
    """Montezuma's Revenge in 256 environments, the first iteration."""
    run = Run("montezuma", "laptop", "montezuma_rnd_laptop", 0, 32_768, math.inf)
    return first_bonus("montezuma_runs", "runs", run, 32_768)


def minigrid_benchmark() -> Cell:
    """DoorKey-8x8 with RND."""
    from experiments.minigrid_benchmark.tasks import TASKS, planned

    name = "doorkey_8x8"
    (run,) = planned([name], ["rnd"], [0])
    return solved("minigrid_benchmark", name, dataclasses.replace(run, enough=TASKS[name].threshold))


# --- cells that are no runs -----------------------------------------------------------------------------------------


def reference_returns() -> Cell:
    """The Warehouse, nearest item: the mean return of 2,000 episodes."""
    from experiments.reference_returns.run import planned, play

    env_id, policy = "rllib_rnd/Warehouse-v0", "nearest item"

    def stored() -> list[float]:
        rows = json.loads((HERE / "reference_returns" / "results.json").read_text())
        return [row["mean return"] for row in rows if (row["env"], row["policy"]) == (env_id, policy)]

    def again() -> float:
        (entry,) = (entry for entry in planned() if entry[0] == env_id and entry[-1] is not None)
        return float(str(play(*entry)["mean return"]))

    return Cell(f"{env_id}, {policy}: mean return", stored, again)


def self_attention() -> Cell:
    """The published table: games won by one variant, which is arithmetic only."""
    from experiments.self_attention.run import scores
    from rllib_rnd.analysis.results.score_sections import wins_table

    def stored() -> list[float]:
        lines = (HERE / "self_attention" / "results.md").read_text().splitlines()
        row = next(line for line in lines if line.startswith(("| SWA |", "| **SWA**")))
        return [float(row.split("|")[2].strip(" *"))]

    def again() -> float:
        return next(float(str(row[1])) for row in wins_table(scores()).rows if row[0] == "SWA")

    return Cell("SWA: games won", stored, again)


def insight() -> Cell:
    """Catch, dimensional self-attention untrained: how much of its map is columns."""
    name = "weighted values"

    def stored() -> list[float]:
        with (HERE / "insight" / "axis.csv").open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if (r["game"], r["variant"], r["map"]) == ("catch", "SWA", name)]
        return [float(row["column_share"]) for row in rows if row["trained"] == "0"]

    def again() -> float:
        from experiments.insight.axis import effects, maps, own_actions, states_of
        from rllib_rnd.analysis.agent import Agent
        from rllib_rnd.experiment.file import Overrides, load_experiments

        settings = ("backbone={type: self_attention, variant: SWA}",)
        (experiment,) = load_experiments(HERE / "insight" / "catch.yaml", Overrides(settings=settings, seed=0))
        with local_ray(), tempfile.TemporaryDirectory() as folder:
            algorithm = experiment.sample_config().build_algo()
            algorithm.save_to_path(folder)
            algorithm.stop()
            agent = Agent.load(Path(folder), "explain").untrained(0)
            states = own_actions(agent, states_of("catch", agent))
            return float(np.nanmean(effects(maps(agent, states)[name].values)[1]))

    return Cell(f"Catch, SWA untrained, {name}: share of columns", stored, again)


CELLS: Mapping[str, Callable[[], Cell]] = {
    found.__name__: found
    for found in (
        first_light,
        bonus_check,
        overlap,
        pixels,
        auxiliary_losses,
        explorative_attention,
        memory,
        snd_vs_rnd,
        montezuma_laptop,
        montezuma_runs,
        minigrid_benchmark,
        reference_returns,
        self_attention,
        insight,
    )
}


def check(study: str, cell: Cell) -> tuple[bool, list[str]]:
    """Runs a cell again; whether it stays in its interval, and the row that says so."""
    stored = cell.stored()
    low, high = interval_of(stored, cell.in_steps)
    started = time.monotonic()
    now = cell.again()
    fine = low <= now <= high
    numbers = [f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}" for value in (low, high, now)]
    seconds = f"{time.monotonic() - started:.0f}"
    told = "yes" if fine else "NO"
    return fine, [study, cell.name, str(len(stored)), f"{numbers[0]} to {numbers[1]}", numbers[2], seconds, told]


def main() -> int:
    """Prints a row per cell; 1 if one has left its interval."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--studies", nargs="+", default=list(CELLS), choices=list(CELLS))
    head = ("study", "cell", "stored runs", "interval", "now", "seconds", "inside")
    rows, fine = [], True
    for study in parser.parse_args().studies:
        inside, row = check(study, CELLS[study]())
        fine &= inside
        rows.append(row)
        print(*row, sep=" | ", flush=True)
    print("", *table(head, rows), sep="\n")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
