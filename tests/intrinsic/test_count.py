"""The count-based bonus: visits by hand, order within a rollout, both hashes, table limits."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic import INTRINSIC_REWARDS, CountOptions
from rllib_rnd.intrinsic.count import earlier_occurrences
from rllib_rnd.modules.repeats import hash_observations
from tests.intrinsic.episodic_checks import make, same_buffers, short_episodes
from tests.intrinsic.rollouts import image_space, random_rollout, vector_space
from tests.intrinsic.transition_checks import all_losses, cut, scripted

A, B, C = [0.0], [1.0], [2.0]


def counter(**options: Any) -> Any:
    return make("count", vector_space(1), beta=1.0, **options)


def roots(*visits: int) -> torch.Tensor:
    return torch.tensor(visits).float().rsqrt()


def test_defaults_are_those_of_the_papers() -> None:
    options = CountOptions()
    assert (options.beta, options.hash, options.normalize_reward, options.episodic) == (0.01, "exact", False, True)


def test_earlier_occurrences() -> None:
    assert earlier_occurrences(torch.tensor([3, 1, 3, 3, 1, 2])).tolist() == [0, 0, 1, 2, 1, 0]
    assert earlier_occurrences(torch.tensor([], dtype=torch.int64)).tolist() == []


def test_the_reward_is_one_over_the_root_of_all_visits_so_far() -> None:
    reward = counter()
    # Visited: B, C, B; the first observation A is nobody's next one.
    r_t, features = reward.compute(scripted([[A], [B], [C], [B]]))
    torch.testing.assert_close(r_t[:, 0], roots(1, 1, 2))
    assert features == {} and r_t.dtype == torch.float32
    reward.update_statistics(scripted([[A], [B], [C], [B]]))
    assert reward.counts.sum() == 3
    torch.testing.assert_close(reward.compute(scripted([[B], [C], [A], [B]]))[0][:, 0], roots(2, 1, 3))


def test_beta_scales() -> None:
    r_t = make("count", vector_space(1), beta=0.5).compute(scripted([[A], [B], [B]]))[0]
    torch.testing.assert_close(r_t[:, 0], 0.5 * roots(1, 2))


def test_environments_share_counts_in_the_order_of_their_numbers() -> None:
    r_t = counter().compute(scripted([[A, A, A], [B, C, B], [C, B, C]]))[0]
    torch.testing.assert_close(r_t, roots(1, 1, 2, 2, 3, 3).reshape(2, 3))


def test_episodes_make_no_difference_and_resets_visit_without_pay() -> None:
    data = scripted([[A], [B], [B], [B], [B], [A]], first=[(0, 0), (3, 0)])
    reward = counter()
    r_t = reward.compute(data)[0][:, 0]
    torch.testing.assert_close(r_t, torch.tensor([1.0, 2**-0.5, 0.0, 4**-0.5, 2**-0.5]))
    reward.update_statistics(data)
    assert reward.counts.sum() == 6


def test_a_reset_at_the_end_of_a_rollout_is_counted_by_the_next() -> None:
    first, then = scripted([[B], [B], [A]], first=[(2, 0)]), scripted([[A], [A], [B]], first=[(0, 0)])
    reward = counter()
    for data, wanted in ((first, [1.0, 0.0]), (then, [2**-0.5, 2**-0.5])):
        assert reward.compute(data)[0][:, 0].tolist() == pytest.approx(wanted)
        reward.update_statistics(data)
    assert reward.counts.sum() == 4


def test_the_current_observation_can_be_rewarded_instead() -> None:
    r_t = counter(reward_on="current").compute(scripted([[A], [B], [A], [C]]))[0]
    torch.testing.assert_close(r_t[:, 0], roots(1, 1, 2))


@pytest.mark.parametrize("kind", ["exact", "simhash"])
def test_many_rollouts_agree_with_a_dictionary(kind: str) -> None:
    data, state = short_episodes(60, 5, states=7)
    reward = make("count", beta=1.0, hash=kind, simhash_bits=60, space=vector_space(7))
    reward.update_statistics(data)  # as with random play: counts, and the scale of simhash
    seen = Counter(state[data.new_obs].tolist())
    for seed in (1, 2):
        data, state = short_episodes(60, 5, states=7, seed=seed)
        wanted = torch.zeros(60, 5)
        for t in range(-1, 60):
            for n in range(5):
                if t >= 0 and data.valid[t, n]:
                    seen[int(state[t + 1, n])] += 1
                    wanted[t, n] = seen[int(state[t + 1, n])] ** -0.5
                elif t < 59 and data.is_first[t + 1, n]:
                    seen[int(state[t + 1, n])] += 1
        torch.testing.assert_close(reward.compute(data)[0], wanted)
        assert torch.equal(reward.compute(data)[0], reward.compute(data)[0])  # reading changes nothing
        reward.update_statistics(data)


def test_a_repeated_state_is_rewarded_less_with_every_visit() -> None:
    reward = counter()
    old = []
    for _ in range(5):
        r_t = reward.compute(scripted([[A], [B]]))[0]
        old.append(float(r_t))
        reward.update_statistics(scripted([[A], [B]]))
    new = float(reward.compute(scripted([[B], [C]]))[0])
    assert old == sorted(old, reverse=True) and old[-1] < old[0] == new == 1.0


@pytest.mark.parametrize("kind", ["exact", "simhash"])
def test_only_the_newest_frame_of_a_stack_is_counted(kind: str) -> None:
    data = random_rollout((36, 36), frame_stack=3)
    data.frames[4, 0] = data.frames[3, 0]  # obs_1 and obs_2 of environment 0 have the same newest frame
    reward = make("count", image_space(3, 36, 36), frame_stack=3, beta=1.0, hash=kind, simhash_bits=60)
    if kind == "simhash":
        reward.simhash.fit(data.frames.flatten(0, 1), torch.ones(27, dtype=torch.bool))
    wanted = torch.where(data.valid, 1.0, 0.0)
    wanted[1, 0] = 2**-0.5
    torch.testing.assert_close(reward.compute(data)[0], wanted)


@pytest.mark.parametrize(("space", "shape"), [(image_space(36, 36, 3), (36, 36, 3)), (image_space(7, 7), (7, 7))])
@pytest.mark.parametrize("kind", ["exact", "simhash"])
def test_every_kind_of_observation_is_counted(space: Any, shape: tuple[int, ...], kind: str) -> None:
    reward, data = make("count", space, hash=kind), random_rollout(shape)
    reward.update_statistics(data)
    r_t = reward.compute(data)[0]
    assert r_t.shape == (6, 3) and bool((r_t[data.valid] > 0).all()) and r_t[3, 1] == 0.0


def test_similar_observations_share_a_count_under_simhash_only() -> None:
    base = torch.randn(1, 1, 5, generator=torch.Generator().manual_seed(1))
    frames = torch.cat([base, base, base + 1e-6, -base])
    data = scripted(frames.tolist())
    torch.testing.assert_close(make("count", beta=1.0).compute(data)[0][:, 0], roots(1, 1, 1))
    torch.testing.assert_close(make("count", beta=1.0, hash="simhash").compute(data)[0][:, 0], roots(1, 2, 1))


def test_a_table_that_is_too_small_rewards_too_little_and_never_too_much() -> None:
    data, _ = short_episodes(states=30)
    full, small = (make("count", vector_space(30), table_bits=bits) for bits in (20, 1))
    assert small.counts.shape == (2,)
    for reward in (full, small):
        reward.update_statistics(data)
    assert full.counts.sum() == small.counts.sum() == data.new_obs.sum()
    r_full, r_small = (reward.compute(data)[0] for reward in (full, small))
    assert bool((r_small <= r_full).all()) and r_small.sum() < 0.7 * r_full.sum()


def test_different_states_meet_in_a_bucket_as_rarely_as_they_should() -> None:
    frames = torch.arange(4000).reshape(-1, 1, 1).float()
    reward = make("count", vector_space(1), table_bits=16)
    buckets = reward._buckets(hash_observations(frames))
    # Expected for random buckets: 4000 - 65536 (1 - exp(-4000 / 65536)) = 120, deviation about 11.
    assert 70 < 4000 - len(buckets.unique()) < 170
    assert int(buckets.min()) >= 0 and int(buckets.max()) < 2**16


def test_there_is_nothing_to_learn() -> None:
    reward = make("count", hash="simhash")
    assert not list(reward.parameters()) and all_losses(reward, random_rollout()) == {}


def test_counts_and_projection_are_saved() -> None:
    data = random_rollout()
    reward, restored = make("count", hash="simhash", seed=0), make("count", hash="simhash", seed=1)
    reward.update_statistics(data)
    assert not torch.equal(reward.compute(data)[0], restored.compute(data)[0])
    restored.load_state_dict(reward.state_dict())
    assert torch.equal(reward.compute(data)[0], restored.compute(data)[0]) and same_buffers(reward, restored)


def test_two_rollouts_are_rewarded_like_one_long_one() -> None:
    data, _ = short_episodes()
    wanted, reward = make("count").compute(data)[0], make("count")
    parts = []
    for start, stop in ((0, 13), (13, 40)):
        piece = cut(data, start, stop)
        parts.append(reward.compute(piece)[0])
        reward.update_statistics(piece)
    torch.testing.assert_close(torch.cat(parts), wanted)


def test_bad_options_name_what_is_allowed() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'simhash'"):
        INTRINSIC_REWARDS.parse({"type": "count", "hash": "simhsh"}, "intrinsic_reward")
    with pytest.raises(ConfigError, match="simhash_bits: 64 is out of range; allowed is 1 to 63"):
        INTRINSIC_REWARDS.parse({"type": "count", "simhash_bits": 64}, "intrinsic_reward")


def test_visits_of_the_episode_alone_can_be_counted() -> None:
    """Both rollouts of an episode count together, another environment's and another episode's do not."""
    reward = counter(visits="episode", capacity=8)
    first = scripted([[A, A], [B, B], [A, B], [C, A], [B, B]], first=[(3, 1)])
    wanted = torch.tensor([[1, 1], [1, 2], [1, 0], [2, 1]]).float()
    torch.testing.assert_close(reward.compute(first)[0], torch.where(wanted > 0, wanted.rsqrt(), 0.0))
    reward.update_statistics(first)
    then = scripted([[B, B], [C, A], [[3.0], A]])
    torch.testing.assert_close(reward.compute(then)[0], roots(2, 2, 1, 3).reshape(2, 2))
    assert reward.counts.numel() == 0


def test_similar_states_of_an_episode_can_be_counted_as_one() -> None:
    reward = make("count", vector_space(2), beta=1.0, visits="episode", hash="simhash", simhash_bits=60)
    data = scripted([[[1.0, 1.0]], [[2.0, 2.0]], [[-1.0, 1.0]], [[3.0, 3.0]]])
    torch.testing.assert_close(reward.compute(data)[0][:, 0], roots(1, 1, 2))  # no scale yet: directions alone


def test_episodes_are_counted_for_the_next_observation_only() -> None:
    with pytest.raises(ConfigError, match="reward_on: 'current' has no counts of an episode"):
        counter(visits="episode", reward_on="current")
