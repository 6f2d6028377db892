"""What the frames of a video are drawn with: text, pictures that fit a box, bars and scrolling lines (numpy, cv2).

A canvas is an ``[H, W, 3]`` uint8 RGB array that the functions draw into. Sizes are in units that `Pen` turns into
pixels, so that a video looks the same at every height.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from rllib_rnd.modules.image import image_layout

Colour = tuple[int, int, int]

BACKGROUND: Colour = (18, 20, 25)
PANEL: Colour = (32, 36, 44)
GRID: Colour = (70, 76, 88)
TEXT: Colour = (226, 230, 236)
DIM: Colour = (150, 157, 170)
# Of Okabe and Ito's palette, which colour-blind viewers can tell apart: orange, sky blue, green, purple, yellow.
LINES: tuple[Colour, ...] = ((230, 159, 0), (86, 180, 233), (0, 190, 140), (204, 121, 167), (240, 228, 66))

ROW = 17  # height of a row of text
_SUBPIXEL = 4  # bits after the point of the coordinates of lines
STRIP = 16  # vectors up to this long are one row of cells


class Box(NamedTuple):
    """A rectangle of a canvas, in pixels."""

    x: int
    y: int
    width: int
    height: int


class Pen:
    """Lengths and text at one scale.

    Args:
        scale: pixels per unit.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def px(self, units: float) -> int:
        """Whole pixels, at least one."""
        return max(1, round(units * self.scale))

    def width(self, text: str, size: float = 1.0) -> int:
        """Pixels that a line of text is wide."""
        return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42 * size * self.scale, self._thickness)[0][0])

    def write(
        self,
        canvas: np.ndarray,
        text: str,
        x: int,
        y: int,
        colour: Colour = TEXT,
        align: float = 0.0,
        room: int | None = None,
        size: float = 1.0,
    ) -> int:
        """Writes one line of ASCII text, `ROW` units high.

        Args:
            canvas: what to draw on.
            text: the line.
            x: where it begins (``align`` 0), has its middle (0.5) or ends (1).
            y: the top of its row.
            colour: of the letters.
            align: see ``x``.
            room: pixels; longer text is cut and ends in dots.
            size: of the letters, 1 is usual.

        Returns:
            Its width in pixels.
        """
        if room is not None and self.width(text, size) > room:
            while text and self.width(f"{text}..", size) > room:
                text = text[:-1]
            text = f"{text}.."
        width = self.width(text, size)
        place = (x - round(align * width), y + self.px(12.5))
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(canvas, text, place, font, 0.42 * size * self.scale, colour, self._thickness, cv2.LINE_AA)
        return width

    def wrapped(self, text: str, room: int, lines: int, size: float = 1.0) -> list[str]:
        """A text in at most ``lines`` lines of ``room`` pixels, broken at spaces; `write` cuts what is still too long.

        Args:
            text: without line breaks.
            room: pixels.
            lines: at most; the last takes all that is left.
            size: of the letters.
        """
        found: list[str] = []
        for word in text.split():
            longer = f"{found[-1]} {word}" if found else word
            if found and (len(found) == lines or self.width(longer, size) <= room):
                found[-1] = longer
            else:
                found.append(word)
        return found

    @property
    def _thickness(self) -> int:
        return self.px(1.0)


def fill(canvas: np.ndarray, box: Box, colour: Colour) -> None:
    """Paints a rectangle."""
    canvas[box.y : box.y + box.height, box.x : box.x + box.width] = colour


# --- pictures ---------------------------------------------------------------------------------------------------


def fit(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scales an RGB picture to the largest size of its proportions within ``width`` x ``height`` pixels.

    Enlarged pixels keep their sharp edges and are all of one size, whatever the factor.
    """
    factor = min(width / picture.shape[1], height / picture.shape[0])
    size = max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor))
    if factor > 1.0:
        whole = math.ceil(factor)
        larger = (picture.shape[1] * whole, picture.shape[0] * whole)
        picture = cv2.resize(picture, larger, interpolation=cv2.INTER_NEAREST)
        # By less than half: two neighbours are enough, and means over areas take six times as long.
        return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def paste(canvas: np.ndarray, picture: np.ndarray, box: Box) -> Box:
    """Draws a picture as large as a box allows, in the middle of its width; returns where it is."""
    scaled = fit(picture, box.width, box.height)
    height, width = scaled.shape[:2]
    x = box.x + (box.width - width) // 2
    canvas[box.y : box.y + height, x : x + width] = scaled
    return Box(x, box.y, width, height)


def paste_all(canvas: np.ndarray, pictures: Sequence[np.ndarray], box: Box, gap: int) -> Box:
    """Draws pictures of one size side by side, in as many rows as let them be largest; returns where they are."""
    count, (height, width) = len(pictures), pictures[0].shape[:2]

    def cell(columns: int) -> tuple[int, int, float]:
        rows = math.ceil(count / columns)
        cell_width = (box.width - gap * (columns - 1)) // columns
        cell_height = (box.height - gap * (rows - 1)) // rows
        return cell_width, cell_height, min(cell_width / width, cell_height / height)

    columns = max(range(1, count + 1), key=lambda c: cell(c)[2])
    factor = cell(columns)[2]
    if factor <= 0.0 or min(width, height) * factor < 1.0:
        return Box(box.x, box.y, 0, 0)  # too many to be seen
    cell_width, cell_height = round(width * factor), round(height * factor)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        x, y = box.x + column * (cell_width + gap), box.y + row * (cell_height + gap)
        paste(canvas, picture, Box(x, y, cell_width, cell_height))
    rows = math.ceil(count / columns)
    return Box(box.x, box.y, columns * (cell_width + gap) - gap, rows * (cell_height + gap) - gap)


def frame_pictures(frame: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """One frame of an observation as RGB pictures.

    Bytes from 0 to 255 are shown as they are; other numbers as colours, dark blue for ``low`` to yellow for ``high``.
    A vector is a grid of cells, row by row (one row up to 16 elements). Three channels are a colour picture, any
    other number of them one picture each.

    Args:
        frame: ``[D]``, ``[H, W]``, ``[H, W, C]``, ``[C, H, W]`` or ``[K, H, W, C]``.
        low, high: numbers at either end of the colours, shaped as the frame or fit for broadcasting.

    Returns:
        ``[h, w, 3]`` uint8 pictures, all of one size.
    """
    if frame.dtype == np.uint8 and high.max() == 255 and frame.ndim > 1:
        return [plane if plane.ndim == 3 else cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB) for plane in _planes(frame)]
    share = (frame - low.astype(np.float64)) / np.maximum(high.astype(np.float64) - low, 1e-12)
    levels = (np.clip(share, 0.0, 1.0) * 255).astype(np.uint8)
    if frame.ndim == 1:
        columns = len(frame) if len(frame) <= STRIP else math.ceil(math.sqrt(len(frame)))
        rows = math.ceil(len(frame) / columns)
        cells = np.full((rows * columns, 3), PANEL, dtype=np.uint8)
        cells[: len(frame)] = _heat(levels[:, None])[:, 0]
        return [cells.reshape(rows, columns, 3)]
    return [plane if plane.ndim == 3 else _heat(plane) for plane in _planes(levels)]


def _planes(image: np.ndarray) -> list[np.ndarray]:
    """Grey planes ``[H, W]`` and colour pictures ``[H, W, 3]`` of an image, see `image_layout`."""
    image = np.ascontiguousarray(image)
    layout = image_layout(image.shape) if image.ndim == 3 else None
    channels_last = layout is not None and layout.permutation == (2, 0, 1)
    if image.ndim == 2 or (channels_last and image.shape[2] == 3):
        return [image]
    return [plane for part in (np.moveaxis(image, 2, 0) if channels_last else image) for plane in _planes(part)]


def _heat(levels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1])


# --- lines ------------------------------------------------------------------------------------------------------


class Plot:
    """One or more lines over the same steps, seen through a window that ends at the current step.

    The scale is that of the whole episode, so that heights can be compared over the video.

    Args:
        pen: scale of the drawing.
        box: title row, numbers and curves.
        title: what is shown.
        lines: name -> ``[T]`` numbers, NaN where there is none; the order gives the colours.
        window: steps from the left edge to the right one.
        first_colour: index in `LINES` of the first line's colour.
    """

    def __init__(
        self, pen: Pen, box: Box, title: str, lines: Mapping[str, np.ndarray], window: int, first_colour: int = 0
    ) -> None:
        self.pen, self.box, self.title, self.lines, self.window = pen, box, title, lines, window
        self.colours = [LINES[(first_colour + i) % len(LINES)] for i in range(len(lines))]
        margin, top = pen.px(66), pen.px(ROW + 1)
        self.area = Box(box.x + margin, box.y + top, box.width - margin, box.height - top)
        known = np.concatenate([values[np.isfinite(values)] for values in lines.values()])
        self.low, self.high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        if self.high - self.low < 1e-9 * max(1.0, abs(self.high)):
            room = max(1e-3, 0.5 * abs(self.high))
            self.low, self.high = self.low - room, self.high + room
        self._rows = [self._row_of(values) for values in lines.values()]

    def _row_of(self, values: np.ndarray) -> np.ndarray:
        """The y coordinates, in pixels, of numbers."""
        share = (values - self.low) / (self.high - self.low)
        edge = self.pen.px(4)  # a line at the very edge of the area would be cut in half
        return self.area.y + edge + (1.0 - share) * (self.area.height - 1 - 2 * edge)

    def draw_static(self, canvas: np.ndarray) -> None:
        """What stays the same over an episode: title, area, numbers of the axis, the line at zero."""
        pen, area = self.pen, self.area
        fill(canvas, area, PANEL)
        pen.write(canvas, self.title, self.box.x, self.box.y, DIM)
        # The two numbers stand below each other even where the area is low.
        for value, y in ((self.high, area.y - pen.px(1)), (self.low, area.y + area.height - pen.px(ROW - 2))):
            pen.write(canvas, f"{value:.3g}", area.x - pen.px(5), y, DIM, align=1.0, size=0.9)
        if self.low < 0.0 < self.high:
            y = round(float(self._row_of(np.zeros(1))[0]))
            cv2.line(canvas, (area.x, y), (area.x + area.width - 1, y), GRID, 1)

    def draw(self, canvas: np.ndarray, t: int) -> None:
        """The lines up to step ``t``, and their numbers there."""
        pen, area = self.pen, self.area
        first = max(0, t - self.window)
        columns = area.x + np.arange(t - first + 1) * ((area.width - 1) / self.window)
        right = self.box.x + self.box.width
        # Room for each number at its longest: a legend that moved with every step could not be read.
        number_width, gap = pen.px(66), pen.px(16)
        name_room = (self.box.width - pen.width(self.title)) // len(self.lines) - number_width - gap
        entries = list(zip(self.lines.items(), self.colours, self._rows, strict=True))
        for (name, values), colour, rows in reversed(entries):
            self._draw_line(canvas, columns, rows[first : t + 1], colour)
            number = f"{values[t]:.3g}" if np.isfinite(values[t]) else "-"
            pen.write(canvas, number, right, self.box.y, colour, align=1.0)
            right -= number_width
            right -= pen.write(canvas, name, right, self.box.y, colour, align=1.0, room=name_room) + gap

    def _draw_line(self, canvas: np.ndarray, columns: np.ndarray, rows: np.ndarray, colour: Colour) -> None:
        points = np.stack([columns, rows], axis=1)
        known = np.isfinite(rows)
        fixed = np.round(np.where(known[:, None], points, 0.0) * 2**_SUBPIXEL).astype(np.int32)
        pieces = np.split(fixed, np.flatnonzero(np.diff(known)) + 1) if not known.all() else [fixed]
        start = 0
        for piece in pieces:
            if known[start]:
                cv2.polylines(canvas, [piece], False, colour, self.pen.px(1), cv2.LINE_AA, _SUBPIXEL)
            start += len(piece)
        if known[-1]:
            radius = self.pen.px(3) * 2**_SUBPIXEL
            cv2.circle(canvas, fixed[-1].tolist(), radius, colour, -1, cv2.LINE_AA, _SUBPIXEL)


# --- bars -------------------------------------------------------------------------------------------------------


def draw_probabilities(
    canvas: np.ndarray, pen: Pen, box: Box, names: Sequence[str], probabilities: np.ndarray, chosen: Collection[int]
) -> None:
    """One bar per row from 0 to 1; the chosen ones in full colour.

    Args:
        canvas: what to draw on.
        pen: its scale.
        box: where; its height is shared between the rows.
        names: of the rows.
        probabilities: ``[len(names)]``.
        chosen: indices of the rows that were.
    """
    row = box.height / len(names)
    label = min(pen.px(110), max(pen.width(name) for name in names) + pen.px(8))
    number = pen.px(40)
    length = box.width - label - number
    for i, name in enumerate(names):
        y, colour = box.y + round(i * row), TEXT if i in chosen else DIM
        size = min(1.0, row / pen.px(13))
        text_y = y + round((row - pen.px(ROW)) / 2)
        pen.write(canvas, name, box.x, text_y, colour, room=label - pen.px(4), size=size)
        bar = Box(box.x + label, y + pen.px(1), length, max(1, round(row) - 2 * pen.px(1)))
        fill(canvas, bar, PANEL)
        filled = bar._replace(width=round(length * float(probabilities[i])))
        fill(canvas, filled, LINES[0] if i in chosen else GRID)
        pen.write(canvas, f"{probabilities[i]:.3f}", box.x + box.width, text_y, colour, align=1.0, size=size)


def draw_gaussians(
    canvas: np.ndarray, pen: Pen, box: Box, mean: np.ndarray, std: np.ndarray, action: np.ndarray | None, limit: float
) -> None:
    """One row per dimension: a bar from mean - std to mean + std, a tick at the mean, a dot at the action.

    Args:
        canvas: what to draw on.
        pen: its scale.
        box: where; its height is shared between the rows and a row of numbers below them.
        mean, std: ``[A]``.
        action: ``[A]``, or None.
        limit: the axis' end.
    """
    axis = pen.px(ROW)
    row = (box.height - axis) / len(mean)
    label, number = pen.px(18), pen.px(124)
    left, length = box.x + label, box.width - label - number

    def column(value: float) -> int:
        return left + round((min(max(value / limit, -1.0), 1.0) + 1.0) / 2 * (length - 1))

    for i in range(len(mean)):
        y, height = box.y + round(i * row), max(3, round(row) - pen.px(3))
        fill(canvas, Box(left, y, length, height), PANEL)
        fill(canvas, Box(column(0.0), y, 1, height), GRID)
        low, high = column(float(mean[i] - std[i])), column(float(mean[i] + std[i]))
        fill(canvas, Box(low, y, max(1, high - low), height), GRID)
        fill(canvas, Box(column(float(mean[i])) - pen.px(1), y, 2 * pen.px(1), height), TEXT)
        if action is not None:
            centre = (column(float(action[i])), y + height // 2)
            cv2.circle(canvas, centre, pen.px(3.5), LINES[0], -1, cv2.LINE_AA)
        text_y = y + (height - axis) // 2
        pen.write(canvas, str(i), box.x, text_y, DIM)
        text = f"{mean[i]:.2f} +- {std[i]:.2f}"
        pen.write(canvas, text, box.x + box.width, text_y, TEXT, align=1.0, room=number - pen.px(4))
    for value, align in ((-limit, 0.0), (0.0, 0.5), (limit, 1.0)):
        x = left if align == 0.0 else column(value)
        pen.write(canvas, f"{value:.2g}", x, box.y + box.height - axis, DIM, align=align, size=0.9)
