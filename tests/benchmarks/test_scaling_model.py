"""The model of scaling: what it was made with is found again, and the bottleneck is the one that was put there."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.scaling_model import (
    PARTS,
    Cluster,
    Measured,
    Model,
    bottleneck,
    error,
    fit,
    predict,
    steps_per_s,
)

TRUE = Model(1024, 10**7, 2.0, 1.0, 0.05, 0.01, 0.5, 0.2, 0.003, 0.02)


def measure(model: Model, runners: int) -> Measured:
    return Measured(runners, predict(model, runners, Cluster(cores=model.cores)))


def test_what_was_measured_is_found_again() -> None:
    found = fit([measure(TRUE, runners) for runners in (1, 2, 4, 8)], TRUE.steps, TRUE.rollout_bytes, TRUE.cores)
    for field in dataclasses.fields(Model):
        assert getattr(found, field.name) == pytest.approx(getattr(TRUE, field.name), rel=1e-6), field.name
    assert error(found, measure(TRUE, 16)) == pytest.approx(0.0, abs=1e-6)


def test_no_coefficient_is_below_0() -> None:
    falling = [Measured(r, dict.fromkeys(PARTS, 1.0 / r)) for r in (1, 2, 4)]
    found = fit(falling, 1, 1, 2.0)
    assert all(getattr(found, f.name) >= 0.0 for f in dataclasses.fields(Model))


def test_one_number_of_runners_tells_nothing() -> None:
    with pytest.raises(ValueError, match="Two numbers"):
        fit([measure(TRUE, 2)] * 3, 1, 1, 2.0)


def test_by_hand() -> None:
    parts = predict(TRUE, 8, Cluster(cores=4, bandwidth=1e8, learner_speed=2.0))
    assert parts["sample_s"] == pytest.approx(1.0 * 8 / 4 + 0.05 * 8)
    assert parts["transfer_s"] == pytest.approx(8 * 0.01 + 8 * 1e7 / 1e8)
    assert parts["learn_s"] == pytest.approx((0.5 * 8 + 0.2) / 2)
    assert parts["sync_s"] == pytest.approx(0.02 + 8 * 0.003)
    assert steps_per_s(TRUE, 8, parts) == pytest.approx(1024 * 8 / sum(parts.values()))


@pytest.mark.parametrize(
    ("where", "runners", "named"),
    [
        (Cluster(), 1, "sample"),
        (Cluster(), 64, "learn"),
        (Cluster(learner_speed=1000.0), 64, "sample"),
        (Cluster(bandwidth=1e6, learner_speed=1000.0), 64, "transfer"),
    ],
)
def test_the_bottleneck_has_a_name(where: Cluster, runners: int, named: str) -> None:
    assert bottleneck(predict(TRUE, runners, where)) == named


def test_more_runners_never_bring_fewer_steps_where_learning_is_free() -> None:
    free = dataclasses.replace(TRUE, wait=0.0, learn=0.0, sync=0.0, fetch=0.0)
    rates = [steps_per_s(free, r, predict(free, r, Cluster())) for r in (1, 2, 4, 8, 16)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(16 * rates[0])


def test_an_error_has_a_sign() -> None:
    slower = Measured(4, {part: 2.0 * s for part, s in measure(TRUE, 4).seconds.items()})
    assert error(TRUE, slower) == pytest.approx(-0.5)
