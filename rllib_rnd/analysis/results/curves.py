"""Metrics of runs against agent steps, frames or hours: one line per run, and their mean with its standard error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rllib_rnd.analysis.results.run import SECONDS_PER_HOUR, Run
from rllib_rnd.analysis.results.statistics import FEWEST_SEEDS

AXES = ("agent steps", "frames", "hours")
_POINTS = 200  # of a line: a figure is about so many pixels wide

Line = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Curve:
    """What the runs of a variant did.

    Attributes:
        name: the variant's.
        lines: x and y of each run, each ``[points]``.
        mean: x, mean and standard error, as far as every run goes; None of fewer than three runs.
    """

    name: str
    lines: tuple[Line, ...]
    mean: tuple[np.ndarray, np.ndarray, np.ndarray] | None


def axis_values(run: Run, axis: str) -> np.ndarray | None:
    """Where the rows of a run stand on an axis, ``[rows]``; None if the run does not tell.

    Args:
        run: any.
        axis: one of `AXES`.
    """
    if axis == "hours":
        seconds = run.metrics.get("time_total_s")
        return None if seconds is None else seconds / SECONDS_PER_HOUR
    steps = run.metrics.get("agent_steps")
    if steps is None or axis == "agent steps":
        return steps
    return None if run.frames_per_step is None else steps * run.frames_per_step


def line_of(run: Run, metric: str, axis: str, points: int = _POINTS) -> Line | None:
    """A metric of a run against an axis, thinned out to so many points; None where nothing is known of it."""
    x, y = axis_values(run, axis), run.metrics.get(metric)
    if x is None or y is None:
        return None
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return None
    x, y = x[known], y[known]
    if len(x) <= points:
        return x, y
    grid = np.linspace(x[0], x[-1], points)
    return grid, np.interp(grid, x, y)


def curve_of(name: str, runs: Sequence[Run], metric: str, axis: str) -> Curve | None:
    """The curve of a variant; None where no run knows the metric or the axis."""
    lines = [line for run in runs if (line := line_of(run, metric, axis)) is not None]
    return Curve(name, tuple(lines), mean_of(lines)) if lines else None


def mean_of(lines: Sequence[Line], points: int = _POINTS) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Grid, mean and standard error over runs from where the last begins to where the first ends.

    Beyond that the mean would be of other runs, and jump where one drops out.
    """
    if len(lines) < FEWEST_SEEDS:
        return None
    start, end = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    if end <= start:
        return None
    grid = np.linspace(start, end, points)
    values = np.stack([np.interp(grid, x, y) for x, y in lines])
    return grid, values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(lines))
