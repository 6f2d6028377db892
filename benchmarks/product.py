"""Contender: `rllib_rnd` itself, `algorithm.train()` with the paper's settings on Montezuma's Revenge."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from _harness import arguments, serve

import rllib_rnd


def paper_config(env: str, num_envs: int, num_runners: int, update_proportion: float, threads: int) -> Any:
    """RND with the paper's settings: 128 steps, 4 epochs, 4 minibatches."""
    config = rllib_rnd.RNDConfig().environment(env)
    config.env_runners(
        num_env_runners=num_runners,
        num_envs_per_env_runner=num_envs // max(1, num_runners),
        rollout_fragment_length=128,
    )
    config.training(
        lr=1e-4,
        gamma=0.999,
        lambda_=0.95,
        clip_param=0.1,
        entropy_coeff=0.001,
        num_epochs=4,
        num_minibatches=4,
        warmup_steps=8,
        extrinsic_reward="sign",
        intrinsic_reward={"type": "rnd", "update_proportion": update_proportion},
        torch_threads=threads or None,
    )
    return config.debugging(seed=0, log_level="ERROR")


if __name__ == "__main__":
    import ray

    args = arguments(__doc__, env="ALE/MontezumaRevenge-v5", envs=32, runners=0, proportion=0.25, threads=0)
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=max(4, args.runners + 1))
    algorithm = paper_config(args.env, args.envs, args.runners, args.proportion, args.threads).build_algo()

    def iterate() -> dict[str, float]:
        """One iteration."""
        result = algorithm.train()
        timers = result["timers"]
        return {
            "agent_steps": float(args.envs * 128),
            "sample_s": timers["sample_s"],
            "learn_s": timers["learn_s"],
            "sync_s": timers["sync_s"],
        }

    serve(iterate)
    algorithm.stop()
    ray.shutdown()
