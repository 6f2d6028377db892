"""Grad-CAM++: as Grad-CAM, with places weighted so that several small objects count as much as a large one."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from rllib_rnd.analysis.maps import METHODS
from rllib_rnd.analysis.methods.convolutions import Forward, activation_and_gradient
from rllib_rnd.analysis.methods.gradcam import LayerMethod

_EPSILON = 1e-7


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
    """The map ``[B, h, w]`` of a layer's activations and a target's gradient by them, ``[B, C, h, w]`` both.

    Gradients are divided by the largest of their observation, since cubes of small numbers vanish; alpha stays what it
    is if A is multiplied by the same. Where alpha's denominator is 0 it is taken as 1: the gradient is 0 there too.
    """
    size = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    g = gradient / size.clamp(min=torch.finfo(gradient.dtype).tiny)
    square = g.square()
    below = 2.0 * square + (size * activation * square * g).sum(dim=(2, 3), keepdim=True)
    alpha = square / torch.where(below.abs() < _EPSILON, 1.0, below)
    weight = (alpha * g.clamp(min=0.0)).sum(dim=(2, 3), keepdim=True) * size
    return (weight * activation).sum(dim=1).clamp(min=0.0)
