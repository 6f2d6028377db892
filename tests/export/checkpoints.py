"""Checkpoints made by hand of a tiny network without training: no algorithm, no Ray."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from rllib_rnd import IntrinsicPPOConfig
from rllib_rnd.checkpoints.content import CONSTRUCTOR, ContentWriter
from rllib_rnd.checkpoints.format import CHECKPOINT_FORMAT, OWN_STATE
from rllib_rnd.checkpoints.manifest import seal
from rllib_rnd.envs import make_vector_env
from rllib_rnd.module import IntrinsicPPOModule


def make_module(
    obs: gym.Space, action: gym.Space, backbone: str | dict[str, Any], rewards: int = 1, seed: int = 0, **config: Any
) -> IntrinsicPPOModule:
    """A module in evaluation mode whose heads are large enough that observations matter."""
    torch.manual_seed(seed)
    model_config = {
        "backbone": {"type": backbone} if isinstance(backbone, str) else backbone,
        "intrinsic_rewards": [{"type": "rnd", "feature_dim": 4, "hidden_sizes": [4]}] * rewards,
        "auxiliary_losses": [],
        "frame_stack": 1,
        **config,
    }
    module = IntrinsicPPOModule(observation_space=obs, action_space=action, model_config=model_config)
    with torch.no_grad():
        for parameter in [*module.policy_head.parameters(), *module.critics.parameters()]:
            parameter.mul_(10.0)
    module.eval()
    return module


def make_checkpoint(
    folder: Path, env: str, env_config: dict[str, Any], backbone: str | dict[str, Any], seed: int | None = None
) -> Path:
    """Writes the files of an algorithm's checkpoint, as far as anything reads them."""
    config = (
        IntrinsicPPOConfig().environment(env, env_config=env_config).training(backbone=backbone).debugging(seed=seed)
    )
    vector = make_vector_env(env, 1, env_config)
    module = make_module(vector.single_observation_space, vector.single_action_space, backbone)
    vector.close()
    learner = {"rl_module": {"default_policy": module.get_state()}}
    own = {"format": CHECKPOINT_FORMAT}
    state = {OWN_STATE: own, "training_iteration": 7, "learner_group": {"learner": learner}}
    folder.mkdir(parents=True)
    ContentWriter(folder).write(state, config, type(module), module.get_ctor_args_and_kwargs()[1])
    (folder / CONSTRUCTOR).write_bytes(pickle.dumps({"ctor_args_and_kwargs": ((config.get_state(),), {})}))
    (folder / "rllib_checkpoint.json").write_text(json.dumps({"type": "Algorithm"}))
    seal(folder, CHECKPOINT_FORMAT, "rllib_rnd.algorithm:IntrinsicPPO", 7, 0)
    return folder
