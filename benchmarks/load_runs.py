"""How long a storage of many long runs takes to load, as ``rllib report`` and its kin do, and what memory it takes.

The storage has as many runs as asked for, in experiments of five seeds, with results like those of ``rllib train
file``: the timers, metrics and the 12 kB of configuration that RLlib repeats in each. One file is made and linked into
all trial folders, so that the disk need not hold 30 GB; it is read from the page cache.

    python -m benchmarks.load_runs --runs 200 --rows 10000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from rllib_rnd.analysis.results.groups import grouped
from rllib_rnd.analysis.results.runs import load_runs
from rllib_rnd.tracking.metrics import METRICS

SEEDS = 5
STEPS = 4096  # of an iteration


def main() -> None:
    """Makes the storage, loads it, prints seconds and memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--config-bytes", type=int, default=12_400)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        size = make_storage(Path(folder), args.runs, args.rows, args.config_bytes)
        print(f"{args.runs} runs of {args.rows:,} rows, {args.runs * size / 1e9:.1f} GB of results")
        for what, names in (("all metrics", None), ("return_mean alone", ("return_mean",))):
            before, cpu = time.perf_counter(), time.process_time()
            runs = load_runs([folder], names)
            tasks = grouped(runs)
            seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
            variants = sum(map(len, tasks.values()))
            print(f"{what}: {seconds:.1f} s ({cpu:.1f} s of CPU), {len(runs)} runs, {variants} variants, "
                  f"one of {runs[0].thinned} rows, {len(runs[0].metrics)} metrics")  # fmt: skip
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB, imports among it")


def make_storage(storage: Path, runs: int, rows: int, config_bytes: int) -> int:
    """Makes experiments of five seeds each; returns the bytes of a run's results."""
    first = storage / "result.json"
    with first.open("w") as file:
        for i in range(1, rows + 1):
            file.write(json.dumps(result(i, config_bytes)) + "\n")
    for number in range(runs):
        home = storage / f"rnd_{number // SEEDS}"
        trial = home / f"IntrinsicPPO_{number:05d}_00000_seed={number % SEEDS}_2026-01-01_00-00-{number % 60:02d}"
        trial.mkdir(parents=True)
        config = {"env": "rllib_rnd/Catch-v0", "seed": number % SEEDS, "lr": 1e-4 * (1 + number // SEEDS)}
        (trial / "params.json").write_text(json.dumps(config))
        stop = {"env_runners/num_env_steps_sampled_lifetime": rows * STEPS}
        description = {"run": "IntrinsicPPO", "single": False, "stop": stop}
        record = {"experiment": home.name, "command": "", "start": "", "description": description}
        (home / "run.json").write_text(json.dumps(record))
        os.link(first, trial / "result.json")
    size = first.stat().st_size
    first.unlink()
    return size


def result(iteration: int, config_bytes: int) -> dict[str, Any]:
    """A result as RLlib logs it."""
    nested: dict[str, Any] = {}
    for number, metric in enumerate(METRICS):
        section = nested
        *parts, last = metric.paths[0].split("/")
        for part in parts:
            section = section.setdefault(part, {})
        section[last] = iteration / (number + 1.0)
    nested["env_runners"]["num_env_steps_sampled_lifetime"] = iteration * STEPS
    nested["learners"]["default_policy"]["plugins"] = {f"loss_{i}": iteration * 0.1 * i for i in range(4)}
    nested["learners"]["__all_modules__"] = {f"num_{i}": float("nan") for i in range(4)}
    nested["training_iteration"] = iteration
    ended = {"timestamp": 1_790_000_000 + iteration, "pid": 1, "hostname": "elsewhere", "time_total_s": iteration * 1.5}
    config = {f"setting_{i}": "x" * 80 for i in range(config_bytes // 100)}
    return {
        **nested,
        **ended,
        "config": config,
        "time_since_restore": iteration * 1.5,
        "iterations_since_restore": iteration,
    }


if __name__ == "__main__":
    main()
