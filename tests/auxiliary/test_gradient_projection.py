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


def test_shared_weights_get_the_projection_and_others_the_whole_gradient() -> None:
    shared, own = nn.Parameter(torch.tensor([1.0, 1.0])), nn.Parameter(torch.tensor([1.0]))
    unused = nn.Parameter(torch.tensor([5.0]))
    (2.0 * shared[0]).backward()  # the policy's gradient (2, 0)
    metrics = backward_projected((-shared[0] + 2.0 * shared[1]) * own[0], [shared, unused])
    assert shared.grad is not None and own.grad is not None and unused.grad is not None
    assert shared.grad.tolist() == [2.0, 2.0]  # (2, 0) + (-1, 2) without its part along (2, 0)
    assert own.grad.tolist() == [1.0] and unused.grad.tolist() == [0.0]
    assert float(metrics["gradient_projected"]) == 1.0
    shared.grad = torch.tensor([0.0, 1.0])
    metrics = backward_projected(shared[1] + shared[0], [shared])
    assert shared.grad.tolist() == [1.0, 2.0] and float(metrics["gradient_projected"]) == 0.0
