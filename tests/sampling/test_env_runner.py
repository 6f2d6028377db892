"""The environment runner: rollouts against the environment itself, seeds, random play, failures."""

from __future__ import annotations

import os
import signal
import time
import tracemalloc
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.envs import make_vector_env
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from rllib_rnd.sampling.intake import EnvironmentFailedError
from rllib_rnd.sampling.play import Play
from rllib_rnd.sampling.seeds import runner_seed
from rllib_rnd.threads import Threads
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("ray_session")

ATARI_OPTIONS = {"max_frames": 160, "frame_size": 84}  # episodes of 40 agent steps: resets happen inside


def atari_config(**options: Any) -> Any:
    config = small_config(env="ALE/MontezumaRevenge-v5", warmup_steps=4)
    config.environment(env_config=ATARI_OPTIONS | options)
    return config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=30)


def make_runner(config: Any, worker_index: int = 0) -> RolloutEnvRunner:
    config.validate()
    return RolloutEnvRunner(config=config, worker_index=worker_index, num_workers=0, tune_trial_id=None)


@pytest.mark.parametrize("backend", ["gymnasium", "ale", "envpool"])
def test_rebuilt_stacks_equal_the_environments_stacks_across_resets_and_rollouts(backend: str) -> None:
    runner = make_runner(atari_config(backend=backend))
    twin = make_vector_env("ALE/MontezumaRevenge-v5", 2, {**ATARI_OPTIONS, "backend": backend})
    obs, _ = twin.reset(seed=runner_seed(3, 0, False))
    resets = 0
    for _ in range(3):
        rollout = runner.sample()
        batch = rollout.to_torch()
        for t in range(30):
            rebuilt = batch.obs(torch.tensor([2 * t, 2 * t + 1])).numpy()
            np.testing.assert_array_equal(rebuilt, obs)
            obs, reward, _, truncated, _ = twin.step(rollout.action[t])
            np.testing.assert_array_equal(reward, rollout.reward[t])
            np.testing.assert_array_equal(truncated, rollout.truncated[t])
        np.testing.assert_array_equal(batch.obs(torch.tensor([60, 61])).numpy(), obs)
        resets += int(rollout.is_first[1:].sum())
    assert resets >= 2, "the comparison must cross episode starts"
    assert rollout.frames.nbytes <= 1.2 * (30 + 3) * 2 * 84 * 84


def test_sampling_needs_little_more_memory_than_its_single_frames() -> None:
    steps, envs, stack = 128, 4, 4
    config = atari_config(backend="ale").env_runners(num_envs_per_env_runner=envs, rollout_fragment_length=steps)
    runner = make_runner(config)
    runner.sample()  # what is allocated once
    tracemalloc.start()
    rollout = runner.sample()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    limit = 1.2 * (steps + stack - 1) * envs * 84 * 84
    assert rollout.frames.nbytes < rollout.num_bytes < limit
    assert rollout.num_bytes < peak < limit


def test_values_and_log_probabilities_are_those_of_the_module() -> None:
    runner = make_runner(small_config())
    rollout = runner.sample().to_torch()
    index = torch.arange(rollout.num_steps * rollout.num_envs)
    logits, values, _ = runner.module.policy_and_values(rollout.obs(index))
    logp = torch.log_softmax(logits, dim=1).gather(1, rollout.action.flatten()[:, None])[:, 0]
    torch.testing.assert_close(logp.detach(), rollout.logp.flatten(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(values.detach(), rollout.value[:-1].flatten(0, 1), atol=1e-5, rtol=1e-4)


def test_rollouts_follow_on_each_other() -> None:
    runner = make_runner(small_config())
    first, second = runner.sample(), runner.sample()
    np.testing.assert_array_equal(first.frames[-1], second.frames[0])
    np.testing.assert_array_equal(first.is_first[-1], second.is_first[0])
    np.testing.assert_allclose(first.value[-1], second.value[0], atol=1e-5)


def test_seeds_differ_by_runner_and_from_evaluation() -> None:
    seeds = {runner_seed(1, worker, evaluation) for worker in range(4) for evaluation in (False, True)}
    assert len(seeds) == 8
    assert runner_seed(None, 0, False) is None


def test_environments_of_one_runner_differ() -> None:
    rollout = make_runner(small_config(env="CartPole-v1")).sample()
    assert not np.array_equal(rollout.frames[0, 0], rollout.frames[0, 1])


def test_random_play_leaves_the_training_environments_alone() -> None:
    runner, twin = make_runner(small_config()), make_runner(small_config())
    runner.sample(), twin.sample()
    played, more = runner.random_play(10), runner.random_play(10)
    assert played.num_steps == 10
    np.testing.assert_array_equal(more.frames[0], played.frames[-1])  # it goes on
    runner.end_random_play()
    np.testing.assert_array_equal(runner.sample().frames, twin.sample().frames)


def test_environments_of_random_play_that_hang_when_they_are_closed_hold_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rllib_rnd.sampling.attempts._CLOSE_S", 0.2)
    runner = make_runner(small_config())
    runner.random_play(4)
    assert runner.random.current is not None
    monkeypatch.setattr(runner.random.current.env, "close", lambda: time.sleep(60.0))
    started = time.monotonic()
    runner.end_random_play()
    assert time.monotonic() - started < 30.0 and runner.random.current is None


@pytest.mark.parametrize("seed", [3, None])
def test_random_play_in_the_environments_of_training_leaves_no_trace(
    seed: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consoles are dear: random play lends them, and plays what it would have played in its own, as does training."""
    config = atari_config(backend="gymnasium", frame_size=36, terminal_on_life_loss=True).debugging(seed=seed)
    lends, twin = make_runner(config), make_runner(config)
    with monkeypatch.context() as patch:
        patch.setattr(Play, "can_be_lent", False)
        apart = twin.random_play(30)
    assert twin.random.current is not None and twin.random.current.env is not twin.env
    played = lends.random_play(30)
    assert lends.random.current is not None and lends.random.current.env is lends.env
    lends.env.envs[0]._lost_life_only = True  # which a reset without a seed goes on from
    lends.end_random_play()
    twin.end_random_play()
    assert lends.env.envs[0]._lost_life_only == (seed is not None)
    if seed is not None:
        np.testing.assert_array_equal(played.frames, apart.frames)
        np.testing.assert_array_equal(lends.sample().frames, twin.sample().frames)
    lends.sample()
    assert not lends.play.can_be_lent  # nor does random play go on in what training plays in
    lends.random_play(2)
    assert lends.random.current.env is not lends.env


def test_a_process_of_environments_that_dies_is_a_failure_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rllib_rnd.sampling.env_runner.plan_threads", lambda _: Threads(learner=1, runner=2))
    config = atari_config(backend="gymnasium", frame_size=36).env_runners(num_envs_per_env_runner=8)
    runner = make_runner(config)
    for played in (lambda: runner.random_play(3), runner.sample):
        os.kill(runner.env._workers[1].process.pid, signal.SIGKILL)
        assert bool(played().is_first[0].all()), "begun again"
    notes = runner.sample_all().notes
    assert len(notes) == 2 and all("environments 4 to 7, was ended by signal 9" in note for note in notes)
    with pytest.raises(EnvironmentFailedError, match=r"failed in step\(\): RuntimeError: process \d+, which"):
        runner.config = config.copy(copy_frozen=False).fault_tolerance(restart_failed_sub_environments=False)
        os.kill(runner.env._workers[0].process.pid, signal.SIGKILL)
        runner.sample()
    runner.play.close()


class CrashingEnv(gym.Env):
    """Raises at its fifth step."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    crashes = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> Any:
        self.steps += 1
        if self.steps == 5 and CrashingEnv.crashes < 1:
            CrashingEnv.crashes += 1
            raise ValueError("the emulator died")
        return np.zeros(2, np.float32), 0.0, False, False, {}


gym.register("tests/Crashing-v0", entry_point=lambda **kwargs: CrashingEnv())


def test_a_failed_environment_is_restarted_and_no_partial_rollout_leaves() -> None:
    CrashingEnv.crashes = 0
    config = small_config(env="tests/Crashing-v0").fault_tolerance(restart_failed_sub_environments=True)
    rollout = make_runner(config).sample()
    assert CrashingEnv.crashes == 1
    assert rollout.num_steps == 16 and bool(rollout.is_first[0].all())


def test_a_failed_environment_is_an_error_without_restarts() -> None:
    CrashingEnv.crashes = 0
    config = small_config(env="tests/Crashing-v0").fault_tolerance(restart_failed_sub_environments=False)
    with pytest.raises(RuntimeError):
        make_runner(config).sample()


class StubbornEnv(CrashingEnv):
    """Its reset or its step never works."""

    def __init__(self, fails_in: str) -> None:
        self.fails_in = fails_in

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if self.fails_in == "reset":
            raise OSError("no emulator")
        return super().reset(seed=seed)

    def step(self, action: int) -> Any:
        raise OSError("no emulator")


gym.register("tests/Stubborn-v0", entry_point=StubbornEnv)  # type: ignore[arg-type]


@pytest.mark.parametrize("fails_in", ["reset", "step"])
def test_an_environment_that_never_works_ends_training_with_its_name(fails_in: str) -> None:
    config = small_config(env="tests/Stubborn-v0").environment(env_config={"fails_in": fails_in})
    config.fault_tolerance(restart_failed_sub_environments=True)
    runner = make_runner(config)
    with pytest.raises(RuntimeError, match=rf"tests/Stubborn-v0.* failed in {fails_in}\(\) 10 times"):
        runner.sample()
    failures = runner.get_metrics()["num_env_step_failures"]
    assert failures.peek() == 10


def test_random_play_survives_a_failed_environment_too() -> None:
    CrashingEnv.crashes = 0
    config = small_config(env="tests/Crashing-v0").fault_tolerance(restart_failed_sub_environments=True)
    runner = make_runner(config)
    assert runner.random_play(8).num_steps == 8
    runner.end_random_play()
    assert CrashingEnv.crashes == 1 and runner.get_metrics()["num_env_step_failures"].peek() == 1
