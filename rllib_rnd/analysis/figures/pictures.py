"""Maps as pictures: what an agent sees, a map laid over it, grids of many, and PNG files of them.

A picture is an ``[h, w, 3]`` uint8 RGB array. Every map has a `Scale`, which says what its colours mean; a map that is
the same everywhere has no colours at all, as stretching its rounding errors would show a structure that is not there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import gymnasium as gym
import numpy as np

from rllib_rnd.analysis.figures.drawing import (
    BACKGROUND,
    DIM,
    PANEL,
    ROW,
    STRIP,
    TEXT,
    Box,
    Pen,
    fill,
    fit,
    frame_pictures,
    paste,
)

SIDE = 168  # pixels of a picture's longer side, about; twice Atari's 84
STRENGTH = 0.6  # share of a map's colour in an overlay; the rest is the frame, in grey
_EVEN = 1e-3  # a map whose numbers differ by less than this share of the largest is constant
_NOTHING = 1e-12
_NOTED = 0.95  # ends of a scale that are less than this share of the largest number say so
_FINITE = 1e6  # bounds of observations beyond this say nothing about the numbers seen
_COLOURS = 96  # of a picture in a page; more would double its size and not be seen
# Of signed maps: blue and red that colour-blind viewers can tell apart, bright on black and on white.
_AGAINST, _FOR = np.array([58.0, 140.0, 240.0]), np.array([235.0, 70.0, 45.0])
_ZERO = np.array([30.0, 30.0, 30.0])
_MOST_OPAQUE = 0.85


# --- what numbers the colours stand for -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """What the colours of one or more maps mean.

    Attributes:
        low, high: the numbers at their ends.
        signed: two-coloured around zero.
        constant: the maps are the same everywhere and get no colours.
        largest: the size of the largest number, where some are beyond the ends (and get their colours); else None.
    """

    low: float
    high: float
    signed: bool
    constant: bool
    largest: float | None = None

    @classmethod
    def of(cls, values: Sequence[np.ndarray], signed: bool, beyond: float = 0.0) -> Scale:
        """The scale that the maps of one group share.

        Args:
            values: ``[..., h, w]`` each.
            signed: put zero in the middle.
            beyond: share of the numbers of a signed map that may lie beyond the ends: a few pixels with very large ones
                would leave all others without colour.
        """
        low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
        most = max(abs(low), abs(high))
        constant = not math.isfinite(high - low) or high - low <= max(_EVEN * most, _NOTHING)
        if not signed or constant:
            return cls(low, high, signed, constant)
        end = float(np.quantile(np.concatenate([np.abs(v).ravel() for v in values]), 1.0 - beyond))
        end = most if end <= _NOTHING else end
        return cls(-end, end, signed, constant, most if end < _NOTED * most else None)

    def share(self, values: np.ndarray) -> np.ndarray:
        """Where numbers are between the ends, 0 to 1."""
        return np.clip((values - self.low) / max(self.high - self.low, _NOTHING), 0.0, 1.0)

    @property
    def text(self) -> str:
        """In words: ``0.001 to 0.03``, ``±0.2``, ``±0.2 (max 0.9)`` or ``constant 0.05``."""
        if self.constant:
            return f"constant {self.high:.3g}"
        if not self.signed:
            return f"{self.low:.3g} to {self.high:.3g}"
        return f"±{self.high:.3g}" + ("" if self.largest is None else f" (max {self.largest:.2g})")


def colours(share: np.ndarray, signed: bool) -> np.ndarray:
    """Colours of numbers between 0 and 1: ``[h, w]`` -> ``[h, w, 3]`` uint8.

    Unsigned maps have one that grows evenly brighter (inferno); signed ones go from blue over black to red.
    """
    if not signed:
        levels = np.round(share * 255).astype(np.uint8)
        return np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1])
    place = 2.0 * share[..., None] - 1.0
    mixed = np.abs(place) * np.where(place < 0.0, _AGAINST, _FOR) + (1.0 - np.abs(place)) * _ZERO
    return np.round(mixed).astype(np.uint8)


def upsampled(values: np.ndarray, height: int, width: int, smooth: bool = True) -> np.ndarray:
    """A map ``[h, w]`` at another size: bilinear where it grows (unless not ``smooth``), means where it shrinks."""
    larger = height >= values.shape[0] and width >= values.shape[1]
    way = (cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST) if larger else cv2.INTER_AREA
    return np.asarray(cv2.resize(values.astype(np.float32), (width, height), interpolation=way))


def in_cells(values: np.ndarray) -> np.ndarray:
    """A map over a vector ``[1, D]`` in the cells that `frame_pictures` shows the vector in; other maps as they are."""
    count = values.shape[1]
    if values.shape[0] > 1 or count <= STRIP:
        return values
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    return np.pad(values[0], (0, rows * columns - count)).reshape(rows, columns)


def overlay(frame: np.ndarray, values: np.ndarray, scale: Scale, smooth: bool = True) -> np.ndarray:
    """Lays a map over a frame.

    The frame is shown in grey, so that every colour is the map's. Signed maps are the more opaque the larger their
    numbers: what is zero is the frame itself.

    Args:
        frame: ``[H, W, 3]`` uint8.
        values: ``[h, w]``, any size.
        scale: of its colours.
        smooth: mix neighbouring places where the frame is larger; those of a vector are no neighbours.

    Returns:
        ``[H, W, 3]`` uint8; a constant map is the frame in grey, darker.
    """
    grey = frame.mean(axis=2, keepdims=True)
    if scale.constant:
        return np.broadcast_to(np.round(0.5 * grey), frame.shape).astype(np.uint8)
    share = scale.share(upsampled(values, frame.shape[0], frame.shape[1], smooth))
    if not scale.signed:
        return np.round(STRENGTH * colours(share, False) + (1.0 - STRENGTH) * grey).astype(np.uint8)
    place = 2.0 * share[..., None] - 1.0
    opaque = _MOST_OPAQUE * np.abs(place)
    return np.round(opaque * np.where(place < 0.0, _AGAINST, _FOR) + (1.0 - opaque) * grey).astype(np.uint8)


def alone(values: np.ndarray, scale: Scale) -> np.ndarray:
    """A map ``[h, w]`` that lies on no frame, one pixel for each of its numbers; grey where it is constant."""
    if scale.constant:
        return np.full((*values.shape, 3), 128, dtype=np.uint8)
    return colours(scale.share(values), scale.signed)


# --- what the agent sees --------------------------------------------------------------------------------------------


def observation_pictures(obs: np.ndarray, space: gym.Space, frame_stack: int, newest_first: bool) -> list[np.ndarray]:
    """The newest frame of each observation, at its own size.

    Args:
        obs: ``[B, *obs_shape]`` raw.
        space: of one observation.
        frame_stack: K, frames in it; 1 without a stack.
        newest_first: how they are ordered.
    """
    assert isinstance(space, gym.spaces.Box)
    newest = slice(None) if frame_stack == 1 else 0 if newest_first else -1
    low, high = np.broadcast_to(space.low, space.shape)[newest], np.broadcast_to(space.high, space.shape)[newest]
    frames = obs if frame_stack == 1 else obs[:, newest]
    known = (np.abs(low.astype(np.float64)) < _FINITE) & (np.abs(high.astype(np.float64)) < _FINITE)
    low, high = np.where(known, low, frames.min(axis=0)), np.where(known, high, frames.max(axis=0))
    pictures = []
    for frame in frames:
        planes = frame_pictures(frame, low, high)
        pictures.append(planes[0] if len(planes) == 1 else _together(planes))
    return pictures


def _together(planes: Sequence[np.ndarray]) -> np.ndarray:
    """Planes of one image as one picture: the brightest of each pixel."""
    return np.max(np.stack(planes), axis=0)


def enlarged(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """A picture whose longer side has about ``side`` pixels: small ones by whole factors, so that pixels stay sharp."""
    longest = max(picture.shape[:2])
    if longest * 2 <= side:
        factor = side // longest
        return picture.repeat(factor, axis=0).repeat(factor, axis=1)
    return picture if longest <= side else fit(picture, side, side)


# --- files ----------------------------------------------------------------------------------------------------------


def png(picture: np.ndarray, colours_at_most: int | None = _COLOURS) -> bytes:
    """Packs a picture; the same picture gives the same bytes.

    Args:
        picture: ``[h, w, 3]`` uint8.
        colours_at_most: in a palette, for small files; None keeps every colour.
    """
    import io

    from PIL import Image

    image = Image.fromarray(picture)
    if colours_at_most is not None:
        image = image.quantize(colours_at_most, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6)  # the highest, 9, takes five times as long and saves two per cent
    return file.getvalue()


@dataclass(frozen=True)
class Cell:
    """One picture of a grid with a line below it."""

    picture: np.ndarray
    caption: str = ""


def grid(title: str, columns: Sequence[str], rows: Sequence[str], cells: Sequence[Sequence[Cell | None]]) -> np.ndarray:
    """Pictures in rows and columns, all as large as the largest one.

    Args:
        title: above them.
        columns, rows: their names; those of rows may have several lines.
        cells: one sequence per row, None where there is nothing.
    """
    pen, gap = Pen(1.0), 8
    shown = [cell.picture.shape for row in cells for cell in row if cell is not None]
    height, width = max(s[0] for s in shown), max(max(s[1] for s in shown), 110)
    label = max((pen.width(line) for name in rows for line in ascii_text(name).split("\n")), default=0) + 2 * gap
    caption = ROW if any(cell is not None and cell.caption for row in cells for cell in row) else 0
    heads = [_wrapped(pen, ascii_text(name), width) for name in columns]
    top = gap + ROW + 4 + max(len(lines) for lines in heads) * ROW
    step_x, step_y = width + gap, height + caption + gap
    full = max(label + len(columns) * step_x, pen.width(ascii_text(title)) + 2 * gap)
    canvas = np.empty((top + len(rows) * step_y, full, 3), dtype=np.uint8)
    canvas[:] = BACKGROUND
    pen.write(canvas, ascii_text(title), gap, gap, TEXT, room=full - 2 * gap)
    for j, lines in enumerate(heads):
        for k, line in enumerate(lines):
            pen.write(canvas, line, label + j * step_x, gap + ROW + 4 + k * ROW, DIM, room=width)
    for i, (name, row) in enumerate(zip(rows, cells, strict=True)):
        y = top + i * step_y
        for k, line in enumerate(ascii_text(name).split("\n")):
            pen.write(canvas, line, gap, y + k * ROW, TEXT if k == 0 else DIM)
        for j, cell in enumerate(row):
            place = Box(label + j * step_x, y, width, height)
            if cell is None:
                fill(canvas, place, PANEL)
                continue
            paste(canvas, cell.picture, place)
            pen.write(canvas, ascii_text(cell.caption), place.x, y + height, DIM, room=width, size=0.9)
    return canvas


def _wrapped(pen: Pen, text: str, room: int, most: int = 3) -> list[str]:
    """A text in lines of at most ``room`` pixels, broken at spaces."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and pen.width(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if len(lines) <= most else [*lines[: most - 1], " ".join(lines[most - 1 :])]


def ascii_text(text: str) -> str:
    """What the letters of pictures can write: they have ASCII only."""
    known = {"–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "±": "+-", "→": "->", "·": "|"}  # noqa: RUF001
    return "".join(known.get(letter, letter) for letter in text).encode("ascii", "replace").decode()
