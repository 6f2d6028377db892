"""The heat map of probes: a row to the layer, a column to the variable, controls beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rllib_rnd.analysis.probing.features import PIXELS
from rllib_rnd.analysis.probing.probes import ProbeRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHUFFLED = "shuffled labels"
_LABELS = {"r2": "R²", "balanced_accuracy": "bal. acc."}


def title_of(row: ProbeRow) -> str:
    """What a row of the heat map is called: ``rnd / policy``, ``pixels``, ``shuffled labels / policy``."""
    if row.agent == PIXELS:
        return PIXELS
    return f"{SHUFFLED if row.labels == 'shuffled' else row.agent} / {row.layer}"


def above_chance(score: float, chance: float) -> float:
    """A score as a share of what is to be known: 0 is chance, 1 is all, and what is worse than chance is 0."""
    return float(np.clip((score - chance) / (1.0 - chance), 0.0, 1.0)) if chance < 1.0 else 0.0


def probe_figure(rows: Sequence[ProbeRow], env: str) -> Figure:
    """Draws a heat map for each kind of probe, side by side; colours are scores above chance, numbers are scores.

    Args:
        rows: of `probe`.
        env: name of the environment.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(row.model for row in rows))
    titles = list(dict.fromkeys(title_of(row) for row in rows))
    titles.sort(key=lambda title: title.startswith(SHUFFLED))  # below the others, whose order stays
    variables = list(dict.fromkeys((row.variable, row.metric) for row in rows))
    width = 2.6 + len(models) * (0.4 + 0.78 * len(variables))
    figure = Figure(figsize=(max(width, 6.0), 1.9 + 0.32 * len(titles)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
    for ax, model in zip(axes, models, strict=True):
        grid = np.full((len(titles), len(variables)), np.nan)
        for row in rows:
            if row.model != model:
                continue
            at = titles.index(title_of(row)), variables.index((row.variable, row.metric))
            grid[at] = above_chance(row.score, row.chance)
            ax.text(at[1], at[0], f"{row.score:.2f}", ha="center", va="center", fontsize=7,
                    color="white" if grid[at] < 0.6 else "black")  # fmt: skip
        image = ax.imshow(grid, cmap="viridis", vmin=0.0, vmax=1.0, aspect="auto")
        names = [f"{name} ({_LABELS[metric]})" for name, metric in variables]
        ax.set_xticks(range(len(variables)), names, rotation=40, ha="right", fontsize=8)
        ax.set_yticks(range(len(titles)), titles, fontsize=8)
        ax.set_title(f"{model} probe", fontsize=9)
    figure.colorbar(image, ax=list(axes), label="score above chance (0: chance, 1: all)", fraction=0.04)
    figure.suptitle(f"What features know: {env}", fontsize=10)
    return figure
