"""Memory as predicted against memory as used: the main process and, where there are some, the runners.

    python -m benchmarks.memory

Each setting trains two iterations in a process of its own; used is the largest resident size that the kernel saw. The
prediction is an upper bound: "predicted / used" is to be 1 or more, and 1.25 or less where learning is most of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from benchmarks.harness import ROOT, arguments, publish
from benchmarks.product import paper_config
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.experiment.file import load_experiments
from rllib_rnd.memory import predict

_ITERATIONS = 2


def example(name: str, **settings: Any) -> Callable[[], IntrinsicPPOConfig]:
    """One of the tuned examples with other settings."""

    def build() -> IntrinsicPPOConfig:
        (experiment,) = load_experiments(ROOT / "tuned_examples" / f"{name}.yaml")
        return experiment.sample_config(torch_threads=1, **settings)  # type: ignore[return-value]

    return build


SETTINGS: dict[str, Callable[[], IntrinsicPPOConfig]] = {
    "DeepSea, MLP, RND": example("deep_sea_rnd"),
    "Montezuma, CNN, RND, 32 environments": lambda: paper_config("ALE/MontezumaRevenge-v5", 32, threads=1),
    "MiniGrid, GRU": example("minigrid_memory_gru"),
    "Montezuma, ViT, RND, 8 environments": example(
        "montezuma_rnd_vit",
        num_env_runners=0,
        num_envs_per_env_runner=8,
        rollout_fragment_length=32,
        num_minibatches=4,
        warmup_steps=8,
    ),
    "Montezuma, CNN, RND, 2 runners of 16": lambda: paper_config("ALE/MontezumaRevenge-v5", 32, 2, threads=1),
}


def peak() -> int:
    """Largest resident size of this process so far, bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def measure(name: str) -> dict[str, int]:
    """Trains with one setting and compares."""
    config = SETTINGS[name]().debugging(seed=0, log_level="ERROR")
    config.evaluation(evaluation_interval=None).training(num_epochs=1)  # memory is that of the first
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=4)
    algorithm = config.build_algo()
    try:
        for _ in range(_ITERATIONS):
            algorithm.train()
        used = {"main": peak(), "runner": 0}
        if config.num_env_runners:
            runners = algorithm.env_runner_group.foreach_env_runner(lambda _: peak(), local_env_runner=False)
            used["runner"] = max(runners)
        module = algorithm.get_module()
        need = predict(config, (module.observation_space, module.action_space))  # last: it takes memory itself
    finally:
        algorithm.stop()
        ray.shutdown()
    return used | {"predicted main": need.main_process, "predicted runner": need.runner}


def rows(name: str, found: dict[str, int]) -> list[dict[str, object]]:
    """A row of each process."""
    return [
        {
            "setting": name,
            "process": process,
            "predicted MiB": found[f"predicted {process}"] / 2**20,
            "used MiB": found[process] / 2**20,
            "predicted / used": found[f"predicted {process}"] / found[process],
        }
        for process in ("main", "runner")
        if found[process]
    ]


if __name__ == "__main__":
    args = arguments(__doc__, only="")
    if args.only:
        answer = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        answer.write(json.dumps(measure(args.only)))
        answer.flush()
        sys.exit()
    table = []
    for setting in SETTINGS:
        command = [sys.executable, "-m", "benchmarks.memory", "--only", setting]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        table += rows(setting, json.loads(done.stdout))
        print(table[-1], file=sys.stderr, flush=True)
    publish("memory", "Memory, predicted and used", table, "Peak resident size after two iterations.")
