"""Convolutional backbones: the contract at every size, parameter counts, gains, noisy layers, what is shared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

from rllib_rnd.errors import ConfigError
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules import Backbone, build_backbone
from rllib_rnd.modules.cnn import ConvBackbone
from rllib_rnd.modules.layers import NoisyLinear, noisy_layers
from tests.modules.test_backbone import image_space, sample

ROOT_2 = math.sqrt(2.0)
CONVOLUTIONAL = ["nature_cnn", "openai_cnn", "michalnand_a", "michalnand_b", "michalnand_c", "michalnand_d"]
FEATURES = dict(zip(CONVOLUTIONAL, (448, 448, 448, 800, 512, 512), strict=True))
SMALL = image_space(4, 44, 44)  # the smallest that all of them read


def build(name: str, space: gym.spaces.Box = SMALL, seed: int = 0, **options: Any) -> Backbone:
    torch.manual_seed(seed)
    return build_backbone({"type": name, **options}, space)


def module(name: str, space: gym.spaces.Box, **config: Any) -> IntrinsicPPOModule:
    """Policy and critics of 18 actions and two value streams."""
    settings = {"intrinsic_rewards": [{"type": "rnd"}], "auxiliary_losses": [], "frame_stack": 4} | config
    return IntrinsicPPOModule(
        observation_space=space,
        action_space=gym.spaces.Discrete(18),
        inference_only=True,
        model_config={"backbone": {"type": name}} | settings,
    )


def count(part: torch.nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def assert_gain(weight: Tensor, gain: float) -> None:
    """Orthogonal with that gain: the shorter of the two ways around gives gain^2 times the identity."""
    flat = weight.detach().flatten(1)
    product = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    torch.testing.assert_close(product, gain**2 * torch.eye(len(product)), atol=1e-4, rtol=0)


# Parameters by hand: a convolution has out * (in * k * k + 1), a linear layer out * (in + 1).
COUNTS = [
    # 8,224 + 32,832 + 65,600 (4x4) + 590,080 (2,304 -> 256) + 115,136; heads 2 * 201,152 + 8,082 + 2 * 449
    ("openai_cnn", 84, 811_872, 1_223_156),
    # 8,224 + 32,832 + 36,928 (3x3) + 803,072 (3,136 -> 256) + 115,136; heads as above
    ("nature_cnn", 84, 996_192, 1_407_476),
    # 8,224 + 18,496 + 36,928 + 4,129,216 (9,216 -> 448) + 201,152; heads as above: 4.81 M in the reference
    ("michalnand_a", 96, 4_394_016, 4_805_300),
    # 16,448 + 36,928 + 73,856 + 14,746,400 (18,432 -> 800); heads 640,800 + 14,418 + 2 * 801
    ("michalnand_b", 96, 14_873_632, 15_530_452),
    # 1,184 + 18,496 + 36,928 + 73,856 + 9,437,696 (18,432 -> 512); heads 2 * 262,656 + 9,234 + 2 * 513: 10.1 M there
    ("michalnand_c", 96, 9_568_160, 10_103_732),
    # 32,896 + 144 * 128 positions + 2 blocks of (3 * 16,512 + 16,384) + 9,437,696; heads 9,234 + 2 * 513
    ("michalnand_d", 96, 9_620_864, 9_631_124),
]


@pytest.mark.parametrize(("name", "side", "trunk", "total"), COUNTS)
def test_parameter_counts(name: str, side: int, trunk: int, total: int) -> None:
    with torch.device("meta"):  # no numbers are needed to count them
        found = module(name, image_space(4, side, side))
    assert count(found.backbone) == trunk
    assert count(found) == total


def test_the_network_of_2013_by_its_channels() -> None:
    """By hand: 16 * (4 * 64 + 1), 32 * (16 * 16 + 1) and 256 * (32 * 81 + 1)."""
    small = build("nature_cnn", image_space(4, 84, 84), channels=[16, 32], hidden_sizes=[256])
    assert [count(part) for part in small.children() if count(part)] == [4_112 + 8_224, 663_808]
    assert small(sample(image_space(4, 84, 84))).policy.shape == (5, 256) and small.feature_maps() == [
        "convs.1",
        "convs.3",
    ]
    with pytest.raises(ConfigError, match="4 numbers"):
        build("nature_cnn", channels=[1, 2, 3, 4])


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_features_have_the_promised_shape_and_every_parameter_learns(name: str, noisy: bool) -> None:
    backbone, obs = build(name, noisy=noisy), sample(SMALL)
    output = backbone(obs)
    assert output.policy.shape == (5, backbone.feature_dim) and backbone.feature_dim == FEATURES[name]
    assert output.extrinsic is output.policy and output.intrinsic is output.policy and output.state is None
    output.policy.square().sum().backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-6, parameter_name


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    backbone, obs = build(name), sample(SMALL)
    whole = backbone(obs).policy
    for i in range(len(obs)):
        torch.testing.assert_close(whole[i : i + 1], backbone(obs[i : i + 1]).policy, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_bytes_and_scaled_floats_are_read_alike(name: str) -> None:
    backbone, obs = build(name), sample(SMALL)
    torch.testing.assert_close(backbone(obs).policy, backbone(obs.float() / 255.0).policy)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_named_feature_maps_are_reached_in_order(name: str) -> None:
    backbone, seen = build(name), list[str]()
    for layer in backbone.feature_maps():
        backbone.get_submodule(layer).register_forward_hook(lambda *_, layer=layer: seen.append(layer))
    backbone(sample(SMALL))
    assert seen == backbone.feature_maps() and seen[0] == "convs.1"


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_features_are_relu_activations(name: str) -> None:
    features = build(name)(sample(SMALL)).policy
    assert (features >= 0).all() and (features == 0).any() and (features > 0).any()


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_every_weight_is_orthogonal_with_gain_root_2_and_biases_are_zero(name: str) -> None:
    for parameter_name, parameter in build(name).named_parameters():
        if parameter_name.endswith("weight"):
            assert_gain(parameter, ROOT_2)
        elif parameter_name.endswith("bias"):
            assert not parameter.any(), parameter_name


@pytest.mark.parametrize(
    ("name", "side"), [("nature_cnn", 36), ("openai_cnn", 44), *[(name, 36) for name in CONVOLUTIONAL[2:]]]
)
def test_the_smallest_image_is_read_and_a_smaller_one_refused(name: str, side: int) -> None:
    wide = image_space(2, side, side + 9)
    assert build(name, wide, hidden_sizes=[3])(sample(wide, 2)).policy.shape == (2, 3)
    with pytest.raises(ConfigError, match=rf"^images of {side - 1} x {side + 9} pixels.*allowed is {side} x {side} "):
        build(name, image_space(2, side - 1, side + 9))


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_bad_specs_are_config_errors(name: str) -> None:
    for message, options in (
        (r"hidden_sizes: \[\] is empty", {"hidden_sizes": []}),
        ("Did you mean 'noisy'", {"noise": True}),
        ("noisy.*wrong type", {"noisy": "yes"}),
    ):
        with pytest.raises(ConfigError, match=message):
            build(name, **options)
    with pytest.raises(ConfigError, match=f"^type: '{name}' reads images"):
        build(name, gym.spaces.Box(-1.0, 1.0, (7,)))


def test_through_the_module_errors_carry_the_whole_path() -> None:
    with pytest.raises(ConfigError, match=r"^backbone: images of 20 x 20 pixels"):
        module("nature_cnn", image_space(4, 20, 20))
    with pytest.raises(ConfigError, match=r"^backbone\.hidden_sizes: \[0\] is out of range"):
        module("nature_cnn", SMALL, backbone={"type": "nature_cnn", "hidden_sizes": [0]})
    with pytest.raises(ConfigError, match=r"^heads\.critic_gain: -1 is out of range"):
        module("nature_cnn", SMALL, heads={"critic_gain": -1})
    with pytest.raises(ConfigError, match=r"^env: the observation space Discrete\(3\) is not supported"):
        module("nature_cnn", gym.spaces.Discrete(3))  # type: ignore[arg-type]


# Heads: what stands before the outputs, by hand, x being the features and h = FC(x); and the gain of the FC.
Formula = Callable[[Tensor, Tensor], Tensor]


def relu(x: Tensor, h: Tensor) -> Tensor:
    return torch.relu(h)


def residual(x: Tensor, h: Tensor) -> Tensor:
    return x + torch.relu(h)


def relu_sum(x: Tensor, h: Tensor) -> Tensor:
    return h + torch.relu(h)


HEADS: list[tuple[str, tuple[Formula, float] | None, tuple[Formula, float] | None]] = [
    ("nature_cnn", (relu, 0.01), (residual, 0.1)),
    ("openai_cnn", (residual, 0.1), (residual, 0.1)),
    ("michalnand_a", (relu, 0.01), (relu_sum, 0.1)),
    ("michalnand_b", None, (relu, 0.1)),
    ("michalnand_c", (relu, 0.01), (relu, 0.1)),
    ("michalnand_d", None, None),
]


@pytest.mark.parametrize(("name", "policy", "critic"), HEADS)
def test_heads_are_those_of_the_source(
    name: str, policy: tuple[Formula, float] | None, critic: tuple[Formula, float] | None
) -> None:
    torch.manual_seed(0)
    found, obs = module(name, SMALL), sample(SMALL)
    logits, values, _ = found.policy_and_values(obs)
    x = found.backbone(obs).policy

    def hidden(layer: Any, expected: tuple[Formula, float] | None) -> Tensor:
        if expected is None:
            assert count(layer) == 0
            return x
        formula, gain = expected
        assert layer.fc.weight.shape == (x.shape[1], x.shape[1])
        assert_gain(layer.fc.weight, gain)
        return formula(x, layer.fc(x))

    before, output = found.policy_head
    torch.testing.assert_close(logits, output(hidden(before, policy)))
    shared, streams = hidden(found.critics.hidden, critic), [found.critics.extrinsic, found.critics.intrinsic[0]]
    torch.testing.assert_close(values, torch.cat([stream(shared) for stream in streams], dim=1))
    for last in (output, *streams):
        assert_gain(last.get_parameter("weight"), 0.01)
        assert not last.get_parameter("bias").any()


def test_the_configuration_changes_single_parts_of_the_heads() -> None:
    found = module("michalnand_b", SMALL, heads={"critic_hidden_gain": ROOT_2})
    assert_gain(found.critics.hidden.fc.weight, ROOT_2)
    assert count(found.policy_head[0]) == 0  # still none


def test_openai_has_a_larger_third_kernel_than_nature() -> None:
    shapes = {name: build(name).get_submodule("convs.4").get_parameter("weight").shape for name in CONVOLUTIONAL[:2]}
    assert shapes == {"nature_cnn": (64, 64, 3, 3), "openai_cnn": (64, 64, 4, 4)}


@pytest.mark.parametrize("width", [16, 448, 2048])
def test_the_linear_representation_is_the_features(width: int) -> None:
    backbone, obs = build("nature_cnn", hidden_sizes=[256, width]), sample(SMALL, 2)
    representation = backbone.representation(obs)
    assert representation.shape == (2, width)
    torch.testing.assert_close(representation, backbone(obs).policy)


def test_the_convolutional_representation_leaves_the_linear_layers_out() -> None:
    space = image_space(4, 84, 84)
    backbone, obs = build("nature_cnn", space, shared_output="conv"), sample(space, 2)
    representation = backbone.representation(obs)
    assert representation.shape == (2, 64, 7, 7)
    features = backbone.get_submodule("fc")(representation.flatten(1))
    torch.testing.assert_close(features, backbone(obs).policy)
    representation.square().sum().backward()
    learned = {name.split(".")[0] for name, p in backbone.named_parameters() if p.grad is not None and p.grad.any()}
    assert learned == {"convs"}
    assert count(backbone) == 996_192


def test_an_unknown_shared_output_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"shared_output.*Did you mean 'conv'"):
        build("nature_cnn", shared_output="convs")


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_noise_changes_the_features_and_silence_gives_the_mean(name: str) -> None:
    plain, noisy, obs = build(name), build(name, noisy=True, seed=1), sample(SMALL)
    assert isinstance(plain, ConvBackbone) and not noisy_layers(plain)
    layers = noisy_layers(noisy)
    assert len(layers) == len(plain.options.hidden_sizes)
    assert all(isinstance(noisy.get_submodule(f"fc.{2 * i}"), NoisyLinear) for i in range(len(layers)))
    unmatched = noisy.load_state_dict(plain.state_dict(), strict=False)
    assert not unmatched.unexpected_keys and len(unmatched.missing_keys) == 4 * len(layers)

    def resampled(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        for layer in layers:
            layer.resample(generator)
        return noisy(obs).policy

    first, second = resampled(1), resampled(2)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(first, resampled(1), rtol=0, atol=0)
    torch.testing.assert_close(noisy(obs).policy, noisy(obs).policy, rtol=0, atol=0)  # stays until the next call
    mean = plain(obs).policy
    assert not torch.allclose(first, mean)
    for layer in layers:
        layer.silence()
    torch.testing.assert_close(noisy(obs).policy, mean, rtol=0, atol=0)
