"""Convolutional backbones for images: convolutions, then linear layers, one tensor of features for all heads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import gymnasium as gym
from torch import Tensor, nn

from rllib_rnd.modules.backbone import BACKBONES, BackboneOptions, BackboneOutput, ImageBackbone
from rllib_rnd.modules.heads import HeadStyle
from rllib_rnd.modules.image import (
    MIN_IMAGE_SIDE,
    NATURE_CONVS,
    ConvSpec,
    conv_output_shape,
    conv_stack,
    with_channels,
)
from rllib_rnd.modules.layers import NoisyLinear, check_hidden_sizes, linear_stack
from rllib_rnd.options import option

HIDDEN_SIZES_HELP = "widths of the linear layers after the convolutions; the last is the feature size"


@dataclass(frozen=True)
class ConvOptions(BackboneOptions):
    """Options of every backbone of convolutions and linear layers."""

    hidden_sizes: tuple[int, ...] = option((256, 448), HIDDEN_SIZES_HELP, low=1)
    noisy: bool = option(False, "noisy linear layers (Fortunato et al. 2018), about twice their parameters")


ConvOptionsT = TypeVar("ConvOptionsT", bound=ConvOptions)


@dataclass(frozen=True)
class NatureCNNOptions(ConvOptions):
    """Options of ``nature_cnn``."""

    shared_output: Literal["linear", "conv"] = option(
        "linear",
        "what representation losses and feature-based rewards read: the features, or the last convolution's maps "
        "(the linear layers then belong to the heads alone)",
    )
    channels: tuple[int, ...] = option(
        (32, 64, 64), "outputs of the convolutions 8x8/4, 4x4/2, 3x3/1; fewer numbers leave the last ones out", low=1
    )


class ConvBackbone(ImageBackbone[ConvOptionsT]):
    """Convolutions and linear layers, ReLU after each, orthogonal with gain sqrt(2), zero bias.

    Attributes:
        convolutions: of the class, first to last.
        map_shape: ``(C, H, W)`` of the last convolution's output.

    Raises:
        ConfigError: the space is no image, or one with a side under 36 pixels or too short for the convolutions; no
            linear layer.
    """

    Options = ConvOptions
    convolutions: ClassVar[tuple[ConvSpec, ...]]

    def __init__(self, observation_space: gym.Space, options: ConvOptionsT) -> None:
        super().__init__(observation_space, options)
        check_hidden_sizes(options.hidden_sizes)
        convolutions = self._convolutions(options)
        self.map_shape = conv_output_shape(convolutions, self.image.layout, min_side=MIN_IMAGE_SIDE)
        self.convs = conv_stack(self.image.layout.channels, convolutions, nn.ReLU)
        linear = NoisyLinear if options.noisy else nn.Linear
        self.fc = linear_stack(math.prod(self.map_shape), options.hidden_sizes, nn.ReLU, linear)
        self.feature_dim = options.hidden_sizes[-1]

    @classmethod
    def _convolutions(cls, _options: ConvOptionsT) -> tuple[ConvSpec, ...]:
        """Those that the options ask for."""
        return cls.convolutions

    def maps(self, obs: Tensor) -> Tensor:
        """What the linear layers read, ``[B, *observation_space.shape]`` raw -> ``[B, C, H, W]``."""
        return self.convs(self.image(obs))

    def features(self, obs: Tensor) -> BackboneOutput:
        """``[B, *observation_space.shape]`` raw -> ``[B, feature_dim]``, one tensor for all three heads."""
        return BackboneOutput.shared(self.fc(self.maps(obs).flatten(1)))

    def feature_maps(self) -> list[str]:
        """The activation map of every convolution, from early to late."""
        return [f"convs.{i}" for i in range(1, len(self.convs), 2)]


@BACKBONES.register
class NatureCNN(ConvBackbone[NatureCNNOptions]):
    """Three convolutions and two linear layers: the policy trunk of the PyTorch reproductions of RND.

    conv 32 8x8/4, 64 4x4/2, 64 3x3/1, linear 256, linear 448. Burda et al. 2018 has a 4x4 kernel in the third
    convolution (`OpenAICNN`); 3x3 (Mnih et al. 2015) is what most reproductions use. 996,192 parameters at 4 x 84 x 84.

    The reproductions with self-supervised losses vary the last width (16, 448, 2048: ``hidden_sizes: [256, 2048]``)
    and the layer that the loss and the policy share (``shared_output``). ``channels: [16, 32], hidden_sizes: [256]`` is
    the network of Mnih et al. 2013 (arXiv:1312.5602), a third of the arithmetic.

    Raises:
        ConfigError: as `ConvBackbone`; the smallest side is 36 pixels.
    """

    Options = NatureCNNOptions
    source = "Mnih et al. 2015; Burda et al. 2018 (arXiv:1810.12894)"
    cost = "about 1.0 M parameters, 9 M multiply-adds per observation at 4 x 84 x 84"
    name = "nature_cnn"
    convolutions = NATURE_CONVS

    @classmethod
    def _convolutions(cls, options: NatureCNNOptions) -> tuple[ConvSpec, ...]:
        return with_channels(cls.convolutions, options.channels)

    def representation(self, obs: Tensor) -> Tensor:
        """The shared layer: features ``[B, feature_dim]``, or with ``shared_output: conv`` the maps ``[B, C, H, W]``.

        Args:
            obs: ``[B, *observation_space.shape]`` raw.
        """
        return self.maps(obs) if self.options.shared_output == "conv" else super().representation(obs)


@BACKBONES.register
class OpenAICNN(ConvBackbone[ConvOptions]):
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
