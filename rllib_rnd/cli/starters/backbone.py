"""A backbone: the network below policy and critics. Any torch module will do that makes features of observations."""

import math

import gymnasium as gym
from torch import Tensor, nn


class MyBackbone(nn.Module):
    """Two linear layers on the flattened observation.

    Args:
        observation_space: of one observation.
        width: an option; each argument with a default is one, and a line of YAML.
    """

    def __init__(self, observation_space: gym.spaces.Box, width: int = 128) -> None:
        """Makes the layers."""
        super().__init__()
        size = math.prod(observation_space.shape)
        self.layers = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())

    def forward(self, obs: Tensor) -> Tensor:
        """Raw observations ``[B, *observation_space.shape]``, in the space's type -> features ``[B, width]``."""
        return self.layers(obs.flatten(1).float())
