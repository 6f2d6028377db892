"""Drawing and encoding: sizes, pictures of observations, lines with gaps, files that can be read back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.figures.drawing import BACKGROUND, LINES, PANEL, Box, Pen, Plot, fit, frame_pictures, paste_all
from rllib_rnd.analysis.figures.mp4 import import_ffmpeg, video_file
from rllib_rnd.analysis.figures.video import (
    ContinuousPolicy,
    DiscretePolicy,
    Painter,
    Panel,
    Recording,
    decode_picture,
    encode_picture,
    write_video,
)
from rllib_rnd.errors import ConfigError

T = 7


def picture(value: int, height: int = 21, width: int = 16) -> np.ndarray:
    return np.full((height, width, 3), (value, 2 * value, 255 - value), dtype=np.uint8)


def recording(actions: int = 4, streams: int = 2, length: int = T, with_picture: bool = True) -> Recording:
    """Long names, numbers as wide as they come, and a stack of four small frames."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(actions), size=length)
    policy = DiscretePolicy([f"DOWNRIGHTFIRE{i}" for i in range(actions)], probabilities, np.arange(length) % actions)
    names = [f"a_long_name_{i}" for i in range(streams)]
    lines = {name: -1.234e-5 * rng.random(length) for name in names}
    panels = [Panel("extrinsic value", {"": rng.random(length)}), Panel("a rather long title of a plot", lines, 1)]
    return Recording(
        title="an/Environment-with-a-name-that-is-much-longer-than-the-column-v0",
        facts={"step": [f"{t:,}" for t in range(length)], "action": ["-1.00 " * 20] * length},
        pictures=[encode_picture(picture(t), 480) for t in range(length)] if with_picture else None,
        frames=lambda t: np.full((4, 36, 36), 30 * t, dtype=np.uint8),
        low=np.zeros((36, 36), dtype=np.uint8),
        high=np.full((36, 36), 255, dtype=np.uint8),
        policy=policy,
        panels=panels,
        steps=np.arange(length),
    )


def continuous(dimensions: int) -> Recording:
    rng = np.random.default_rng(1)
    mean, std = rng.normal(size=(T, dimensions)), np.full((T, dimensions), 2.5)
    action = mean + std
    action[-1] = np.nan
    return replace(recording(), policy=ContinuousPolicy(mean, std, action))


def vector() -> Recording:
    return replace(recording(), frames=lambda t: np.full((1, 4), float(t)), low=np.zeros(4), high=np.full(4, 10.0))


RECORDINGS = {
    "stack": recording(),
    "no picture": recording(with_picture=False),
    "one stream": recording(streams=1),
    "18 actions": recording(actions=18),
    "50 actions": recording(actions=50),
    "2 dimensions": continuous(2),
    "30 dimensions": continuous(30),
    "vector": vector(),
    "one step": recording(length=1),
}


@pytest.mark.parametrize("height", [240, 481])
@pytest.mark.parametrize("name", RECORDINGS)
def test_frames_are_of_one_even_size_and_nothing_reaches_the_edge(name: str, height: int) -> None:
    example = RECORDINGS[name]
    painter = Painter(example, height)
    assert painter.size[1] in (height, height + 1)
    assert painter.size[0] % 2 == painter.size[1] % 2 == 0
    frames = [frame.copy() for frame in painter.frames(example)]
    assert len(frames) == len(example.steps)
    edge = painter.pen.px(2)
    for frame in frames:
        assert frame.shape == (painter.size[1], painter.size[0], 3)
        for side in (frame[:edge], frame[-edge:], frame[:, :edge], frame[:, -edge:]):
            assert (side == BACKGROUND).all()
    if len(frames) > 1:
        assert (frames[0] != frames[1]).any()


def test_the_parts_do_not_overlap() -> None:
    painter = Painter(RECORDINGS["18 actions"], 480)
    assert painter.picture_box is not None
    for left, right in ((painter.picture_box, painter.middle), (painter.middle, painter.plots)):
        assert left.x + left.width < right.x
    assert painter.seen_title_y + painter.pen.px(17) <= painter.seen_box.y
    assert painter.seen_box.y + painter.seen_box.height + painter.pen.px(17) <= painter.policy_box.y
    assert painter.policy_box.y + painter.policy_box.height <= 480 - painter.pen.px(10)
    # The columns are apart in the picture too: the gaps stay empty whatever is written beside them.
    (frame, *_) = painter.frames(RECORDINGS["18 actions"])
    for column in (painter.middle, painter.plots):
        assert (frame[:, column.x - 4 : column.x - 1] == BACKGROUND).all()


def test_the_games_picture_is_shown_as_it_is() -> None:
    painter, example = Painter(RECORDINGS["stack"], 480), RECORDINGS["stack"]
    assert painter.picture_box is not None
    box = painter.picture_box
    assert box.height == 460 and abs(box.width - 460 * 16 / 21) <= 1
    for t, frame in enumerate(painter.frames(example)):
        assert (frame[box.y + 5 : box.y + 450, box.x + 5 : box.x + 300] == picture(t)[0, 0]).all()


def test_pictures_are_packed_without_loss_and_no_larger_than_shown() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (210, 160, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decode_picture(encode_picture(noise, 480)), noise)
    assert decode_picture(encode_picture(picture(9, 960, 640), 480)).shape == (480, 320, 3)
    assert decode_picture(encode_picture(picture(9, 300, 3000), 480)).shape == (67, 672, 3)


def test_enlarged_pixels_are_of_one_size() -> None:
    checks = np.zeros((4, 4, 3), dtype=np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 255
    large = fit(checks, 40, 100)
    assert large.shape == (40, 40, 3)
    np.testing.assert_array_equal(large, checks.repeat(10, axis=0).repeat(10, axis=1))
    assert fit(checks, 9, 100).shape == (9, 9, 3)
    assert fit(np.zeros((100, 50, 3), dtype=np.uint8), 20, 20).shape == (20, 10, 3)


@pytest.mark.parametrize(
    ("shape", "dtype", "count", "size"),
    [
        ((40, 50), np.uint8, 1, (40, 50)),
        ((40, 50, 3), np.uint8, 1, (40, 50)),
        ((40, 50, 1), np.uint8, 1, (40, 50)),
        ((4, 40, 50), np.uint8, 4, (40, 50)),
        ((2, 40, 50, 3), np.uint8, 2, (40, 50)),
        ((6, 7, 20), np.float32, 6, (7, 20)),
        ((5,), np.float32, 1, (1, 5)),
        ((25,), np.uint8, 1, (5, 5)),
        ((30,), np.int64, 1, (5, 6)),
    ],
)
def test_observations_of_all_shapes_become_pictures(
    shape: tuple[int, ...], dtype: Any, count: int, size: tuple[int, int]
) -> None:
    high = 255 if len(shape) > 1 else 1
    frame = np.ones(shape, dtype=dtype)
    pictures = frame_pictures(frame, np.zeros(shape, dtype), np.full(shape, high, dtype))
    assert [p.shape for p in pictures] == [(*size, 3)] * count
    assert all(p.dtype == np.uint8 for p in pictures)


def test_bytes_are_shown_as_they_are_and_numbers_from_dark_to_bright() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    (shown,) = frame_pictures(grey, np.zeros_like(grey), np.full_like(grey, 255))
    assert (shown == grey[..., None]).all()
    (cells,) = frame_pictures(np.array([-1.0, 0.0, 1.0, 9.0]), np.full(4, -1.0), np.ones(4))
    brightness = cells.astype(int).sum(axis=2)[0]
    assert brightness[0] < brightness[1] < brightness[2] == brightness[3]


def test_cells_beyond_a_vectors_end_are_empty() -> None:
    (cells,) = frame_pictures(np.ones(30), np.zeros(30), np.ones(30))
    assert np.any(cells.reshape(-1, 3) != PANEL, axis=1).all()
    (cells,) = frame_pictures(np.ones(31), np.zeros(31), np.ones(31))
    assert (cells.reshape(-1, 3)[31:] == PANEL).all()


@pytest.mark.parametrize(("width", "height", "columns"), [(100, 20, 4), (20, 100, 1), (50, 50, 2)])
def test_frames_are_laid_out_as_large_as_they_fit(width: int, height: int, columns: int) -> None:
    canvas = np.zeros((120, 120, 3), dtype=np.uint8)
    place = paste_all(canvas, [picture(100, 10, 10)] * 4, Box(3, 5, width, height), gap=1)
    assert place.width <= width and place.height <= height
    drawn: np.ndarray = np.sum(canvas, axis=2) > 0
    assert drawn.any(axis=0).sum() == place.width - (columns - 1)
    assert not drawn[: place.y].any() and not drawn[place.y + height :].any()


def test_so_many_frames_that_none_can_be_seen_are_left_out() -> None:
    canvas = np.zeros((20, 20, 3), dtype=np.uint8)
    place = paste_all(canvas, [picture(1)] * 500, Box(0, 0, 20, 20), gap=2)
    assert place.width == 0 and not canvas.any()


def drawn_columns(values: np.ndarray, t: int, window: int) -> np.ndarray:
    canvas = np.zeros((100, 400, 3), dtype=np.uint8)
    plot = Plot(Pen(1.0), Box(0, 0, 400, 100), "", {"": values}, window)
    plot.draw(canvas, t)
    area = plot.area
    inside = canvas[area.y : area.y + area.height, area.x : area.x + area.width]
    return np.flatnonzero((inside.astype(int) @ (1, 1, 1) > sum(LINES[0]) // 2).any(axis=0)) / (area.width - 1)


def test_lines_scroll_and_leave_gaps_where_there_is_no_number() -> None:
    values = np.arange(101.0)
    whole = drawn_columns(values, 100, 100)
    assert whole.min() < 0.01 and whole.max() > 0.99
    half = drawn_columns(values, 50, 100)
    assert half.min() < 0.01 and abs(half.max() - 0.5) < 0.02
    assert drawn_columns(values, 100, 20).min() < 0.01  # older steps left the window
    values[40:60] = np.nan
    gap = drawn_columns(values, 100, 100)
    assert not ((gap > 0.41) & (gap < 0.58)).any() and (gap < 0.38).any() and (gap > 0.62).any()


@pytest.mark.parametrize("values", [np.zeros(5), np.full(5, 1e9), np.full(5, np.nan)])
def test_constant_or_missing_numbers_can_be_drawn(values: np.ndarray) -> None:
    drawn_columns(values, 4, 4)


# --- files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ffmpeg() -> Any:
    return pytest.importorskip("imageio_ffmpeg")


def test_a_file_holds_every_frame(tmp_path: Path, ffmpeg: Any) -> None:
    first, second = recording(), recording(length=3)
    size, count = write_video(tmp_path / "x.mp4", iter([first, second]), 240, fps=12.5)
    reader = ffmpeg.read_frames(str(tmp_path / "x.mp4"))
    meta = next(reader)
    assert meta["size"] == size == Painter(first, 240).size
    assert meta["fps"] == 12.5
    assert len(list(reader)) == count == T + 3 + 2 * 12  # the last frame of each stays for a second


def test_frames_come_back_nearly_as_they_were_drawn(tmp_path: Path, ffmpeg: Any) -> None:
    example = recording()
    size, _ = write_video(tmp_path / "x.mp4", iter([example]), 240, fps=15)
    reader = ffmpeg.read_frames(str(tmp_path / "x.mp4"))
    next(reader)
    frames = [frame.copy() for frame in Painter(example, 240).frames(example)]
    for data, drawn in zip(reader, [*frames, *[frames[-1]] * 15], strict=True):
        shown = np.frombuffer(data, np.uint8).reshape(size[1], size[0], 3)
        assert np.abs(shown.astype(int) - drawn).mean() < 6.0


def test_a_disk_that_is_full_is_reported(tmp_path: Path, ffmpeg: Any) -> None:
    (tmp_path / "x.mp4").symlink_to("/dev/full")
    with pytest.raises(ConfigError, match="cannot be written"), video_file(tmp_path / "x.mp4", (64, 64), 15) as add:
        for _ in range(200):
            add(np.zeros((64, 64, 3), dtype=np.uint8))


def test_an_error_while_drawing_is_not_taken_for_one_of_the_file(tmp_path: Path, ffmpeg: Any) -> None:
    def failing() -> Iterator[Recording]:
        yield recording()
        raise RuntimeError("the environment failed")

    with pytest.raises(RuntimeError, match="the environment failed"):
        write_video(tmp_path / "x.mp4", failing(), 240, fps=15)
    assert ffmpeg.count_frames_and_secs(str(tmp_path / "x.mp4"))[0] == T + 15  # what was played can be seen


def test_a_program_that_does_not_run_is_reported(ffmpeg: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("/nonexistent", "/bin/false"):
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", program)
        with pytest.raises(ConfigError, match="videos need an extra"):
            import_ffmpeg()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ConfigError, match=r'pip install "rllib_rnd\[video\]"'):
        import_ffmpeg()
