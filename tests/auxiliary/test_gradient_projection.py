"""Gradient projection: by hand, in agreement, and on the parameters of a shared layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rllib_rnd.auxiliary.gradient_projection import backward_projected, project_conflicting


def test_a_conflict_by_hand() -> None:
    """g = (-1, 2), r = (2, 0): the part along r is (-1, 0); what remains is (0, 2). cos = -2 / (sqrt(5) 2)."""
    projected, cosine = project_conflicting(torch.tensor([-1.0, 2.0]), torch.tensor([2.0, 0.0]))
    assert projected.tolist() == [0.0, 2.0]
    assert float(cosine) == pytest.approx(-1 / 5**0.5)


@pytest.mark.parametrize("r", [[1.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
def test_agreement_right_angles_and_nothing_change_nothing(r: list[float]) -> None:
    projected, cosine = project_conflicting(torch.tensor([1.0, 0.0]), torch.tensor(r))
    assert projected.tolist() == [1.0, 0.0] and float(cosine) == (1.0 if r[0] else 0.0)


def test_opposites_cancel() -> None:
    projected, cosine = project_conflicting(torch.tensor([-3.0, -3.0]), torch.tensor([1.0, 1.0]))
    assert projected.tolist() == [0.0, 0.0] and float(cosine) == pytest.approx(-1.0)


def test_a_conflict_is_one_however_small_the_gradients_are() -> None:
    projected, cosine = project_conflicting(torch.tensor([-1e-9, 2e-9]), torch.tensor([2e-9, 0.0]))
    assert projected.tolist() == pytest.approx([0.0, 2e-9]) and float(cosine) == pytest.approx(-1 / 5**0.5)


def test_shared_weights_get_the_projection_and_others_the_whole_gradient() -> None:
    shared, own = nn.Parameter(torch.tensor([1.0, 1.0])), nn.Parameter(torch.tensor([1.0]))
    unused = nn.Parameter(torch.tensor([5.0]))
    (2.0 * shared[0]).backward()  # the policy's gradient (2, 0)
    metrics = backward_projected((-shared[0] + 2.0 * shared[1]) * own[0], [shared, unused], [shared.grad, None])
    assert shared.grad is not None and own.grad is not None
    assert shared.grad.tolist() == [2.0, 2.0]  # (2, 0) + (-1, 2) without its part along (2, 0)
    assert own.grad.tolist() == [1.0] and unused.grad is None
    assert float(metrics["gradient_projected"]) == 1.0
    shared.grad = torch.tensor([0.0, 1.0])
    metrics = backward_projected(shared[1] + shared[0], [shared], [shared.grad])
    assert shared.grad.tolist() == [1.0, 2.0] and float(metrics["gradient_projected"]) == 0.0


def test_weights_that_the_loss_does_not_reach_have_no_say_and_keep_what_they_hold() -> None:
    """Over both weights the two would agree, (-1, 0) . (2, 9) < 0 only where the loss is."""
    shared, others = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))
    (2.0 * shared + 9.0 * others).backward()
    held = others.grad
    metrics = backward_projected(-shared, [shared, others], [shared.grad, others.grad])
    assert shared.grad is not None and float(shared.grad) == 2.0 and others.grad is held
    assert float(metrics["gradient_cosine"]) == -1.0


def test_what_another_loss_added_is_not_the_policys() -> None:
    shared = nn.Parameter(torch.tensor([0.0, 0.0]))
    policy = torch.tensor([1.0, 0.0])
    shared.grad = policy + torch.tensor([-5.0, 0.0])  # another loss pulls the other way
    metrics = backward_projected(-2.0 * shared[0] + shared[1], [shared], [policy])
    assert shared.grad.tolist() == [-4.0, 1.0] and float(metrics["gradient_projected"]) == 1.0


def test_a_loss_that_reaches_nothing_of_them_changes_nothing() -> None:
    shared, own = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))
    metrics = backward_projected(own.sum(), [shared], [None])
    assert shared.grad is None and own.grad is not None
    assert [float(value) for value in metrics.values()] == [0.0, 0.0]
