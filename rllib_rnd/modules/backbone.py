"""The backbone contract: observations in, three feature tensors out, so heads need not know what is below."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.options import Registry

State = dict[str, torch.Tensor]

# The smallest side that three unpadded convolutions 8/4, 4/2, 3/1 leave a pixel of.
MIN_IMAGE_SIDE = 36


@dataclass(frozen=True)
class BackboneOptions:
    """Options that every backbone has: none so far."""


class BackboneOutput(NamedTuple):
    """Features for the three heads.

    Attributes:
        policy: ``[B, D]``.
        extrinsic: ``[B, D]`` for the critic of the environment's reward.
        intrinsic: ``[B, D]`` for the critics of intrinsic rewards; often the very same tensor.
        state: the next recurrent state, empty for stateless backbones.
    """

    policy: torch.Tensor
    extrinsic: torch.Tensor
    intrinsic: torch.Tensor
    state: State


class Backbone(nn.Module, abc.ABC):
    """Base of all backbones.

    Subclasses set ``Options`` (their dataclass), ``feature_dim`` and the two documentation strings, and
    scale raw observations themselves (uint8 images by 1/255).

    Args:
        observation_space: space of one observation as the policy sees it, frame stack included.
        options: an instance of ``Options``.
    """

    Options: ClassVar[type[Any]] = BackboneOptions
    source: ClassVar[str] = ""
    cost: ClassVar[str] = ""
    feature_dim: int

    def __init__(self, observation_space: gym.Space, options: Any) -> None:
        super().__init__()
        self.observation_space = box_space(observation_space)
        self.options = options

    @abc.abstractmethod
    def forward(self, obs: torch.Tensor, state: State | None = None) -> BackboneOutput:
        """Computes features of ``obs [B, *observation_space.shape]`` (raw)."""

    def initial_state(self) -> State:
        """State of a new episode without the batch axis; empty if stateless."""
        return {}

    def feature_maps(self) -> list[str]:
        """Names of submodules (``get_submodule``) whose outputs analysis may look at."""
        return []


BACKBONES: Registry[Backbone] = Registry("backbone")


def box_space(observation_space: gym.Space) -> gym.spaces.Box:
    """Returns the space if it is a Box of at least one axis.

    Raises:
        ConfigError: any other space.
    """
    if not isinstance(observation_space, gym.spaces.Box) or len(observation_space.shape) == 0:
        raise ConfigError(
            f"env: the observation space {observation_space} is not supported; allowed is an array (Box) of "
            "one axis or more. Wrap the environment, for example with gymnasium.wrappers.FlattenObservation."
        )
    return observation_space


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


def image_layout(shape: tuple[int, ...]) -> ImageLayout | None:
    """Reads an image's layout off its shape; None if the shape is not that of an image.

    ``[H, W]``; ``[H, W, C]`` or ``[C, H, W]`` (also a stack of K gray frames), told apart by which end is
    shorter; ``[K, H, W, C]``, a stack of colour frames whose K * C planes become channels.
    """
    if len(shape) == 2:
        return ImageLayout((0, 1), 1, shape[0], shape[1])
    if len(shape) == 3 and shape[2] < shape[0]:
        return ImageLayout((2, 0, 1), shape[2], shape[0], shape[1])
    if len(shape) == 3:
        return ImageLayout((0, 1, 2), shape[0], shape[1], shape[2])
    if len(shape) == 4:
        return ImageLayout((0, 3, 1, 2), shape[0] * shape[3], shape[1], shape[2])
    return None


def is_image(shape: tuple[int, ...]) -> bool:
    """True for image shapes large enough for the convolutions; small grids count as vectors."""
    layout = image_layout(shape)
    return layout is not None and min(layout.height, layout.width) >= MIN_IMAGE_SIDE


def backbone_for_space(observation_space: gym.Space) -> str:
    """Name of the backbone that ``{type: auto}`` stands for: ``nature_cnn`` for images, ``mlp`` for the rest.

    Images with a side under 36 pixels (symbolic grids) are flattened into the ``mlp``.

    Raises:
        ConfigError: the space is not a Box.
    """
    return "nature_cnn" if is_image(box_space(observation_space).shape) else "mlp"


def build_backbone(
    spec: Mapping[str, Any] | str, observation_space: gym.Space, where: str = "config.backbone"
) -> Backbone:
    """Builds the backbone that ``{type: name, ...options}`` describes; ``auto`` picks one by the space.

    Raises:
        ConfigError: unknown type or option, or a space the backbone cannot read.
    """
    if isinstance(spec, str):
        spec = {"type": spec}
    if isinstance(spec, Mapping) and spec.get("type") == "auto":
        spec = {**spec, "type": backbone_for_space(observation_space)}
    cls, options = BACKBONES.parse(spec, where)
    return cls(observation_space, options)


def orthogonal_init(layer: nn.Linear | nn.Conv2d, gain: float = math.sqrt(2.0)) -> Any:
    """Orthogonal weight with the given gain and zero bias (Saxe et al. 2013, arXiv:1312.6120); same layer."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def linear_stack(in_features: int, sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Linear layers of the given sizes, orthogonal with gain sqrt(2), an activation after every one."""
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [orthogonal_init(nn.Linear(in_features, size)), activation()]
        in_features = size
    return nn.Sequential(*layers)


def flat_size(space: gym.spaces.Box) -> int:
    """Number of elements of one observation."""
    return int(np.prod(space.shape))
