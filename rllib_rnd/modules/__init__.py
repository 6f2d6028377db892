"""Networks and their statistics. Importing this package registers the built-in backbones."""

from rllib_rnd.modules.backbone import (
    BACKBONES,
    Backbone,
    BackboneOptions,
    BackboneOutput,
    ImageBackbone,
    StatelessBackbone,
    backbone_for_space,
    build_backbone,
)
from rllib_rnd.modules.cnn import NatureCNN, NatureCNNOptions, OpenAICNN
from rllib_rnd.modules.influence import IAM, IAMOptions
from rllib_rnd.modules.layers import orthogonal_init
from rllib_rnd.modules.michalnand import MichalnandA, MichalnandB, MichalnandC, MichalnandD
from rllib_rnd.modules.mlp import MLP, MLPOptions
from rllib_rnd.modules.recurrent import FNN, GRU, LSTM, FNNOptions, RecurrentOptions
from rllib_rnd.modules.running_moments import RunningMoments
from rllib_rnd.modules.self_attention import SelfAttentionCNN, SelfAttentionOptions
from rllib_rnd.modules.vit import ViT, ViTExplorative, ViTExplorativeOptions, ViTOptions

__all__ = [
    "BACKBONES",
    "FNN",
    "GRU",
    "IAM",
    "LSTM",
    "MLP",
    "Backbone",
    "BackboneOptions",
    "BackboneOutput",
    "FNNOptions",
    "IAMOptions",
    "ImageBackbone",
    "MLPOptions",
    "MichalnandA",
    "MichalnandB",
    "MichalnandC",
    "MichalnandD",
    "NatureCNN",
    "NatureCNNOptions",
    "OpenAICNN",
    "RecurrentOptions",
    "RunningMoments",
    "SelfAttentionCNN",
    "SelfAttentionOptions",
    "StatelessBackbone",
    "ViT",
    "ViTExplorative",
    "ViTExplorativeOptions",
    "ViTOptions",
    "backbone_for_space",
    "build_backbone",
    "orthogonal_init",
]
