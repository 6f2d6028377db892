"""Backbones: shapes, parameter counts, scaling, gradient flow, and errors that say what is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules import BACKBONES, MLP, StatelessBackbone, backbone_for_space, build_backbone
from rllib_rnd.modules.backbone import BackboneOptions, BackboneOutput, TorchBackbone, representation_shape
from rllib_rnd.options import option


def image_space(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, shape, np.uint8)


def vector_space(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(-np.inf, np.inf, shape, np.float32)


def sample(space: gym.spaces.Box, batch: int = 5) -> torch.Tensor:
    rng = np.random.default_rng(0)
    if space.dtype == np.uint8:
        return torch.from_numpy(rng.integers(0, 256, (batch, *space.shape), dtype=np.uint8))
    return torch.from_numpy(rng.normal(size=(batch, *space.shape)).astype(space.dtype))


CASES: list[tuple[dict[str, Any], gym.spaces.Box, int]] = [
    ({"type": "nature_cnn"}, image_space(4, 84, 84), 448),
    ({"type": "nature_cnn"}, image_space(36, 36), 448),
    ({"type": "nature_cnn", "hidden_sizes": [16]}, image_space(64, 48, 3), 16),
    ({"type": "nature_cnn", "hidden_sizes": [8, 24]}, image_space(2, 40, 52, 3), 24),
    ({"type": "mlp"}, vector_space(4), 64),
    ({"type": "mlp", "hidden_sizes": [7], "activation": "relu"}, vector_space(3, 5), 7),
    ({"type": "mlp"}, image_space(7, 7, 3), 64),
]


@pytest.mark.parametrize(("spec", "space", "features"), CASES)
def test_features_have_the_promised_shape_and_every_parameter_learns(spec, space, features) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(spec, space)
    output = backbone(sample(space))
    assert backbone.feature_dim == features
    assert output.policy.shape == (5, features) and output.policy.dtype == torch.float32
    assert output.extrinsic is output.policy and output.intrinsic is output.policy
    assert output.state is None and backbone.state_size == 0
    output.policy.square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("spec", "space", "features"), CASES)
def test_a_sample_does_not_depend_on_its_batch(spec, space, features) -> None:
    backbone, obs = build_backbone(spec, space), sample(space)
    whole = backbone(obs).policy
    for i in range(len(obs)):
        torch.testing.assert_close(whole[i : i + 1], backbone(obs[i : i + 1]).policy, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("spec", "space", "features"), CASES)
def test_named_feature_maps_exist_and_are_reached(spec, space, features) -> None:
    backbone = build_backbone(spec, space)
    seen: list[str] = []
    assert backbone.feature_maps()
    for name in backbone.feature_maps():
        backbone.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    backbone(sample(space))
    assert seen == backbone.feature_maps()


def test_nature_cnn_has_the_trunk_parameters_of_the_lineage() -> None:
    backbone = build_backbone("nature_cnn", image_space(4, 84, 84))
    assert sum(p.numel() for p in backbone.parameters()) == 996_192


def test_initial_weights_are_orthogonal_with_gain_and_zero_bias() -> None:
    backbone = build_backbone("nature_cnn", image_space(4, 84, 84))
    weight = backbone.get_submodule("convs.0").get_parameter("weight").flatten(1)
    torch.testing.assert_close(weight @ weight.T, 2.0 * torch.eye(32), atol=1e-4, rtol=0)
    assert all(p.abs().sum() == 0 for name, p in backbone.named_parameters() if name.endswith("bias"))


def test_one_hot_bytes_stay_one_hot() -> None:
    space = gym.spaces.Box(0, 1, (6,), np.uint8)
    backbone, obs = build_backbone("mlp", space), torch.eye(6, dtype=torch.uint8)
    torch.testing.assert_close(backbone(obs).policy, backbone(obs.float()).policy)


def test_byte_images_are_scaled_to_one() -> None:
    for name, space in (("nature_cnn", image_space(4, 48, 48)), ("mlp", image_space(7, 7, 3))):
        backbone, obs = build_backbone(name, space), sample(space)
        torch.testing.assert_close(backbone(obs).policy, backbone(obs.float() / 255.0).policy)


def test_channels_last_and_channels_first_images_are_read_alike() -> None:
    torch.manual_seed(0)
    last = build_backbone("nature_cnn", image_space(48, 40, 3))
    first = build_backbone("nature_cnn", image_space(3, 48, 40))
    first.load_state_dict(last.state_dict())
    obs = sample(image_space(48, 40, 3))
    torch.testing.assert_close(last(obs).policy, first(obs.permute(0, 3, 1, 2)).policy)


def test_every_frame_and_colour_of_a_colour_stack_matters() -> None:
    space = image_space(2, 40, 40, 3)
    backbone, obs = build_backbone("nature_cnn", space), sample(space, 1)
    reference = backbone(obs).policy
    for frame in range(2):
        for colour in range(3):
            changed = obs.clone()
            changed[0, frame, :, :, colour] = 0
            assert not torch.allclose(backbone(changed).policy, reference)


def test_the_observation_is_left_alone() -> None:
    for space in (image_space(4, 48, 48), gym.spaces.Box(0, 1, (4, 48, 48), np.float32), vector_space(6)):
        backbone, obs = build_backbone("auto", space), sample(space)
        before = obs.clone()
        backbone(obs)
        assert torch.equal(obs, before)


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (image_space(4, 84, 84), "nature_cnn"),
        (image_space(84, 84, 3), "nature_cnn"),
        (image_space(4, 64, 64, 3), "nature_cnn"),
        (image_space(84, 84), "nature_cnn"),
        (image_space(7, 7, 3), "mlp"),
        (vector_space(4), "mlp"),
        (vector_space(4, 40), "mlp"),
    ],
)
def test_auto_picks_by_the_space(space: gym.spaces.Box, name: str) -> None:
    assert backbone_for_space(space) == name
    assert isinstance(build_backbone({"type": "auto"}, space), BACKBONES.resolve(name, "here"))


def test_auto_passes_options_on() -> None:
    backbone = build_backbone({"type": "auto", "hidden_sizes": [9]}, vector_space(4))
    assert isinstance(backbone, MLP) and backbone.feature_dim == 9


@pytest.mark.parametrize(
    ("spec", "space", "message"),
    [
        ("nature_cnn", image_space(35, 35), "35 x 35 pixels are too small"),
        ("nature_cnn", vector_space(4), "reads images.*mlp"),
        ({"type": "nature_cnn", "hidden_sizes": []}, image_space(84, 84), "hidden_sizes"),
        ({"type": "mlp", "hidden_sizes": []}, vector_space(4), "hidden_sizes"),
        ({"type": "mlp", "hidden_sizes": [0]}, vector_space(4), "hidden_sizes.*1 or more"),
        ({"type": "mlp", "hidden_size": [8]}, vector_space(4), "Did you mean 'hidden_sizes'"),
        ({"type": "mlp", "activation": "tan"}, vector_space(4), "Did you mean 'tanh'"),
        ("nature_cn", image_space(84, 84), "Did you mean 'nature_cnn'"),
        ("auto", gym.spaces.Discrete(5), "Discrete"),
        ("mlp", gym.spaces.Discrete(5), "Discrete"),
    ],
)
def test_bad_specs_are_config_errors(spec, space, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_backbone(spec, space)


class Plain(nn.Module):
    """A user's torch module: sums of the observation, as many as ``width`` says, or something that is no features."""

    def __init__(self, observation_space: gym.spaces.Box, width: int = 3, result: str = "features") -> None:
        super().__init__()
        self.width, self.result = width, result
        self.dropout = nn.Dropout(0.5)

    def forward(self, obs: Tensor) -> Tensor | str:
        features = self.dropout(obs.float()).flatten(1).sum(dim=1, keepdim=True).expand(-1, self.width)
        return {"features": features, "flat": features.flatten(), "text": "none"}[self.result]


@dataclass(frozen=True)
class OwnOptions(BackboneOptions):
    factor: float = option(2.0, "what the observation is multiplied by", low=0.0)


class Own(StatelessBackbone[OwnOptions]):
    """A user's backbone: no registry knows it."""

    Options = OwnOptions

    def __init__(self, observation_space: gym.Space, options: OwnOptions) -> None:
        super().__init__(observation_space, options)
        self.feature_dim = int(np.prod(self.observation_space.shape))

    def features(self, obs: Tensor) -> BackboneOutput:
        return BackboneOutput.shared(obs.flatten(1) * self.options.factor)


PLAIN, OWN = f"{__name__}:Plain", f"{__name__}:Own"


def test_a_torch_module_is_a_backbone_by_its_import_path() -> None:
    space = vector_space(2, 2)
    backbone, obs = build_backbone({"type": PLAIN, "width": 5}, space), sample(space)
    assert isinstance(backbone, TorchBackbone) and backbone.feature_dim == 5
    assert backbone.training and backbone.get_submodule("net").training  # though it was asked in evaluation mode
    expected = obs.flatten(1).sum(dim=1, keepdim=True).expand(-1, 5)
    torch.testing.assert_close(backbone.eval()(obs, None, None).policy, expected)


def test_a_backbone_of_ones_own_needs_no_name() -> None:
    space = vector_space(2, 3)
    backbone, obs = build_backbone({"type": OWN, "factor": 3}, space), sample(space)
    torch.testing.assert_close(backbone(obs, None, None).intrinsic, 3.0 * obs.flatten(1))
    assert backbone.attention_weights(obs) == {} and representation_shape(backbone) == (6,)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": PLAIN, "depth": 1}, "^depth: unknown key 'depth'. Did you mean 'width'"),
        (
            {"type": PLAIN, "result": "flat"},
            r":Plain.forward\(\) \(.*\) returned shape \(6,\) for 2 .*\[2, feat",
        ),
        ({"type": PLAIN, "result": "text"}, "returned str for 2 observations"),
        ({"type": OWN, "factor": -1}, "^factor: -1 is out of range; allowed is 0.0 or more"),
        ({"type": f"{__name__}:PLAIN"}, "^type: .* is no class of torch.nn.Module; allowed is one"),
        ({"type": f"{__name__}:Plane"}, "^type: cannot import"),
    ],
)
def test_what_is_wrong_with_ones_own_is_said(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_backbone(spec, vector_space(4))


def test_asking_for_the_representations_shape_leaves_the_mode() -> None:
    backbone = build_backbone(PLAIN, vector_space(4))
    for training in (True, False):
        backbone.train(training)
        assert representation_shape(backbone) == (3,)
        assert backbone.training is training and backbone.get_submodule("net.dropout").training is training


def test_every_registered_class_carries_its_name() -> None:
    assert [cls.name for _, cls in BACKBONES.items()] == BACKBONES.names()
