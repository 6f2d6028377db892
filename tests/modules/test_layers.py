"""Layers that backbones and rewards share: initialisation, stacks, and noisy layers against their formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rllib_rnd.modules.layers import NoisyLinear, linear_stack, noisy_layers, orthogonal_init


@pytest.mark.parametrize(
    ("layer", "gain"),
    [
        (nn.Linear(6, 4), 0.01),
        (nn.Linear(4, 6), math.sqrt(2.0)),
        (nn.Linear(4, 4, bias=False), 1.0),
        (nn.Conv2d(3, 8, 2), 0.5),
        (NoisyLinear(6, 4), 3.0),
    ],
)
def test_orthogonal_init_sets_the_gain_and_a_zero_bias(layer: nn.Module, gain: float) -> None:
    assert orthogonal_init(layer, gain) is layer
    weight = layer.get_parameter("weight").detach().flatten(1)
    product = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
    torch.testing.assert_close(product, gain**2 * torch.eye(len(product)), atol=1e-5, rtol=1e-5)
    bias = getattr(layer, "bias", None)
    assert bias is None or not bias.any()


def test_orthogonal_init_defaults_to_root_2() -> None:
    weight = orthogonal_init(nn.Linear(5, 5)).weight.detach()
    torch.testing.assert_close(weight @ weight.T, 2.0 * torch.eye(5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("linear", [nn.Linear, NoisyLinear])
def test_a_stack_has_an_activation_after_every_layer(linear: type[nn.Module]) -> None:
    stack = linear_stack(3, (5, 2), nn.Tanh, linear)
    assert [type(layer) for layer in stack] == [linear, nn.Tanh, linear, nn.Tanh]
    assert [tuple(stack[i].get_parameter("weight").shape) for i in (0, 2)] == [(5, 3), (2, 5)]
    weight = stack[0].get_parameter("weight").detach()
    torch.testing.assert_close(weight.T @ weight, 2.0 * torch.eye(3), atol=1e-5, rtol=0)
    x = torch.randn(4, 3)
    torch.testing.assert_close(stack(x), torch.tanh(stack[2](torch.tanh(stack[0](x)))))


def test_an_empty_stack_changes_nothing() -> None:
    x = torch.randn(2, 3)
    assert torch.equal(linear_stack(3, (), nn.ReLU)(x), x)


def test_a_noisy_layer_by_hand() -> None:
    """w = mu + sigma eps_out eps_in^T = [[1, 2]] + [[.5, .1]] * 3 * [2, -1]; b = 10 + 0.2 * 3."""
    layer = NoisyLinear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.bias.fill_(10.0)
        layer.weight_sigma.copy_(torch.tensor([[0.5, 0.1]]))
        layer.bias_sigma.fill_(0.2)
        layer.eps_in.copy_(torch.tensor([2.0, -1.0]))
        layer.eps_out.fill_(3.0)
    x = torch.tensor([[1.0, 1.0], [2.0, -1.0]])
    # Weights 1 + 3 = 4 and 2 - 0.3 = 1.7, bias 10.6.
    torch.testing.assert_close(layer(x), torch.tensor([[16.3], [16.9]]))
    layer.silence()
    torch.testing.assert_close(layer(x), torch.tensor([[13.0], [10.0]]))


def test_noise_is_the_signed_root_of_normal_draws() -> None:
    layer = NoisyLinear(3, 2)
    layer.resample(torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(7)
    for eps in (layer.eps_in, layer.eps_out):
        drawn = torch.randn(eps.shape, generator=generator)
        torch.testing.assert_close(eps * eps.abs(), drawn)
    before = layer.eps_in.clone()
    layer.resample(generator)
    assert not torch.equal(layer.eps_in, before)


def test_sigma_starts_at_sigma_0_over_the_root_of_the_inputs() -> None:
    assert torch.equal(NoisyLinear(16, 3).weight_sigma, torch.full((3, 16), 0.125))
    assert torch.equal(NoisyLinear(4, 3, sigma_0=0.8).bias_sigma, torch.full((3,), 0.4))


def test_every_parameter_of_a_noisy_layer_learns_and_the_noise_does_not() -> None:
    layer = NoisyLinear(3, 2)
    layer(torch.ones(4, 3)).sum().backward()
    names = {name for name, parameter in layer.named_parameters() if parameter.grad is not None}
    assert names == {"weight", "bias", "weight_sigma", "bias_sigma"}
    # d/d sigma = eps: summed over four samples.
    torch.testing.assert_close(layer.bias_sigma.grad, 4.0 * layer.eps_out)
    torch.testing.assert_close(layer.weight_sigma.grad, 4.0 * torch.outer(layer.eps_out, layer.eps_in))


def test_the_noise_travels_with_the_weights() -> None:
    """Otherwise the learner would see other probabilities than those that acted."""
    sender, receiver, x = NoisyLinear(3, 2), NoisyLinear(3, 2), torch.ones(1, 3)
    receiver.load_state_dict(sender.state_dict())
    torch.testing.assert_close(sender(x), receiver(x), rtol=0, atol=0)


def test_noisy_layers_are_found_at_any_depth_in_order() -> None:
    net = nn.Sequential(NoisyLinear(1, 2), nn.Sequential(nn.Linear(2, 3), NoisyLinear(3, 4)))
    assert [layer.out_features for layer in noisy_layers(net)] == [2, 4]
    assert noisy_layers(nn.Linear(1, 1)) == []
