"""Maps of attention: where it goes by layer, head and rollout, the matrices themselves, the values it weighs, time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.maps import METHODS, Map, UntargetedMethod, file_name
from rllib_rnd.analysis.methods.attention import (
    EXPLOIT,
    EXPLORE,
    ROLLOUT,
    attention_weights,
    differences,
    missing_attention,
    received,
    with_rollouts,
)
from rllib_rnd.analysis.methods.feature_maps import CHUNK, captured, min_max
from rllib_rnd.analysis.pixels import picture_shape
from rllib_rnd.analysis.states import States, chunks
from rllib_rnd.modules.self_attention import SelfAttentionCNN

WINDOW = 32  # steps that a picture of attention over time shows
_DIMENSIONAL = "Dimensional self-attention in PPO (github.com/JianxiaoSun/self-attention-rl)"
_SOURCE = f"Vaswani et al. 2017 (arXiv:1706.03762); {_DIMENSIONAL}; Suau et al. 2022 (arXiv:1911.07643)"
_TOKENS = {EXPLORE: "exploration token", EXPLOIT: "exploitation token"}


def in_words(name: str) -> str:
    """What weights are called above a picture: ``explore.blocks.0`` -> ``exploration token, block 1``."""
    first, _, rest = name.partition(".")
    words = [_TOKENS[first]] if first in _TOKENS else []
    rest = rest if words else name
    kind, _, number = rest.rpartition(".")
    return ", ".join([*words, f"block {int(number) + 1}" if kind == "blocks" else rest])


def over_chunks(states: States, compute: Callable[[States], dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """What ``compute`` makes of the states, ``[B, ...]`` by name, a few states at once."""
    parts: dict[str, list[Tensor]] = {}
    for _, chunk in chunks(states, CHUNK):
        for name, tensor in compute(chunk).items():
            parts.setdefault(name, []).append(tensor)
    return {name: torch.cat(tensors).numpy() for name, tensors in parts.items()}


def tiled(pictures: Tensor) -> Tensor:
    """Pictures side by side, row by row, zeros between them: ``[B, n, h, w]`` -> one ``[B, ., .]``."""
    batch, count, height, width = pictures.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = torch.zeros(batch, rows * (height + 1) - 1, columns * (width + 1) - 1)
    for i in range(count):
        y, x = i // columns * (height + 1), i % columns * (width + 1)
        sheet[:, y : y + height, x : x + width] = pictures[:, i]
    return sheet


@METHODS.register
class Attention(UntargetedMethod):
    """Where attention goes, by layer and by rollout; of two tokens both, and how they differ."""

    name = "attention"
    title = "Attention"
    source = f"{_SOURCE}; rollout: Abnar & Zuidema 2020 (arXiv:2005.00928)"
    shows = (
        "What share of the attention each place receives: a token's own, else the mean over queries; rollout "
        "multiplies layers and counts the residual connection as much as attention."
    )
    cannot = (
        "Whether what is read there changes the action: values may be near zero, and the residual connection goes past "
        "it. The share that a token keeps to itself is in no picture."
    )

    def missing(self, agent: Agent) -> str | None:
        """No attention."""
        return missing_attention(agent)

    def look(self, agent: Agent, states: States) -> dict[str, Map]:
        """``attention-<weights>`` (mean over heads), rollouts first; ``attention-difference-<weights>`` of tokens."""

        def compute(chunk: States) -> dict[str, Tensor]:
            named = with_rollouts(attention_weights(agent, chunk))
            return {name: received(agent, weights, name).mean(dim=1) for name, weights in named.items()}

        found = over_chunks(states, compute)
        maps = {}
        for name, values in found.items():
            group = "rollout" if name.endswith(ROLLOUT) else "attention"
            maps[file_name(self.name, name)] = Map(values, f"Attention: {in_words(name)}", group=group)
        for rest, values in differences(found).items():
            title = f"Exploration minus exploitation: {in_words(rest)}"
            group = "difference, rollout" if rest == ROLLOUT else "difference"
            maps[file_name(self.name, "difference", rest)] = Map(values, title, signed=True, group=group)
        return dict(sorted(maps.items(), key=lambda named: not named[0].endswith(ROLLOUT)))


@METHODS.register
class AttentionHeads(UntargetedMethod):
    """The same for every head, all heads of a layer as tiles of one picture."""

    name = "attention_heads"
    title = "Attention of each head"
    source = _SOURCE
    shows = "Where each head of a layer looks, head by head, row by row; heads may divide the picture among them."
    cannot = "Which heads the network uses: one that looks at an object may add nothing."

    def missing(self, agent: Agent) -> str | None:
        """No attention, or one head."""
        reason = missing_attention(agent)
        if reason is None and max(self._heads(agent, States.of_nothing(agent)).values(), key=_count).shape[1] == 1:
            return "its attention has a single head, which the method attention shows"
        return reason

    def look(self, agent: Agent, states: States) -> dict[str, Map]:
        """``attention_heads-<weights>``; ``attention_heads-difference-<weights>`` of tokens."""

        def compute(chunk: States) -> dict[str, Tensor]:
            return {name: tiled(heads) for name, heads in self._heads(agent, chunk).items()}

        found = over_chunks(states, compute)
        maps = {}
        for name, values in found.items():
            title = f"Attention of each head: {in_words(name)}"
            maps[file_name(self.name, name)] = Map(values, title, group=self.name, on_frame=False)
        for rest, values in differences(found).items():
            title, key = f"Exploration minus exploitation of each head: {in_words(rest)}", ("difference", rest)
            group = f"{self.name} difference"
            maps[file_name(self.name, *key)] = Map(values, title, signed=True, group=group, on_frame=False)
        return maps

    def _heads(self, agent: Agent, states: States) -> dict[str, Tensor]:
        """``[B, heads, h, w]`` by name."""
        return {name: received(agent, w, name) for name, w in attention_weights(agent, states).items()}


def _count(heads: Tensor) -> int:
    return heads.shape[1]


@METHODS.register
class AttentionMatrix(UntargetedMethod):
    """The softmax matrices themselves: queries from top to bottom, keys from left to right."""

    name = "attention_matrix"
    title = "Attention matrices"
    source = _SOURCE
    shows = (
        "Which position takes from which (queries down, keys across; each row sums to 1): one matrix per channel, "
        "column or row where attention runs along one dimension, else the mean over heads. A diagonal is attention of "
        "positions to themselves, a bright column one that all attend to."
    )
    cannot = "Where in the picture that is: the matrices are not laid out on it."

    def missing(self, agent: Agent) -> str | None:
        """No attention, or weights without queries."""
        reason = missing_attention(agent)
        if reason is None and not self._matrices(agent, States.of_nothing(agent)):
            return "its attention has no queries of its own: there is one row of weights for each state"
        return reason

    def look(self, agent: Agent, states: States) -> dict[str, Map]:
        """``attention_matrix-<weights>``."""
        found = over_chunks(states, lambda chunk: self._matrices(agent, chunk))
        return {
            file_name(self.name, name): Map(values, f"Softmax matrix: {in_words(name)}", group=name, on_frame=False)
            for name, values in found.items()
        }

    def _matrices(self, agent: Agent, states: States) -> dict[str, Tensor]:
        backbone, weights = agent.module.backbone, attention_weights(agent, states)
        if isinstance(backbone, SelfAttentionCNN):
            return {name: tiled(matrices) for name, matrices in weights.items()}
        return {name: matrices.mean(dim=1) for name, matrices in weights.items() if matrices.dim() == 4}


@METHODS.register
class AttentionValues(UntargetedMethod):
    """The attention-weighted values of dimensional self-attention, which its study calls attention maps."""

    name = "attention_values"
    title = "Attention-weighted values"
    source = _DIMENSIONAL
    shows = (
        "What attention adds to each place of the first feature map, summed over channels; also as the study draws it, "
        "each picture scaled from its least to its largest value."
    )
    cannot = (
        "Where attention goes: large values may come from anywhere along the axis. In the study's scaling a picture "
        "that is nearly even looks as strong as any other."
    )
    layer = "attention.operator"

    def missing(self, agent: Agent) -> str | None:
        """Another backbone, or no attention in it."""
        backbone = agent.module.backbone
        if not isinstance(backbone, SelfAttentionCNN):
            return f"for the backbone self_attention, not {backbone.name or type(backbone).__name__}"
        return "the backbone self_attention has no attention with variant NA" if backbone.attention is None else None

    def look(self, agent: Agent, states: States) -> dict[str, Map]:
        """``attention_values`` as it is, and ``attention_values-study`` as it was drawn."""

        def compute(chunk: States) -> dict[str, Tensor]:
            return {"Y": captured(agent, chunk, [self.layer])[self.layer].sum(dim=1)}

        values = over_chunks(states, compute)["Y"]
        return {
            self.name: Map(values, "Attention-weighted values Y, sum over channels", signed=True, group=self.name),
            file_name(self.name, "study"): Map(
                min_max(values, *picture_shape(agent)), "Y as in the study: each picture from least to largest"
            ),
        }


@METHODS.register
class AttentionOverTime(UntargetedMethod):
    """Attention weights of the states before: how the attention of a memory moves."""

    name = "attention_over_time"
    title = "Attention over time"
    source = "Suau et al. 2022 (arXiv:1911.07643)"
    shows = (
        f"The weights of all entries (down) over the last {WINDOW} agent steps of the episode (across, the state "
        "itself at the right); columns sum to 1, those of steps that nothing is known of (before the first) are even."
    )
    context = WINDOW
    cannot = "What the memory keeps of what it attended to; and of observations alone (--states) anything but the last."

    def missing(self, agent: Agent) -> str | None:
        """No attention, or none that a memory moves."""
        reason = missing_attention(agent)
        if reason is None and not agent.module.backbone.state_size:
            return "its attention has no memory that could move it from one step to the next"
        return reason

    def look(self, agent: Agent, states: States) -> dict[str, Map]:
        """``attention_over_time-<weights>``."""
        found = over_time(agent, states)
        maps = {}
        for name, weights in found.items():
            # Even where nothing is known: no other number is on the scale of the weights wherever that begins.
            strips = np.full((len(states), weights.shape[1], WINDOW), 1.0 / weights.shape[1], dtype=np.float32)
            for state, step in enumerate(states.step):
                ago = step - states.step
                past = np.flatnonzero((states.episode == states.episode[state]) & (ago >= 0) & (ago < WINDOW))
                strips[state][:, WINDOW - 1 - ago[past]] = weights[past].T
                strips[state, :, -1] = weights[state]  # a reset step's observation has the step of the one before
            title = f"Attention over time: {in_words(name)}"
            maps[file_name(self.name, name)] = Map(strips, title, group=self.name, on_frame=False)
        return maps


def over_time(agent: Agent, states: States) -> dict[str, np.ndarray]:
    """The weights of every entry, mean over heads, state by state: ``[B, P]`` by name.

    P counts the positions of the last convolution map row by row, or the variables of a vector.
    """

    def compute(chunk: States) -> dict[str, Tensor]:
        weights = attention_weights(agent, chunk)
        return {name: w if w.dim() == 2 else w.flatten(1, -2).mean(dim=1) for name, w in weights.items()}

    return over_chunks(states, compute)
