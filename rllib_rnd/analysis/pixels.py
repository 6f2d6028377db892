"""Where an observation's pixels are: axes, numbers as networks read them, maps over pixels, blanking of pixels.

A pixel is a place of the picture with all its channels and all frames of the stack. An observation that is a vector
has its elements for pixels, in one row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.figures.pictures import upsampled
from rllib_rnd.analysis.states import States
from rllib_rnd.envs import frame_stack as env_stack
from rllib_rnd.modules.image import ImageInput, ImageLayout, image_layout, is_image
from rllib_rnd.modules.layers import VectorInput
from rllib_rnd.modules.observations import is_whole, largest_numbers

# Fewer states than this have no mean frame that would not show each of them.
_MEAN_FRAME_STATES = 8

# How near to a whole number a scaled and unscaled one must come to be that number again.
_ROUNDING = 1e-3


def frame_stack(agent: Agent) -> int:
    """K, frames of an observation."""
    return int(agent.module.model_config["frame_stack"])


def layout_of(agent: Agent) -> ImageLayout | None:
    """Where the axes of an observation are, of small grids as well; None: it is a vector (or a stack of them).

    A picture's are where the network that reads it takes them to be.
    """
    shape, stack = agent.module.backbone.observation_space.shape, frame_stack(agent)
    frame_axes = len(shape) - (stack > 1)
    return image_layout(shape, 1 if is_image(shape) else stack) if frame_axes > 1 else None


def _frame_layout(agent: Agent) -> ImageLayout | None:
    """`layout_of` one frame of a stack."""
    shape, stack = agent.module.backbone.observation_space.shape, frame_stack(agent)
    whole = image_layout(shape, stack) if layout_of(agent) is not None else None
    if whole is None:
        return None
    axes = tuple(axis - 1 for axis in whole.permutation if axis > 0)
    return ImageLayout(axes, whole.channels // stack, whole.height, whole.width)


def picture_shape(agent: Agent) -> tuple[int, int]:
    """``(h, w)`` of an observation's pixels; ``(1, D)`` of a vector."""
    layout = layout_of(agent)
    if layout is not None:
        return layout.height, layout.width
    return 1, int(agent.module.backbone.observation_space.shape[-1])


def over_pixels(agent: Agent, values: Tensor) -> Tensor:
    """Sums values of elements ``[B, *obs_shape]`` over channels and frames: ``[B, h, w]``."""
    layout, (h, w) = layout_of(agent), picture_shape(agent)
    if layout is not None:
        return layout.to_channels_first(values).sum(dim=1)
    return values.reshape(len(values), -1, h, w).sum(dim=1)


def to_elements(agent: Agent, pixels: np.ndarray) -> np.ndarray:
    """``[B, h, w]`` of pixels -> ``[B, *obs_shape]``, the same for every channel and frame (a view)."""
    layout, shape = layout_of(agent), agent.module.backbone.observation_space.shape
    if layout is None:
        lead = len(shape) - 1
        flat = pixels.reshape(len(pixels), *[1] * lead, shape[-1])
        return np.broadcast_to(flat, (len(pixels), *shape))
    # Spatial axes are the last two of the permutation; all others are repeated.
    rows, columns = layout.permutation[-2:]
    view = [1] * len(shape)
    view[rows], view[columns] = layout.height, layout.width
    return np.broadcast_to(pixels.reshape(len(pixels), *view), (len(pixels), *shape))


def mean_frame(agent: Agent, states: States) -> np.ndarray:
    """What blanked pixels are replaced by, ``[*obs_shape]``: the states' mean frame, the same in the whole stack.

    Of fewer than 8 states, whose mean would still show them, the mean over pixels too, one for each channel: a frame
    of one colour. Of vectors the mean of each element, however few the states.
    """
    return mean_frame_of_parts(agent, [states])


def mean_frame_of_parts(agent: Agent, parts: Iterable[States]) -> np.ndarray:
    """`mean_frame` of all states of some parts, which need not be in memory together."""
    layout, space = layout_of(agent), agent.module.backbone.observation_space
    total, count = np.zeros(space.shape, dtype=np.float64), 0
    for part in parts:
        total += part.obs.sum(axis=0, dtype=np.float64)
        count += len(part)
    mean = total / count
    if frame_stack(agent) > 1:
        mean = np.broadcast_to(mean.mean(axis=0), mean.shape)
    if layout is not None and count < _MEAN_FRAME_STATES:
        axes = tuple(layout.permutation[-2:])
        mean = np.broadcast_to(mean.mean(axis=axes, keepdims=True), mean.shape)
    return (np.rint(mean) if is_whole(space) else mean).astype(space.dtype)


def blanked(agent: Agent, obs: np.ndarray, where: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Observations ``[B, *obs_shape]`` raw with the pixels ``where [B, h, w]`` (bool) as in ``blank [*obs_shape]``."""
    return np.where(to_elements(agent, where), blank[None], obs)


def largest_of(agent: Agent) -> Tensor | None:
    """What the networks divide raw whole numbers by, ``[]`` or ``[*obs_shape]``; None where they do not."""
    backbone = agent.module.backbone
    space = backbone.observation_space
    if not is_whole(space):
        return None
    reads_images = any(isinstance(part, ImageInput) for part in backbone.modules())
    largest = largest_numbers(space, reads_images)
    return None if largest is None else torch.as_tensor(largest, dtype=torch.float32)


def scaled(agent: Agent, obs: np.ndarray) -> Tensor:
    """Raw observations ``[B, *obs_shape]`` -> float32 as networks read them: of bytes, from 0 to 1."""
    x, largest = torch.from_numpy(np.ascontiguousarray(obs)).float(), largest_of(agent)
    return x if largest is None else x / largest


def unscaled(agent: Agent, obs: Tensor) -> Tensor:
    """The reverse of `scaled`, with gradient: raw numbers as floats. What was a whole number is one again."""
    largest = largest_of(agent)
    if largest is None:
        return obs
    x = obs * largest
    rounding = (x.round() - x).detach()
    return x + torch.where(rounding.abs() < _ROUNDING, rounding, 0.0)


def for_backbone(agent: Agent, obs: Tensor) -> Tensor:
    """What the backbone is given for floats that are `scaled`: raw numbers, if it is a user's that scales by itself."""
    own = any(isinstance(part, ImageInput | VectorInput) for part in agent.module.backbone.modules())
    return obs if own else unscaled(agent, obs)


def newest_first(agent: Agent) -> bool:
    """Whether observations hold their newest frame first."""
    return env_stack(agent.config.env, dict(agent.config.env_config)).newest_first


def newest_frame(agent: Agent, obs: Tensor) -> Tensor:
    """``[B, *obs_shape]`` -> ``[B, *frame_shape]``."""
    return obs if frame_stack(agent) == 1 else obs[:, 0 if newest_first(agent) else -1]


def read_pixels(agent: Agent, values: Tensor) -> Tensor:
    """Sums values of what a reward reads (see `Traced.read`) over channels: ``[B, h, w]``."""
    shape = agent.module.backbone.observation_space.shape
    if tuple(values.shape[1:]) == shape:
        return over_pixels(agent, values)
    h, w = picture_shape(agent)
    if values.dim() == 4:
        return values.sum(dim=1)
    whole = frame_stack(agent) == 1 or values[0].numel() == math.prod(shape)
    layout = layout_of(agent) if whole else _frame_layout(agent)
    if layout is not None:
        return layout.to_channels_first(values.reshape(-1, *(shape if whole else shape[1:]))).sum(dim=1)
    return values.reshape(len(values), -1, h, w).sum(dim=1)


def upscaled(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Maps ``[B, h, w]`` -> ``[B, *shape]`` float32, as they are drawn (`upsampled`)."""
    return np.stack([upsampled(one, *shape) for one in values])
