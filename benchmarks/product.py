"""Contender: `rllib_rnd` itself, `algorithm.train()` with the paper's settings on Montezuma's Revenge."""

from __future__ import annotations

import ray

import rllib_rnd
from benchmarks.harness import arguments, serve


def paper_config(
    env: str, num_envs: int, num_runners: int = 0, threads: int = 0, num_steps: int = 128, plain: bool = False
) -> rllib_rnd.IntrinsicPPOConfig:
    """The paper's settings: 4 epochs, 4 minibatches, a quarter of the samples for the predictor.

    Args:
        env: environment id.
        num_envs: environments of all runners together.
        num_runners: processes that play; 0 for the main process.
        threads: of torch in the learner; 0 for the package's own choice.
        num_steps: agent steps per environment and iteration.
        plain: PPO without intrinsic reward instead of RND.
    """
    config = (rllib_rnd.IntrinsicPPOConfig() if plain else rllib_rnd.RNDConfig()).environment(env)
    config.env_runners(
        num_env_runners=num_runners,
        num_envs_per_env_runner=num_envs // max(1, num_runners),
        rollout_fragment_length=num_steps,
    )
    config.training(
        lr=1e-4,
        gamma=0.999,
        lambda_=0.95,
        clip_param=0.1,
        entropy_coeff=0.001,
        num_epochs=4,
        num_minibatches=4,
        extrinsic_reward="sign",
        torch_threads=threads or None,
    )
    if not plain:
        config.training(warmup_steps=8, intrinsic_reward={"type": "rnd", "update_proportion": 0.25})
    config.debugging(seed=0, log_level="ERROR")
    return config


if __name__ == "__main__":
    args = arguments(
        __doc__,
        env="ALE/MontezumaRevenge-v5",
        envs=32,
        runners=0,
        steps=128,
        threads=0,
        plain=False,
        gpu=False,
        overlap=False,
        compile=False,
        autocast="none",
    )
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=max(4, args.runners + 1))
    config = paper_config(args.env, args.envs, args.runners, args.threads, args.steps, args.plain)
    config.training(autocast=args.autocast, overlap_sampling=args.overlap)
    config.framework(torch_compile_learner=args.compile, torch_compile_worker=args.compile)
    algorithm = config.learners(num_gpus_per_learner=int(args.gpu)).build_algo()

    def iterate() -> dict[str, float]:
        """One iteration."""
        result = algorithm.train()
        transfer = float(result["learners"]["default_policy"]["transfer_s"])
        timers = result["timers"]
        return {
            "agent_steps": float(args.envs * args.steps),
            "sample_s": timers["sample_s"],
            "transfer_s": transfer,
            "learn_s": timers["learn_s"] - transfer,
            "sync_s": timers["sync_s"],
        }

    serve(iterate)
    algorithm.stop()
    ray.shutdown()
