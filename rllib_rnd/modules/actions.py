"""Actions of a space: the policy's distribution over them, what the environment receives, what networks read.

A policy's own actions, which rollouts store, begin at 0 (Discrete, MultiDiscrete) or are unbounded numbers (Box).
"""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

from rllib_rnd.errors import ConfigError, at
from rllib_rnd.functional.distributions import ActionDistribution, Categorical, DiagonalGaussian, MultiCategorical

ActionMap = Callable[[np.ndarray], np.ndarray]

_ALLOWED = (
    "Discrete(n), MultiDiscrete([n, m, ...]) or a Box of floats of shape [A]; make one of them with "
    "gymnasium.wrappers.TransformAction(env, to_env_action, its_space)"
)


def distribution_for_space(space: gym.Space | None) -> ActionDistribution:
    """Categorical for Discrete, a product of categoricals for MultiDiscrete, a diagonal Gaussian for Box ``[A]``.

    Environments of this package's registry have no other space that could be made one of these: binary actions and
    arrays of several axes are flattened there.

    Raises:
        ConfigError: any other space.
    """
    if isinstance(space, spaces.Discrete):
        return Categorical(int(space.n))
    shape = () if space is None else space.shape or ()
    if len(shape) == 1 and shape[0]:
        if isinstance(space, spaces.MultiDiscrete):
            return MultiCategorical([int(n) for n in space.nvec])
        if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
            return DiagonalGaussian(shape[0])
    raise ConfigError("", f"action space {space} is not supported", _ALLOWED)


def to_environment(space: gym.Space, normalize: bool, clip: bool) -> ActionMap:
    """How a batch of a policy's actions ``[N, ...]`` becomes the environment's, by RLlib's two settings.

    Args:
        space: of a single environment.
        normalize: ``normalize_actions``: -1 to 1 is stretched to the bounds of a Box, what lies outside is clipped.
        clip: ``clip_actions``: Box actions are only clipped to the bounds. ``normalize`` decides first.

    Raises:
        ConfigError: as `distribution_for_space`.
    """
    with at("env"):
        distribution_for_space(space)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        start = space.start
        return (lambda action: action + start) if np.any(start) else (lambda action: action)
    assert isinstance(space, spaces.Box)
    low, high = space.low, space.high
    if normalize and space.is_bounded():
        return lambda action: np.clip(low + (action + 1.0) * 0.5 * (high - low), low, high)
    if normalize or clip:
        return lambda action: np.clip(action, low, high)
    return lambda action: action


def from_environment(space: gym.Space, normalize: bool) -> ActionMap:
    """The other way: a batch of actions that an environment took (at random, say) as its policy would have said them.

    Args:
        space, normalize: as of `to_environment`.
    """
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        start = space.start
        return lambda action: action - start
    assert isinstance(space, spaces.Box)
    if not (normalize and space.is_bounded()):
        return lambda action: action
    center, half = _center_and_half(space)
    return lambda action: (action - center) / half


class ActionFeatures:
    """Actions as networks read them: what the environment receives, in numbers from -1 to 1.

    Discrete: one-hot; MultiDiscrete: one-hots side by side; Box: the action after `to_environment`, bounds to -1 and 1
    (as it is where there are none). A policy's own Gaussian actions would lie mostly beyond the bounds when it explores
    much, and there differ without any difference in the environment.

    Args:
        space: of one action.
        normalize, clip: as of `to_environment`.

    Attributes:
        size: F, their width.
        is_continuous: whether they are of a Box.

    Raises:
        ConfigError: a space that there is no policy for.
    """

    def __init__(self, space: gym.Space, normalize: bool = True, clip: bool = False) -> None:
        self.space = space
        self.distribution = distribution_for_space(space)
        self.is_continuous = isinstance(space, spaces.Box)
        self.size = int(space.shape[0]) if isinstance(space, spaces.Box) else self.distribution.num_inputs
        if isinstance(space, spaces.Box):
            stretched = normalize and space.is_bounded()
            free = (space.high > space.low).astype(np.float32)  # an element of one value only has nothing to tell
            ends = [-free, free] if stretched else [space.low, space.high]
            self._limits = [np.asarray(end, np.float32) for end in ends] if normalize or clip else None
            self._affine = None if stretched else [np.asarray(part, np.float32) for part in _center_and_half(space)]

    def __call__(self, action: Tensor) -> Tensor:
        """A policy's actions ``[B]`` or ``[B, A]`` -> ``[B, F]`` float32."""
        if isinstance(self.space, spaces.Discrete):
            return F.one_hot(action.long(), int(self.space.n)).float()
        if isinstance(self.space, spaces.MultiDiscrete):
            parts = zip(action.long().unbind(dim=1), self.space.nvec, strict=True)
            return torch.cat([F.one_hot(part, int(n)) for part, n in parts], dim=1).float()
        x = action.float()
        if self._limits is not None:
            x = x.clamp(*(torch.as_tensor(end, device=x.device) for end in self._limits))
        if self._affine is not None:
            center, half = (torch.as_tensor(part, device=x.device) for part in self._affine)
            x = (x - center) / half
        return x


def _center_and_half(space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """What bounds are mapped to -1 and 1 by; 0 and 1 where an element has none, or both are one number."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    bounded = space.bounded_below & space.bounded_above & (high > low)
    low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    return (low + high) / 2.0, (high - low) / 2.0
