"""Images as networks read them: where their axes are, bytes to floats, and stacks of convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import gymnasium as gym
import torch
from torch import nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.layers import ModuleT, orthogonal_init
from rllib_rnd.modules.observations import is_whole, largest_numbers

# The smallest side that three unpadded convolutions 8/4, 4/2, 3/1 leave a pixel of.
MIN_IMAGE_SIDE = 36

#: Output channels, kernel, stride and padding of one convolution.
ConvSpec = tuple[int, int, int, int]

# Mnih et al. 2015.
NATURE_CONVS: tuple[ConvSpec, ...] = ((32, 8, 4, 0), (64, 4, 2, 0), (64, 3, 1, 0))


class ImageLayout(NamedTuple):
    """Where the axes of an image observation are, and how to bring it to ``[B, C, H, W]``.

    Attributes:
        permutation: order of the axes (without batch) that puts all channel axes first.
        channels: product of the channel axes.
        height, width: pixels.
    """

    permutation: tuple[int, ...]
    channels: int
    height: int
    width: int

    def to_channels_first(self, obs: torch.Tensor) -> torch.Tensor:
        """``[B, *shape]`` -> ``[B, C, H, W]`` in the given dtype; a view where the layout allows one."""
        obs = obs.permute(0, *(axis + 1 for axis in self.permutation))
        return obs.reshape(obs.shape[0], self.channels, self.height, self.width)


def image_layout(shape: tuple[int, ...], frame_stack: int = 1) -> ImageLayout | None:
    """Reads an image's layout off its shape; None if the shape is not that of an image.

    ``[H, W]``; ``[H, W, C]`` or ``[C, H, W]``, told apart by which two neighbours are equal, the sides of a square, and
    by which end is shorter where that leaves it open (a cube is ``[H, W, C]``, as Gymnasium writes pictures);
    ``[K, H, W]``, a stack of gray frames; ``[K, H, W, C]``, one of colour frames whose K * C planes become channels.

    Args:
        shape: of an observation, or of one frame of it.
        frame_stack: frames that it is known to hold; they are the first axis. Networks are not told, and need not be:
            a picture has longer sides than any stack has frames.
    """
    if len(shape) == 2:
        return ImageLayout((0, 1), 1, shape[0], shape[1])
    if len(shape) == 3 and frame_stack == 1 and _channels_last(*shape):
        return ImageLayout((2, 0, 1), shape[2], shape[0], shape[1])
    if len(shape) == 3:
        return ImageLayout((0, 1, 2), shape[0], shape[1], shape[2])
    if len(shape) == 4:
        return ImageLayout((0, 3, 1, 2), shape[0] * shape[3], shape[1], shape[2])
    return None


def _channels_last(first: int, middle: int, last: int) -> bool:
    if first == middle or middle == last:
        return first == middle
    return last < first


def is_image(shape: tuple[int, ...]) -> bool:
    """True for image shapes large enough for the convolutions; small grids count as vectors."""
    layout = image_layout(shape)
    return layout is not None and min(layout.height, layout.width) >= MIN_IMAGE_SIDE


def to_channels_last_float(image: torch.Tensor) -> torch.Tensor:
    """``[B, C, H, W]`` of any dtype -> float32 in channels-last memory, in one pass; values unchanged."""
    return image.to(torch.float32, memory_format=torch.channels_last)


class ImageInput(nn.Module):
    """First stage of every backbone that reads images: raw observations -> ``[B, C, H, W]`` float32.

    Numbers are divided by the largest that the space allows (bytes by 255, floats from 0 to 1 by nothing); without
    bounds they enter as they are. Floats given in the place of whole numbers count as scaled. Memory is channels-last.

    Args:
        layout: of the observations.
        space: of them.
    """

    def __init__(self, layout: ImageLayout, space: gym.spaces.Box) -> None:
        super().__init__()
        self.layout = layout
        largest = largest_numbers(space, is_image=True)
        self._largest = 1.0 if largest is None else float(largest)
        self._whole = is_whole(space)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Raw ``[B, ...]`` -> ``[B, C, H, W]``."""
        image = to_channels_last_float(self.layout.to_channels_first(obs))
        if self._largest == 1.0 or (self._whole and obs.is_floating_point()):
            return image
        return image.div_(self._largest) if self._whole else image / self._largest  # which may be what was given


def conv_stack(
    in_channels: int, convs: Sequence[ConvSpec], activation: type[nn.Module], gain: float = math.sqrt(2.0)
) -> nn.Sequential:
    """Convolutions in channels-last memory, orthogonal with the given gain, an activation after every one."""
    layers: list[nn.Module] = []
    for channels, kernel, stride, padding in convs:
        conv = nn.Conv2d(in_channels, channels, kernel, stride, padding)
        layers += [orthogonal_init(conv, gain), activation()]
        in_channels = channels
    return channels_last(nn.Sequential(*layers))


def channels_last(module: ModuleT) -> ModuleT:
    """Lays the module's convolutions out as cuDNN and oneDNN compute them, else they are transposed in every call."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def smallest_side(convs: Sequence[ConvSpec]) -> int:
    """Pixels of the smallest square image of which every convolution leaves something: 36 for `NATURE_CONVS`."""
    side = 1
    for _, kernel, stride, padding in reversed(convs):
        side = max(1, (side - 1) * stride + kernel - 2 * padding)
    return side


def with_channels(convs: Sequence[ConvSpec], channels: Sequence[int]) -> tuple[ConvSpec, ...]:
    """The convolutions with other numbers of output channels; fewer numbers leave the last convolutions out.

    Raises:
        ConfigError: no number, or more than there are convolutions.
    """
    if not 1 <= len(channels) <= len(convs):
        raise ConfigError("channels", f"{list(channels)} has {len(channels)} numbers", f"1 to {len(convs)} numbers")
    return tuple((own, *conv[1:]) for own, conv in zip(channels, convs, strict=False))


def conv_output_shape(convs: Sequence[ConvSpec], layout: ImageLayout, min_side: int = 1) -> tuple[int, int, int]:
    """``(channels, height, width)`` that the convolutions leave of one image.

    Args:
        convs: the convolutions.
        layout: of the image.
        min_side: pixels below which an image is refused, whatever the convolutions would leave of it.

    Raises:
        ConfigError: the image is too small for the convolutions.
    """
    least = max(min_side, smallest_side(convs))
    if min(layout.height, layout.width) < least:
        raise ConfigError(
            "",
            f"images of {layout.height} x {layout.width} pixels are too small to be convolved",
            f"{least} x {least} or more, or a backbone for vectors (mlp)",
        )
    rows, columns = layout.height, layout.width
    for _, kernel, stride, padding in convs:
        rows = (rows + 2 * padding - kernel) // stride + 1
        columns = (columns + 2 * padding - kernel) // stride + 1
    return convs[-1][0], rows, columns
