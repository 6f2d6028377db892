"""Fully connected backbone for vectors and small grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.backbone import (
    BACKBONES,
    Backbone,
    BackboneOptions,
    BackboneOutput,
    State,
    flat_size,
    linear_stack,
)
from rllib_rnd.options import option

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


@dataclass(frozen=True)
class MLPOptions(BackboneOptions):
    """Options of ``mlp``."""

    hidden_sizes: tuple[int, ...] = option(
        (64, 64), "layer widths, usually 64 to 512; the last is the feature size", low=1
    )
    activation: Literal["tanh", "relu"] = option("tanh", "after every layer; tanh is usual for classic control")


class MLP(Backbone):
    """Linear layers on the flattened observation, orthogonal with gain sqrt(2) and zero bias.

    Float observations enter as they are, uint8 ones are divided by the space's upper bound.

    Raises:
        ConfigError: no hidden layer.
    """

    Options = MLPOptions
    source = "Schulman et al. 2017 (arXiv:1707.06347), the network of its control experiments"
    cost = "about 5 thousand parameters for 4 inputs"

    def __init__(self, observation_space: gym.Space, options: Any) -> None:
        super().__init__(observation_space, options)
        if not options.hidden_sizes:
            raise ConfigError("config.backbone.hidden_sizes: [] is empty; allowed is one size or more.")
        self.fc = linear_stack(flat_size(self.observation_space), options.hidden_sizes, ACTIVATIONS[options.activation])
        self.feature_dim = options.hidden_sizes[-1]
        space = self.observation_space
        # By the space's own bound and not by 255: a one-hot uint8 vector must stay one-hot.
        self._scale = 1.0 / max(1.0, float(np.max(space.high))) if space.dtype == np.uint8 else 1.0

    def forward(self, obs: torch.Tensor, state: State | None = None) -> BackboneOutput:
        """``[B, *observation_space.shape]`` raw -> ``[B, feature_dim]``, one tensor for all three heads."""
        scaled = obs if obs.is_floating_point() else obs.float() * self._scale
        features = self.fc(scaled.flatten(1))
        return BackboneOutput(features, features, features, {} if state is None else state)

    def feature_maps(self) -> list[str]:
        """Every activation, from early to late."""
        return [f"fc.{i}" for i in range(1, len(self.fc), 2)]


BACKBONES.register("mlp", MLP)
