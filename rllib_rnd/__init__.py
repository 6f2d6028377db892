"""Exploration and representation learning for RLlib: PPO with two critics and pluggable intrinsic rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rllib_rnd import signals

if signals.is_command():  # before the imports that take seconds
    signals.end_while_importing()

from ray.tune import register_trainable

from rllib_rnd.algorithm import IntrinsicPPO
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.envs import register_environments
from rllib_rnd.errors import ConfigError
from rllib_rnd.presets import ALGORITHMS, RND, SND, RNDConfig, SNDConfig
from rllib_rnd.ray_logs import drop_noise
from rllib_rnd.rollout import Rollout

if TYPE_CHECKING:
    from rllib_rnd.export.policy import load_policy

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


def __getattr__(name: str) -> object:
    """Imports ``load_policy`` when it is first asked for: the export of policies costs an import of its own."""
    if name == "load_policy":
        from rllib_rnd.export.policy import load_policy

        return load_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


drop_noise()
register_environments()
for _name, _algorithm in ALGORITHMS.items():
    register_trainable(_name, _algorithm)
