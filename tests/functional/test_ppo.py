"""Terms of PPO in cases computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rllib_rnd.functional import (
    approx_kl,
    clip_fraction,
    clipped_surrogate_loss,
    explained_variance,
    masked_mean,
    ppo_sums,
    value_loss,
)

RATIOS = torch.tensor([1.0, 1.5, 0.5, 1.5, 0.5])
ADVANTAGES = torch.tensor([2.0, 2.0, 2.0, -2.0, -2.0])


def test_surrogate_is_pessimistic_on_either_side() -> None:
    loss = clipped_surrogate_loss(RATIOS.log(), torch.zeros(5), ADVANTAGES, 0.1)
    torch.testing.assert_close(loss, torch.tensor([-2.0, -2.2, -1.0, 3.0, 1.8]))


def test_surrogate_has_no_gradient_where_it_is_clipped() -> None:
    logp = RATIOS.log().requires_grad_()
    clipped_surrogate_loss(logp, torch.zeros(5), ADVANTAGES, 0.1).sum().backward()
    torch.testing.assert_close(logp.grad, torch.tensor([-2.0, 0.0, -1.0, 3.0, 0.0]))


def test_value_loss_is_half_the_squared_error_per_stream() -> None:
    loss = value_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]]))
    assert loss.tolist() == [[2.0, 0.0]]


def test_value_clipping_takes_the_larger_error() -> None:
    v, target, v_old = (
        torch.tensor([[3.0], [3.0]]),
        torch.tensor([[3.0], [0.0]]),
        torch.tensor([[1.0], [1.0]]),
    )
    # clipped to 1.5: errors 1.5 and 1.5; unclipped 0 and 3
    assert value_loss(v, target, v_old, clip=0.5).flatten().tolist() == [0.5 * 1.5**2, 0.5 * 9.0]
    with pytest.raises(ValueError, match="v_old"):
        value_loss(v, target, clip=0.5)


def test_approx_kl_is_zero_without_change_and_positive_on_both_sides() -> None:
    kl = approx_kl(torch.tensor([0.0, math.log(2.0), math.log(0.5)]), torch.zeros(3))
    torch.testing.assert_close(kl, torch.tensor([0.0, 1.0 - math.log(2.0), -0.5 + math.log(2.0)]))


def test_approx_kl_is_unbiased() -> None:
    old, new = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.6, 0.3, 0.1])
    expected = (old * approx_kl(new.log(), old.log())).sum()
    torch.testing.assert_close(expected, (old * (old.log() - new.log())).sum())


def test_clip_fraction_marks_ratios_outside_the_interval() -> None:
    ratios = torch.tensor([1.0, 1.05, 0.95, 1.2, 0.8])
    assert clip_fraction(ratios.log(), torch.zeros(5), 0.1).tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]


def test_explained_variance_of_perfect_constant_and_wrong_critics() -> None:
    target = torch.tensor([1.0, 2.0, 3.0, 999.0])
    valid = torch.tensor([True, True, True, False])
    assert explained_variance(target + 5.0, target, valid).item() == pytest.approx(1.0)
    assert explained_variance(torch.zeros(4), target, valid).item() == pytest.approx(0.0)
    assert explained_variance(-target, target, valid).item() == pytest.approx(-3.0)


def test_explained_variance_without_variance_is_zero_and_finite() -> None:
    valid = torch.ones(3, dtype=torch.bool)
    assert explained_variance(torch.rand(3), torch.ones(3), valid).item() == 0.0
    assert explained_variance(torch.rand(3), torch.rand(3), ~valid).item() == 0.0


def test_masked_mean_ignores_masked_values_even_if_not_finite() -> None:
    x = torch.tensor([1.0, float("nan"), 3.0], requires_grad=True)
    mean = masked_mean(x, torch.tensor([True, False, True]))
    mean.backward()
    assert mean.item() == 2.0
    assert x.grad is not None and x.grad.tolist() == [0.5, 0.0, 0.5]
    assert masked_mean(x, torch.zeros(3, dtype=torch.bool)).item() == 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: clipped_surrogate_loss(torch.zeros(2), torch.zeros(2), torch.zeros(2, 1), 0.1),
        lambda: value_loss(torch.zeros(2, 1), torch.zeros(2)),
        lambda: approx_kl(torch.zeros(2), torch.zeros(2, 1)),
        lambda: clip_fraction(torch.zeros(2), torch.zeros(1), 0.1),
        lambda: explained_variance(torch.zeros(2), torch.zeros(2), torch.ones(1, dtype=torch.bool)),
        lambda: masked_mean(torch.zeros(2), torch.ones(1, dtype=torch.bool)),
    ],
)
def test_shapes_that_would_broadcast_are_errors(call) -> None:
    with pytest.raises(ValueError, match="expected shape"):
        call()


def test_ppo_sums_by_hand() -> None:
    """Two samples, two equally likely actions, ratio 1: -1 + 2; values off by 1 and by 2."""
    zeros = torch.zeros(2, 2)
    sums = ppo_sums(
        torch.full((2,), math.log(0.5)),
        torch.full((2,), math.log(2.0)),
        torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
        torch.full((2,), math.log(0.5)),
        zeros,
        torch.tensor([1.0, -2.0]),
        zeros,
        0.1,
        None,
    )
    expected = {
        "policy_loss": 1.0,
        "vf_loss": 2.5,
        "entropy": 2 * math.log(2.0),
        "vf_loss_extrinsic": 0.5,
        "vf_loss_intrinsic": 2.0,
        "approx_kl": 0.0,
        "clip_fraction": 0.0,
    }
    assert {name: float(value) for name, value in sums.items()} == pytest.approx(expected)
