"""The four networks of Michal Chovanec's experiments with RND: convolutions A, B, C, and tokens with attention, D.

Source: the model diagrams and the text of github.com/michalnand/reinforcement_learning (README); of A and C also the
model files (``ppo_rnd_0_0``, ``ppo_rnd_1_0``). Observations there are four gray frames of 96 x 96. Everything is
orthogonal with gain sqrt(2) and zero bias, ReLU after every convolution and linear layer; policies have gain 0.01 in
both layers, critics 0.1 in the hidden layer and 0.01 in the outputs. Runs b1, b3 and c1 there have sqrt(2) instead of
0.1: ``heads: {critic_hidden_gain: 1.41421356}``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import gymnasium as gym
import torch
from torch import Tensor, nn

from rllib_rnd.modules.backbone import BACKBONES
from rllib_rnd.modules.cnn import HIDDEN_SIZES_HELP, ConvBackbone, ConvOptions
from rllib_rnd.modules.heads import HeadStyle
from rllib_rnd.modules.layers import orthogonal_init
from rllib_rnd.options import option


@dataclass(frozen=True)
class MichalnandAOptions(ConvOptions):
    """Options of ``michalnand_a``."""

    hidden_sizes: tuple[int, ...] = option((448, 448), HIDDEN_SIZES_HELP, low=1)


@dataclass(frozen=True)
class MichalnandBOptions(ConvOptions):
    """Options of ``michalnand_b``."""

    hidden_sizes: tuple[int, ...] = option((800,), HIDDEN_SIZES_HELP, low=1)


@dataclass(frozen=True)
class MichalnandCOptions(ConvOptions):
    """Options of ``michalnand_c``."""

    hidden_sizes: tuple[int, ...] = option((512,), HIDDEN_SIZES_HELP, low=1)


@dataclass(frozen=True)
class MichalnandDOptions(ConvOptions):
    """Options of ``michalnand_d``."""

    hidden_sizes: tuple[int, ...] = option((512,), HIDDEN_SIZES_HELP, low=1)
    position: bool = option(True, "add a learned position to every token, without which attention knows no places")


@BACKBONES.register
class MichalnandA(ConvBackbone[MichalnandAOptions]):
    """Model A: conv 32 8x8/4, 64 3x3/2, 64 3x3/1 (padding 2, 1, 1), linear 448, linear 448.

    Critics read ``relu(h) + h`` with h = FC 448, the policy ``relu(FC 448)``. 4,394,016 parameters at 4 x 96 x 96,
    4,805,300 with the heads of 18 actions and two value streams.

    Raises:
        ConfigError: as `ConvBackbone`; the smallest side is 36 pixels.
    """

    Options = MichalnandAOptions
    source = "michalnand/reinforcement_learning, model A (ppo_rnd_0)"
    cost = "about 4.4 M parameters, 17 M multiply-adds per observation at 4 x 96 x 96"
    heads = HeadStyle(critic_hidden="relu_sum")
    name = "michalnand_a"
    convolutions = ((32, 8, 4, 2), (64, 3, 2, 1), (64, 3, 1, 1))


@BACKBONES.register
class MichalnandB(ConvBackbone[MichalnandBOptions]):
    """Model B: conv 64 8x8/4, 64 3x3/2, 128 3x3/1, linear 800.

    Critics read ``relu(FC 800)``, the policy's output stands straight on the features. Only the diagram is left, which
    names no paddings: they are A's here. 14,873,632 parameters at 4 x 96 x 96, 15,530,452 with the heads of 18 actions
    and two value streams.

    Raises:
        ConfigError: as `ConvBackbone`; the smallest side is 36 pixels.
    """

    Options = MichalnandBOptions
    source = "michalnand/reinforcement_learning, model B (diagram; paddings inferred)"
    cost = "about 14.9 M parameters, 40 M multiply-adds per observation at 4 x 96 x 96"
    heads = HeadStyle(policy_hidden="none", critic_hidden="relu")
    name = "michalnand_b"
    convolutions = ((64, 8, 4, 2), (64, 3, 2, 1), (128, 3, 1, 1))


@BACKBONES.register
class MichalnandC(ConvBackbone[MichalnandCOptions]):
    """Model C: conv 32 3x3/2, 64 3x3/2, 64 3x3/2, 128 3x3/1 (padding 1), linear 512.

    Critics and policy read ``relu(FC 512)``, each its own. The SND paper's policy is this one, but its critics read the
    features before their ReLU. 9,568,160 parameters at 4 x 96 x 96, 10,103,732 with the
    heads of 18 actions and two value streams.

    Raises:
        ConfigError: as `ConvBackbone`; the smallest side is 36 pixels.
    """

    Options = MichalnandCOptions
    source = "michalnand/reinforcement_learning, model C (ppo_rnd_1, ppo_cnd); Pecháč et al. 2023 (arXiv:2302.11563)"
    cost = "about 9.6 M parameters, 39 M multiply-adds per observation at 4 x 96 x 96"
    heads = HeadStyle(critic_hidden="relu")
    name = "michalnand_c"
    convolutions = ((32, 3, 2, 1), (64, 3, 2, 1), (64, 3, 2, 1), (128, 3, 1, 1))


class AttentionBlock(nn.Module):
    """Single-head self-attention, then a 1x1 convolution (a linear layer per token) around which tokens pass unchanged.

    ``x + relu(conv(softmax(q k^T / sqrt(D)) v))``. The diagram shows neither the scale nor where the shortcut begins.
    It begins before the attention here: around the convolution alone, the tokens are nearly equal after two blocks at
    initialisation, and what was where is lost. No normalisation, as in the diagram. The keys have no bias: it would
    add the same to all scores of a query, which the softmax ignores.

    Args:
        dim: D, width of the tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = orthogonal_init(nn.Linear(dim, dim))
        self.key = orthogonal_init(nn.Linear(dim, dim, bias=False))
        self.value = orthogonal_init(nn.Linear(dim, dim))
        self.conv = orthogonal_init(nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, D]`` -> ``[B, T, D]``."""
        # The axis of heads, of which there is one, is what the fused kernels ask for.
        query, key, value = (layer(x).unsqueeze(1) for layer in (self.query, self.key, self.value))
        attended = nn.functional.scaled_dot_product_attention(query, key, value).squeeze(1)
        return x + torch.relu(self.conv(attended))

    def weights(self, x: Tensor) -> Tensor:
        """The attention's weights on tokens ``[B, T, D]``: ``[B, 1, T, T]``, queries x keys."""
        scores = self.query(x) @ self.key(x).transpose(1, 2) / math.sqrt(x.shape[2])
        return scores.softmax(dim=2).unsqueeze(1)


@BACKBONES.register
class MichalnandD(ConvBackbone[MichalnandDOptions]):
    """Model D: conv 128 8x8/8 cuts the image into tokens, two attention blocks of one head, linear 512.

    Policy and critics stand straight on the features. 12 x 12 tokens at 96 x 96, 10 x 10 at 84 x 84, where the last
    four rows and columns of pixels are not seen. Only diagrams are left; for what they do not show see
    `AttentionBlock`. Attention treats tokens as a set, so ``position`` adds a learned vector to each (standard
    deviation 0.02 at first); only the linear layer would know their order otherwise.

    9,620,864 parameters at 4 x 96 x 96, 9,631,124 with the heads of 18 actions and two value streams.

    Raises:
        ConfigError: as `ConvBackbone`; the smallest side is 36 pixels.
    """

    Options = MichalnandDOptions
    source = "michalnand/reinforcement_learning, model D (diagrams; scale, shortcut and positions inferred)"
    cost = "about 9.6 M parameters, 44 M multiply-adds per observation at 4 x 96 x 96"
    heads = HeadStyle(policy_hidden="none", critic_hidden="none")
    name = "michalnand_d"
    convolutions = ((128, 8, 8, 0),)
    position: nn.Parameter | None

    def __init__(self, observation_space: gym.Space, options: MichalnandDOptions) -> None:
        super().__init__(observation_space, options)
        dim, rows, columns = self.map_shape
        position = nn.Parameter(0.02 * torch.randn(rows * columns, dim)) if options.position else None
        self.register_parameter("position", position)
        self.blocks = nn.Sequential(AttentionBlock(dim), AttentionBlock(dim))

    def tokens(self, obs: Tensor) -> Tensor:
        """The tokens before any attention, row by row: ``[B, *observation_space.shape]`` raw -> ``[B, T, 128]``."""
        tokens = self.convs(self.image(obs)).flatten(2).transpose(1, 2)
        return tokens if self.position is None else tokens + self.position

    def maps(self, obs: Tensor) -> Tensor:
        """What the linear layer reads, ``[B, *observation_space.shape]`` raw -> ``[B, T, 128]``."""
        return self.blocks(self.tokens(obs))

    def feature_maps(self) -> list[str]:
        """The convolution's map and the tokens after each block."""
        return [*super().feature_maps(), "blocks.0", "blocks.1"]

    def attention_of(self, obs: Tensor) -> dict[str, Tensor]:
        """Weights of both blocks by their names, ``[B, 1, T, T]``: queries x keys, sums over keys are 1."""
        x, found = self.tokens(obs), {}
        for name, block in self.blocks.named_children():
            found[f"blocks.{name}"] = cast(AttentionBlock, block).weights(x)
            x = block(x)
        return found
