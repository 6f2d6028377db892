"""Influence-aware memory: only a part of the observation, the d-set, enters the memory.

Suau et al. 2022, "Influence-Aware Memory Architectures for Deep Reinforcement Learning" (arXiv:1911.07643): features
are ``[RNN(d_t, h_{t-1}), FNN(o_t)]``. What hides in the past of a few variables is remembered, everything else passes
the memory by.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Literal

import gymnasium as gym
import torch
from torch import Tensor, nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.backbone import BACKBONES, Backbone, BackboneOutput
from rllib_rnd.modules.heads import HeadStyle
from rllib_rnd.modules.layers import check_hidden_sizes, orthogonal_init
from rllib_rnd.modules.recurrent import CellType, Encoder, Memory, MemoryOptions, encoder_maps
from rllib_rnd.options import option


@dataclass(frozen=True)
class IAMOptions(MemoryOptions):
    """Options of ``iam``."""

    d_set: Literal["static", "linear", "attention"] = option(
        "attention", "what enters the memory: fixed entries, a learned linear map of all, or soft attention over them"
    )
    d_set_indices: tuple[int, ...] | None = option(
        None,
        "static: which entries, variables of a vector or positions of the 7 x 7 convolution map row by row; null: all",
        low=0,
    )
    d_set_size: int = option(32, "linear: numbers that the map leaves", low=1)
    attention_size: int = option(128, "attention: width of the scoring layer of each head", low=1)
    num_heads: int = option(1, "attention: heads, each with weights of its own", low=1)
    cell: CellType = option("gru", "gru (PyTorch reproductions) or lstm (the paper)")


class DSet(nn.Module, abc.ABC):
    """Chooses what of an observation enters the memory.

    Attributes:
        out_features: width of the memory's input.
    """

    out_features: int

    @abc.abstractmethod
    def prepare(self, entries: Tensor) -> Tensor:
        """What does not depend on the memory, for all steps at once: ``[L * N, P, C]`` -> ``[L * N, ...]``."""

    def read(self, prepared_t: Tensor, h_tm1: Tensor) -> Tensor:
        """One step's input of the memory ``[N, out_features]``, given its output before ``[N, H]``.

        By default what was prepared, whatever the memory holds.
        """
        return prepared_t


class StaticDSet(DSet):
    """Fixed entries.

    Raises:
        ConfigError: an index beyond the observation's entries.
    """

    index: Tensor

    def __init__(self, encoder: Encoder, indices: tuple[int, ...] | None) -> None:
        super().__init__()
        chosen = tuple(range(encoder.num_entries)) if indices is None else indices
        if not chosen or max(chosen) >= encoder.num_entries:
            raise ConfigError(
                "d_set_indices",
                f"{list(chosen)} does not fit",
                f"one or more of 0 to {encoder.num_entries - 1}, the entries of this observation",
            )
        self.register_buffer("index", torch.tensor(chosen), persistent=False)
        self.out_features = len(chosen) * encoder.entry_size

    def prepare(self, entries: Tensor) -> Tensor:
        """``[B, P, C]`` -> ``[B, chosen * C]``."""
        return entries[:, self.index].flatten(1)


class LinearDSet(DSet):
    """A learned linear map of all entries, without bias or activation ("automatic" in the authors' code)."""

    def __init__(self, encoder: Encoder, size: int) -> None:
        super().__init__()
        self.map = orthogonal_init(nn.Linear(encoder.num_entries * encoder.entry_size, size, bias=False))
        self.out_features = size

    def prepare(self, entries: Tensor) -> Tensor:
        """``[B, P, C]`` -> ``[B, d_set_size]``."""
        return self.map(entries.flatten(1))


class AttentionDSet(DSet):
    """Soft attention over the entries, conditioned on the memory (section 3.3 of the paper).

    Each head scores the entries v_i: ``alpha = softmax(e)``, ``d = sum_i alpha_i v_i``, and the memory reads
    ``[d, alpha]``, what was attended to and where. Positions of an image have features of their own to tell them apart,
    ``e_i = w . tanh(W v_i + U h_{t-1} + b) + c``; the variables of a vector o have not, and get weights of their own,
    ``e_i = w_i . tanh(W o + U h_{t-1} + b) + c_i``.

    Args:
        encoder: the entries' sizes.
        memory_size: H.
        attention_size: A, width of the scoring layer of each head.
        num_heads: heads.
    """

    def __init__(self, encoder: Encoder, memory_size: int, attention_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_entries, self.entry_size = encoder.num_entries, encoder.entry_size
        self.is_image, self.num_heads = encoder.entry_size > 1, num_heads
        width = num_heads * attention_size
        self.values = orthogonal_init(nn.Linear(self.entry_size if self.is_image else self.num_entries, width))
        self.memory = orthogonal_init(nn.Linear(memory_size, width, bias=False))
        scores = [nn.Linear(attention_size, 1 if self.is_image else self.num_entries) for _ in range(num_heads)]
        self.scores = nn.ModuleList(orthogonal_init(layer) for layer in scores)
        self.out_features = num_heads * (self.entry_size + self.num_entries)

    def prepare(self, entries: Tensor) -> Tensor:
        """``[B, P, C]`` -> entries beside their part of the scoring layer: ``[B, P, C + width]`` (vectors: flat)."""
        if self.is_image:
            return torch.cat([entries, self.values(entries)], dim=2)
        vector = entries.flatten(1)
        return torch.cat([vector, self.values(vector)], dim=1)

    def weights(self, prepared_t: Tensor, h_tm1: Tensor) -> Tensor:
        """Attention weights ``[N, heads, P]``, sums over P are 1."""
        projected = prepared_t[..., self.entry_size if self.is_image else self.num_entries :]
        from_memory = self.memory(h_tm1)
        hidden = torch.tanh(projected + (from_memory[:, None] if self.is_image else from_memory))
        parts = hidden.chunk(self.num_heads, dim=-1)
        scores = [layer(part).flatten(1) for layer, part in zip(self.scores, parts, strict=True)]
        return torch.softmax(torch.stack(scores, dim=1), dim=-1)

    def read(self, prepared_t: Tensor, h_tm1: Tensor) -> Tensor:
        """``[d, alpha]`` of every head: ``[N, heads * (C + P)]``."""
        alpha = self.weights(prepared_t, h_tm1)
        entries = prepared_t[..., : self.entry_size] if self.is_image else prepared_t[:, : self.num_entries, None]
        return torch.cat([alpha @ entries, alpha], dim=2).flatten(1)


@BACKBONES.register
class IAM(Backbone[IAMOptions]):
    """Influence-aware memory: a feed-forward network beside a memory that sees the d-set alone.

    Features are ``[h_t, FNN(o_t)]``, ``memory_size + hidden_sizes[-1]`` wide. Policy: one linear layer of the memory's
    width, then the output; value straight on the features. Images: three convolutions whose last map has the entries
    (7 x 7 positions of 64 features at 84 x 84) and feeds the linear layers.

    Raises:
        ConfigError: no linear layer, ``d_set_indices`` that do not fit the observation, or attention over one entry.
    """

    Options = IAMOptions
    name = "iam"
    source = "Suau et al. 2022 (arXiv:1911.07643)"
    cost = "max_seq_len steps of the memory, with attention of the d-set too, one after the other"

    def __init__(self, observation_space: gym.Space, options: IAMOptions) -> None:
        super().__init__(observation_space, options)
        check_hidden_sizes(options.hidden_sizes)
        size = options.memory_size
        self.encoder = Encoder(self.observation_space, options.hidden_sizes, options.activation)
        self.d_set: DSet
        if options.d_set == "static":
            self.d_set = StaticDSet(self.encoder, options.d_set_indices)
        elif options.d_set == "linear":
            self.d_set = LinearDSet(self.encoder, options.d_set_size)
        elif self.encoder.num_entries == 1:
            is_image = self.encoder.convs is not None
            only = "the only position that convolutions leave of them" if is_image else "their only number"
            more = ", or 44 pixels or more" if is_image else ""
            raise ConfigError(
                "d_set",
                f"'attention' has one entry of observations {list(self.observation_space.shape)} to attend to, {only}",
                f"'static' or 'linear'{more}",
            )
        else:
            self.d_set = AttentionDSet(self.encoder, size, options.attention_size, options.num_heads)
        self.memory = Memory(options.cell, self.d_set.out_features, size)
        self.feature_dim, self.state_size = size + self.encoder.out_features, self.memory.state_size
        self.max_seq_len = options.max_seq_len
        self.heads = HeadStyle(
            policy_hidden="linear",
            policy_hidden_size=size,
            policy_hidden_gain=math.sqrt(2.0),
            critic_hidden="none",
            critic_gain=math.sqrt(2.0),
        )

    def forward(self, obs: Tensor, state: Tensor | None = None, is_first: Tensor | None = None) -> BackboneOutput:
        """``[L * N, *observation_space.shape]`` raw -> ``[L * N, feature_dim]``, one tensor for all three heads."""
        entries = self.encoder.entries(obs)
        h, state = self.memory.unroll(self.d_set.prepare(entries), state, is_first, self.d_set.read)
        return BackboneOutput.shared(torch.cat([h, self.encoder(entries)], dim=1), state)

    def attention_weights(
        self, obs: Tensor, state: Tensor | None = None, is_first: Tensor | None = None
    ) -> dict[str, Tensor]:
        """With ``d_set: attention`` the weights ``d_set [L * N, heads, P]``, P row by row over the convolution map."""
        d_set, steps = self.d_set, []
        if not isinstance(d_set, AttentionDSet):
            return {}

        def read(prepared_t: Tensor, h_tm1: Tensor) -> Tensor:
            steps.append(d_set.weights(prepared_t, h_tm1))
            return d_set.read(prepared_t, h_tm1)

        self.memory.unroll(d_set.prepare(self.encoder.entries(obs)), state, is_first, read)
        return {"d_set": torch.cat(steps)}

    def feature_maps(self) -> list[str]:
        """The convolutions' activations, or the linear layers'."""
        return encoder_maps(self.encoder)
