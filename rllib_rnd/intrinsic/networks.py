"""Networks that several intrinsic rewards share: encoders of observations, inverse and forward dynamics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import gymnasium as gym
import torch
from torch import Tensor, nn

from rllib_rnd.modules.actions import ActionFeatures
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
from rllib_rnd.modules.observations import Scale, box_space
from rllib_rnd.modules.running_moments import RunningMoments

# Pathak et al. 2017 (arXiv:1705.05363), section 4.1: four convolutions 32 3x3/2 with ELU.
ICM_CONVS: tuple[ConvSpec, ...] = ((32, 3, 2, 1),) * 4

# Limit of normalised vectors, as of RND's inputs.
_CLIP = 5.0


class ObservationEncoder(nn.Module):
    """Raw observations -> features: convolutions for images, linear layers for vectors, then one linear layer.

    Images and whole numbers are divided by the largest that the space allows. Vectors of floats, and whole numbers
    without bounds, have no known scale: they are normalised by running moments, which `update_moments` moves.
    Orthogonal with gain sqrt(2), zero bias.

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
        self.scale = Scale(box, self.layout is not None)
        self.moments = RunningMoments(box.shape) if self.layout is None and not self.scale.is_known else None
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
            x = self.scale(to_channels_last_float(self.layout.to_channels_first(obs)))
        elif self.moments is not None:
            x = self.moments.normalize(obs, _CLIP).flatten(1)
        else:
            x = self.scale(obs).flatten(1)
        return self.head(self.body(x))


class InverseDynamics(nn.Module):
    """Predicts ``a_t`` from features before and after it: features then hold what the agent's actions change.

    Pathak et al. 2017 (arXiv:1705.05363), eq. 2 and 3.

    Args:
        feature_dim: D.
        actions: of which space: cross-entropy (MultiDiscrete: the sum of several), or squared error for a Box.
        hidden_sizes: widths of the hidden layers, one or more; the paper: 256.
        gain: factor of the last layer's orthogonal weights.
    """

    def __init__(
        self, feature_dim: int, actions: ActionFeatures, hidden_sizes: Sequence[int] = (256,), gain: float = 1.0
    ) -> None:
        super().__init__()
        self.actions = actions
        self.net = nn.Sequential(
            linear_stack(2 * feature_dim, hidden_sizes, nn.ReLU),
            orthogonal_init(nn.Linear(hidden_sizes[-1], actions.size), gain),
        )

    def forward(self, phi_t: Tensor, phi_tp1: Tensor) -> Tensor:
        """Two ``[B, D]`` -> logits or, of a Box, means of its features: ``[B, F]``."""
        return self.net(torch.cat([phi_t, phi_tp1], dim=1))

    def loss(self, phi_t: Tensor, phi_tp1: Tensor, action_t: Tensor) -> Tensor:
        """``[B]``: cross-entropy, or half the squared error summed over the features of the action."""
        predicted = self(phi_t, phi_tp1)
        if self.actions.is_continuous:
            return 0.5 * (predicted - self.actions(action_t)).square().sum(dim=1)
        return -self.actions.distribution.logp_and_entropy(predicted, action_t)[0]


class ForwardDynamics(nn.Module):
    """Predicts ``phi_{t+1}`` from ``phi_t`` and ``a_t``: Pathak et al. 2017 (arXiv:1705.05363), eq. 4 and 5.

    Args:
        feature_dim: D.
        actions: how it reads them.
        hidden_size: width of the one hidden layer; the paper: 256.
    """

    def __init__(self, feature_dim: int, actions: ActionFeatures, hidden_size: int = 256) -> None:
        super().__init__()
        self.actions = actions
        self.net = nn.Sequential(
            linear_stack(feature_dim + actions.size, [hidden_size], nn.ReLU),
            orthogonal_init(nn.Linear(hidden_size, feature_dim), 1.0),
        )

    def forward(self, phi_t: Tensor, action_t: Tensor) -> Tensor:
        """``[B, D]`` and actions -> ``[B, D]``."""
        return self.net(torch.cat([phi_t, self.actions(action_t)], dim=1))
