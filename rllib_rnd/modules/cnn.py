"""Convolutional backbones for images: convolutions, then linear layers, one tensor of features for all heads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym
from torch import Tensor, nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.backbone import BACKBONES, Backbone, BackboneOptions, BackboneOutput
from rllib_rnd.modules.heads import HeadStyle
from rllib_rnd.modules.image import (
    MIN_IMAGE_SIDE,
    NATURE_CONVS,
    ConvSpec,
    ImageInput,
    conv_output_shape,
    conv_stack,
)
from rllib_rnd.modules.layers import NoisyLinear, linear_stack
from rllib_rnd.options import option

HIDDEN_SIZES_HELP = "widths of the linear layers after the convolutions; the last is the feature size"


@dataclass(frozen=True)
class ConvOptions(BackboneOptions):
    """Options of every backbone of convolutions and linear layers."""

    hidden_sizes: tuple[int, ...] = option((256, 448), HIDDEN_SIZES_HELP, low=1)
    noisy: bool = option(False, "noisy linear layers (Fortunato et al. 2018), about twice their parameters")


@dataclass(frozen=True)
class NatureCNNOptions(ConvOptions):
    """Options of ``nature_cnn``."""

    shared_output: Literal["linear", "conv"] = option(
        "linear",
        "what representation losses and feature-based rewards read: the features, or the last convolution's maps "
        "(the linear layers then belong to the heads alone)",
    )


class ConvBackbone(Backbone):
    """Convolutions and linear layers, ReLU after each, orthogonal with gain sqrt(2), zero bias.

    Reads gray stacks ``[K, H, W]``, ``[H, W, C]`` and ``[K, H, W, C]``, uint8 or float. Subclasses set the three class
    attributes below.

    Attributes:
        name: as in ``backbone: {type: name}``.
        convolutions: the convolutions, first to last.
        min_side: pixels of the smallest image it reads.
        map_shape: ``(C, H, W)`` of the last convolution's output.

    Raises:
        ConfigError: the space is no image, or one with too short a side; no linear layer.
    """

    Options = ConvOptions
    name: ClassVar[str]
    convolutions: ClassVar[tuple[ConvSpec, ...]]
    min_side: ClassVar[int] = MIN_IMAGE_SIDE

    def __init__(self, observation_space: gym.Space, options: Any) -> None:
        super().__init__(observation_space, options)
        self.image = ImageInput(self.observation_space, self.name)
        layout, where = self.image.layout, f"config.backbone ({self.name})"
        if min(layout.height, layout.width) < self.min_side:
            raise ConfigError(
                f"{where}: images of {layout.height} x {layout.width} pixels are too small to be convolved; allowed is "
                f"{self.min_side} x {self.min_side} or more, or a backbone for vectors (mlp)."
            )
        if not options.hidden_sizes:
            raise ConfigError("config.backbone.hidden_sizes: [] is empty; allowed is one size or more.")
        self.map_shape = conv_output_shape(self.convolutions, layout, where)
        self.convs = conv_stack(layout.channels, self.convolutions, nn.ReLU)
        linear = NoisyLinear if options.noisy else nn.Linear
        self.fc = linear_stack(math.prod(self.map_shape), options.hidden_sizes, nn.ReLU, linear)
        self.feature_dim = options.hidden_sizes[-1]

    def maps(self, obs: Tensor) -> Tensor:
        """What the linear layers read, ``[B, *observation_space.shape]`` raw -> ``[B, C, H, W]``."""
        return self.convs(self.image(obs))

    def forward(self, obs: Tensor, state: Tensor | None = None, is_first: Tensor | None = None) -> BackboneOutput:
        """``[B, *observation_space.shape]`` raw -> ``[B, feature_dim]``, one tensor for all three heads."""
        return BackboneOutput.shared(self.fc(self.maps(obs).flatten(1)))

    def feature_maps(self) -> list[str]:
        """The activation map of every convolution, from early to late."""
        return [f"convs.{i}" for i in range(1, len(self.convs), 2)]


class NatureCNN(ConvBackbone):
    """Three convolutions and two linear layers: the policy trunk of the PyTorch reproductions of RND.

    conv 32 8x8/4, 64 4x4/2, 64 3x3/1, linear 256, linear 448. Burda et al. 2018 has a 4x4 kernel in the third
    convolution (`OpenAICNN`); 3x3 (Mnih et al. 2015) is what most reproductions use. 996,192 parameters at 4 x 84 x 84.

    The reproductions with self-supervised losses vary the last width (16, 448, 2048: ``hidden_sizes: [256, 2048]``)
    and the layer that the loss and the policy share (``shared_output``).

    Raises:
        ConfigError: as `ConvBackbone`; the smallest side is 36 pixels.
    """

    Options = NatureCNNOptions
    source = "Mnih et al. 2015; Burda et al. 2018 (arXiv:1810.12894)"
    cost = "about 1.0 M parameters, 9 M multiply-adds per observation at 4 x 84 x 84"
    name = "nature_cnn"
    convolutions = NATURE_CONVS

    def representation(self, obs: Tensor) -> Tensor:
        """The shared layer: features ``[B, feature_dim]``, or with ``shared_output: conv`` the maps ``[B, C, H, W]``.

        Args:
            obs: ``[B, *observation_space.shape]`` raw.
        """
        return self.maps(obs) if self.options.shared_output == "conv" else super().representation(obs)


class OpenAICNN(ConvBackbone):
    """The network of the authors of RND: `NatureCNN` with a 4x4 kernel in the third convolution, residual heads.

    conv 32 8x8/4, 64 4x4/2, 64 4x4/1, linear 256, linear 448; policy and critics each read ``x + relu(FC 448(x))``,
    gain 0.1. Source: ``policies/cnn_policy_param_matched.py`` of github.com/openai/random-network-distillation. 811,872
    parameters at 4 x 84 x 84.

    Raises:
        ConfigError: as `ConvBackbone`; the smallest side is 44 pixels.
    """

    source = "Burda et al. 2018 (arXiv:1810.12894), the authors' code"
    cost = "about 0.8 M parameters, 9 M multiply-adds per observation at 4 x 84 x 84"
    heads = HeadStyle(
        policy_hidden="residual", policy_hidden_gain=0.1, critic_hidden="residual", critic_hidden_gain=0.1
    )
    name = "openai_cnn"
    convolutions = (*NATURE_CONVS[:2], (64, 4, 1, 0))
    min_side = 44  # the third convolution needs 4 x 4 pixels: 10 x 10 before the second, 44 x 44 before the first


BACKBONES.register("nature_cnn", NatureCNN)
BACKBONES.register("openai_cnn", OpenAICNN)
