"""VICReg by hand, at its minimum and at collapse."""

from __future__ import annotations

import pytest
import torch

from rllib_rnd.functional import vicreg_loss, vicreg_terms

ZA = torch.tensor([[0.0, 0.0], [2.0, 2.0]])
ZB = torch.tensor([[1.0, 0.0], [1.0, 2.0]])


def test_terms_by_hand() -> None:
    terms = vicreg_terms(ZA, ZB)
    assert terms.invariance.item() == pytest.approx(0.5)  # (1 + 0 + 1 + 0) / 4
    # Variances 2, 2 and 0, 2: only the third falls short, by 1 - sqrt(1e-4).
    assert terms.variance.item() == pytest.approx(0.99 / 2)
    # Covariance 2 in the first view, on both sides of the diagonal, and 0 in the second.
    assert terms.covariance.item() == pytest.approx((4.0 + 4.0) / 2)


def test_loss_has_the_weights_of_snd_vic_and_any_other() -> None:
    assert vicreg_loss(ZA, ZB).item() == pytest.approx(0.5 + 0.495 + 4.0 / 25.0)
    assert vicreg_loss(ZA, ZB, 25.0, 25.0, 1.0).item() == pytest.approx(25 * (0.5 + 0.495 + 4.0 / 25.0))
    assert vicreg_loss(ZA, ZB, 0.0, 0.0, 1.0).item() == pytest.approx(4.0)
    assert vicreg_loss(ZA, ZB, 0.0, 1.0, 0.0, eps=1.0).item() == pytest.approx(0.0)


def test_the_two_views_are_equal_partners() -> None:
    za, zb = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(vicreg_loss(za, zb), vicreg_loss(zb, za))


def test_equal_uncorrelated_features_of_enough_variance_cost_nothing() -> None:
    z = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    assert vicreg_loss(z, z).item() == 0.0


def test_covariances_match_torch() -> None:
    za = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    cov = torch.cov(za.T)
    off = cov - torch.diag(cov.diagonal())
    torch.testing.assert_close(vicreg_terms(za, za).covariance, 2 * off.square().sum() / 4)


def test_collapse_costs_the_whole_hinge_and_has_a_finite_gradient() -> None:
    z = torch.full((4, 3), 5.0, requires_grad=True)
    terms = vicreg_terms(z, z)
    assert terms.variance.item() == pytest.approx(2 * 0.99)
    vicreg_loss(z, z).backward()
    assert z.grad is not None and torch.isfinite(z.grad).all()


def test_gradient_spreads_what_is_too_narrow() -> None:
    z = torch.tensor([[-0.1], [0.1]], requires_grad=True)
    vicreg_loss(z, z.detach()).backward()
    assert z.grad is not None and z.grad[0] > 0 > z.grad[1]  # descent moves them apart


@pytest.mark.parametrize(("za", "zb"), [(torch.zeros(2, 3), torch.zeros(3, 3)), (torch.zeros(4), torch.zeros(4))])
def test_wrong_shapes_are_named(za: torch.Tensor, zb: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected shape"):
        vicreg_loss(za, zb)


def test_one_sample_has_no_variance() -> None:
    with pytest.raises(ValueError, match="two samples or more, got 1"):
        vicreg_loss(torch.zeros(1, 3), torch.zeros(1, 3))
