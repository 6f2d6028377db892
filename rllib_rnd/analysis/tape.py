"""From what was written down while an episode was played to what its video shows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rllib_rnd.analysis.figures.video import ContinuousPolicy, DiscretePolicy, Panel, Recording
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.plugin_contract import checked_reward
from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling.play import Step

_FINITE = 1e6  # bounds of observations beyond this say nothing about the numbers seen


@dataclass
class Tape:
    """What one episode left behind: lists over its T steps, reset steps included (see `Rollout`).

    ``frames`` begins with the K frames of the first observation and has the newest one of each later observation;
    ``is_first``, ``memory``, ``dist_inputs``, ``value``, ``rooms``, ``positions``, ``lives``, ``life_lost`` and
    ``pictures`` have an entry for every observation, T + 1 (``memory``: the policy's before it saw it; ``lives``: left,
    this one included; ``life_lost``: it ended an episode that is one life).

    Attributes:
        frame_stack: K.
        newest_first: how observations order their frames.
        finished: the episode ended by itself; it was not cut.
        seed: that the environment was reset with; None: unknown.
    """

    frame_stack: int
    newest_first: bool
    frames: list[np.ndarray] = field(default_factory=list)
    is_first: list[bool] = field(default_factory=list)
    memory: list[np.ndarray] = field(default_factory=list)
    dist_inputs: list[np.ndarray] = field(default_factory=list)
    value: list[np.ndarray] = field(default_factory=list)
    rooms: list[int | None] = field(default_factory=list)
    positions: list[int | None] = field(default_factory=list)
    lives: list[int | None] = field(default_factory=list)
    life_lost: list[bool] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)
    action: list[np.ndarray] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    terminated: list[bool] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    finished: bool = False
    seed: int | None = None

    def add_frames(self, obs: np.ndarray) -> None:
        """Adds an observation ``[*obs_shape]``: all of its frames if it is the first, else the newest."""
        if self.frame_stack == 1:
            self.frames.append(obs)
        elif self.frames:
            self.frames.append(obs[0 if self.newest_first else -1])
        else:
            self.frames += list(obs[::-1] if self.newest_first else obs)

    def add_outlook(self, dist_inputs: np.ndarray, value: np.ndarray) -> None:
        """Adds what the policy ``[P]`` and the critics ``[S]`` make of the last observation added."""
        self.dist_inputs.append(dist_inputs)
        self.value.append(value)

    def add_step(self, step: Step) -> None:
        """Adds a policy's step in one environment, without the observation that it led to."""
        decision = step.decision
        assert decision is not None
        self.add_outlook(decision.dist_inputs[0], decision.value[0])
        self.action.append(decision.action[0])
        self.logp.append(float(decision.logp[0]))
        self.reward.append(float(step.reward[0]))
        self.terminated.append(bool(step.terminated[0]))
        self.truncated.append(bool(step.truncated[0]))

    @property
    def valid(self) -> np.ndarray:
        """``[T]`` bool: the agent steps, which are all but the reset steps."""
        return ~np.array(self.is_first[1:], dtype=bool)

    @property
    def rooms_visited(self) -> list[int] | None:
        """Ids of the rooms, or None if the environment tells none; negative ones mean nowhere."""
        told = {room for room in self.rooms if room is not None}
        return sorted(room for room in told if room >= 0) if told else None

    def rollout(self) -> Rollout:
        """The episode as T steps of one environment (numpy)."""
        columns = {
            "frames": np.stack(self.frames),
            "is_first": np.array(self.is_first),
            "action": np.stack(self.action),
            "logp": np.array(self.logp, dtype=np.float32),
            "value": np.stack(self.value),
            "reward": np.array(self.reward, dtype=np.float32),
            "terminated": np.array(self.terminated),
            "truncated": np.array(self.truncated),
        }
        arrays = {name: column[:, None] for name, column in columns.items()}
        return Rollout(**arrays, frame_stack=self.frame_stack, newest_first=self.newest_first)


@torch.no_grad()
def intrinsic_rewards(module: IntrinsicPPOModule, rollout: Rollout) -> tuple[np.ndarray, np.ndarray]:
    """The intrinsic rewards of an episode under the statistics that the module has, and which stay as they are.

    Args:
        module: with ``rewards()``, on the CPU.
        rollout: T steps of one environment (numpy).

    Returns:
        Raw rewards, and rewards scaled as for the value streams: ``[T, S - 1]`` each, NaN on reset steps.
    """
    # Copies: computing a reward moves statistics of some, and rows of the episode's memory. The backbone is shared.
    shared = {id(part): part for part in module.backbone.modules()}
    tensors, rewards = rollout.to_torch(), [copy.deepcopy(reward, dict(shared)) for reward in module.rewards()]
    raw, normalized = (np.full((rollout.num_steps, len(rewards)), np.nan) for _ in range(2))
    played = rollout.valid[:, 0]
    for i, reward in enumerate(rewards):
        r_t, _ = checked_reward(reward, reward.compute, tensors)
        raw[played, i] = r_t[played, 0].numpy()
        normalized[played, i] = reward.normalize(r_t, tensors.valid, update=False)[played, 0].numpy()
    return raw, normalized


def make_recording(
    tape: Tape,
    module: IntrinsicPPOModule,
    env: gym.Env,
    to_environment: Callable[[np.ndarray], np.ndarray],
    title: str,
    episode: str,
    reward_names: Sequence[str],
) -> Recording:
    """Computes what the video of an episode shows.

    Args:
        tape: the episode.
        module: the policy, with its intrinsic rewards.
        env: the environment it was played in.
        to_environment: a batch of the policy's actions -> the environment's.
        title: above everything else.
        episode: which episode it is.
        reward_names: of the intrinsic rewards.
    """
    rollout = tape.rollout()
    low, high = _bounds(tape, env.observation_space)
    tensors = rollout.to_torch()

    @lru_cache(maxsize=1)  # every overlay asks for those of its moment
    def frames(t: int) -> np.ndarray:
        obs = tensors.obs(torch.tensor([t]))[0].numpy()
        if tape.frame_stack == 1:
            return obs[None]
        return obs[::-1] if tape.newest_first else obs

    steps = np.concatenate([[0], np.cumsum(tape.valid)])
    policy, actions = _policy(tape, env, to_environment)
    facts = {"episode": [episode] * len(steps), "step": [f"{step:,}" for step in steps], "return": _returns(tape)}
    if tape.rooms_visited is not None:
        facts["room"] = _rooms(tape)
    facts["action"] = actions
    panels = [Panel("extrinsic value", {"": rollout.value[:, 0, 0]})]
    if reward_names:
        panels += _intrinsic_panels(rollout.value[:, 0, 1:], *intrinsic_rewards(module, rollout), reward_names)
    else:
        panels.append(Panel("return so far", {"": np.cumsum([0.0, *tape.reward])}))
    return Recording(title, facts, tape.pictures or None, frames, low, high, policy, panels, steps)


def _bounds(tape: Tape, space: gym.Space) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest number of each element of a frame: the space's, or else those that were seen."""
    assert isinstance(space, gym.spaces.Box)
    low, high = (bound[0] if tape.frame_stack > 1 else bound for bound in (space.low, space.high))
    known = (np.abs(low.astype(np.float64)) < _FINITE) & (np.abs(high.astype(np.float64)) < _FINITE)
    if known.all():
        return low, high
    seen = np.stack(tape.frames)
    return np.where(known, low, seen.min(axis=0)), np.where(known, high, seen.max(axis=0))


def _returns(tape: Tape) -> list[str]:
    """The return so far at each observation, and the reward of the step before if there was one."""
    texts, total = ["0"], 0.0
    for reward in tape.reward:
        total += reward
        texts.append(f"{total:.6g}" + (f"  ({reward:+.4g})" if reward else ""))
    return texts


def _rooms(tape: Tape) -> list[str]:
    texts, seen = [], set()
    for room in tape.rooms:
        known = room is not None and room >= 0
        seen |= {room} if known else set()
        texts.append(f"{room if known else '-'}  ({len(seen)} visited)")
    return texts


def _policy(
    tape: Tape, env: gym.Env, to_environment: Callable[[np.ndarray], np.ndarray]
) -> tuple[DiscretePolicy | ContinuousPolicy, list[str]]:
    """What the policy made of each observation, and the actions taken in words; T + 1 of both."""
    inputs, taken = np.stack(tape.dist_inputs), np.append(tape.valid, False)
    actions = np.stack([*tape.action, np.zeros_like(tape.action[0])])
    if isinstance(env.action_space, gym.spaces.Discrete):
        names = action_names(env)
        texts = [names[int(a)] if there else "-" for a, there in zip(actions, taken, strict=True)]
        return DiscretePolicy(names, _softmax(inputs), np.where(taken, actions, -1)), texts
    if isinstance(env.action_space, gym.spaces.MultiDiscrete):
        sent, sizes, start = to_environment(actions), env.action_space.nvec, env.action_space.start
        names = [f"{i}: {start[i] + k}" for i, size in enumerate(sizes) for k in range(size)]
        first = np.cumsum([0, *sizes[:-1]])  # of each choice, among the names
        probabilities = np.concatenate([_softmax(part) for part in np.split(inputs, first[1:], axis=1)], axis=1)
        texts = [" ".join(map(str, a)) if there else "-" for a, there in zip(sent, taken, strict=True)]
        return DiscretePolicy(names, probabilities, np.where(taken[:, None], first + actions, -1)), texts
    mean, log_std = np.split(inputs, 2, axis=1)
    sent = to_environment(actions)
    texts = [" ".join(f"{x:.2f}" for x in a) if there else "-" for a, there in zip(sent, taken, strict=True)]
    return ContinuousPolicy(mean, np.exp(log_std), np.where(taken[:, None], actions, np.nan)), texts


def _softmax(logits: np.ndarray) -> np.ndarray:
    """``[T, A]``, over the last axis."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def _intrinsic_panels(values: np.ndarray, raw: np.ndarray, normalized: np.ndarray, names: Sequence[str]) -> list[Panel]:
    """The plots of ``values [T + 1, S - 1]`` and of rewards ``[T, S - 1]``; these are drawn where their step led to."""
    before = np.full((1, len(names)), np.nan)
    plots = {
        "intrinsic value": values,
        "intrinsic reward": np.concatenate([before, raw]),
        "intrinsic reward, normalised": np.concatenate([before, normalized]),
    }
    # The first colour is that of the extrinsic stream.
    return [Panel(title, dict(zip(names, numbers.T, strict=True)), first_colour=1) for title, numbers in plots.items()]


def action_names(env: gym.Env) -> list[str]:
    """Names of a discrete environment's actions, or their numbers if it has no names."""
    from rllib_rnd.envs.atari import AtariEnv, joystick_actions
    from rllib_rnd.envs.atari_options import import_ale
    from rllib_rnd.envs.minigrid import MiniGridOneHotEnv

    inner: Any = env.unwrapped
    if isinstance(inner, AtariEnv):
        return [import_ale().Action(number).name for number in joystick_actions(inner.ale, inner.options)]
    if isinstance(inner, MiniGridOneHotEnv):
        every = [action.name for action in inner.inner.actions]
        return every if inner.options.actions is None else [every[i] for i in inner.options.actions]
    if hasattr(inner, "get_action_meanings"):
        return [str(name) for name in inner.get_action_meanings()]
    space: Any = env.action_space
    return [str(space.start + i) for i in range(int(space.n))]
