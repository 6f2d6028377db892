"""Occlusion: how much a target changes when a window of the picture is blanked. It needs no gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.maps import METHODS, Map, Method, file_name
from rllib_rnd.analysis.pixels import layout_of, mean_frame, over_pixels, picture_shape
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.targets import Target, chunks
from rllib_rnd.modules.observations import is_whole

# Windows along the longer side; with windows twice as wide as their distance each pixel is in four.
_PLACES = 14
# Observations whose windows are computed together, and windows of one pass over them.
_CHUNK = 16
_WINDOWS = 16


@METHODS.register
class Occlusion(Method):
    """Occlusion by captum: the target less the target with a window blanked, mean over the windows a pixel is in.

    Zeiler and Fergus 2014 (arXiv:1311.2901), section 4.2. Windows are as wide as twice their distance, which is a 14th
    of the longer side; in grids of at most 14 each place by itself, in vectors each element. All channels and frames of
    the stack are blanked alike, by `pixels.mean_frame`.
    """

    name: ClassVar[str] = "occlusion"
    title: ClassVar[str] = "Occlusion"
    source: ClassVar[str] = "Zeiler and Fergus 2014 (arXiv:1311.2901); captum"
    shows: ClassVar[str] = (
        "How much the target falls (or rises) when a window is blanked: an effect, not an estimate of one."
    )
    cannot: ClassVar[str] = (
        "It is as coarse as its windows, misses what several places hold together, and a blanked window is itself "
        "something that the agent never saw."
    )

    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        """One map for each target."""
        blank = mean_frame(agent, states)
        return {
            file_name(self.name, target.name): Map(
                self._of(agent, states, target, blank),
                f"{self.title} of {target.name}",
                signed=True,
                target=target.name,
            )
            for target in targets
        }

    def _of(self, agent: Agent, states: States, target: Target, blank: np.ndarray) -> np.ndarray:
        """``[B, h, w]``; windows are filled with ``blank [*obs_shape]``."""
        from captum.attr import Occlusion as Captum

        window, stride = windows(agent)
        space = agent.module.backbone.observation_space
        channels = math.prod(space.shape) // math.prod(picture_shape(agent))
        parts = []
        for rows, part in chunks(states, _CHUNK):
            # Captum computes with floats; single precision holds the whole numbers that bytes are exactly.
            def forward(x: Tensor, row: Tensor, part: States = part) -> Tensor:
                obs = x.round() if is_whole(space) else x
                raw = obs.numpy().astype(space.dtype)
                return torch.from_numpy(target.measure(agent, part.select(row.numpy()), raw))

            found = Captum(forward).attribute(
                torch.from_numpy(states.obs[rows].astype(np.float64)),
                window,
                strides=stride,
                baselines=torch.from_numpy(blank[None].astype(np.float64)).expand(len(part), *space.shape),
                additional_forward_args=(torch.arange(len(part)),),
                perturbations_per_eval=_WINDOWS,
            )
            parts.append(over_pixels(agent, found) / channels)
        return torch.cat(parts).float().numpy()


def windows(agent: Agent) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Size and distance of the windows along each axis of an observation; axes of channels are covered whole."""
    shape, layout = agent.module.backbone.observation_space.shape, layout_of(agent)
    size, step = list(shape), list(shape)
    if layout is None:
        size[-1] = step[-1] = 1
        return tuple(size), tuple(step)
    stride = -(-max(layout.height, layout.width) // _PLACES)
    for axis in layout.permutation[-2:]:
        step[axis] = min(stride, shape[axis])
        size[axis] = min(2 * stride if stride > 1 else 1, shape[axis])
    return tuple(size), tuple(step)
