"""What the tests of BYOL and of Barlow Twins share: small backbones of every kind, data and a training loop."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rllib_rnd.auxiliary import AUXILIARY_LOSSES
from rllib_rnd.auxiliary.two_views import TwoViewLoss
from rllib_rnd.modules import Backbone, build_backbone
from rllib_rnd.plugin import Spaces

IMAGES = gym.spaces.Box(0, 255, (4, 36, 36), np.uint8)
VECTORS = gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)

#: name -> backbone, space, and the parameters that `representation` does not depend on.
BACKBONES: dict[str, tuple[dict[str, Any], gym.spaces.Box, tuple[str, ...]]] = {
    "nature_cnn": ({"type": "nature_cnn", "hidden_sizes": [16, 16]}, IMAGES, ()),
    "nature_cnn conv": ({"type": "nature_cnn", "hidden_sizes": [16], "shared_output": "conv"}, IMAGES, ("fc.",)),
    "openai_cnn": ({"type": "openai_cnn", "hidden_sizes": [16]}, gym.spaces.Box(0, 255, (2, 44, 44), np.uint8), ()),
    "vit": (
        {"type": "vit", "patch_size": 12, "dim": 16, "depth": 2, "num_heads": 2, "head_dim": 8, "mlp_dim": 32},
        IMAGES,
        (),
    ),
    "vit_explorative": (
        {"type": "vit_explorative", "patch_size": 12, "dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32},
        IMAGES,
        (),
    ),
    "self_attention": ({"type": "self_attention", "feature_dim": 16}, IMAGES, ()),
    "mlp": ({"type": "mlp", "hidden_sizes": [16, 16]}, VECTORS, ()),
    # An empty memory gives the weights on it no gradient.
    "gru": ({"type": "gru", "memory_size": 16}, VECTORS, ("memory.cell.weight_hh",)),
    "gru images": ({"type": "gru", "memory_size": 16}, IMAGES, ("memory.cell.weight_hh",)),
    "lstm": ({"type": "lstm", "memory_size": 16, "hidden_sizes": [16]}, VECTORS, ("memory.cell.weight_hh",)),
}


class Observations:
    """As much of a rollout as the losses read."""

    def __init__(self, obs: Tensor) -> None:
        self.all = obs

    def obs(self, index: Tensor) -> Tensor:
        return self.all[index]


def observations(space: gym.spaces.Box, batch: int = 24, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if space.dtype == np.uint8:
        return torch.randint(0, 256, (batch, *space.shape), generator=generator, dtype=torch.uint8)
    return torch.randn(batch, *space.shape, generator=generator)


def build(
    spec: dict[str, Any], space: gym.spaces.Box = VECTORS, backbone: Any = "mlp", seed: int = 0
) -> tuple[Backbone, Any]:
    """A backbone and a loss on it, both in training mode; the augmentation fits the space."""
    torch.manual_seed(seed)
    net = build_backbone(backbone, space)
    spec = {"augmentation": "noise" if space is VECTORS else "shift", **spec}
    cls, options = AUXILIARY_LOSSES.parse(spec, "auxiliary_loss")
    auxiliary = cls(net, Spaces(space, gym.spaces.Discrete(2)), options)
    assert isinstance(auxiliary, TwoViewLoss)
    return net, auxiliary.train()


def loss(auxiliary: Any, backbone: Any, obs: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The one (sum, count) of a minibatch of all the observations."""
    generator = torch.Generator().manual_seed(seed)
    terms = auxiliary.terms(backbone, Observations(obs), torch.arange(len(obs)), generator)
    assert list(terms) == [f"{auxiliary.name}_loss"]
    return terms[f"{auxiliary.name}_loss"]


def trained(backbone: Any, auxiliary: Any) -> list[torch.nn.Parameter]:
    return [p for p in [*backbone.parameters(), *auxiliary.parameters()] if p.requires_grad]


def train(auxiliary: Any, backbone: Any, obs: Tensor, steps: int, lr: float = 1e-3) -> list[float]:
    """Losses of steps on one batch whose views are drawn alike in every step."""
    optimizer = torch.optim.Adam(trained(backbone, auxiliary), lr=lr)
    history = []
    for _ in range(steps):
        total, count = loss(auxiliary, backbone, obs)
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
        auxiliary.after_update(backbone)
        history.append((total / count).item())
    return history


def check_backbone_gradients(backbone: torch.nn.Module, without: tuple[str, ...]) -> None:
    """Everything that `representation` depends on has a gradient, and nothing else."""
    for name, parameter in backbone.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert reached != name.startswith(without or ("-",)), name


class TwoViews(torch.nn.Module):
    """Stands in for an augmentation: views that are told beforehand."""

    def __init__(self, *views: Tensor) -> None:
        super().__init__()
        self.views = list(views)

    def observe(self, obs: Tensor) -> None:
        pass

    def forward(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        return self.views.pop(0)
