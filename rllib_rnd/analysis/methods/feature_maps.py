"""Feature maps: what the layers of a backbone make of each place of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.maps import METHODS, Map, UntargetedMethod, file_name
from rllib_rnd.analysis.pixels import layout_of, upscaled
from rllib_rnd.analysis.states import States, chunks, network_inputs
from rllib_rnd.modules.backbone import Backbone
from rllib_rnd.modules.image import NATURE_CONVS, conv_output_shape
from rllib_rnd.modules.influence import IAM
from rllib_rnd.modules.michalnand import MichalnandD
from rllib_rnd.modules.vit import ViT, ViTExplorative

CHUNK = 16  # states at once: the weights of one observation of a vision transformer take 7 MB
_LEAST_ALIKE = math.log(1.6)  # how far the sides of a grid may be from those of the picture, as a logarithm of ratios

#: What the layers of the self-attention network are called in the study.
_STUDY = {
    "conv1.1": "F1, first convolution after its ReLU",
    "attention.operator": "Y, attention-weighted values before the sum",
    "attention": "F1 + Y, attention block",
    "conv2.1": "F2, second convolution after its ReLU",
}


class Grid(NamedTuple):
    """Places of a picture that a network tells apart, row by row.

    Attributes:
        rows, columns: of places.
        tokens: vectors in front of them that belong to no place.
    """

    rows: int
    columns: int
    tokens: int = 0

    def lay_out(self, values: Tensor) -> Tensor:
        """``[..., tokens + rows * columns]`` -> ``[..., rows, columns]``."""
        return values[..., self.tokens :].unflatten(-1, (self.rows, self.columns))


def grid_of(agent: Agent, count: int) -> Grid | None:
    """Where ``count`` vectors of the agent's backbone are in the picture; None if that cannot be told.

    Of a user's own backbone it is told by the numbers alone: the vectors, or all but the first, must fill a grid of
    about the picture's proportions.
    """
    backbone, layout = agent.module.backbone, layout_of(agent)
    if layout is None:
        return None
    if isinstance(backbone, ViT):
        size = backbone.options.patch_size
        rows, columns = layout.height // size, layout.width // size
        return Grid(rows, columns, count - rows * columns)
    if isinstance(backbone, MichalnandD):
        return Grid(*backbone.map_shape[1:])
    if isinstance(backbone, IAM) and backbone.encoder.convs is not None:
        return Grid(*conv_output_shape(NATURE_CONVS, layout)[1:])
    candidates = [
        (abs(math.log(rows / columns * layout.width / layout.height)), Grid(rows, columns, tokens))
        for tokens in (0, 1)
        for rows in range(1, count - tokens + 1)
        if (count - tokens) % rows == 0
        for columns in ((count - tokens) // rows,)
    ]
    unlikeness, grid = min(candidates, default=(math.inf, None))
    return grid if unlikeness <= _LEAST_ALIKE else None


@torch.no_grad()
def captured(agent: Agent, states: States, names: Sequence[str]) -> dict[str, Tensor]:
    """Outputs of the backbone's submodules for the states, all at once.

    Args:
        agent: whose backbone it is.
        states: B of them.
        names: of submodules, as in ``feature_maps()``.

    Returns:
        By name, in their order. What runs once for each of two tokens (``vit_explorative`` in two passes) comes under
        two names, ``explore.`` and ``exploit.`` in front.
    """
    backbone = agent.module.backbone
    found: dict[str, Tensor] = {}
    handles = [
        backbone.get_submodule(name).register_forward_hook(
            lambda _module, _args, output, name=name: found.__setitem__(name, output.detach().clone())
        )
        for name in names
    ]
    try:
        backbone(*network_inputs(agent, states.obs, states.memory, states.is_first))
    finally:
        for handle in handles:
            handle.remove()
    split: dict[str, Tensor] = {}
    for name in names:
        output = found[name]
        if isinstance(backbone, ViTExplorative) and len(output) == 2 * len(states):
            split[f"explore.{name}"], split[f"exploit.{name}"] = output.chunk(2)
        else:
            split[name] = output
    return split


def layer_map(agent: Agent, output: Tensor) -> Tensor | None:
    """One picture of a layer's output: ``[B, h, w]``, or None if it has no places.

    Of maps ``[B, C, h, w]`` the sum over channels. Of vectors ``[B, N, D]``, one for each place, how far each is from
    their mean (L2): the sum of a vector means nothing where a LayerNorm made it zero.
    """
    if output.dim() == 4:
        return output.sum(dim=1)
    grid = grid_of(agent, output.shape[1]) if output.dim() == 3 else None
    if grid is None:
        return None
    places = output[:, grid.tokens :]
    return Grid(grid.rows, grid.columns).lay_out((places - places.mean(dim=1, keepdim=True)).norm(dim=2))


def min_max(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps as the study of dimensional self-attention draws them: ``[B, h, w]`` -> ``[B, height, width]``.

    Scaled up bilinearly, then each from 0 to 1 by its own least and largest value. A map that is the same everywhere
    is zero, where the study divides by zero.
    """
    large = upscaled(values, (height, width))
    low, high = large.min(axis=(1, 2), keepdims=True), large.max(axis=(1, 2), keepdims=True)
    constant = Map(values, "").constant[:, None, None]
    return np.where(constant, 0.0, (large - low) / np.where(constant, 1.0, high - low)).astype(np.float32)


def is_rectified(backbone: Backbone, name: str) -> bool:
    """Whether a layer's outputs are never negative."""
    return isinstance(backbone.get_submodule(name), nn.ReLU)


@METHODS.register
class FeatureMaps(UntargetedMethod):
    """Every layer of ``feature_maps()`` whose output has places."""

    name = "feature_maps"
    title = "Feature maps"
    source = "Dimensional self-attention in PPO (github.com/JianxiaoSun/self-attention-rl), there of F1 and F2"
    shows = "Where a layer is active: the sum over its channels, or how far each patch's vector is from the mean patch."
    cannot = "Whether anything later reads what is active there, and what the channels say that the sum adds up."

    def missing(self, agent: Agent) -> str | None:
        """No layer that keeps places apart."""
        backbone = agent.module.backbone
        kind = backbone.name or type(backbone).__name__
        if not backbone.feature_maps():
            return f"the backbone {kind} names no layers to look at"
        if not self.look(agent, States.of_nothing(agent)):
            return f"no layer of the backbone {kind} has places of a picture"
        return None

    def look(self, agent: Agent, states: States) -> dict[str, Map]:
        """``feature_maps-<layer>`` by layer, from early to late."""
        backbone = agent.module.backbone
        parts: dict[str, list[Tensor]] = {}
        vectors: set[str] = set()
        for _, chunk in chunks(states, CHUNK):
            for name, output in captured(agent, chunk, backbone.feature_maps()).items():
                picture = layer_map(agent, output)
                if picture is not None:
                    parts.setdefault(name, []).append(picture)
                    vectors |= {name} if output.dim() == 3 else set()
        found = {}
        for name, pictures in parts.items():
            layer = name.removeprefix("explore.").removeprefix("exploit.")
            unit = "distance from the mean patch" if name in vectors else "sum over channels"
            signed = name not in vectors and not is_rectified(backbone, layer)
            title = f"{_STUDY.get(layer, name)} ({unit})"
            found[file_name(self.name, name)] = Map(torch.cat(pictures).numpy(), title, signed, group=layer)
        return found
