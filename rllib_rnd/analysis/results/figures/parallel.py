"""Parallel coordinates: an upright axis per setting, a line per variant through its values, its score at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rllib_rnd.analysis.results.figures.chart import GRID, LIGHT, TEXT, Chart, blank, short
from rllib_rnd.analysis.results.sweep import Setting
from rllib_rnd.analysis.results.tables import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOW_TO_HIGH = (LIGHT[0], LIGHT[3], LIGHT[5], LIGHT[1])  # blue, violet, red, orange: in the page's colours, in order
_WIDEST, _HEIGHT = 10.0, 4.0  # inches
_CLOSE = 0.055  # of an axis: marks that are nearer would overlap
Ticks = list[tuple[float, str]]


def parallel_chart(
    name: str, alt: str, settings: Sequence[Setting], metric: str, scores: np.ndarray, caption: str = ""
) -> Chart:
    """A line per variant.

    Args:
        name: of its files.
        alt: what is on it.
        settings: an axis each.
        metric: that scores are of.
        scores: float64 ``[variants]``, finite.
        caption: below it.
    """

    def draw() -> Figure:
        figure = blank(min(_WIDEST, 2.4 + 1.6 * len(settings)), _HEIGHT)
        axes = figure.subplots()
        shares = _shares(scores)
        places = np.array([*(_places(setting) for setting in settings), shares])
        best = int(np.argmax(scores))
        for i in [*(i for i in np.argsort(scores, kind="stable") if i != best), best]:
            thick = i == best
            axes.plot(
                np.arange(len(places)), places[:, i], color=_colour(shares[i]), linewidth=3.0 if thick else 1.2,
                alpha=1.0 if thick else 0.6, marker="o" if thick else None, markersize=5, clip_on=False,
            )  # fmt: skip
        for x, setting in enumerate(settings):
            meeting = setting.few or not setting.numeric
            _draw_axis(axes, x, setting.name.split("."), _ticks(setting), " (log)" if setting.log else "", meeting)
        _draw_axis(axes, len(settings), [metric], _number_ticks(scores))
        _draw_colours(axes, len(settings))
        axes.set_xlim(-0.15, len(settings) + 0.4)
        axes.set_ylim(-0.05, 1.05)
        axes.set_axis_off()
        return figure

    return Chart(name, alt, draw, caption)


def _colour(share: float) -> str:
    return _LOW_TO_HIGH[min(len(_LOW_TO_HIGH) - 1, int(share * len(_LOW_TO_HIGH)))]


def _shares(values: np.ndarray) -> np.ndarray:
    """Where values lie between the smallest (0) and the largest (1); in the middle where all are the same."""
    low, high = values.min(), values.max()
    return np.full(len(values), 0.5) if high == low else (values - low) / (high - low)


def _places(setting: Setting) -> np.ndarray:
    """Heights of the lines: equal values are at the height of their mark."""
    if setting.numeric:
        return _shares(setting.scale())
    different = setting.different()
    return _shares(np.array([different.index(value) for value in setting.values], float))  # type: ignore[arg-type]


def _ticks(setting: Setting) -> Ticks:
    different = setting.different()
    if setting.numeric:
        return _number_ticks(setting.numbers(), setting.log, setting.few)
    return _apart([(i / (len(different) - 1), short(str(word), 16)) for i, word in enumerate(different)])


def _number_ticks(values: np.ndarray, log: bool = False, few: bool = False) -> Ticks:
    """Marks at the values where they are few, else at round numbers between the smallest and the largest."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    marks, low, high = np.unique(values), values.min(), values.max()
    if low == high:
        return [(0.5, number(float(low)))]
    if not few:
        locator = LogLocator(subs=(1.0,) if high >= 1000 * low else (1.0, 2.0, 5.0)) if log else MaxNLocator(5)
        marks = np.array([mark for mark in locator.tick_values(low, high) if low <= mark <= high])
        marks = marks if len(marks) > 1 else np.array([low, high])
    scale = np.log if log else np.asarray
    shares = (scale(marks) - scale(low)) / (scale(high) - scale(low))
    return _apart([(float(share), number(float(mark))) for share, mark in zip(shares, marks, strict=True)])


def _apart(ticks: Ticks) -> Ticks:
    """Without those that would overlap the one before."""
    kept: Ticks = []
    for place, text in ticks:
        if not kept or place - kept[-1][0] >= _CLOSE:
            kept.append((place, text))
    return kept


def _draw_axis(axes: Axes, x: int, name: Sequence[str], ticks: Ticks, scale: str = "", meeting: bool = False) -> None:
    """An axis with its name and marks; where lines meet at these, words stand above them, not in the lines' way."""
    lift, align = ((1, 3), "bottom") if meeting else ((0, 0), "center")
    axes.plot([x, x], [-0.04, 1.04], color=GRID, linewidth=1.2, zorder=0.5, clip_on=False)
    for place, text in ticks:
        axes.plot([x, x + 0.04], [place, place], color=TEXT, linewidth=0.9, clip_on=False)
        axes.annotate(text, (x + 0.06, place), lift, textcoords="offset points", fontsize=8, color=TEXT, va=align)
    words = "\n".join(short(part, 18) for part in name)
    axes.text(x, 1.08, words + scale, fontsize=8.5, color=TEXT, ha="center", va="bottom")


def _draw_colours(axes: Axes, x: int) -> None:
    """The scale of colours, on the axis of scores."""
    steps = np.linspace(0.0, 1.0, len(_LOW_TO_HIGH) + 1)
    for low, high, colour in zip(steps[:-1], steps[1:], _LOW_TO_HIGH, strict=True):
        axes.plot([x, x], [low, high], color=colour, linewidth=5, solid_capstyle="butt", clip_on=False)
