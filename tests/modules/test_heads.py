"""Heads: every arrangement before the outputs by hand, sizes, gains, and what the configuration changes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.heads import HIDDEN, Critics, HeadStyle, HiddenLayer, PolicyHead, head_style

# x = (1, -2); h = FC(x) = (1 + 2, 2 - 3) = (3, -1) with the weights below.
X = torch.tensor([[1.0, -2.0]])
WEIGHT, BIAS = torch.tensor([[1.0, -1.0], [2.0, 0.0]]), torch.tensor([0.0, -3.0])
BY_HAND = {
    "none": [1.0, -2.0],
    "linear": [3.0, -1.0],
    "relu": [3.0, 0.0],
    "tanh": [math.tanh(3.0), math.tanh(-1.0)],
    "residual": [4.0, -2.0],
    "relu_sum": [6.0, -1.0],
}


def with_weights(layer: Any, weight: torch.Tensor, bias: torch.Tensor) -> Any:
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def hidden_by_hand(kind: str) -> HiddenLayer:
    layer = HiddenLayer(kind, 2, None, 1.0)
    if kind != "none":
        with_weights(layer.fc, WEIGHT, BIAS)
    return layer


@pytest.mark.parametrize("kind", HIDDEN)
def test_each_hidden_layer_by_hand(kind: str) -> None:
    torch.testing.assert_close(hidden_by_hand(kind)(X), torch.tensor([BY_HAND[kind]]))


@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.parametrize("size", [None, 3])
def test_sizes_and_gains_of_hidden_layers(kind: str, size: int | None) -> None:
    layer = HiddenLayer(kind, 5, size, 0.1)
    width = 5 if size is None or kind in ("none", "residual") else size
    assert layer.out_features == width and layer(torch.randn(4, 5)).shape == (4, width)
    parameters = dict(layer.named_parameters())
    if kind == "none":
        assert not parameters
        return
    assert {name: tuple(p.shape) for name, p in parameters.items()} == {"fc.weight": (width, 5), "fc.bias": (width,)}
    weight = parameters["fc.weight"].detach()
    torch.testing.assert_close(weight @ weight.T, 0.01 * torch.eye(width), atol=1e-6, rtol=0)
    assert not parameters["fc.bias"].any()


@pytest.mark.parametrize("kind", HIDDEN)
def test_the_policy_head_by_hand(kind: str) -> None:
    head = PolicyHead(2, 3, HeadStyle(policy_hidden=kind))
    head[0] = hidden_by_hand(kind)
    with_weights(head[1], torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0.0, 0.0, 10.0]))
    first, second = BY_HAND[kind]
    torch.testing.assert_close(head(X), torch.tensor([[first, second, first + second + 10.0]]))


@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.parametrize("same", [True, False])
def test_critics_by_hand(kind: str, same: bool) -> None:
    """Two intrinsic streams; with features of their own they read the same layers."""
    critics = Critics(2, 3, HeadStyle(critic_hidden=kind))
    critics.hidden = hidden_by_hand(kind)
    for i, head in enumerate((critics.extrinsic, *critics.intrinsic)):
        with_weights(head, torch.tensor([[1.0, 2.0]]), torch.tensor([float(i)]))
    extrinsic = X if same else torch.zeros(1, 2)
    of_zero = critics.extrinsic(critics.hidden(torch.zeros(1, 2))).item()
    value = BY_HAND[kind][0] + 2.0 * BY_HAND[kind][1]
    expected = [value if same else of_zero, value + 1.0, value + 2.0]
    torch.testing.assert_close(critics(extrinsic, X), torch.tensor([expected]))


def test_gains_and_sizes_of_the_style_reach_the_layers() -> None:
    style = HeadStyle("relu", 4, 0.2, 0.3, "tanh", 2, 0.4, 0.5)
    policy, critics = PolicyHead(6, 3, style), Critics(6, 2, style)
    for layer, shape, gain in (
        (policy[0].fc, (4, 6), 0.2),
        (policy[1], (3, 4), 0.3),
        (critics.hidden.fc, (2, 6), 0.4),
        (critics.extrinsic, (1, 2), 0.5),
        (critics.intrinsic[0], (1, 2), 0.5),
    ):
        weight = layer.weight.detach()
        assert weight.shape == shape
        torch.testing.assert_close(weight @ weight.T, gain**2 * torch.eye(shape[0]), atol=1e-6, rtol=0)


def test_the_configuration_changes_what_it_names_only() -> None:
    own = HeadStyle(policy_hidden="none", critic_gain=0.7, critic_hidden_size=9)
    assert head_style(own, {}) == own
    assert head_style(own, {"policy_hidden": None, "critic_hidden_size": None}) == own
    changed = head_style(own, {"policy_hidden": "tanh", "policy_hidden_size": 32, "critic_hidden_gain": 1})
    assert changed == HeadStyle(
        policy_hidden="tanh", policy_hidden_size=32, critic_hidden_gain=1.0, critic_gain=0.7, critic_hidden_size=9
    )
    assert own.policy_hidden == "none"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critic_hiden": "relu"}, "critic_hiden: unknown key.*Did you mean 'critic_hidden'"),
        ({"critic_hidden": "relu_sums"}, r"^critic_hidden.*Did you mean 'relu_sum'"),
        ({"policy_hidden_size": 0}, r"^policy_hidden_size: 0 is out of range; allowed is 1 or more"),
        ({"policy_gain": -0.1}, r"^policy_gain: -0.1 is out of range"),
        ({"critic_gain": "small"}, r"^critic_gain: 'small' has the wrong type"),
        ("relu", "^expected a mapping"),
    ],
)
def test_bad_changes_are_config_errors(changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        head_style(HeadStyle(), changes)
