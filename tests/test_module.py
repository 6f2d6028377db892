"""The RLModule: parameter counts, shapes, which parameters learn, what runners hold."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.heads import Critics, HeadStyle

ATARI = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)


def build(inference_only: bool = False, rewards: list[dict[str, Any]] | None = None) -> IntrinsicPPOModule:
    config = {
        "backbone": {"type": "nature_cnn"},
        "intrinsic_rewards": [{"type": "rnd"}] if rewards is None else rewards,
        "auxiliary_losses": [],
        "frame_stack": 4,
    }
    return IntrinsicPPOModule(
        observation_space=ATARI,
        action_space=gym.spaces.Discrete(18),
        inference_only=inference_only,
        model_config=config,
    )


def count(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_those_of_the_lineage() -> None:
    module = build()
    policy = count(module.backbone) + count(module.policy_head) + count(module.critics)
    assert policy == 1_407_476
    assert count(module.intrinsic_rewards[0].predictor) == 2_203_296
    assert count(module.intrinsic_rewards[0].target) == 1_677_984


def test_runners_hold_policy_and_critics_only() -> None:
    assert count(build(inference_only=True)) == 1_407_476
    learner_state = build().get_state(inference_only=True)
    assert set(learner_state) == set(build(inference_only=True).state_dict())


def test_each_stream_has_its_own_value_head() -> None:
    critics = Critics(8, 3, HeadStyle())
    features = torch.randn(5, 8)
    values = critics(features, features)
    assert values.shape == (5, 3)
    values[:, 2].sum().backward()
    assert not critics.extrinsic.weight.grad.any()
    assert not critics.intrinsic[0].weight.grad.any()
    assert critics.intrinsic[1].weight.grad.any()


def test_shared_and_separate_features_agree_where_they_are_equal() -> None:
    critics = Critics(8, 2, HeadStyle())
    features = torch.randn(5, 8)
    torch.testing.assert_close(critics(features, features), critics(features, features.clone()))


@pytest.mark.parametrize("batch", [1, 7])
def test_every_policy_and_critic_parameter_gets_a_gradient(batch: int) -> None:
    module = build()
    logits, values, _ = module.policy_and_values(torch.randint(0, 256, (batch, 4, 84, 84), dtype=torch.uint8))
    assert logits.shape == (batch, 18) and values.shape == (batch, 2)
    (logits.square().sum() + values.square().sum()).backward()
    for part in (module.backbone, module.policy_head, module.critics):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name
    assert all(p.grad is None for p in module.intrinsic_rewards.parameters())
    assert all(not p.requires_grad for p in module.intrinsic_rewards[0].target.parameters())


def test_without_intrinsic_reward_there_is_one_stream() -> None:
    module = build(rewards=[])
    assert module.policy_and_values(torch.zeros((2, 4, 84, 84), dtype=torch.uint8))[1].shape == (2, 1)
