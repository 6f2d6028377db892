"""Spread, eigenvalues and effective rank, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_rnd.analysis.spectrum import spectrum


def corners(scales: list[float]) -> np.ndarray:
    """Points at plus and minus ``scale`` on every axis: the covariance is diagonal, ``scale^2 / D``."""
    return np.concatenate([np.diag(scales), -np.diag(scales)])


def test_as_many_equal_directions_as_dimensions() -> None:
    found = spectrum(corners([3.0] * 6) + 100.0)
    np.testing.assert_allclose(found.eigenvalues, np.full(6, 9.0 / 6))
    np.testing.assert_allclose(found.spread, np.full(6, 3.0 / np.sqrt(6)))
    assert found.effective_rank == pytest.approx(6.0)
    assert found.participation_ratio == pytest.approx(6.0)


def test_one_direction() -> None:
    found = spectrum(np.outer(np.arange(5.0), [1.0, -2.0, 0.0, 4.0]))
    np.testing.assert_allclose(found.shares, [1.0, 0.0, 0.0, 0.0])
    assert found.effective_rank == pytest.approx(1.0)
    assert found.participation_ratio == pytest.approx(1.0)
    # Largest first: 4, 2, 1 and 0 times the standard deviation of 0 .. 4.
    np.testing.assert_allclose(found.spread, np.sqrt(2.0) * np.array([4.0, 2.0, 1.0, 0.0]))


def test_unequal_directions_by_hand() -> None:
    """Variances 4 : 1, so shares 0.8 and 0.2."""
    found = spectrum(corners([2.0, 1.0]))
    assert found.effective_rank == pytest.approx(0.8**-0.8 * 0.2**-0.2)
    assert found.participation_ratio == pytest.approx(1.0 / 0.68)
    assert found.numbers() == {
        "dimensions": 2.0,
        "mean spread": pytest.approx((np.sqrt(2.0) + np.sqrt(0.5)) / 2),
        "effective rank": found.effective_rank,
        "participation ratio": found.participation_ratio,
    }


def test_fewer_samples_than_dimensions_and_turned_axes() -> None:
    """The spectrum is that of the covariance matrix, whichever way the features point."""
    features = np.random.default_rng(0).normal(size=(5, 8))
    expected = np.sort(np.linalg.eigvalsh(np.cov(features.T, bias=True)))[::-1]
    np.testing.assert_allclose(spectrum(features).eigenvalues, expected, atol=1e-12)
    assert spectrum(features).eigenvalues.shape == (8,)


def test_nothing_varies() -> None:
    found = spectrum(np.full((4, 3), 7.0))
    assert found.effective_rank == found.participation_ratio == 0.0
    assert not found.shares.any()
