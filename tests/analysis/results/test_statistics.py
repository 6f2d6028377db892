"""Aggregates, intervals and survival curves: rliable's numbers on the same resamples, and cases by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.results.statistics import (
    AGGREGATES,
    Estimate,
    estimate,
    improvement,
    interval,
    iqm,
    mean,
    mean_of_runs,
    median,
    normalised,
    optimality_gap,
    probability_of_improvement,
    profile,
    profile_band,
    resampled,
    standard_error,
    steps_to,
    survival,
    winners,
    wins,
)

RUNS, TASKS, TIMES = 5, 7, 300
rng = np.random.default_rng(3)
TABLE = rng.gamma(1.0, 1.0, (RUNS, TASKS))
OTHER = np.round(rng.gamma(1.2, 1.0, (4, TASKS)), 1)  # rounded, so that some are equal
OTHER[:2, 0] = TABLE[:2, 0]


def by_task(table: np.ndarray) -> list[np.ndarray]:
    return list(table.T)


def rliable_of(name: str) -> Any:
    return pytest.importorskip(f"rliable.{name}")


def oracle(name: str) -> Any:
    metrics = rliable_of("metrics")
    return {
        "iqm": metrics.aggregate_iqm,
        "median": metrics.aggregate_median,
        "mean": metrics.aggregate_mean,
        "optimality_gap": metrics.aggregate_optimality_gap,
    }[name]


def replayed(drawn: list[list[np.ndarray]], statistic: Any, *tables: np.ndarray) -> np.ndarray:
    """rliable's own percentile interval, with these resamples in place of those that it would draw."""
    arch = pytest.importorskip("arch.bootstrap")
    turns = iter(range(TIMES))

    def once(*_: np.ndarray) -> np.ndarray:
        turn = next(turns, None)
        arrays = tables if turn is None else [np.stack([task[turn] for task in d], axis=1) for d in drawn]
        return np.atleast_1d(statistic(*arrays))

    bootstrap = arch.IndependentSamplesBootstrap(*tables)
    found: np.ndarray = bootstrap.conf_int(once, reps=TIMES, size=0.95, method="percentile")
    return found


@pytest.mark.parametrize("name", AGGREGATES)
def test_aggregates_and_their_intervals_are_rliables(name: str) -> None:
    scores = by_task(TABLE)
    assert float(AGGREGATES[name](scores)) == pytest.approx(oracle(name)(TABLE), abs=1e-12)
    drawn = resampled(scores, np.random.default_rng(0), TIMES)
    np.testing.assert_allclose(
        np.ravel(interval(AGGREGATES[name](drawn))), np.ravel(replayed([drawn], oracle(name), TABLE)), atol=1e-9
    )
    found = estimate(AGGREGATES[name], scores, seed=0, times=TIMES)
    assert (found.low, found.high) == tuple(float(bound) for bound in interval(AGGREGATES[name](drawn)))


def test_improvement_and_its_interval_are_rliables() -> None:
    statistic = rliable_of("metrics").probability_of_improvement
    mine, theirs = by_task(TABLE), by_task(OTHER)
    assert float(probability_of_improvement(mine, theirs)) == pytest.approx(statistic(TABLE, OTHER), abs=1e-12)
    generator = np.random.default_rng(4)
    drawn = [resampled(scores, generator, TIMES) for scores in (mine, theirs)]
    found = improvement(mine, theirs, seed=4, times=TIMES)
    expected = np.ravel(replayed(drawn, statistic, TABLE, OTHER))
    assert found.low is not None and found.high is not None
    np.testing.assert_allclose([found.low, found.high], expected, atol=1e-9)


def test_profiles_and_their_bands_are_rliables() -> None:
    thresholds = np.linspace(0.0, 4.0, 9)
    distribution = rliable_of("library").score_distributions
    scores = by_task(np.round(TABLE, 1))  # some are equal to a threshold
    found = profile_band(scores, thresholds, seed=1, times=TIMES)
    np.testing.assert_allclose(found.value, distribution(np.round(TABLE, 1), thresholds), atol=1e-12)
    drawn = resampled(scores, np.random.default_rng(1), TIMES)
    expected = replayed([drawn], lambda table: distribution(table, thresholds), np.round(TABLE, 1))
    assert found.low is not None and found.high is not None
    np.testing.assert_allclose([found.low, found.high], expected, atol=1e-9)


def test_intervals_are_those_of_rliable_within_what_resampling_moves_them() -> None:
    library = rliable_of("library")
    np.random.seed(0)
    _, bounds = library.get_interval_estimates({"a": TABLE}, lambda t: np.array([oracle("iqm")(t)]), reps=1500)
    found = estimate(iqm, by_task(TABLE), times=1500)
    assert found.low is not None and found.high is not None
    np.testing.assert_allclose([found.low, found.high], bounds["a"][:, 0], atol=0.1 * (found.high - found.low))


def test_resamples_stay_within_their_task_and_seeds_repeat_them() -> None:
    scores = [np.array([1.0, 2.0]), np.array([10.0, 20.0, 30.0])]
    first, second = resampled(scores, np.random.default_rng(7), 50)
    assert first.shape == (50, 2) and set(np.unique(first)) == {1.0, 2.0}
    assert second.shape == (50, 3) and set(np.unique(second)) == {10.0, 20.0, 30.0}
    again = resampled(scores, np.random.default_rng(7), 50)
    assert all(np.array_equal(a, b) for a, b in zip((first, second), again, strict=True))


def test_aggregates_by_hand_with_a_missing_run() -> None:
    scores = [np.array([0.0, 1.0, 2.0]), np.array([4.0, 8.0]), np.array([0.5, 0.5, 3.0])]
    assert float(mean(scores)) == pytest.approx((1 + 6 + 4 / 3) / 3)
    assert float(median(scores)) == pytest.approx(4 / 3)
    assert float(iqm(scores)) == pytest.approx((0.5 + 1 + 2 + 3) / 4), "of 8 runs 2 are left out at either end"
    assert float(optimality_gap(scores)) == pytest.approx(1 - (0 + 0.5 + 0.5 + 5) / 8)
    assert profile(scores, np.array([0.0, 0.5, 8.0])).tolist() == [7 / 8, 5 / 8, 0.0]
    assert float(probability_of_improvement(scores[:2], [np.array([1.0]), np.array([9.0, 6.0])])) == pytest.approx(
        ((0 + 0.5 + 1) / 3 + (0 + 1) / 4) / 2
    )


def test_equal_and_certain_scores() -> None:
    scores = [np.array([0.0, 1.0, 0.0])]
    assert improvement(scores, scores).value == 0.5
    assert improvement([np.full(5, 0.9)], [np.zeros(5)]) == Estimate(1.0, 1.0, 1.0)
    assert str(improvement([np.full(5, 0.9)], [np.zeros(5)])) == "1.00 [1.00, 1.00]"


@pytest.mark.parametrize("runs", [1, 2])
def test_fewer_than_three_seeds_have_no_interval(runs: int) -> None:
    scores, others = [np.arange(1.0, 6.0), np.ones(runs)], [np.arange(5.0), np.zeros(4)]
    assert estimate(iqm, scores).low is None and estimate(iqm, others).low is not None
    assert improvement(scores, others).low is None and improvement(others, scores).high is None
    assert profile_band(scores, np.zeros(1)).low is None
    assert survival([1.0] * runs, [True] * runs).low is None


def test_standard_error() -> None:
    assert standard_error(np.array([1.0, 2.0, 3.0])) == pytest.approx(1 / math.sqrt(3))
    assert math.isnan(standard_error(np.array([1.0])))


def test_ties_are_named_and_counted_for_nobody() -> None:
    tasks = {"x": {"a": 1.0, "b": 1.0, "c": 0.0}, "y": {"a": 0.0, "b": 2.0}, "z": {"a": math.nan, "c": -1.0}}
    assert [winners(means) for means in tasks.values()] == [["a", "b"], ["b"], []]
    assert wins(tasks) == {"a": 0, "b": 1, "c": 0}, "one alone has beaten nobody"
    assert winners({"a": math.nan}) == []


def test_the_same_scores_of_other_seeds_are_a_tie() -> None:
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floating point."""
    for scores in ([0.1, 0.2, 0.3], [1e16, 1.0, -1e16], [0.7, 0.1, 0.3, -1.1]):
        means = {str(order): mean_of_runs(np.array(order)) for order in itertools.permutations(scores)}
        assert winners(means) == list(means)
    assert winners({"a": 1.0, "b": 1.0 + 1e-9}) == ["b"]
    assert math.isnan(mean_of_runs(np.empty(0)))


def test_small_numbers_are_seen() -> None:
    shown = [Estimate(0.0003), Estimate(0.0003, 0.0003, 0.0003), Estimate(1.0, 1.0, 1.0), Estimate(0.0, 0.0, 0.0)]
    assert [str(one) for one in shown] == [
        "0.00030",
        "0.00030 [0.00030, 0.00030]",
        "1.00 [1.00, 1.00]",
        "0.00 [0.00, 0.00]",
    ]
    assert str(Estimate(2e-9, 1e-9, 3e-9)) == "0.0000000020 [0.0000000010, 0.0000000030]"


def test_normalised() -> None:
    assert normalised(np.array([10.0, 20.0, 5.0]), 10.0, 20.0).tolist() == [0.0, 1.0, -0.5]


def test_steps_to_a_threshold() -> None:
    steps, values = np.array([10.0, 20.0, 30.0]), np.array([math.nan, 0.9, 0.5])
    assert steps_to(steps, values, 0.9) == (20.0, True)
    assert steps_to(steps, values, 0.95) == (30.0, False)
    assert steps_to(np.array([]), np.array([]), 0.0) == (0.0, False)


def test_survival_by_hand() -> None:
    """Five runs: at 10 one of 5 falls, one is lost at 15, at 20 two of 3 fall, the last is watched until 40."""
    found = survival([10, 15, 20, 20, 40], [True, False, True, True, False])
    assert found.agent_steps.tolist() == [10.0, 20.0]
    np.testing.assert_allclose(found.share, [4 / 5, 4 / 5 * 1 / 3])
    assert (found.runs, found.reached, found.watched, found.median) == (5, 3, 40.0, 20.0)
    assert found.low is not None and found.high is not None
    width = 1.959963984540054 * math.sqrt(1 / (5 * 4)) / abs(math.log(0.8))
    np.testing.assert_allclose([found.low[0], found.high[0]], [0.8 ** math.exp(width), 0.8 ** math.exp(-width)])


def test_survival_of_all_and_of_none() -> None:
    everyone, nobody = survival([3, 1, 2], [True] * 3), survival([5, 5, 5], [False] * 3)
    np.testing.assert_allclose(everyone.share, [2 / 3, 1 / 3, 0])
    assert everyone.median == 2.0 and everyone.low is not None and everyone.low[-1] == 0.0
    assert nobody.share.size == 0 and nobody.median is None and nobody.watched == 5.0
