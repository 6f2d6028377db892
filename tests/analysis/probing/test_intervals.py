"""Intervals of scores over games: by hand, where there is none, and how often they hold the true score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from benchmarks.probe_intervals import POOLS, coverage
from rllib_rnd.analysis.probing.intervals import jackknife, measured, score_of_sums
from rllib_rnd.envs.atari_ram import Kind

USED = "jackknife (used)"
# Quantile of Student's t that 95 % lie within, for two and three games.
T1, T2 = float(t.ppf(0.975, 1)), float(t.ppf(0.975, 2))


def test_r2_and_its_interval_by_hand() -> None:
    """Three games of two states: squared errors 0, 1 and 2; the pooled mean is 0 with and without any of them."""
    truth = np.array([-1.0, 1.0, -2.0, 2.0, -3.0, 3.0])
    predicted = np.array([-1.0, 1.0, -2.0, 1.0, -2.0, 2.0])
    found = measured(truth, predicted, np.array([4, 4, 7, 7, 9, 9]), "number")
    assert found.score == pytest.approx(1.0 - 3.0 / 28.0)
    # Without each game: errors 3, 2, 1 over squared deviations 26, 20, 10; the scale is the cube root.
    roots = np.cbrt([3.0 / 26.0, 2.0 / 20.0, 1.0 / 10.0])
    half = T2 * math.sqrt(2.0 / 3.0 * float(((roots - roots.mean()) ** 2).sum()))
    middle = float(np.cbrt(3.0 / 28.0))
    assert found.low == pytest.approx(1.0 - (middle + half) ** 3)
    assert found.high == pytest.approx(1.0 - (middle - half) ** 3)
    assert found.low < found.score < found.high


def test_balanced_accuracy_and_its_interval_by_hand() -> None:
    truth = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 1.0])
    predicted = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    found = measured(truth, predicted, np.array([0, 0, 0, 0, 1, 1]), "category")
    assert found.score == pytest.approx((3 / 4 + 1 / 2) / 2)
    # Game 0 alone: (2/3 + 1) / 2; game 1 alone: (1 + 0) / 2. The scale is log odds of six states and half a one.
    odds = [math.log((6.0 * s + 0.5) / (6.0 * (1.0 - s) + 0.5)) for s in (5 / 6, 1 / 2, 5 / 8)]
    half = T1 * abs(odds[0] - odds[1]) / 2.0
    low, high = ((7.0 / (1.0 + math.exp(-odds[2] + sign * half)) - 0.5) / 6.0 for sign in (1.0, -1.0))
    assert (found.low, found.high) == (pytest.approx(max(low, 0.0)), pytest.approx(min(high, 1.0)))
    assert 0.0 <= found.low < found.score < found.high <= 1.0


def test_one_game_tells_no_interval() -> None:
    """It is alone, or the only one in which the label varies."""
    one = measured(np.array([1.0, 2.0]), np.array([1.0, 1.5]), np.array([3, 3]), "number")
    assert one.score == pytest.approx(0.5) and math.isnan(one.low) and math.isnan(one.high)
    truth, episode = np.array([1.0, 2.0, 1.0, 1.0]), np.array([0, 0, 1, 1])
    assert math.isnan(measured(truth, truth + 0.1, episode, "number").low)


def test_of_many_games_one_that_alone_tells_gives_no_interval_either() -> None:
    """The others have nothing to tell: that they all agree is no certainty."""
    episode = np.repeat(np.arange(12), 20)
    truth = np.where((episode == 3) & (np.arange(240) % 2 == 0), 1.0, 0.0)
    found = measured(truth, np.where(episode == 3, 0.8 * truth, truth), episode, "number")
    assert found.score > 0.9 and math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.parametrize("kind", ["number", "category"])
def test_labels_that_never_vary_have_no_score(kind: Kind) -> None:
    """To say always the same would be right of every game."""
    episode = np.repeat(np.arange(12), 20)
    assert all(map(math.isnan, measured(np.zeros(240), np.zeros(240), episode, kind)))


def test_all_right_in_all_games_is_one_without_spread() -> None:
    truth, episode = np.tile([0.0, 1.0], 8), np.repeat(np.arange(4), 4)
    assert measured(truth, truth, episode, "category") == (1.0, 1.0, 1.0)
    assert measured(truth, truth, episode, "number") == (1.0, 1.0, 1.0)


def test_intervals_of_few_games_are_wide_enough() -> None:
    """A percentile bootstrap of 5 games holds the true score in 66 to 85 % of draws, of 10 in 76 to 92 %."""
    held = []
    for name, (kind, pool) in POOLS.items():
        sums = pool(np.random.default_rng(0))
        own = [coverage(sums, kind, games, 200, [USED], seed=0)[USED] for games in (5, 10)]
        assert min(own) > 0.84, name
        held += own
    assert 0.90 < np.mean(held) < 0.98


@pytest.mark.parametrize("name", ["R2, errors 0.3", "accuracy, 0.7 known"])
def test_intervals_of_many_games_are_no_wider_than_they_must_be(name: str) -> None:
    """There the bootstrap is right too: cutting 2.5 % of its scores off on either side leaves about as much."""
    kind, pool = POOLS[name]
    random = np.random.default_rng(0)
    sums = pool(random)[:80]
    draws = score_of_sums(random.multinomial(80, np.full(80, 1 / 80), size=500).astype(float) @ sums, kind)
    low, high = np.percentile(draws, [2.5, 97.5])
    found = jackknife(sums, kind)
    assert 0.8 < (found.high - found.low) / (high - low) < 1.4
