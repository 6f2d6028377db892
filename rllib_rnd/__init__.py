"""Exploration and representation learning for RLlib: PPO with two critics and pluggable intrinsic rewards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ray.tune import register_trainable

from rllib_rnd.algorithm import IntrinsicPPO, IntrinsicPPOConfig
from rllib_rnd.envs import register_environments
from rllib_rnd.errors import ConfigError
from rllib_rnd.presets import ALGORITHMS, RND, SND, RNDConfig, SNDConfig
from rllib_rnd.ray_logs import drop_noise
from rllib_rnd.rollout import Rollout

if TYPE_CHECKING:
    from rllib_rnd.export.policy import StandalonePolicy

__version__ = "0.1.0"
__all__ = [
    "RND",
    "SND",
    "ConfigError",
    "IntrinsicPPO",
    "IntrinsicPPOConfig",
    "RNDConfig",
    "Rollout",
    "SNDConfig",
    "load_policy",
]


def load_policy(path: str | Path, *, deterministic: bool = False, seed: int = 0) -> StandalonePolicy:
    """Loads a policy to act with, on the CPU: ``action, memory = policy.act(obs, memory)``.

    Args:
        path: of a checkpoint, of the folder of a run (its newest checkpoint; of a sweep that of the best trial), or of
            a folder that ``rllib export`` wrote.
        deterministic: the most likely actions instead of draws.
        seed: of the draws.

    Raises:
        ConfigError: there is none, or one that this version cannot read.
    """
    from rllib_rnd.export.policy import load_policy  # the export of policies costs an import of its own

    return load_policy(path, deterministic=deterministic, seed=seed)


drop_noise()
register_environments()
for _name, _algorithm in ALGORITHMS.items():
    register_trainable(_name, _algorithm)
