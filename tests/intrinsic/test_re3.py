"""RE3: distances to the k-th neighbour by hand and by brute force, the memory's ring, the decay, a fixed encoder."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rllib_rnd.intrinsic import RE3Options
from rllib_rnd.intrinsic import re3 as re3_module
from rllib_rnd.intrinsic.re3 import kth_distance
from tests.intrinsic.episodic_checks import make, same_buffers, short_episodes
from tests.intrinsic.rollouts import image_space, random_rollout, vector_space
from tests.intrinsic.transition_checks import all_losses, cut, identity_encoder, scripted


def by_hand(size: int = 1, **options: Any) -> Any:
    """y is the observation itself (between -5 and 5)."""
    reward = identity_encoder(make("re3", vector_space(size), feature_dim=size, **options))
    reward.encoder.moments = None
    return reward


def line(*points: float) -> Any:
    """A rollout that visits points of a line (and begins at 0, which nobody is rewarded for)."""
    return scripted([[[0.0]], *[[[x]] for x in points]])


def test_defaults_are_those_of_the_paper() -> None:
    options = RE3Options()
    assert (options.num_neighbors, options.decay, options.normalize_reward, options.episodic) == (3, 0.0, True, True)


@pytest.mark.parametrize("k", [1, 3, 200])
def test_kth_distance_agrees_with_brute_force(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, points = torch.randn(50, 6, generator=generator), torch.randn(80, 6, generator=generator)
    wanted = (queries[:, None] - points[None]).norm(dim=2).sort(dim=1).values[:, min(k, 80) - 1]
    torch.testing.assert_close(kth_distance(queries, points, k), wanted)
    monkeypatch.setattr(re3_module, "_DISTANCES", 250)
    torch.testing.assert_close(kth_distance(queries, points, k), wanted)


def test_kth_distance_of_equal_points_is_zero_however_long_they_are() -> None:
    points = 1e3 + torch.rand(5, 6, generator=torch.Generator().manual_seed(0))
    assert not kth_distance(points, points.repeat(3, 1), 3).any()
    assert kth_distance(points, points[:0], 3).tolist() == [0.0] * 5
    assert kth_distance(points[:0], points, 3).tolist() == []


def test_the_reward_by_hand() -> None:
    # Distances to the second nearest other: of 0 to 2 (past 1), of 1 to 0 or 2, of 2 to 0 (past 1), of 5 to 1.
    r_t, features = by_hand(num_neighbors=2).compute(line(0.0, 1.0, 2.0, 5.0))
    wanted = torch.tensor([2.0, 1.0, 2.0, 4.0]).log1p()
    torch.testing.assert_close(r_t[:, 0], wanted)
    assert features == {} and r_t.dtype == torch.float32


def test_earlier_rollouts_are_neighbours_too() -> None:
    reward = by_hand(num_neighbors=1)
    reward.update_statistics(line(1.0, 4.5))
    torch.testing.assert_close(reward.compute(line(0.5, 4.0))[0][:, 0], torch.tensor([0.5, 0.5]).log1p())
    torch.testing.assert_close(
        by_hand(num_neighbors=1).compute(line(0.5, 4.0))[0][:, 0], torch.tensor([3.5, 3.5]).log1p()
    )


def test_rewards_agree_with_brute_force_and_reset_observations_are_neighbours_without_pay() -> None:
    data, other = random_rollout((5,), steps=9, seed=1), random_rollout((5,), steps=9, seed=2)
    reward = make("re3")
    reward.update_statistics(other)
    r_t = reward.compute(data)[0]
    rows = [reward.encoder(d.frames[1:].flatten(0, 1)) for d in (data, other)]
    known = torch.cat(rows)
    for t in range(9):
        for n in range(3):
            distance = (known - rows[0][t * 3 + n]).norm(dim=1).sort().values[3]  # the nearest is the point itself
            wanted = math.log1p(float(distance)) if data.valid[t, n] else 0.0
            assert float(r_t[t, n]) == pytest.approx(wanted, rel=1e-4)


def test_fewer_neighbours_than_k_are_enough() -> None:
    torch.testing.assert_close(by_hand().compute(line(1.0, 3.0))[0][:, 0], torch.tensor([2.0, 2.0]).log1p())
    assert by_hand().compute(line(1.0))[0].tolist() == [[0.0]]


def test_the_memory_is_a_ring_of_the_newest_features() -> None:
    reward = by_hand(capacity=3)
    reward.update_statistics(line(1.0, 2.0))
    assert reward.memory[:, 0].tolist() == [1.0, 2.0, 0.0] and reward.written == 2
    reward.update_statistics(line(3.0, 4.0))
    assert reward.memory[:, 0].tolist() == [4.0, 2.0, 3.0] and reward.written == 4
    reward.update_statistics(line(0.1, 0.2, 0.3, 0.4, 0.5))  # more than it can hold
    assert sorted(reward.memory[:, 0].tolist()) == pytest.approx([0.3, 0.4, 0.5]) and reward.written == 9
    reward.update_statistics(line(0.6))  # goes where 0.3, the oldest, is
    assert sorted(reward.memory[:, 0].tolist()) == pytest.approx([0.4, 0.5, 0.6])


def test_without_capacity_only_the_rollout_itself_counts() -> None:
    reward = by_hand(num_neighbors=1, capacity=0)
    reward.update_statistics(line(1.0))
    torch.testing.assert_close(reward.compute(line(1.0, 3.0))[0][:, 0], torch.tensor([2.0, 2.0]).log1p())


def test_a_repeated_state_is_rewarded_less_with_every_visit() -> None:
    reward, old = by_hand(num_neighbors=3), []
    reward.update_statistics(line(2.0, 3.0, 4.0))
    for _ in range(5):
        old.append(float(reward.compute(line(1.0))[0]))
        reward.update_statistics(line(1.0))
    torch.testing.assert_close(torch.tensor(old), torch.tensor([3.0, 2.0, 1.0, 0.0, 0.0]).log1p())
    assert float(reward.compute(line(-4.0))[0]) > old[0]


@pytest.mark.parametrize(
    ("space", "frame_stack", "shape"),
    [
        (image_space(36, 40), 1, (36, 40)),
        (image_space(3, 36, 40), 3, (36, 40)),
        (image_space(2, 36, 36, 3), 2, (36, 36, 3)),
        (image_space(7, 7, 3), 1, (7, 7, 3)),
        (vector_space(5), 1, (5,)),
    ],
)
def test_every_kind_of_observation_is_rewarded_and_nothing_learns(space, frame_stack, shape) -> None:
    reward, data = make("re3", space, frame_stack=frame_stack), random_rollout(shape, frame_stack=frame_stack)
    before = [p.clone() for p in reward.parameters()]
    reward.update_statistics(data)
    r_t = reward.compute(data)[0]
    assert r_t.shape == (6, 3) and not r_t.requires_grad
    assert bool((r_t[data.valid] > 0).all()) and r_t[3, 1] == 0.0
    assert all_losses(reward, data) == {}
    assert before and not any(p.requires_grad for p in reward.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, reward.parameters(), strict=True))


def test_only_the_newest_frame_of_the_rewarded_observation_is_encoded() -> None:
    for reward_on, offset in (("next", 3), ("current", 2)):
        data = random_rollout((36, 36), frame_stack=3)
        reward = make("re3", image_space(3, 36, 36), frame_stack=3, reward_on=reward_on)
        visits = reward.visited(data)
        wanted = reward.encoder(data.frames[offset : offset + 6].flatten(0, 1))[data.valid.flatten()]
        torch.testing.assert_close(reward._encode(data, visits)[visits.paid], wanted)


def test_features_are_computed_once_per_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    reward, data = make("re3"), random_rollout()
    reward.update_statistics(random_rollout(seed=1))
    reward.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    reward.compute(data)
    reward.update_statistics(data)
    assert seen == [21]
    monkeypatch.setattr(re3_module, "CHUNK", 7)
    parts = reward.compute(cut(data, 0, 6))[0]
    assert seen == [21, 7, 7, 7]
    assert reward._encoded is not None
    torch.testing.assert_close(parts, reward.compute(data)[0])


def test_vectors_keep_the_scale_of_the_first_statistics() -> None:
    reward, data = make("re3"), random_rollout()
    reward.compute(data)
    reward.update_statistics(data)
    mean = reward.encoder.moments.mean.clone()
    torch.testing.assert_close(mean, data.frames[1:].flatten(0, 1).double().mean(0))
    wanted = reward.encoder(data.frames[1:].flatten(0, 1))
    torch.testing.assert_close(reward.memory[:18], wanted)  # encoded with that scale, not the one before
    reward.update_statistics(random_rollout(seed=1))
    assert torch.equal(reward.encoder.moments.mean, mean)


def test_the_decay_is_that_of_agent_steps_and_not_undone_by_the_scale() -> None:
    data = random_rollout()
    reward, constant = make("re3", decay=0.01, gamma=0.0), make("re3", gamma=0.0)
    for steps in (0, 17, 34):
        raw = reward.compute(data)[0]
        expected = constant.normalize(raw, data.valid) * 0.99**steps
        torch.testing.assert_close(reward.normalize(raw, data.valid), expected)
    assert expected.abs().max() > 0
    assert not make("re3", decay=1.0, gamma=0.0).normalize(raw, torch.zeros_like(data.valid)).any()


def test_encoder_and_memory_are_saved() -> None:
    data, _ = short_episodes()
    reward, restored = make("re3", seed=0), make("re3", seed=1)
    reward.update_statistics(data)
    restored.load_state_dict(reward.state_dict())
    assert same_buffers(reward, restored)
    assert torch.equal(reward.compute(data)[0], restored.compute(data)[0])
