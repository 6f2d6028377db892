"""Grad-CAM++: as Grad-CAM, with places weighted so that several small objects count as much as a large one."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from rllib_rnd.analysis.maps import METHODS
from rllib_rnd.analysis.methods.convolutions import Forward, activation_and_gradient
from rllib_rnd.analysis.methods.gradcam import LayerMethod


@METHODS.register
class GradCAMPlusPlus(LayerMethod):
    """Grad-CAM++.

    Chattopadhay et al. 2018 (arXiv:1710.11063), eq. 19 and 10: with ``g = dS/dA`` the weights are
    ``alpha = g^2 / (2 g^2 + sum_uv A_uv g^3)`` and the map is ``relu(sum_k A_k sum_uv alpha relu(exp(S) g))``. exp(S)
    is one positive number per observation: it scales the whole map and overflows for large S, so it is left out.
    """

    name: ClassVar[str] = "gradcam_plus_plus"
    title: ClassVar[str] = "Grad-CAM++"
    source: ClassVar[str] = "Chattopadhay et al. 2018 (arXiv:1710.11063)"
    shows: ClassVar[str] = "As Grad-CAM, but several small objects count as much as a large one."
    cannot: ClassVar[str] = (
        "It is as coarse as the map, leaves out channels whose gradient is negative everywhere, and its weights are "
        "derived for exp(S), which values and rewards are not."
    )

    def layer_map(self, forward: Forward, layer: nn.Module, obs: Tensor) -> Tensor:
        """See `LayerMethod.layer_map`."""
        activation, gradient = activation_and_gradient(forward, layer, obs)
        return plus_plus(activation, gradient)


def plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """The map ``[B, h, w]`` of a layer's activations A and a target's gradient g by them, ``[B, C, h, w]`` both.

    Equation 19 with the second and third derivative of exp(S) replaced by squares and cubes of g, as the paper does
    (its exp(S) cancels): ``alpha = g^2 / (2 g^2 + sum(A) g^3) = 1 / (2 + sum(A) g)`` where g is not 0. A denominator of
    0 or less, which only layers that are not rectified can have, leaves its place out.
    """
    below = 2.0 + activation.sum(dim=(2, 3), keepdim=True) * gradient
    alpha = torch.where(below > 0.0, 1.0 / torch.where(below > 0.0, below, 1.0), 0.0)
    weight = (alpha * gradient.clamp(min=0.0)).sum(dim=(2, 3), keepdim=True)
    return (weight * activation).sum(dim=1).clamp(min=0.0)
