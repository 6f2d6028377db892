"""Cross-correlation and the loss of Barlow Twins in cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rllib_rnd.functional import barlow_twins_loss, cross_correlation

# Two dimensions that are uncorrelated.
Z = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
LAMBDA = 0.0051


def test_correlation_by_hand() -> None:
    torch.testing.assert_close(cross_correlation(Z, Z, 0.0), torch.eye(2))
    torch.testing.assert_close(cross_correlation(Z, -Z, 0.0), -torch.eye(2))
    torch.testing.assert_close(cross_correlation(Z, Z.flip(1), 0.0), torch.eye(2).flip(1))
    # (x + y) correlates 1 / sqrt(2) with either; the first index belongs to the first view
    mixed = torch.stack([Z.sum(1), Z[:, 1]], dim=1)
    root = 0.5**0.5
    torch.testing.assert_close(cross_correlation(Z, mixed, 0.0), torch.tensor([[root, 0.0], [root, 1.0]]))


def test_correlation_is_numpys_and_ignores_scale_and_offset() -> None:
    a, b = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(0)).double()
    wanted = torch.from_numpy(np.corrcoef(a.numpy().T, b.numpy().T)[:3, 3:])
    torch.testing.assert_close(cross_correlation(a, b, 0.0), wanted)
    torch.testing.assert_close(cross_correlation(3.0 * a - 5.0, 0.1 * b + 2.0, 0.0), wanted)


def test_epsilon_is_that_of_batch_normalisation() -> None:
    norm = torch.nn.BatchNorm1d(2, affine=False)
    torch.testing.assert_close(cross_correlation(Z, Z), norm(Z).T @ norm(Z) / 4)
    # variance 1 becomes 1 / (1 + epsilon)
    torch.testing.assert_close(cross_correlation(Z, Z, 1.0).diagonal(), torch.tensor([0.5, 0.5]))


def test_a_constant_dimension_correlates_with_nothing() -> None:
    constant = torch.stack([Z[:, 0], torch.full((4,), 7.0)], dim=1).requires_grad_()
    correlation = cross_correlation(constant, Z)
    torch.testing.assert_close(correlation, torch.diag(torch.tensor([1.0, 0.0])), atol=1e-4, rtol=0.0)
    barlow_twins_loss(correlation, LAMBDA).backward()
    assert constant.grad is not None and bool(torch.isfinite(constant.grad).all())


def test_loss_by_hand() -> None:
    correlation = torch.tensor([[1.0, 0.5], [-0.4, 0.8]])
    # diagonal 0 + 0.2^2, elsewhere 0.5^2 + 0.4^2
    assert barlow_twins_loss(correlation, LAMBDA).item() == pytest.approx(0.04 + LAMBDA * 0.41)
    assert barlow_twins_loss(torch.eye(5), LAMBDA).item() == 0.0
    assert barlow_twins_loss(torch.zeros(5, 5), LAMBDA).item() == 5.0
    assert barlow_twins_loss(torch.ones(5, 5), LAMBDA).item() == pytest.approx(20 * LAMBDA)


def test_gradient_by_hand() -> None:
    correlation = torch.tensor([[1.0, 0.5], [-0.4, 0.8]], requires_grad=True)
    barlow_twins_loss(correlation, 0.1).backward()
    torch.testing.assert_close(correlation.grad, torch.tensor([[0.0, 0.1], [-0.08, -0.4]]))


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="z_2: expected shape"):
        cross_correlation(torch.zeros(4, 3), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="z_1: expected 2 samples or more, got 1"):
        cross_correlation(torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"correlation: expected shape \[2, 2\], got \[2, 3\]"):
        barlow_twins_loss(torch.zeros(2, 3), LAMBDA)
