"""Convolution maps of networks: which layers make them, and how a target's gradient reaches them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.pixels import scaled
from rllib_rnd.analysis.states import States, chunks
from rllib_rnd.analysis.targets import Target, look
from rllib_rnd.errors import unknown_name_error

# Observations whose maps and gradients are held at a time.
_CHUNK = 32

#: A target of observations as networks read them, ``[B, *obs_shape]`` -> ``[B]``.
Forward = Callable[[Tensor], Tensor]
#: The map of one layer ``[B, h, w]``, of the target and observations.
LayerMap = Callable[[Forward, nn.Module, Tensor], Tensor]


def convolution_maps(agent: Agent) -> list[str]:
    """Names of the backbone's feature maps that are convolution maps ``[B, C, h, w]``, from early to late."""
    return _with_maps(agent, agent.module.backbone.feature_maps())


def layers_with_maps(agent: Agent) -> list[str]:
    """Names of all of the backbone's submodules that make such maps, feature maps or not."""
    return _with_maps(agent, [name for name, _ in agent.module.backbone.named_modules() if name])


@torch.no_grad()
def _with_maps(agent: Agent, names: Sequence[str]) -> list[str]:
    """Those of the backbone's submodules whose output is ``[B, C, h, w]`` of more than one place."""
    backbone, shapes = agent.module.backbone, {}

    def keep(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_layer: nn.Module, _inputs: object, output: object) -> None:
            shapes[name] = tuple(output.shape) if isinstance(output, Tensor) else ()

        return hook

    handles = [backbone.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        nothing = States.of_nothing(agent)
        shapes.clear()
        look(agent, nothing, torch.from_numpy(nothing.obs))
    finally:
        for handle in handles:
            handle.remove()
    found = {name: shape for name, shape in shapes.items() if len(shape) == 4 and shape[0] == 1}
    return [name for name in names if name in found and found[name][2] * found[name][3] > 1]


def last_convolutions(agent: Agent, target: Target, layer: str | None = None) -> dict[str, nn.Module]:
    """The last convolution, after its activation, of every network of a target; none where there are none.

    Args:
        agent: whose networks they are.
        target: what depends on them.
        layer: one of `layers_with_maps` in place of the backbone's last.

    Raises:
        ConfigError: there is no such layer.
    """
    found: dict[str, nn.Module] = {}
    for number, network in enumerate(target.networks(agent)):
        if network is agent.module.backbone:
            names = convolution_maps(agent) if layer is None else layers_with_maps(agent)
            if layer is not None and layer not in names:
                raise unknown_name_error("layer", layer, names, "layer")
            if names:
                name = layer or names[-1]
                found[name] = network.get_submodule(name)
            continue
        name, last = _last_activation(network)
        if last is not None:
            found[f"{number}.{name}" if name in found else name] = last
    return found


def _last_activation(network: nn.Module) -> tuple[str, nn.Module | None]:
    """The activation after a network's last convolution, or that convolution if nothing simple comes after it."""
    named = dict(network.named_modules())
    convolutions = [name for name, part in named.items() if isinstance(part, nn.Conv2d)]
    if not convolutions:
        return "", None
    name = convolutions[-1]
    parent, _, place = name.rpartition(".")
    siblings = named[parent]
    if isinstance(siblings, nn.Sequential) and place.isdigit() and int(place) + 1 < len(siblings):
        after = siblings[int(place) + 1]
        if not isinstance(after, nn.Flatten | nn.Linear) and not list(after.parameters()):
            return f"{parent}.{int(place) + 1}".lstrip("."), after
    return name, named[name]


def layer_maps(
    agent: Agent, states: States, target: Target, layers: Sequence[nn.Module], layer_map: LayerMap
) -> np.ndarray:
    """Maps of one target ``[B, h, w]`` float32, summed over layers of the same size, one in each network.

    Args:
        agent: whose networks they are of.
        states: B of one or more.
        target: that is differentiable.
        layers: that the target depends on.
        layer_map: the method.
    """
    parts = []
    for rows, part in chunks(states, _CHUNK):
        obs = scaled(agent, states.obs[rows]).requires_grad_()

        def forward(x: Tensor, part: States = part) -> Tensor:
            return target.of(agent, part, x)

        maps = [layer_map(forward, layer, obs) for layer in layers]
        parts.append(torch.stack(maps).sum(dim=0).detach())
    return torch.cat(parts).float().numpy()


def activation_and_gradient(forward: Forward, layer: nn.Module, obs: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's output ``[B, ...]`` and the target's gradient by it; parameters gather no gradient.

    Args:
        forward, layer: the target, and the layer.
        obs: ``[B, *obs_shape]`` as networks read it, asking for a gradient.
    """
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
    try:
        value = forward(obs)
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(value.sum(), seen[-1], allow_unused=True, materialize_grads=True)
    return seen[-1].detach(), gradient


def no_convolution(agent: Agent, targets: Sequence[Target], layer: str | None = None) -> str | None:
    """Why no target of an agent has a convolution (or that layer) to look into; None if one has."""
    if any(target.differentiable and last_convolutions(agent, target, layer) for target in targets):
        return None
    kind = agent.module.backbone.name or type(agent.module.backbone).__name__
    return f"no convolution: neither the backbone {kind} nor a reward has maps of one to look into"
