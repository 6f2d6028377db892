"""Vision transformers: one class token, or an exploration and an exploitation token (explorative attention)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.backbone import BACKBONES, BackboneOptions, BackboneOutput, ImageBackbone
from rllib_rnd.modules.image import ImageLayout
from rllib_rnd.options import option

#: Rows of `ViTExplorative.tokens`.
EXPLORE, EXPLOIT = 0, 1


@dataclass(frozen=True)
class ViTOptions(BackboneOptions):
    """Options of ``vit``."""

    patch_size: int = option(6, "side of a square patch in pixels; must divide both sides of the image", low=1)
    dim: int = option(256, "width of tokens and features, usually 64 to 1024", low=1)
    depth: int = option(3, "transformer blocks", low=1)
    num_heads: int = option(8, "attention heads of a block", low=1)
    head_dim: int = option(32, "width of a head; num_heads * head_dim need not be dim", low=1)
    mlp_dim: int = option(1024, "width of a block's hidden layer, usually 2 to 4 times dim", low=1)
    dropout: float = option(
        0.0, "share of attention weights and block outputs dropped, in training mode only", low=0.0, high=0.9
    )
    embedding_dropout: float = option(
        0.0, "share of the embedded sequence dropped, in training mode only", low=0.0, high=0.9
    )


@dataclass(frozen=True)
class ViTExplorativeOptions(ViTOptions):
    """Options of ``vit_explorative``."""

    passes: Literal["two", "one"] = option(
        "two", "two: the transformer runs once per token, as described; one: a single run, cheaper and not equal"
    )
    aggregate: Literal["sum", "mean"] = option("sum", "how the policy's features join the two read-outs")


def patchify(image: Tensor, size: int) -> Tensor:
    """Cuts images into square patches with all channels, row by row.

    Args:
        image: ``[B, C, H, W]``, best in channels-last memory: then it is copied once, in runs of size * C numbers.
        size: side of a patch; divides H and W.

    Returns:
        ``[B, (H / size) * (W / size), size * size * C]``; within a patch by row, column and channel.
    """
    batch, channels, height, width = image.shape
    strips = image.permute(0, 2, 3, 1).reshape(batch, height // size, size, width // size, size * channels)
    return strips.transpose(2, 3).reshape(batch, -1, size * size * channels)


def check_patch_size(size: int, layout: ImageLayout) -> None:
    """Refuses patches that do not tile the image.

    Raises:
        ConfigError: ``size`` does not divide height and width; the message lists what does.
    """
    common = math.gcd(layout.height, layout.width)
    allowed = [divisor for divisor in range(1, common + 1) if common % divisor == 0]
    if size not in allowed:
        # Of two equally near ones the larger: it makes fewer patches, so it costs less.
        nearest = min(reversed(allowed), key=lambda divisor: abs(divisor - size))
        raise ConfigError(
            "patch_size",
            f"{size} does not divide images of {layout.height} x {layout.width} pixels",
            f"one of {', '.join(map(str, allowed))}",
            nearest,
        )


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2); bias on the output only.

    Queries have a projection of their own because the last block needs those of the tokens only.
    """

    def __init__(self, options: ViTOptions) -> None:
        super().__init__()
        self.num_heads, self.dropout = options.num_heads, options.dropout
        inner = options.num_heads * options.head_dim
        self.query = nn.Linear(options.dim, inner, bias=False)
        self.key_value = nn.Linear(options.dim, 2 * inner, bias=False)
        self.out = nn.Linear(inner, options.dim)

    def project(self, x: Tensor, num_queries: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, N, dim]`` -> queries of the first ``num_queries`` rows, keys, values: ``[B, heads, ., head_dim]``."""
        query = self.query(x[:, :num_queries]).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        key, value = self.key_value(x).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value

    def forward(self, x: Tensor, num_queries: int | None = None, mask: Tensor | None = None) -> Tensor:
        """Attends from the first ``num_queries`` rows (None: all) to all of them.

        Args:
            x: ``[B, N, dim]``.
            num_queries: Q.
            mask: ``[N, N]`` bool, True where a row (query) may look at a column (key).

        Returns:
            ``[B, Q, dim]``.
        """
        query, key, value = self.project(x, num_queries)
        mask = None if mask is None else mask[:num_queries]
        dropout = self.dropout if self.training else 0.0
        heads = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return self.out(heads.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The weights that `forward` does not form, without dropout: ``[B, N, dim]`` -> ``[B, heads, N, N]``."""
        query, key, _ = self.project(x)
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(dim=3)


class Block(nn.Module):
    """Pre-norm transformer block: ``x + attention(norm(x))``, then ``x + mlp(norm(x))`` (Dosovitskiy et al. 2021)."""

    def __init__(self, options: ViTOptions) -> None:
        super().__init__()
        dim, mlp_dim = options.dim, options.mlp_dim
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(options)
        self.dropout = nn.Dropout(options.dropout)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, mlp_dim),
            nn.GELU(),
            nn.Dropout(options.dropout),
            nn.Linear(mlp_dim, dim),
            nn.Dropout(options.dropout),
        )

    def forward(self, x: Tensor, num_queries: int | None = None, mask: Tensor | None = None) -> Tensor:
        """``[B, N, dim]`` -> ``[B, Q, dim]``, the first Q = ``num_queries`` rows (None: all); see `Attention`."""
        x = x[:, :num_queries] + self.dropout(self.attention(self.norm(x), num_queries, mask))
        return x + self.mlp(x)


@BACKBONES.register
class ViT(ImageBackbone[ViTOptions]):
    """Vision transformer whose class token feeds all three heads.

    Patches with all channels, LayerNorm, linear, LayerNorm; learned token and positions, drawn from a standard normal
    distribution; pre-norm blocks; final LayerNorm; read-out of the token. Linear layers keep torch's initialisation.
    The last block computes the token's row only, since nothing reads the others: the result is the same.
    2,456,096 parameters at 4 x 84 x 84.

    Dropout acts in training mode only and environment runners act in eval mode. Above 0 (published: 0.1, also while
    acting) it makes PPO's ratio differ from 1 before the first step of the optimizer.

    Raises:
        ConfigError: the space is no image, or the patches do not tile it.
    """

    Options = ViTOptions
    source = "Dosovitskiy et al. 2021 (arXiv:2010.11929); sizes of ViT with explorative attention's baseline"
    cost = "about 2.5 M parameters, 0.38 G multiply-adds per observation at 4 x 84 x 84"
    name = "vit"
    num_tokens: ClassVar[int] = 1
    mask: Tensor | None

    def __init__(self, observation_space: gym.Space, options: ViTOptions) -> None:
        super().__init__(observation_space, options)
        layout, size, dim = self.image.layout, options.patch_size, options.dim
        check_patch_size(size, layout)
        self.num_patches = (layout.height // size) * (layout.width // size)
        patch_dim = size * size * layout.channels
        self.patch_embedding = nn.Sequential(nn.LayerNorm(patch_dim), nn.Linear(patch_dim, dim), nn.LayerNorm(dim))
        self.tokens = nn.Parameter(torch.randn(self.num_tokens, dim))
        # Row 0 is the place of the token, whichever it is.
        self.positions = nn.Parameter(torch.randn(1 + self.num_patches, dim))
        self.embedding_dropout = nn.Dropout(options.embedding_dropout)
        self.blocks = nn.ModuleList(Block(options) for _ in range(options.depth))
        self.norm = nn.LayerNorm(dim)
        self.register_buffer("mask", None, persistent=False)
        self.feature_dim = dim

    def embed(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Raw ``[B, ...]`` -> tokens ``[num_tokens, dim]`` and patches ``[B, P, dim]``, positions added."""
        patches = self.patch_embedding(patchify(self.image(obs), self.options.patch_size)) + self.positions[1:]
        return self.tokens + self.positions[0], patches

    def sequences(self, obs: Tensor) -> Tensor:
        """What the first block reads: raw ``[B, ...]`` -> ``[B, num_tokens + P, dim]``, tokens first."""
        tokens, patches = self.embed(obs)
        return self.embedding_dropout(torch.cat([tokens.expand(patches.shape[0], -1, -1), patches], dim=1))

    def read_out(self, x: Tensor, num_tokens: int) -> Tensor:
        """Blocks and final LayerNorm: ``[S, N, dim]`` -> ``[S, num_tokens, dim]``, the tokens in front."""
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, None, self.mask)
        return self.norm(last(x, num_tokens, self.mask))

    def features(self, obs: Tensor) -> BackboneOutput:
        """``[B, *observation_space.shape]`` raw -> ``[B, dim]``, one tensor for all three heads."""
        return BackboneOutput.shared(self.read_out(self.sequences(obs), 1)[:, 0])

    def feature_maps(self) -> list[str]:
        """What gives one vector per patch: patch embedding ``[B, P, dim]`` and blocks ``[B, num_tokens + P, dim]``.

        Patches row by row, tokens in front. The last block computes tokens only and is left out.
        """
        return ["patch_embedding", *(f"blocks.{i}" for i in range(len(self.blocks) - 1))]

    def all_weights(self, obs: Tensor) -> list[Tensor]:
        """Attention weights of every block, all rows: raw ``[B, ...]`` -> ``[S, heads, N, N]`` each."""
        x, weights = self.sequences(obs), []
        for block in cast("list[Block]", list(self.blocks)):
            weights.append(block.attention.weights(block.norm(x), self.mask))
            x = block(x, None, self.mask)
        return weights

    def attention_of(self, obs: Tensor) -> dict[str, Tensor]:
        """``blocks.0``, ...: ``[B, heads, 1 + P, 1 + P]``, queries by keys, the token in front."""
        return {f"blocks.{i}": weights for i, weights in enumerate(self.all_weights(obs))}


@BACKBONES.register
class ViTExplorative(ViT):
    """ViT with explorative attention: an exploration and an exploitation token over shared weights and patches.

    The exploration token's read-out z_r feeds the intrinsic value, the exploitation token's z_x the extrinsic one, and
    the policy reads their sum (or mean). Both tokens stand at position 0.

    ``passes: two`` is the method as described: the transformer runs on [token, patches] once per token, and patches see
    the token. Here both runs are one batch of 2B sequences over one patch embedding.
    ``passes: one`` runs once: patches see patches only, each token sees itself and the patches. Half the cost; equal to
    two passes with one block, not with more. 2,456,352 parameters at 4 x 84 x 84 either way.

    The published code differs: it uses only one of its tokens, and dropout is on while acting.

    Raises:
        ConfigError: as for ``vit``.
    """

    Options = ViTExplorativeOptions
    source = "ViT with explorative attention; Dosovitskiy et al. 2021 (arXiv:2010.11929)"
    cost = "about 2.5 M parameters, 0.76 G (one pass: 0.39 G) multiply-adds per observation at 4 x 84 x 84"
    name = "vit_explorative"
    num_tokens: ClassVar[int] = 2
    options: ViTExplorativeOptions

    def __init__(self, observation_space: gym.Space, options: ViTExplorativeOptions) -> None:
        super().__init__(observation_space, options)
        self.one_pass = options.passes == "one"
        if self.one_pass:
            mask = torch.ones(2 + self.num_patches, 2 + self.num_patches, dtype=torch.bool)
            mask[:, :2] = False
            mask[EXPLORE, EXPLORE] = mask[EXPLOIT, EXPLOIT] = True
            self.mask = mask

    def sequences(self, obs: Tensor) -> Tensor:
        """One pass: ``[B, 2 + P, dim]``. Two: ``[2B, 1 + P, dim]``, first all B with the exploration token."""
        if self.one_pass:
            return super().sequences(obs)
        tokens, patches = self.embed(obs)
        tokens = tokens[:, None, None].expand(-1, patches.shape[0], -1, -1)
        x = torch.cat([tokens, patches.expand(2, -1, -1, -1)], dim=2)
        return self.embedding_dropout(x.flatten(0, 1))

    def features(self, obs: Tensor) -> BackboneOutput:
        """``[B, *observation_space.shape]`` raw -> three different ``[B, dim]``."""
        features = self.read_out(self.sequences(obs), 2 if self.one_pass else 1)
        explore, exploit = features.unbind(1) if self.one_pass else features[:, 0].unflatten(0, (2, -1))
        policy = explore + exploit
        if self.options.aggregate == "mean":
            policy = policy / 2
        return BackboneOutput(policy, extrinsic=exploit, intrinsic=explore)

    def attention_of(self, obs: Tensor) -> dict[str, Tensor]:
        """``explore.blocks.0``, ..., ``exploit.blocks.0``, ...: ``[B, heads, 1 + P, 1 + P]``, the token in front."""
        named: dict[str, Tensor] = {}
        layers = self.all_weights(obs)
        for token, name in ((EXPLORE, "explore"), (EXPLOIT, "exploit")):
            # In one pass the rows and columns of the other token go: no row that stays looks at it.
            keep = [token, *range(2, 2 + self.num_patches)]
            for i, both in enumerate(layers):
                named[f"{name}.blocks.{i}"] = both[:, :, keep][..., keep] if self.one_pass else both.chunk(2)[token]
        return named
