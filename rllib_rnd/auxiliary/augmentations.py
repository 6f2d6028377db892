"""Random augmentations: raw observations in, raw observations out, one transform per sample.

A stack of frames is one sample: its frames are channels here, and all channels of a sample are transformed alike.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from rllib_rnd.auxiliary.base import AuxiliaryOptions
from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.image import MIN_IMAGE_SIDE, ImageLayout, image_layout, is_image
from rllib_rnd.modules.observations import box_space
from rllib_rnd.modules.running_moments import RunningMoments
from rllib_rnd.options import option


@dataclass(frozen=True)
class AugmentationOptions(AuxiliaryOptions):
    """Options of every auxiliary loss that compares two augmented views of an observation."""

    augmentation: Literal["shift", "byol_original", "barlow_original", "noise", "none"] = option(
        "shift",
        "images: shift; byol_original or barlow_original (crop, flip, blur as published). Vectors: noise. Either: none",
    )
    apply_same_transform_to_batch: bool = option(
        False, "one transform for the whole batch instead of one per sample; the two views always differ"
    )
    shift_pixels: int = option(4, "shift: largest shift up, down, left and right; 4 at 84 x 84", low=1)
    noise_scale: float = option(
        0.1, "noise: its standard deviation, in running standard deviations of each number; 0.01 to 0.5", low=0.0
    )


class ObservationAugmentation(nn.Module, abc.ABC):
    """Base of all augmentations.

    What comes out is an observation of the same space: same shape, same type (bytes are rounded to bytes, a change of
    at most 0.002 of the range), so that any backbone reads it as it reads the raw one.

    Args:
        space: space of one observation, frame stack included.
        options: an instance of `AugmentationOptions`.

    Attributes:
        reads: what it is made for.
    """

    reads: ClassVar[Literal["images", "vectors of floats", "everything"]]

    def __init__(self, space: gym.spaces.Box, options: AugmentationOptions) -> None:
        super().__init__()
        self.space, self.options = space, options

    def observe(self, obs: Tensor) -> None:
        """Adds raw observations ``[B, ...]`` to running statistics, if any; all learners must call it equally often."""

    @abc.abstractmethod
    def forward(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """Draws an augmented copy.

        Args:
            obs: ``[B, *space.shape]`` raw.
            generator: the only source of randomness.

        Returns:
            ``[B, *space.shape]`` of the same type.
        """


class Unchanged(ObservationAugmentation):
    """Both views are the observation itself."""

    reads = "everything"

    def forward(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """``[B, ...]`` -> the same."""
        return obs


class ImageAugmentation(ObservationAugmentation):
    """Base of augmentations of images, whatever the order of their axes."""

    reads = "images"

    def __init__(self, space: gym.spaces.Box, options: AugmentationOptions) -> None:
        super().__init__(space, options)
        layout = image_layout(space.shape)
        assert layout is not None  # `build_augmentation` asked `is_image`
        self.layout: ImageLayout = layout

    def forward(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """``[B, *space.shape]`` -> the same, each image transformed."""
        image = self.transform(self.layout.to_channels_first(obs), generator)
        order = self.layout.permutation
        permuted = image.reshape(len(obs), *(self.space.shape[axis] for axis in order))
        return permuted.permute(0, *(order.index(axis) + 1 for axis in range(len(order))))

    @abc.abstractmethod
    def transform(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """``[B, C, H, W]`` of the observation's type -> the same."""


class RandomShift(ImageAugmentation):
    """Shifts images by up to ``shift_pixels`` whole pixels in both directions, borders repeated.

    Yarats et al. 2021, "Image Augmentation Is All You Need" (arXiv:2004.13649), section 3.1: padding by replication,
    then a random crop of the image's own size. It keeps left and right, sizes and, but for the shift, positions.
    """

    def __init__(self, space: gym.spaces.Box, options: AugmentationOptions) -> None:
        super().__init__(space, options)
        side = min(self.layout.height, self.layout.width)
        if options.shift_pixels >= side:
            size = f"{self.layout.height} x {self.layout.width}"
            problem = f"{options.shift_pixels} shifts images of {size} pixels out of sight"
            raise ConfigError("shift_pixels", problem, f"1 to {side - 1}")

    def transform(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """``[B, C, H, W]`` -> the same."""
        limit, batch = self.options.shift_pixels, len(image)
        draws = 1 if self.options.apply_same_transform_to_batch else batch
        offset = torch.randint(-limit, limit + 1, (draws, 2), generator=generator, device=generator.device)
        return shift_images(image, offset.to(image.device).expand(batch, 2))


class CropFlipBlur(ImageAugmentation):
    """Random resized crop, horizontal flip, Gaussian blur: the published augmentations without colours.

    Crops cover 8 to 100 % of the area, with sides of 3 : 4 to 4 : 3, and are enlarged to the image's size; images are
    flipped with probability 0.5; blurred with a kernel of 3 and a standard deviation of 0.1 to 2 pixels. BYOL:
    bilinear, half of the images are blurred; Barlow Twins: bicubic, a tenth of them.

    For games they are harsh: a flip exchanges left and right, and a crop of 8 % hides where things are.
    """

    interpolation: ClassVar[str]
    blur_probability: ClassVar[float]

    def __init__(self, space: gym.spaces.Box, options: AugmentationOptions) -> None:
        super().__init__(space, options)
        self._low, self._high = float(space.low.min()), float(space.high.max())
        # In a list, not as submodules: they hold no state, and draw on the CPU wherever the images are.
        self._transforms = self._build()

    def _build(self) -> list[Callable[[Tensor], Tensor]]:
        # Here, because environment runners import this module and need no kornia: it takes half a second to import.
        from kornia import augmentation as kornia

        same, size = self.options.apply_same_transform_to_batch, (self.layout.height, self.layout.width)
        return [
            kornia.RandomResizedCrop(size, scale=(0.08, 1.0), resample=self.interpolation, same_on_batch=same),
            kornia.RandomHorizontalFlip(p=0.5, same_on_batch=same),
            # A kernel as small as 3 x 3 is faster in one pass than in two.
            kornia.RandomGaussianBlur(
                (3, 3), (0.1, 2.0), p=self.blur_probability, separable=False, same_on_batch=same
            ),
        ]  # fmt: skip

    @torch.no_grad()
    def transform(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """``[B, C, H, W]`` -> the same."""
        # kornia draws from torch's global generator of the CPU: lend it a stream of ours, and put its own back.
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        x = image.float().contiguous()  # kornia's cropping is slower on channels-last memory
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            for transform in self._transforms:
                x = transform(x)
        x = x.clamp_(self._low, self._high)  # bicubic interpolation overshoots
        return (x if image.is_floating_point() else x.round_()).to(image.dtype)


class BYOLOriginal(CropFlipBlur):
    """The set published with BYOL on grey frame stacks."""

    interpolation, blur_probability = "bilinear", 0.5


class BarlowOriginal(CropFlipBlur):
    """The set published with Barlow Twins on grey frame stacks."""

    interpolation, blur_probability = "bicubic", 0.1


class VectorNoise(ObservationAugmentation):
    """Gaussian noise on every number, ``noise_scale`` times that number's running standard deviation over all samples.

    Numbers that have never changed get none.

    Attributes:
        moments: running mean and variance of observations, over all learners.
    """

    reads = "vectors of floats"

    def __init__(self, space: gym.spaces.Box, options: AugmentationOptions) -> None:
        super().__init__(space, options)
        self.moments = RunningMoments(space.shape)

    def observe(self, obs: Tensor) -> None:
        """Adds ``[B, *space.shape]`` to the moments."""
        self.moments.update(obs)

    def forward(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """``[B, *space.shape]`` -> the same, with noise."""
        draws = 1 if self.options.apply_same_transform_to_batch else len(obs)
        noise = torch.randn((draws, *obs.shape[1:]), generator=generator, device=generator.device).to(obs.device)
        return obs + (noise * (self.options.noise_scale * self.moments.std.float())).to(obs.dtype)


AUGMENTATIONS: dict[str, type[ObservationAugmentation]] = {
    "shift": RandomShift,
    "byol_original": BYOLOriginal,
    "barlow_original": BarlowOriginal,
    "noise": VectorNoise,
    "none": Unchanged,
}


def build_augmentation(space: gym.Space, options: AugmentationOptions) -> ObservationAugmentation:
    """Builds ``options.augmentation`` for observations of ``space``.

    Args:
        space: space of one observation, frame stack included.
        options: an instance of `AugmentationOptions`.

    Raises:
        ConfigError: it is not made for such observations; the message says which are.
    """
    box, name = box_space(space), options.augmentation
    if is_image(box.shape):
        kind, nearest = "images", "shift"
    elif np.issubdtype(box.dtype, np.floating):
        kind, nearest = "vectors of floats", "noise"
    else:
        kind, nearest = "neither", "none"
    cls = AUGMENTATIONS[name]
    if cls.reads not in (kind, "everything"):
        allowed = [n for n, other in AUGMENTATIONS.items() if other.reads in (kind, "everything")]
        what = f"{cls.reads} (both sides {MIN_IMAGE_SIDE} pixels or more)" if cls.reads == "images" else cls.reads
        problem = f"{name!r} reads {what}, the observation has shape {box.shape} and type {box.dtype}"
        raise ConfigError("augmentation", problem, " or ".join(allowed), nearest)
    return cls(box, options)


def shift_images(image: Tensor, offset: Tensor) -> Tensor:
    """Moves the window on each image: ``out[b, :, y, x] = image[b, :, y + dy, x + dx]``, borders repeated.

    Args:
        image: ``[B, C, H, W]`` of any type.
        offset: ``[B, 2]`` whole (dy, dx).

    Returns:
        ``[B, C, H, W]`` in channels-last memory.
    """
    batch, channels, height, width = image.shape
    device = image.device
    rows = (torch.arange(height, device=device) + offset[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + offset[:, 1:]).clamp(0, width - 1)
    first = torch.arange(batch, device=device)[:, None] * height
    pixel = (first + rows)[:, :, None] * width + columns[:, None, :]
    # All channels of a pixel lie side by side in channels-last memory, so whole pixels are copied.
    pixels = image.permute(0, 2, 3, 1).reshape(-1, channels)
    return pixels.index_select(0, pixel.flatten()).view(batch, height, width, channels).permute(0, 3, 1, 2)
