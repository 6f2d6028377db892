"""Occlusion: how much a target changes when a window of the picture is blanked. It needs no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.maps import METHODS, Map, Method, file_name
from rllib_rnd.analysis.pixels import blanked, layout_of, picture_shape
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.targets import Target, measure_all

# Windows along the longer side; with windows twice as wide as their distance each pixel is in four.
_PLACES = 14


@METHODS.register
class Occlusion(Method):
    """Occlusion: the target less the target with a window blanked, mean over the windows a pixel is in.

    Zeiler and Fergus 2014 (arXiv:1311.2901), section 4.2. Windows are as wide as twice their distance, which is a 14th
    of the longer side; in grids of at most 14 each place by itself, in vectors each element. All channels and frames of
    the stack are blanked alike, by `blank_of` the states.
    """

    name: ClassVar[str] = "occlusion"
    title: ClassVar[str] = "Occlusion"
    source: ClassVar[str] = "Zeiler and Fergus 2014 (arXiv:1311.2901)"
    shows: ClassVar[str] = (
        "How much the target falls (or rises) when a window is blanked: an effect, not an estimate of one."
    )
    cannot: ClassVar[str] = (
        "It is as coarse as its windows, misses what several places hold together, and a blanked window is itself "
        "something that the agent never saw."
    )

    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        """One map for each target."""
        blank, shape = self.blank_of(agent, states), picture_shape(agent)
        before = measure_all(agent, states, targets, states.obs)
        falls, covered = np.zeros((*before.shape, *shape)), np.zeros(shape)
        for rows, columns in windows(agent):
            where = np.zeros((len(states), *shape), dtype=bool)
            where[:, rows, columns] = True
            fall = before - measure_all(agent, states, targets, blanked(agent, states.obs, where, blank))
            falls[:, :, rows, columns] += fall[:, :, None, None]
            covered[rows, columns] += 1
        return {
            file_name(self.name, target.name): Map(
                fall / covered, f"{self.title} of {target.name}", signed=True, target=target.name
            )
            for target, fall in zip(targets, falls, strict=True)
        }


def windows(agent: Agent) -> list[tuple[slice, slice]]:
    """Rows and columns of every window; together they cover the picture."""
    height, width = picture_shape(agent)
    if layout_of(agent) is None:
        return [(slice(0, 1), slice(i, i + 1)) for i in range(width)]
    step = -(-max(height, width) // _PLACES)
    size = 2 * step if step > 1 else 1
    # One that would lie within the one before is left out.
    tops, lefts = (range(0, max(1, side - size + step), step) for side in (height, width))
    return [(slice(top, top + size), slice(left, left + size)) for top in tops for left in lefts]
