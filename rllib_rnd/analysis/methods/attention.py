"""Attention weights of any backbone: read, laid out on the picture, multiplied through layers, compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.methods.feature_maps import grid_of
from rllib_rnd.analysis.pixels import over_pixels
from rllib_rnd.analysis.states import States, network_inputs
from rllib_rnd.modules.image import conv_output_shape
from rllib_rnd.modules.influence import IAM
from rllib_rnd.modules.self_attention import CONVS, SelfAttentionCNN

#: First words of the names of weights that belong to the tokens of ``vit_explorative``.
EXPLORE, EXPLOIT = "explore", "exploit"
ROLLOUT = "rollout"


@torch.no_grad()
def attention_weights(agent: Agent, states: States) -> dict[str, Tensor]:
    """The backbone's own weights, all states at once: ``[B, ..., keys]`` by name, sums over keys are 1.

    A recurrent policy reads each state with the memory that it had before.
    """
    return agent.module.backbone.attention_weights(*network_inputs(agent, states.obs, states.memory, states.is_first))


def missing_attention(agent: Agent) -> str | None:
    """Why an agent has no attention weights, or None."""
    backbone = agent.module.backbone
    if attention_weights(agent, States.of_nothing(agent)):
        return None
    kind = backbone.name or type(backbone).__name__
    if isinstance(backbone, SelfAttentionCNN):
        without = "variant NA" if backbone.attention is None else "norm_softmax: false"
        return f"the backbone {kind} has no attention weights with {without}"
    if isinstance(backbone, IAM):
        return f"the backbone {kind} has attention only with d_set: attention, not {backbone.options.d_set}"
    return f"the backbone {kind} has no attention"


# --- where it looks -------------------------------------------------------------------------------------------------


def received(agent: Agent, weights: Tensor, name: str) -> Tensor:
    """The attention that each place receives: ``[B, heads, h, w]``.

    Places together have 1, or what a token leaves them of it when it attends to itself. Of a token in front it is the
    token's row; where no token is, the mean over queries; along one dimension (`SelfAttentionCNN`) the mean over the
    queries of each row or column, shared between the rows or columns that attend apart from each other.

    Args:
        agent: whose backbone gave the weights.
        weights: ``[B, heads, queries, keys]``, without queries ``[B, heads, keys]`` or ``[B, keys]``.
        name: theirs.
    """
    backbone = agent.module.backbone
    if isinstance(backbone, SelfAttentionCNN):
        return _along_one_axis(backbone, weights.mean(dim=2), name)
    if isinstance(backbone, IAM) and backbone.encoder.convs is None:
        flat = weights.flatten(0, 1).unflatten(1, backbone.observation_space.shape)
        return over_pixels(agent, flat).unflatten(0, weights.shape[:2])
    grid = grid_of(agent, weights.shape[-1])
    if weights.dim() > 3:
        weights = weights[:, :, 0] if grid is not None and grid.tokens else weights.mean(dim=2)
    if weights.dim() == 2:
        weights = weights[:, None]
    # Keys whose places nobody knows are one row.
    return weights[:, :, None] if grid is None else grid.lay_out(weights)


def _along_one_axis(backbone: SelfAttentionCNN, weights: Tensor, name: str) -> Tensor:
    """Weights of keys ``[B, lines, keys]`` on the map of the first convolution: ``[B, 1, H, W]``."""
    lines = weights.shape[1]
    if backbone.options.variant == "SWA":  # the lines are channels, a key is a whole row
        width = conv_output_shape(CONVS[:1], backbone.image.layout)[2]
        return (weights.mean(dim=1)[:, :, None] / width).expand(-1, -1, width)[:, None]
    places = weights if name == "columns" else weights.transpose(1, 2)
    return places[:, None] / lines


def layers_of(weights: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The names of layers that follow each other, ``<first words>.0``, ``.1``, ...: their first words -> names."""
    stacks: dict[str, dict[int, str]] = {}
    for name, layer in weights.items():
        match = re.fullmatch(r"(.*?)\.?(\d+)", name)
        if match and layer.dim() == 4 and layer.shape[2] == layer.shape[3]:
            stacks.setdefault(match[1], {})[int(match[2])] = name
    return {stack: [names[i] for i in sorted(names)] for stack, names in stacks.items() if len(names) > 1}


def rollout(layers: Sequence[Tensor]) -> Tensor:
    """Attention multiplied through layers: whose input reaches whom (Abnar & Zuidema 2020, arXiv:2005.00928).

    ``R = A_L ... A_2 A_1`` with ``A_l = (W_l + I) / 2``: W_l the mean over heads, I the residual connection, which
    hands on as much as attention does.

    Args:
        layers: ``[B, heads, N, N]`` each, the first one first; rows (queries) sum to 1.

    Returns:
        ``[B, N, N]``, rows sum to 1.
    """
    result: Tensor | None = None
    for weights in layers:
        mixed = (weights.mean(dim=1) + torch.eye(weights.shape[-1])) / 2
        result = mixed if result is None else mixed @ result
    assert result is not None
    return result


def with_rollouts(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with ``<first words>.rollout`` of every stack of layers, ``[B, 1, N, N]``, in front."""
    stacks = {_stack_name(stack): [weights[name] for name in names] for stack, names in layers_of(weights).items()}
    return {name: rollout(layers)[:, None] for name, layers in stacks.items()} | dict(weights)


def _stack_name(stack: str) -> str:
    """``explore.blocks`` -> ``explore.rollout``, ``blocks`` -> ``rollout``."""
    first = stack.split(".")[0]
    return f"{first}.{ROLLOUT}" if first in (EXPLORE, EXPLOIT) else ROLLOUT


def differences(named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Exploration minus exploitation of everything that both tokens have, by the name without its first word."""
    pairs = {}
    for name, explore in named.items():
        first, _, rest = name.partition(".")
        if first == EXPLORE and f"{EXPLOIT}.{rest}" in named:
            pairs[rest] = explore - named[f"{EXPLOIT}.{rest}"]
    return pairs


# --- how far two maps are from each other ---------------------------------------------------------------------------


def distance(
    p: np.ndarray, q: np.ndarray, kind: Literal["total_variation", "jensen_shannon"] = "total_variation"
) -> np.ndarray:
    """How far two attention maps are from each other: ``[B]``, from 0 (equal) to 1 (nothing in common).

    Each map is divided by its sum first. Total variation is ``sum |p - q| / 2``, the share of attention that would
    have to be moved. Jensen-Shannon is ``sqrt((KL(p | m) + KL(q | m)) / 2)`` with ``m = (p + q) / 2`` and logarithms
    of base 2, a metric (Endres & Schindelin 2003).

    Args:
        p, q: ``[B, ...]``, no number negative.
        kind: which.

    Raises:
        ValueError: different shapes, negative numbers, or a map without attention.
    """
    if p.shape != q.shape:
        raise ValueError(f"distance: maps of shapes {list(p.shape)} and {list(q.shape)}.")
    flat_p, flat_q = _shares(p), _shares(q)
    if kind == "total_variation":
        return np.abs(flat_p - flat_q).sum(axis=1) / 2
    middle = (flat_p + flat_q) / 2
    divergence = (_relative_entropy(flat_p, middle) + _relative_entropy(flat_q, middle)) / 2
    return np.sqrt(np.maximum(divergence, 0.0))  # rounding may leave less than nothing


def _shares(values: np.ndarray) -> np.ndarray:
    """``[B, ...]`` -> ``[B, P]`` float64, sums are 1."""
    flat = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    total = flat.sum(axis=1, keepdims=True)
    if (flat < 0.0).any() or not (total > 0.0).all():
        raise ValueError("distance: maps must have no negative numbers and a sum above 0.")
    return flat / total


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """``KL(p | q)`` in bits, ``[B]``; q is nowhere 0 where p is not."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0.0)
    return (p * np.log2(ratio)).sum(axis=1)
