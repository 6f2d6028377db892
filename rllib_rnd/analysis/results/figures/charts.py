"""The charts of a report: curves, points, intervals, profiles, survival."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rllib_rnd.analysis.results.curves import Curve
from rllib_rnd.analysis.results.figures.chart import (
    LIGHT,
    TEXT,
    Chart,
    Dashes,
    blank,
    dress,
    legend,
    line_style,
    name_panel,
    short,
)
from rllib_rnd.analysis.results.statistics import Band, Estimate, Survival, standard_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _WIDE = 7.6, 10.0  # inches
_TICKS = 4  # about, of an axis: text is what takes time to draw
_CLOSE = 0.07  # of the height of a panel: names of lines that are nearer would overlap
_MOST_LINES = 12  # of a variant's runs, drawn thin behind their mean
_MARGIN = 0.08  # of the width of a panel, left and right of its intervals
_INTERVALS = "The point is the value, the line its 95 % interval."


@dataclass(frozen=True)
class Panel:
    """Curves over one pair of axes.

    Attributes:
        title: above it.
        x: what goes to the right.
        y: what goes up.
        curves: one per variant, in the order of ``variants``; None where there is none.
        marks: text -> value, of horizontal lines.
    """

    title: str
    x: str
    y: str
    curves: tuple[Curve | None, ...]
    marks: Mapping[str, float] = field(default_factory=dict)


def curves_chart(name: str, alt: str, panels: Sequence[Panel], variants: Sequence[str], caption: str = "") -> Chart:
    """Panels below and beside each other, two in a row, with one legend."""

    def draw() -> Figure:
        figure, every = _grid(len(panels), 2.3)
        for panel, axes in zip(panels, every, strict=False):
            _draw_panel(axes, panel)
        _legend_of(figure, every[0], variants)
        return figure

    return Chart(name, alt, draw, caption)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for i, curve in enumerate(panel.curves):
        if curve is None:
            continue
        colour, dashes = line_style(i)
        thin = curve.mean is not None
        style = {"linewidth": 0.8, "alpha": 0.55} if thin else {"linestyle": dashes, "linewidth": 1.3, "alpha": 0.9}
        for x, y in curve.lines[:_MOST_LINES] if thin else curve.lines:
            axes.plot(x, y, color=colour, **style)
        if curve.mean is not None:
            x, y, error = curve.mean
            axes.fill_between(x, y - error, y + error, color=colour, alpha=0.2, linewidth=0)
            axes.plot(x, y, color=colour, linestyle=dashes, linewidth=2)
    _draw_marks(axes, panel.marks)
    axes.set(xlabel=panel.x, ylabel=panel.y)
    name_panel(axes, panel.title)
    axes.margins(x=0.02)
    axes.locator_params(nbins=_TICKS)
    if panel.x != "hours":
        _thousands(axes)
    dress(axes)


def _draw_marks(axes: Axes, marks: Mapping[str, float]) -> None:
    """A dotted line for each, and its name at the right; the names of close ones stand together."""
    for value in marks.values():
        axes.axhline(value, color=TEXT, linewidth=0.9, linestyle=":")
    low, high = axes.get_ylim()
    groups: list[tuple[float, list[str]]] = []
    for text, value in sorted(marks.items(), key=lambda mark: mark[1]):
        if groups and value - groups[-1][0] < _CLOSE * (high - low):
            groups[-1] = (value, [*groups[-1][1], text])
        else:
            groups.append((value, [text]))
    for value, texts in groups:
        axes.annotate(
            "\n".join(reversed(texts)),
            (1.0, value),
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=TEXT,
        )


def points_chart(
    name: str, alt: str, tasks: Mapping[str, Mapping[str, np.ndarray]], variants: Sequence[str], label: str
) -> Chart:
    """One row per variant and a panel per task: a point per run, and mean ± standard error of three or more."""

    def draw() -> Figure:
        columns = min(3, len(tasks))
        rows = math.ceil(len(tasks) / columns)
        figure = blank(_WIDTH if columns == 1 else _WIDE, rows * (0.9 + 0.28 * len(variants)))
        every = list(np.ravel(figure.subplots(rows, columns, sharey=True, squeeze=False)))
        for (task, scores), axes in zip(tasks.items(), every, strict=False):
            for i, variant in enumerate(variants):
                values = scores.get(variant, np.empty(0))
                axes.plot(values, np.full(len(values), i), "o", color=line_style(i)[0], alpha=0.6, markersize=4.5)
                if len(values) > 2:
                    error = standard_error(values)
                    axes.errorbar(values.mean(), i, xerr=error, color=TEXT, fmt="|", capsize=3, markersize=11)
            name_panel(axes, short(task, 44 if columns == 1 else 30))
            _rows(axes, variants, label)
            dress(axes)
        for axes in every[len(tasks) :]:
            axes.set_visible(False)
        return figure

    return Chart(name, alt, draw, "A point per run; the bar is the mean of three or more with its standard error.")


def _rows(axes: Axes, variants: Sequence[str], label: str) -> None:
    """Variants from above to below; few numbers beside each other."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(_TICKS))
    axes.set_yticks(range(len(variants)), [short(variant) for variant in variants])
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.set_xlabel(label)


def aggregates_chart(
    name: str, alt: str, found: Mapping[str, Mapping[str, Estimate]], variants: Sequence[str]
) -> Chart:
    """A panel per aggregate with one interval per variant.

    Args:
        name: of its files.
        alt: what is on it.
        found: estimates by variant, by aggregate.
        variants: in order.
    """

    def draw() -> Figure:
        figure = blank(_WIDE, 0.9 + 0.3 * len(variants))
        for axes, (aggregate, estimates) in zip(
            np.ravel(figure.subplots(1, len(found), sharey=True, squeeze=False)), found.items(), strict=True
        ):
            for i, variant in enumerate(variants):
                if variant in estimates:
                    _draw_interval(axes, i, estimates[variant], line_style(i)[0])
            name_panel(axes, aggregate.replace("_", " "))
            _rows(axes, variants, "")
            axes.margins(x=_MARGIN)
            dress(axes)
        return figure

    return Chart(name, alt, draw, _INTERVALS)


def _draw_interval(axes: Axes, row: int, found: Estimate, colour: str) -> None:
    """A point at the value, and a line with ends, by which an interval without width is seen, too."""
    if found.low is not None and found.high is not None:
        ends, rows = [found.low, found.high], [row, row]
        axes.plot(ends, rows, color=colour, alpha=0.6, linewidth=6, solid_capstyle="butt")
        axes.plot(ends, rows, "|", color=colour, markersize=15, markeredgewidth=2)
    axes.plot([found.value], [row], "o", color=colour, markeredgecolor=TEXT, markersize=6)


def improvement_chart(name: str, alt: str, pairs: Mapping[str, Estimate]) -> Chart:
    """One interval per pair of variants, and the line of chance."""

    def draw() -> Figure:
        figure = blank(_WIDTH, 0.8 + 0.27 * len(pairs))
        axes = figure.subplots()
        for i, found in enumerate(pairs.values()):
            _draw_interval(axes, i, found, LIGHT[0])
        axes.axvline(0.5, color=TEXT, linewidth=0.9, linestyle=":")
        axes.set_xlim(-0.04, 1.04)
        axes.set_yticks(
            range(len(pairs)), [" > ".join(short(part, 24) for part in pair.split(" > ")) for pair in pairs]
        )
        axes.set_ylim(len(pairs) - 0.5, -0.5)
        axes.set_xlabel("probability of improvement")
        dress(axes)
        return figure

    return Chart(name, alt, draw, f"{_INTERVALS} Dotted: neither is better.")


def profile_chart(
    name: str, alt: str, thresholds: np.ndarray, profiles: Mapping[str, Band], variants: Sequence[str], label: str
) -> Chart:
    """The share of runs above each score, one line and band per variant."""

    def draw() -> Figure:
        figure = blank(_WIDTH, 3.2)
        axes = figure.subplots()
        for i, variant in enumerate(variants):
            if variant not in profiles:
                continue
            colour, dashes = line_style(i)
            band = profiles[variant]
            axes.plot(thresholds, band.value, color=colour, linestyle=dashes, linewidth=1.8, label=variant)
            if band.low is not None and band.high is not None:
                axes.fill_between(thresholds, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
        axes.set(xlabel=f"{label} (τ)", ylabel="share of runs above τ", ylim=(-0.02, 1.02))
        dress(axes)
        legend(figure, axes)
        return figure

    return Chart(name, alt, draw)


def survival_chart(
    name: str, alt: str, tasks: Mapping[str, Mapping[str, Survival]], variants: Sequence[str], caption: str
) -> Chart:
    """The share of runs that are not there yet, a panel per task, one falling line per variant.

    Args:
        name: of its files.
        alt: what is on it.
        tasks: survival by variant, by the panel's title.
        variants: in order.
        caption: below it.
    """

    def draw() -> Figure:
        figure, every = _grid(len(tasks), 2.4)
        for (title, found), axes in zip(tasks.items(), every, strict=False):
            for i, variant in enumerate(variants):
                if variant in found:
                    _draw_survival(axes, found[variant], *line_style(i))
            axes.set(xlabel="agent steps", ylabel="runs not there yet", ylim=(-0.02, 1.04))
            name_panel(axes, title)
            axes.locator_params(nbins=_TICKS)
            _thousands(axes)
            dress(axes)
        _legend_of(figure, every[0], variants)
        return figure

    return Chart(name, alt, draw, caption)


def _draw_survival(axes: Axes, curve: Survival, colour: str, dashes: Dashes) -> None:
    """A line that begins at 1 and goes on as long as the longest run was watched."""
    x = np.concatenate([[0.0], curve.agent_steps, [curve.watched]])
    y = np.concatenate([[1.0], curve.share, curve.share[-1:] if len(curve.share) else [1.0]])
    axes.step(x, y, where="post", color=colour, linestyle=dashes, linewidth=1.8)
    if curve.low is not None and curve.high is not None and len(curve.share):
        low, high = (np.concatenate([[1.0], bound, bound[-1:]]) for bound in (curve.low, curve.high))
        axes.fill_between(x, low, high, step="post", color=colour, alpha=0.15, linewidth=0)


def _grid(panels: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with room for so many panels, two in a row, of so many inches each."""
    columns = 1 if panels == 1 else 2
    rows = math.ceil(panels / columns)
    figure = blank(_WIDTH if columns == 1 else _WIDE, (height + 0.7 if columns == 1 else height) * rows)
    every: list[Axes] = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    for axes in every[panels:]:
        axes.set_visible(False)
    return figure, every


def _legend_of(figure: Figure, axes: Axes, variants: Sequence[str]) -> None:
    """One legend for all panels."""
    for i, variant in enumerate(variants):
        colour, dashes = line_style(i)
        axes.plot([], [], color=colour, linestyle=dashes, label=variant, linewidth=2)
    legend(figure, axes)


def _thousands(axes: Axes) -> None:
    from matplotlib.ticker import EngFormatter

    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
