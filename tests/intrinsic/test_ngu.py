"""NGU: the kernel by hand, neighbours by loops, the memory's borders and limits, the lifelong factor, gradients."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.intrinsic import NGUOptions
from rllib_rnd.intrinsic.rnd import RND
from tests.intrinsic.episodic_checks import in_pieces, make, same_buffers, short_episodes
from tests.intrinsic.rollouts import image_space, random_rollout, vector_space
from tests.intrinsic.transition_checks import (
    BOX,
    all_losses,
    cut,
    identity_encoder,
    scripted,
    total_loss,
    train,
    with_actions,
)


def by_hand(size: int = 1, **options: Any) -> Any:
    """Embeddings are the observations themselves (between -5 and 5)."""
    return identity_encoder(make("ngu", vector_space(size), feature_dim=size, **options))


def distances(reward: Any, data: Any) -> torch.Tensor:
    return reward.neighbor_distances(data.frames, data.is_first)


def test_defaults_are_those_of_the_paper() -> None:
    options = NGUOptions()
    assert (options.feature_dim, options.num_neighbors, options.kernel_epsilon) == (32, 10, 0.001)
    assert (options.cluster_distance, options.pseudo_count, options.max_similarity) == (0.008, 0.001, 8.0)
    assert (options.max_modulator, options.episodic) == (5.0, True)


def test_neighbours_are_the_nearest_earlier_embeddings_of_the_episode() -> None:
    inf = math.inf
    data = scripted([[[0.0]], [[1.0]], [[3.0]], [[1.5]], [[0.0]]], first=[(0, 0)])
    assert distances(by_hand(num_neighbors=2), data)[:, 0].tolist() == [
        [1.0, inf],
        [4.0, 9.0],
        [0.25, 2.25],
        [0.0, 1.0],
    ]


def test_a_new_episode_remembers_its_first_observation_only() -> None:
    # The episode ends with 2 at step 1; step 2 resets to 4. The other environment goes on.
    rows = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [4.0, 4.0], [2.0, 2.0]]
    data = scripted([[[x], [y]] for x, y in rows], first=[(0, 0), (0, 1), (3, 0)])
    squared = distances(by_hand(num_neighbors=1), data)[:, :, 0]
    assert squared[[0, 1, 3], 0].tolist() == [1.0, 1.0, 4.0]
    assert squared[:, 1].tolist() == [1.0, 1.0, 4.0, 0.0]


def test_a_rollout_that_begins_in_mid_episode_has_something_to_compare_with() -> None:
    squared = distances(by_hand(num_neighbors=2), scripted([[[0.0]], [[2.0]]]))
    assert squared[0, 0].tolist() == [4.0, math.inf]


def test_a_full_memory_forgets_the_oldest_embedding() -> None:
    data = scripted([[[0.0]], [[1.0]], [[3.0]], [[0.0]], [[1.0]]], first=[(0, 0)])
    reward = by_hand(capacity=2, num_neighbors=3)
    # At step 2 the memory holds 1 and 3 (0 is gone), at step 3 it holds 3 and 0.
    assert distances(reward, data)[2:, 0, :2].tolist() == [[1.0, 9.0], [1.0, 4.0]]
    assert distances(reward, data)[:, 0, 2].isinf().all()
    assert reward.memory.shape == (1, 2, 1) and reward.written.tolist() == [5]


def test_neighbours_agree_with_plain_loops() -> None:
    data, _ = short_episodes(60, 3)
    embedding = torch.randn(61, 3, 4, generator=torch.Generator().manual_seed(0))
    squared = make("ngu", capacity=6, num_neighbors=3).neighbor_distances(embedding, data.is_first)
    memory: list[list[torch.Tensor]] = [[] for _ in range(3)]
    for t in range(60):
        for n in range(3):
            if data.is_first[t, n]:
                memory[n] = [embedding[t, n]]
            if data.valid[t, n]:
                wanted = sorted(float((embedding[t + 1, n] - old).square().sum()) for old in memory[n][-6:])[:3]
                torch.testing.assert_close(squared[t, n, : len(wanted)], torch.tensor(wanted))
                assert squared[t, n, len(wanted) :].isinf().all()
                memory[n].append(embedding[t + 1, n])


@pytest.mark.parametrize("stop", [1, 7, 39])
def test_the_memory_outlives_rollouts(stop: int) -> None:
    data, _ = short_episodes()
    whole, reward = distances(by_hand(5), data), by_hand(5)
    parts = [distances(reward, cut(data, *bounds)) for bounds in ((0, stop), (stop, 40))]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_the_kernel_by_hand() -> None:
    reward = by_hand(num_neighbors=3)
    reward.distance_moments.update(torch.tensor([1.0, 3.0]))  # d_m^2 = 2
    squared = torch.tensor([[0.0, 0.016, 2.0], [4.0, math.inf, math.inf]])
    # Normalised: 0, 0.008 and 1; the first two are below the cluster distance, so their kernel is 1.
    kernels = [2 + 0.001 / (0.992 + 0.001), 0.001 / (1.992 + 0.001)]
    wanted = [1 / (math.sqrt(k) + 0.001) for k in kernels]
    torch.testing.assert_close(reward.episodic_reward(squared), torch.tensor(wanted))


def test_too_similar_states_are_rewarded_nothing() -> None:
    reward = by_hand(num_neighbors=4, max_similarity=1.9)
    squared = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, math.inf]])
    assert reward.episodic_reward(squared).tolist() == pytest.approx([0.0, 1 / (math.sqrt(3) + 0.001)])
    # The paper's s_m is beyond what its k can reach: ten equal states make s = sqrt(10) + c = 3.16.
    assert by_hand(num_neighbors=10).episodic_reward(torch.zeros(1, 10)).item() == pytest.approx(1 / 3.1633, rel=1e-4)


def test_distances_of_nothing_but_equal_states_stay_finite() -> None:
    r_t = by_hand().compute(scripted([[[1.0]], [[1.0]], [[1.0]]], first=[(0, 0)]))[0]
    assert bool(r_t.isfinite().all()) and float(r_t[0, 0]) == pytest.approx(1 / 1.001)


def test_the_modulator_by_hand() -> None:
    reward = by_hand(max_modulator=3.0)
    reward.error_moments.update(torch.tensor([1.0, 5.0]))  # mean 3, std 2
    errors = torch.tensor([0.0, 3.0, 4.0, 6.0, 100.0])
    torch.testing.assert_close(reward.modulator(errors), torch.tensor([1.0, 1.0, 1.5, 2.5, 3.0]))


def test_the_reward_is_the_product_under_scales_that_include_the_rollout() -> None:
    data, _ = short_episodes(12, 3)
    reward, other = by_hand(5), by_hand(5)
    for r in (reward, other):
        r.rnd.update_statistics(data)
    r_t, features = reward.compute(data)
    error, rnd_features = other.rnd.compute(data)
    squared = distances(other, data)
    known = squared[data.valid]
    mean = known[known.isfinite()].double().mean()
    torch.testing.assert_close(reward.distance_moments.mean, mean)
    e = error[data.valid].double()
    kernel = 0.001 / ((squared / mean - 0.008).clamp(min=0) + 0.001)
    factor = (1 + (error - e.mean()) / e.std(unbiased=False)).clamp(1, 5)
    wanted = torch.where(data.valid, factor / (kernel.sum(-1).sqrt() + 0.001), 0.0).float()
    torch.testing.assert_close(r_t, wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(features["target"], rnd_features["target"])
    assert bool((factor[data.valid] > 1).any()) and bool((factor[data.valid] == 1).any())


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
@pytest.mark.parametrize("actions", [gym.spaces.Discrete(4), BOX])
def test_every_kind_of_observation_and_action_is_rewarded_and_learned(space, frame_stack, shape, actions) -> None:
    reward = make("ngu", space, actions, frame_stack)
    data = with_actions(random_rollout(shape, frame_stack=frame_stack), actions)
    reward.update_statistics(data)
    r_t, features = reward.compute(data)
    assert r_t.shape == (6, 3) and r_t.dtype == torch.float32 and not r_t.requires_grad
    assert bool((r_t[data.valid] > 0).all()) and r_t[3, 1] == 0.0
    terms = all_losses(reward, data, features=features)
    assert list(terms) == ["rnd_predictor_loss", "ngu_inverse_loss"]
    assert [float(count) for _, count in terms.values()] == [17.0, 17.0]
    total_loss(terms).backward()
    for name, parameter in reward.named_parameters():
        learns = not name.startswith("rnd.target")
        assert (parameter.grad is not None and bool(parameter.grad.any())) == learns == parameter.requires_grad, name


def test_each_loss_trains_its_own_networks() -> None:
    for term, prefixes in (("ngu_inverse_loss", ("encoder", "inverse_dynamics")), ("rnd_predictor_loss", ("rnd.",))):
        reward = make("ngu")
        all_losses(reward, random_rollout())[term][0].backward()
        assert {n for n, p in reward.named_parameters() if p.grad is not None} == {
            n for n, p in reward.named_parameters() if n.startswith(prefixes) and p.requires_grad
        }


def test_no_valid_sample_gives_zero_with_a_graph() -> None:
    reward, data = make("ngu"), random_rollout()
    terms = all_losses(reward, data, index=torch.tensor([3 * 3 + 1]))
    assert [(a.item(), b.item()) for a, b in terms.values()] == [(0.0, 0.0), (0.0, 0.0)]
    total_loss(terms).backward()
    assert all(not p.grad.any() for p in reward.encoder.parameters())


def test_the_inverse_loss_pairs_observations_with_the_action_between_them() -> None:
    data = with_actions(scripted([[[0.0]], [[1.0]], [[3.0]]]), BOX)
    reward = identity_encoder(make("ngu", vector_space(1), BOX, feature_dim=1))
    reward.inverse_dynamics.net = torch.nn.Identity()  # predicts (phi_t, phi_tp1)
    total, count = all_losses(reward, data)["ngu_inverse_loss"]
    wanted = 0.5 * (data.action[:, 0].clamp(-1, 1) - torch.tensor([[0.0, 1.0], [1.0, 3.0]])).square().sum()
    assert float(total) == pytest.approx(float(wanted)) and count == 2


def test_a_repeated_state_is_rewarded_less_with_every_visit() -> None:
    states = [[[0.0]], *[[[float(i % 2)]] for i in range(1, 9)], [[4.0]]]
    reward = by_hand(num_neighbors=10)
    squared = distances(reward, scripted(states, first=[(0, 0)]))
    reward.distance_moments.update(torch.tensor([1.0]))
    r_t = reward.episodic_reward(squared)[:, 0].tolist()
    assert r_t[1] > r_t[3] > r_t[5] > r_t[7]  # back at 0, again and again
    assert r_t[8] > 5 * r_t[1]  # 4 is far from all


def test_learning_lowers_both_losses_and_the_lifelong_factor_is_rnds() -> None:
    data = random_rollout(seed=3)
    reward = make("ngu")
    reward.update_statistics(data)
    first = {name: total.item() for name, (total, _) in all_losses(reward, data).items()}
    train(reward, data, 150)
    last = {name: total.item() for name, (total, _) in all_losses(reward, data).items()}
    assert all(last[name] < 0.6 * first[name] for name in first)
    assert isinstance(reward.rnd, RND)


def test_statistics_are_those_of_both_inputs() -> None:
    data, reward = random_rollout(), make("ngu")
    reward.update_statistics(data)
    observed = data.frames[1:].flatten(0, 1).double()
    torch.testing.assert_close(reward.rnd.obs_moments.mean, observed[data.valid.flatten()].mean(0))
    torch.testing.assert_close(reward.encoder.moments.mean, observed.mean(0))  # it embeds reset observations too
    before = [b.clone() for b in (*reward.rnd.obs_moments.buffers(), *reward.encoder.buffers())]
    reward.compute(random_rollout(seed=1))
    after = (*reward.rnd.obs_moments.buffers(), *reward.encoder.buffers())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_memory_and_scales_are_saved() -> None:
    data, _ = short_episodes()
    reward, restored = make("ngu", seed=0), make("ngu", seed=1)
    in_pieces(reward, data, 20)
    restored.load_state_dict(reward.state_dict())
    assert same_buffers(reward, restored)
    assert torch.equal(reward.compute(data)[0], restored.compute(data)[0])


def test_the_memory_of_long_rollouts_is_bounded() -> None:
    data = random_rollout(frames=np.random.default_rng(0).normal(size=(7, 3, 5)).astype(np.float32))
    reward = make("ngu", capacity=4)
    for _ in range(3):
        reward.compute(data)
    # Environment 1 begins anew in every rollout, the others never do: one first observation, six steps each.
    assert reward.memory.shape == (3, 4, 4) and reward.written.tolist() == [19, 3, 19]


@pytest.mark.parametrize("capacity", [3, 70, 1000])
def test_blocks_of_look_ups_are_their_loops(capacity: int) -> None:
    steps, envs = 150, 4
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn((steps + 1, envs, 4), generator=generator)
    is_first, broken = (torch.rand((steps + 1, envs), generator=generator) < share for share in (0.02, 0.05))
    is_first[0, 0] = is_first[64, 1] = is_first[65, 1] = is_first[-1, 2] = True
    reward = make("ngu", capacity=capacity, num_neighbors=3)
    squared = torch.cat(
        [
            reward.neighbor_distances(embedding[:101], is_first[:101], broken[:101]),
            reward.neighbor_distances(embedding[100:], is_first[100:], broken[100:]),
        ]
    )
    for n in range(envs):
        memory: list[torch.Tensor] = []
        for t in range(steps + 1):
            if is_first[t, n] or t == 0:
                memory = []
            elif t:
                wanted = sorted(float((embedding[t, n] - old).square().sum()) for old in memory[-capacity:])[:3]
                wanted += [math.inf] * (3 - len(wanted))
                torch.testing.assert_close(squared[t - 1, n], torch.tensor(wanted))
            if not broken[t, n] and not (t == steps and is_first[t, n]):
                memory.append(embedding[t, n])
        if not is_first[-1, n]:
            assert int(reward.written[n]) == len(memory)
            last = memory[-capacity:]
            places = [(len(memory) - len(last) + i) % capacity for i in range(len(last))]
            assert torch.equal(reward.memory[n, places], torch.stack(last))
