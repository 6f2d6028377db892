"""Modified RND: networks on the backbone's features, computed once, without gradient, of a moving average if asked."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic import INTRINSIC_REWARDS, ModifiedRND
from rllib_rnd.modules.backbone import Backbone, build_backbone
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout
from tests.conftest import small_config
from tests.intrinsic.test_rnd import N, T, box, rollout, size

SPACE, FRAME = box(2, 36, 36), (36, 36)


def make(
    backbone: dict[str, Any] | None = None, space: gym.spaces.Box = SPACE, **options: Any
) -> tuple[ModifiedRND, Backbone]:
    torch.manual_seed(0)
    spec = {"type": "nature_cnn", "hidden_sizes": [24], **(backbone or {})}
    network = build_backbone(spec, space)
    cls, parsed = INTRINSIC_REWARDS.parse({"type": "modified_rnd", "feature_dim": 16, **options}, "intrinsic_reward")
    reward = cls(Spaces(space, gym.spaces.Discrete(2), 2), parsed)
    reward.use_backbone(network)
    assert isinstance(reward, ModifiedRND)
    return reward, network


def images(seed: int = 0) -> Rollout:
    return rollout(FRAME, 2, seed)


def move(network: nn.Module, by: float = 0.5) -> None:
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p), alpha=by * float(p.abs().mean()) + 0.01)


def test_parameter_counts_by_hand() -> None:
    space = box(4, 84, 84)
    linear, _ = make({"hidden_sizes": [256, 448]}, space, feature_dim=512)
    assert (size(linear.target), size(linear.predictor)) == (201_664, 726_976)
    maps, _ = make({"shared_output": "conv"}, space, feature_dim=512)  # 64 x 7 x 7
    assert (size(maps.target), size(maps.predictor)) == (2_147_008, 2_672_320)
    kinds = [type(m).__name__ for m in maps.predictor.modules() if not list(m.children())]
    assert kinds == ["Conv2d", "LeakyReLU"] * 3 + ["Flatten", "Linear"] + ["ReLU", "Linear"] * 2


@pytest.mark.parametrize("backbone", [{}, {"shared_output": "conv"}, {"type": "michalnand_d"}, {"type": "gru"}])
@pytest.mark.parametrize("tau", [None, 0.9])
def test_every_step_is_rewarded_and_only_the_predictor_learns(backbone: dict[str, Any], tau: float | None) -> None:
    if backbone.get("type") == "gru":
        backbone = {"type": "gru", "memory_size": 8, "max_seq_len": 2}
    reward, network = make(backbone, tau=tau)
    data = images()
    reward.update_statistics(data)
    r_t, features = reward.compute(data)
    assert r_t.shape == (T, N) and bool((r_t[data.valid] > 0).all()) and r_t[3, 1] == 0.0
    terms = reward.terms(data, features, data.valid.flatten().nonzero()[:, 0], torch.Generator().manual_seed(0))
    (total, count) = terms["rnd_predictor_loss"]
    (total / count).backward()
    for name, parameter in reward.named_parameters():
        learns = name.startswith("predictor.")
        assert (parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)) == learns, name
    assert all(p.grad is None for p in network.parameters())


def test_what_is_read_is_the_normalised_representation_of_the_next_observation() -> None:
    for reward_on, offset in (("next", N), ("current", 0)):
        reward, network = make(reward_on=reward_on, clip_input=1.0)
        data = images()
        index = torch.arange(T * N)
        features = network.eval().representation(data.obs(index + offset)).detach()
        torch.testing.assert_close(reward.inputs(data, index), features.clamp(-1, 1))  # before any statistics
        reward.update_statistics(data)
        valid = features[data.valid.flatten()].double()
        torch.testing.assert_close(reward.feature_moments.mean, valid.mean(0), atol=1e-6, rtol=1e-5)
        white = (features - valid.mean(0)) / (valid.std(0, unbiased=False) + 1e-8)
        torch.testing.assert_close(reward.inputs(data, index), white.clamp(-1, 1).float(), atol=1e-4, rtol=1e-4)


def test_features_stay_those_of_the_reward_until_the_update_is_over() -> None:
    reward, network = make()
    data, index = images(), torch.arange(T * N)
    reward.update_statistics(data)
    r_t, before = reward.compute(data)[0], reward.inputs(data, index)
    calls: list[int] = []
    network.convs.register_forward_hook(lambda module, args, output: calls.append(len(output)))
    move(network)
    assert torch.equal(reward.inputs(data, index), before) and calls == []
    reward.update_statistics(data)
    assert calls == [T * N - 1]  # for the drift alone: the valid samples, fewer than it looks at
    assert not torch.allclose(reward.compute(data)[0], r_t)


def test_drift_is_zero_for_a_backbone_at_rest_and_shows_one_that_moves() -> None:
    reward, network = make()
    data = images()
    reward.compute(data)
    reward.update_statistics(data)
    assert reward.metrics["rnd_feature_drift"] == 0.0 and reward.metrics["rnd_feature_std"] > 0.0
    reward.compute(data)
    move(network)
    reward.update_statistics(data)
    moved = reward.metrics["rnd_feature_drift"]
    assert moved > 0.01
    with torch.no_grad():
        for p in network.parameters():
            p.zero_()
    reward.update_statistics(data)
    assert reward.metrics["rnd_feature_std"] == 0.0


def test_the_moving_average_follows_by_hand_and_the_features_are_its_own() -> None:
    reward, network = make(tau=0.75)
    data = images()
    old = [p.clone() for p in network.parameters()]
    move(network)
    before = reward.compute(data)[0]
    reward.after_update(network)
    assert reward.average is not None
    for average, first, now in zip(reward.average.parameters(), old, network.parameters(), strict=True):
        torch.testing.assert_close(average, 0.75 * first + 0.25 * now)
    reward.update_statistics(data)
    assert reward.metrics["rnd_feature_drift"] > 0.0
    reward.feature_moments.count.zero_()
    assert not torch.equal(reward.compute(data)[0], before)
    reward.train()
    assert not reward.average.training and not reward.target.training and reward.predictor.training
    assert not any(p.requires_grad for p in reward.average.parameters())


def test_without_tau_nothing_moves_and_the_backbone_is_not_listed() -> None:
    reward, network = make()
    assert reward.average is None
    mine = {id(p) for p in reward.parameters()}
    assert not mine & {id(p) for p in network.parameters()}
    reward.after_update(network)


def test_the_backbone_keeps_its_mode() -> None:
    reward, network = make()
    for mode in (True, False):
        network.train(mode)
        reward.compute(images())
        assert network.training == mode


def test_a_familiar_state_is_rewarded_less_than_a_new_one() -> None:
    reward, _ = make(update_proportion=1.0)
    familiar, novel = images(1), images(2)
    for data in (familiar, novel):
        reward.update_statistics(data)
    before = reward.compute(familiar)[0].sum() / reward.compute(novel)[0].sum()
    optimizer = torch.optim.Adam(reward.predictor.parameters(), lr=3e-3)
    index, features = torch.arange(T * N), reward.compute(familiar)[1]
    for _ in range(200):
        terms = reward.terms(familiar, features, index, torch.Generator())
        optimizer.zero_grad()
        (terms["rnd_predictor_loss"][0] / T / N).backward()
        optimizer.step()
    assert reward.compute(familiar)[0].sum() / reward.compute(novel)[0].sum() < 0.5 * before


def test_state_dict_restores_networks_statistics_and_average() -> None:
    reward, network = make(tau=0.5)
    data = images()
    reward.update_statistics(data)
    move(network)
    reward.after_update(network)
    restored, _ = make(tau=0.5)
    assert not torch.equal(restored.compute(data)[0], reward.compute(data)[0])
    restored.load_state_dict(reward.state_dict())
    restored._encoded = reward._encoded = None
    assert torch.equal(restored.compute(data)[0], reward.compute(data)[0])


@pytest.mark.parametrize("shape", [(5,), (7, 7, 3)])
def test_vectors_are_refused_with_what_would_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^type: observations of shape .* are no images.*Nearest: 'rnd'"):
        make({"type": "mlp", "hidden_sizes": [8]}, box(*shape))


@pytest.mark.usefixtures("ray_session")
def test_it_trains_beside_byol_and_says_how_far_features_moved() -> None:
    config = small_config(
        env="rllib_rnd/Catch-v0",
        backbone={"type": "nature_cnn", "hidden_sizes": [16], "shared_output": "conv"},
        intrinsic_reward={"type": "modified_rnd", "feature_dim": 8, "tau": 0.9},
        auxiliary_loss={"type": "byol", "projector_hidden": 8, "projection_size": 8, "predictor_hidden": 8},
        lr=1e-2,
    )
    algorithm = config.build_algo()
    result = [algorithm.train()["learners"]["default_policy"] for _ in range(2)][-1]
    assert result["plugins"]["rnd_feature_drift"] > 0.0 and result["plugins"]["rnd_feature_std"] > 0.0
    assert result["nonfinite_updates"] == 0
    algorithm.stop()
