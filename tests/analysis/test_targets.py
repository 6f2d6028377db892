"""Targets: equal to what module and rewards say, gradients as of finite differences, nothing is changed by looking."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.pixels import scaled
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.tape import intrinsic_rewards
from rllib_rnd.analysis.targets import Target, targets_of
from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.plugin_contract import checked_reward
from rllib_rnd.rollout import ARRAYS, Rollout
from tests.analysis.agents import PICTURES, make_agent, one_thread, random_obs, random_states
from tests.intrinsic.every_reward import SMALL

__all__ = ["one_thread"]  # a fixture
pytestmark = pytest.mark.usefixtures("one_thread")

VECTORS = gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)
SMALL_CNN = {"type": "nature_cnn", "hidden_sizes": [16]}
NAMES = INTRINSIC_REWARDS.names()


def reward_agent(name: str, vectors: bool = False, **options: Any) -> Agent:
    spec = {"type": name, **SMALL[name], **options}
    if vectors:
        return make_agent(VECTORS, backbone={"type": "mlp", "hidden_sizes": [8]}, rewards=[spec], frame_stack=1)
    return make_agent(backbone=SMALL_CNN, rewards=[spec])


def target(agent: Agent, kind: str) -> Target:
    return next(t for t in targets_of(agent) if t.name.startswith(kind))


def rollout_of(states: States, stack: int) -> Rollout:
    """The states' transitions as learners hold them: their frames move on by one."""
    frames = np.concatenate([np.swapaxes(states.obs_tm1, 0, 1), states.obs[None, :, -1]])
    if stack == 1:
        frames = np.stack([states.obs_tm1, states.obs])
    count = len(states)
    arrays = Rollout.empty(1, count, frames.shape[2:], frames.dtype, num_streams=2, frame_stack=stack)
    arrays.frames[:], arrays.action[0], arrays.is_first[0] = frames, states.action_tm1, True
    return arrays.to_torch()


def moved_on(agent: Agent, count: int) -> States:
    """States whose stack is that of a reset observation before and one more frame."""
    states = random_states(agent, count)
    if agent.module.model_config["frame_stack"] > 1:
        states.obs_tm1[:, 0] = states.obs[:, 0] = states.obs_tm1[:, 1]
    return states


def test_every_number_is_a_target() -> None:
    agent = make_agent(backbone=SMALL_CNN, rewards=[{"type": "rnd", **SMALL["rnd"]}, {"type": "count"}])
    assert [(t.name, t.differentiable) for t in targets_of(agent)] == [
        ("action", True),
        ("extrinsic_value", True),
        ("intrinsic_value: rnd", True),
        ("intrinsic_value: count", True),
        ("intrinsic_reward: rnd", True),
        ("intrinsic_reward: count", False),
    ]


ACTIONS = [
    gym.spaces.Discrete(4),
    gym.spaces.MultiDiscrete([3, 2]),
    gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
]


@pytest.mark.parametrize("actions", ACTIONS, ids=lambda space: type(space).__name__)
@pytest.mark.parametrize("backbone", ["mlp", "lstm"])
def test_measured_and_differentiable_are_what_the_module_says(actions: gym.Space, backbone: str) -> None:
    agent = make_agent(VECTORS, actions, backbone, frame_stack=1)
    states = random_states(agent, 4)
    memory = torch.from_numpy(states.memory) if states.memory.size else None
    outputs, values, _ = agent.module.policy_and_values(torch.from_numpy(states.obs), memory)
    logp = agent.module.distribution.logp_and_entropy(outputs, torch.from_numpy(states.action))[0]
    for kind, wanted in (("action", logp), ("extrinsic_value", values[:, 0])):
        found = target(agent, kind)
        np.testing.assert_allclose(found.measure(agent, states, states.obs), wanted.detach(), rtol=1e-6)
        torch.testing.assert_close(found.of(agent, states, scaled(agent, states.obs)), wanted)


def test_a_memory_is_forgotten_where_an_episode_begins() -> None:
    agent = make_agent(VECTORS, backbone="gru", frame_stack=1)
    states = random_states(agent, 4)
    first = States(**(vars(states) | {"is_first": np.ones(4, dtype=bool)}))
    empty = States(**(vars(states) | {"memory": np.zeros_like(states.memory)}))
    value = target(agent, "extrinsic_value")
    remembered, forgotten, never = (value.measure(agent, s, s.obs) for s in (states, first, empty))
    np.testing.assert_allclose(forgotten, never)
    assert np.abs(remembered - never).min() > 1e-6


KINDS = ["action", "extrinsic_value", "intrinsic_value", "intrinsic_reward"]


def whole_vectors() -> gym.spaces.Box:
    return gym.spaces.Box(0, np.array([3, 255, 1, 7, 9], np.uint8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("reward", "space"),
    [("rnd", "pictures"), ("snd_v", "pictures"), ("modified_rnd", "pictures")]
    + [(reward, space) for reward in ("rnd", "snd_v") for space in ("floats", "whole")],
)
def test_of_is_measure_and_its_gradient_is_the_finite_difference(reward: str, space: str) -> None:
    spec = {"type": reward, **SMALL[reward]}
    box = {"pictures": PICTURES, "floats": VECTORS, "whole": whole_vectors()}[space]
    backbone = SMALL_CNN if space == "pictures" else {"type": "mlp", "hidden_sizes": [8]}
    agent = make_agent(box, backbone=backbone, rewards=[spec], frame_stack=2 if space == "pictures" else 1)
    states = random_states(agent, 3)
    if space == "whole":
        states.obs[:] = states.obs % (box.high.astype(int) + 1)
    for kind in KINDS if reward == "rnd" else KINDS[-1:]:
        found, obs = target(agent, kind), scaled(agent, states.obs)
        value = found.of(agent, states, obs)
        np.testing.assert_allclose(value.detach(), found.measure(agent, states, states.obs), rtol=1e-4, atol=1e-6)
        # Along the gradient itself, where the difference is largest against rounding; off whole numbers. Some ReLUs
        # turn on the way.
        away = (obs * 0.9 + 0.0123).requires_grad_()
        (gradient,) = torch.autograd.grad(found.of(agent, states, away).sum(), away)
        assert all(p.grad is None for p in agent.module.parameters())
        direction, step = gradient / gradient.norm(), 2e-3
        with torch.no_grad():
            ahead, behind = (found.of(agent, states, away + s * direction).double().sum() for s in (step, -step))
        assert float(ahead - behind) / (2 * step) == pytest.approx(float(gradient.norm()), rel=8e-2)


@pytest.mark.parametrize(
    ("name", "vectors"),
    [(name, True) for name in NAMES if name != "modified_rnd"]
    + [(name, False) for name in ("modified_rnd", "rnd", "icm", "noveld")],
)
def test_measured_rewards_are_the_rewards_and_nothing_is_remembered(name: str, vectors: bool) -> None:
    agent = reward_agent(name, vectors)
    reward, states = agent.module.rewards()[0], moved_on(agent, 4)
    stack = 1 if vectors else 2
    before = rollout_of(moved_on(agent, 6), stack)
    reward.update_statistics(before)
    reward.compute(before)  # leaves rows, of six environments
    saved = {key: value.clone() for key, value in agent.module.state_dict().items()}
    wanted = []
    for i in range(4):
        alone = rollout_of(states.select([i]), stack)
        wanted.append(float(checked_reward(reward, copy.deepcopy(reward).compute, alone)[0]))
    found = target(agent, "intrinsic_reward").measure(agent, states, states.obs)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)
    again = target(agent, "intrinsic_reward").measure(agent, states.select([2, 0]), states.obs[[2, 0]])
    np.testing.assert_allclose(again, found[[2, 0]], rtol=1e-4, atol=1e-7)
    after = agent.module.state_dict()
    assert after.keys() == saved.keys() and all(torch.equal(after[key], saved[key]) for key in saved)


@pytest.mark.parametrize("name", ["rnd", "snd_v"])
def test_a_reward_of_the_current_observation_is_of_the_state_itself(name: str) -> None:
    here, there = reward_agent(name, reward_on="current"), reward_agent(name)
    states = random_states(here, 3)
    of_here, of_there = (target(a, "intrinsic_reward").measure(a, states, states.obs) for a in (here, there))
    np.testing.assert_allclose(of_here, of_there, rtol=1e-5)


def test_a_reward_of_frames_reads_the_newest() -> None:
    agent = reward_agent("rnd")
    found, states = target(agent, "intrinsic_reward"), random_states(agent, 2)
    obs = scaled(agent, states.obs).requires_grad_()
    (gradient,) = torch.autograd.grad(found.of(agent, states, obs).sum(), obs)
    assert not gradient[:, 0].any() and bool(gradient[:, 1].any())


def test_what_is_not_differentiable_says_so() -> None:
    agent = reward_agent("noveld")
    states, found = random_states(agent, 2), target(agent, "intrinsic_reward")
    assert not found.differentiable
    with pytest.raises(TypeError, match="not differentiable"):
        found.of(agent, states, scaled(agent, states.obs))
    assert found.measure(agent, states, random_obs(PICTURES, 2, seed=5)).shape == (2,)


@pytest.mark.parametrize("name", NAMES)
def test_the_bonus_of_an_episode_leaves_the_agent_as_it_is(name: str) -> None:
    agent = reward_agent(name)
    before = {key: value.clone() for key, value in agent.module.state_dict().items()}
    rollout = rollout_of(moved_on(agent, 1), agent.module.model_config["frame_stack"])
    rollout = replace(rollout, **{array: getattr(rollout, array).numpy() for array in ARRAYS})
    first = intrinsic_rewards(agent.module, rollout)
    again = intrinsic_rewards(agent.module, rollout)
    np.testing.assert_array_equal(first, again)
    after = agent.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
