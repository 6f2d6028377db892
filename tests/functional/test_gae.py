"""Advantages against a slow per-environment loop, hand-computed cases and limits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from rllib_rnd.functional import generalized_advantage_estimation

Flags = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # terminated, truncated, reset step


def episodes(rng: np.random.Generator, num_steps: int, num_envs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random terminations and truncations with the reset step that follows each, also as the first step."""
    terminated = np.zeros((num_steps, num_envs), bool)
    truncated = np.zeros((num_steps, num_envs), bool)
    reset = np.zeros((num_steps, num_envs), bool)
    for n in range(num_envs):
        ended = bool(rng.random() < 0.3)
        for t in range(num_steps):
            reset[t, n], ended = ended, False
            if not reset[t, n] and rng.random() < 0.3:
                ended = True
                (terminated if rng.random() < 0.5 else truncated)[t, n] = True
    return terminated, truncated, reset


def explicit_sum(r, v, terminated, truncated, reset, gamma, lam, episodic):
    """A_t of one environment and stream as the sum of (gamma lambda)^k delta over the steps that follow.

    Written forward in time over lists of samples, unlike the vectorised backward recursion.
    """
    num_steps = len(r)
    samples = [t for t in range(num_steps) if not reset[t]]
    delta = {}
    for i, t in enumerate(samples):
        done = terminated[t] or truncated[t]
        if episodic:
            next_value = 0.0 if terminated[t] else v[t + 1]
        elif done and t + 1 < num_steps:
            next_value = v[t + 2]
        else:
            next_value = v[t + 1]
        delta[i] = r[t] + gamma * next_value - v[t]
    advantage = [0.0] * num_steps
    for i, t in enumerate(samples):
        weight = 1.0
        for j in range(i, len(samples)):
            advantage[t] += weight * delta[j]
            weight *= gamma * lam
            last = samples[j]
            if episodic and (terminated[last] or truncated[last]):
                break
    return advantage


def random_case(
    seed: int, num_steps: int = 13, num_envs: int = 7, num_streams: int = 3
) -> tuple[torch.Tensor, torch.Tensor, Flags]:
    """Random rewards and values, and the flags of random episodes."""
    rng = np.random.default_rng(seed)
    r = torch.from_numpy(rng.normal(size=(num_steps, num_envs, num_streams)))
    v = torch.from_numpy(rng.normal(size=(num_steps + 1, num_envs, num_streams)))
    terminated, truncated, reset = map(torch.from_numpy, episodes(rng, num_steps, num_envs))
    return r, v, (terminated, truncated, reset)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_equals_the_explicit_sum_for_both_kinds_of_stream(seed: int, lam: float) -> None:
    r, v, flags = random_case(seed)
    gamma = torch.tensor([0.9, 0.99, 0.5], dtype=torch.float64)
    episodic = torch.tensor([True, False, False])
    advantage, target = generalized_advantage_estimation(r, v, *flags, gamma, lam, episodic)
    assert any(bool(flag.any()) for flag in flags)
    for n, s in itertools.product(range(r.shape[1]), range(r.shape[2])):
        ended, cut, reset = (flag[:, n].tolist() for flag in flags)
        rewards, values = r[:, n, s].tolist(), v[:, n, s].tolist()
        wanted = explicit_sum(rewards, values, ended, cut, reset, float(gamma[s]), lam, bool(episodic[s]))
        torch.testing.assert_close(advantage[:, n, s], torch.tensor(wanted, dtype=torch.float64))
    torch.testing.assert_close(target, advantage + v[:-1])


def one_env(r, v, terminated=(), truncated=(), reset=(), gamma=0.5, lam=0.5, episodic=True):
    """Runs one environment and one stream; flags are given as lists of steps."""
    num_steps = len(r)

    def flag(steps):
        return torch.tensor([[t in steps] for t in range(num_steps)], dtype=torch.bool)

    advantage, _ = generalized_advantage_estimation(
        torch.tensor(r).reshape(-1, 1, 1),
        torch.tensor(v).reshape(-1, 1, 1),
        flag(terminated),
        flag(truncated),
        flag(reset),
        torch.tensor([gamma]),
        lam,
        torch.tensor([episodic]),
    )
    return advantage.flatten().tolist()


def test_hand_case_without_an_episode_end() -> None:
    # delta_1 = 2 + 0.5*4 - 2 = 2; delta_0 = 1 + 0.5*2 - 1 = 1; A_0 = 1 + 0.25*2
    assert one_env([1.0, 2.0], [1.0, 2.0, 4.0]) == [1.5, 2.0]


def test_hand_case_termination_bootstraps_zero_and_truncation_the_last_observation() -> None:
    r, v = [1.0, 0.0, 3.0], [1.0, 8.0, 2.0, 4.0]
    # step 2 in both: 3 + 0.5*4 - 2 = 3; step 1 is the reset step
    assert one_env(r, v, terminated=[0], reset=[1]) == [1.0 - 1.0, 0.0, 3.0]
    assert one_env(r, v, truncated=[0], reset=[1]) == [1.0 + 0.5 * 8.0 - 1.0, 0.0, 3.0]


@pytest.mark.parametrize("kind", ["terminated", "truncated"])
def test_hand_case_non_episodic_stream_steps_over_the_reset(kind: str) -> None:
    # A_0 = 1 + 0.5*v_2 - 1 + 0.25*A_2 = 1 + 0.75; the value 8 of the last observation is not used
    result = one_env([1.0, 0.0, 3.0], [1.0, 8.0, 2.0, 4.0], reset=[1], episodic=False, **{kind: [0]})
    assert result == [1.75, 0.0, 3.0]


@pytest.mark.parametrize("kind", ["terminated", "truncated"])
def test_non_episodic_stream_bootstraps_the_last_observation_when_the_rollout_ends_there(kind: str) -> None:
    assert one_env([1.0], [1.0, 8.0], episodic=False, **{kind: [0]}) == [1.0 + 0.5 * 8.0 - 1.0]


def test_reset_step_as_the_last_step_hands_the_reset_value_to_a_non_episodic_stream() -> None:
    # v_2 = 2 is the reset observation's
    assert one_env([1.0, 0.0], [1.0, 8.0, 2.0], terminated=[0], reset=[1], episodic=False) == [1.0, 0.0]


def test_lambda_one_without_episode_ends_is_the_discounted_return_minus_the_value() -> None:
    r, v, _ = random_case(3)
    none = torch.zeros(r.shape[:2], dtype=torch.bool)
    gamma = torch.tensor([0.9, 0.99, 0.5], dtype=torch.float64)
    episodic = torch.tensor([True, False, True])
    _, target = generalized_advantage_estimation(r, v, none, none, none, gamma, 1.0, episodic)
    weights = gamma ** torch.arange(r.shape[0] + 1)[:, None]
    wanted = (weights[:-1, None, :] * r).sum(0) + weights[-1] * v[-1]
    torch.testing.assert_close(target[0], wanted)


def test_gamma_zero_leaves_reward_minus_value() -> None:
    r, v, flags = random_case(4)
    advantage, _ = generalized_advantage_estimation(
        r, v, *flags, torch.zeros(3, dtype=torch.float64), 0.9, torch.tensor([True, False, True])
    )
    wanted = torch.where(flags[2].unsqueeze(-1), torch.zeros_like(r), r - v[:-1])
    torch.testing.assert_close(advantage, wanted)


def test_last_step_is_bootstrapped_and_not_zero() -> None:
    assert one_env([0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4.0])[-1] == 2.0


def test_environments_and_streams_do_not_mix() -> None:
    r, v, flags = random_case(5)
    gamma, episodic = torch.full((3,), 0.9, dtype=torch.float64), torch.tensor([True, False, True])
    whole, _ = generalized_advantage_estimation(r, v, *flags, gamma, 0.9, episodic)
    terminated, truncated, reset = (flag[:, 2:3] for flag in flags)
    part, _ = generalized_advantage_estimation(
        r[:, 2:3, 1:2], v[:, 2:3, 1:2], terminated, truncated, reset, gamma[1:2], 0.9, episodic[1:2]
    )
    assert torch.equal(whole[:, 2:3, 1:2], part)


def test_wrong_shapes_name_the_argument() -> None:
    r, v, flags = random_case(6)
    gamma, episodic = torch.ones(3), torch.ones(3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"v_t: expected shape \[14, 7, 3\], got \[13, 7, 3\]"):
        generalized_advantage_estimation(r, v[:-1], *flags, gamma, 0.9, episodic)
    with pytest.raises(ValueError, match="gamma"):
        generalized_advantage_estimation(r, v, *flags, gamma[:2], 0.9, episodic)
    with pytest.raises(ValueError, match="reset_step_t"):
        generalized_advantage_estimation(r, v, flags[0], flags[1], flags[2][1:], gamma, 0.9, episodic)
