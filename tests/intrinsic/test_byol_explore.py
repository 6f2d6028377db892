"""BYOL-Explore: sums of prediction errors against a plain triple loop, targets, scale and prioritisation."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rllib_rnd.intrinsic import BYOLExploreOptions, byol_explore
from rllib_rnd.modules.mlp import MLP, MLPOptions
from rllib_rnd.rollout import Rollout
from tests.intrinsic.rollouts import random_rollout, vector_space
from tests.intrinsic.transition_checks import (
    BOX,
    DISCRETE,
    all_losses,
    constant_output,
    identity_encoder,
    make,
    scripted,
    with_actions,
)

T, N = 9, 3


def long_rollout(action_space: gym.Space = DISCRETE) -> Rollout:
    """Environment 1 ends at step 2, environment 2 at step 5; environment 0 goes on from before."""
    data = with_actions(random_rollout(steps=T, envs=N), action_space)
    data.is_first[0, 2] = True
    data.is_first[7, 2] = data.terminated[5, 2] = True
    return data


def episode_start(data: Rollout, t: int, n: int) -> int:
    """First step of the episode (or of the rollout, if it began before) that obs_t belongs to."""
    while t > 0 and not data.is_first[t, n]:
        t -= 1
    return t


def closed_state(reward: Any, data: Rollout, s: int, n: int) -> Tensor:
    """b_s, computed from the episode's start on."""
    start = episode_start(data, s, n)
    state, previous = torch.zeros(1, reward.options.memory_size), torch.zeros(1, reward.previous_action.shape[1])
    for t in range(start, s + 1):
        phi = reward.encoder(data.frames[t, n][None])
        state = reward.closed_loop.cell(torch.cat([phi, previous], dim=1), state)
        previous = reward.spaces.action_features(data.action[t, n][None])
    return state


def errors(reward: Any, data: Rollout, n: int, s: int) -> dict[int, Tensor]:
    """{k: l_{s,k}} of one start: as far as the horizon, its episode and the rollout reach."""
    state, found = closed_state(reward, data, s, n), {}
    for k in range(1, reward.options.horizon + 1):
        t = s + k - 1  # the step whose action is taken and whose next observation is predicted
        if t >= T or data.is_first[t + 1, n]:
            break
        state = reward.open_loop.cell(reward.spaces.action_features(data.action[t, n][None]), state)
        predicted = F.normalize(reward.predictor(state), dim=1)
        wanted = F.normalize(reward.target(data.frames[t + 1, n][None]), dim=1)
        found[k] = (predicted - wanted).square().sum()
    return found


@pytest.mark.parametrize("action_space", [DISCRETE, BOX], ids=["discrete", "box"])
@pytest.mark.parametrize("horizon", [1, 3, 20])
def test_rewards_are_those_of_a_plain_triple_loop(horizon: int, action_space: gym.Space) -> None:
    reward, data = make("byol_explore", action_space=action_space, horizon=horizon), long_rollout(action_space)
    with torch.no_grad():
        for parameter in reward.target.parameters():
            parameter.add_(0.1)  # the target is not the encoder
        wanted = torch.zeros(T, N)
        for n in range(N):
            for s in range(T):
                for k, error in errors(reward, data, n, s).items():
                    wanted[s + k - 1, n] += error
    torch.testing.assert_close(reward.compute(data)[0], wanted)


@pytest.mark.parametrize("bptt_steps", [1, 3, 50])
@pytest.mark.parametrize("horizon", [1, 3, 20])
def test_losses_are_those_of_a_plain_triple_loop(horizon: int, bptt_steps: int) -> None:
    reward, data = make("byol_explore", horizon=horizon, bptt_steps=bptt_steps), long_rollout()
    features, wanted = reward.compute(data)[1], []
    for s in range(T):
        for n in range(N):
            found = errors(reward, data, n, s)
            wanted.append(torch.stack(list(found.values())).mean() if found else torch.zeros(()))
    for flat in range(T * N):
        total, count = all_losses(reward, data, torch.tensor([flat]), features=features)["byol_explore_loss"]
        torch.testing.assert_close(total, wanted[flat])
        assert count.item() == float(data.valid.flatten()[flat])
    total, count = all_losses(reward, data, features=features)["byol_explore_loss"]
    torch.testing.assert_close(total, torch.stack(wanted).sum())
    assert count.item() == data.valid.sum()


def by_hand(**options: Any) -> Any:
    """Features are the observation (two numbers); predictions always point along (1, 0)."""
    reward = identity_encoder(make("byol_explore", vector_space(2), feature_dim=2, **options))
    constant_output(reward.predictor, [3.0, 0.0])
    return reward


def test_rewards_by_hand() -> None:
    # Cosines with (1, 0): obs_1 0, obs_2 1 / sqrt(2), obs_3 1, obs_4 -1.
    data = scripted([[[1.0, 1.0]], [[0.0, 2.0]], [[1.0, 1.0]], [[4.0, 0.0]], [[-1.0, 0.0]]], first=[(0, 0)])
    errors = [2.0, 2.0 - math.sqrt(2.0), 0.0, 4.0]
    for horizon in (1, 2, 8):
        r_t = by_hand(horizon=horizon).compute(data)[0][:, 0]
        wanted = [min(t + 1, horizon) * error for t, error in enumerate(errors)]
        torch.testing.assert_close(r_t, torch.tensor(wanted))


def test_loss_by_hand_is_the_mean_over_the_steps_ahead() -> None:
    data = scripted([[[1.0, 1.0]], [[0.0, 2.0]], [[1.0, 1.0]], [[4.0, 0.0]], [[-1.0, 0.0]]], first=[(0, 0)])
    errors = [2.0, 2.0 - math.sqrt(2.0), 0.0, 4.0]
    total, count = all_losses(by_hand(horizon=2), data)["byol_explore_loss"]
    wanted = (errors[0] + errors[1]) / 2 + (errors[1] + errors[2]) / 2 + (errors[2] + errors[3]) / 2 + errors[3]
    assert total.item() == pytest.approx(wanted, rel=1e-5) and count.item() == 4.0


def test_gradients_reach_everything_but_the_target() -> None:
    reward, data = make("byol_explore"), long_rollout()
    all_losses(reward, data)["byol_explore_loss"][0].backward()
    for part in (reward.encoder, reward.closed_loop, reward.open_loop, reward.predictor):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None and bool(parameter.grad.any()), name
    assert all(p.grad is None and not p.requires_grad for p in reward.target.parameters())


@pytest.mark.parametrize(("bptt_steps", "reached"), [(1, [5]), (3, [3, 4, 5]), (50, [0, 1, 2, 3, 4, 5])])
def test_gradients_flow_back_as_far_as_asked(bptt_steps: int, reached: list[int]) -> None:
    reward, data = make("byol_explore", bptt_steps=bptt_steps, horizon=1), long_rollout()
    features = reward.compute(data)[1]
    data.frames.requires_grad_(True)
    all_losses(reward, data, torch.tensor([5 * N]), features=features)["byol_explore_loss"][0].backward()
    assert data.frames.grad is not None
    assert data.frames.grad[:, 0].any(dim=1).nonzero()[:, 0].tolist() == reached
    assert not data.frames.grad[:, 1:].any()


def test_gradients_stop_at_the_beginning_of_an_episode() -> None:
    reward, data = make("byol_explore", bptt_steps=50, horizon=1), long_rollout()
    features = reward.compute(data)[1]
    data.frames.requires_grad_(True)
    all_losses(reward, data, torch.tensor([6 * N + 1]), features=features)["byol_explore_loss"][0].backward()
    assert data.frames.grad[:, 1].any(dim=1).nonzero()[:, 0].tolist() == [4, 5, 6]


def test_the_target_is_a_moving_average_of_the_encoder() -> None:
    reward, backbone = make("byol_explore", tau=0.75), MLP(vector_space(5), MLPOptions())
    pairs = list(zip(reward.target.parameters(), reward.encoder.parameters(), strict=True))
    assert all(torch.equal(old, new) and old is not new for old, new in pairs)
    with torch.no_grad():
        for _, parameter in pairs:
            parameter.add_(1.0)
    before = [old.clone() for old, _ in pairs]
    reward.after_update(backbone)
    for (old, _), was in zip(pairs, before, strict=True):
        torch.testing.assert_close(old, was + 0.25)
    reward.after_update(backbone)
    for (old, _), was in zip(pairs, before, strict=True):
        torch.testing.assert_close(old, was + 0.4375)


def test_target_and_encoder_share_their_input_statistics() -> None:
    reward, data = make("byol_explore"), random_rollout()
    reward.update_statistics(data)
    x = data.frames[0]
    torch.testing.assert_close(reward.target(x), reward.encoder(x))
    assert reward.target.moments.mean is reward.encoder.moments.mean


def test_targets_are_those_of_the_reward() -> None:
    """A rollout's targets stay as they are while the target network moves during the training on it."""
    reward, data = make("byol_explore"), random_rollout()
    features = reward.compute(data)[1]
    before = all_losses(reward, data, features=features)["byol_explore_loss"][0]
    with torch.no_grad():
        for parameter in reward.target.parameters():
            parameter.add_(1.0)
    assert torch.equal(all_losses(reward, data, features=features)["byol_explore_loss"][0], before)
    torch.testing.assert_close(features["target"].norm(dim=1), torch.ones(18))


# --- scale and prioritisation -----------------------------------------------------------------------------------------

ALL = torch.ones(1, 2, dtype=torch.bool)
FIRST, SECOND = torch.tensor([[1.0, 3.0]]), torch.tensor([[5.0, 7.0]])


def test_defaults_are_those_of_the_paper() -> None:
    options = BYOLExploreOptions()
    assert (options.horizon, options.tau, options.prioritize, options.memory_size) == (8, 0.99, True, 256)
    assert (options.normalize_reward, options.clip_reward, options.episodic) == (True, None, True)


def test_rewards_are_divided_by_a_moving_std() -> None:
    reward = make("byol_explore", reward_decay=0.5, prioritize=False)
    # Mean 2, mean square 5: standard deviation 1.
    torch.testing.assert_close(reward.normalize(FIRST, ALL), FIRST)
    # Weights 1/3 and 2/3: mean (2 + 2 * 6) / 3, mean square (5 + 2 * 37) / 3.
    sigma = math.sqrt(79 / 3 - (14 / 3) ** 2)
    torch.testing.assert_close(reward.normalize(SECOND, ALL), SECOND / sigma)


def test_only_what_is_above_the_moving_mean_counts() -> None:
    reward = make("byol_explore", reward_decay=0.5)
    torch.testing.assert_close(reward.normalize(FIRST, ALL), torch.tensor([[0.0, 1.0]]))
    sigma = math.sqrt(79 / 3 - (14 / 3) ** 2)
    mu = (2.0 + 2.0 * 6.0 / sigma) / 3.0  # means of the scaled rewards: 2 / 1 and 6 / sigma
    wanted = torch.tensor([[max(5 / sigma - mu, 0.0), 7 / sigma - mu]])
    torch.testing.assert_close(reward.normalize(SECOND, ALL), wanted)


def test_without_scale_the_mean_of_the_raw_rewards_is_subtracted() -> None:
    reward = make("byol_explore", normalize_reward=False)
    torch.testing.assert_close(reward.normalize(FIRST, ALL), torch.tensor([[0.0, 1.0]]), atol=1e-5, rtol=0)
    plain = make("byol_explore", normalize_reward=False, prioritize=False, clip_reward=2.5)
    assert plain.normalize(FIRST, ALL).tolist() == [[1.0, 2.5]]


def test_the_weight_comes_last_but_for_the_clip() -> None:
    reward = make("byol_explore", reward_scale=0.1, clip_reward=0.09)
    torch.testing.assert_close(reward.normalize(FIRST, ALL), torch.tensor([[0.0, 0.09]]))
    plain = make("byol_explore", reward_scale=0.1)
    torch.testing.assert_close(plain.normalize(FIRST, ALL), torch.tensor([[0.0, 0.1]]), atol=1e-6, rtol=0)


def test_reset_steps_are_no_part_of_the_scale() -> None:
    reward, masked = make("byol_explore"), make("byol_explore")
    wanted = reward.normalize(FIRST, ALL)
    r_t = torch.tensor([[1.0, 3.0, float("nan")]])
    out = masked.normalize(r_t, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(out, torch.cat([wanted, torch.zeros(1, 1)], dim=1))
    assert torch.equal(masked.moving, reward.moving)


def test_scale_can_be_left_alone_and_is_one_before_the_first_rollout() -> None:
    reward = make("byol_explore")
    assert torch.equal(reward.normalize(FIRST, ALL, update=False), FIRST)
    reward.normalize(FIRST, ALL)
    before = {key: value.clone() for key, value in reward.state_dict().items()}
    reward.normalize(SECOND, ALL, update=False)
    assert all(torch.equal(before[key], value) for key, value in reward.state_dict().items())


def test_constant_rewards_stay_finite_and_a_rollout_without_samples_changes_nothing() -> None:
    reward = make("byol_explore")
    assert not reward.normalize(torch.full((1, 2), 2.0), ALL).any()
    before = reward.moving.clone()
    assert not reward.normalize(SECOND, ~ALL).any()
    assert torch.equal(reward.moving, before)


def test_scale_is_that_of_all_learners_together(monkeypatch: pytest.MonkeyPatch) -> None:
    together = make("byol_explore")
    together.normalize(torch.cat([FIRST, SECOND], dim=1), torch.ones(1, 4, dtype=torch.bool))
    other = torch.tensor([12.0, 74.0, 2.0], dtype=torch.float64)  # sum, sum of squares and count of SECOND
    monkeypatch.setattr(byol_explore, "all_reduce_sum", lambda own: own + other)
    apart = make("byol_explore")
    apart.normalize(FIRST, ALL)
    torch.testing.assert_close(apart.moving, together.moving)
