"""Dimensional self-attention: sizes, the operator against its formula in loops, what mixes with what, and options."""

from __future__ import annotations

import itertools
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules import SelfAttentionCNN, SelfAttentionOptions, build_backbone
from rllib_rnd.modules.heads import Critics, PolicyHead
from rllib_rnd.modules.self_attention import AttentionBlock, DimensionalAttention

ATTENTION = ("SWA", "CWRA", "CWCA", "CWRCA")
VARIANTS = ("NA", *ATTENTION)
ATARI = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
SMALL = gym.spaces.Box(0, 255, (2, 36, 44), np.uint8)  # maps of 8 x 10 after the first convolution: H is not W


def build(variant: str, space: gym.spaces.Box = SMALL, **options: Any) -> SelfAttentionCNN:
    torch.manual_seed(0)
    backbone = build_backbone({"type": "self_attention", "variant": variant, **options}, space)
    assert isinstance(backbone, SelfAttentionCNN)
    return backbone


def operator(variant: str, channels: int = 4, **options: Any) -> DimensionalAttention:
    """In float64, with biases that are not zero."""
    torch.manual_seed(0)
    made = DimensionalAttention(channels, SelfAttentionOptions(variant=variant, **options))  # type: ignore[arg-type]
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return made.double()


def images(space: gym.spaces.Box, batch: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch, *space.shape), dtype=np.uint8))


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def outputs_of(backbone: SelfAttentionCNN, obs: Tensor) -> dict[str, Tensor]:
    """What the modules of `feature_maps` return, by name, in the order of the calls."""
    seen: dict[str, Tensor] = {}
    for name in backbone.feature_maps():
        hook = lambda _module, _inputs, output, name=name: seen.__setitem__(name, output)  # noqa: E731
        backbone.get_submodule(name).register_forward_hook(hook)
    backbone(obs)
    return seen


# Sizes.


@pytest.mark.parametrize(
    # The published network counts two more with attention: alpha and beta, which its experiments never use.
    ("variant", "parameters"),
    [("NA", 677_943), *((variant, 678_759) for variant in ATTENTION)],
)
def test_parameters_are_those_of_the_published_network(variant: str, parameters: int) -> None:
    backbone = build(variant, ATARI)
    heads = [PolicyHead(backbone.feature_dim, 6, backbone.heads), Critics(backbone.feature_dim, 1, backbone.heads)]
    assert sum(p.numel() for module in (backbone, *heads) for p in module.parameters()) == parameters


def test_heads_stand_on_the_features_with_gains_of_a_hundredth_and_one() -> None:
    backbone = build("CWCA")
    policy = PolicyHead(256, 6, backbone.heads)[1].weight
    torch.testing.assert_close(policy @ policy.T, 1e-4 * torch.eye(6))
    torch.testing.assert_close(Critics(256, 1, backbone.heads).extrinsic.weight.norm(), torch.tensor(1.0))


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_at_84_pixels(variant: str) -> None:
    backbone = build(variant, ATARI)
    maps = outputs_of(backbone, images(ATARI))
    names = ["conv1.1", "conv2.1"] if variant == "NA" else ["conv1.1", "attention.operator", "attention", "conv2.1"]
    assert list(maps) == backbone.feature_maps() == names
    for name in names[:-1]:
        assert maps[name].shape == (3, 16, 20, 20), name
    assert maps["conv2.1"].shape == (3, 32, 9, 9)
    assert backbone.fc.get_submodule("0").in_features == 2592
    output = backbone(images(ATARI))
    assert output.policy.shape == (3, 256) and backbone.feature_dim == 256
    assert output.extrinsic is output.policy and output.intrinsic is output.policy and output.state is None


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(36, 36), (1, 36, 50), (64, 48, 3), (2, 40, 52, 3), (7, 96, 96)])
def test_any_image_of_36_pixels_or_more(variant: str, shape: tuple[int, ...]) -> None:
    space = gym.spaces.Box(0, 255, shape, np.uint8)
    assert build(variant, space, feature_dim=24)(images(space)).policy.shape == (3, 24)


@pytest.mark.parametrize(
    ("variant", "shapes"),
    [
        ("NA", {}),
        ("SWA", {"rows": (3, 16, 20, 20)}),
        ("CWRA", {"rows": (3, 20, 20, 20)}),
        ("CWCA", {"columns": (3, 20, 20, 20)}),
        ("CWRCA", {"rows": (3, 20, 20, 20), "columns": (3, 20, 20, 20)}),
    ],
)
def test_attention_weights_are_the_matrices_of_the_variant(variant: str, shapes: dict[str, tuple[int, ...]]) -> None:
    weights = build(variant, ATARI).attention_weights(images(ATARI))
    assert {name: tuple(matrix.shape) for name, matrix in weights.items()} == shapes
    for matrix in weights.values():
        torch.testing.assert_close(matrix.sum(dim=-1), torch.ones(matrix.shape[:-1]))


def test_attention_weights_of_maps_that_are_not_square() -> None:
    weights = build("CWRCA").attention_weights(images(SMALL))
    assert {name: tuple(matrix.shape) for name, matrix in weights.items()} == {
        "rows": (3, 10, 8, 8),
        "columns": (3, 8, 10, 10),
    }
    assert build("SWA").attention_weights(images(SMALL))["rows"].shape == (3, 16, 8, 8)


def test_there_are_no_weights_without_softmax() -> None:
    assert build("CWRCA", norm_softmax=False).attention_weights(images(SMALL)) == {}


@pytest.mark.parametrize(
    ("variant", "legacy_scale", "product"),
    [
        ("SWA", False, {"rows": "ncij,ncjw->nciw"}),
        ("CWRA", False, {"rows": "nwij,ncjw->nciw"}),
        ("CWCA", False, {"columns": "nhij,nchj->nchi"}),
        ("CWRCA", False, {"rows": "nwij,ncjw->nciw", "columns": "nhij,nchj->nchi"}),
        ("CWRCA", True, {"rows": "nwij,ncjw->nciw", "columns": "nhij,nchj->nchi"}),
    ],
)
def test_weights_are_those_that_the_operator_applies(variant: str, legacy_scale: bool, product: dict[str, str]) -> None:
    attention, x = operator(variant, legacy_scale=legacy_scale), noise(2, 4, 3, 5)
    weights, value = attention.weights(x), attention.value(x)
    expected = sum(torch.einsum(product[name], matrix, value) for name, matrix in weights.items())
    torch.testing.assert_close(attention(x), expected)


# The formula.


def attended(variant: str, q: Tensor, k: Tensor, v: Tensor, softmax: bool, legacy_scale: bool) -> Tensor:
    """The definition, position by position: q, k, v and the result ``[C, H, W]``."""
    channels, height, width = v.shape
    y = torch.zeros_like(v)

    def weights(query: Tensor, keys: list[Tensor], scale: float) -> list[float]:
        scores = [sum((query * key).tolist()) for key in keys]
        if not softmax:
            return scores
        exponentials = [math.exp(score * scale) for score in scores]
        return [e / sum(exponentials) for e in exponentials]

    scale = 1 / math.sqrt(width if variant == "SWA" or (variant == "CWRCA" and legacy_scale) else channels)
    if variant == "SWA":
        for c, i in itertools.product(range(channels), range(height)):
            for j, a in enumerate(weights(q[c, i], [k[c, j] for j in range(height)], scale)):
                y[c, i] += a * v[c, j]
    if variant in ("CWRA", "CWRCA"):
        for w, i in itertools.product(range(width), range(height)):
            for j, a in enumerate(weights(q[:, i, w], [k[:, j, w] for j in range(height)], scale)):
                y[:, i, w] += a * v[:, j, w]
    if variant in ("CWCA", "CWRCA"):
        for h, i in itertools.product(range(height), range(width)):
            for j, a in enumerate(weights(q[:, h, i], [k[:, h, j] for j in range(width)], scale)):
                y[:, h, i] += a * v[:, h, j]
    return y


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("legacy_scale", [False, True])
@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("variant", ATTENTION)
def test_the_operator_is_its_formula(variant: str, softmax: bool, legacy_scale: bool, memory_format: Any) -> None:
    attention = operator(variant, norm_softmax=softmax, legacy_scale=legacy_scale)
    x = noise(2, 4, 3, 5)  # C, H and W differ, so that no axis or scale can stand for another
    q, k, v = (
        torch.einsum("oc,nchw->nohw", layer.weight[:, :, 0, 0], x) + layer.get_parameter("bias")[:, None, None]
        for layer in (attention.query, attention.key, attention.value)
    )
    expected = torch.stack([attended(variant, q[n], k[n], v[n], softmax, legacy_scale) for n in range(2)])
    torch.testing.assert_close(attention(x.to(memory_format=memory_format)), expected)


def test_the_legacy_scale_changes_cwrca_alone() -> None:
    x = noise(2, 4, 3, 5)
    for variant in ATTENTION:
        plain, legacy = operator(variant)(x), operator(variant, legacy_scale=True)(x)
        assert torch.equal(plain, legacy) == (variant != "CWRCA"), variant


def test_cwrca_is_cwra_plus_cwca_on_one_projection() -> None:
    x = noise(2, 4, 3, 5)
    torch.testing.assert_close(operator("CWRCA")(x), operator("CWRA")(x) + operator("CWCA")(x))


@pytest.mark.parametrize(
    ("ada_attn", "alpha", "beta"), [(None, 1, 1), ("alpha", 0.5, 1), ("beta", 1, 3), ("alpha_beta", 0.5, 3)]
)
def test_the_sum_around_the_operator(ada_attn: str | None, alpha: float, beta: float) -> None:
    block = AttentionBlock(4, SelfAttentionOptions(ada_attn=ada_attn))
    assert (block.alpha is not None, block.beta is not None) == (alpha != 1, beta != 1)
    x = noise(2, 4, 3, 5).float()
    with torch.no_grad():
        y = block.operator(x)
        at_first = 0.0 if block.alpha is not None else 1.0
        torch.testing.assert_close(block(x), at_first * y + x)
        if block.alpha is not None:
            block.alpha.fill_(alpha)
        if block.beta is not None:
            block.beta.fill_(beta)
        torch.testing.assert_close(block(x), alpha * y + beta * x)


# What mixes.

PIXEL = (0, 2, 1, 3)  # of sample 0: channel 2, row 1, column 3
SAME_CHANNEL, SAME_ROW, SAME_COLUMN = ((0, 2), (0, slice(None), 1), (0, slice(None), slice(None), 3))


def region(*indices: tuple[Any, ...]) -> Tensor:
    """True where any of the indices lead."""
    mask = torch.zeros(2, 4, 3, 5, dtype=torch.bool)
    for index in indices:
        mask[index] = True
    return mask


ROWS_OF_THE_VALUE = region((0, 2, slice(None), 3))
COLUMNS_OF_THE_VALUE = region((0, 2, 1))


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize(
    ("variant", "reached"),
    [
        ("SWA", ROWS_OF_THE_VALUE),
        ("CWRA", ROWS_OF_THE_VALUE),
        ("CWCA", COLUMNS_OF_THE_VALUE),
        ("CWRCA", ROWS_OF_THE_VALUE | COLUMNS_OF_THE_VALUE),
    ],
)
def test_a_value_reaches_its_own_axis_only(variant: str, reached: Tensor, softmax: bool) -> None:
    attention = operator(variant, norm_softmax=softmax)
    query, key, value = (noise(3, 2, 4, 3, 5)[i] for i in range(3))
    changed = value.clone()
    changed[PIXEL] += 1.0
    assert torch.equal(attention.attend(query, key, changed) != attention.attend(query, key, value), reached)


@pytest.mark.parametrize(
    ("variant", "reached"),
    [
        # Of SWA a pixel is one of the features of its whole row, in all channels: its weights move everything.
        ("SWA", region((0,))),
        ("CWRA", region(SAME_COLUMN)),
        ("CWCA", region(SAME_ROW)),
        ("CWRCA", region(SAME_COLUMN, SAME_ROW)),
    ],
)
def test_an_input_pixel_reaches_its_own_axis_only(variant: str, reached: Tensor) -> None:
    attention, x = operator(variant), noise(2, 4, 3, 5)
    changed = x.clone()
    changed[PIXEL] += 1.0
    assert torch.equal(attention(changed) != attention(x), reached)


@pytest.mark.parametrize(
    ("variant", "reached"),
    [
        ("SWA", region((0, 2, 1))),  # its row, within its channel
        *(
            (variant, region((0, slice(None), 1, 3))) for variant in ("CWRA", "CWCA", "CWRCA")
        ),  # its pixel, all channels
    ],
)
def test_a_query_is_a_row_of_a_channel_or_a_pixel_of_all_channels(variant: str, reached: Tensor) -> None:
    attention = operator(variant)
    query, key, value = (noise(3, 2, 4, 3, 5)[i] for i in range(3))
    changed = query.clone()
    changed[PIXEL] += 1.0
    assert torch.equal(attention.attend(changed, key, value) != attention.attend(query, key, value), reached)


@pytest.mark.parametrize("variant", ATTENTION)
def test_bands_lie_along_the_attended_axis(variant: str) -> None:
    """Attention averages along its axis, so its result changes less along it than across, relative to the values."""
    x = noise(8, 16, 20, 20).relu()  # as after the first convolution
    attention = operator(variant, channels=16)
    with torch.no_grad():
        y, value = attention(x), attention.value(x)
    down, across = (float(y.diff(dim=axis).abs().mean() / value.diff(dim=axis).abs().mean()) for axis in (2, 3))
    expected = {"SWA": down < 0.8 * across, "CWRA": down < 0.8 * across, "CWCA": across < 0.8 * down}
    assert expected.get(variant, abs(down - across) < 0.1 * down), (down, across)


# Learning.


@pytest.mark.parametrize("ada_attn", [None, "alpha", "beta", "alpha_beta"])
@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns(variant: str, softmax: bool, ada_attn: str | None) -> None:
    backbone = build(variant, norm_softmax=softmax, ada_attn=ada_attn)
    if backbone.attention is not None and backbone.attention.alpha is not None:
        # Its first value, 0, keeps every gradient from the operator until it has moved itself: see the test below.
        torch.nn.init.constant_(backbone.attention.alpha, 0.5)
    backbone(images(SMALL)).policy.square().sum().backward()
    idle = "attention.operator.key.bias" if softmax else None  # shifts all scores of a query alike; rounding is left
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        largest = parameter.grad.abs().max()
        assert largest < 1e-5 if name == idle else largest > 1e-4, name


def test_alpha_moves_first_and_the_operator_after_it() -> None:
    backbone = build("CWCA", ada_attn="alpha")
    backbone(images(SMALL)).policy.square().sum().backward()
    block = backbone.attention
    assert block.alpha.grad.abs() > 0
    assert all(p.grad.abs().sum() == 0 for p in block.operator.parameters())


@pytest.mark.parametrize("variant", ATTENTION)
def test_gradients_of_the_operator_are_those_of_its_formula(variant: str) -> None:
    attention, x = operator(variant), noise(1, 4, 3, 5).requires_grad_()
    assert torch.autograd.gradcheck(attention, (x,))


@pytest.mark.parametrize("options", [{}, {"norm_softmax": False}, {"legacy_scale": True}])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_sample_does_not_depend_on_its_batch(variant: str, options: dict[str, Any]) -> None:
    backbone, obs = build(variant, **options), images(SMALL, 5)
    whole = backbone(obs).policy
    for i in range(len(obs)):
        torch.testing.assert_close(whole[i : i + 1], backbone(obs[i : i + 1]).policy, atol=1e-5, rtol=1e-5)


def test_the_second_convolution_gets_channels_last_memory() -> None:
    for variant, ada_attn in itertools.product(VARIANTS, (None, "alpha", "alpha_beta")):
        backbone = build(variant, ada_attn=ada_attn)
        seen: list[bool] = []
        backbone.conv2.register_forward_pre_hook(
            lambda _, args, seen=seen: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
        )
        backbone(images(SMALL))
        assert seen == [True], (variant, ada_attn)


def test_all_layers_are_orthogonal_with_gain_and_zero_bias() -> None:
    backbone = build("CWRCA", ATARI)
    layers = ["conv1.0", *(f"attention.operator.{name}" for name in ("query", "key", "value")), "conv2.0", "fc.0"]
    for name in layers:
        layer = backbone.get_submodule(name)
        weight = layer.get_parameter("weight").flatten(1)
        torch.testing.assert_close(weight @ weight.T, 2.0 * torch.eye(len(weight)), atol=1e-4, rtol=0)
        assert layer.get_parameter("bias").abs().sum() == 0
    assert sum(layer.numel() for name in layers for layer in backbone.get_submodule(name).parameters()) == sum(
        p.numel() for p in backbone.parameters()
    )


# Options.


@pytest.mark.parametrize(
    ("options", "space", "message"),
    [
        ({"variant": "CWRC"}, ATARI, "variant.*Did you mean 'CWRCA'"),
        ({"variant": "SVA"}, ATARI, "variant.*Did you mean 'SWA'"),
        ({"variant": None}, ATARI, "variant.*'SWA'"),
        ({"ada_attn": "alpha-beta"}, ATARI, "ada_attn.*Did you mean 'alpha_beta'"),
        ({"ada_attn": "none"}, ATARI, "ada_attn.*Allowed: alpha, alpha_beta, beta"),
        ({"norm_softmax": 1}, ATARI, "norm_softmax.*true or false"),
        ({"feature_dim": 0}, ATARI, "feature_dim.*1 or more"),
        ({"self_attn": "CWCA"}, ATARI, "unknown key 'self_attn'"),
        ({"variants": "NA"}, ATARI, "Did you mean 'variant'"),
        ({}, gym.spaces.Box(-1, 1, (4,), np.float32), "reads images.*mlp"),
        ({}, gym.spaces.Box(0, 255, (19, 20), np.uint8), "19 x 20 pixels are too small.*allowed is 20 x 20 or more"),
    ],
)
def test_bad_options_are_config_errors(options: dict[str, Any], space: gym.spaces.Box, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_backbone({"type": "self_attention", **options}, space)


def test_the_default_is_the_variant_that_scored_best() -> None:
    backbone = build_backbone("self_attention", SMALL)
    assert list(backbone.attention_weights(images(SMALL))) == ["columns"]
