"""Agents that nothing trained, in environments that they can really play: no checkpoint, no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_rnd import IntrinsicPPOConfig
from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.player import Player, PlayOptions
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.envs import frame_stack, make_env
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.rollout import Rollout

DEEP_SEA = "rllib_rnd/DeepSea-v0"


def agent_in(
    env: str = DEEP_SEA,
    env_config: dict[str, Any] | None = None,
    backbone: dict[str, Any] | None = None,
    rewards: list[dict[str, Any]] | None = None,
    seed: int = 0,
) -> Agent:
    """An agent of the given parts with the environment's spaces."""
    env_config, rewards = env_config or {}, rewards or []
    single = make_env(env, env_config)
    torch.manual_seed(seed)
    module = IntrinsicPPOModule(
        observation_space=single.observation_space,
        action_space=single.action_space,
        model_config={
            "backbone": backbone or {"type": "mlp", "hidden_sizes": [8]},
            "intrinsic_rewards": rewards,
            "auxiliary_losses": [],
            "frame_stack": frame_stack(env, env_config).size,
        },
    )
    single.close()
    with torch.no_grad():
        for parameter in module.policy_head.parameters():
            parameter.mul_(10.0)  # that a small change of what is seen changes what is said
    module.eval()
    config = IntrinsicPPOConfig().environment(env, env_config=env_config).training(intrinsic_reward=rewards)
    return Agent(Path("nowhere"), config, module)


def play(agent: Agent, seed: int = 0, max_steps: int = 4500) -> Tape:
    """An episode of an agent."""
    player = Player(agent, PlayOptions(seed=seed, max_steps=max_steps))
    try:
        return player.play(seed)
    finally:
        player.close()


def hand_made(steps: int, streams: int = 1, **columns: Any) -> Tape:
    """A tape of vectors of 2 in which nothing happens but what ``columns`` say; every step is the same."""
    tape = Tape(1, False, seed=0, finished=True)
    tape.frames = [np.zeros(2, dtype=np.float32)] * (steps + 1)
    tape.is_first = [t == 0 for t in range(steps + 1)]
    tape.memory = [np.zeros(0, dtype=np.float32)] * (steps + 1)
    tape.dist_inputs = [np.zeros(3, dtype=np.float32)] * (steps + 1)
    tape.value = [np.zeros(streams, dtype=np.float32)] * (steps + 1)
    tape.rooms, tape.positions, tape.lives = [None] * (steps + 1), [None] * (steps + 1), [None] * (steps + 1)
    tape.life_lost = [False] * (steps + 1)
    tape.action = [np.zeros((), dtype=np.int64)] * steps
    tape.logp, tape.reward = [0.0] * steps, [0.0] * steps
    tape.truncated, tape.terminated = [False] * steps, [t == steps - 1 for t in range(steps)]
    for name, column in columns.items():
        assert len(column) == len(getattr(tape, name)), name
        setattr(tape, name, column)
    return tape


def sizes_gathered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the number of observations whenever some are gathered from a rollout."""
    sizes: list[int] = []
    gather = Rollout.obs

    def counted(self: Rollout, index: torch.Tensor) -> torch.Tensor:
        sizes.append(len(index))
        return gather(self, index)

    monkeypatch.setattr(Rollout, "obs", counted)
    return sizes
