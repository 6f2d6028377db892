"""Batch moments and their merge against numpy on the joined data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_rnd.functional import batch_moments, combine_moments, drift


def test_batch_moments_equal_numpy_over_two_leading_axes() -> None:
    x = np.random.default_rng(0).normal(5.0, 2.0, size=(4, 6, 3))
    mean, var, count = batch_moments(torch.from_numpy(x), batch_dims=2)
    np.testing.assert_allclose(mean, x.reshape(-1, 3).mean(0))
    np.testing.assert_allclose(var, x.reshape(-1, 3).var(0))
    assert float(count) == 24.0


def test_masked_samples_do_not_count_even_if_not_finite() -> None:
    x = torch.tensor([[1.0], [float("nan")], [3.0]])
    mean, var, count = batch_moments(x, torch.tensor([True, False, True]))
    assert (mean.item(), var.item(), count.item()) == (2.0, 1.0, 2.0)


def test_bytes_do_not_overflow() -> None:
    mean, var, _ = batch_moments(torch.full((1000, 2), 255, dtype=torch.uint8))
    assert mean.tolist() == [255.0, 255.0]
    assert var.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("sizes", [(1, 50), (50, 1), (20, 31)])
def test_merge_equals_moments_of_the_joined_data(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    # A large offset: the naive difference of squares would lose every digit here.
    a, b = rng.normal(1e6, 1.0, (sizes[0], 2)), rng.normal(1e6 + 3.0, 0.1, (sizes[1], 2))
    merged = combine_moments(batch_moments(torch.from_numpy(a)), batch_moments(torch.from_numpy(b)))
    joined = np.concatenate([a, b])
    np.testing.assert_allclose(merged[0], joined.mean(0), rtol=1e-14)
    np.testing.assert_allclose(merged[1], joined.var(0), rtol=1e-8)
    assert float(merged[2]) == sum(sizes)


def test_empty_sides_carry_no_weight() -> None:
    full = batch_moments(torch.tensor([1.0, 2.0, 6.0]))
    empty = batch_moments(torch.zeros(0))
    placeholder = (torch.tensor(9.0).double(), torch.tensor(1.0).double(), torch.tensor(0.0).double())
    for merged in (
        combine_moments(full, empty),
        combine_moments(empty, full),
        combine_moments(placeholder, full),
    ):
        assert [x.item() for x in merged] == [x.item() for x in full]
    assert [x.item() for x in combine_moments(empty, empty)] == [0.0, 0.0, 0.0]


def test_wrong_shapes_name_the_argument() -> None:
    with pytest.raises(ValueError, match="mask"):
        batch_moments(torch.zeros(3, 2), torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="mean of b"):
        combine_moments(batch_moments(torch.zeros(3, 2)), batch_moments(torch.zeros(3, 4)))


def test_drift_is_the_change_in_units_of_the_variance_before() -> None:
    before = torch.tensor([[0.0, 1.0], [2.0, 5.0]])  # variances 1 and 4
    now = before + torch.tensor([[1.0, 0.0], [0.0, 3.0]])  # mean square 10 / 4
    assert drift(now, before) == pytest.approx(1.0)
    assert drift(before, before) == 0.0


def test_drift_is_finite_where_features_had_collapsed() -> None:
    before = torch.ones(3, 2)
    assert drift(before, before) == 0.0 and torch.isfinite(drift(before + 1e-6, before))
