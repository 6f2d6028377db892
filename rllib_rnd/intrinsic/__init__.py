"""Intrinsic rewards. Importing this package registers the built-in ones."""

from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS, IntrinsicOptions, IntrinsicReward, LossTerms
from rllib_rnd.intrinsic.reward_filter import RewardFilter
from rllib_rnd.intrinsic.rnd import RND, RNDOptions

__all__ = [
    "INTRINSIC_REWARDS",
    "RND",
    "IntrinsicOptions",
    "IntrinsicReward",
    "LossTerms",
    "RNDOptions",
    "RewardFilter",
]
