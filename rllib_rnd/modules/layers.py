"""Layers and initialisations that backbones, heads and rewards share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.observations import Scale

ModuleT = TypeVar("ModuleT", bound=nn.Module)

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


def orthogonal_init(layer: ModuleT, gain: float = math.sqrt(2.0)) -> ModuleT:
    """Orthogonal weight with the given gain and zero bias (Saxe et al. 2013, arXiv:1312.6120); same layer."""
    nn.init.orthogonal_(layer.get_parameter("weight"), gain)
    if getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.get_parameter("bias"))
    return layer


def linear_stack(
    in_features: int, sizes: Sequence[int], activation: type[nn.Module], linear: type[nn.Module] = nn.Linear
) -> nn.Sequential:
    """Linear layers of the given sizes, orthogonal with gain sqrt(2), an activation after every one.

    Args:
        in_features: width of the input.
        sizes: widths of the layers, may be empty.
        activation: class of the activation.
        linear: class of the layers (`NoisyLinear` for noisy ones).
    """
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [orthogonal_init(linear(in_features, size)), activation()]
        in_features = size
    return nn.Sequential(*layers)


def check_hidden_sizes(sizes: Sequence[int]) -> None:
    """Refuses a backbone whose features would be no layer's.

    Raises:
        ConfigError: no layer.
    """
    if not sizes:
        raise ConfigError("hidden_sizes", "[] is empty", "one size or more")


class VectorInput(nn.Module):
    """First stage of every backbone that reads vectors: raw observations, flattened, as float32.

    Floats enter as they are, whole numbers are divided by the largest that the space allows for each element (a one-hot
    uint8 vector stays one-hot); without bounds they too enter as they are. Floats given in the place of whole numbers
    count as scaled.

    Args:
        space: space of one observation.

    Attributes:
        size: D, number of elements.
    """

    def __init__(self, space: gym.spaces.Box) -> None:
        super().__init__()
        self.size = int(np.prod(space.shape))
        self.scale = Scale(space, is_image=False)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """``[B, *space.shape]`` -> ``[B, D]``."""
        return (obs.float() if obs.is_floating_point() else self.scale(obs)).flatten(1)


class NoisyLinear(nn.Linear):
    """Linear layer with factorised Gaussian noise on weights and biases, ``w = mu + sigma * eps``.

    Fortunato et al. 2018, "Noisy Networks for Exploration" (arXiv:1706.10295), section 3, option (b):
    ``eps_w = f(eps_out) f(eps_in)^T``, ``eps_b = f(eps_out)``, ``f(x) = sign(x) sqrt(|x|)``, and sigma starts at
    ``sigma_0 / sqrt(in_features)`` with sigma_0 = 0.5. Deviation: mu is initialised like every other layer here
    (orthogonal), not uniformly.

    The noise is a buffer and stays until `resample`: policy and learner then share it, so PPO's ratios start at 1.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        sigma_0: scale of the initial noise.
    """

    eps_in: torch.Tensor
    eps_out: torch.Tensor

    def __init__(self, in_features: int, out_features: int, sigma_0: float = 0.5) -> None:
        super().__init__(in_features, out_features)
        sigma = sigma_0 / math.sqrt(in_features)
        self.weight_sigma = nn.Parameter(torch.full((out_features, in_features), sigma))
        self.bias_sigma = nn.Parameter(torch.full((out_features,), sigma))
        self.register_buffer("eps_in", torch.zeros(in_features))
        self.register_buffer("eps_out", torch.zeros(out_features))
        self.resample()

    @torch.no_grad()
    def resample(self, generator: torch.Generator | None = None) -> None:
        """Draws new noise, the same for every sample until the next call."""
        for eps in (self.eps_in, self.eps_out):
            noise = torch.randn(eps.shape, generator=generator, device=eps.device)
            eps.copy_(noise.sign() * noise.abs().sqrt())

    @torch.no_grad()
    def silence(self) -> None:
        """Sets the noise to zero: the mean policy, for evaluation."""
        self.eps_in.zero_()
        self.eps_out.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, in_features]`` -> ``[B, out_features]``."""
        weight = self.weight + self.weight_sigma * torch.outer(self.eps_out, self.eps_in)
        return nn.functional.linear(x, weight, self.bias + self.bias_sigma * self.eps_out)


def noisy_layers(module: nn.Module) -> list[NoisyLinear]:
    """All noisy layers of a module, in the order of their names."""
    return [layer for layer in module.modules() if isinstance(layer, NoisyLinear)]
