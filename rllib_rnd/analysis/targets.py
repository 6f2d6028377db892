"""Targets: the numbers that maps explain. The chosen action, every value, every intrinsic reward."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.one_step import measured_rewards
from rllib_rnd.analysis.pixels import for_backbone, newest_frame, over_pixels, read_pixels, scaled, unscaled
from rllib_rnd.analysis.states import States, chunks, network_inputs
from rllib_rnd.errors import ConfigError
from rllib_rnd.functional.distributions import ActionDistribution
from rllib_rnd.intrinsic.base import IntrinsicReward, Traced
from rllib_rnd.own_code import failures_of, method_of, name_of

# Observations per pass of the policy.
_CHUNK = 256


class Look(NamedTuple):
    """What policy and critics make of B states.

    Attributes:
        dist_inputs: ``[B, P]`` inputs of the actions' distribution.
        values: ``[B, S]``.
        action: ``[B, ...]`` that was chosen.
        distribution: of actions.
    """

    dist_inputs: Tensor
    values: Tensor
    action: Tensor
    distribution: ActionDistribution


class Path(NamedTuple):
    """What the networks of a target read, for methods that walk from nothing to it.

    Attributes:
        x: ``[B, ...]``, what they read of the states.
        nothing: the same shape: what they read of nothing; None: the caller's choice.
        value: ``x`` of some states, and these -> the target ``[B]``, with gradient.
        to_pixels: values of the elements of ``x`` -> their sums over channels and frames ``[B, h, w]``.
    """

    x: Tensor
    nothing: Tensor | None
    value: Callable[[Tensor, States], Tensor]
    to_pixels: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Target(abc.ABC):
    """One number per state that a map explains.

    Attributes:
        name: "action", "extrinsic_value", "intrinsic_value: rnd", "intrinsic_reward: rnd".
        differentiable: gradients reach the observation; else it is explained by perturbing observations only.
        falls: what a map shows is to make the target fall where it is blanked, not just change.
    """

    name: str
    differentiable: bool
    falls: ClassVar[bool] = False

    @abc.abstractmethod
    def of(self, agent: Agent, states: States, obs: Tensor) -> Tensor:
        """The target with gradient, of targets that are ``differentiable``.

        Args:
            agent: whose networks it is of.
            states: what else was known.
            obs: ``[B, *obs_shape]`` float as networks read it (`pixels.scaled`), in place of ``states.obs``.

        Returns:
            ``[B]``.
        """

    @abc.abstractmethod
    def measure(self, agent: Agent, states: States, obs: np.ndarray) -> np.ndarray:
        """The target without gradient; nothing that the agent remembers changes.

        Args:
            agent: whose networks it is of.
            states: what else was known.
            obs: ``[B, *obs_shape]`` raw, in place of ``states.obs``.

        Returns:
            ``[B]`` float64.
        """

    def networks(self, agent: Agent) -> list[nn.Module]:
        """Whose convolutions may be looked into."""
        return [agent.module.backbone]

    def path(self, agent: Agent, obs: Tensor) -> Path:
        """What the networks read; arguments as of `of`."""
        return Path(obs, None, lambda x, part: self.of(agent, part, x), lambda values: over_pixels(agent, values))


class PolicyTarget(Target):
    """A target that the policy's own networks compute."""

    @abc.abstractmethod
    def read(self, seen: Look) -> Tensor:
        """The target ``[B]`` of what policy and critics say."""

    def of(self, agent: Agent, states: States, obs: Tensor) -> Tensor:
        """See `Target.of`."""
        return self.read(look(agent, states, for_backbone(agent, obs)))

    def measure(self, agent: Agent, states: States, obs: np.ndarray) -> np.ndarray:
        """See `Target.measure`."""
        return self.read(looked(agent, states, obs)).double().numpy()


class ActionTarget(PolicyTarget):
    """Log-probability (of continuous actions: log-density) of the action that was chosen."""

    def read(self, seen: Look) -> Tensor:
        """See `PolicyTarget.read`."""
        return seen.distribution.logp_and_entropy(seen.dist_inputs, seen.action)[0]


@dataclass(frozen=True)
class ValueTarget(PolicyTarget):
    """One critic's value.

    Attributes:
        stream: which one; 0 is the extrinsic.
    """

    stream: int = 0

    def read(self, seen: Look) -> Tensor:
        """See `PolicyTarget.read`."""
        return seen.values[:, self.stream]


@dataclass(frozen=True)
class RewardTarget(Target):
    """One raw intrinsic reward, that of arriving at ``obs`` from ``obs_tm1`` by ``action_tm1``.

    With ``reward_on: current`` that of being there. Memories of the episode hold nothing but the observation before.
    Where it is differentiable, only ``obs`` varies.

    Attributes:
        index: which of the module's rewards.
    """

    index: int = 0
    #: A blanked pixel may well be new itself and raise the reward; what was new before takes novelty away.
    falls: ClassVar[bool] = True

    def of(self, agent: Agent, states: States, obs: Tensor) -> Tensor:
        """See `Target.of`.

        Raises:
            TypeError: it is not differentiable.
        """
        path = self.path(agent, obs)
        return path.value(path.x, states)

    def measure(self, agent: Agent, states: States, obs: np.ndarray) -> np.ndarray:
        """See `Target.measure`."""
        return measured_rewards(agent, self._reward(agent), states, obs, self.differentiable)

    def networks(self, agent: Agent) -> list[nn.Module]:
        """The reward's own networks."""
        return list(self._traced(agent).networks)

    def path(self, agent: Agent, obs: Tensor) -> Path:
        """What the reward's networks read. Nothing is 0: the mean frame, where frames are normalised, or else black."""
        traced, raw = self._traced(agent), unscaled(agent, obs)
        with failures_of(self._reward(agent), "traced"):
            x = traced.read(raw if traced.stack else newest_frame(agent, raw))

        def value(x: Tensor, _: States) -> Tensor:
            with failures_of(self._reward(agent), "traced"):
                return traced.reward(x)

        return Path(x, torch.zeros_like(x), value, lambda values: read_pixels(agent, values))

    def _reward(self, agent: Agent) -> IntrinsicReward:
        return agent.module.rewards()[self.index]

    def _traced(self, agent: Agent) -> Traced:
        traced = traced_of(self._reward(agent))
        if traced is None:
            raise TypeError(f"{self.name} is not differentiable.")
        return traced


def traced_of(reward: IntrinsicReward) -> Traced | None:
    """`IntrinsicReward.traced`.

    Raises:
        ConfigError: it fails, or returns something else.
    """
    with failures_of(reward, "traced"):
        traced: object = reward.traced()
    if traced is None or isinstance(traced, Traced):
        return traced
    what = f"{method_of(reward, 'traced', with_line=True)} returned type {type(traced).__name__}"
    raise ConfigError("", what, f"a {name_of(Traced)}, or None")


def _is_traced(reward: IntrinsicReward) -> bool:
    """Whether a reward's gradients reach its observation; if it cannot say so, `trouble_with` its target tells why."""
    try:
        return traced_of(reward) is not None
    except ConfigError:
        return False


def trouble_with(agent: Agent, target: Target) -> ConfigError | None:
    """What is wrong with the gradients of a reward, found by a try at an observation of zeros; None: nothing."""
    if not isinstance(target, RewardTarget):
        return None
    reward = agent.module.rewards()[target.index]
    try:
        if traced_of(reward) is None:
            return None
        nothing = States.of_nothing(agent)
        obs = scaled(agent, nothing.obs).requires_grad_()
        path = target.path(agent, obs)
        value = path.value(path.x, nothing)
        with failures_of(reward, "traced"):
            if value.shape != (1,):
                raise ValueError(f"rewards of shape {list(value.shape)} for 1 observation instead of [1]")
            torch.autograd.grad(value.sum(), obs, allow_unused=True)
            path.to_pixels(path.x.detach())
            target.networks(agent)
    except ConfigError as error:
        return error
    return None


def broken(agent: Agent, target: Target) -> ConfigError | None:
    """Why a reward cannot be computed, found by a try at an observation of zeros; None: it can."""
    nothing = States.of_nothing(agent)
    try:
        target.measure(agent, nothing, nothing.obs)
    except ConfigError as error:
        return error
    return None


def targets_of(agent: Agent) -> list[Target]:
    """All targets of an agent: the action, the extrinsic value, intrinsic values and rewards in their order."""
    names = agent.reward_names
    values = [ValueTarget(f"intrinsic_value: {name}", True, i + 1) for i, name in enumerate(names)]
    rewards = [
        RewardTarget(f"intrinsic_reward: {name}", _is_traced(reward), i)
        for i, (name, reward) in enumerate(zip(names, agent.module.rewards(), strict=True))
    ]
    return [ActionTarget("action", True), ValueTarget("extrinsic_value", True, 0), *values, *rewards]


def look(agent: Agent, states: States, obs: Tensor) -> Look:
    """What policy and critics say of ``obs [B, *obs_shape]``, with the states' memory and with gradient."""
    _, memory, is_first = network_inputs(agent, states.obs, states.memory, states.is_first)
    dist_inputs, values, _ = agent.module.policy_and_values(obs, memory, is_first)
    action = torch.from_numpy(np.ascontiguousarray(states.action))
    return Look(dist_inputs, values, action, agent.module.distribution)


@torch.no_grad()
def looked(agent: Agent, states: States, obs: np.ndarray) -> Look:
    """`look` at raw observations ``[B, *obs_shape]``, without gradient and in pieces."""
    parts = [
        look(agent, part, torch.from_numpy(np.ascontiguousarray(obs[rows]))) for rows, part in chunks(states, _CHUNK)
    ]
    return Look(
        torch.cat([part.dist_inputs for part in parts]),
        torch.cat([part.values for part in parts]),
        torch.from_numpy(np.ascontiguousarray(states.action)),
        agent.module.distribution,
    )


def measure_all(agent: Agent, states: States, targets: Sequence[Target], obs: np.ndarray) -> np.ndarray:
    """`Target.measure` of several targets, ``[targets, B]``: what policy and critics say is computed once."""
    seen = looked(agent, states, obs) if any(isinstance(target, PolicyTarget) for target in targets) else None
    measured = []
    for target in targets:
        if isinstance(target, PolicyTarget) and seen is not None:
            measured.append(target.read(seen).double().numpy())
        else:
            measured.append(target.measure(agent, states, obs))
    return np.stack(measured) if measured else np.zeros((0, len(states)))
