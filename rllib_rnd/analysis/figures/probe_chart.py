"""The heat map of probes: a row to the layer, a column to the variable, controls beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rllib_rnd.analysis.probing.features import PIXELS
from rllib_rnd.analysis.probing.results import NO_BETTER, SHUFFLED, ProbeRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_SHUFFLED_LABELS = "shuffled labels"
_LABELS = {"r2": "R²", "balanced_accuracy": "bal. acc."}


def title_of(row: ProbeRow) -> str:
    """What a row of the heat map is called: ``rnd / policy``, ``pixels``, ``shuffled labels / policy``."""
    if row.agent == PIXELS:
        return PIXELS
    return f"{_SHUFFLED_LABELS if row.labels == SHUFFLED else row.agent} / {row.layer}"


def shown_rows(rows: Sequence[ProbeRow]) -> list[ProbeRow]:
    """What tables and pictures show: all scores, and below them those of shuffled labels of the first agent.

    The other controls only say which scores are no better than they are; in files they are all.
    """
    first = rows[0].agent if rows else ""
    shown = [row for row in rows if row.labels != SHUFFLED or row.agent == first]
    return sorted(shown, key=lambda row: row.labels == SHUFFLED)


def above_chance(score: float, chance: float) -> float:
    """A score as a share of what is to be known: 0 is chance or worse, 1 is all; NaN stays."""
    return float(np.clip((score - chance) / (1.0 - chance), 0.0, 1.0)) if chance < 1.0 else 0.0


def probe_figure(rows: Sequence[ProbeRow], env: str) -> Figure:
    """Draws a heat map for each kind of probe, side by side; colours are scores above chance, numbers are scores.

    Scores that are no better than shuffled are hatched.

    Args:
        rows: of `fit`.
        env: name of the environment.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = shown_rows(rows)
    models = list(dict.fromkeys(row.model for row in rows))
    titles = list(dict.fromkeys(title_of(row) for row in rows))
    variables = list(dict.fromkeys((row.variable, row.metric) for row in rows))
    width = 2.6 + len(models) * (0.4 + 0.78 * len(variables))
    figure = Figure(figsize=(max(width, 6.0), 2.2 + 0.32 * len(titles)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
    for ax, model in zip(axes, models, strict=True):
        image = _draw_scores(ax, [row for row in rows if row.model == model], titles, variables)
        names = [f"{name} ({_LABELS[metric]})" for name, metric in variables]
        ax.set_xticks(range(len(variables)), names, rotation=40, ha="right", fontsize=8)
        ax.set_yticks(range(len(titles)), titles, fontsize=8)
        ax.set_title(f"{model} probe", fontsize=9)
    figure.colorbar(image, ax=list(axes), label="score above chance (0: chance, 1: all)", fraction=0.04)
    figure.suptitle(f"What features know: {env}", fontsize=10)
    if any(row.verdict == NO_BETTER for row in rows):
        figure.supxlabel(f"hatched: {NO_BETTER}", fontsize=8)
    return figure


def _draw_scores(
    ax: Axes, rows: Sequence[ProbeRow], titles: Sequence[str], variables: Sequence[tuple[str, str]]
) -> AxesImage:
    """One kind of probe, layers down and variables across."""
    from matplotlib.patches import Rectangle

    grid = np.full((len(titles), len(variables)), np.nan)
    for row in rows:
        y, x = titles.index(title_of(row)), variables.index((row.variable, row.metric))
        grid[y, x] = above_chance(row.score, row.chance)
        color = "white" if grid[y, x] < 0.6 else "black"
        backing = None
        if row.verdict == NO_BETTER:
            hatched = Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="////", edgecolor="0.6", linewidth=0)
            ax.add_patch(hatched)
            backing = {"facecolor": "0.25", "edgecolor": "none", "pad": 1.0}
            color = "white"
        text = "-" if np.isnan(row.score) else f"{row.score:.2f}"
        ax.text(x, y, text, ha="center", va="center", fontsize=7, color=color, bbox=backing)
    return ax.imshow(grid, cmap="viridis", vmin=0.0, vmax=1.0, aspect="auto")
