"""Exploration and representation learning for RLlib: PPO with two critics and pluggable intrinsic rewards."""

from ray.tune import register_trainable

from rllib_rnd.algorithm import RND, IntrinsicPPO, IntrinsicPPOConfig, RNDConfig
from rllib_rnd.envs import register_environments
from rllib_rnd.errors import ConfigError
from rllib_rnd.rollout import Rollout

__version__ = "0.1.0"
__all__ = ["RND", "ConfigError", "IntrinsicPPO", "IntrinsicPPOConfig", "RNDConfig", "Rollout"]

register_environments()
for _name, _algorithm in {"IntrinsicPPO": IntrinsicPPO, "RND": RND}.items():
    register_trainable(_name, _algorithm)
