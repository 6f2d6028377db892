"""Networks that several intrinsic rewards share: encoders of observations, inverse and forward dynamics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.backbone import box_space
from rllib_rnd.modules.image import (
    NATURE_CONVS,
    ConvSpec,
    conv_output_shape,
    conv_stack,
    image_layout,
    is_image,
    to_channels_last_float,
)
from rllib_rnd.modules.layers import linear_stack, orthogonal_init
from rllib_rnd.modules.running_moments import RunningMoments

# Pathak et al. 2017 (arXiv:1705.05363), section 4.1: four convolutions 32 3x3/2 with ELU.
ICM_CONVS: tuple[ConvSpec, ...] = ((32, 3, 2, 1),) * 4

# Limit of normalised vectors, as of RND's inputs.
_CLIP = 5.0


class ObservationEncoder(nn.Module):
    """Raw observations -> features: convolutions for images, linear layers for vectors, then one linear layer.

    Bytes are scaled to 0..1 by the space's upper bound. Vectors of floats have no known scale: they are normalised by
    running moments, which `update_moments` moves. Orthogonal with gain sqrt(2), zero bias.

    Args:
        space: of one observation as it is read, frame stack included or a single frame.
        feature_dim: D.
        hidden_sizes: linear layers before the last, of vectors.
        convs: of images.
        activation: after every layer but the last.

    Raises:
        ConfigError: the observation is not an array, or its images are too small.
    """

    def __init__(
        self,
        space: gym.Space,
        feature_dim: int,
        hidden_sizes: Sequence[int] = (128,),
        convs: Sequence[ConvSpec] = NATURE_CONVS,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        box = box_space(space)
        self.layout = image_layout(box.shape) if is_image(box.shape) else None
        self.moments = RunningMoments(box.shape) if self.layout is None and box.dtype != np.uint8 else None
        self._scale = 1.0 / max(1.0, float(np.max(box.high))) if box.dtype == np.uint8 else 1.0
        if self.layout is None:
            size = math.prod(box.shape)
            self.body = linear_stack(size, hidden_sizes, activation)
            size = hidden_sizes[-1] if hidden_sizes else size
        else:
            size = math.prod(conv_output_shape(convs, self.layout))
            self.body = nn.Sequential(conv_stack(self.layout.channels, convs, activation), nn.Flatten())
        self.head = orthogonal_init(nn.Linear(size, feature_dim))

    def update_moments(self, obs: Tensor, valid: Tensor) -> None:
        """Adds observations ``[B, ...]`` where ``valid [B]`` to the moments, if any; all learners must call it."""
        if self.moments is not None:
            self.moments.update(obs, valid)

    def forward(self, obs: Tensor) -> Tensor:
        """``[B, *space.shape]`` raw -> ``[B, D]``."""
        if self.layout is not None:
            x = to_channels_last_float(self.layout.to_channels_first(obs)) * self._scale
        elif self.moments is not None:
            x = self.moments.normalize(obs, _CLIP).flatten(1)
        else:
            x = obs.flatten(1).float() * self._scale
        return self.head(self.body(x))


def action_size(space: gym.Space) -> int:
    """Width of `action_features`.

    Raises:
        ConfigError: neither Discrete nor a Box ``[A]``.
    """
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gym.spaces.Box) and len(space.shape) == 1:
        return int(space.shape[0])
    raise ConfigError("", f"action space {space} is not supported", "Discrete(n) or a Box of shape [A]")


def action_features(action: Tensor, space: gym.Space) -> Tensor:
    """Actions as networks read them: one-hot for Discrete ``[B] -> [B, n]``, as they are for Box ``[B, A]``."""
    if isinstance(space, gym.spaces.Discrete):
        return nn.functional.one_hot(action.long(), int(space.n)).float()
    return action.float()


class InverseDynamics(nn.Module):
    """Predicts ``a_t`` from features before and after it: features then hold what the agent's actions change.

    Pathak et al. 2017 (arXiv:1705.05363), eq. 2 and 3.

    Args:
        feature_dim: D.
        action_space: Discrete (cross-entropy) or Box (squared error).
        hidden_sizes: widths of the hidden layers, one or more; the paper: 256.
        gain: factor of the last layer's orthogonal weights.
    """

    def __init__(
        self, feature_dim: int, action_space: gym.Space, hidden_sizes: Sequence[int] = (256,), gain: float = 1.0
    ) -> None:
        super().__init__()
        self.action_space = action_space
        self.net = nn.Sequential(
            linear_stack(2 * feature_dim, hidden_sizes, nn.ReLU),
            orthogonal_init(nn.Linear(hidden_sizes[-1], action_size(action_space)), gain),
        )

    def forward(self, phi_t: Tensor, phi_tp1: Tensor) -> Tensor:
        """Two ``[B, D]`` -> logits ``[B, n]`` or means ``[B, A]``."""
        return self.net(torch.cat([phi_t, phi_tp1], dim=1))

    def loss(self, phi_t: Tensor, phi_tp1: Tensor, action_t: Tensor) -> Tensor:
        """``[B]``: cross-entropy, or half the squared error summed over the action's numbers."""
        predicted = self(phi_t, phi_tp1)
        if isinstance(self.action_space, gym.spaces.Discrete):
            return nn.functional.cross_entropy(predicted, action_t.long(), reduction="none")
        return 0.5 * (predicted - action_t.float()).square().sum(dim=1)


class ForwardDynamics(nn.Module):
    """Predicts ``phi_{t+1}`` from ``phi_t`` and ``a_t``: Pathak et al. 2017 (arXiv:1705.05363), eq. 4 and 5.

    Args:
        feature_dim: D.
        action_space: Discrete or Box.
        hidden_size: width of the one hidden layer; the paper: 256.
    """

    def __init__(self, feature_dim: int, action_space: gym.Space, hidden_size: int = 256) -> None:
        super().__init__()
        self.action_space = action_space
        self.net = nn.Sequential(
            linear_stack(feature_dim + action_size(action_space), [hidden_size], nn.ReLU),
            orthogonal_init(nn.Linear(hidden_size, feature_dim), 1.0),
        )

    def forward(self, phi_t: Tensor, action_t: Tensor) -> Tensor:
        """``[B, D]`` and actions -> ``[B, D]``."""
        return self.net(torch.cat([phi_t, action_features(action_t, self.action_space)], dim=1))
