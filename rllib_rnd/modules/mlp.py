"""Fully connected backbone for vectors and small grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import gymnasium as gym
from torch import Tensor

from rllib_rnd.modules.backbone import BACKBONES, BackboneOptions, BackboneOutput, StatelessBackbone
from rllib_rnd.modules.layers import ACTIVATIONS, VectorInput, check_hidden_sizes, linear_stack
from rllib_rnd.options import option


@dataclass(frozen=True)
class MLPOptions(BackboneOptions):
    """Options of ``mlp``."""

    hidden_sizes: tuple[int, ...] = option(
        (64, 64), "layer widths, usually 64 to 512; the last is the feature size", low=1
    )
    activation: Literal["tanh", "relu"] = option("tanh", "after every layer; tanh is usual for classic control")


@BACKBONES.register
class MLP(StatelessBackbone[MLPOptions]):
    """Linear layers on the flattened observation, orthogonal with gain sqrt(2) and zero bias.

    Floats enter as they are, whole numbers are divided by their upper bounds.

    Raises:
        ConfigError: no hidden layer.
    """

    Options = MLPOptions
    name = "mlp"
    source = "Schulman et al. 2017 (arXiv:1707.06347), the network of its control experiments"
    cost = "about 5 thousand parameters for 4 inputs"
    reads_each_once = True

    def __init__(self, observation_space: gym.Space, options: MLPOptions) -> None:
        super().__init__(observation_space, options)
        check_hidden_sizes(options.hidden_sizes)
        self.vector = VectorInput(self.observation_space)
        self.fc = linear_stack(self.vector.size, options.hidden_sizes, ACTIVATIONS[options.activation])
        self.feature_dim = options.hidden_sizes[-1]

    def features(self, obs: Tensor) -> BackboneOutput:
        """``[B, *observation_space.shape]`` raw -> ``[B, feature_dim]``, one tensor for all three heads."""
        return BackboneOutput.shared(self.fc(self.vector(obs)))

    def feature_maps(self) -> list[str]:
        """Every activation, from early to late."""
        return [f"fc.{i}" for i in range(1, len(self.fc), 2)]
