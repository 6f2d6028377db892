"""Spaces come back from JSON as they were, and are said in words."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rllib_rnd.envs.space_json import space_from_json, space_in_words, space_to_json
from rllib_rnd.errors import ConfigError
from tests.envs.test_plain import ACTIONS, OBSERVATIONS, box

SPACES: dict[str, gym.Space] = {
    **{f"sees {name}": space for name, (space, _) in OBSERVATIONS.items()},
    **{f"does {name}": space for name, (space, _) in ACTIONS.items()},
    "bounds of each": spaces.Box(np.array([-1, -np.inf], np.float32), np.array([0.1, 2], np.float32)),
    "large whole numbers": box(-(2**62) - 1, 2**62 + 1, "int64"),
    "types": spaces.Tuple((spaces.Discrete(3, dtype=np.int32), spaces.MultiDiscrete([2, 9], dtype=np.int8))),
    "nested": spaces.Dict(a=spaces.Dict(b=spaces.Tuple((spaces.Discrete(2),))), c=box(0, 255, "uint8", (2, 2))),
}


@pytest.mark.parametrize("name", SPACES)
def test_every_space_comes_back(name: str) -> None:
    space = SPACES[name]
    text = json.dumps(space_to_json(space), allow_nan=False)
    back = space_from_json(json.loads(text))
    assert back == space and back.dtype == space.dtype
    assert "\n" not in space_in_words(space)


def test_words() -> None:
    assert space_in_words(box(0, 255, "uint8", (4, 84, 84))) == "uint8 [4, 84, 84], 0 to 255"
    assert space_in_words(SPACES["bounds of each"]) == "float32 [2], each in bounds of its own"
    assert space_in_words(spaces.Discrete(3, start=2)) == "one whole number from 2 to 4"
    choices = spaces.MultiDiscrete([2, 3], start=[-4, 7])
    assert space_in_words(choices) == "whole numbers [2], each in its range: -4 to -3, 7 to 9"
    assert space_in_words(spaces.Dict(a=spaces.MultiBinary(2))) == "a dict of 'a': zeros and ones [2]"


def test_what_no_policy_has_to_do_with_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"env: Text.* cannot be written down"):
        space_to_json(spaces.Dict(a=spaces.Text(3)))
    with pytest.raises(ValueError, match="no space: Text"):
        space_from_json({"type": "Text"})
