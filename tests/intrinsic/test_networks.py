"""Networks that several intrinsic rewards share: encoders, inverse and forward dynamics."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic.networks import (
    ICM_CONVS,
    ForwardDynamics,
    InverseDynamics,
    ObservationEncoder,
)
from rllib_rnd.modules.actions import ActionFeatures
from tests.intrinsic.rollouts import image_space, vector_space

DISCRETE = ActionFeatures(gym.spaces.Discrete(3))
BOX = ActionFeatures(gym.spaces.Box(-1, 1, (2,), np.float32))
BOTH = ActionFeatures(gym.spaces.MultiDiscrete([3, 2]))


def fill(module: nn.Module, value: float = 0.0) -> Any:
    for parameter in module.parameters():
        nn.init.constant_(parameter, value)
    return module


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- ObservationEncoder ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 42, 42), (42, 42), (42, 42, 3), (2, 42, 42, 3), (7, 7, 3), (3, 5)])
def test_every_shape_of_bytes_becomes_features(shape: tuple[int, ...]) -> None:
    encoder = ObservationEncoder(image_space(*shape), 6)
    obs = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    features = encoder(obs)
    assert features.shape == (2, 6) and features.dtype == torch.float32
    assert encoder.moments is None
    features.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_parameters_of_the_paper_s_convolutions() -> None:
    encoder = ObservationEncoder(image_space(4, 42, 42), 256, convs=ICM_CONVS, activation=nn.ELU)
    convolutions = (4 * 9 * 32 + 32) + 3 * (32 * 9 * 32 + 32)
    assert size(encoder.body) == convolutions == 28_928
    assert encoder.head.in_features == 288  # of the paper, at 42 x 42
    assert sum(isinstance(layer, nn.ELU) for layer in encoder.modules()) == 4


def test_a_vector_s_features_by_hand() -> None:
    encoder = ObservationEncoder(vector_space(2), 1, hidden_sizes=(2,))
    with torch.no_grad():
        encoder.body[0].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        encoder.head.weight.copy_(torch.tensor([[2.0, 10.0]]))
        encoder.head.bias.fill_(0.5)
    # Hidden: relu(3), relu(-1); no moments yet, so the input is as it is.
    assert encoder(torch.tensor([[1.0, 2.0]])).item() == pytest.approx(6.5)


def test_bytes_are_scaled_by_the_upper_bound_of_their_space() -> None:
    one_hot = ObservationEncoder(gym.spaces.Box(0, 1, (3,), np.uint8), 3, hidden_sizes=())
    pixels = ObservationEncoder(image_space(3), 3, hidden_sizes=())
    for encoder in (one_hot, pixels):
        nn.init.eye_(encoder.head.weight)
    assert one_hot(torch.tensor([[0, 1, 0]], dtype=torch.uint8)).tolist() == [[0.0, 1.0, 0.0]]
    torch.testing.assert_close(pixels(torch.tensor([[0, 51, 255]], dtype=torch.uint8)), torch.tensor([[0.0, 0.2, 1.0]]))


def test_float_vectors_are_normalised_by_the_moments_of_valid_samples_and_clipped() -> None:
    encoder = ObservationEncoder(vector_space(1), 1, hidden_sizes=())
    nn.init.eye_(encoder.head.weight)
    obs = torch.tensor([[1.0], [5.0], [1000.0]])
    encoder.update_moments(obs, torch.tensor([True, True, False]))
    # Mean 3, standard deviation 2.
    torch.testing.assert_close(encoder(obs), torch.tensor([[-1.0], [1.0], [5.0]]))


def test_moments_of_bytes_are_not_kept() -> None:
    encoder = ObservationEncoder(image_space(3), 2)
    encoder.update_moments(torch.zeros(2, 3, dtype=torch.uint8), torch.ones(2, dtype=torch.bool))
    assert not list(encoder.buffers())


def test_no_sample_gives_no_features_and_zero_gradients() -> None:
    for space in (image_space(4, 42, 42), vector_space(3)):
        encoder = ObservationEncoder(space, 2)
        features = encoder(torch.zeros((0, *space.shape), dtype=torch.uint8 if len(space.shape) > 1 else torch.float32))
        assert features.shape == (0, 2)
        features.sum().backward()
        assert all(p.grad is not None and not p.grad.any() for p in encoder.parameters())


def test_observations_that_cannot_be_encoded_are_config_errors() -> None:
    with pytest.raises(ConfigError, match="not supported"):
        ObservationEncoder(gym.spaces.Discrete(4), 2)
    with pytest.raises(ConfigError, match="images of 40 x 40 pixels are too small"):
        ObservationEncoder(image_space(40, 40), 2, convs=((8, 41, 1, 0),))


# --- dynamics --------------------------------------------------------------------------------------------------------


def test_inverse_loss_of_a_model_that_knows_nothing() -> None:
    phi_t, phi_tp1 = torch.randn(2, 4), torch.randn(2, 4)
    inverse = fill(InverseDynamics(4, DISCRETE))
    torch.testing.assert_close(inverse.loss(phi_t, phi_tp1, torch.tensor([0, 2])), torch.full((2,), math.log(3.0)))
    # Means (0.5, 0.5), actions (1, 0) and (0.5, 0.5): half of 0.25 + 0.25, and 0.
    inverse = fill(InverseDynamics(4, BOX))
    nn.init.constant_(inverse.net[-1].bias, 0.5)
    loss = inverse.loss(phi_t, phi_tp1, torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    torch.testing.assert_close(loss, torch.tensor([0.25, 0.0]))
    # Two choices that nothing is known of: the sum of both.
    inverse = fill(InverseDynamics(4, BOTH))
    loss = inverse.loss(phi_t, phi_tp1, torch.tensor([[0, 1], [2, 0]]))
    torch.testing.assert_close(loss, torch.full((2,), math.log(3.0) + math.log(2.0)))


def test_what_the_environment_clips_is_not_predicted() -> None:
    inverse, phi = fill(InverseDynamics(4, BOX)), torch.zeros(1, 4)
    inside, outside = (inverse.loss(phi, phi, torch.tensor([[x, -x]])).tolist() for x in (1.0, 9.0))
    assert inside == outside == [1.0]


@pytest.mark.parametrize("actions", [DISCRETE, BOX])
def test_inverse_dynamics_reads_both_features_and_trains_them(actions: ActionFeatures) -> None:
    torch.manual_seed(0)
    inverse = InverseDynamics(4, actions, hidden_sizes=[8])
    phi_t, phi_tp1 = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    action = torch.arange(5) % 3 if actions is DISCRETE else torch.randn(5, 2)
    loss = inverse.loss(phi_t, phi_tp1, action)
    assert loss.shape == (5,)
    loss.sum().backward()
    for tensor in (phi_t, phi_tp1, *inverse.parameters()):
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0


def test_inverse_dynamics_learns_which_action_moved_the_features() -> None:
    torch.manual_seed(0)
    inverse = InverseDynamics(2, DISCRETE, hidden_sizes=[32])
    moves = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    optimizer = torch.optim.Adam(inverse.parameters(), lr=1e-2)
    for _ in range(100):
        phi_t, action = torch.randn(64, 2), torch.randint(3, (64,))
        loss = inverse.loss(phi_t, phi_t + moves[action], action).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 < math.log(3.0)


@pytest.mark.parametrize("actions", [DISCRETE, BOX])
def test_forward_dynamics_reads_features_and_actions(actions: ActionFeatures) -> None:
    torch.manual_seed(0)
    model = ForwardDynamics(4, actions, hidden_size=8)
    phi_t = torch.randn(1, 4, requires_grad=True)
    taken = torch.tensor([0, 1]) if actions is DISCRETE else torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    first, second = (model(phi_t, action[None]) for action in taken)
    assert first.shape == (1, 4) and not torch.allclose(first, second)
    second.sum().backward()
    for tensor in (phi_t, *model.parameters()):
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0


def test_forward_prediction_by_hand() -> None:
    model = fill(ForwardDynamics(1, DISCRETE, hidden_size=1))
    with torch.no_grad():
        model.net[0][0].weight.copy_(torch.tensor([[1.0, 10.0, 20.0, 30.0]]))  # phi, then one number per action
        model.net[1].weight.fill_(2.0)
        model.net[1].bias.fill_(1.0)
    assert model(torch.tensor([[0.5], [-40.0]]), torch.tensor([1, 2])).tolist() == [[42.0], [1.0]]
