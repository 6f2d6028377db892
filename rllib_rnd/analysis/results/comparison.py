"""Variants of one task side by side: what each came to, and by how much one is ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.statistics import (
    RESAMPLES,
    Estimate,
    alike,
    enough,
    estimate,
    improvement,
    interval,
    mean,
    resampled,
)


@dataclass(frozen=True)
class Side:
    """What a variant came to.

    Attributes:
        name: of the variant.
        scores: the last value of the metric of each run that has one, by seed.
        result: their mean, with an interval of three or more.
        missing: runs without a value.
    """

    name: str
    scores: np.ndarray
    result: Estimate
    missing: int


@dataclass(frozen=True)
class Lead:
    """How two variants differ.

    Attributes:
        ahead, behind: names; the one with the larger mean is ahead.
        by: difference of the means.
        probability: that a run of the one is above a run of the other.
        shown: whether the seeds show a difference: the interval of ``by`` lies above 0; None: too few to say.
    """

    ahead: str
    behind: str
    by: Estimate
    probability: Estimate
    shown: bool | None


def sides(variants: Sequence[Variant], metric: str) -> list[Side]:
    """Variants with their final scores, the largest mean first; those without any score last."""
    found = []
    for variant in variants:
        finals = np.array([run.final(metric) for run in variant.runs])
        scores = finals[~np.isnan(finals)]
        result = estimate(mean, [scores]) if len(scores) else Estimate(float("nan"))
        found.append(Side(variant.name, scores, result, int(np.isnan(finals).sum())))
    return sorted(found, key=lambda side: (len(side.scores) == 0, -side.result.value))


def lead(first: Side, second: Side, seed: int = 0) -> Lead:
    """Compares two sides that have scores; bootstrap over runs, the same seed gives the same intervals."""
    ahead, behind = (first, second) if first.result.value >= second.result.value else (second, first)
    by = 0.0 if alike(ahead.result.value, behind.result.value) else ahead.result.value - behind.result.value
    probability = improvement([ahead.scores], [behind.scores], seed)
    if not enough([ahead.scores], [behind.scores]):
        return Lead(ahead.name, behind.name, Estimate(by), probability, None)
    generator = np.random.default_rng(seed)
    drawn = [resampled([side.scores], generator, RESAMPLES)[0].mean(axis=-1) for side in (ahead, behind)]
    low, high = (float(bound) for bound in interval(drawn[0] - drawn[1]))
    return Lead(ahead.name, behind.name, Estimate(by, low, high), probability, low > 0.0)
