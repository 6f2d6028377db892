"""Which action spaces there are distributions for, and how actions reach the environment."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_rnd.errors import ConfigError
from rllib_rnd.functional.distributions import Categorical, DiagonalGaussian, MultiCategorical
from rllib_rnd.modules.actions import ActionFeatures, distribution_for_space, from_environment, to_environment

TORQUE = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))


def test_discrete_choices_and_box_have_distributions() -> None:
    discrete, box = distribution_for_space(spaces.Discrete(5)), distribution_for_space(TORQUE)
    assert isinstance(discrete, Categorical) and discrete.num_inputs == 5
    choices = distribution_for_space(spaces.MultiDiscrete([2, 3]))
    assert isinstance(choices, MultiCategorical) and choices.sizes == [2, 3] and choices.num_inputs == 5
    assert isinstance(box, DiagonalGaussian) and box.num_inputs == 4


@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete(np.array([[2, 3]])),
        spaces.MultiBinary(2),
        spaces.Box(-1.0, 1.0, (0,)),
        spaces.Box(0, 255, (2,), np.uint8),
        spaces.Box(-1.0, 1.0, (2, 2)),
        spaces.Dict({"a": spaces.Discrete(2)}),
    ],
)
def test_other_spaces_are_refused_with_what_fits(space: spaces.Space) -> None:
    with pytest.raises(ConfigError, match=r"MultiDiscrete\(\[n, m, ...\]\) or a Box.*wrappers\.TransformAction"):
        distribution_for_space(space)


def test_normalised_actions_are_stretched_to_the_bounds_and_clipped() -> None:
    scale = to_environment(TORQUE, normalize=True, clip=False)
    action = np.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0], [3.0, -9.0]], np.float32)
    np.testing.assert_allclose(scale(action), [[-2.0, 0.0], [0.0, 0.5], [2.0, 1.0], [2.0, 0.0]])


def test_actions_are_only_clipped_or_left_alone() -> None:
    action = np.array([[1.5, 1.5]], np.float32)
    np.testing.assert_allclose(to_environment(TORQUE, False, True)(action), [[1.5, 1.0]])
    np.testing.assert_allclose(to_environment(TORQUE, False, False)(action), action)


def test_unbounded_actions_are_not_stretched() -> None:
    space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    np.testing.assert_allclose(to_environment(space, True, True)(np.array([[7.0]])), [[7.0]])


def test_discrete_actions_begin_where_the_space_begins() -> None:
    assert to_environment(spaces.Discrete(3, start=5), True, True)(np.array([0, 2])).tolist() == [5, 7]
    choices = spaces.MultiDiscrete([2, 3], start=[-1, 4])
    assert to_environment(choices, True, True)(np.array([[0, 0], [1, 2]])).tolist() == [[-1, 4], [0, 6]]


#: Every kind of action space, with policy's actions far outside of what a Box allows.
SPACES: dict[str, spaces.Space] = {
    "discrete": spaces.Discrete(3),
    "discrete from 5": spaces.Discrete(3, start=5),
    "choices": spaces.MultiDiscrete([2, 3, 1], start=[0, -2, 7]),
    "symmetric": spaces.Box(-1.0, 1.0, (2,)),
    "torque": TORQUE,
    "half bounded": spaces.Box(np.array([0.0, -np.inf, -1.0]), np.array([np.inf, np.inf, 3.0]), dtype=np.float64),
    "unbounded": spaces.Box(-np.inf, np.inf, (2,)),
    "one value": spaces.Box(np.array([1.0, 0.0]), np.array([1.0, 2.0]), dtype=np.float32),
}


def draws(space: spaces.Space, count: int = 64) -> torch.Tensor:
    distribution = distribution_for_space(space)
    action, _ = distribution.sample(torch.zeros(count, distribution.num_inputs), torch.Generator().manual_seed(0))
    return action * 3 if isinstance(space, spaces.Box) else action


@pytest.mark.parametrize(("normalize", "clip"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("name", SPACES)
def test_networks_read_what_the_environment_receives(name: str, normalize: bool, clip: bool) -> None:
    space = SPACES[name]
    action, features = draws(space), ActionFeatures(space, normalize, clip)
    sent = to_environment(space, normalize, clip)(action.numpy())
    x = features(action)
    assert x.shape == (len(action), features.size) and x.dtype == torch.float32
    # What a policy would have said for it, as of random play: sent again it is the same, and so are its features.
    back = from_environment(space, normalize)(sent)
    np.testing.assert_allclose(to_environment(space, normalize, clip)(back), sent, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features(torch.as_tensor(back)), x, rtol=1e-4, atol=1e-5)
    if isinstance(space, spaces.Box):
        bounded = np.isfinite(space.low) & np.isfinite(space.high) & (space.low < space.high)
        low, high = np.where(bounded, space.low, -1.0), np.where(bounded, space.high, 1.0)
        wanted = 2.0 * (sent - low) / (high - low) - 1.0
        if normalize and space.is_bounded():
            wanted *= bounded  # 0 where there is but one value
        np.testing.assert_allclose(x.numpy(), wanted, rtol=1e-4, atol=1e-4)
    else:
        wanted = np.stack([np.asarray(spaces.flatten(space, one)) for one in sent])
        np.testing.assert_array_equal(x.numpy(), wanted)
