"""Intrinsic curiosity module: rewards and losses by hand, who learns from what."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import pytest
import torch

from rllib_rnd.intrinsic import ICM, ICMOptions
from rllib_rnd.plugin import Spaces
from tests.intrinsic.rollouts import image_space, random_rollout, vector_space
from tests.intrinsic.transition_checks import (
    DISCRETE,
    all_losses,
    constant_output,
    identity_encoder,
    make,
    scripted,
    train,
    with_actions,
)


def by_hand(**options: Any) -> Any:
    """Features are the observation (two numbers); predictions are always (1, -1), all four actions equally likely."""
    reward = identity_encoder(make("icm", vector_space(2), feature_dim=2, **options))
    constant_output(reward.forward_model, [1.0, -1.0])
    constant_output(reward.inverse, [0.0] * 4)
    return reward


# obs_0, obs_1, obs_2 of one environment; errors of (1, -1) against obs_1 and obs_2: (1, 2) and (0, 0).
DATA = scripted([[[0.0, 0.0]], [[2.0, 1.0]], [[1.0, -1.0]]])


def test_defaults_are_those_of_the_paper() -> None:
    options = ICMOptions()
    assert (options.beta, options.eta, options.forward_trains_encoder) == (0.2, 0.01, True)
    assert (options.normalize_reward, options.clip_reward, options.episodic) == (False, None, True)


@pytest.mark.parametrize("eta", [0.01, 1.0])
def test_reward_is_half_eta_times_the_squared_error(eta: float) -> None:
    r_t, features = by_hand(eta=eta).compute(DATA)
    torch.testing.assert_close(r_t, torch.tensor([[eta / 2 * 5.0], [0.0]]))
    assert features == {}


@pytest.mark.parametrize("beta", [0.2, 0.0, 1.0])
def test_losses_are_weighted_by_beta(beta: float) -> None:
    terms = all_losses(by_hand(beta=beta), DATA)
    assert list(terms) == ["icm_inverse_loss", "icm_forward_loss"]
    inverse, forward = terms["icm_inverse_loss"], terms["icm_forward_loss"]
    assert inverse[0].item() == pytest.approx((1 - beta) * 2 * math.log(4.0)) and inverse[1].item() == 2.0
    assert forward[0].item() == pytest.approx(beta * 2.5) and forward[1].item() == 2.0


def test_squared_error_of_continuous_actions() -> None:
    box = gym.spaces.Box(-1, 1, (2,))
    reward = identity_encoder(make("icm", vector_space(2), box, feature_dim=2, beta=0.0))
    constant_output(reward.inverse, [0.5, 0.0])
    data = with_actions(DATA, box)
    data.action[:] = torch.tensor([[[0.5, 2.0]], [[1.5, 0.0]]])
    # The environment receives (0.5, 1) and (1, 0): half of 1, and half of a quarter.
    assert all_losses(reward, data)["icm_inverse_loss"][0].item() == pytest.approx(0.625)


def gradients(reward: Any, term: str) -> dict[str, bool]:
    """Which parts get a gradient from one loss term."""
    reward.zero_grad(set_to_none=True)
    all_losses(reward, random_rollout())[term][0].backward()
    parts = {"encoder": reward.encoder, "inverse": reward.inverse, "forward": reward.forward_model}
    return {
        name: any(p.grad is not None and bool(p.grad.any()) for p in part.parameters()) for name, part in parts.items()
    }


def test_each_loss_trains_its_model_and_both_train_the_encoder() -> None:
    reward = make("icm")
    assert gradients(reward, "icm_inverse_loss") == {"encoder": True, "inverse": True, "forward": False}
    assert gradients(reward, "icm_forward_loss") == {"encoder": True, "inverse": False, "forward": True}


def test_the_forward_loss_can_be_kept_from_the_encoder() -> None:
    reward = make("icm", forward_trains_encoder=False)
    assert gradients(reward, "icm_inverse_loss")["encoder"]
    assert gradients(reward, "icm_forward_loss") == {"encoder": False, "inverse": False, "forward": True}


def test_without_the_inverse_loss_the_forward_loss_collapses_the_features() -> None:
    """Why eq. 7 has both: constant features are predicted best."""

    def spread(reward: Any) -> float:
        return reward.encoder(data.obs(torch.arange(18))).var(dim=0).sum().item()

    data, reward = random_rollout(), make("icm", beta=1.0)
    before = spread(reward)
    train(reward, data, 300)
    assert spread(reward) < 0.1 * before
    kept = make("icm", beta=0.2, forward_trains_encoder=False)
    train(kept, data, 300)
    assert spread(kept) > 0.5 * before


def test_sizes_on_images() -> None:
    options = ICMOptions()
    icm = ICM(Spaces(image_space(4, 84, 84), DISCRETE, 4), options)
    assert icm.encoder.head.in_features == 32 * 6 * 6 and icm.encoder.head.out_features == 256
    inverse = (512 * 256 + 256) + (256 * 4 + 4)
    forward = (260 * 256 + 256) + (256 * 256 + 256)
    assert sum(p.numel() for p in icm.inverse.parameters()) == inverse
    assert sum(p.numel() for p in icm.forward_model.parameters()) == forward
