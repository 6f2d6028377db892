"""The forward filter against a plain loop, and independent of how time is cut."""

from __future__ import annotations

import pytest
import torch

from rllib_rnd.functional import discounted_filter


def case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    r_t = torch.rand(11, 3, generator=generator, dtype=torch.float64)
    valid_t = torch.rand(11, 3, generator=generator) < 0.8
    return r_t, valid_t


def test_hand_case_skips_invalid_steps() -> None:
    r_t = torch.tensor([[1.0], [100.0], [2.0]])
    valid_t = torch.tensor([[True], [False], [True]])
    filtered_t, carry = discounted_filter(r_t, torch.tensor([4.0]), 0.5, valid_t)
    assert filtered_t.flatten().tolist() == [3.0, 3.0, 3.5]
    assert carry.tolist() == [3.5]


def test_equals_a_plain_loop_per_environment() -> None:
    r_t, valid_t = case()
    start = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)
    filtered_t, carry = discounted_filter(r_t, start, 0.9, valid_t)
    for n in range(3):
        total = float(start[n])
        for t in range(11):
            if valid_t[t, n]:
                total = 0.9 * total + float(r_t[t, n])
                assert float(filtered_t[t, n]) == pytest.approx(total, abs=1e-12)
        assert float(carry[n]) == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("cuts", [(1,), (4, 5), (3, 10)])
def test_cutting_the_rollout_changes_nothing(cuts: tuple[int, ...]) -> None:
    r_t, valid_t = case()
    whole, whole_carry = discounted_filter(r_t, torch.zeros(3, dtype=torch.float64), 0.99, valid_t)
    carry, parts = torch.zeros(3, dtype=torch.float64), []
    for start, stop in zip((0, *cuts), (*cuts, 11), strict=True):
        part, carry = discounted_filter(r_t[start:stop], carry, 0.99, valid_t[start:stop])
        parts.append(part)
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(carry, whole_carry)


def test_input_carry_is_left_alone() -> None:
    r_t, valid_t = case()
    carry = torch.zeros(3, dtype=torch.float64)
    discounted_filter(r_t, carry, 0.9, valid_t)
    assert carry.tolist() == [0.0, 0.0, 0.0]


def test_wrong_shapes_name_the_argument() -> None:
    r_t, valid_t = case()
    with pytest.raises(ValueError, match="carry"):
        discounted_filter(r_t, torch.zeros(2), 0.9, valid_t)
    with pytest.raises(ValueError, match="valid_t"):
        discounted_filter(r_t, torch.zeros(3), 0.9, valid_t[1:])
