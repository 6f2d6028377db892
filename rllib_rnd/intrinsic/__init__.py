"""Intrinsic rewards. Importing this package registers the built-in ones."""

from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS, IntrinsicOptions, IntrinsicReward, Traced
from rllib_rnd.intrinsic.byol_explore import BYOLExplore, BYOLExploreOptions
from rllib_rnd.intrinsic.count import Count, CountOptions
from rllib_rnd.intrinsic.disagreement import Disagreement, DisagreementOptions
from rllib_rnd.intrinsic.e3b import E3B, E3BOptions
from rllib_rnd.intrinsic.icm import ICM, ICMOptions
from rllib_rnd.intrinsic.modified_rnd import ModifiedRND, ModifiedRNDOptions
from rllib_rnd.intrinsic.ngu import NGU, NGUOptions
from rllib_rnd.intrinsic.noveld import NovelD, NovelDOptions
from rllib_rnd.intrinsic.re3 import RE3, RE3Options
from rllib_rnd.intrinsic.reward_filter import RewardFilter
from rllib_rnd.intrinsic.ride import RIDE, RIDEOptions
from rllib_rnd.intrinsic.rnd import RND, RNDOptions
from rllib_rnd.intrinsic.snd.base import SND, SNDOptions
from rllib_rnd.intrinsic.snd.feature_entropy import FeatureEntropy, FeatureEntropyOptions
from rllib_rnd.intrinsic.snd.variants import (
    SNDSTD,
    SNDV,
    SNDVIC,
    SNDBarlow,
    SNDBarlowOptions,
    SNDInfoNCE,
    SNDInfoNCEOptions,
    SNDSTDOptions,
    SNDVICOptions,
    SNDVOptions,
)

__all__ = [
    "E3B",
    "ICM",
    "INTRINSIC_REWARDS",
    "NGU",
    "RE3",
    "RIDE",
    "RND",
    "SND",
    "SNDSTD",
    "SNDV",
    "SNDVIC",
    "BYOLExplore",
    "BYOLExploreOptions",
    "Count",
    "CountOptions",
    "Disagreement",
    "DisagreementOptions",
    "E3BOptions",
    "FeatureEntropy",
    "FeatureEntropyOptions",
    "ICMOptions",
    "IntrinsicOptions",
    "IntrinsicReward",
    "ModifiedRND",
    "ModifiedRNDOptions",
    "NGUOptions",
    "NovelD",
    "NovelDOptions",
    "RE3Options",
    "RIDEOptions",
    "RNDOptions",
    "RewardFilter",
    "SNDBarlow",
    "SNDBarlowOptions",
    "SNDInfoNCE",
    "SNDInfoNCEOptions",
    "SNDOptions",
    "SNDSTDOptions",
    "SNDVICOptions",
    "SNDVOptions",
    "Traced",
]
