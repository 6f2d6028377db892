"""Learner only: samples per second on a rollout of random frames, and the share of the machine's arithmetic.

    python -m benchmarks.learner --envs 32 128 --rounds 3

The limit is the number of multiply-adds of all passes (counted by torch's FLOP counter on one update) over the rate of
large matrix products, measured in the same call. Compares the allocator that keeps freed memory with glibc's default.
"""

from __future__ import annotations

import sys
import time

import gymnasium as gym
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import Contender, arguments, matmul_rate, publish, race, serve
from benchmarks.product import paper_config
from rllib_rnd import IntrinsicPPOConfig
from rllib_rnd.rollout import Rollout
from rllib_rnd.training.learner import IntrinsicPPOLearner

T, K, ACTIONS = 128, 4, 18


def random_rollout(num_envs: int, streams: int = 2) -> Rollout:
    """A rollout of noise with the shapes of Montezuma's Revenge; ``streams`` of rewards, the extrinsic one included."""
    rng = np.random.default_rng(0)
    rollout = Rollout.empty(T, num_envs, (84, 84), num_streams=streams, frame_stack=K)
    rollout.frames[:] = rng.integers(0, 256, rollout.frames.shape, dtype=np.uint8)
    rollout.action[:] = rng.integers(0, ACTIONS, rollout.action.shape)
    rollout.logp[:] = -np.log(ACTIONS)
    return rollout


def build_learner(config: IntrinsicPPOConfig) -> IntrinsicPPOLearner:
    """A learner for Montezuma's Revenge, without environments."""
    config.validate()
    spaces: tuple[gym.Space, gym.Space] = (gym.spaces.Box(0, 255, (K, 84, 84), np.uint8), gym.spaces.Discrete(ACTIONS))
    learner: IntrinsicPPOLearner = config.build_learner(
        spaces={"__env__": spaces, "__env_single__": spaces, "default_policy": spaces}
    )
    return learner


def contend(keep: bool, num_envs: int, threads: int, gpu: bool) -> None:
    """Serves one update per round; the first also counts its floating point operations."""
    config = paper_config("ALE/MontezumaRevenge-v5", num_envs, threads=threads).training(keep_freed_memory=keep)
    config.learners(num_gpus_per_learner=int(gpu))
    learner = build_learner(config)
    rollout, steps = random_rollout(num_envs), {"num_env_steps_sampled_lifetime": 0}
    counted: dict[str, float] = {}

    def iterate() -> dict[str, float]:
        """One update."""
        if not counted:
            with FlopCounterMode(display=False) as counter:
                learner.update_from_rollouts([rollout], steps)
            counted["flop"] = float(counter.get_total_flops())
        started = time.perf_counter()
        learner.update_from_rollouts([rollout], steps)
        # Its metrics are numbers by now, so a GPU has finished too.
        return {"seconds": time.perf_counter() - started, **counted}

    serve(iterate)


if __name__ == "__main__":
    args = arguments(__doc__, envs=[32, 128], rounds=3, threads=0, allocator="", gpu=False)
    if args.allocator:
        contend(args.allocator == "keep", args.envs[0], args.threads, args.gpu)
        sys.exit()
    if args.threads:
        torch.set_num_threads(args.threads)
    rows: list[dict[str, object]] = []
    for num_envs in args.envs:
        flags = ["--envs", str(num_envs), "--threads", str(args.threads), *(["--gpu"] * args.gpu)]
        allocators = ("keep",) if args.gpu else ("default", "keep")
        contenders = [Contender(a, ["-m", "benchmarks.learner", "--allocator", a, *flags]) for a in allocators]
        race(contenders, args.rounds)
        rate = matmul_rate(2.0, "cuda" if args.gpu else "cpu")
        for c in contenders:
            gflops = c.median("flop") / c.median("seconds") / 1e9
            rows.append(
                {
                    "environments": num_envs,
                    "freed memory": c.name,
                    "samples/s (each 4 times)": num_envs * T / c.median("seconds"),
                    "GFLOP per update": c.median("flop") / 1e9,
                    "GFLOP/s": gflops,
                    "share of matmul rate %": 100.0 * gflops / rate,
                    "peak MiB": c.median("peak_mib"),
                    **({"GPU peak MiB": c.median("gpu_peak_mib")} if args.gpu else {}),
                }
            )
    publish("learner_gpu" if args.gpu else "learner", "Learner only", rows)
