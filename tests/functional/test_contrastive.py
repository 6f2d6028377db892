"""The contrastive loss of SND-V and its regularisers, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rllib_rnd.functional import contrastive_mse_loss, magnitude_penalty
from rllib_rnd.functional.contrastive import Regulariser

# Distances (4 + 0) / 2 = 2 and (0 + 1) / 2 = 0.5.
ZA = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
ZB = torch.tensor([[2.0, 0.0], [1.0, 2.0]])
LABEL = torch.tensor([1.0, 0.0])

NORMS = (2.0 + math.sqrt(2.0) + math.sqrt(5.0)) / 2  # |za| 0, sqrt(2); |zb| 2, sqrt(5)


def test_loss_by_hand() -> None:
    assert contrastive_mse_loss(ZA, ZB, LABEL).item() == pytest.approx(((1 - 2) ** 2 + (0 - 0.5) ** 2) / 2)


@pytest.mark.parametrize(
    ("regulariser", "coeff", "limit", "wanted"),
    [
        ("magnitude", 1.0, 200.0, 0.0),
        ("magnitude", 1.0, 2.0, 0.75),  # mean squares 0.5 and 2.25
        ("magnitude", 0.1, 2.0, 0.075),
        ("square", 0.1, 200.0, 0.275),
        ("norm", 0.1, 200.0, 0.1 * NORMS),
        ("none", 1.0, 0.0, 0.0),
    ],
)
def test_regularisers_by_hand(regulariser: Regulariser, coeff: float, limit: float, wanted: float) -> None:
    assert magnitude_penalty(ZA, ZB, regulariser, coeff, limit).item() == pytest.approx(wanted)
    loss = contrastive_mse_loss(ZA, ZB, LABEL, regulariser, coeff, limit)
    assert loss.item() == pytest.approx(0.625 + wanted)


def test_perfect_distances_cost_nothing() -> None:
    za, zb = torch.tensor([[3.0, 3.0], [3.0, 3.0]]), torch.tensor([[3.0, 3.0], [4.0, 2.0]])
    assert contrastive_mse_loss(za, zb, torch.tensor([0.0, 1.0])).item() == 0.0


def test_gradient_draws_equal_pairs_together_and_unequal_ones_to_distance_one() -> None:
    za = torch.tensor([[0.0], [0.0], [0.0]], requires_grad=True)
    zb = torch.tensor([[0.5], [0.5], [2.0]])
    contrastive_mse_loss(za, zb, torch.tensor([0.0, 1.0, 1.0])).backward()
    assert za.grad is not None
    assert za.grad[0] < 0 and za.grad[1] > 0 and za.grad[2] < 0  # descent: nearer, further, nearer


def test_magnitude_has_a_gradient_only_above_its_limit() -> None:
    small, large = torch.full((2, 2), 9.0, requires_grad=True), torch.full((2, 2), 11.0, requires_grad=True)
    magnitude_penalty(small, small).backward()  # 2 * 81 < 200
    magnitude_penalty(large, large).backward()  # 2 * 121 > 200
    assert small.grad is not None and bool((small.grad == 0).all())
    torch.testing.assert_close(large.grad, torch.full((2, 2), 2 * 2 * 11.0 / 4))


def test_norm_of_zero_features_has_a_finite_gradient() -> None:
    z = torch.zeros(2, 3, requires_grad=True)
    magnitude_penalty(z, z, "norm").backward()
    assert z.grad is not None and torch.isfinite(z.grad).all()


def test_wrong_shapes_names_and_no_pairs_are_errors() -> None:
    with pytest.raises(ValueError, match="zb: expected shape"):
        contrastive_mse_loss(ZA, ZB[:1], LABEL)
    with pytest.raises(ValueError, match="label: expected shape"):
        contrastive_mse_loss(ZA, ZB, LABEL[:1])
    with pytest.raises(ValueError, match="one pair or more"):
        contrastive_mse_loss(ZA[:0], ZB[:0], LABEL[:0])
    with pytest.raises(ValueError, match="'sum' is not one of"):
        magnitude_penalty(ZA, ZB, "sum")  # type: ignore[arg-type]
