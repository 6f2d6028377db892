"""BYOL's loss, its schedule and the collapse metric in cases computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rllib_rnd.functional import byol_loss, byol_tau, collapse_std


def test_loss_is_two_minus_two_cosines() -> None:
    prediction = torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
    target = torch.tensor([[4.0, 3.0], [0.0, 2.0], [-7.0, 0.0], [100.0, 0.0]])
    # cosines 24 / 25, 0, -1 and 1
    torch.testing.assert_close(byol_loss(prediction, target), torch.tensor([0.08, 2.0, 4.0, 0.0]))


def test_loss_is_the_squared_distance_of_unit_vectors() -> None:
    a, b = torch.randn(2, 50, 7, generator=torch.Generator().manual_seed(0)).double()
    distance = (a / a.norm(dim=1, keepdim=True) - b / b.norm(dim=1, keepdim=True)).square().sum(1)
    torch.testing.assert_close(byol_loss(a, b), distance)
    torch.testing.assert_close(byol_loss(5.0 * a, 0.1 * b), distance)


def test_gradient_reaches_the_prediction_alone() -> None:
    prediction = torch.tensor([[2.0, 0.0]], requires_grad=True)
    target = torch.tensor([[0.0, 1.0]], requires_grad=True)
    byol_loss(prediction, target).sum().backward()
    # -2 (t - cos p) / |p| with unit vectors p and t: it turns the prediction, and does not lengthen it.
    torch.testing.assert_close(prediction.grad, torch.tensor([[0.0, -1.0]]))
    assert target.grad is None


def test_a_zero_vector_is_nobodys_direction() -> None:
    prediction = torch.zeros(1, 3, requires_grad=True)
    loss = byol_loss(prediction, torch.ones(1, 3))
    loss.sum().backward()
    assert loss.item() == 2.0
    assert prediction.grad is not None and bool(torch.isfinite(prediction.grad).all())


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"target: expected shape \[4, 3\], got \[4, 2\]"):
        byol_loss(torch.zeros(4, 3), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="prediction"):
        byol_loss(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="vectors"):
        collapse_std(torch.zeros(3))


@pytest.mark.parametrize(
    ("step", "tau"),
    [(0, 0.9), (1, 1.0 - 0.05 * (math.sqrt(0.5) + 1.0)), (2, 0.95), (4, 1.0), (5, 1.0), (10**9, 1.0)],
)
def test_tau_goes_to_one_along_a_cosine(step: int, tau: float) -> None:
    assert byol_tau(0.9, step, 4) == pytest.approx(tau)


def test_tau_needs_steps() -> None:
    with pytest.raises(ValueError, match="num_steps"):
        byol_tau(0.9, 0, 0)
    with pytest.raises(ValueError, match="got 4 and -1"):
        byol_tau(0.9, -1, 4)


def test_collapse_metric_by_hand() -> None:
    # Directions (1, 0) and (0, 1): in each dimension the values 1 and 0, mean 0.5, standard deviation 0.5.
    assert collapse_std(torch.tensor([[3.0, 0.0], [0.0, 0.2]])).item() == pytest.approx(0.5)
    assert collapse_std(torch.tensor([[1.0, 2.0], [3.0, 6.0]])).item() == pytest.approx(0.0, abs=1e-7)
    assert collapse_std(torch.zeros(5, 3)).item() == 0.0


def test_collapse_metric_of_evenly_spread_directions_is_its_upper_limit() -> None:
    vectors = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert collapse_std(vectors).item() == pytest.approx(1.0 / 8.0, rel=0.01)
    assert collapse_std(vectors + 3.0) < 0.5 / 8.0
