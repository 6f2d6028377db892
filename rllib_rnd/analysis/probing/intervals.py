"""The score of a probe on held-out games, and an interval that holds the true one about as often as it says.

Few games are held out, and states of one game are not independent, so games are what is counted. A percentile bootstrap
over them is too narrow below 40 or so; the jackknife with Student's t, on a scale on which scores scatter evenly, is
not (`python -m benchmarks.probe_intervals` measures both).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rllib_rnd.envs.atari_ram import Kind

LEVEL = 0.95

_Map = Callable[[np.ndarray], np.ndarray]


class Score(NamedTuple):
    """A score, NaN where there is nothing to predict, and the bounds of its interval, NaN where one game tells it."""

    score: float
    low: float
    high: float


def measured(truth: np.ndarray, predicted: np.ndarray, episode: np.ndarray, kind: Kind) -> Score:
    """Score of predictions, and its 95 % interval over games.

    Args:
        truth, predicted: ``[B]``.
        episode: ``[B]``, the game of each.
        kind: number (R2: 1 less squared errors over squared deviations from the mean) or category (balanced accuracy:
            mean over categories of the share that is recognised).
    """
    if len(np.unique(truth)) < 2:  # nothing to predict
        return Score(math.nan, math.nan, math.nan)
    return jackknife(sums_by_game(truth, predicted, episode, kind), kind)


def jackknife(sums: np.ndarray, kind: Kind) -> Score:
    """Score of games, and its interval by leaving out one game after the other (Tukey 1958).

    The spread of those scores, times the quantile of Student's t for one game less, is the half width, on the scale of
    `_even_scale`.

    Args:
        sums: ``[G, sums]`` of `sums_by_game`.
        kind: see `measured`.
    """
    total = sums.sum(axis=0, keepdims=True)
    score = float(score_of_sums(total, kind)[0])
    without = score_of_sums(total - sums, kind)
    # A label that is the same in all games but one has no score without that one, and the others' say nothing of it.
    if len(without) < 2 or not np.isfinite([score, *without]).all():
        return Score(score, math.nan, math.nan)
    from scipy.stats import t

    there, back = _even_scale(kind, float(total[0, : total.shape[1] // 2].sum()))
    spread = there(without)
    error = math.sqrt((len(spread) - 1) * float(np.var(spread)))
    half = float(t.ppf(0.5 + LEVEL / 2.0, len(sums) - 1)) * error
    middle = there(np.array([score]))
    # The score itself lies within, though both ways may round.
    return Score(score, min(score, float(back(middle - half)[0])), max(score, float(back(middle + half)[0])))


def sums_by_game(truth: np.ndarray, predicted: np.ndarray, episode: np.ndarray, kind: Kind) -> np.ndarray:
    """What scores are made of, added up over each game's states: ``[G, sums]``."""
    games, game = np.unique(episode, return_inverse=True)
    if kind == "number":
        columns = [np.ones_like(truth), truth, truth**2, (truth - predicted) ** 2]
    else:
        categories = np.unique(truth)
        there = truth == categories[:, None]
        columns = [*there.astype(np.float64), *(there & (predicted == truth)).astype(np.float64)]
    return np.stack([np.bincount(game, weights=column, minlength=len(games)) for column in columns], axis=1)


def score_of_sums(sums: np.ndarray, kind: Kind) -> np.ndarray:
    """``[draws, sums]`` -> ``[draws]``; NaN where there is no score."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "number":
            count, total, squares, errors = sums.T
            deviation = squares - total**2 / count
            varied = deviation > 1e-9 * np.maximum(squares, 1e-30)
            return np.where(varied, 1.0 - np.maximum(errors, 0.0) / np.where(varied, deviation, 1.0), np.nan)
        there, right = np.split(sums, 2, axis=1)
        seen = there > 0.5  # counts of states
        shares = np.where(seen, right / np.where(seen, there, 1.0), 0.0)
        return np.asarray(np.where(seen.any(axis=1), shares.sum(axis=1) / seen.sum(axis=1), np.nan))


def _even_scale(kind: Kind, states: float) -> tuple[_Map, _Map]:
    """A scale on which scores scatter evenly, with the better end up, and the way back from it.

    Of R2 the cube root of its ratio of squares (Wilson and Hilferty 1931); of shares their log odds, with half of one
    more state recognised, so that all of them have some.
    """
    if kind == "number":
        return (
            lambda score: np.asarray(-np.cbrt(np.maximum(1.0 - score, 0.0))),
            lambda root: np.asarray(1.0 - np.maximum(-root, 0.0) ** 3),
        )

    def odds(score: np.ndarray) -> np.ndarray:
        return np.log((states * score + 0.5) / (states * (1.0 - score) + 0.5))

    def share(log_odds: np.ndarray) -> np.ndarray:
        return np.clip(((states + 1.0) / (1.0 + np.exp(-log_odds)) - 0.5) / states, 0.0, 1.0)

    return odds, share
