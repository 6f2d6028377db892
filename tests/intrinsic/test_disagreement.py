"""Disagreement: the ensemble's variance, each model's own data, random and trained features."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rllib_rnd.intrinsic import DisagreementOptions
from tests.intrinsic.rollouts import random_rollout, vector_space
from tests.intrinsic.transition_checks import all_losses, constant_output, identity_encoder, make, scripted, train

DATA = scripted([[[0.0, 0.0]], [[2.0, 1.0]], [[1.0, -1.0]]])


def by_hand(outputs: list[list[float]], **options: Any) -> Any:
    """Features are the observation (two numbers); model m always predicts ``outputs[m]``."""
    options = {"ensemble_size": len(outputs), "update_proportion": 1.0, **options}
    reward = identity_encoder(make("disagreement", vector_space(2), feature_dim=2, **options))
    for model, output in zip(reward.models, outputs, strict=True):
        constant_output(model, output)
    return reward


def test_defaults_are_those_of_the_paper() -> None:
    options = DisagreementOptions()
    assert (options.ensemble_size, options.encoder, options.update_proportion) == (5, "random", 0.8)
    assert (options.normalize_reward, options.clip_reward, options.episodic) == (True, None, False)


@pytest.mark.parametrize(
    ("outputs", "variance"),
    [
        ([[0.0, 0.0], [2.0, 4.0]], (1.0 + 4.0) / 2),
        ([[0.0, 7.0], [1.0, 7.0], [2.0, 7.0], [3.0, 7.0], [4.0, 7.0]], 2.0 / 2),
        ([[3.0, 1.0]] * 3, 0.0),
    ],
)
def test_reward_is_the_variance_over_the_models(outputs: list[list[float]], variance: float) -> None:
    r_t, features = by_hand(outputs).compute(DATA)
    torch.testing.assert_close(r_t, torch.full((2, 1), variance))
    assert features["phi_t"].tolist() == [[0.0, 0.0], [2.0, 1.0]]
    assert features["phi_tp1"].tolist() == [[2.0, 1.0], [1.0, -1.0]]


def test_loss_is_the_sum_over_models_of_their_mean_errors() -> None:
    terms = all_losses(by_hand([[1.0, -1.0], [2.0, 1.0]]), DATA)
    assert list(terms) == ["disagreement_forward_loss"]
    total, count = terms["disagreement_forward_loss"]
    # Model 0: errors (1, 4) / 2 and 0; model 1: 0 and (1, 4) / 2.
    assert (total / count).item() == pytest.approx(2.5 / 2 + 2.5 / 2) and count.item() == 2.0


def test_each_model_trains_on_its_own_share_of_the_samples() -> None:
    reward, data = make("disagreement", ensemble_size=2, update_proportion=0.5), random_rollout()
    features = reward.compute(data)[1]
    total, count = all_losses(reward, data, seed=3, features=features)["disagreement_forward_loss"]
    keep, valid = torch.rand((2, 17), generator=torch.Generator().manual_seed(3)) < 0.5, data.valid.flatten()
    phi_t, phi_tp1, action = features["phi_t"][valid], features["phi_tp1"][valid], data.action.flatten()[valid]
    errors = torch.stack([(model(phi_t, action) - phi_tp1).square().mean(1) for model in reward.models])
    torch.testing.assert_close(total, errors[0][keep[0]].sum() + errors[1][keep[1]].sum())
    assert count.item() == keep.sum() / 2 and not torch.equal(keep[0], keep[1])
    index = torch.arange(18).repeat(200)
    _, count = all_losses(reward, data, index, features=features)["disagreement_forward_loss"]
    assert abs(count.item() / (17 * 200) - 0.5) < 0.03


def test_models_differ_and_all_learn() -> None:
    reward = make("disagreement", ensemble_size=3)
    first, second, third = (m.net[0][0].weight for m in reward.models)
    assert not torch.equal(first, second) and not torch.equal(second, third)
    all_losses(reward, random_rollout())["disagreement_forward_loss"][0].backward()
    assert all(bool(p.grad.any()) for p in reward.models.parameters())


def test_random_features_stay_as_they_were_drawn() -> None:
    reward, data = make("disagreement"), random_rollout()
    before = [p.clone() for p in reward.encoder.parameters()]
    train(reward, data, 5)
    assert all(torch.equal(a, b) for a, b in zip(before, reward.encoder.parameters(), strict=True))
    assert reward.inverse is None and not any(p.requires_grad for p in reward.encoder.parameters())


def test_trained_features_learn_from_the_inverse_loss_alone() -> None:
    reward, data = make("disagreement", encoder="inverse"), random_rollout()
    terms = all_losses(reward, data)
    assert list(terms) == ["disagreement_inverse_loss", "disagreement_forward_loss"]
    assert terms["disagreement_inverse_loss"][1].item() == 17.0 and reward.compute(data)[1] == {}
    terms["disagreement_forward_loss"][0].backward()
    assert all(p.grad is None for p in (*reward.encoder.parameters(), *reward.inverse.parameters()))
    assert all(p.grad is not None for p in reward.models.parameters())
    reward.zero_grad(set_to_none=True)
    all_losses(reward, data)["disagreement_inverse_loss"][0].backward()
    assert all(bool(p.grad.any()) for p in (*reward.encoder.parameters(), *reward.inverse.parameters()))
    assert all(p.grad is None for p in reward.models.parameters())


def test_noise_is_not_rewarded_for_ever() -> None:
    """What cannot be predicted is agreed upon in the end; a prediction error stays."""
    reward, data = make("disagreement"), random_rollout(steps=60, seed=1)
    data.frames[:61:2] = 0.0  # even observations are all the same, odd ones are noise: obs_{t+1} is a guess
    data.action[:] = 0
    before = float(reward.compute(data)[0][::2].mean())
    history = train(reward, data, 300)
    assert float(reward.compute(data)[0][::2].mean()) < 0.1 * before
    features = reward.compute(data)[1]
    guesses = torch.arange(0, 180).view(60, 3)[::2].flatten()
    with torch.no_grad():
        predicted = reward.models[0](features["phi_t"][guesses], torch.zeros(90, dtype=torch.int64))
    error = (predicted - features["phi_tp1"][guesses]).square().mean()
    assert error.item() > 0.2 * history[0] / len(reward.models)
