"""Montezuma's Revenge on a small machine: where the time goes from the paper's setting to the laptop's, rooms told.

    python -m benchmarks.montezuma                                   # all settings, one after the other
    python -m benchmarks.montezuma --settings paper laptop --steps 32 --rounds 2

Each setting is ``tuned_examples/montezuma_rnd_laptop.yaml`` with some lines changed back. *emulator* is no training:
random play through the same environments, what the machine gives at most. Core-seconds are those of all processes;
other work on the machine disturbs them less than it does the time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ray

from benchmarks.harness import ROOT, Contender, arguments, publish, race, serve
from rllib_rnd.envs import make_vector_env
from rllib_rnd.experiment.file import Overrides, load_experiments

EXAMPLE = ROOT / "tuned_examples" / "montezuma_rnd_laptop.yaml"
_PAPERS = "backbone={type: nature_cnn}", "intrinsic_reward={type: rnd, update_proportion: %s}"
_TWO_EPOCHS = "num_epochs=2", "num_minibatches=8"
#: What is different from the example, line by line.
SETTINGS: dict[str, tuple[str, ...]] = {
    "paper": (
        "env_config.frame_size=84",
        "num_envs_per_env_runner=32",
        "num_epochs=4",
        "num_minibatches=4",
        _PAPERS[0],
        _PAPERS[1] % 1.0,
    ),
    "wide": (*_TWO_EPOCHS, "env_config.frame_size=84", _PAPERS[0], _PAPERS[1] % 0.125),
    "wide, small networks": (*_TWO_EPOCHS, "env_config.frame_size=84"),
    "wide, small frames": (*_TWO_EPOCHS, _PAPERS[0], _PAPERS[1] % 0.125),
    "laptop, two epochs": _TWO_EPOCHS,
    "laptop": (),
    "laptop, mlp": ("backbone={type: mlp, hidden_sizes: [256, 256]}",),
}
EMULATOR = "emulator"
_STEPS = 128  # of a rollout of the example


def core_seconds() -> float:
    """Of this process and all its descendants that are there."""
    seconds, tick = dict[int, float](), os.sysconf("SC_CLK_TCK")
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        pid = int(stat.parent.name)
        parents[pid], seconds[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / tick
    family, found = {os.getpid()}, 0
    while len(family) > found:
        found = len(family)
        family |= {pid for pid, parent in parents.items() if parent in family}
    return sum(seconds.get(pid, 0.0) for pid in family)


def _counted(iterate: Callable[[], dict[str, float]]) -> Callable[[], dict[str, float]]:
    def counted() -> dict[str, float]:
        before = core_seconds()
        return {**iterate(), "core_s": core_seconds() - before}

    return counted


def train(settings: tuple[str, ...], backend: str, steps: int) -> None:
    """Serves one iteration per round."""
    changes = [*settings, f"env_config.backend={backend}", f"rollout_fragment_length={steps}", "warmup_steps=8"]
    if steps < _STEPS:  # minibatches of the same size
        (whole,) = load_experiments(EXAMPLE, Overrides(settings=settings))
        minibatches = int(whole.sample_config().num_minibatches)
        changes.append(f"num_minibatches={max(1, minibatches * steps // _STEPS)}")
    (experiment,) = load_experiments(EXAMPLE, Overrides(settings=tuple(changes), seed=0))
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=4)
    started = time.perf_counter()
    algorithm = experiment.sample_config().build_algo()
    ready = time.perf_counter() - started

    def iterate() -> dict[str, float]:
        result = algorithm.train()
        timers, runner = result["timers"], result["env_runners"]
        return {
            "agent_steps": float(runner["num_env_steps_sampled"]),
            "sample_s": float(timers["sample_s"]),
            "learn_s": float(timers["learn_s"]),
            "ready_s": ready,
        }

    serve(_counted(iterate))
    algorithm.stop()
    ray.shutdown()


def play(num_envs: int, backend: str, steps: int) -> None:
    """Serves random play."""
    started = time.perf_counter()
    env = make_vector_env("ALE/MontezumaRevenge-v5", num_envs, {"backend": backend, "frame_size": 42})
    env.reset(seed=0)
    ready, rng = time.perf_counter() - started, np.random.default_rng(0)

    def iterate() -> dict[str, float]:
        began = time.perf_counter()
        for _ in range(steps):
            env.step(rng.integers(18, size=num_envs))
        seconds = time.perf_counter() - began
        return {"agent_steps": float(steps * num_envs), "sample_s": seconds, "learn_s": 0.0, "ready_s": ready}

    serve(_counted(iterate))
    env.close()


def main() -> None:
    """One row per setting."""
    names = [EMULATOR, *SETTINGS]
    args = arguments(__doc__, settings=names, backend="gymnasium", steps=_STEPS, rounds=2, setting="")
    if args.setting == EMULATOR:
        return play(256, args.backend, args.steps)
    if args.setting:
        return train(SETTINGS[args.setting], args.backend, args.steps)
    if unknown := set(args.settings) - set(names):
        sys.exit(f"--settings: unknown {sorted(unknown)}; allowed: {names}")
    rows: list[dict[str, object]] = []
    for name in args.settings:
        flags = ["--setting", name, "--backend", args.backend, "--steps", str(args.steps)]
        contender = Contender(name, ["-m", "benchmarks.montezuma", *flags])
        race([contender], args.rounds)  # one at a time: each takes the memory and the cores of the machine
        steps = contender.median("agent_steps")
        rows.append(
            {
                "setting": name,
                "agent steps/s": steps / contender.median("seconds"),
                "sampling s per 1,000": 1000 * contender.median("sample_s") / steps,
                "learning s per 1,000": 1000 * contender.median("learn_s") / steps,
                "core-seconds per 1,000": 1000 * contender.median("core_s") / steps,
                "ready after s": contender.median("ready_s"),
                "peak MiB of the main process": contender.median("peak_mib"),
            }
        )
    notes = f"Backend {args.backend}, rollouts of {args.steps} steps, 256 environments (paper: 32)."
    publish("montezuma", "Montezuma's Revenge on a small machine", rows, notes)


if __name__ == "__main__":
    main()
