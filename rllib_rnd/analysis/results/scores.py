"""Tables of scores: a number per task, variant and seed, from runs or a CSV file; and what they are held against."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rllib_rnd.analysis.results.groups import Variant

_MORE_IS_BETTER = re.compile(r"(evaluation_)?return|score|progress|rooms|positions")


def more_is_better(metric: str) -> bool:
    """Whether the larger value of a metric is the better one; of most it is neither."""
    return _MORE_IS_BETTER.match(metric) is not None


@dataclass(frozen=True)
class ScoreTable:
    """Scores.

    Attributes:
        metric: what they are.
        scores: ``[task][variant]`` -> float64 ``[seeds]``; a variant that has not played a task is not there.
        references: ``[task]`` -> {"random": score, "human": score}, where known.
        groups: ``[task]`` -> group of tasks (a column of a user's CSV), where known.
        statistic: what each number is of its run: ``last``, ``mean``, ``best``.
    """

    metric: str
    scores: Mapping[str, Mapping[str, np.ndarray]]
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    statistic: str = "last"

    @property
    def tasks(self) -> list[str]:
        """In the order of the source."""
        return list(self.scores)

    @property
    def variants(self) -> list[str]:
        """In the order of their first task."""
        return list(dict.fromkeys(variant for row in self.scores.values() for variant in row))


def scores_of(tasks: Mapping[str, Sequence[Variant]], metric: str) -> ScoreTable:
    """Returns the final value of a metric of every run.

    Args:
        tasks: variants by task, as `grouped` returns them.
        metric: by its short name.
    """
    scores = {
        task: {variant.name: np.array([run.final(metric) for run in variant.runs]) for variant in variants}
        for task, variants in tasks.items()
    }
    return ScoreTable(metric, scores)
