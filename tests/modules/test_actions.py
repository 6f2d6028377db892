"""Which action spaces there are distributions for, and how actions reach the environment."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from rllib_rnd.errors import ConfigError
from rllib_rnd.functional.distributions import Categorical, DiagonalGaussian
from rllib_rnd.modules.actions import distribution_for_space, to_environment

TORQUE = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))


def test_discrete_and_box_have_distributions() -> None:
    discrete, box = distribution_for_space(spaces.Discrete(5)), distribution_for_space(TORQUE)
    assert isinstance(discrete, Categorical) and discrete.num_inputs == 5
    assert isinstance(box, DiagonalGaussian) and box.num_inputs == 4


@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete([2, 3]),
        spaces.Box(0, 255, (2,), np.uint8),
        spaces.Box(-1.0, 1.0, (2, 2)),
        spaces.Dict({"a": spaces.Discrete(2)}),
    ],
)
def test_other_spaces_are_refused_with_what_fits(space: spaces.Space) -> None:
    with pytest.raises(ConfigError, match=r"Discrete\(n\) or a Box"):
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
