"""How raw observations become the float32 numbers that networks compute with: of any type, scaled by their bounds."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from rllib_rnd.envs.bounds import largest_sizes
from rllib_rnd.errors import ConfigError


def box_space(observation_space: gym.Space) -> gym.spaces.Box:
    """Returns the space if it is a Box of at least one axis, and not empty.

    Raises:
        ConfigError: any other space.
    """
    if isinstance(observation_space, gym.spaces.Box) and observation_space.shape and 0 not in observation_space.shape:
        return observation_space
    raise ConfigError(
        "",
        f"the observation space {observation_space} is not supported",
        "an array (Box) of one axis or more. Wrap the environment, for example with "
        "gymnasium.wrappers.FlattenObservation",
    )


def is_whole(space: gym.spaces.Box) -> bool:
    """Whether observations are whole numbers or truth values."""
    return np.dtype(space.dtype).kind in "iub"


def largest_numbers(space: gym.spaces.Box, is_image: bool) -> np.ndarray | None:
    """What numbers are divided by, so that they lie within -1 and 1, or 0 and 1 if they are never negative.

    Args:
        space: of what is read.
        is_image: then it is one number ``[]`` for all elements; else ``[*space.shape]``, for the elements of a vector
            differ in kind.

    Returns:
        The largest size that the bounds allow, 1 or more, float64. None where they set no scale: there are none (or
        only those of a type of 4 bytes or more), or it is a vector of floats, whose bounds say little of what is
        usual.
    """
    if not is_image and not is_whole(space):
        return None
    size = largest_sizes(space.low, space.high)
    if size is None:
        return None
    return np.maximum(size.max() if is_image else size, 1.0)


def is_unscaled(space: gym.spaces.Box, is_image: bool) -> bool:
    """Whether numbers reach the policy as they are though those of their kind are scaled, for want of bounds."""
    return (is_image or is_whole(space)) and largest_numbers(space, is_image) is None


class Scale(nn.Module):
    """Numbers of a space, as they are raw or less a mean, as float32 over their `largest_numbers`.

    Args:
        space, is_image: as of `largest_numbers`.

    Attributes:
        is_known: whether there is anything to divide by; numbers stay as they are otherwise.
    """

    factors: Tensor | None

    def __init__(self, space: gym.spaces.Box, is_image: bool) -> None:
        super().__init__()
        largest = largest_numbers(space, is_image)
        self.is_known = largest is not None
        factors = 1.0 / (np.ones(()) if largest is None else largest)
        self.factor = float(factors.flat[0])
        per_element = torch.as_tensor(factors, dtype=torch.float32) if (factors != self.factor).any() else None
        self.register_buffer("factors", per_element, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, *space.shape]`` of any type (images: their axes in any order) -> float32."""
        x = x.float()
        if self.factors is not None:
            return x * self.factors
        return x * self.factor
