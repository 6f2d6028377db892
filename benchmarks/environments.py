"""Raw environment stepping: how many agent steps per second the emulators give, without any network.

    python -m benchmarks.environments --envs 8 32 128 512 --rounds 3

Each backend steps Montezuma's Revenge with random actions; all take turns. Wall time, and steps per CPU-second (all
threads of the process), which other work on the machine disturbs less.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time

import gymnasium as gym
import numpy as np

from benchmarks.harness import Contender, arguments, publish, race, serve

BACKENDS = ("gymnasium", "ale", "envpool", "gymnasium stock sync")


def make(backend: str, num_envs: int, threads: int) -> gym.vector.VectorEnv:
    """The package's vector environment on a backend, or gymnasium's own wrappers in its SyncVectorEnv."""
    # Each contender imports what it uses only: its peak memory is in the table.
    if backend != "gymnasium stock sync":
        from rllib_rnd.envs import make_vector_env

        config = {"backend": backend, "noop_max": 1}
        return make_vector_env("ALE/MontezumaRevenge-v5", num_envs, config, num_threads=threads)
    import ale_py
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

    gym.register_envs(ale_py)

    def one() -> gym.Env:
        env = gym.make("ALE/MontezumaRevenge-v5", frameskip=1, repeat_action_probability=0.25)
        return FrameStackObservation(AtariPreprocessing(env, noop_max=1), 4)

    return gym.vector.SyncVectorEnv([one] * num_envs)


def steps_per_s(backend: str, num_envs: int, threads: int, seconds: float) -> None:
    """Serves rounds of random play."""
    env = make(backend, num_envs, threads)
    env.reset(seed=0)
    rng = np.random.default_rng(0)

    def iterate() -> dict[str, float]:
        """Random play for some seconds."""
        started, cpu, steps = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - started < seconds:
            env.step(rng.integers(18, size=num_envs))
            steps += num_envs
        wall = time.perf_counter() - started
        return {"per_s": steps / wall, "per_cpu_s": steps / (time.process_time() - cpu)}

    serve(iterate)


if __name__ == "__main__":
    args = arguments(__doc__, envs=[8, 32, 128, 512], rounds=3, seconds=2.0, threads=0, backend="")
    threads = args.threads or os.cpu_count() or 1
    if args.backend:
        steps_per_s(args.backend, args.envs[0], threads, args.seconds)
        sys.exit()
    backends = [b for b in BACKENDS if b != "envpool" or importlib.util.find_spec("envpool")]
    rows = []
    for num_envs in args.envs:
        flags = ["--envs", str(num_envs), "--threads", str(threads), "--seconds", str(args.seconds)]
        contenders = [Contender(b, ["-m", "benchmarks.environments", "--backend", b, *flags]) for b in backends]
        race(contenders, args.rounds)
        rows += [
            {
                "environments": num_envs,
                "backend": c.name,
                "agent steps/s": c.median("per_s"),
                "agent steps per CPU-second": c.median("per_cpu_s"),
                "peak MiB": c.median("peak_mib"),
            }
            for c in contenders
        ]
    publish("environments", "Raw environment stepping", rows, f"Threads of the C++ backends: {threads}.")
