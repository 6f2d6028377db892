"""Pictures of features in the plane and of their spread, as bytes that depend on nothing but the numbers."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rllib_rnd.analysis.extras import import_extra
from rllib_rnd.analysis.spectrum import Spectrum, spectrum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Rooms beyond this many could not be told apart by colour.
_MAX_COLOURS = 20
_DPI = 110
_DASHES = ("-", "--", ":", "-.")  # equal lines lie on each other: what is below is seen through the gaps
_LEGEND_COLUMNS = 5  # below the spread: names such as "baseline: rnd predictor, untrained" are long


@dataclass(frozen=True)
class Chart:
    """A picture and the numbers in it.

    Attributes:
        name: safe as a file's name.
        title: a line.
        png, svg: the picture; the same features give the same bytes.
        numbers: by name.
    """

    name: str
    title: str
    png: bytes
    svg: bytes
    numbers: dict[str, float]


@dataclass(frozen=True)
class Plane:
    """Features in two dimensions.

    Attributes:
        points: ``[B, 2]``.
        shares: share of the variance along each axis; None of t-SNE, whose axes mean nothing.
    """

    points: np.ndarray
    shares: tuple[float, float] | None = None


def projection_chart(
    name: str, features: np.ndarray, plane: Plane, colours: Mapping[str, np.ndarray], method_name: str
) -> Chart:
    """The plane of some features, once per colouring.

    Args:
        name: of the features.
        features: ``[B, D]``.
        plane: they were brought into.
        colours: what points are coloured by, ``[B]`` each; "room" has colours of its own.
        method_name: of how they were brought there.
    """
    measured = spectrum(features)
    numbers = {"points": float(len(features)), **measured.numbers()}
    if plane.shares is not None:
        numbers["variance in the plane"] = sum(plane.shares)
    title = f"{method_name} of the features: {name} ({len(features):,} observations)"

    def draw(figure: Figure) -> None:
        columns = min(3, len(colours))
        grid = figure.subplots(-(-len(colours) // columns), columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, (label, values) in zip(grid.flat, colours.items(), strict=False):
            axes.set_axis_on()
            (_scatter_rooms if label == "room" else _scatter)(figure, axes, plane.points, values)
            axes.set_title(label, fontsize=10)
            axes.set(xticks=[], yticks=[])
            if plane.shares is not None:
                axes.set_xlabel(f"component 1 ({plane.shares[0]:.0%} of the variance)", fontsize=8)
                axes.set_ylabel(f"component 2 ({plane.shares[1]:.0%})", fontsize=8)

    rows = -(-len(colours) // 3)
    png, svg = render(draw, title, (4.4 * min(3, len(colours)), 3.7 * rows + 0.4))
    return Chart(safe(f"{method_name} {name}"), title, png, svg, numbers)


def spread_chart(features: Mapping[str, np.ndarray]) -> Chart:
    """Standard deviation per dimension, eigenvalues and effective rank of several features.

    Args:
        features: ``[B, D]`` by name, of the same observations; B and D may differ.
    """
    spectra = {name: spectrum(values) for name, values in features.items()}
    numbers = {f"{name}: {key}": value for name, found in spectra.items() for key, value in found.numbers().items()}
    title = "Spread of the features"

    def draw(figure: Figure) -> None:
        spread, eigenvalues, ranks = figure.subplots(1, 3)
        for i, (name, found) in enumerate(spectra.items()):
            style = {"label": name, "color": f"C{i % 10}", "lw": 1.5, "ls": _DASHES[i % len(_DASHES)]}
            dimension = np.arange(1, len(found.spread) + 1)
            spread.plot(dimension, _or_nan(found.spread), **style)
            eigenvalues.plot(dimension, _or_nan(found.shares), **style)
        # Beyond this share a direction is rounding.
        eigenvalues.set(ylim=(1e-8, 1.5), ylabel="share of the variance", title="eigenvalues of the covariance")
        spread.set(ylabel="standard deviation", title="spread of each feature, sorted")
        # A logarithm of nothing cannot be drawn.
        scale = "log" if any(found.spread.any() for found in spectra.values()) else "linear"
        for axes in (spread, eigenvalues):
            axes.set(xlabel="dimension", yscale=scale)
            if scale == "log":  # whole numbers, powers of two: of few dimensions there is but one power of ten
                axes.set_xscale("log", base=2)
                axes.xaxis.set_major_formatter("{x:.0f}")
            axes.grid(alpha=0.25)
        _rank_bars(ranks, spectra)
        handles, names = spread.get_legend_handles_labels()  # the same in both
        figure.legend(handles, names, loc="outside lower left", ncols=_LEGEND_COLUMNS, fontsize=8, frameon=False)

    legend_rows = -(-len(spectra) // _LEGEND_COLUMNS)
    png, svg = render(draw, title, (14.0, 3.6 + 0.16 * len(spectra) + 0.2 * legend_rows))
    return Chart("spread", title, png, svg, numbers)


def _rank_bars(axes: Axes, spectra: Mapping[str, Spectrum]) -> None:
    """One bar per features: effective rank, and the participation ratio as a tick."""
    places = np.arange(len(spectra))
    ranks = [found.effective_rank for found in spectra.values()]
    axes.barh(places, ranks, color=[f"C{i % 10}" for i in places], alpha=0.85)
    axes.plot([found.participation_ratio for found in spectra.values()], places, "k|", ms=10)
    for place, rank, found in zip(places, ranks, spectra.values(), strict=True):
        axes.annotate(f" {rank:.1f} of {len(found.spread)}", (rank, place), va="center", fontsize=8)
    axes.set_yticks(places, list(spectra), fontsize=8)
    axes.set(title="effective rank", xlim=(0, 1.35 * max([*ranks, 1.0])))
    axes.set_xlabel("black tick: participation ratio, as snd_feature_rank")
    axes.invert_yaxis()


def _scatter(figure: Figure, axes: Axes, points: np.ndarray, values: np.ndarray) -> None:
    """Points coloured by numbers; numbers that are all alike get one colour and no scale."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(1.0, abs(high)):
        axes.scatter(points[:, 0], points[:, 1], s=7, c="0.5", linewidths=0, rasterized=True)
        axes.text(0.02, 0.98, f"all {high:.3g}", transform=axes.transAxes, va="top", fontsize=8)
        return
    drawn = axes.scatter(points[:, 0], points[:, 1], s=7, c=values, cmap="viridis", linewidths=0, rasterized=True)
    figure.colorbar(drawn, ax=axes, pad=0.02).ax.tick_params(labelsize=8)


def _scatter_rooms(figure: Figure, axes: Axes, points: np.ndarray, rooms: np.ndarray) -> None:
    """Points coloured by room, the rooms in a legend unless there are too many."""
    known = np.unique(rooms)
    if len(known) > _MAX_COLOURS:
        _scatter(figure, axes, points, rooms)
        return
    for i, room in enumerate(known):
        where = rooms == room
        label = f"{room if room >= 0 else '?'} ({where.sum()})"
        colour = f"C{i}" if len(known) <= 10 else _tab20(i)
        axes.scatter(points[where, 0], points[where, 1], s=7, color=colour, linewidths=0, label=label, rasterized=True)
    axes.legend(fontsize=7, markerscale=2, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _tab20(i: int) -> tuple[float, float, float]:
    from matplotlib import colormaps

    red, green, blue, _ = colormaps["tab20"](i)
    return red, green, blue


def _or_nan(values: np.ndarray) -> np.ndarray:
    """For a logarithmic axis: zeros are not there."""
    return np.where(values > 0.0, values, np.nan)


def render(draw: Callable[[Figure], None], title: str, size: tuple[float, float]) -> tuple[bytes, bytes]:
    """A figure as PNG and as SVG, the same bytes whenever it is drawn.

    Args:
        draw: fills it.
        title: above everything.
        size: in inches.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    import_extra("matplotlib.figure", "pictures", "plots")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Names inside an SVG are drawn from this salt, not from a random one.
    with rc_context({"svg.hashsalt": "rllib_rnd", "path.simplify": True}):
        figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=12)
        draw(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it has found everything's place, once for both files
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return png.getvalue(), svg.getvalue()


def safe(name: str) -> str:
    """A name as part of a file's: letters, digits and underscores."""
    return re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
