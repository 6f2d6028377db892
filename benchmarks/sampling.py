"""Sampling only: the package's runner against RLlib's stock runner, on the same environment and network.

    python -m benchmarks.sampling --envs 8 32 --rounds 4

``floor`` does nothing but step the environment and run the network's forward pass; the overhead of a runner is what
it takes beyond that.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from benchmarks.harness import Contender, arguments, publish, race, serve
from benchmarks.product import paper_config
from rllib_rnd.envs import make_vector_env

T = 128
ENV = "ALE/MontezumaRevenge-v5"


def contend(kind: str, num_envs: int, backend: str) -> None:
    """Serves one rollout per round."""
    torch.set_num_threads(1)
    config = paper_config(ENV, num_envs, threads=1).environment(env_config={"backend": backend})
    config.validate()
    runner = config.env_runner_cls(config=config, worker_index=0, num_workers=0, tune_trial_id=None)
    if kind == "rllib_rnd":
        serve(lambda: {"agent_steps": float(runner.sample().valid.size)})
    elif kind == "RLlib stock":
        # The stock sampling loop is what evaluation uses: one Python object per step and environment.
        evaluation = config.copy(copy_frozen=False)
        evaluation.in_evaluation = True
        evaluation.validate()
        stock = config.env_runner_cls(config=evaluation, worker_index=0, num_workers=0, tune_trial_id=None)

        def iterate() -> dict[str, float]:
            """As many steps as a rollout has."""
            episodes = stock.sample(num_timesteps=T * num_envs, random_actions=False)
            return {"agent_steps": float(sum(len(e) for e in episodes))}

        serve(iterate)
    else:
        env, module = make_vector_env(ENV, num_envs, {"backend": backend}, num_threads=1), runner.module
        obs = env.reset(seed=0)[0]
        rng = np.random.default_rng(0)

        def floor() -> dict[str, float]:
            """Environment steps and forward passes."""
            nonlocal obs
            started = time.perf_counter()
            with torch.inference_mode():
                for _ in range(T):
                    module.policy_and_values(torch.from_numpy(obs))
                    obs = env.step(rng.integers(18, size=num_envs))[0]
            return {"agent_steps": float(T * num_envs), "seconds": time.perf_counter() - started}

        serve(floor)


if __name__ == "__main__":
    args = arguments(__doc__, envs=[8, 32], rounds=4, kind="", backend="gymnasium")
    if args.kind:
        contend(args.kind, args.envs[0], args.backend)
        sys.exit()
    rows = []
    for num_envs in args.envs:
        kinds = ("floor", "rllib_rnd", "RLlib stock")
        flags = ["--envs", str(num_envs), "--backend", args.backend]
        contenders = [Contender(kind, ["-m", "benchmarks.sampling", "--kind", kind, *flags]) for kind in kinds]
        race(contenders, args.rounds)
        floor = contenders[0].median("seconds") / contenders[0].median("agent_steps")
        for c in contenders:
            cost = c.median("seconds") / c.median("agent_steps")
            rows.append(
                {
                    "environments": num_envs,
                    "runner": c.name,
                    "agent steps/s": 1.0 / cost,
                    "overhead over environment + forward %": 100.0 * (cost / floor - 1.0),
                    "peak MiB": c.median("peak_mib"),
                }
            )
    publish("sampling", "Sampling only", rows, f"One torch thread; Atari backend {args.backend}.")
