"""The scale of intrinsic rewards: a plain loop, any cut of time, and every way of saving it."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch

from rllib_rnd.intrinsic import RewardFilter


def case(num_steps: int = 12, num_envs: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    r_t = torch.rand(num_steps, num_envs, generator=generator) * torch.linspace(1.0, 9.0, num_steps)[:, None]
    return r_t, torch.rand(num_steps, num_envs, generator=generator) < 0.8


def test_std_is_that_of_all_valid_discounted_sums() -> None:
    r_t, valid_t = case()
    sums = []
    for n in range(3):
        total = 0.0
        for t in range(12):
            if valid_t[t, n]:
                total = 0.9 * total + float(r_t[t, n])
                sums.append(total)
    reward_filter = RewardFilter(0.9)
    reward_filter.update(r_t, valid_t)
    assert float(reward_filter.std) == pytest.approx(np.std(sums))
    assert float(reward_filter.moments.count) == len(sums) == int(valid_t.sum())
    torch.testing.assert_close(reward_filter(r_t), r_t / float(np.std(sums)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cuts", [(1,), (5,), (3, 4, 11)])
def test_cutting_rollouts_changes_neither_carry_nor_statistics(cuts: tuple[int, ...]) -> None:
    r_t, valid_t = case()
    whole, pieces = RewardFilter(0.99), RewardFilter(0.99)
    whole.update(r_t, valid_t)
    for start, stop in zip((0, *cuts), (*cuts, 12), strict=True):
        pieces.update(r_t[start:stop], valid_t[start:stop])
    assert torch.equal(whole.carry, pieces.carry)
    for name in ("mean", "var", "count"):
        torch.testing.assert_close(getattr(whole.moments, name), getattr(pieces.moments, name))


def test_state_dict_round_trip_into_a_fresh_filter_continues_identically() -> None:
    r_t, valid_t = case()
    original, restored = RewardFilter(0.99), RewardFilter(0.99)
    original.update(r_t[:6], valid_t[:6])
    restored.load_state_dict({k: v.clone() for k, v in original.state_dict().items()})
    assert torch.equal(restored.carry, original.carry) and bool((restored.carry > 0).all())
    for reward_filter in (original, restored):
        reward_filter.update(r_t[6:], valid_t[6:])
    assert torch.equal(restored.carry, original.carry)
    assert torch.equal(restored.std, original.std)


def test_with_a_momentum_earlier_rollouts_count_less() -> None:
    reward_filter, both = RewardFilter(0.0, momentum=0.5), torch.ones(2, 1, dtype=torch.bool)  # R_t is r_t
    reward_filter.update(torch.tensor([[2.0], [4.0]]), both)
    assert float(reward_filter.std) == pytest.approx(1.0)
    reward_filter.update(torch.tensor([[10.0], [10.0]]), both)
    # Two samples of mean 3 and variance 1 count as one: mean 23 / 3, variance (1 + 49 * 1 * 2 / 3) / 3.
    assert float(reward_filter.moments.mean) == pytest.approx(23 / 3)
    assert float(reward_filter.std) == pytest.approx(math.sqrt((1 + 49 * 2 / 3) / 3))


def test_with_hardly_any_momentum_only_the_last_rollout_counts() -> None:
    r_t, valid_t = case()
    forgetful, last = RewardFilter(0.0, momentum=1e-12), RewardFilter(0.0)
    forgetful.update(100.0 * r_t, valid_t)
    forgetful.update(r_t, valid_t)
    last.update(r_t, valid_t)
    assert float(forgetful.std) == pytest.approx(float(last.std))


@pytest.mark.parametrize("num_envs_before", [0, 2, 3, 5])
def test_loading_takes_the_saved_number_of_environments(num_envs_before: int) -> None:
    saved, other = RewardFilter(0.99), RewardFilter(0.99)
    saved.update(*case())
    if num_envs_before:
        other.update(*case(num_envs=num_envs_before))
    other.load_state_dict(saved.state_dict())
    assert torch.equal(other.carry, saved.carry)
    assert other.carry.data_ptr() != saved.carry.data_ptr()


def test_a_new_filter_loads_the_state_of_a_filter_that_was_never_used() -> None:
    used = RewardFilter(0.99)
    used.update(*case())
    used.load_state_dict(RewardFilter(0.99).state_dict())
    assert used.carry.shape == (0,) and float(used.std) == 1.0


def test_another_number_of_environments_restarts_the_sums_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reward_filter = RewardFilter(0.5)
    with caplog.at_level(logging.WARNING):
        reward_filter.update(*case())
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        reward_filter.update(torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool))
    assert "2 environments instead of 3" in caplog.text
    assert reward_filter.carry.tolist() == [1.0, 1.0]


def test_constant_zero_rewards_stay_finite() -> None:
    reward_filter = RewardFilter(0.99)
    zeros = torch.zeros(4, 2)
    reward_filter.update(zeros, torch.ones(4, 2, dtype=torch.bool))
    assert reward_filter(zeros).tolist() == zeros.tolist()
