"""Where a second torch thread begins to pay: whole iterations of the package, alone and beside a busy process.

    python -m benchmarks.threads --widths 64 128 256 512 1024 --envs 32 --rounds 6

RND on DeepSea 10 with two hidden layers per width, then on Montezuma's Revenge with 2 and 8 environments (the Nature
CNN); 64 steps, 4 minibatches, 4 epochs. The contenders of a row are one thread and all cores. "busy" is the same race
while as many other processes compute as `--busy` says.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import ray

import rllib_rnd
from benchmarks.harness import Contender, arguments, publish, race, serve
from rllib_rnd.training.work import forward_flops

_STEPS = 64


def serve_package(width: int, envs: int, threads: int) -> None:
    """One contender: iterations of RND with vectors (``width`` of its layers), or with pictures (width 0)."""
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=4, address="local")
    config = rllib_rnd.RNDConfig()
    if width:
        config.environment("rllib_rnd/DeepSea-v0", env_config={"size": 10})
        config.training(backbone={"type": "mlp", "hidden_sizes": [width, width]})
    else:
        config.environment("ALE/MontezumaRevenge-v5")
    config.env_runners(num_envs_per_env_runner=envs, rollout_fragment_length=_STEPS)
    config.training(lr=3e-4, warmup_steps=8, torch_threads=threads).debugging(seed=0, log_level="ERROR")
    algorithm = config.build_algo()
    flops = forward_flops(algorithm.config, algorithm.learner_module())

    def iterate() -> dict[str, float]:
        timers = algorithm.train()["timers"]
        return {"mflop": flops / 1e6, "sample_s": timers["sample_s"], "learn_s": timers["learn_s"]}

    serve(iterate)
    algorithm.stop()
    ray.shutdown()


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Other processes that compute meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def contenders(width: int, envs: int) -> list[Contender]:
    """One thread against all cores."""
    words = ["-m", "benchmarks.threads", "--serve", "--widths", str(width), "--envs", str(envs), "--threads"]
    return [Contender(str(n), [*words, str(n)]) for n in (1, os.cpu_count() or 1)]


def row(width: int, envs: int, rounds: int, others: int) -> dict[str, object]:
    """Medians of both contenders, without and with other work on the machine."""
    alone, beside = contenders(width, envs), contenders(width, envs)
    race(alone, rounds)
    with busy(others):
        race(beside, rounds)
    one, all_cores = alone
    return {
        "network": f"mlp, 2 x {width}" if width else f"nature_cnn, {envs} environments",
        "MFLOP per pass": one.median("mflop"),
        "s, 1 thread": one.median("seconds"),
        f"s, {all_cores.name} threads": all_cores.median("seconds"),
        "gain in learning": one.median("learn_s") / all_cores.median("learn_s"),
        "gain": one.median("seconds") / all_cores.median("seconds"),
        "gain, busy": beside[0].median("seconds") / beside[1].median("seconds"),
    }


if __name__ == "__main__":
    args = arguments(__doc__, widths=[64, 128, 256, 512, 1024], envs=32, rounds=6, busy=1, threads=1, serve=False)
    if args.serve:
        serve_package(args.widths[0], args.envs, args.threads)
    else:
        cases = [(width, args.envs) for width in args.widths] + [(0, 2), (0, 8)]
        rows = [row(width, envs, args.rounds, args.busy) for width, envs in cases]
        notes = f"A gain is the seconds of one thread over those of all. Busy: {args.busy} other process that computes."
        publish("threads", "Where threads begin to pay", rows, notes)
