"""What a few runs say about an algorithm: aggregates over tasks, bootstrap intervals, profiles, survival curves.

Scores of one variant are a sequence with one float array per task, ``[..., runs of that task]``; tasks may have
different numbers of runs. A leading axis is that of resamples: every aggregate works on the scores and on all their
resamples alike. Aggregates as in Agarwal et al. 2021 (https://arxiv.org/abs/2108.13264), survival curves as in
Kaplan and Meier 1958 with the interval of Kalbfleisch and Prentice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Scores = Sequence[np.ndarray]
Aggregate = Callable[[Scores], np.ndarray]

#: Of fewer there is no interval: points only.
FEWEST_SEEDS = 3
CONFIDENCE = 0.95
RESAMPLES = 2000
_ROUNDING = 1e-12  # of a mean
_NORMAL = 1.959963984540054  # the quantile of the normal distribution that belongs to CONFIDENCE


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: computed of all runs.
        low, high: of the 95 % bootstrap interval; None where there are too few runs for one.
    """

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:,.{decimals(0.0, self.value)}f}"
        digits = decimals(self.high - self.low, self.value)
        return f"{self.value:,.{digits}f} [{self.low:,.{digits}f}, {self.high:,.{digits}f}]"


def decimals(width: float, value: float = 1.0) -> int:
    """Digits behind the point that an error or an interval of this width leaves worth showing.

    Without any width it is two digits, or as many as a small value takes to be seen.
    """
    if not width > 0.0 or not math.isfinite(width):
        return decimals(abs(value)) if 0.0 < abs(value) < 0.1 else 2
    return max(1 - math.floor(math.log10(width)), 0)


# --- aggregates over tasks ------------------------------------------------------------------------------------------


def mean(scores: Scores) -> np.ndarray:
    """The mean over tasks of the mean over runs, ``[...]``."""
    return np.mean([task.mean(axis=-1) for task in scores], axis=0)


def median(scores: Scores) -> np.ndarray:
    """The median over tasks of the mean over runs, ``[...]``."""
    return np.asarray(np.median([task.mean(axis=-1) for task in scores], axis=0))


def iqm(scores: Scores) -> np.ndarray:
    """The interquartile mean, ``[...]``: the mean of the middle half of all runs of all tasks together.

    A quarter of the runs, rounded down, is left out at either end.
    """
    pooled = np.sort(_pooled(scores), axis=-1)
    cut = pooled.shape[-1] // 4
    return np.asarray(pooled[..., cut : pooled.shape[-1] - cut].mean(axis=-1))


def optimality_gap(scores: Scores, target: float = 1.0) -> np.ndarray:
    """How far runs stay below a target on average, ``[...]``; what is above it makes up for nothing."""
    return np.asarray(target - np.minimum(_pooled(scores), target).mean(axis=-1))


def profile(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """The share of runs that score more than each threshold, ``[..., thresholds]``."""
    pooled = np.sort(_pooled(scores), axis=-1)
    rows = pooled.reshape(-1, pooled.shape[-1])
    above = [pooled.shape[-1] - np.searchsorted(row, thresholds, side="right") for row in rows]
    return np.reshape(above, (*pooled.shape[:-1], len(thresholds))) / pooled.shape[-1]


def probability_of_improvement(scores: Scores, others: Scores) -> np.ndarray:
    """How probably a run scores more than one of another variant on the same task, ``[...]``, averaged over tasks.

    It is Mann and Whitney's statistic; equal scores count half.
    """
    wins = []
    for mine, theirs in zip(scores, others, strict=True):
        difference = mine[..., :, None] - theirs[..., None, :]
        wins.append(((difference > 0) + 0.5 * (difference == 0)).mean(axis=(-2, -1)))
    return np.asarray(np.mean(wins, axis=0))


def _pooled(scores: Scores) -> np.ndarray:
    """All runs of all tasks, ``[..., runs]``."""
    return np.concatenate([np.asarray(task, dtype=np.float64) for task in scores], axis=-1)


AGGREGATES: Mapping[str, Aggregate] = {"iqm": iqm, "median": median, "mean": mean, "optimality_gap": optimality_gap}


# --- intervals ------------------------------------------------------------------------------------------------------


def resampled(scores: Scores, generator: np.random.Generator, times: int = RESAMPLES) -> list[np.ndarray]:
    """Runs drawn with replacement within each task, each ``[times, runs]``: the stratified bootstrap."""
    return [task[generator.integers(len(task), size=(times, len(task)))] for task in scores]


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower and upper bound of what resamples came to, percentiles over the first axis."""
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100.0 - tail], axis=0)
    return low, high


def enough(*variants: Scores) -> bool:
    """Whether every task has runs enough for an interval."""
    return all(len(task) >= FEWEST_SEEDS for scores in variants for task in scores)


def estimate(aggregate: Aggregate, scores: Scores, seed: int = 0, times: int = RESAMPLES) -> Estimate:
    """An aggregate of a variant's scores with its stratified bootstrap interval; the same seed, the same interval."""
    value = float(aggregate(scores))
    if not enough(scores):
        return Estimate(value)
    low, high = interval(aggregate(resampled(scores, np.random.default_rng(seed), times)))
    return Estimate(value, float(low), float(high))


def improvement(scores: Scores, others: Scores, seed: int = 0, times: int = RESAMPLES) -> Estimate:
    """`probability_of_improvement` with its interval; both variants are resampled, independently."""
    value = float(probability_of_improvement(scores, others))
    if not enough(scores, others):
        return Estimate(value)
    generator = np.random.default_rng(seed)
    drawn = resampled(scores, generator, times), resampled(others, generator, times)
    low, high = interval(probability_of_improvement(*drawn))
    return Estimate(value, float(low), float(high))


@dataclass(frozen=True)
class Band:
    """A curve with its interval, each ``[points]``; ``low`` and ``high`` are None where there are too few runs."""

    value: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def profile_band(scores: Scores, thresholds: np.ndarray, seed: int = 0, times: int = RESAMPLES) -> Band:
    """`profile` with its stratified bootstrap interval at every threshold."""
    value = profile(scores, thresholds)
    if not enough(scores):
        return Band(value)
    return Band(value, *interval(profile(resampled(scores, np.random.default_rng(seed), times), thresholds)))


# --- one task -------------------------------------------------------------------------------------------------------


def standard_error(values: np.ndarray) -> float:
    """Of the mean of runs: their standard deviation (with n - 1) over the root of their number; NaN of one run."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def mean_of_runs(values: np.ndarray) -> float:
    """Their mean; the same for the same scores in any order (a plain sum rounds by order, which would break ties)."""
    return math.fsum(values) / len(values) if len(values) else math.nan


def alike(one: float, other: float) -> bool:
    """Whether two means are the same number but for rounding."""
    return math.isclose(one, other, rel_tol=_ROUNDING)


def winners(means: Mapping[str, float]) -> list[str]:
    """The names with the largest mean, more than one where they are equal.

    NaN is no mean, and one alone has beaten nobody.
    """
    known = {name: value for name, value in means.items() if not math.isnan(value)}
    best = max(known.values(), default=math.nan)
    return [name for name, value in known.items() if alike(value, best)] if len(known) > 1 else []


def wins(tasks: Mapping[str, Mapping[str, float]]) -> dict[str, int]:
    """Tasks that each variant alone has the largest mean of; a tie is nobody's, nor is a task with one variant.

    Args:
        tasks: means by variant, by task.
    """
    counts = {name: 0 for means in tasks.values() for name in means}
    for means in tasks.values():
        if len(best := winners(means)) == 1:
            counts[best[0]] += 1
    return counts


def normalised(scores: np.ndarray, random: float, reference: float) -> np.ndarray:
    """0 is what random actions reach, 1 the reference (a human, a heuristic)."""
    return (scores - random) / (reference - random)


# --- steps to a threshold -------------------------------------------------------------------------------------------


def steps_to(agent_steps: np.ndarray, values: np.ndarray, threshold: float) -> tuple[float, bool]:
    """When a run first reached a threshold, or how long it was watched without reaching it.

    Args:
        agent_steps: of the rows, ``[rows]``, growing.
        values: of a metric, ``[rows]``, NaN where there is none.
        threshold: enough.

    Returns:
        Agent steps, and whether it was reached.
    """
    reached = np.flatnonzero(values >= threshold)
    if len(reached):
        return float(agent_steps[reached[0]]), True
    return (float(agent_steps[-1]) if len(agent_steps) else 0.0), False


@dataclass(frozen=True)
class Survival:
    """The share of runs that a threshold is not reached by, against agent steps; it falls at each of its steps.

    Attributes:
        agent_steps: where it falls, ``[steps]``, growing.
        share: not there yet from then on, ``[steps]``.
        low, high: of the 95 % interval; None where there are too few runs for one.
        runs: how many there are.
        reached: how many of them reached it.
        watched: agent steps of the longest run.
    """

    agent_steps: np.ndarray
    share: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    runs: int
    reached: int
    watched: float

    @property
    def median(self) -> float | None:
        """Agent steps after which half of the runs are there; None if they never are."""
        there = np.flatnonzero(self.share <= 0.5 + 1e-12)
        return float(self.agent_steps[there[0]]) if len(there) else None


def survival(agent_steps: Sequence[float], reached: Sequence[bool]) -> Survival:
    """Kaplan and Meier's estimate: runs that ended early count as long as they were watched.

    Args:
        agent_steps: when each run reached the threshold or ended, ``[runs]``.
        reached: which of the two, ``[runs]``.
    """
    ends, events = np.asarray(agent_steps, dtype=np.float64), np.asarray(reached, dtype=bool)
    times = np.unique(ends[events])
    at_risk = np.array([(ends >= time).sum() for time in times])
    falls = np.array([((ends == time) & events).sum() for time in times])
    share = np.cumprod(1.0 - falls / np.maximum(at_risk, 1))
    low = high = None
    if len(ends) >= FEWEST_SEEDS:
        low, high = _log_log_interval(share, falls, at_risk)
    return Survival(times, share, low, high, len(ends), int(events.sum()), float(ends.max(initial=0.0)))


def _log_log_interval(share: np.ndarray, falls: np.ndarray, at_risk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds within 0 and 1 from Greenwood's variance of log(-log(share)); of nothing left they are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.cumsum(falls / (at_risk * (at_risk - falls)))
        width = _NORMAL * np.sqrt(variance) / np.abs(np.log(share))
        low, high = share ** np.exp(width), share ** np.exp(-width)
    gone = share <= 0.0
    return np.where(gone, 0.0, low), np.where(gone, 0.0, high)
