"""Keys of observations (exact and similar), and counts of an episode: by hand, by dictionary, at their limits."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.intrinsic import episodic_counts
from rllib_rnd.intrinsic.episodic_counts import EpisodicCounts, SimHash, hash_observations
from tests.intrinsic.episodic_checks import short_episodes, visits_by_hand
from tests.intrinsic.rollouts import image_space, vector_space

CPU = torch.device("cpu")
MASK = 2**64 - 1


def split_mix(number: int) -> int:
    """Number 1, 2, ... of SplitMix64 with seed 0."""
    z = number * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def hash_by_hand(data: bytes) -> int:
    """The formula in Python's unlimited integers."""
    data += bytes(-len(data) % 4)
    words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    halves = []
    for which in range(2):
        total = split_mix(which + 1) + sum(split_mix(2 * i + which + 3) * x for i, x in enumerate(words))
        halves.append((total & MASK) >> 32)
    return halves[0] << 32 | halves[1]


def test_split_mix_is_the_published_sequence() -> None:
    assert [split_mix(i) for i in (1, 2)] == [16294208416658607535, 7960286522194355700]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (4, 3, 2)])
def test_hash_is_the_formula(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    frames = torch.randint(0, 256, (6, *shape), generator=torch.Generator().manual_seed(0)).to(dtype)
    wanted = [hash_by_hand(frame.numpy().tobytes()) for frame in frames]
    assert [int(key) & MASK for key in hash_observations(frames)] == wanted


def test_equal_frames_have_equal_keys_and_every_byte_matters() -> None:
    frame = torch.arange(84 * 84).reshape(1, 84, 84).to(torch.uint8)
    changed = frame.repeat(84 * 84 + 2, 1, 1)
    changed.flatten(1)[:-2].diagonal().add_(1)
    keys = hash_observations(changed)
    assert keys[-1] == keys[-2] == hash_observations(frame)[0]
    assert len(keys.unique()) == 84 * 84 + 1


def test_words_that_differ_in_their_highest_bits_or_change_places_are_told_apart() -> None:
    x = torch.tensor([[0, 0, 5], [-(2**31), -(2**31), 5], [5, 0, 0], [0, 5, 0]], dtype=torch.int32)
    assert len(hash_observations(x).unique()) == 4


def test_zeros_of_both_signs_are_one_and_other_layouts_change_nothing() -> None:
    assert len(hash_observations(torch.tensor([[0.0, 1.0], [-0.0, 1.0]])).unique()) == 1
    frames = torch.randint(0, 256, (4, 6, 5), dtype=torch.uint8)
    transposed = frames.movedim(2, 1).contiguous().movedim(1, 2)
    assert not transposed.is_contiguous()
    assert torch.equal(hash_observations(transposed), hash_observations(frames))
    assert torch.equal(hash_observations(frames[1:, 1:]), hash_observations(frames[1:, 1:].clone()))


def test_keys_do_not_depend_on_the_chunk_size_and_none_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.randint(0, 256, (9, 11), dtype=torch.uint8)
    whole = hash_observations(frames)
    monkeypatch.setattr(episodic_counts, "_CHUNK_ELEMENTS", 7)
    assert torch.equal(hash_observations(frames), whole)
    assert hash_observations(frames[:0]).tolist() == []


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


def test_weights_are_the_same_in_every_process_and_of_every_size() -> None:
    short, long = (episodic_counts._hash_weights(size, CPU) for size in (3, 9))
    assert torch.equal(short, long[:, :3])
    wanted = np.array([[split_mix(2 * i + which + 1) for i in range(9)] for which in range(2)], np.uint64)
    assert np.array_equal(long.numpy().view(np.uint64), wanted)
