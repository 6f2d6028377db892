"""Integrated gradients: how much each pixel adds to a target on the way from nothing to the observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.extras import missing_captum
from rllib_rnd.analysis.maps import METHODS, Map, Method, file_name
from rllib_rnd.analysis.pixels import scaled
from rllib_rnd.analysis.states import States, chunks
from rllib_rnd.analysis.targets import Path, Target

# Observations whose steps are computed together, and observations of one pass.
_CHUNK = 16
_BATCH = 128


@METHODS.register
class IntegratedGradients(Method):
    """Integrated gradients by captum, summed over channels and frames of the stack.

    Sundararajan et al. 2017 (arXiv:1703.01365), eq. 1: ``(x - x') int_0^1 dS(x' + a (x - x')) / dx da``. The sum over
    pixels is ``S(x) - S(x')``. The baseline x' of policy and values is `blank_of` the states, what the deletion curve
    blanks with. An intrinsic reward is integrated over what its own networks read, from 0: RND's mean frame (a pixel
    that was always the same is at its clip a hair's breadth from the mean, so a path over raw pixels would miss it),
    black where frames are not normalised.

    Args:
        steps: Gauss-Legendre points on the way.
    """

    name: ClassVar[str] = "integrated_gradients"
    title: ClassVar[str] = "Integrated gradients"
    source: ClassVar[str] = "Sundararajan et al. 2017 (arXiv:1703.01365); captum"
    shows: ClassVar[str] = (
        "What each pixel adds to the target, or takes from it, on the way from the blank to what was seen; sums to the "
        "whole. The blank is the mean frame of the states (of fewer than 8 their mean colour), of an intrinsic reward "
        "zeros in place of what its networks read: the mean frame of training where frames are normalised, else black."
    )
    cannot: ClassVar[str] = (
        "A pixel that looks as in the blank gets nothing, even where it matters that it does, and single pixels are "
        "noisy."
    )

    def __init__(self, steps: int = 32) -> None:
        self.steps = steps

    def missing(self, agent: Agent) -> str | None:
        """Without captum."""
        return super().missing(agent) or missing_captum()

    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        """One map for each target that is differentiable."""
        blank = scaled(agent, self.blank_of(agent, states)[None])
        return {
            file_name(self.name, target.name): Map(
                self._of(agent, states, target, blank),
                f"{self.title} of {target.name}",
                signed=True,
                target=target.name,
            )
            for target in targets
            if target.differentiable
        }

    def _of(self, agent: Agent, states: States, target: Target, blank: Tensor) -> np.ndarray:
        """``[B, h, w]``; ``blank [1, *obs_shape]`` is the baseline where the target has none of its own."""
        from captum.attr import IntegratedGradients as Captum

        parts = []
        for rows, part in chunks(states, _CHUNK):
            path = target.path(agent, scaled(agent, states.obs[rows]))
            nothing = blank.expand_as(path.x) if path.nothing is None else path.nothing

            # Captum repeats rows; their numbers, which it repeats alike, tell which states they are of.
            def forward(x: Tensor, row: Tensor, path: Path = path, part: States = part) -> Tensor:
                return path.value(x, part.select(row.numpy()))

            found = Captum(forward).attribute(
                path.x.detach(),
                nothing.detach(),
                additional_forward_args=(torch.arange(len(part)),),
                n_steps=self.steps,
                internal_batch_size=max(_BATCH, len(part)),
            )
            parts.append(path.to_pixels(found.detach()))
        return torch.cat(parts).float().numpy()
