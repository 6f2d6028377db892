"""Raw numbers of every type reach networks as float32, scaled by the bounds of their space where it has any."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic.networks import ObservationEncoder
from rllib_rnd.intrinsic.rnd import RND, RNDOptions
from rllib_rnd.intrinsic.snd.networks import FrameInput
from rllib_rnd.modules.image import ImageInput, ImageLayout
from rllib_rnd.modules.layers import VectorInput
from rllib_rnd.modules.observations import Scale, box_space, largest_numbers
from rllib_rnd.plugin import Spaces
from tests.envs.test_plain import box

SIDE = 36
INF = float("inf")
#: low, high, type, and what an image and what a vector of such numbers are divided by (None: no scale is known).
SCALES: list[tuple[float, float, str, float | None, float | None]] = [
    (0, 255, "uint8", 255, 255),
    (0, 1, "uint8", 1, 1),
    (3, 17, "uint8", 17, 17),
    (0, 1, "bool", 1, 1),
    (-128, 127, "int8", 128, 128),
    (0, 65535, "uint16", 65535, 65535),
    (-300, 200, "int16", 300, 300),
    (0, 10, "int64", 10, 10),
    (-INF, INF, "int64", None, None),
    (0, 2**31 - 1, "int32", None, None),
    (0, 1, "float32", 1, None),
    (-1, 1, "float16", 1, None),
    (0, 0.5, "float32", 1, None),
    (0, 255, "float64", 255, None),
    (-INF, INF, "float64", None, None),
    (0, INF, "float32", None, None),
]
IDS = [f"{dtype} from {low} to {high}" for low, high, dtype, *_ in SCALES]


def numbers(low: float, high: float, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """Three observations: all at the lowest, all at the highest number (1000 without bounds), and one of zeros."""
    ends = [low if low > -1e6 else -1000, high if high < 1e6 else 1000, 0]
    return torch.from_numpy(np.stack([np.full(shape, end).astype(dtype) for end in ends]))


@pytest.mark.parametrize(("low", "high", "dtype", "image", "vector"), SCALES, ids=IDS)
def test_every_reader_divides_by_the_bounds(
    low: float, high: float, dtype: str, image: float | None, vector: float | None
) -> None:
    picture, row = box(low, high, dtype, (SIDE, SIDE)), box(low, high, dtype, (4,))
    assert largest_numbers(picture, True) == (None if image is None else image)
    found = largest_numbers(row, False)
    assert found is None if vector is None else found is not None and found.tolist() == [vector] * 4
    layout, plain = ImageLayout((0, 1), 1, SIDE, SIDE), dict[str, Any](normalize="none")
    for read, space, largest in (
        (ImageInput(layout, picture), picture, image),
        (FrameInput(picture, **plain), picture, image),
        (VectorInput(row), row, vector),
        (FrameInput(row, **plain), row, vector),
    ):
        raw = numbers(low, high, dtype, space.shape)
        before, x = raw.clone(), read(raw)
        assert x.dtype == torch.float32 and torch.equal(raw, before)
        torch.testing.assert_close(x.flatten(1), raw.flatten(1).float() / (largest or 1.0))
    rnd = RND(Spaces(row, spaces.Discrete(2)), RNDOptions(normalize_input="none", hidden_sizes=(2,), feature_dim=2))
    raw = numbers(low, high, dtype, (4,))
    torch.testing.assert_close(rnd.normalize_frames(raw), (raw.float() / (vector or 1.0)).clamp(-5.0, 5.0))


@pytest.mark.parametrize(("low", "high", "dtype", "image", "vector"), SCALES, ids=IDS)
def test_encoders_keep_moments_where_no_scale_is_known(
    low: float, high: float, dtype: str, image: float | None, vector: float | None
) -> None:
    row, picture = box(low, high, dtype, (4,)), box(low, high, dtype, (SIDE, SIDE))
    encoder = ObservationEncoder(row, 2, (3,))
    assert (encoder.moments is None) == (vector is not None) == (FrameInput(row).normalize == "none")
    convs = ((2, 8, 4, 0),)
    for space, net in ((row, encoder), (picture, ObservationEncoder(picture, 2, convs=convs))):
        raw = numbers(low, high, dtype, space.shape)
        assert net(raw).dtype == torch.float32 and bool(net(raw).isfinite().all())
    raw, largest = numbers(low, high, dtype, (SIDE, SIDE)), image or 1.0
    scaled = ObservationEncoder(box(-INF, INF, "float32", (SIDE, SIDE)), 2, convs=convs)
    pictures = ObservationEncoder(picture, 2, convs=convs)
    scaled.load_state_dict(pictures.state_dict())
    torch.testing.assert_close(pictures(raw), scaled(raw.float() / largest), rtol=1e-4, atol=1e-4)


def test_elements_of_a_vector_have_scales_of_their_own() -> None:
    space = spaces.Box(np.array([0, -5, 0]), np.array([1, 2, 1000]), dtype=np.int64)
    scale = Scale(space, is_image=False)
    torch.testing.assert_close(scale(torch.tensor([[1, 2, 500]])), torch.tensor([[1.0, 0.4, 0.5]]))
    assert scale.is_known and not scale.state_dict()


@pytest.mark.parametrize("space", [spaces.Discrete(3), box(0, 1, "float32", ()), box(0, 1, "float32", (2, 0))])
def test_what_is_no_array_of_numbers_is_refused(space: spaces.Space) -> None:
    with pytest.raises(ConfigError, match=r"observation space .* is not supported"):
        box_space(space)
