"""All methods of explanation. Importing this file registers the built-in ones."""

from __future__ import annotations

from rllib_rnd.analysis.maps import METHODS
from rllib_rnd.analysis.methods.attention_maps import (
    Attention,
    AttentionHeads,
    AttentionMatrix,
    AttentionOverTime,
    AttentionValues,
)
from rllib_rnd.analysis.methods.feature_maps import FeatureMaps
from rllib_rnd.analysis.methods.gradcam import GradCAM
from rllib_rnd.analysis.methods.gradcam_plus_plus import GradCAMPlusPlus
from rllib_rnd.analysis.methods.integrated_gradients import IntegratedGradients
from rllib_rnd.analysis.methods.occlusion import Occlusion

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
