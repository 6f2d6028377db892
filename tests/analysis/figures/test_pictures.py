"""Maps as pictures: what the colours mean, constant maps without colours, grids, and bytes that do not change."""

from __future__ import annotations

import io

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from rllib_rnd.analysis.figures.pictures import (
    Cell,
    Scale,
    alone,
    colours,
    enlarged,
    grid,
    in_cells,
    observation_pictures,
    overlay,
    png,
    upsampled,
)

BLACK = np.zeros((8, 8, 3), dtype=np.uint8)


def corner(value: float) -> np.ndarray:
    values = np.zeros((8, 8), dtype=np.float32)
    values[0, 0] = value
    return values


def test_a_scale_spans_all_maps_of_its_group_and_signed_ones_are_even_around_zero() -> None:
    maps = [corner(2.0), corner(-0.5)]
    assert (Scale.of(maps, False).low, Scale.of(maps, False).high) == (-0.5, 2.0)
    assert (Scale.of(maps, True).low, Scale.of(maps, True).high) == (-2.0, 2.0)
    assert Scale.of(maps, True).text == "±2" and Scale.of(maps, False).text == "-0.5 to 2"
    np.testing.assert_allclose(Scale.of(maps, True).share(np.array([-2.0, 0.0, 1.0, 5.0])), [0.0, 0.5, 0.75, 1.0])


def test_a_few_pixels_do_not_take_the_colours_from_all_others() -> None:
    values = np.linspace(-0.1, 0.1, 1000, dtype=np.float32).reshape(20, 50)
    values[0, 0] = 50.0
    scale = Scale.of([values], True, 0.005)
    assert 0.09 < scale.high < 0.11 and scale.low == -scale.high
    assert scale.text.endswith("(max 50)") and scale.share(values)[0, 0] == 1.0
    alone = corner(1.0)  # one pixel is all that there is: it keeps its colours
    assert Scale.of([alone], True, 0.05).high == 1.0


@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
@pytest.mark.parametrize("signed", [False, True])
def test_rounding_errors_get_no_colours(value: float, signed: bool) -> None:
    noise = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    values = np.full((8, 8), value, dtype=np.float32) * (1.0 + 1e-6 * noise)
    scale = Scale.of([values], signed)
    assert scale.constant and scale.text.startswith("constant")
    frame = np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    drawn = overlay(frame, values, scale)
    assert (drawn == drawn[..., :1]).all(), "no colour"
    np.testing.assert_array_equal(alone(values, scale), np.full((8, 8, 3), 128))


def test_colours_say_where_the_map_is_large_and_what_sign_it_has() -> None:
    hot = overlay(BLACK, corner(1.0), Scale.of([corner(1.0)], False)).astype(int)
    assert hot[0, 0].sum() > hot[0, 1:].sum(axis=1).max() == hot[7, 7].sum()
    assert (np.diff(colours(np.linspace(0, 1, 64)[None], False)[0].astype(int).sum(axis=1)) >= -2).all(), (
        "ever brighter"
    )
    for value, channel in ((1.0, 0), (-1.0, 2)):
        drawn = overlay(BLACK, corner(value), Scale.of([corner(value)], True)).astype(int)
        assert drawn[0, 0].argmax() == channel, "red for it, blue against it"
        np.testing.assert_array_equal(drawn[7, 7], 0)  # where a signed map is zero, there is only the frame


def test_maps_grow_bilinearly_with_their_corners_where_the_frame_has_them() -> None:
    large = upsampled(np.array([[0.0, 1.0]], dtype=np.float32), 1, 8)[0]
    np.testing.assert_allclose(large, [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    np.testing.assert_array_equal(upsampled(np.eye(2), 4, 4, smooth=False), np.kron(np.eye(2), np.ones((2, 2))))
    np.testing.assert_allclose(upsampled(np.array([[0.0, 1.0, 2.0, 3.0]]), 1, 2)[0], [0.5, 2.5])


def test_maps_of_vectors_lie_in_the_cells_of_the_vector() -> None:
    space = gym.spaces.Box(0.0, 1.0, (20,), np.float32)
    obs = np.zeros((1, 20), dtype=np.float32)
    obs[0, 13] = 1.0
    (frame,) = observation_pictures(obs, space, 1, False)
    cells = in_cells(obs)
    assert cells.shape == frame.shape[:2]
    brightest = np.unravel_index(frame[:4].astype(int).sum(axis=2).argmax(), frame[:4].shape[:2])
    assert np.unravel_index(cells.argmax(), cells.shape) == brightest
    assert in_cells(np.zeros((1, 12))).shape == (1, 12)


@pytest.mark.parametrize("newest_first", [False, True])
def test_of_a_stack_the_newest_frame_is_shown(newest_first: bool) -> None:
    space = gym.spaces.Box(0, 255, (3, 36, 36), np.uint8)
    obs = np.zeros((2, 3, 36, 36), dtype=np.uint8)
    obs[:, 0 if newest_first else -1, 5, 7] = 200
    for picture in observation_pictures(obs, space, 3, newest_first):
        assert picture.shape == (36, 36, 3) and (picture[5, 7] == 200).all() and picture.sum() == 600


def test_small_pictures_grow_by_whole_factors_and_large_ones_fit() -> None:
    assert enlarged(BLACK, 84).shape == (80, 80, 3)
    assert enlarged(np.zeros((210, 160, 3), np.uint8), 105).shape == (105, 80, 3)
    assert enlarged(np.zeros((84, 84, 3), np.uint8), 126).shape == (84, 84, 3)


def test_the_same_picture_gives_the_same_bytes_and_a_palette_keeps_its_colours() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 8, (20, 30, 3), dtype=np.uint8).repeat(2, axis=0) * 4
    assert png(picture) == png(picture.copy())
    read = np.asarray(Image.open(io.BytesIO(png(picture, 256))).convert("RGB"))
    assert np.abs(read.astype(int) - picture).max() <= 16
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(picture, None)))), picture)


def test_a_grid_has_every_cell_at_its_row_and_column() -> None:
    red, green = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    cells = [[Cell(red, "0 to 1"), None], [None, Cell(green)]]
    drawn = grid("Title \u2013 with a dash", ["one", "two"], ["state 1\nroom 3", "state 2"], cells).astype(int)
    for channel, row, column in ((0, 0, 0), (1, 1, 1)):
        places = np.argwhere((drawn[..., channel] == 255) & (drawn.sum(axis=2) == 255))
        assert len(places) == 1600, "as large as it was"
        assert (places.mean(axis=0)[0] > drawn.shape[0] / 2) == bool(row)
        assert (places.mean(axis=0)[1] > drawn.shape[1] / 2) == bool(column)
