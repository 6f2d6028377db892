"""Convolutional backbone for images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.backbone import (
    BACKBONES,
    MIN_IMAGE_SIDE,
    Backbone,
    BackboneOptions,
    BackboneOutput,
    State,
    image_layout,
    linear_stack,
    orthogonal_init,
)
from rllib_rnd.options import option

# (output channels, kernel, stride, padding) of each convolution, Mnih et al. 2015.
NATURE_CONVS = ((32, 8, 4, 0), (64, 4, 2, 0), (64, 3, 1, 0))


def conv_stack(
    in_channels: int, convs: Sequence[tuple[int, int, int, int]], activation: type[nn.Module]
) -> nn.Sequential:
    """Convolutions in channels-last memory, orthogonal with gain sqrt(2), an activation after every one."""
    layers: list[nn.Module] = []
    for channels, kernel, stride, padding in convs:
        conv = nn.Conv2d(in_channels, channels, kernel, stride, padding)
        layers += [orthogonal_init(conv), activation()]
        in_channels = channels
    # The layout that cuDNN and oneDNN convolve in; any other is transposed inside every call.
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def conv_output_size(convs: Sequence[tuple[int, int, int, int]], height: int, width: int, where: str) -> int:
    """Elements that the convolutions leave of one image.

    Raises:
        ConfigError: the image is too small for the convolutions.
    """
    rows, columns = height, width
    for _, kernel, stride, padding in convs:
        rows = (rows + 2 * padding - kernel) // stride + 1
        columns = (columns + 2 * padding - kernel) // stride + 1
        if rows < 1 or columns < 1:
            raise ConfigError(
                f"{where}: images of {height} x {width} pixels are too small to be convolved; allowed is "
                f"{MIN_IMAGE_SIDE} x {MIN_IMAGE_SIDE} or more, or a backbone for vectors (mlp)."
            )
    return convs[-1][0] * rows * columns


def to_channels_last_float(image: torch.Tensor) -> torch.Tensor:
    """``[B, C, H, W]`` of any dtype -> float32 in channels-last memory, in one pass; values unchanged."""
    return image.to(torch.float32, memory_format=torch.channels_last)


@dataclass(frozen=True)
class NatureCNNOptions(BackboneOptions):
    """Options of ``nature_cnn``."""

    hidden_sizes: tuple[int, ...] = option(
        (256, 448), "widths of the linear layers after the convolutions; the last is the feature size", low=1
    )


class NatureCNN(Backbone):
    """Three convolutions and two linear layers: the policy trunk of the PyTorch reproductions of RND.

    conv 32 8x8/4, 64 4x4/2, 64 3x3/1, linear 256, linear 448, ReLU after each, orthogonal with gain
    sqrt(2), zero bias. Burda et al. 2018 has a 4x4 kernel in the third convolution; 3x3 (Mnih et al. 2015)
    is what most reproductions use. Reads gray stacks ``[K, H, W]``, ``[H, W, C]`` and ``[K, H, W, C]``,
    uint8 or float. 996,192 parameters at 4 x 84 x 84.

    Raises:
        ConfigError: the space is no image, or one with a side under 36 pixels.
    """

    Options = NatureCNNOptions
    source = "Mnih et al. 2015; Burda et al. 2018 (arXiv:1810.12894)"
    cost = "about 1.0 M parameters, 10 M multiply-adds per observation at 4 x 84 x 84"

    def __init__(self, observation_space: gym.Space, options: Any) -> None:
        super().__init__(observation_space, options)
        layout = image_layout(self.observation_space.shape)
        if layout is None:
            raise ConfigError(
                f"config.backbone.type: 'nature_cnn' reads images, the observation has shape "
                f"{self.observation_space.shape}; allowed is H x W with channels or a stack. Nearest: 'mlp'."
            )
        if not options.hidden_sizes:
            raise ConfigError("config.backbone.hidden_sizes: [] is empty; allowed is one size or more.")
        self.layout = layout
        flat = conv_output_size(NATURE_CONVS, layout.height, layout.width, "config.backbone (nature_cnn)")
        self.convs = conv_stack(layout.channels, NATURE_CONVS, nn.ReLU)
        self.fc = linear_stack(flat, options.hidden_sizes, nn.ReLU)
        self.feature_dim = options.hidden_sizes[-1]

    def forward(self, obs: torch.Tensor, state: State | None = None) -> BackboneOutput:
        """``[B, *observation_space.shape]`` raw -> ``[B, feature_dim]``, one tensor for all three heads."""
        image = to_channels_last_float(self.layout.to_channels_first(obs))
        if obs.dtype == torch.uint8:
            image = image.div_(255.0)
        features = self.fc(self.convs(image).flatten(1))
        return BackboneOutput(features, features, features, {} if state is None else state)

    def feature_maps(self) -> list[str]:
        """The three activation maps, from early to late."""
        return ["convs.1", "convs.3", "convs.5"]


BACKBONES.register("nature_cnn", NatureCNN)
