"""What does each intrinsic reward cost the learner? An update with each and with none, all taking turns in one process.

    python -m benchmarks.bonuses --rounds 5

A rollout of noise with the shapes of Montezuma's Revenge, 128 steps; PPO as in the paper of RND (4 epochs of 4
minibatches, of 512 samples with 16 environments), every reward with its defaults. Sampling costs the same with all of
them but for one more value.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from benchmarks.harness import arguments, publish
from benchmarks.learner import T, build_learner, random_rollout
from benchmarks.product import paper_config
from rllib_rnd.intrinsic import INTRINSIC_REWARDS

NONE = "none"


class Runner:
    """A learner with one reward, and its times."""

    def __init__(self, name: str, num_envs: int, threads: int, gpu: bool, backbone: str) -> None:
        self.name, self.seconds = name, list[float]()
        config = paper_config("ALE/MontezumaRevenge-v5", num_envs, threads=threads, plain=True)
        config.training(intrinsic_reward=None if name == NONE else {"type": name}, backbone={"type": backbone})
        self.learner = build_learner(config.learners(num_gpus_per_learner=int(gpu)))
        # Before the first rollout, as after the warm-up of a run.
        self.rollout = random_rollout(num_envs, 1 if name == NONE else 2)
        self.learner.update_statistics([self.rollout])
        rewards = self.learner.trained_module.rewards()
        self.trained = sum(p.numel() for r in rewards for p in r.parameters() if p.requires_grad)
        self.frozen = sum(p.numel() for r in rewards for p in r.parameters() if not p.requires_grad)

    def turn(self) -> None:
        """Keeps the seconds of one update; its metrics are numbers by then, so a GPU has finished too."""
        started = time.perf_counter()
        self.learner.update_from_rollouts([self.rollout], {"num_env_steps_sampled_lifetime": 0})
        self.seconds.append(time.perf_counter() - started)

    @property
    def median(self) -> float:
        """Seconds of the median round; the first is not counted."""
        return statistics.median(self.seconds[1:])


if __name__ == "__main__":
    names = [NONE, *INTRINSIC_REWARDS.names()]
    args = arguments(__doc__, envs=16, rounds=5, threads=0, gpu=False, backbone="nature_cnn", rewards=names)
    torch.manual_seed(0)
    # What the others are compared with is always there.
    chosen = [NONE, "rnd", *(name for name in args.rewards if name not in (NONE, "rnd"))]
    runners = {name: Runner(name, args.envs, args.threads, args.gpu, args.backbone) for name in chosen}
    for i in range(args.rounds + 1):
        for runner in runners.values():
            runner.turn()
        print(f"round {i} of {args.rounds}", file=sys.stderr, flush=True)
    none, rnd = runners[NONE].median, runners["rnd"].median
    rows = [
        {
            "intrinsic reward": runner.name,
            "parameters, trained": f"{runner.trained:,}",
            "fixed": f"{runner.frozen:,}",
            "samples/s": args.envs * T / runner.median,
            "times none": runner.median / none,
            "times rnd": runner.median / rnd,
            "of the reward alone, times rnd": max(0.0, runner.median - none) / (rnd - none),
        }
        for runner in runners.values()
    ]
    notes = (
        f"One update on {args.envs} x {T} samples with {args.backbone}, {torch.get_num_threads()} threads; medians of "
        f"{args.rounds} rounds, taking turns. Times: time of the whole update over that of another; the last column "
        "leaves out what the policy costs."
    )
    publish("bonuses_gpu" if args.gpu else "bonuses", "The cost of an intrinsic reward", rows, notes)
