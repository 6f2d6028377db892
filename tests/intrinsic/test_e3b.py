"""E3B: the elliptical bonus against direct inverses, its episodes and its encoder."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch

from rllib_rnd.intrinsic import E3BOptions
from tests.intrinsic.episodic_checks import in_pieces, make, same_buffers, short_episodes, visits_by_hand
from tests.intrinsic.rollouts import image_space, random_rollout, vector_space
from tests.intrinsic.transition_checks import (
    BOX,
    all_losses,
    identity_encoder,
    scripted,
    total_loss,
    train,
    with_actions,
)


def by_hand(size: int, **options: Any) -> Any:
    """phi is the observation itself (between -5 and 5)."""
    return identity_encoder(make("e3b", vector_space(size), feature_dim=size, **options))


def test_defaults_are_those_of_the_paper() -> None:
    options = E3BOptions()
    assert (options.ridge, options.episodic, options.normalize_reward) == (0.1, True, True)


def test_the_bonus_by_hand() -> None:
    data = scripted([[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 2.0]]], first=[(0, 0)])
    r_t = by_hand(2, ridge=1.0).compute(data)[0][:, 0]
    # C_0 = diag(2, 1): 1 / 2 + 1. C_1 = [[3, 1], [1, 2]], its inverse [[2, -1], [-1, 3]] / 5: 4 * 3 / 5.
    torch.testing.assert_close(r_t, torch.tensor([1.5, 2.4]))


def test_one_hot_features_make_it_one_over_the_ridge_plus_visits() -> None:
    data, state = short_episodes(60, 4, states=5)
    visits = visits_by_hand(state, data.is_first)
    r_t = by_hand(5).compute(data)[0]
    wanted = torch.where(data.valid, 1.0 / (0.1 + visits - 1), 0.0)
    torch.testing.assert_close(r_t, wanted)
    assert visits.max() >= 4


def test_rank_one_updates_agree_with_direct_inverses() -> None:
    data, _ = short_episodes(60, 3, states=4)
    generator = torch.Generator().manual_seed(0)
    data.frames.copy_(torch.randn(data.frames.shape, generator=generator))
    reward = by_hand(4, ridge=0.3)
    r_t = reward.compute(data)[0]
    matrix = torch.zeros(3, 4, 4, dtype=torch.float64)
    for t in range(60):
        for n in range(3):
            phi, phi_tp1 = data.frames[t : t + 2, n].double()
            if data.is_first[t, n]:
                matrix[n] = 0.3 * torch.eye(4) + torch.outer(phi, phi)
            if data.valid[t, n]:
                assert float(r_t[t, n]) == pytest.approx(
                    float(phi_tp1 @ torch.linalg.inv(matrix[n]) @ phi_tp1), rel=1e-5
                )
                matrix[n] += torch.outer(phi_tp1, phi_tp1)
    torch.testing.assert_close(reward.inverse, torch.linalg.inv(matrix))
    assert torch.equal(reward.inverse, reward.inverse.mT)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_thousands_of_updates_do_not_drift(scale: float) -> None:
    reward = make("e3b", feature_dim=16)
    reward.fit_rows(2, torch.device("cpu"))
    phi = scale * torch.randn(4000, 2, 16, generator=torch.Generator().manual_seed(0))
    for step in phi:
        bonus = reward.add(step, torch.ones(2, dtype=torch.bool))
    matrix = 0.1 * torch.eye(16) + torch.einsum("tni,tnj->nij", phi.double(), phi.double())
    torch.testing.assert_close(reward.inverse, torch.linalg.inv(matrix), rtol=1e-6, atol=0.0)
    assert bool((bonus > 0).all())


def test_an_environment_that_is_not_active_is_left_alone() -> None:
    reward = make("e3b")
    reward.fit_rows(2, torch.device("cpu"))
    before = reward.inverse.clone()
    bonus = reward.add(torch.ones(2, 4), torch.tensor([True, False]))
    assert bonus[0] == pytest.approx(4 / 0.1) and bonus[1] == 0.0
    assert torch.equal(reward.inverse[1], before[1]) and not torch.equal(reward.inverse[0], before[0])


def test_an_episode_begins_with_its_first_observation_alone() -> None:
    # The episode ends with 2 at step 1, step 2 resets to 1: C = 0.1 + 1 for the step to 2. The other goes on.
    rows = [[1.0, 1.0], [2.0, 2.0], [2.0, 2.0], [1.0, 1.0], [2.0, 2.0]]
    data = scripted([[[x], [y]] for x, y in rows], first=[(0, 0), (0, 1), (3, 0)])
    r_t = by_hand(1).compute(data)[0]
    torch.testing.assert_close(r_t[:, 0], torch.tensor([4 / 1.1, 4 / 5.1, 0.0, 4 / 1.1]))
    torch.testing.assert_close(r_t[:, 1], torch.tensor([4 / 1.1, 4 / 5.1, 1 / 9.1, 4 / 10.1]))


@pytest.mark.parametrize("stop", [1, 7, 39])
def test_two_rollouts_are_rewarded_like_one_long_one(stop: int) -> None:
    data, _ = short_episodes()
    wanted = make("e3b").compute(data)[0]
    torch.testing.assert_close(in_pieces(make("e3b"), data, stop), wanted)


def test_a_repeated_state_is_rewarded_less_with_every_visit() -> None:
    states = [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]] * 4 + [[0.0, 0.0, 1.0]]
    r_t = by_hand(3).compute(scripted([[s] for s in states], first=[(0, 0)]))[0][:, 0].tolist()
    assert r_t[1] > r_t[3] > r_t[5] and r_t[0] > r_t[2] > r_t[4] > r_t[6]
    assert r_t[7] > 5 * r_t[1]


@pytest.mark.parametrize(
    ("space", "frame_stack", "shape"),
    [
        (image_space(36, 40), 1, (36, 40)),
        (image_space(3, 36, 40), 3, (36, 40)),
        (image_space(36, 36, 3), 1, (36, 36, 3)),
        (image_space(7, 7, 3), 1, (7, 7, 3)),
        (vector_space(5), 1, (5,)),
    ],
)
@pytest.mark.parametrize("actions", [gym.spaces.Discrete(4), BOX])
def test_every_kind_of_observation_and_action_is_rewarded_and_learned(space, frame_stack, shape, actions) -> None:
    reward = make("e3b", space, actions, frame_stack)
    data = with_actions(random_rollout(shape, frame_stack=frame_stack), actions)
    reward.update_statistics(data)
    r_t, features = reward.compute(data)
    assert r_t.shape == (6, 3) and r_t.dtype == torch.float32 and not r_t.requires_grad and features == {}
    assert bool((r_t[data.valid] > 0).all()) and r_t[3, 1] == 0.0
    terms = all_losses(reward, data)
    assert list(terms) == ["e3b_inverse_loss"] and float(terms["e3b_inverse_loss"][1]) == 17.0
    total_loss(terms).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in reward.parameters())


def test_no_valid_sample_gives_zero_with_a_graph() -> None:
    reward = make("e3b")
    terms = all_losses(reward, random_rollout(), index=torch.tensor([3 * 3 + 1]))
    total_loss(terms).backward()
    assert [part.item() for part in terms["e3b_inverse_loss"]] == [0.0, 0.0]
    assert all(p.grad is not None and not p.grad.any() for p in reward.parameters())


def test_learning_lowers_the_loss() -> None:
    data, reward = random_rollout(seed=3), make("e3b")
    reward.update_statistics(data)
    history = train(reward, data, 150)
    assert history[-1] < 0.5 * history[0]


def test_only_update_statistics_moves_the_input_statistics() -> None:
    data, reward = random_rollout(), make("e3b")
    reward.compute(data)
    assert reward.encoder.moments.count == 0
    reward.update_statistics(data)
    wanted = data.frames[1:].flatten(0, 1).double().mean(0)  # the reset observation as well
    torch.testing.assert_close(reward.encoder.moments.mean, wanted)


def test_the_matrix_is_saved() -> None:
    data, _ = short_episodes()
    reward, restored = make("e3b", seed=0), make("e3b", seed=1)
    reward.compute(data)
    restored.load_state_dict(reward.state_dict())
    assert same_buffers(reward, restored) and reward.inverse.shape == (4, 4, 4)
    assert torch.equal(reward.compute(data)[0], restored.compute(data)[0])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_blocks_of_steps_are_their_steps(scale: float) -> None:
    steps, envs = 150, 5
    generator = torch.Generator().manual_seed(0)
    phi = scale * torch.randn((steps, envs, 6), generator=generator)
    is_first, active = (torch.rand((steps, envs), generator=generator) < share for share in (0.03, 0.9))
    is_first[0, 0], is_first[64, 1], is_first[-1, 2] = True, True, True
    one, other = (make("e3b", feature_dim=6) for _ in range(2))
    for reward in (one, other):
        reward.fit_rows(envs, torch.device("cpu"))
        reward.add(scale * torch.ones(envs, 6), torch.ones(envs, dtype=torch.bool))
    parts = (rows.split(64) for rows in (phi, is_first, active))
    bonus = torch.cat([one.add_block(*block) for block in zip(*parts, strict=True)])
    for t in range(steps):
        other.renew_rows(is_first[t])
        torch.testing.assert_close(bonus[t], other.add(phi[t], active[t]), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(one.inverse, other.inverse, rtol=1e-6, atol=1e-9)
    assert torch.equal(one.inverse, one.inverse.mT) and not bonus[~active].any()


@pytest.mark.parametrize("value", [1e20, float("nan")])
def test_features_beyond_all_precision_give_no_number_and_leave_the_others_alone(value: float) -> None:
    reward, alone = make("e3b", feature_dim=6), make("e3b", feature_dim=6)
    phi = torch.randn((20, 2, 6), generator=torch.Generator().manual_seed(0))
    is_first, active = torch.zeros((20, 2), dtype=torch.bool), torch.ones((20, 2), dtype=torch.bool)
    for one, envs in ((reward, 2), (alone, 1)):
        one.fit_rows(envs, torch.device("cpu"))
    wanted = alone.add_block(phi[:, :1], is_first[:, :1], active[:, :1])
    phi[:, 1] = value
    bonus = reward.add_block(phi, is_first, active)
    torch.testing.assert_close(bonus[:, :1], wanted)
    assert bool(bonus[:, 1].isnan().all()) and bool(reward.inverse[0].isfinite().all())
