"""A small convolutional network with dimensional self-attention between its two convolutions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import gymnasium as gym
import torch
from torch import Tensor, nn

from rllib_rnd.modules.backbone import BACKBONES, BackboneOptions, BackboneOutput, ImageBackbone
from rllib_rnd.modules.heads import HeadStyle
from rllib_rnd.modules.image import ConvSpec, channels_last, conv_output_shape, conv_stack
from rllib_rnd.modules.layers import linear_stack, orthogonal_init
from rllib_rnd.options import option

CONVS: tuple[ConvSpec, ...] = ((16, 8, 4, 0), (32, 4, 2, 0))

# Per variant and attended axis, the order of the axes (N, C, H, W) = (0, 1, 2, 3) that the matrix products need: last
# but one the positions that attend to each other, last the features that two positions are compared by.
_ROWS_OF_A_CHANNEL = (0, 1, 2, 3)
_ROWS_OF_A_COLUMN = (0, 3, 2, 1)
_COLUMNS_OF_A_ROW = (0, 2, 3, 1)
AXES: dict[str, dict[str, tuple[int, ...]]] = {
    "SWA": {"rows": _ROWS_OF_A_CHANNEL},
    "CWRA": {"rows": _ROWS_OF_A_COLUMN},
    "CWCA": {"columns": _COLUMNS_OF_A_ROW},
    "CWRCA": {"rows": _ROWS_OF_A_COLUMN, "columns": _COLUMNS_OF_A_ROW},
}


@dataclass(frozen=True)
class SelfAttentionOptions(BackboneOptions):
    """Options of ``self_attention``."""

    variant: Literal["NA", "SWA", "CWRA", "CWCA", "CWRCA"] = option(
        "CWCA",
        "what attends: NA nothing, SWA rows of a channel, CWRA rows of a column, CWCA columns of a row (best in the "
        "study, so the default), CWRCA both of the last two",
    )
    norm_softmax: bool = option(True, "scale the scores and take their softmax; false: Y = (Q K^T) V")
    # No Literal: inside "or null" its error could not name the nearest value.
    ada_attn: str | None = option(
        None,
        "learned weights of attention Y and input X, null for Y + X: alpha Y + X, Y + beta X or alpha Y + beta X; "
        "alpha starts at 0, beta at 1",
        choices=(None, "alpha", "beta", "alpha_beta"),
    )
    legacy_scale: bool = option(
        False, "CWRCA only: divide the scores by sqrt(W) as the published code does, not by sqrt(C)"
    )
    feature_dim: int = option(256, "width of the linear layer, the feature size", low=1)


class DimensionalAttention(nn.Module):
    """Single-head self-attention along one axis of a feature map, or along both; without the residual sum.

    Query, key and value are 1x1 convolutions, orthogonal with gain sqrt(2). Along each attended axis
    ``Y = softmax(Q K^T / sqrt(n)) V``, where n counts the features that two positions are compared by: W pixels for
    SWA, C channels for the others. Without ``norm_softmax`` it is ``Y = (Q K^T) V``.

    The softmax makes the key's bias idle: it adds one number to all scores of a query, so its gradient is zero. It
    stays because the published network has it.

    Args:
        channels: C.
        options: of the backbone; ``variant`` is one of `AXES`.
    """

    def __init__(self, channels: int, options: SelfAttentionOptions) -> None:
        super().__init__()
        self.query, self.key, self.value = (orthogonal_init(nn.Conv2d(channels, channels, 1)) for _ in range(3))
        self.axes = AXES[options.variant]
        self.norm_softmax = options.norm_softmax
        self.scale_by_width = options.legacy_scale and options.variant == "CWRCA"

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> ``[N, C, H, W]``."""
        return self.attend(self.query(x), self.key(x), self.value(x))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The operator on given queries, keys and values, three ``[N, C, H, W]`` -> ``[N, C, H, W]``."""
        results = []
        for order in self.axes.values():
            # On a CPU, plain products of matrices so small are faster than torch's fused attention.
            result = self._mixing(order, query, key) @ value.permute(order)
            results.append(result.permute([order.index(axis) for axis in range(4)]))
        return sum(results[1:], results[0])

    def weights(self, x: Tensor) -> dict[str, Tensor]:
        """The softmax matrices of ``x [N, C, H, W]`` per attended axis; empty without ``norm_softmax``.

        Returns:
            "rows": ``[N, C, H, H]`` for SWA, else ``[N, W, H, H]``; "columns": ``[N, H, W, W]``. Last the keys.
        """
        if not self.norm_softmax:
            return {}
        query, key = self.query(x), self.key(x)
        return {name: self._mixing(order, query, key) for name, order in self.axes.items()}

    def _mixing(self, order: tuple[int, ...], query: Tensor, key: Tensor) -> Tensor:
        """What each position takes of each other: the scores, or their softmax."""
        scores = query.permute(order) @ key.permute(order).mT
        if not self.norm_softmax:
            return scores
        n = key.shape[3] if self.scale_by_width else key.shape[order[3]]
        return torch.softmax(scores / math.sqrt(n), dim=-1)


class AttentionBlock(nn.Module):
    """`DimensionalAttention` Y with the sum around it: ``X + Y``, or weighted as ``ada_attn`` says.

    Args:
        channels: C.
        options: of the backbone.
    """

    def __init__(self, channels: int, options: SelfAttentionOptions) -> None:
        super().__init__()
        self.operator = DimensionalAttention(channels, options)
        learned = (options.ada_attn or "").split("_")
        self.alpha = nn.Parameter(torch.zeros(())) if "alpha" in learned else None
        self.beta = nn.Parameter(torch.ones(())) if "beta" in learned else None

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> ``[N, C, H, W]``, of any sign."""
        y = self.operator(x)
        # X comes first, since a sum takes its memory layout from its first term, and the next convolution wants X's.
        return (x if self.beta is None else self.beta * x) + (y if self.alpha is None else self.alpha * y)


@BACKBONES.register
class SelfAttentionCNN(ImageBackbone[SelfAttentionOptions]):
    """Two convolutions with self-attention along rows or columns between them, and one linear layer.

    conv 16 8x8/4, ReLU, attention block (none for "NA"), conv 32 4x4/2, ReLU, linear 256, ReLU; orthogonal with gain
    sqrt(2), zero bias. Policy and value stand on the features directly, with gains 0.01 and 1. At 4 x 84 x 84 and 6
    actions with them: 677,943 parameters without attention, 678,759 with any other variant.

    Differences from the published code: alpha and beta exist only where they are used; CWRCA scales like its two
    halves unless ``legacy_scale``.

    Raises:
        ConfigError: the space is no image, or one too small for the convolutions.
    """

    Options = SelfAttentionOptions
    name = "self_attention"
    source = "Dimensional self-attention in PPO (github.com/JianxiaoSun/self-attention-rl)"
    cost = "about 0.7 M parameters, 3.0 M (with attention 3.5 to 3.8 M) multiply-adds per observation at 4 x 84 x 84"
    heads = HeadStyle(policy_hidden="none", policy_gain=0.01, critic_hidden="none", critic_gain=1.0)

    def __init__(self, observation_space: gym.Space, options: SelfAttentionOptions) -> None:
        super().__init__(observation_space, options)
        layout, channels = self.image.layout, CONVS[0][0]
        flat = math.prod(conv_output_shape(CONVS, layout))
        self.conv1 = conv_stack(layout.channels, CONVS[:1], nn.ReLU)
        self.attention: AttentionBlock | None = None
        if options.variant != "NA":
            self.attention = channels_last(AttentionBlock(channels, options))
        self.conv2 = conv_stack(channels, CONVS[1:], nn.ReLU)
        self.fc = linear_stack(flat, [options.feature_dim], nn.ReLU)
        self.feature_dim = options.feature_dim

    def features(self, obs: Tensor) -> BackboneOutput:
        """``[B, *observation_space.shape]`` raw -> ``[B, feature_dim]``, one tensor for all three heads."""
        x = self.conv1(self.image(obs))
        if self.attention is not None:
            x = self.attention(x)
        return BackboneOutput.shared(self.fc(self.conv2(x).flatten(1)))

    def feature_maps(self) -> list[str]:
        """First convolution, attention before the sum, attention block, second convolution; both after their ReLU."""
        attention = [] if self.attention is None else ["attention.operator", "attention"]
        return ["conv1.1", *attention, "conv2.1"]

    def attention_of(self, obs: Tensor) -> dict[str, Tensor]:
        """Softmax matrices of the attended axes, see `DimensionalAttention.weights`; empty without softmax.

        At 4 x 84 x 84 and batch B: "rows" ``[B, 16, 20, 20]`` (SWA), "rows" and "columns" ``[B, 20, 20, 20]``.
        """
        return {} if self.attention is None else self.attention.operator.weights(self.conv1(self.image(obs)))
