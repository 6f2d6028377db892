"""Feed-forward and recurrent backbones on one encoder, so that they differ in memory alone.

They are the networks that influence-aware memory is compared with (Suau et al. 2022, arXiv:1911.07643): FNN, GRU and
LSTM. Sequences are unrolled step by step, because episodes may begin inside them; a GRU whose input is known
beforehand by `gru_sequence`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import gymnasium as gym
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rllib_rnd.functional.gru import gru_sequence
from rllib_rnd.modules.backbone import BACKBONES, Backbone, BackboneOptions, BackboneOutput, StatelessBackbone
from rllib_rnd.modules.heads import HeadStyle
from rllib_rnd.modules.image import NATURE_CONVS, ImageInput, conv_output_shape, conv_stack, image_layout, is_image
from rllib_rnd.modules.layers import ACTIVATIONS, VectorInput, linear_stack
from rllib_rnd.options import option

CellType = Literal["gru", "lstm"]

# Outputs straight on the features, as in the reproductions of influence-aware memory.
STRAIGHT_HEADS = HeadStyle(policy_hidden="none", critic_hidden="none", critic_gain=math.sqrt(2.0))


@dataclass(frozen=True)
class FNNOptions(BackboneOptions):
    """Options of ``fnn``."""

    hidden_sizes: tuple[int, ...] = option(
        (512, 256, 64), "widths of the linear layers, after the convolutions if the observation is an image", low=1
    )
    activation: Literal["tanh", "relu"] = option("relu", "after every linear layer")


@dataclass(frozen=True)
class MemoryOptions(FNNOptions):
    """Options that every backbone with a memory has."""

    memory_size: int = option(64, "width of the memory; 64 to 512", low=1)
    max_seq_len: int = option(
        8,
        "steps that gradients flow back through; sequences begin with the memory stored while acting. "
        "rollout_fragment_length must be a multiple",
        low=1,
    )


@dataclass(frozen=True)
class RecurrentOptions(MemoryOptions):
    """Options of ``gru`` and ``lstm``."""

    hidden_sizes: tuple[int, ...] = option(
        (), "widths of linear layers before the memory; [] gives it the observation, or the flattened convolutions",
        low=1,
    )  # fmt: skip


class Encoder(nn.Module):
    """Reads vectors, or images through three convolutions (8/4, 4/2, 3/1), into entries and linear layers.

    Args:
        space: space of one observation.
        hidden_sizes: widths of the linear layers, may be empty.
        activation: after each of them.

    Attributes:
        num_entries, entry_size: P and C of `entries`: the variables of a vector (C = 1), or the positions of the last
            convolution map, row by row (C = 64).
        out_features: width of `forward`'s result.
    """

    def __init__(self, space: gym.spaces.Box, hidden_sizes: tuple[int, ...], activation: str) -> None:
        super().__init__()
        self.input: nn.Module
        layout = image_layout(space.shape) if is_image(space.shape) else None
        if layout is not None:
            self.input = ImageInput(layout, space)
            self.convs: nn.Sequential | None = conv_stack(layout.channels, NATURE_CONVS, nn.ReLU)
            channels, rows, columns = conv_output_shape(NATURE_CONVS, layout)
            self.num_entries, self.entry_size = rows * columns, channels
        else:
            self.input = VectorInput(space)
            self.convs = None
            self.num_entries, self.entry_size = self.input.size, 1
        self.fc = linear_stack(self.num_entries * self.entry_size, hidden_sizes, ACTIVATIONS[activation])
        self.out_features = hidden_sizes[-1] if hidden_sizes else self.num_entries * self.entry_size

    def entries(self, obs: Tensor) -> Tensor:
        """``[B, *space.shape]`` raw -> ``[B, P, C]``."""
        x: Tensor = self.input(obs)
        if self.convs is None:
            return x[:, :, None]
        return self.convs(x).flatten(2).transpose(1, 2)

    def forward(self, entries: Tensor) -> Tensor:
        """``[B, P, C]`` -> ``[B, out_features]``."""
        return self.fc(entries.flatten(1))


class Memory(nn.Module):
    """A GRU or LSTM cell over sequences in which episodes may begin.

    Orthogonal weights and zero biases, the LSTM's forget bias 1. The LSTM's state is [h, c] side by side.

    Args:
        cell: "gru" or "lstm".
        in_features: width of the input.
        size: H, width of the output h.

    Attributes:
        state_size: H (GRU) or 2 H (LSTM).
    """

    def __init__(self, cell: CellType, in_features: int, size: int) -> None:
        super().__init__()
        self.size, self.state_size = size, size if cell == "gru" else 2 * size
        self.cell: nn.GRUCell | nn.LSTMCell = (nn.GRUCell if cell == "gru" else nn.LSTMCell)(in_features, size)
        for name, parameter in self.cell.named_parameters():
            if name.startswith("weight"):
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)
        if isinstance(self.cell, nn.LSTMCell):
            with torch.no_grad():
                self.cell.bias_ih[size : 2 * size] = 1.0

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """Input ``[N, in_features]`` and state ``[N, state_size]`` -> next state."""
        if isinstance(self.cell, nn.GRUCell):
            return self.cell(x, state)
        return torch.cat(self.cell(x, (state[:, : self.size], state[:, self.size :])), dim=1)

    def output(self, state: Tensor) -> Tensor:
        """The state's part that others see: h ``[N, H]``."""
        return state[:, : self.size]

    def unroll(
        self,
        x: Tensor,
        state: Tensor | None,
        is_first: Tensor | None,
        read: Callable[[Tensor, Tensor], Tensor] | None = None,
        places: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Runs L steps of N environments.

        Args:
            x: ``[L * N, ...]``, time-major; the input, or what ``read`` makes it of.
            state: ``[N, state_size]`` before the first step; None is zero.
            is_first: ``[L, N]`` bool: forget everything before this step; None is one step without.
            read: a step's part of x ``[N, ...]`` and the memory's output before it ``[N, H]`` (zero where an episode
                begins) -> the input ``[N, in_features]``.
            places: ``[L * N]``: x holds different rows only, and step b reads row ``places[b]``; None: x is whole.

        Returns:
            Outputs ``[L * N, H]``, time-major, and the state after the last step ``[N, state_size]``.
        """
        if is_first is None:
            is_first = torch.zeros((1, len(x)), dtype=torch.bool, device=x.device)
        if state is None:
            state = torch.zeros(is_first.shape[1], self.state_size, device=x.device)
        if isinstance(self.cell, nn.GRUCell) and read is None and len(is_first) > 1:
            return self._unroll_gru(self.cell, x, state, is_first, places)
        if places is not None:
            x = x.index_select(0, places)
        outputs = []
        # The cells have no kernel in bfloat16 on every device, and rounding adds up along a sequence.
        with torch.autocast(x.device.type, enabled=False):
            for x_t, is_first_t in zip(x.float().unflatten(0, is_first.shape), is_first, strict=True):
                state = state.masked_fill(is_first_t[:, None], 0.0)
                state = self.step(x_t if read is None else read(x_t, self.output(state)), state)
                outputs.append(self.output(state))
        return torch.cat(outputs), state

    def _unroll_gru(
        self, cell: nn.GRUCell, x: Tensor, state: Tensor, is_first: Tensor, places: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            from_input = F.linear(x.float(), cell.weight_ih, cell.bias_ih)
            if places is not None:
                from_input = from_input.index_select(0, places)
            steps = from_input.unflatten(0, is_first.shape)
            outputs, state = gru_sequence(steps, state.float(), is_first, cell.weight_hh, cell.bias_hh)
        return outputs.flatten(0, 1), state


@BACKBONES.register
class FNN(StatelessBackbone[FNNOptions]):
    """Feed-forward network without memory, the encoder of ``gru``, ``lstm`` and ``iam``.

    Vectors: linear layers. Images: convolutions 32 8x8/4, 64 4x4/2, 64 3x3/1, then linear layers. Orthogonal with gain
    sqrt(2), zero bias; policy and value stand straight on the last layer. With observations that hold the last n steps
    it is the FNN-n of Suau et al.
    """

    Options = FNNOptions
    name = "fnn"
    source = "Suau et al. 2022 (arXiv:1911.07643), the baseline FNN"
    cost = "186 thousand parameters for the 73 inputs of the Warehouse"
    heads = STRAIGHT_HEADS

    def __init__(self, observation_space: gym.Space, options: FNNOptions) -> None:
        super().__init__(observation_space, options)
        self.encoder = Encoder(self.observation_space, options.hidden_sizes, options.activation)
        self.feature_dim = self.encoder.out_features
        self.reads_each_once = self.encoder.convs is None

    def features(self, obs: Tensor) -> BackboneOutput:
        """``[B, *observation_space.shape]`` raw -> ``[B, feature_dim]``, one tensor for all three heads."""
        return BackboneOutput.shared(self.encoder(self.encoder.entries(obs)))

    def feature_maps(self) -> list[str]:
        """The convolutions' activations, or the linear layers'."""
        return encoder_maps(self.encoder)


class Recurrent(Backbone[RecurrentOptions]):
    """Base of ``gru`` and ``lstm``: the whole (encoded) observation goes through the memory.

    Policy and value stand straight on the memory's output.
    """

    Options = RecurrentOptions
    heads = STRAIGHT_HEADS
    cell: CellType

    def __init__(self, observation_space: gym.Space, options: RecurrentOptions) -> None:
        super().__init__(observation_space, options)
        self.encoder = Encoder(self.observation_space, options.hidden_sizes, options.activation)
        self.memory = Memory(self.cell, self.encoder.out_features, options.memory_size)
        self.feature_dim, self.state_size = options.memory_size, self.memory.state_size
        self.max_seq_len = options.max_seq_len
        self.reads_each_once = self.encoder.convs is None

    def forward(
        self,
        obs: Tensor,
        state: Tensor | None = None,
        is_first: Tensor | None = None,
        places: Tensor | None = None,
    ) -> BackboneOutput:
        """``[L * N, *observation_space.shape]`` raw -> ``[L * N, memory_size]``, one tensor for all three heads."""
        x = self.encoder(self.encoder.entries(obs))
        return BackboneOutput.shared(*self.memory.unroll(x, state, is_first, places=places))

    def feature_maps(self) -> list[str]:
        """The convolutions' activations, or the linear layers'."""
        return encoder_maps(self.encoder)


@BACKBONES.register
class GRU(Recurrent):
    """Gated recurrent unit over the encoded observation."""

    name = "gru"
    source = "Cho et al. 2014 (arXiv:1406.1078); Suau et al. 2022 (arXiv:1911.07643), the recurrent baseline"
    cost = "27 thousand parameters for the 73 inputs of the Warehouse; max_seq_len steps one after the other"
    cell = "gru"


@BACKBONES.register
class LSTM(Recurrent):
    """Long short-term memory over the encoded observation, forget bias 1."""

    name = "lstm"
    source = "Hochreiter and Schmidhuber 1997; Suau et al. 2022 (arXiv:1911.07643), the recurrent baseline"
    cost = "36 thousand parameters for the 73 inputs of the Warehouse; max_seq_len steps one after the other"
    cell = "lstm"


def encoder_maps(encoder: Encoder) -> list[str]:
    """Names, in a backbone that calls it ``encoder``, of the activations that analysis may look at."""
    part, layers = ("fc", encoder.fc) if encoder.convs is None else ("convs", encoder.convs)
    return [f"encoder.{part}.{i}" for i in range(1, len(layers), 2)]
