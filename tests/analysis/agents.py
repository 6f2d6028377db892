"""Agents without training, for tests of what looks into them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd import IntrinsicPPOConfig
from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.states import States
from rllib_rnd.module import IntrinsicPPOModule

#: A stack of two small gray frames; the smallest picture that all convolutions leave something of.
PICTURES = gym.spaces.Box(0, 255, (2, 44, 44), np.uint8)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Networks so small are faster on one core, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_agent(
    space: gym.spaces.Box = PICTURES,
    actions: gym.Space | None = None,
    backbone: dict[str, Any] | str = "nature_cnn",
    rewards: list[dict[str, Any]] | None = None,
    frame_stack: int = 2,
    seed: int = 0,
    heads: dict[str, Any] | None = None,
) -> Agent:
    """An agent of the given parts, in evaluation mode. Heads are drawn ten times as large, that maps see something."""
    rewards = [] if rewards is None else rewards
    module_config = {
        "backbone": {"type": backbone} if isinstance(backbone, str) else backbone,
        "intrinsic_rewards": rewards,
        "auxiliary_losses": [],
        "frame_stack": frame_stack,
        "heads": heads or {},
    }
    torch.manual_seed(seed)
    module = IntrinsicPPOModule(
        observation_space=space, action_space=actions or gym.spaces.Discrete(4), model_config=module_config
    )
    with torch.no_grad():
        for parameter in [*module.policy_head.parameters(), *module.critics.parameters()]:
            parameter.mul_(10.0)
    module.eval()
    # Atari stacks its newest frame last. Nothing makes this environment here.
    config = IntrinsicPPOConfig().environment("ALE/Pong-v5").training(intrinsic_reward=rewards)
    return Agent(Path("nowhere"), config, module)


def random_obs(space: gym.spaces.Box, count: int, seed: int = 0) -> np.ndarray:
    """``[count, *shape]``: any bytes, or normal floats."""
    rng, shape = np.random.default_rng(seed), (count, *space.shape)
    if space.dtype == np.uint8:
        return rng.integers(0, int(space.high.max()) + 1, shape, dtype=np.uint8)
    return rng.normal(0.0, 1.0, shape).astype(space.dtype)


def random_states(agent: Agent, count: int, seed: int = 0) -> States:
    """States in mid-episode: observations, memories and actions are drawn."""
    rng, module = np.random.default_rng(seed), agent.module
    space = module.backbone.observation_space
    outputs = torch.from_numpy(rng.normal(size=(2, count, module.distribution.num_inputs)).astype(np.float32))
    generator = torch.Generator().manual_seed(seed)
    actions = [module.distribution.sample(part, generator)[0].numpy() for part in outputs]
    return States(
        obs=random_obs(space, count, seed),
        memory=rng.normal(size=(count, module.backbone.state_size)).astype(np.float32),
        is_first=np.zeros(count, dtype=bool),
        action=actions[0],
        obs_tm1=random_obs(space, count, seed + 1),
        action_tm1=actions[1],
        step=np.arange(1, count + 1),
        episode=np.zeros(count, dtype=np.int64),
        room=np.full(count, -1),
    )
