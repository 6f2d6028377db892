"""What plug-ins are given: the spaces, and one frame of a stack."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.plugin import Spaces, count_samples

ACTIONS: gym.spaces.Discrete = gym.spaces.Discrete(2)


def test_the_space_of_a_frame_is_that_of_the_observation_without_the_stack() -> None:
    stacked = gym.spaces.Box(np.array([[0, 1], [2, 3]]), np.array([[4, 5], [6, 7]]), dtype=np.int64)
    frame = Spaces(stacked, ACTIONS, 2).frame
    assert frame.shape == (2,) and frame.dtype == np.int64
    assert frame.low.tolist() == [0, 1] and frame.high.tolist() == [4, 5]
    assert Spaces(stacked, ACTIONS).frame == stacked


def test_observations_that_are_no_arrays_are_refused() -> None:
    observation: object = gym.spaces.Discrete(3)
    with pytest.raises(ConfigError, match="Discrete"):
        Spaces(observation, ACTIONS)  # type: ignore[arg-type]


def test_samples_are_counted_as_a_number_without_axes() -> None:
    count = count_samples(torch.tensor([5, 9, 1]))
    assert count.shape == () and count.dtype == torch.float32 and count.item() == 3.0
