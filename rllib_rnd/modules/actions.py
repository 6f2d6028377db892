"""From an action space to the distribution of a policy, and from its actions to those of the environment."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_rnd.errors import ConfigError
from rllib_rnd.functional.distributions import ActionDistribution, Categorical, DiagonalGaussian


def distribution_for_space(space: gym.Space | None) -> ActionDistribution:
    """Categorical for Discrete, a diagonal Gaussian for one-dimensional Box spaces of floats.

    Raises:
        ConfigError: any other space.
    """
    if isinstance(space, spaces.Discrete):
        return Categorical(int(space.n))
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating):
        return DiagonalGaussian(space.shape[0])
    raise ConfigError(
        "",
        f"action space {space} is not supported",
        "Discrete(n) or a Box of floats of shape [A] (gymnasium.wrappers.TransformAction makes one of another)",
    )


def to_environment(space: gym.Space, normalize: bool, clip: bool) -> Callable[[np.ndarray], np.ndarray]:
    """How a batch of a policy's actions ``[N, ...]`` becomes the environment's, by RLlib's two settings.

    Args:
        space: of a single environment.
        normalize: ``normalize_actions``: -1 to 1 is stretched to the bounds of a Box, what lies outside is clipped.
        clip: ``clip_actions``: Box actions are only clipped to the bounds. ``normalize`` decides first.
    """
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return (lambda action: action + start) if start else (lambda action: action)
    assert isinstance(space, spaces.Box)  # distribution_for_space allows no other
    low, high = space.low, space.high
    if normalize and space.is_bounded():
        return lambda action: np.clip(low + (action + 1.0) * 0.5 * (high - low), low, high)
    if normalize or clip:
        return lambda action: np.clip(action, low, high)
    return lambda action: action
