"""Keys of similar observations, and counts of an episode: by hand, by dictionary, at their limits."""

from __future__ import annotations

import math

import gymnasium as gym
import pytest
import torch

from rllib_rnd.intrinsic import episodic_counts
from rllib_rnd.intrinsic.episodic_counts import EpisodicCounts, SimHash
from tests.intrinsic.episodic_checks import short_episodes, visits_by_hand
from tests.intrinsic.rollouts import image_space, vector_space

CPU = torch.device("cpu")


def test_simhash_packs_the_signs_of_the_projections() -> None:
    simhash = SimHash(vector_space(2), 3)
    simhash.projection.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
    x = torch.tensor([[1.0, 2.0], [1.0, -2.0], [-1.0, -1.0], [0.0, 0.0]])
    assert simhash(x).tolist() == [1 + 2, 1 + 4, 4, 0]


def test_simhash_bits_agree_with_probability_one_minus_the_angle_over_pi() -> None:
    torch.manual_seed(0)
    for angle in (0.3, 1.0, 2.5):
        x = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
        different = 0
        for _ in range(40):
            first, second = SimHash(vector_space(2), 63)(x).tolist()
            different += (first ^ second).bit_count()
        # 2520 independent bits: a standard deviation is below 0.01.
        assert different / 2520 == pytest.approx(angle / math.pi, abs=0.03)


def test_simhash_is_scaled_by_the_first_batch_only_and_by_its_valid_part() -> None:
    simhash = SimHash(image_space(6, 6), 40)
    frames = torch.randint(0, 256, (8, 6, 6), dtype=torch.uint8)
    valid = torch.arange(8) < 6
    raw = simhash(frames)
    simhash.fit(frames, valid)
    keys = simhash(frames)
    assert len(keys.unique()) > len(raw.unique())  # bytes alone all point the same way
    torch.testing.assert_close(simhash.moments.mean, frames[:6].double().mean(0))
    simhash.fit(255 - frames, valid)
    assert torch.equal(simhash(frames), keys)
    restored = SimHash(image_space(6, 6), 40)
    restored.load_state_dict(simhash.state_dict())
    assert torch.equal(restored(frames), keys)


def test_simhash_does_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    simhash, x = SimHash(vector_space(5), 63), torch.randn(9, 5)
    whole = simhash(x)
    monkeypatch.setattr(episodic_counts, "_CHUNK_ELEMENTS", 10)
    assert torch.equal(simhash(x), whole)
    assert simhash(x[:0]).tolist() == []


def counts_of(capacity: int, envs: int) -> EpisodicCounts:
    counts = EpisodicCounts(capacity)
    counts.fit_rows(envs, CPU)
    return counts


def count(counts: EpisodicCounts, keys: list[int], active: list[bool] | None = None) -> list[int]:
    where = torch.tensor(active) if active is not None else torch.ones(len(keys), dtype=torch.bool)
    return counts.count(torch.tensor(keys), where).tolist()


def test_counts_by_hand() -> None:
    counts = counts_of(4, 2)
    assert count(counts, [7, 0]) == [1, 1]  # 0 is a key like any other, not an empty place
    assert count(counts, [7, 0]) == [2, 2]
    assert count(counts, [0, 7]) == [1, 1]  # environments know nothing of each other
    assert count(counts, [7, 5], [False, True]) == [0, 1]
    assert count(counts, [7, 5], [True, False]) == [3, 0]
    assert count(counts, [5, 0], [False, True]) == [0, 3]
    assert counts.written.tolist() == [2, 3]
    counts.renew_rows(torch.tensor([True, False]))
    assert count(counts, [7, 5]) == [1, 2]
    assert counts.written.tolist() == [1, 3]


def test_a_full_row_forgets_the_key_that_came_first() -> None:
    counts = counts_of(2, 1)
    visits = [count(counts, [key])[0] for key in (1, 2, 1, 3, 2, 1, 3, 2)]
    # 3 takes the place of 1 (although 1 was seen after 2), then 1 that of 2, then 2 that of 3.
    assert visits == [1, 1, 2, 1, 2, 1, 2, 1]
    assert counts.keys.tolist() == [[2, 1]] and counts.counts.tolist() == [[1, 1]]


def test_one_place_is_enough_to_tell_staying_from_moving() -> None:
    counts = counts_of(1, 1)
    assert [count(counts, [key])[0] for key in (4, 4, 5, 4)] == [1, 2, 1, 1]


def test_rollouts_agree_with_dictionaries() -> None:
    rollout, state = short_episodes(200, 5, states=6)
    visits = EpisodicCounts(6).count_rollout(state, rollout.is_first)
    assert torch.equal(visits, visits_by_hand(state, rollout.is_first))
    assert not visits[~rollout.valid].any() and visits.max() > 3


@pytest.mark.parametrize("stop", [1, 7, 39])
def test_two_rollouts_count_like_one_long_one(stop: int) -> None:
    rollout, state = short_episodes()
    counts = EpisodicCounts(8)
    first = counts.count_rollout(state[: stop + 1], rollout.is_first[: stop + 1])
    second = counts.count_rollout(state[stop:], rollout.is_first[stop:])
    assert torch.equal(torch.cat([first, second]), visits_by_hand(state, rollout.is_first))


def test_coming_back_to_the_first_observation_is_a_second_visit() -> None:
    is_first = torch.tensor([[True], [False], [False], [True], [False]])
    keys = torch.tensor([[1], [2], [1], [2], [2]])
    assert EpisodicCounts(4).count_rollout(keys, is_first)[:, 0].tolist() == [1, 2, 0, 2]


def test_rows_are_saved_and_restored_whatever_their_number() -> None:
    rollout, state = short_episodes(envs=3)
    counts, restored = EpisodicCounts(8), EpisodicCounts(8)
    counts.count_rollout(state[:20], rollout.is_first[:20])
    restored.load_state_dict(counts.state_dict())
    again = [c.count_rollout(state[19:], rollout.is_first[19:]) for c in (counts, restored)]
    assert torch.equal(*again)
    restored.fit_rows(7, CPU)
    assert restored.keys.shape == (7, 8) and not restored.counts.any()


def test_spaces_without_an_array_are_refused() -> None:
    with pytest.raises(ValueError, match="Discrete"):
        SimHash(gym.spaces.Discrete(3), 8)
