"""What the tests of rewards on transitions share: making them, training them, rollouts of chosen observations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.modules.mlp import MLP, MLPOptions
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout
from tests.intrinsic.rollouts import random_rollout, vector_space

DISCRETE: gym.spaces.Discrete = gym.spaces.Discrete(4)
BOX = gym.spaces.Box(-1, 1, (2,), np.float32)

SMALL: dict[str, dict[str, Any]] = {
    "icm": {"feature_dim": 8, "hidden_sizes": [16], "model_size": 16},
    "disagreement": {"feature_dim": 8, "hidden_sizes": [16], "model_size": 16, "ensemble_size": 3},
    "ride": {"feature_dim": 8, "hidden_sizes": [16], "model_size": 16},
    "byol_explore": {"feature_dim": 8, "hidden_sizes": [16], "model_size": 16, "memory_size": 8, "horizon": 3},
}


def make(
    name: str,
    space: gym.spaces.Box | None = None,
    action_space: gym.Space[Any] = DISCRETE,
    frame_stack: int = 1,
    seed: int = 0,
    **options: Any,
) -> Any:
    """A small reward of one type; observations are vectors of five floats unless told otherwise."""
    torch.manual_seed(seed)
    spec = {"type": name, **SMALL[name], **options}
    cls, parsed = INTRINSIC_REWARDS.parse(spec, "intrinsic_reward")
    reward: Any = cls(Spaces(vector_space(5) if space is None else space, action_space, frame_stack), parsed)
    return reward


def identity_encoder(reward: Any) -> Any:
    """Makes the features the observation itself (vectors of ``feature_dim`` floats between -5 and 5)."""
    for encoder in (reward.encoder, getattr(reward, "target", None)):
        if encoder is not None:
            encoder.body = nn.Identity()
            encoder.head = nn.Identity()
    return reward


def constant_output(network: nn.Module, output: list[float]) -> None:
    """Sets the last linear layer of a network so that it says the same to everything."""
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor(output))


def with_actions(rollout: Rollout, action_space: gym.Space, seed: int = 0) -> Rollout:
    """The rollout with random actions of a space."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rollout.num_steps, rollout.num_envs)
    if isinstance(action_space, gym.spaces.Discrete):
        return replace(rollout, action=torch.randint(int(action_space.n), shape, generator=generator))
    assert isinstance(action_space, gym.spaces.Box)
    return replace(rollout, action=torch.randn((*shape, *action_space.shape), generator=generator))


def scripted(observations: list[list[list[float]]], first: list[tuple[int, int]] | None = None) -> Rollout:
    """A rollout of given observations ``[T + 1][N][D]``, all actions 0, whose reset observations are at ``first``."""
    frames = np.asarray(observations, np.float32)
    steps, envs = len(frames) - 1, frames.shape[1]
    rollout = random_rollout(frames.shape[2:], max(steps, 5), max(envs, 2))
    is_first = torch.zeros((steps + 1, envs), dtype=torch.bool)
    for t, n in first or []:
        is_first[t, n] = True
    parts = {name: getattr(rollout, name)[:steps, :envs] for name in ("logp", "reward", "terminated", "truncated")}
    return replace(
        rollout,
        frames=torch.from_numpy(frames),
        is_first=is_first,
        action=torch.zeros((steps, envs), dtype=torch.int64),
        value=rollout.value[: steps + 1, :envs],
        memory=rollout.memory[:steps, :envs],
        broken=None,
        **parts,
    )


def cut(rollout: Rollout, start: int, stop: int) -> Rollout:
    """The steps ``start .. stop - 1`` as a rollout of their own."""
    per_step = ("action", "logp", "reward", "terminated", "truncated", "memory")
    parts = {name: getattr(rollout, name)[start:stop] for name in per_step}
    parts |= {name: getattr(rollout, name)[start : stop + 1] for name in ("is_first", "value", "broken")}
    return replace(rollout, frames=rollout.frames[start : stop + rollout.frame_stack], **parts)


def all_losses(
    reward: Any, rollout: Rollout, index: Tensor | None = None, seed: int = 0, features: Any = None
) -> dict[str, Any]:
    """The named (sum, count) of all or some samples, reset steps left out as the learner does."""
    index = torch.arange(rollout.num_steps * rollout.num_envs) if index is None else index
    index = index[rollout.valid.flatten()[index]]
    features = reward.compute(rollout)[1] if features is None else features
    generator = torch.Generator().manual_seed(seed)
    return reward.terms(rollout, features, index, generator)


def total_loss(terms: dict[str, Any]) -> Tensor:
    """The loss that the learner makes of the terms."""
    return torch.stack([total / count.clamp(min=1.0) for total, count in terms.values()]).sum()


def train(reward: Any, rollout: Rollout, steps: int = 100, lr: float = 3e-3) -> list[float]:
    """Trains on one rollout, as the learner does; the losses of all steps."""
    parameters = [p for p in reward.parameters() if p.requires_grad]
    optimizer, history = torch.optim.Adam(parameters, lr=lr), []
    backbone = MLP(vector_space(5), MLPOptions())
    for step in range(steps):
        if step % 10 == 0:
            features = reward.compute(rollout)[1]
        loss = total_loss(all_losses(reward, rollout, seed=step, features=features))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        reward.after_update(backbone)
        history.append(loss.item())
    return history
