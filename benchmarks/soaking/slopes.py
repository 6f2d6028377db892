"""How fast quantities of processes grow: robust slopes with intervals, per life of a process, after its warm-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import theilslopes

#: Seconds at the beginning of a process that do not count, and the share of a short life.
WARM_UP_S, WARM_UP_SHARE = 600.0, 0.25
_BIN_S = 60.0  # neighbouring samples say much the same: medians of minutes are nearer to independent
_FEWEST = 5


@dataclass(frozen=True)
class Slope:
    """How fast something grows.

    Attributes:
        per_hour: Theil-Sen slope; low, high: its 95 % interval.
        hours: of the life that it was measured in, without warm-up.
        first, last: medians of the first and last minute of it.
    """

    per_hour: float
    low: float
    high: float
    hours: float
    first: float
    last: float

    @property
    def grows(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0.0


def slope(seconds: Sequence[float], values: Sequence[float]) -> Slope | None:
    """The slope of one process's series; None if it lived too briefly to say.

    Args:
        seconds: of the samples, growing; the first is taken for the start of the process.
        values: at these times.
    """
    t, v = np.asarray(seconds, dtype=float), np.asarray(values, dtype=float)
    if len(t) < 2:
        return None
    warm = t >= t[0] + min(WARM_UP_S, WARM_UP_SHARE * (t[-1] - t[0]))
    t, v = t[warm], v[warm]
    bins = ((t - t[0]) // _BIN_S).astype(int)
    numbers = np.unique(bins)
    if len(numbers) < _FEWEST:
        return None
    hours = np.array([np.median(t[bins == b]) for b in numbers]) / 3600.0
    medians = np.array([np.median(v[bins == b]) for b in numbers])
    found = theilslopes(medians, hours, alpha=0.95)
    return Slope(
        float(found.slope),
        float(found.low_slope),
        float(found.high_slope),
        float(t[-1] - t[0]) / 3600.0,
        float(medians[0]),
        float(medians[-1]),
    )


def slopes_by_role(samples: Sequence[Mapping[str, str]], column: str) -> dict[str, tuple[Slope, int]]:
    """The slope of each role's longest-lived process, and how many processes there were in that role.

    Args:
        samples: rows with ``t``, ``role``, ``pid`` and ``column``.
        column: what is looked at.
    """
    series: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for sample in samples:
        times, values = series.setdefault((sample["role"], sample["pid"]), ([], []))
        times.append(float(sample["t"]))
        values.append(float(sample[column]))
    found: dict[str, tuple[Slope, int]] = {}
    for role in dict.fromkeys(role for role, _ in series):
        lives = [of for (name, _), of in series.items() if name == role]
        longest = max(lives, key=lambda of: of[0][-1] - of[0][0])
        measured = slope(*longest)
        if measured is not None:
            found[role] = measured, len(lives)
    return found
