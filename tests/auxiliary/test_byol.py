"""BYOL on every kind of backbone: gradients, target, metrics, and what it does with bad or small batches."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rllib_rnd.auxiliary import AUXILIARY_LOSSES, BYOL
from rllib_rnd.errors import ConfigError
from rllib_rnd.functional import byol_loss
from tests.auxiliary.two_view_checks import (
    BACKBONES,
    IMAGES,
    VECTORS,
    TwoViews,
    build,
    check_backbone_gradients,
    loss,
    observations,
    train,
    trained,
)

SMALL = {"type": "byol", "projector_hidden": 32, "projection_size": 8, "predictor_hidden": 16}


def perturb(*modules: torch.nn.Module) -> None:
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))


@pytest.mark.parametrize("name", list(BACKBONES))
def test_gradients_reach_online_networks_and_not_the_target(name: str) -> None:
    spec, space, without = BACKBONES[name]
    backbone, byol = build(SMALL, space, spec)
    total, count = loss(byol, backbone, observations(space))
    assert count == 24.0 and not count.requires_grad
    (total / count).backward()
    check_backbone_gradients(backbone, without)
    for head in (byol.projector, byol.predictor):
        for key, parameter in head.named_parameters():
            assert parameter.grad is not None, key
            # batch normalisation takes away what the bias before it adds
            assert parameter.grad.abs().sum() > 0 or key == "0.bias", key
    assert all(p.grad is None and not p.requires_grad for p in byol.target.parameters())


@pytest.mark.parametrize("name", list(BACKBONES))
def test_the_features_are_the_flattened_representation(name: str) -> None:
    spec, space, _ = BACKBONES[name]
    backbone, byol = build(SMALL, space, spec)
    features = backbone.representation(observations(space)).flatten(1)
    assert byol.feature_size == features.shape[1] == byol.projector[0].in_features
    assert backbone.training


@pytest.mark.parametrize("name", ["nature_cnn", "vit", "mlp", "gru"])
def test_the_loss_falls_on_a_fixed_batch(name: str) -> None:
    spec, space, _ = BACKBONES[name]
    backbone, byol = build(SMALL, space, spec)
    history = train(byol, backbone, observations(space), 40)
    assert 2.0 < history[0] < 6.0  # untrained predictions are unrelated to their targets: two terms of about 2
    assert history[-1] < 0.5 * history[0]


def test_each_view_is_predicted_from_the_other() -> None:
    backbone, byol = build(SMALL)
    first, second = observations(VECTORS, seed=1), observations(VECTORS, seed=2)
    perturb(byol.target)  # so that predicting one's own view would give another number
    byol.augmentation = TwoViews(first, second)
    total, _ = loss(byol, backbone, first)
    views = torch.cat([first, second])
    prediction_1, prediction_2 = byol.predictor(byol.projector(backbone(views).policy)).chunk(2)
    target_1, target_2 = byol.target(views).chunk(2)
    wanted = byol_loss(prediction_1, target_2) + byol_loss(prediction_2, target_1)
    torch.testing.assert_close(total, wanted.sum())
    same = byol_loss(prediction_1, target_1) + byol_loss(prediction_2, target_2)
    assert abs(float((total - same.sum()).detach())) > 0.1


def test_both_views_are_one_batch_for_the_backbone() -> None:
    backbone, byol = build(SMALL)
    sizes: list[int] = []
    backbone.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    byol.target.backbone.register_forward_hook(lambda module, inputs, output: sizes.append(-len(inputs[0])))
    loss(byol, backbone, observations(VECTORS))
    assert sizes == [48, -48]


def test_the_backbone_is_not_listed_twice() -> None:
    backbone, byol = build(SMALL)
    own, theirs = {id(p) for p in byol.parameters()}, {id(p) for p in backbone.parameters()}
    assert not own & theirs
    names = {name.split(".")[0] for name, p in byol.named_parameters() if p.requires_grad}
    assert names == {"projector", "predictor"}


def test_sizes_of_the_published_heads() -> None:
    _, byol = build({"type": "byol"}, backbone={"type": "mlp", "hidden_sizes": [448]})
    linear = 448 * 4096 + 4096 + 4096 * 256 + 256 + 256 * 512 + 512 + 512 * 256 + 256
    assert sum(p.numel() for p in [*byol.projector.parameters(), *byol.predictor.parameters()]) == linear + 2 * 4608
    assert sum(p.numel() for p in byol.target.projector.parameters()) == 448 * 4096 + 4096 * 3 + 4096 * 256 + 256


def test_the_target_is_a_moving_average_of_every_parameter() -> None:
    backbone, byol = build({**SMALL, "tau": 0.9})
    before = [p.clone() for p in byol.target.parameters()]
    online = [*backbone.parameters(), *byol.projector.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, online, strict=True))
    perturb(backbone, byol.projector)
    for updates in (1, 2):
        byol.after_update(backbone)
        weight = 0.9**updates
        for old, new, target in zip(before, online, byol.target.parameters(), strict=True):
            torch.testing.assert_close(target, weight * old + (1 - weight) * new)
    assert byol.num_updates == 2


def test_the_target_averages_the_statistics_of_batch_normalisation() -> None:
    backbone, byol = build({**SMALL, "tau": 0.6})
    norm, averaged = byol.projector[1], byol.target.projector[1]
    wanted: Any = None
    for update, obs_seed in enumerate(range(4)):
        loss(byol, backbone, observations(VECTORS, seed=obs_seed))
        assert not torch.equal(averaged.running_mean, norm.running_mean)
        byol.after_update(backbone)
        statistics = torch.stack([norm.running_mean, norm.running_var])
        # the first replaces the initial values; then weights 1/2 (all alike) and, from there on, tau
        weight = [0.0, 0.5, 0.6, 0.6][update]
        wanted = statistics if wanted is None else weight * wanted + (1 - weight) * statistics
        torch.testing.assert_close(torch.stack([averaged.running_mean, averaged.running_var]), wanted)
        assert torch.equal(averaged.num_batches_tracked, norm.num_batches_tracked)


def test_online_statistics_are_those_of_both_views_together() -> None:
    backbone, byol = build({**SMALL, "augmentation": "none"})
    obs = observations(VECTORS)
    loss(byol, backbone, obs)
    hidden = byol.projector[0](backbone(torch.cat([obs, obs])).policy)
    torch.testing.assert_close(byol.projector[1].running_mean, hidden.mean(0))
    torch.testing.assert_close(byol.projector[1].running_var, hidden.var(0))


@pytest.mark.parametrize("statistics", ["batch", "average"])
def test_what_the_target_normalises_with(statistics: str) -> None:
    backbone, byol = build({**SMALL, "target_statistics": statistics})
    obs = observations(VECTORS)
    train(byol, backbone, obs, 3)
    before = [b.clone() for b in byol.target.buffers() if b.is_floating_point()]
    hidden = byol.target.projector[0](byol.target.backbone(obs).policy)
    norm = byol.target.projector[1]
    mean, var = hidden.mean(0), hidden.var(0, unbiased=False)
    if statistics == "average":
        mean, var = norm.running_mean, norm.running_var
    hidden = norm.weight * (hidden - mean) / (var + norm.eps).sqrt() + norm.bias
    torch.testing.assert_close(byol.target(obs), byol.target.projector[2:](hidden))
    # a sample's target depends on the others in its batch, or not
    assert torch.allclose(byol.target(obs)[:5], byol.target(obs[:5]), atol=1e-5) == (statistics == "average")
    after = [b for b in byol.target.buffers() if b.is_floating_point()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    byol.eval()
    torch.testing.assert_close(byol.target(obs)[:5], byol.target(obs[:5]))


def test_dropout_is_off_in_the_target() -> None:
    spec = {**BACKBONES["vit"][0], "dropout": 0.5}
    backbone, byol = build(SMALL, IMAGES, spec)
    obs = observations(IMAGES)
    assert not torch.equal(backbone.representation(obs), backbone.representation(obs))
    assert torch.equal(byol.target(obs), byol.target(obs))


@pytest.mark.parametrize("statistics", ["batch", "average"])
def test_targets_are_spread_from_the_first_updates_on(statistics: str) -> None:
    """Features that hardly differ, far from zero: only centred ones can be told apart."""
    spec = {**SMALL, "projection_size": 64, "target_statistics": statistics}
    backbone, byol = build(spec, backbone={"type": "mlp", "activation": "relu"})
    obs = 20.0 + 0.1 * observations(VECTORS, 64)
    train(byol, backbone, obs, 5, lr=1e-4)
    loss(byol, backbone, obs)
    healthy = 1.0 / math.sqrt(64)
    assert byol.metrics["byol_feature_std"] < 0.05 * healthy
    assert byol.metrics["byol_target_std"] > 0.5 * healthy


def test_tau_is_constant_or_follows_the_cosine() -> None:
    backbone, byol = build(SMALL)
    for _ in range(3):
        assert byol.tau() == 0.99
        byol.after_update(backbone)
    backbone, byol = build({**SMALL, "tau": 0.9, "tau_schedule": "cosine", "tau_steps": 4})
    seen = []
    for _ in range(6):
        seen.append(byol.tau())
        byol.after_update(backbone)
    root = math.sqrt(0.5)
    assert seen == pytest.approx([0.9, 1 - 0.05 * (1 + root), 0.95, 1 - 0.05 * (1 - root), 1.0, 1.0])
    before = [p.clone() for p in byol.target.parameters()]
    perturb(backbone, byol.projector)
    byol.after_update(backbone)
    assert all(torch.equal(a, b) for a, b in zip(before, byol.target.parameters(), strict=True))


def test_collapse_metrics_are_healthy_on_spread_and_zero_on_constant_features() -> None:
    backbone, byol = build({**SMALL, "augmentation": "none", "projection_size": 64})
    loss(byol, backbone, observations(VECTORS, 256))
    assert set(byol.metrics) == {"byol_feature_std", "byol_projection_std", "byol_target_std"}
    assert all(value.shape == () and not value.requires_grad for value in byol.metrics.values())
    assert 0.6 / 8 < byol.metrics["byol_projection_std"] < 1.0 / 8
    assert 0.6 / 8 < byol.metrics["byol_feature_std"] < 1.0 / 8
    loss(byol, backbone, torch.ones(256, 5))
    assert all(value < 1e-4 for value in byol.metrics.values())


@pytest.mark.parametrize("samples", [0, 1])
def test_batches_too_small_for_batch_normalisation_are_skipped(samples: int) -> None:
    backbone, byol = build(SMALL)
    assert byol.min_batch_size == 2
    total, count = loss(byol, backbone, observations(VECTORS)[:samples])
    assert total.item() == 0.0 and count.item() == 0.0
    total.backward()
    for parameter in trained(backbone, byol):
        assert parameter.grad is not None and parameter.grad.abs().sum() == 0
    assert loss(byol, backbone, observations(VECTORS)[:2])[1] == 2.0


@pytest.mark.parametrize("augmentation", ["shift", "byol_original"])
def test_the_generator_decides_alone(augmentation: str) -> None:
    spec = BACKBONES["nature_cnn"][0]
    backbone, byol = build({**SMALL, "augmentation": augmentation}, IMAGES, spec)
    obs = observations(IMAGES)
    first = loss(byol, backbone, obs)[0]
    torch.manual_seed(99)
    assert torch.equal(loss(byol, backbone, obs)[0], first)
    assert not torch.equal(loss(byol, backbone, obs, seed=1)[0], first)


def test_state_dict_restores_heads_target_and_schedule() -> None:
    options = {**SMALL, "tau_schedule": "cosine", "tau_steps": 10}
    backbone, byol = build(options)
    train(byol, backbone, observations(VECTORS), 3)
    other_backbone, other = build(options, seed=1)
    other_backbone.load_state_dict(backbone.state_dict())
    other.load_state_dict(byol.state_dict())
    assert other.tau() == byol.tau() != 0.99
    obs = observations(VECTORS, seed=5)
    assert torch.equal(loss(other, other_backbone, obs)[0], loss(byol, backbone, obs)[0])
    byol.after_update(backbone)
    other.after_update(other_backbone)
    assert all(torch.equal(a, b) for a, b in zip(byol.target.parameters(), other.target.parameters(), strict=True))
    assert not any(p.requires_grad for p in other.target.parameters())


def test_options_are_checked_and_the_augmentation_is_for_the_observation() -> None:
    assert AUXILIARY_LOSSES.resolve("byol", "type") is BYOL
    for key, value in (("tau", 1.5), ("projection_size", 0), ("tau_schedule", "cosin"), ("coeff", -1.0)):
        with pytest.raises(ConfigError, match=key):
            AUXILIARY_LOSSES.parse({"type": "byol", key: value}, "auxiliary_loss")
    with pytest.raises(ConfigError, match=r"^augmentation: 'shift'.*Nearest: 'noise'"):
        build({**SMALL, "augmentation": "shift"})
