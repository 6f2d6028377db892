"""Grad-CAM: which places of a convolution's map speak for a target."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.extras import missing_captum
from rllib_rnd.analysis.maps import METHODS, Map, Method, file_name
from rllib_rnd.analysis.methods.convolutions import (
    Forward,
    activation_and_gradient,
    last_convolutions,
    layer_maps,
    layers_with_maps,
    no_convolution,
)
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.targets import Target, targets_of


class LayerMethod(Method):
    """Base of methods that look into one convolution's map.

    Args:
        layer: of the backbone, a name that `layers_with_maps` lists; None: the last feature map. Of the networks of
            intrinsic rewards it is always the last, and the maps of predictor and target are summed.
    """

    def __init__(self, layer: str | None = None) -> None:
        self.layer = layer

    def missing(self, agent: Agent) -> str | None:
        """Without any convolution, or without that layer."""
        if self.layer is not None and self.layer not in layers_with_maps(agent):
            kind = agent.module.backbone.name or type(agent.module.backbone).__name__
            return f"the backbone {kind} has no layer {self.layer!r} with a map to look into"
        return no_convolution(agent, targets_of(agent), self.layer)

    def maps(self, agent: Agent, states: States, targets: Sequence[Target]) -> dict[str, Map]:
        """One map for each target whose networks have a convolution."""
        maps = {}
        for target in targets:
            layers = last_convolutions(agent, target, self.layer) if target.differentiable else {}
            if layers:
                values = layer_maps(agent, states, target, list(layers.values()), self.layer_map)
                chosen = [self.layer] if self.layer is not None and self.layer in layers else []
                name = file_name(self.name, target.name, *chosen)
                maps[name] = Map(values, f"{self.title} of {target.name} ({', '.join(layers)})", target=target.name)
        return maps

    @abc.abstractmethod
    def layer_map(self, forward: Forward, layer: nn.Module, obs: Tensor) -> Tensor:
        """The map ``[B, h, w]`` of one layer.

        Args:
            forward: the target.
            layer: with output ``[B, C, h, w]``.
            obs: ``[B, *obs_shape]`` as networks read it, asking for a gradient.
        """


@METHODS.register
class GradCAM(LayerMethod):
    """Grad-CAM by captum.

    Selvaraju et al. 2017 (arXiv:1610.02391), eq. 1 and 2: ``relu(sum_k w_k A_k)``, A_k the maps of the layer and w_k
    the mean over places of the target's gradient by A_k.
    """

    name: ClassVar[str] = "gradcam"
    title: ClassVar[str] = "Grad-CAM"
    source: ClassVar[str] = "Selvaraju et al. 2017 (arXiv:1610.02391); captum"
    shows: ClassVar[str] = "Places of a convolution's map whose activity speaks for the target, a first order estimate."
    cannot: ClassVar[str] = (
        "It is as coarse as the map, shows nothing that speaks against the target, and says nothing of where in its "
        "receptive field a place looks."
    )

    def missing(self, agent: Agent) -> str | None:
        """See `LayerMethod.missing`; or without captum."""
        return super().missing(agent) or missing_captum()

    def layer_map(self, forward: Forward, layer: nn.Module, obs: Tensor) -> Tensor:
        """See `LayerMethod.layer_map`."""
        from captum.attr import LayerGradCam

        try:
            found = LayerGradCam(forward, layer).attribute(obs, relu_attributions=True)
        except RuntimeError as error:
            if "not have been used" not in str(error):
                raise
            return activation_and_gradient(forward, layer, obs)[1].mean(dim=1)  # zeros: nothing comes of this layer
        assert isinstance(found, Tensor)
        return found[:, 0]
