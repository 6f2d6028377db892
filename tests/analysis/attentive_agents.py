"""Small agents whose backbones attend, and states for them, for tests of attention, feature maps and their videos."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.states import States
from tests.analysis.agents import make_agent, random_states

IMAGE = gym.spaces.Box(0, 255, (2, 44, 36), np.uint8)  # a stack of two; sides of different lengths show axes mixed up
VECTOR = gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)
VIT = {"patch_size": 4, "dim": 16, "depth": 3, "num_heads": 2, "head_dim": 8, "mlp_dim": 16}
IAM = {"hidden_sizes": [8], "memory_size": 6, "attention_size": 5, "num_heads": 2}


def agent_with(backbone: dict[str, Any], space: gym.spaces.Box = IMAGE) -> Agent:
    """An agent with a backbone."""
    return make_agent(space, backbone=backbone, frame_stack=2 if space is IMAGE else 1)


def states_for(agent: Agent, count: int = 3) -> States:
    """Random states of one episode that begins with the first of them."""
    return replace(random_states(agent, count), is_first=np.arange(count) == 0, step=np.arange(count))
