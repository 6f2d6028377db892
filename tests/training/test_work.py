"""Arithmetic of a pass of the networks, against counts by hand."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from torch import nn

from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.training.work import forward_flops, samples_per_pass
from tests.conftest import small_config

SAMPLES = 4 * 16 // 2  # environments x steps / minibatches


def build(observation_space: gym.Space, backbone: dict[str, Any]) -> IntrinsicPPOModule:
    config = {"backbone": backbone, "intrinsic_rewards": [], "auxiliary_losses": [], "frame_stack": 1}
    return IntrinsicPPOModule(
        observation_space=observation_space, action_space=gym.spaces.Discrete(4), model_config=config
    )


@pytest.mark.parametrize(
    ("settings", "expected"), [({}, SAMPLES), ({"micro_batch_size": 5}, 5), ({"minibatch_size": 7}, 6)]
)
def test_samples_per_pass(settings: dict[str, Any], expected: int) -> None:
    assert samples_per_pass(small_config("IntrinsicPPO", **settings)) == expected


def test_a_multiplication_and_an_addition_per_weight_and_sample() -> None:
    module = build(gym.spaces.Box(-1, 1, (10,), np.float32), {"type": "mlp", "hidden_sizes": [32, 16]})
    weights = sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Linear))
    assert forward_flops(small_config("IntrinsicPPO"), module) == 2 * weights * SAMPLES


def test_steps_of_a_sequence_are_not_shared() -> None:
    space = gym.spaces.Box(-1, 1, (10,), np.float32)
    config = small_config("IntrinsicPPO")
    one, eight = (build(space, {"type": "gru", "max_seq_len": steps}) for steps in (1, 8))
    assert forward_flops(config, eight) == forward_flops(config, one) / 8
