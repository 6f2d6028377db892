"""Videos of episodes: the game's picture, what the agent sees, what it thinks of it, and what it did (MP4, H.264).

Drawing needs numpy and cv2 only, no screen. Files are written by ffmpeg, which the extra ``[video]`` brings.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rllib_rnd.analysis.figures.drawing import (
    BACKGROUND,
    DIM,
    ROW,
    TEXT,
    Box,
    Pen,
    Plot,
    draw_gaussians,
    draw_probabilities,
    frame_pictures,
    paste,
    paste_all,
)
from rllib_rnd.analysis.figures.mp4 import video_file

HEIGHT = 480  # in units; a video of this height has one pixel to the unit
WINDOW = 300  # agent steps that the plots show
HOLD_S = 1.0  # seconds that the last frame of an episode stays
_MARGIN, _GAP = 10, 14
_WIDEST_PICTURE = 1.4  # width of the game's picture over the video's height, at most
_WIDEST_OVERLAY, _WIDEST_OF_MANY, _NARROWEST_OVERLAY = 300, 220, 165
_MOST_VERDICT_ROWS = 3
_ONE_SCALE = "colours: one scale for the whole video"
_MIDDLE, _PLOTS = 340, 400  # widths of the columns beside it
_MOST_BARS = 20
_MOST_DIMENSIONS = 12
_MOST_NUMBERS = 8  # elements of a vector that are written out below it


@dataclass(frozen=True)
class DiscretePolicy:
    """What the policy made of every observation, for discrete actions.

    Attributes:
        names: of the A actions; of several choices side by side.
        probabilities: ``[T, A]``.
        chosen: ``[T]`` indices, or ``[T, C]`` of several choices; -1 where nothing was chosen.
    """

    names: Sequence[str]
    probabilities: np.ndarray
    chosen: np.ndarray


@dataclass(frozen=True)
class ContinuousPolicy:
    """The same for continuous actions, in the policy's own units.

    Attributes:
        mean, std: ``[T, A]``.
        action: ``[T, A]``; NaN where nothing was chosen.
    """

    mean: np.ndarray
    std: np.ndarray
    action: np.ndarray

    @functools.cached_property
    def limit(self) -> float:
        """Where the axes end: the largest ``|mean| + std`` of the episode, or 1."""
        return max(1.0, float((np.abs(self.mean) + self.std).max()))


@dataclass(frozen=True)
class Panel:
    """One plot: a title and, by name, ``[T]`` numbers (NaN: none), coloured from ``first_colour`` on."""

    title: str
    lines: Mapping[str, np.ndarray]
    first_colour: int = 0


@dataclass(frozen=True)
class Overlay:
    """A map laid over what the agent sees, with one scale of colours for the whole video.

    Attributes:
        title: above it.
        pictures: t -> ``[h, w, 3]`` uint8, all of one size.
        notes: t -> a line below it.
        colours: ``[n, 3]`` uint8, of the scale from its low end to the high one.
        low, high: the numbers at the ends, in words.
        verdict: what controls say of the map, below it; "" leaves no room for it.
    """

    title: str
    pictures: Callable[[int], np.ndarray]
    notes: Callable[[int], str]
    colours: np.ndarray
    low: str
    high: str
    verdict: str = ""


@dataclass(frozen=True)
class Recording:
    """One episode as it is shown, one video frame for each of its T observations (the last one included).

    Attributes:
        title: above everything else.
        facts: label -> T texts.
        pictures: T encoded images (``cv2.imdecode`` gives ``[h, w, 3]`` RGB), or None.
        frames: t -> ``[K, *frame_shape]``, the frames of observation t, oldest first.
        low, high: numbers at the ends of the colours of a frame, see `frame_pictures`.
        policy: what the policy made of the observations.
        panels: the plots, from the top.
        steps: ``[T]`` agent steps taken at each observation.
        overlays: beside the game's picture; of all recordings of a video as many, of the same sizes.
    """

    title: str
    facts: Mapping[str, Sequence[str]]
    pictures: Sequence[np.ndarray] | None
    frames: Callable[[int], np.ndarray]
    low: np.ndarray
    high: np.ndarray
    policy: DiscretePolicy | ContinuousPolicy
    panels: Sequence[Panel]
    steps: np.ndarray
    overlays: Sequence[Overlay] = ()


def encode_picture(picture: np.ndarray, height: int) -> np.ndarray:
    """Packs a game's picture without loss, once it is no larger than a video of ``height`` pixels shows it.

    Hundreds of kilobytes per step otherwise; Atari's screens pack into 2 to 3 kB.

    Args:
        picture: ``[h, w, 3]`` uint8 RGB.
        height: of the video, in pixels.
    """
    factor = min(height / picture.shape[0], _WIDEST_PICTURE * height / picture.shape[1])
    if factor < 1.0:
        size = max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]


def decode_picture(data: np.ndarray) -> np.ndarray:
    """Undoes `encode_picture`."""
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


class Painter:
    """Draws the frames of recordings of one environment, all of one size.

    Columns from the left: the game's picture if there is one; overlays if there are any; facts, what the agent sees,
    and the policy; the plots.

    Args:
        example: a recording that the layout is made for.
        height: of the video in pixels; odd numbers are rounded up, as the format wants even ones.

    Attributes:
        size: (width, height) in pixels.
    """

    def __init__(self, example: Recording, height: int) -> None:
        height += height % 2
        self.pen = pen = Pen(height / HEIGHT)
        margin, gap = pen.px(_MARGIN), pen.px(_GAP)
        inner, x = height - 2 * margin, margin
        self.picture_box: Box | None = None
        if example.pictures is not None:
            shape = decode_picture(example.pictures[0]).shape
            width = round(min(inner * shape[1] / shape[0], _WIDEST_PICTURE * height))
            self.picture_box = Box(x, margin, width, inner)
            x += width + gap
        self.overlay_boxes: list[Box] = []
        self.verdict_rows = 0
        if example.overlays:
            x += self._place_overlays(example, Box(x, margin, 0, inner)) + gap
        self.middle = Box(x, margin, pen.px(_MIDDLE), inner)
        self.plots = Box(x + self.middle.width + gap, margin, pen.px(_PLOTS), inner)
        width = self.plots.x + self.plots.width + margin
        self.size = (width + width % 2, height)
        self._split_middle(example)

    def _place_overlays(self, example: Recording, column: Box) -> int:
        """Finds the places of the overlays' pictures; returns how wide their column is.

        Up to three are side by side, more in two rows or a square. Above each are two rows for its title, below it two
        and as many as the longest verdict takes.
        """
        pen, count, row = self.pen, len(example.overlays), self.pen.px(ROW)
        columns = count if count <= 3 else math.ceil(count / 2) if count <= 6 else math.ceil(math.sqrt(count))
        rows = math.ceil(count / columns)
        gap, top = pen.px(_GAP), row + pen.px(6)
        height, width = example.overlays[0].pictures(0).shape[:2]
        widest = pen.px(_WIDEST_OVERLAY if count <= 2 else _WIDEST_OF_MANY)
        for self.verdict_rows in range(_MOST_VERDICT_ROWS + 1):
            room = (column.height - top - gap * (rows - 1)) // rows - (4 + self.verdict_rows) * row - pen.px(4)
            scale = min(max(room, 1) / height, widest / width)
            picture = Box(0, 0, max(1, round(width * scale)), max(1, round(height * scale)))
            cell = max(picture.width, pen.px(_NARROWEST_OVERLAY))
            if all(len(self._verdict(one, cell)) <= self.verdict_rows for one in example.overlays):
                break
        step = (4 + self.verdict_rows) * row + pen.px(4) + picture.height + gap
        for i in range(count):
            x = column.x + i % columns * (cell + gap)
            self.overlay_boxes.append(Box(x, column.y + top + i // columns * step + 2 * row, cell, picture.height))
        return max(columns * (cell + gap) - gap, pen.width(_ONE_SCALE, 0.9))

    def _verdict(self, overlay: Overlay, width: int) -> list[str]:
        """The lines of what controls say of an overlay."""
        return self.pen.wrapped(overlay.verdict, width, _MOST_VERDICT_ROWS, 0.9)

    def _split_middle(self, example: Recording) -> None:
        """Facts above, the policy below, and the room between them for what the agent sees."""
        pen, middle = self.pen, self.middle
        row = pen.px(ROW)
        self.facts_y = middle.y + pen.px(ROW + 6)
        seen_y = self.facts_y + len(example.facts) * row + pen.px(6)
        if isinstance(example.policy, DiscretePolicy):
            count = min(len(example.policy.names), _MOST_BARS)
            height = min(count * row, pen.px(215))
        else:
            height = (min(example.policy.mean.shape[1], _MOST_DIMENSIONS) + 1) * row
        bottom = middle.y + middle.height
        self.policy_box = Box(middle.x, bottom - height, middle.width, height)
        self.seen_title_y = seen_y
        top = seen_y + row + pen.px(2)
        numbers = row if example.frames(0)[0].size <= _MOST_NUMBERS else 0
        room = self.policy_box.y - row - pen.px(8) - numbers - top
        self.seen_box = Box(middle.x, top, middle.width, max(1, room))

    def frames(self, recording: Recording) -> Iterator[np.ndarray]:
        """Draws an episode: T frames ``[height, width, 3]`` uint8 RGB. Each is overwritten by the next."""
        plots = self._make_plots(recording)
        background = self._background(recording, plots)
        canvas = np.empty_like(background)
        for t in range(len(recording.steps)):
            np.copyto(canvas, background)
            if self.picture_box is not None and recording.pictures is not None:
                paste(canvas, decode_picture(recording.pictures[t]), self.picture_box)
            for overlay, box in zip(recording.overlays, self.overlay_boxes, strict=True):
                paste(canvas, overlay.pictures(t), box)
                note_y = box.y + box.height + self.pen.px(ROW + 4)
                self.pen.write(canvas, overlay.notes(t), box.x, note_y, DIM, room=box.width, size=0.9)
            self._draw_facts(canvas, recording, t)
            self._draw_seen(canvas, recording, t)
            self._draw_policy(canvas, recording, t)
            for plot in plots:
                plot.draw(canvas, t)
            self._draw_steps(canvas, recording, plots[-1], t)
            yield canvas

    def _make_plots(self, recording: Recording) -> list[Plot]:
        pen, box = self.pen, self.plots
        window = min(WINDOW, max(1, len(recording.steps) - 1))
        axis, gap = pen.px(ROW), pen.px(8)
        height = (box.height - axis + gap) // len(recording.panels) - gap
        plots = []
        for i, panel in enumerate(recording.panels):
            place = Box(box.x, box.y + i * (height + gap), box.width, height)
            plots.append(Plot(pen, place, panel.title, panel.lines, window, panel.first_colour))
        return plots

    def _background(self, recording: Recording, plots: Sequence[Plot]) -> np.ndarray:
        pen, middle = self.pen, self.middle
        canvas = np.empty((self.size[1], self.size[0], 3), dtype=np.uint8)
        canvas[:] = BACKGROUND
        pen.write(canvas, recording.title, middle.x, middle.y, TEXT, room=middle.width, size=1.15)
        self._draw_scales(canvas, recording.overlays)
        for i, label in enumerate(recording.facts):
            pen.write(canvas, label, middle.x, self.facts_y + i * pen.px(ROW), DIM)
        count = len(recording.frames(0))
        seen = f"what the agent sees: {count} frames, newest last" if count > 1 else "what the agent sees"
        pen.write(canvas, seen, middle.x, self.seen_title_y, DIM)
        pen.write(canvas, _policy_title(recording.policy), middle.x, self.policy_box.y - pen.px(ROW + 2), DIM)
        for plot in plots:
            plot.draw_static(canvas)
        area = plots[-1].area
        pen.write(canvas, "agent step", area.x + area.width // 2, area.y + area.height, DIM, align=0.5, size=0.9)
        return canvas

    def _draw_scales(self, canvas: np.ndarray, overlays: Sequence[Overlay]) -> None:
        """Titles of the overlays, and what their colours mean: the same in every frame."""
        pen, row = self.pen, self.pen.px(ROW)
        if overlays:
            pen.write(canvas, _ONE_SCALE, self.overlay_boxes[0].x, pen.px(_MARGIN), DIM, size=0.9)
        for overlay, box in zip(overlays, self.overlay_boxes, strict=True):
            lines = pen.wrapped(overlay.title, box.width, 2, 0.95)
            for i, line in enumerate(lines):
                pen.write(canvas, line, box.x, box.y - (len(lines) - i) * row, TEXT, room=box.width, size=0.95)
            for i, line in enumerate(self._verdict(overlay, box.width)):
                verdict_y = box.y + box.height + pen.px(2 * ROW + 4) + i * row
                pen.write(canvas, line, box.x, verdict_y, TEXT, room=box.width, size=0.9)
            y, edge = box.y + box.height + pen.px(2), pen.px(5)
            left = pen.write(canvas, overlay.low, box.x, y, DIM, size=0.9) + edge
            right = pen.write(canvas, overlay.high, box.x + box.width, y, DIM, align=1.0, size=0.9) + edge
            bar = Box(box.x + left, y + pen.px(4), box.width - left - right, pen.px(9))
            if bar.width > 0:
                index = np.arange(bar.width) * len(overlay.colours) // bar.width
                canvas[bar.y : bar.y + bar.height, bar.x : bar.x + bar.width] = overlay.colours[index]

    def _draw_facts(self, canvas: np.ndarray, recording: Recording, t: int) -> None:
        x = self.middle.x + self.pen.px(64)
        room = self.middle.width - self.pen.px(64)
        for i, texts in enumerate(recording.facts.values()):
            self.pen.write(canvas, texts[t], x, self.facts_y + i * self.pen.px(ROW), room=room)

    def _draw_seen(self, canvas: np.ndarray, recording: Recording, t: int) -> None:
        frames = recording.frames(t)
        pictures = [p for frame in frames for p in frame_pictures(frame, recording.low, recording.high)]
        place = paste_all(canvas, pictures, self.seen_box, self.pen.px(2))
        newest = frames[-1].ravel()
        if len(frames) == 1 and newest.size <= _MOST_NUMBERS and frames[-1].ndim == 1 and place.width:
            cell = place.width / newest.size
            for i, value in enumerate(newest):
                middle = place.x + round((i + 0.5) * cell)
                self.pen.write(canvas, f"{value:.2f}", middle, place.y + place.height, DIM, align=0.5, size=0.9)

    def _draw_policy(self, canvas: np.ndarray, recording: Recording, t: int) -> None:
        policy, box = recording.policy, self.policy_box
        if isinstance(policy, ContinuousPolicy):
            shown = slice(0, _MOST_DIMENSIONS)
            action = policy.action[t, shown]
            taken = None if np.isnan(action).any() else action
            draw_gaussians(canvas, self.pen, box, policy.mean[t, shown], policy.std[t, shown], taken, policy.limit)
            return
        probabilities, chosen, names = policy.probabilities[t], np.atleast_1d(policy.chosen[t]), list(policy.names)
        order = np.arange(len(names))
        if len(names) > _MOST_BARS:
            order = np.argsort(-probabilities, kind="stable")[:_MOST_BARS]
        places = np.flatnonzero(np.isin(order, chosen)).tolist()
        draw_probabilities(canvas, self.pen, box, [names[i] for i in order], probabilities[order], places)

    def _draw_steps(self, canvas: np.ndarray, recording: Recording, plot: Plot, t: int) -> None:
        """The steps at the two ends of the plots."""
        first = max(0, t - plot.window)
        last = min(first + plot.window, len(recording.steps) - 1)
        y, left, right = plot.area.y + plot.area.height, plot.area.x, plot.area.x + plot.area.width
        self.pen.write(canvas, str(recording.steps[first]), left, y, DIM, size=0.9)
        self.pen.write(canvas, str(recording.steps[last]), right, y, DIM, align=1.0, size=0.9)


def _policy_title(policy: DiscretePolicy | ContinuousPolicy) -> str:
    if isinstance(policy, ContinuousPolicy):
        count = policy.mean.shape[1]
        more = f" (first {_MOST_DIMENSIONS} of {count})" if count > _MOST_DIMENSIONS else ""
        return f"action: mean +- std, dot: taken{more}"
    count = len(policy.names)
    return (
        f"action probabilities (the {_MOST_BARS} largest of {count})" if count > _MOST_BARS else "action probabilities"
    )


# --- whole videos -------------------------------------------------------------------------------------------------


def write_video(path: Path, recordings: Iterator[Recording], height: int, fps: float) -> tuple[tuple[int, int], int]:
    """Draws episodes, one after the other, into one file; the last frame of each stays for about a second.

    Args:
        path: of the MP4 file.
        recordings: at least one, all of one environment; each is drawn before the next is asked for.
        height: of the video in pixels.
        fps: frames per second.

    Returns:
        The size (width, height) in pixels and the number of frames.

    Raises:
        ConfigError: see `video_file`.
    """
    first = next(recordings)
    painter = Painter(first, height)
    count = 0
    with video_file(path, painter.size, fps) as add:
        for recording in itertools.chain([first], recordings):
            for frame in painter.frames(recording):
                add(frame)
                count += 1
            for _ in range(round(fps * HOLD_S)):  # else how it ended is gone before it can be seen
                add(frame)
                count += 1
    return painter.size, count
