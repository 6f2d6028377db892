"""What does each backbone cost? Acting and training with policy and critics on top, all taking turns in one process.

    python -m benchmarks.backbones --rounds 5

Stacks of 4 x 84 x 84 bytes, 18 actions, two value streams. Acting: one forward pass of a batch of observations without
gradients. Training: forward and backward of as many samples as the learner takes at once; recurrent backbones read
sequences of their max_seq_len steps.
"""

from __future__ import annotations

import statistics
import sys
import time

import gymnasium as gym
import numpy as np
import torch

from benchmarks.harness import arguments, publish
from rllib_rnd.module import IntrinsicPPOModule

SPECS: dict[str, dict[str, object]] = {
    "nature_cnn": {"type": "nature_cnn"},
    "openai_cnn": {"type": "openai_cnn"},
    "michalnand_a": {"type": "michalnand_a"},
    "michalnand_b": {"type": "michalnand_b"},
    "michalnand_c": {"type": "michalnand_c"},
    "michalnand_d": {"type": "michalnand_d"},
    **{f"self_attention {v}": {"type": "self_attention", "variant": v} for v in ("NA", "SWA", "CWRA", "CWCA", "CWRCA")},
    "vit": {"type": "vit"},
    "vit_explorative, two passes": {"type": "vit_explorative", "passes": "two"},
    "vit_explorative, one pass": {"type": "vit_explorative", "passes": "one"},
    "fnn": {"type": "fnn"},
    "gru": {"type": "gru"},
    "lstm": {"type": "lstm"},
    "iam static": {"type": "iam", "d_set": "static"},
    "iam linear": {"type": "iam", "d_set": "linear"},
    "iam attention": {"type": "iam", "d_set": "attention"},
}


class Runner:
    """A policy with critics over one backbone, and its times."""

    def __init__(self, name: str, device: str) -> None:
        self.name, self.times = name, {"act": list[float](), "train": list[float]()}
        space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
        self.module = IntrinsicPPOModule(
            observation_space=space,
            action_space=gym.spaces.Discrete(18),
            inference_only=True,  # a second stream, as RND adds one, but not its networks
            model_config={
                "backbone": SPECS[name],
                "intrinsic_rewards": [{"type": "rnd"}],
                "auxiliary_losses": [],
                "frame_stack": 4,
            },
        ).to(device)
        self.parameters = sum(p.numel() for p in self.module.parameters())

    def act(self, obs: torch.Tensor) -> None:
        """One step of as many environments as there are observations."""
        self.module.eval()
        first = torch.zeros((1, len(obs)), dtype=torch.bool, device=obs.device)
        with torch.inference_mode():
            self.module.policy_and_values(obs, None, first)

    def train(self, obs: torch.Tensor) -> None:
        """Forward and backward pass of all observations."""
        self.module.train()
        length = self.module.backbone.max_seq_len
        first = torch.zeros((length, len(obs) // length), dtype=torch.bool, device=obs.device)
        outputs, values, _ = self.module.policy_and_values(obs, None, first)
        (outputs.square().mean() + values.square().mean()).backward()
        self.module.zero_grad(set_to_none=True)

    def measure(self, what: str, obs: torch.Tensor) -> None:
        """Keeps the seconds of one call."""
        started = time.perf_counter()
        getattr(self, what)(obs)
        if obs.is_cuda:
            torch.cuda.synchronize()
        self.times[what].append(time.perf_counter() - started)

    def rate(self, what: str, count: int) -> float:
        """Samples per second, the median round; the first is not counted."""
        return count / statistics.median(self.times[what][1:])


if __name__ == "__main__":
    args = arguments(__doc__, acting=32, training=512, rounds=5, threads=0, gpu=False, backbones=list(SPECS))
    if args.threads:
        torch.set_num_threads(args.threads)
    device = "cuda" if args.gpu else "cpu"
    torch.manual_seed(0)
    runners = [Runner(name, device) for name in args.backbones]
    batches = {
        what: torch.randint(0, 256, (size, 4, 84, 84), dtype=torch.uint8, device=device)
        for what, size in (("act", args.acting), ("train", args.training))
    }
    for i in range(args.rounds + 1):
        for runner in runners:
            for what, obs in batches.items():
                runner.measure(what, obs)
        print(f"round {i} of {args.rounds}", file=sys.stderr, flush=True)
    first = runners[0]
    rows = [
        {
            "backbone": runner.name,
            "parameters": f"{runner.parameters:,}",
            "acting, samples/s": runner.rate("act", args.acting),
            f"times {first.name}": first.rate("act", 1) / runner.rate("act", 1),
            "training, samples/s": runner.rate("train", args.training),
            f"times {first.name} ": first.rate("train", 1) / runner.rate("train", 1),
        }
        for runner in runners
    ]
    notes = (
        f"Acting: batches of {args.acting}; training: {args.training} samples, {torch.get_num_threads()} threads; "
        f"medians of {args.rounds} rounds, taking turns. Times: time of a pass over that of {first.name}."
    )
    publish("backbones_gpu" if args.gpu else "backbones", "The cost of a backbone", rows, notes)
