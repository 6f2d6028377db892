"""Observations of a checkpoint's environment, and what the policy makes of them: what an export is held against."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.envs import make_vector_env
from rllib_rnd.envs.plain import PlainEnv, PlainVectorEnv, plain_actions
from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.errors import ConfigError
from rllib_rnd.export.graph import plain_space
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.actions import to_environment
from rllib_rnd.sampling.play import Play, make_play
from rllib_rnd.sampling.policy import Policy
from rllib_rnd.sampling.seeds import ResetSeeds

_NUM_ENVS = 4
# Agent steps of one environment between two samples, so that a hundred of them see more than its beginning.
_STRIDE = 4


@dataclass(frozen=True)
class EnvironmentSpaces:
    """What an environment itself shows and takes, before anything is flattened.

    Attributes:
        observation: of one observation.
        action: of one action.
    """

    observation: gym.Space
    action: gym.Space


@dataclass(frozen=True)
class Samples:
    """B moments of play.

    Attributes:
        inputs: by the names of `graph.INPUTS`.
        outputs: the module's own, by the names of `graph.OUTPUTS`.
    """

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def spaces_of(env: VectorEnv) -> EnvironmentSpaces:
    """The spaces behind a vector environment of this package's."""
    inner = env.envs[0] if isinstance(env, LeanVectorEnv) else env
    if isinstance(inner, PlainEnv):
        return EnvironmentSpaces(inner.env.observation_space, inner.env.action_space)
    if isinstance(inner, PlainVectorEnv):
        return EnvironmentSpaces(inner.env.single_observation_space, inner.env.single_action_space)
    return EnvironmentSpaces(env.single_observation_space, env.single_action_space)


def environment_spaces(config: AlgorithmConfig) -> EnvironmentSpaces:
    """The spaces of a checkpoint's environment, which is made for it.

    Raises:
        ConfigError: it cannot be made.
    """
    env = make_vector_env(config.env, 1, dict(config.env_config))
    try:
        return spaces_of(env)
    finally:
        env.close()


def play_samples(
    module: IntrinsicPPOModule, config: AlgorithmConfig, count: int, seed: int = 0
) -> tuple[Samples, EnvironmentSpaces]:
    """Plays with sampled actions and keeps every fourth moment of four environments.

    Args:
        module: in evaluation mode.
        config: names the environment.
        count: moments.
        seed: of the environments and the draws.

    Raises:
        ConfigError: the environment cannot be made, or shows nothing that can be used.
    """
    game = make_play(config, min(_NUM_ENVS, count), ResetSeeds(seed))
    policy = Policy(
        module.policy_and_values,
        module.distribution,
        torch.Generator().manual_seed(seed),
        memory_size=module.backbone.state_size,
    )
    try:
        inputs = _gather(game, policy, count)
        behind = spaces_of(game.env)
    finally:
        game.close()
    return Samples(inputs, module_outputs(module, behind.action, inputs)), behind


def _gather(game: Play, policy: Policy, count: int) -> dict[str, np.ndarray]:
    """``obs``, and of policies with a memory ``memory`` and ``is_first``, ``[count, ...]`` each."""
    kept: list[tuple[np.ndarray, np.ndarray, np.bool_]] = []
    game.reset()
    steps, waited = game.steps(policy), np.full(game.num_envs, _STRIDE)
    for _ in range(10 * _STRIDE * count):
        at = game.position
        # A play that no policy has stepped yet knows no memory.
        memory = at.memory if at.memory.shape[1] else policy.empty_memory(game.num_envs)
        for i in np.flatnonzero((waited >= _STRIDE) & ~at.done & ~at.broken):
            kept.append((at.obs[i].copy(), memory[i].copy(), at.is_first[i]))
            waited[i] = 0
        if len(kept) >= count:
            break
        waited += 1
        next(steps)
    else:
        raise ConfigError("env", f"only {len(kept)} of {count} observations hold numbers that can be read")
    obs, memories, is_first = (np.stack(column) for column in zip(*kept[:count], strict=True))
    return {"obs": obs, "memory": memories, "is_first": is_first} if policy.memory_size else {"obs": obs}


def module_outputs(
    module: IntrinsicPPOModule, action_space: gym.Space, inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What the module that was trained says, by the code that training plays with.

    Args:
        module: in evaluation mode.
        action_space: of the environment itself.
        inputs: by the names of `graph.INPUTS`.
    """
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    starts = tensors["is_first"][None] if "is_first" in tensors else None
    with torch.inference_mode():
        dist_inputs, value, state = module.policy_and_values(tensors["obs"], tensors.get("memory"), starts)
        action = module.distribution.mode(dist_inputs).numpy()
    config, plain = module.model_config, plain_space(action_space)
    to_env = to_environment(plain, config.get("normalize_actions", True), config.get("clip_actions", False))
    sent, conversion = to_env(action), plain_actions(action_space)
    if conversion is not None:
        sent = np.stack([conversion.convert(one) for one in sent])
    outputs = {"action": sent.astype(action_space.dtype), "dist_inputs": dist_inputs.numpy(), "value": value.numpy()}
    return outputs if state is None else {**outputs, "next_memory": state.numpy()}
