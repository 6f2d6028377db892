"""All methods of explanation. Importing this file registers the built-in ones."""

from __future__ import annotations

from rllib_rnd.analysis.attention_maps import (
    Attention,
    AttentionHeads,
    AttentionMatrix,
    AttentionOverTime,
    AttentionValues,
)
from rllib_rnd.analysis.feature_maps import FeatureMaps
from rllib_rnd.analysis.gradcam import GradCAM
from rllib_rnd.analysis.gradcam_plus_plus import GradCAMPlusPlus
from rllib_rnd.analysis.integrated_gradients import IntegratedGradients
from rllib_rnd.analysis.maps import METHODS
from rllib_rnd.analysis.occlusion import Occlusion

__all__ = [
    "METHODS",
    "Attention",
    "AttentionHeads",
    "AttentionMatrix",
    "AttentionOverTime",
    "AttentionValues",
    "FeatureMaps",
    "GradCAM",
    "GradCAMPlusPlus",
    "IntegratedGradients",
    "Occlusion",
]
