"""PPO against PPO: the package without intrinsic reward and RLlib's stock PPO take turns.

    python -m benchmarks.stock_ppo --envs 8 32 --rounds 2

The same game, preprocessing (84 x 84 gray, four frames), layers (Nature convolutions, 256, 448), rollouts of 128 steps,
4 epochs and 4 minibatches; each with the sampling loop and learner it brings.
"""

from __future__ import annotations

import sys

import ale_py
import gymnasium as gym
import numpy as np
import ray
import torch
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation, TransformObservation
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune import register_env

from benchmarks.harness import Contender, arguments, publish, race, serve

T = 128


def montezuma(_: object = None) -> gym.Env:
    """Gymnasium's own wrappers, in the layout that RLlib's convolutions read: ``[84, 84, 4]`` floats in 0..1."""
    gym.register_envs(ale_py)
    env: gym.Env = gym.make("ALE/MontezumaRevenge-v5", frameskip=1, repeat_action_probability=0.25)
    env = FrameStackObservation(AtariPreprocessing(env, noop_max=1), 4)
    space = gym.spaces.Box(0.0, 1.0, (84, 84, 4), np.float32)
    return TransformObservation(env, lambda x: np.moveaxis(x, 0, -1).astype(np.float32) / 255.0, space)


def stock(num_envs: int) -> None:
    """Serves iterations of RLlib's PPO."""
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=4)
    register_env("montezuma", montezuma)
    config = PPOConfig().environment("montezuma").debugging(seed=0, log_level="ERROR")
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=num_envs, rollout_fragment_length=T)
    config.training(
        lr=1e-4,
        gamma=0.999,
        lambda_=0.95,
        clip_param=0.1,
        entropy_coeff=0.001,
        use_kl_loss=False,
        num_epochs=4,
        train_batch_size_per_learner=T * num_envs,
        minibatch_size=T * num_envs // 4,
    )
    network = DefaultModelConfig(
        conv_filters=[[32, 8, 4], [64, 4, 2], [64, 3, 1]],
        conv_activation="relu",
        head_fcnet_hiddens=[256, 448],
        vf_share_layers=True,
    )
    algorithm = config.rl_module(model_config=network).build_algo()

    def iterate() -> dict[str, float]:
        """One iteration."""
        timers = algorithm.train()["timers"]
        return {"sample_s": timers["env_runner_sampling_timer"], "learn_s": timers["learner_update_timer"]}

    serve(iterate)


if __name__ == "__main__":
    args = arguments(__doc__, envs=[8, 32], rounds=2, threads=0, stock=False)
    if args.stock:
        if args.threads:
            torch.set_num_threads(args.threads)
        stock(args.envs[0])
        sys.exit()
    rows = []
    for num_envs in args.envs:
        flags = ["--envs", str(num_envs), "--threads", str(args.threads)]
        contenders = [
            Contender("rllib_rnd PPO", ["-m", "benchmarks.product", "--plain", *flags]),
            Contender("RLlib PPO", ["-m", "benchmarks.stock_ppo", "--stock", *flags]),
        ]
        race(contenders, args.rounds)
        theirs = contenders[1].median("seconds")
        rows += [
            {
                "environments": num_envs,
                "program": c.name,
                "agent steps/s": T * num_envs / c.median("seconds"),
                "times RLlib": theirs / c.median("seconds"),
                "sampling s": c.median("sample_s"),
                "learning s": c.median("learn_s"),
                "peak MiB": c.median("peak_mib"),
            }
            for c in contenders
        ]
    publish("stock_ppo", "PPO without intrinsic reward, end to end", rows)
