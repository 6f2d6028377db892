"""RIDE: impact divided by the root of episodic visits, losses by hand, memory of visits over rollouts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rllib_rnd.intrinsic import RIDEOptions
from tests.intrinsic.rollouts import image_space, random_rollout, vector_space
from tests.intrinsic.transition_checks import all_losses, constant_output, cut, identity_encoder, make, scripted, train

A, B, C = [0.0, 0.0], [3.0, 4.0], [3.0, 0.0]  # distances: A to B 5, B to C 4, A to C 3


def by_hand(**options: Any) -> Any:
    """Features are the observation (two numbers); predictions are always (1, -1), all four actions equally likely."""
    reward = identity_encoder(make("ride", vector_space(2), feature_dim=2, **{"reward_scale": 1.0, **options}))
    constant_output(reward.forward_model, [1.0, -1.0])
    constant_output(reward.inverse, [0.0] * 4)
    return reward


def test_defaults_are_those_of_the_paper() -> None:
    options = RIDEOptions()
    assert (options.forward_coeff, options.inverse_coeff, options.reward_scale) == (10.0, 0.1, 0.5)
    assert (options.normalize_reward, options.clip_reward, options.episodic) == (False, None, True)


def test_reward_is_the_change_of_features_over_the_root_of_visits() -> None:
    data = scripted([[A], [B], [A], [B], [C], [B]], first=[(0, 0)])
    r_t, features = by_hand().compute(data)
    # Visits, with the reset observation A: B 1, A 2, B 2, C 1, B 3.
    wanted = [5.0, 5.0 / math.sqrt(2), 5.0 / math.sqrt(2), 4.0, 4.0 / math.sqrt(3)]
    torch.testing.assert_close(r_t[:, 0], torch.tensor(wanted))
    assert features == {}


def test_the_reward_has_a_scale_of_its_own() -> None:
    data = scripted([[A], [B], [A]], first=[(0, 0)])
    r_t = by_hand(reward_scale=0.1).compute(data)[0]
    torch.testing.assert_close(r_t[:, 0], torch.tensor([0.5, 0.5 / math.sqrt(2)]))


def test_staying_in_place_pays_nothing() -> None:
    r_t = by_hand().compute(scripted([[A], [A], [A]], first=[(0, 0)]))[0]
    assert not r_t.any()


def test_counts_begin_anew_with_every_episode_and_environment() -> None:
    # Environment 0 ends at step 1 (its last observation is B) and begins again with A; environment 1 goes on.
    data = scripted([[A, A], [B, B], [B, B], [A, A], [B, B]], first=[(0, 0), (0, 1), (3, 0)])
    r_t = by_hand().compute(data)[0]
    torch.testing.assert_close(r_t[:, 0], torch.tensor([5.0, 0.0, 0.0, 5.0]))
    torch.testing.assert_close(r_t[:, 1], torch.tensor([5.0, 0.0, 5.0 / math.sqrt(2), 5.0 / math.sqrt(3)]))


def test_the_true_last_observation_counts_and_the_reset_step_does_not() -> None:
    # Ends at step 1 with B, visited before: N = 2. Step 2 is the reset step.
    data = scripted([[B], [A], [B], [C], [B]], first=[(0, 0), (3, 0)])
    r_t = by_hand().compute(data)[0]
    torch.testing.assert_close(r_t[:, 0], torch.tensor([5.0, 5.0 / math.sqrt(2), 0.0, 4.0]))


def test_visits_are_remembered_over_rollouts() -> None:
    long = scripted([[A], [B], [A], [B], [A], [B]], first=[(0, 0)])
    wanted, reward = by_hand().compute(long)[0], by_hand()
    parts = [reward.compute(cut(long, start, stop))[0] for start, stop in ((0, 2), (2, 3), (3, 5))]
    torch.testing.assert_close(torch.cat(parts), wanted)


def test_counts_can_be_left_out() -> None:
    data = scripted([[A], [B], [A], [B]], first=[(0, 0)])
    r_t = by_hand(episodic_counts=False).compute(data)[0]
    torch.testing.assert_close(r_t[:, 0], torch.tensor([5.0, 5.0, 5.0]))


def test_a_full_memory_forgets_the_state_it_saw_first() -> None:
    data = scripted([[A], [B], [C], [B], [A]], first=[(0, 0)])
    r_t = by_hand(capacity=2).compute(data)[0]
    # C takes the place of A, so that A is new at the end; B is known.
    torch.testing.assert_close(r_t[:, 0], torch.tensor([5.0, 4.0, 4.0 / math.sqrt(2), 5.0]))


def test_only_the_newest_frame_of_a_stack_tells_states_apart() -> None:
    data, space = random_rollout((36, 36), frame_stack=3), image_space(3, 36, 36)
    data.frames[4, 0] = data.frames[3, 0]  # obs_1 and obs_2 have the same newest frame, and others behind it
    r_t = make("ride", space, frame_stack=3).compute(data)[0]
    without = make("ride", space, frame_stack=3, episodic_counts=False).compute(data)[0]
    wanted = torch.ones(6, 3)
    wanted[1, 0] = math.sqrt(2)
    torch.testing.assert_close((without / r_t)[data.valid], wanted[data.valid])


def test_losses_have_the_paper_s_weights() -> None:
    data = scripted([[[0.0, 0.0]], [[2.0, 1.0]], [[1.0, -1.0]]])
    terms = all_losses(by_hand(), data)
    assert list(terms) == ["ride_inverse_loss", "ride_forward_loss"]
    inverse, forward = terms["ride_inverse_loss"], terms["ride_forward_loss"]
    assert inverse[0].item() == pytest.approx(0.1 * 2 * math.log(4.0)) and inverse[1].item() == 2.0
    # Errors (1, 2) and (0, 0).
    assert forward[0].item() == pytest.approx(10.0 * 5.0) and forward[1].item() == 2.0


@pytest.mark.parametrize("term", ["ride_inverse_loss", "ride_forward_loss"])
def test_each_loss_trains_its_model_and_both_train_the_encoder(term: str) -> None:
    reward = make("ride")
    all_losses(reward, random_rollout())[term][0].backward()
    trained, other = reward.inverse, reward.forward_model
    if term == "ride_forward_loss":
        trained, other = other, trained
    assert all(bool(p.grad.any()) for p in (*reward.encoder.parameters(), *trained.parameters()))
    assert all(p.grad is None for p in other.parameters())


def test_a_repeated_transition_is_rewarded_less_than_a_new_one_in_an_episode_but_not_over_training() -> None:
    data = scripted([[A], [B], [A], [C], [A], [B]], first=[(0, 0)])
    reward = make("ride", vector_space(2))
    r_t = reward.compute(data)[0][:, 0]
    assert r_t[4] == pytest.approx(float(r_t[0]) / math.sqrt(2))  # A to B again: B is seen for the second time
    train(reward, data, 50)
    r_t = reward.compute(data)[0][:, 0]
    assert r_t[4] == pytest.approx(float(r_t[0]) / math.sqrt(2)) and r_t[0] > 0
