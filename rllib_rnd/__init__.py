"""Exploration and representation learning for RLlib: PPO with two critics and pluggable intrinsic rewards."""

from ray.tune import register_trainable

from rllib_rnd.algorithm import IntrinsicPPO, IntrinsicPPOConfig
from rllib_rnd.envs import register_environments
from rllib_rnd.errors import ConfigError
from rllib_rnd.presets import ALGORITHMS, RND, SND, RNDConfig, SNDConfig
from rllib_rnd.ray_logs import drop_noise
from rllib_rnd.rollout import Rollout

__version__ = "0.1.0"
__all__ = ["RND", "SND", "ConfigError", "IntrinsicPPO", "IntrinsicPPOConfig", "RNDConfig", "Rollout", "SNDConfig"]

drop_noise()
register_environments()
for _name, _algorithm in ALGORITHMS.items():
    register_trainable(_name, _algorithm)
