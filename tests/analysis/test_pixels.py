"""Pixels: every layout of observations, blanking, numbers as networks read them."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import cast

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.figures.drawing import frame_pictures
from rllib_rnd.analysis.methods.occlusion import windows
from rllib_rnd.analysis.pixels import (
    blanked,
    layout_of,
    mean_frame,
    newest_frame,
    over_pixels,
    picture_shape,
    read_pixels,
    scaled,
    to_elements,
    unscaled,
    upscaled,
)
from rllib_rnd.analysis.targets import measure_all, targets_of
from rllib_rnd.modules.backbone import ImageBackbone
from rllib_rnd.modules.image import image_layout, is_image
from tests.analysis.agents import make_agent, one_thread, random_states

__all__ = ["one_thread"]  # a fixture
pytestmark = pytest.mark.usefixtures("one_thread")

FLOATS = {"low": -1.0, "high": 1.0, "dtype": np.float32}
#: Shape of an observation, K, shape of its pixels.
LAYOUTS = [
    ((6,), 1, (1, 6)),
    ((3, 6), 3, (1, 6)),  # a stack of vectors
    ((5, 7), 1, (5, 7)),
    ((5, 7, 3), 1, (5, 7)),
    ((3, 5, 7), 1, (5, 7)),
    ((2, 5, 7), 2, (5, 7)),
    ((2, 5, 7, 3), 2, (5, 7)),
    ((5, 5, 8), 1, (5, 5)),  # more channels than a side has pixels
    ((6, 6, 6), 1, (6, 6)),
    ((8, 5, 5), 1, (5, 5)),
    ((9, 5, 7), 9, (5, 7)),  # more frames than columns
    ((7, 7, 5), 7, (7, 5)),
    ((2, 5, 7, 8), 2, (5, 7)),
]


@pytest.mark.parametrize(("shape", "stack", "pixels"), LAYOUTS, ids=lambda value: str(value))
def test_pixels_of_every_layout(shape: tuple[int, ...], stack: int, pixels: tuple[int, int]) -> None:
    agent = make_agent(gym.spaces.Box(shape=shape, **FLOATS), backbone="mlp", frame_stack=stack)  # type: ignore[arg-type]
    assert picture_shape(agent) == pixels
    where = np.zeros((2, *pixels), dtype=bool)
    where[0, 0, 1] = where[1, -1, -1] = True
    repeats = int(np.prod(shape)) // int(np.prod(pixels))
    elements = to_elements(agent, where)
    assert (
        elements.shape == (2, *shape) and elements.sum(axis=tuple(range(1, 1 + len(shape)))).tolist() == [repeats] * 2
    )
    back = over_pixels(agent, torch.from_numpy(elements.astype(np.float32)))
    np.testing.assert_array_equal(back.numpy(), where * float(repeats))
    states = random_states(agent, 2)
    changed = blanked(agent, states.obs, where, np.full(shape, 9.0, np.float32))
    assert ((changed == 9.0) == elements).all() and (changed[~elements] == states.obs[~elements]).all()
    covered = np.zeros(pixels, int)
    for rows, columns in windows(agent):
        assert covered[rows, columns].size
        covered[rows, columns] += 1
    assert covered.min() == covered.max() == 1  # so small a picture has a window for each pixel


def test_windows_overlap_and_cover_a_large_picture() -> None:
    agent = make_agent(gym.spaces.Box(0, 255, (2, 84, 60), np.uint8), backbone={"type": "fnn", "hidden_sizes": [8]})
    covered = np.zeros((84, 60), int)
    for rows, columns in windows(agent):
        covered[rows, columns] += 1
        assert covered[rows, columns].shape[0] == 12
    assert covered.min() == 1 and covered[20:60, 20:40].min() == covered.max() == 4


@pytest.mark.parametrize(("shape", "stack", "pixels"), LAYOUTS[2:], ids=lambda value: str(value))
def test_what_rewards_read_lies_where_the_frame_does(
    shape: tuple[int, ...], stack: int, pixels: tuple[int, int]
) -> None:
    agent = make_agent(gym.spaces.Box(shape=shape, **FLOATS), backbone="mlp", frame_stack=stack)  # type: ignore[arg-type]
    frame = newest_frame(agent, torch.rand(2, *shape))
    axes = [axis for axis in (1, 3) if frame.dim() == 4 and np.delete(frame.shape, axis).tolist() == [2, *pixels]]
    wanted = frame.sum(dim=axes[-1]) if axes else frame
    torch.testing.assert_close(read_pixels(agent, frame.flatten(1)), wanted)


def reading(shape: tuple[int, ...], stack: int) -> Agent:
    """As much of an agent as its layout is read off."""
    backbone = SimpleNamespace(observation_space=gym.spaces.Box(0, 255, shape, np.uint8))
    return cast(
        "Agent", SimpleNamespace(module=SimpleNamespace(backbone=backbone, model_config={"frame_stack": stack}))
    )


@pytest.mark.parametrize("shape", [s for n in (2, 3) for s in itertools.product((2, 5, 9, 36, 40), repeat=n)], ids=str)
def test_maps_networks_and_drawings_read_a_shape_alike(shape: tuple[int, ...]) -> None:
    layout = layout_of(reading(shape, 1))
    assert layout is not None and layout == image_layout(shape)
    for picture in frame_pictures(np.zeros(shape, np.uint8), np.zeros(shape), np.full(shape, 255)):
        assert picture.shape == (layout.height, layout.width, 3)
    if len(shape) == 2:
        assert (layout.height, layout.width) == shape and layout_of(reading(shape, shape[0])) is None
        return
    first, middle, last = shape
    if first == middle:  # a square picture, however many channels it has
        assert (layout.height, layout.width, layout.channels) == shape
    elif middle == last:
        assert (layout.channels, layout.height, layout.width) == shape
    else:
        assert layout.channels == min(first, last)
    stack = layout_of(reading(shape, first))
    assert stack is not None
    # A stack's frames are its first axis; but a network that reads pictures is not told of stacks.
    assert stack == layout if is_image(shape) else (stack.channels, stack.height, stack.width) == shape


@pytest.mark.parametrize("shape", [(4, 44, 44), (44, 44, 3), (2, 44, 40, 3)], ids=str)
def test_maps_of_pictures_lie_where_the_network_reads_them(shape: tuple[int, ...]) -> None:
    space = gym.spaces.Box(0, 255, shape, np.uint8)
    agent = make_agent(space, backbone={"type": "nature_cnn", "hidden_sizes": [8]}, frame_stack=1)
    backbone = agent.module.backbone
    assert isinstance(backbone, ImageBackbone) and layout_of(agent) == backbone.image.layout


def test_scaled_whole_numbers_come_back_whole() -> None:
    agent = make_agent(backbone={"type": "nature_cnn", "hidden_sizes": [8]})
    states = random_states(agent, 2)
    x = scaled(agent, states.obs)
    assert float(x.min()) >= 0.0 and float(x.max()) <= 1.0
    np.testing.assert_array_equal(unscaled(agent, x).numpy(), states.obs)
    between = (x + 0.4 / 255.0).requires_grad_()
    raw = unscaled(agent, between)
    np.testing.assert_allclose(raw.detach(), states.obs + 0.4, atol=1e-3)
    (gradient,) = torch.autograd.grad(raw.sum(), between)
    np.testing.assert_allclose(gradient, 255.0)


def test_few_pictures_are_blanked_by_their_colour_many_by_their_mean() -> None:
    agent = make_agent(backbone={"type": "nature_cnn", "hidden_sizes": [8]})
    many, few = random_states(agent, 8), random_states(agent, 7)
    mean = mean_frame(agent, many)
    np.testing.assert_array_equal(mean[0], np.rint(many.obs.astype(float).mean(axis=(0, 1))))
    assert (mean[0] == mean[1]).all() and mean.dtype == np.uint8 and len(np.unique(mean)) > 9
    assert np.unique(mean_frame(agent, few)).tolist() == [round(few.obs.mean())]


def test_maps_grow_bilinearly() -> None:
    assert upscaled(np.array([[[0.0, 4.0]]]), (1, 4)).tolist() == [[[0.0, 1.0, 3.0, 4.0]]]


def test_maps_that_are_finer_than_the_picture_shrink_to_means() -> None:
    assert upscaled(np.array([[[8.0, 0.0, 0.0, 0.0]]]), (1, 1)).tolist() == [[[2.0]]]


class OwnScale(nn.Module):
    """A user's backbone that divides bytes by 255 itself, whatever their type."""

    def __init__(self, observation_space: gym.spaces.Box) -> None:
        super().__init__()
        self.fc = nn.Linear(int(np.prod(observation_space.shape)), 4)

    def forward(self, obs: Tensor) -> Tensor:
        x: Tensor = self.fc(obs.flatten(1).float() / 255.0)
        return x


def test_a_backbone_that_scales_by_itself_is_given_raw_numbers() -> None:
    agent = make_agent(backbone="tests.analysis.test_pixels:OwnScale")
    states, targets = random_states(agent, 3), targets_of(agent)
    measured = measure_all(agent, states, targets, states.obs)
    for target, values in zip(targets, measured, strict=True):
        np.testing.assert_allclose(target.of(agent, states, scaled(agent, states.obs)).detach(), values, rtol=1e-5)
        np.testing.assert_array_equal(target.measure(agent, states, states.obs), values)
