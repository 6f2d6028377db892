"""Networks and their statistics. Importing this package registers the built-in backbones."""

from rllib_rnd.modules.backbone import (
    BACKBONES,
    Backbone,
    BackboneOptions,
    BackboneOutput,
    backbone_for_space,
    build_backbone,
    orthogonal_init,
)
from rllib_rnd.modules.cnn import NatureCNN, NatureCNNOptions
from rllib_rnd.modules.mlp import MLP, MLPOptions
from rllib_rnd.modules.running_moments import RunningMoments

__all__ = [
    "BACKBONES",
    "MLP",
    "Backbone",
    "BackboneOptions",
    "BackboneOutput",
    "MLPOptions",
    "NatureCNN",
    "NatureCNNOptions",
    "RunningMoments",
    "backbone_for_space",
    "build_backbone",
    "orthogonal_init",
]
