"""Tests of my_reward."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from rllib_rnd.cli.check import check_files
from rllib_rnd.cli.starters.reward import MyReward
from rllib_rnd.experiment.overrides import Overrides
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout


def test_what_is_learned_is_paid_less() -> None:
    """The loss makes the reward of the same rollout smaller."""
    reward = MyReward(Spaces(gym.spaces.Box(0, 255, (5,), np.uint8), gym.spaces.Discrete(2)), MyReward.Options())
    rollout = Rollout.empty(4, 3, (5,))  # 4 steps of 3 environments
    rollout.frames[:] = np.random.default_rng(0).integers(0, 256, rollout.frames.shape)
    rollout = rollout.to_torch()
    before, features = reward.compute(rollout)
    assert before.shape == (4, 3) and bool((before >= 0).all())
    optimizer = torch.optim.SGD(reward.predictor.parameters(), lr=0.1)
    for _ in range(20):
        loss, count = reward.terms(rollout, features, torch.arange(12), torch.Generator())["my_reward_loss"]
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    assert reward.compute(rollout)[0].sum() < before.sum()


def test_it_trains(tmp_path: Path) -> None:
    """What ``rllib check`` does."""
    file = tmp_path / "my_reward.yaml"
    file.write_text(
        "my_reward_run:\n"
        "  run: IntrinsicPPO\n"
        "  env: rllib_rnd/DeepSea-v0\n"
        "  stop: {agent_steps: 100000}\n"
        "  config: {intrinsic_reward: {type: 'rllib_rnd.cli.starters.reward:MyReward'}}\n"
    )
    assert check_files([file], Overrides()) == 0
