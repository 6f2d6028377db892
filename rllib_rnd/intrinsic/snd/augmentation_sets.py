"""Augmentations of the SND experiments: what a state may lose or gain and still be the same state.

Sources: Pecháč et al. 2023 (arXiv:2302.11563) and github.com/michalnand/reinforcement_learning_agents. Every sample
gets its own draw, of whether and of how; all draws come from the given generator. They work on what the networks read
(bytes scaled to 0..1, normalised where that is asked for) and do not clip it: noise on black is as often below 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rllib_rnd.errors import ConfigError

# Sides of the tiles of `tile_mask`, in pixels.
TILE_SIZES = (1, 2, 4, 8, 12, 16)


def uniform_noise(x: Tensor, generator: torch.Generator, amplitude: float = 0.2) -> Tensor:
    """Adds noise, uniform in +-amplitude, to every element of ``[B, ...]``."""
    return x + (2.0 * _uniform(x.shape, x, generator) - 1.0) * amplitude


def normal_noise(x: Tensor, generator: torch.Generator, std: float = 0.1) -> Tensor:
    """Adds normal noise to every element of ``[B, ...]``."""
    return x + std * torch.randn(x.shape, generator=generator, device=generator.device).to(x.device)


def tile_mask(x: Tensor, generator: torch.Generator, drop: float = 0.1, sizes: tuple[int, ...] = TILE_SIZES) -> Tensor:
    """Sets tiles of ``[B, C, H, W]`` to zero in all channels; the tiles' side is drawn per image from ``sizes``.

    Args:
        x: images.
        generator: of the draws.
        drop: probability of a tile to be masked.
        sizes: sides in pixels; the last tiles of a row or column may be cut off.
    """
    chosen = torch.randint(len(sizes), (len(x),), generator=generator, device=generator.device).to(x.device)
    keep = torch.ones((len(x), *x.shape[2:]), dtype=torch.bool, device=x.device)
    for number, size in enumerate(sizes):
        rows = (chosen == number).nonzero().squeeze(1)
        tiles = _uniform((len(rows), -(-x.shape[2] // size), -(-x.shape[3] // size)), x, generator) >= drop
        keep[rows] = _enlarge(tiles, size)[:, : x.shape[2], : x.shape[3]]
    return x * keep[:, None]


def pixelate(x: Tensor, generator: torch.Generator, factor: int = 2) -> Tensor:
    """Averages squares of ``factor`` pixels of ``[B, C, H, W]``, cut off at the right and lower edges."""
    small = nn.functional.avg_pool2d(x, factor, ceil_mode=True)
    return _enlarge(small, factor)[..., : x.shape[2], : x.shape[3]]


def pixel_dropout(x: Tensor, generator: torch.Generator, drop: float = 0.1) -> Tensor:
    """Sets a share of the pixels of ``[B, C, H, W]`` to zero, in all channels."""
    return x * (_uniform((len(x), 1, *x.shape[2:]), x, generator) >= drop)


def random_convolution(x: Tensor, generator: torch.Generator, size: int = 5) -> Tensor:
    """Filters each image of ``[B, C, H, W]`` by a random kernel of its own, the same for all its channels.

    Weights are normal with variance ``1 / size^2``, so the output of white noise has the input's variance (Lee et al.
    2020, arXiv:1910.05396, draw alike). The border is repeated outwards.
    """
    batch, channels, height, width = x.shape
    weight = torch.randn((batch, 1, size, size), generator=generator, device=generator.device).to(x) / size
    padded = nn.functional.pad(x, (size // 2,) * 4, mode="replicate")
    planes = padded.transpose(0, 1).contiguous()  # channels take the place of the batch, images that of groups
    return nn.functional.conv2d(planes, weight, groups=batch).transpose(0, 1).reshape(batch, channels, height, width)


def blur(x: Tensor, generator: torch.Generator, factor: int = 2) -> Tensor:
    """Averages squares of ``factor`` pixels of ``[B, C, H, W]`` and enlarges them again, smoothly (bilinear)."""
    small = nn.functional.avg_pool2d(x, factor, ceil_mode=True)
    return nn.functional.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=False)


class Step(NamedTuple):
    """One augmentation of a set.

    Attributes:
        augment: the function.
        probability: that a sample gets it.
        strength: its one number: amplitude, share dropped, factor or kernel size.
        images_only: False if it works on vectors too.
    """

    augment: Callable[[Tensor, torch.Generator, float], Tensor] | Callable[[Tensor, torch.Generator, int], Tensor]
    probability: float
    strength: float | int
    images_only: bool = True


def _noise(probability: float = 1.0) -> Step:
    return Step(uniform_noise, probability, 0.2, images_only=False)


#: Sets by name, applied from left to right.
AUGMENTATION_SETS: dict[str, tuple[Step, ...]] = {
    "noise": (_noise(),),
    # 2022, of the README's runs.
    "v1": (Step(pixelate, 0.5, 2), Step(pixelate, 0.25, 4), Step(pixel_dropout, 0.125, 0.1), _noise()),
    # The paper's SND-V.
    "v2": (Step(tile_mask, 0.5, 0.1), _noise(0.5)),
    # Configurations 102 and 112 of the experiments.
    "v2_conv": (Step(random_convolution, 0.5, 5), Step(tile_mask, 0.5, 0.1), _noise(0.5)),
    "v2_pixelate": (Step(pixelate, 0.25, 2), Step(pixel_dropout, 0.25, 0.1), _noise(0.25)),
    # Of the Barlow variant.
    "noise_blur": (Step(normal_noise, 1.0, 0.1), Step(blur, 1.0, 2)),
}

#: Values and the beginning of the documentation of an option that names a set.
AUGMENTATION_CHOICES = ("auto", *AUGMENTATION_SETS)
AUGMENTATION_HELP = "set of augmentations: noise, v1 (2022), v2 (paper), v2_conv, v2_pixelate, noise_blur; auto: "


class AugmentationSet:
    """A set of augmentations by the name that the option ``augmentation`` gives.

    Args:
        name: a key of `AUGMENTATION_SETS`, or ``auto``.
        images: True if it will see ``[B, C, H, W]``, False for ``[B, D]``.
        auto: what ``auto`` is for images; for vectors it is ``noise``.

    Raises:
        ConfigError: the set works on images only, and these are vectors.
    """

    def __init__(self, name: str, images: bool, auto: str) -> None:
        if name == "auto":
            name = auto if images else "noise"
        self.steps = AUGMENTATION_SETS[name]
        if not images and any(step.images_only for step in self.steps):
            problem = f"{name!r} works on images, these observations are vectors"
            raise ConfigError("augmentation", problem, "auto, noise", "noise")

    @torch.no_grad()
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Augments a copy of ``[B, C, H, W]`` or ``[B, D]``, each sample by itself."""
        x = x.clone()
        for augment, probability, strength, _ in self.steps:
            chosen = (_uniform((len(x),), x, generator) < probability).nonzero().squeeze(1)
            if len(chosen):
                x[chosen] = augment(x[chosen], generator, strength)  # type: ignore[arg-type]
        return x


def _uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device).to(like.device)


def _enlarge(x: Tensor, factor: int) -> Tensor:
    """``[..., H, W]`` -> ``[..., H factor, W factor]``, every element a square."""
    return x.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
