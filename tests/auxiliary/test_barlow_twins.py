"""Barlow Twins on every kind of backbone: gradients, batch statistics, several learners."""

from __future__ import annotations

import pytest
import torch

from rllib_rnd.auxiliary import AUXILIARY_LOSSES, BarlowTwins
from rllib_rnd.errors import ConfigError
from rllib_rnd.functional import barlow_twins_loss, cross_correlation
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

SMALL = {"type": "barlow_twins", "projector_sizes": [32, 32, 16]}


@pytest.mark.parametrize("name", list(BACKBONES))
def test_gradients_reach_backbone_and_projector(name: str) -> None:
    spec, space, without = BACKBONES[name]
    backbone, barlow = build(SMALL, space, spec)
    total, count = loss(barlow, backbone, observations(space))
    assert count == 24.0 and not count.requires_grad
    (total / count).backward()
    check_backbone_gradients(backbone, without)
    for key, parameter in barlow.projector.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", ["nature_cnn", "vit", "mlp", "gru"])
def test_the_loss_falls_on_a_fixed_batch(name: str) -> None:
    spec, space, _ = BACKBONES[name]
    backbone, barlow = build(SMALL, space, spec)
    history = train(barlow, backbone, observations(space), 40)
    assert history[-1] < 0.5 * history[0]


def test_the_loss_is_that_of_the_whole_batch_with_each_view_normalised_by_itself() -> None:
    backbone, barlow = build(SMALL)
    first, second = observations(VECTORS, seed=1), observations(VECTORS, seed=2)
    barlow.augmentation = TwoViews(first, second)
    total, count = loss(barlow, backbone, first)
    z_1, z_2 = (barlow.projector(backbone(view).policy) for view in (first, second))
    wanted = barlow_twins_loss(cross_correlation(z_1, z_2), 0.0051)
    torch.testing.assert_close(total / count, wanted)
    # Batch normalisation of both views together gives another number.
    together = cross_correlation(*barlow.projector(backbone(torch.cat([first, second])).policy).chunk(2))
    assert abs(float((wanted - barlow_twins_loss(together, 0.0051)).detach())) > 1e-3


def test_both_views_are_one_batch_for_the_backbone() -> None:
    backbone, barlow = build(SMALL)
    sizes: list[int] = []
    backbone.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    loss(barlow, backbone, observations(VECTORS))
    assert sizes == [48]


def test_equal_views_of_independent_dimensions_leave_only_the_correlations_between_them() -> None:
    backbone, barlow = build({**SMALL, "augmentation": "none", "redundancy_coeff": 1.0})
    obs = observations(VECTORS)
    total, count = loss(barlow, backbone, obs)
    correlation = cross_correlation(*[barlow.projector(backbone(obs).policy)] * 2)
    off_diagonal = correlation.square().sum() - correlation.diagonal().square().sum()
    torch.testing.assert_close(total / count, off_diagonal, rtol=1e-3, atol=1e-3)


def test_projector_sizes_are_the_published_ones() -> None:
    _, barlow = build({"type": "barlow_twins"}, backbone={"type": "mlp", "hidden_sizes": [448]})
    linear = 448 * 1024 + 2 * 1024 * 1024
    assert sum(p.numel() for p in barlow.parameters()) == linear + 2 * 2 * 1024
    kinds = [type(layer).__name__ for layer in barlow.projector]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert all(layer.bias is None for layer in barlow.projector if isinstance(layer, torch.nn.Linear))
    with pytest.raises(ConfigError, match=r"projector_sizes: \[\] is empty"):
        build({"type": "barlow_twins", "projector_sizes": []})


def test_a_projector_of_one_layer_is_linear() -> None:
    backbone, barlow = build({**SMALL, "projector_sizes": [12]})
    assert [type(layer).__name__ for layer in barlow.projector] == ["Linear"]
    loss(barlow, backbone, observations(VECTORS))[0].backward()
    assert barlow.projector[0].weight.grad.abs().sum() > 0


def test_collapse_metrics_are_healthy_on_spread_and_zero_on_constant_features() -> None:
    backbone, barlow = build({**SMALL, "augmentation": "none", "projector_sizes": [64, 64]})
    loss(barlow, backbone, observations(VECTORS, 256))
    assert set(barlow.metrics) == {"barlow_twins_feature_std", "barlow_twins_projection_std"}
    assert all(value.shape == () and not value.requires_grad for value in barlow.metrics.values())
    assert all(0.6 / 8 < value < 1.0 / 8 for value in barlow.metrics.values())
    loss(barlow, backbone, torch.ones(256, 5))
    assert all(value < 1e-4 for value in barlow.metrics.values())


@pytest.mark.parametrize("samples", [0, 2])
def test_batches_too_small_for_batch_normalisation_are_skipped(samples: int) -> None:
    backbone, barlow = build(SMALL)
    assert barlow.min_batch_size == 3
    total, count = loss(barlow, backbone, observations(VECTORS)[:samples])
    assert total.item() == 0.0 and count.item() == 0.0
    total.backward()
    for parameter in trained(backbone, barlow):
        assert parameter.grad is not None and parameter.grad.abs().sum() == 0


def test_the_smallest_batch_is_the_smallest_that_teaches_anything() -> None:
    def gradient(samples: int) -> float:
        backbone, barlow = build(SMALL)
        barlow.min_batch_size = 2
        total, count = loss(barlow, backbone, 100.0 * observations(VECTORS, samples))
        (total / count).backward()
        return float(torch.stack([p.grad.abs().sum() for p in backbone.parameters() if p.grad is not None]).sum())

    assert gradient(2) < 0.01 * gradient(3)


def test_the_generator_decides_alone() -> None:
    backbone, barlow = build({**SMALL, "augmentation": "barlow_original"}, IMAGES, BACKBONES["nature_cnn"][0])
    obs = observations(IMAGES)
    first = loss(barlow, backbone, obs)[0]
    torch.manual_seed(99)
    assert torch.equal(loss(barlow, backbone, obs)[0], first)
    assert not torch.equal(loss(barlow, backbone, obs, seed=1)[0], first)


def test_the_backbone_is_not_listed_twice_and_after_update_changes_nothing() -> None:
    assert AUXILIARY_LOSSES.resolve("barlow_twins", "type") is BarlowTwins
    backbone, barlow = build(SMALL)
    assert not {id(p) for p in barlow.parameters()} & {id(p) for p in backbone.parameters()}
    before = [p.clone() for p in trained(backbone, barlow)]
    barlow.after_update(backbone)
    assert all(torch.equal(a, b) for a, b in zip(before, trained(backbone, barlow), strict=True))
