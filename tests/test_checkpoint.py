"""Save, load in a new process, go on: weights, optimizer, statistics, carry, generators, counters."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rllib_rnd
from tests.conftest import small_config
from tests.test_algorithm import assert_same, weights

pytestmark = pytest.mark.usefixtures("ray_session")


def test_everything_learned_is_in_the_checkpoint(tmp_path: Path) -> None:
    algorithm = small_config().build_algo()
    for _ in range(2):
        algorithm.train()
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    saved, state = weights(algorithm), algorithm.learner_group.get_state()["learner"]
    algorithm.stop()
    carry = next(v for k, v in saved.items() if k.endswith("reward_filter.carry"))
    assert carry.shape == (4,) and np.any(carry != 0)
    assert float(next(v for k, v in saved.items() if k.endswith("obs_moments.count"))) > 0

    restored = rllib_rnd.RND.from_checkpoint(path)
    assert_same(weights(restored), saved)
    again = restored.learner_group.get_state()["learner"]
    assert again["intrinsic_ppo"]["nonfinite_updates"] == state["intrinsic_ppo"]["nonfinite_updates"]
    (one,), (other,) = (s["intrinsic_ppo"]["generators"] for s in (state, again))
    np.testing.assert_array_equal(one["own"], other["own"])
    old, new = (next(iter(s["optimizer"].values()))["state"]["state"] for s in (state, again))
    for i in old:
        np.testing.assert_array_equal(old[i]["exp_avg_sq"], new[i]["exp_avg_sq"])
    assert restored.iteration == 2
    assert restored.warmed_up  # the statistics are there: no second random play
    result = restored.train()
    restored.stop()
    assert result["training_iteration"] == 3
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] > 2 * 4 * 10


ATARI = {"frame_size": 40, "max_frames": 60, "backend": "gymnasium"}  # episodes of 15 agent steps


@pytest.mark.parametrize(
    ("env", "env_config", "runners"),
    [
        ("rllib_rnd/DeepSea-v0", {"size": 7}, 0),
        ("rllib_rnd/DeepSea-v0", {"size": 7}, 2),
        ("ALE/MontezumaRevenge-v5", ATARI, 0),
        ("MiniGrid-MultiRoom-N2-S4-v0", {}, 0),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(
    env: str, env_config: dict[str, Any], runners: int, tmp_path: Path
) -> None:
    """Saved in the middle of episodes: the next two iterations have the very same weights, rewards and returns."""
    config = small_config(env=env).environment(env, env_config=env_config)
    config.env_runners(num_env_runners=runners, num_envs_per_env_runner=2, rollout_fragment_length=16)
    algorithm = config.build_algo()
    algorithm.train()
    path = algorithm.save_to_path(tmp_path / "checkpoint")

    def two_more(run: Any) -> tuple[Any, list[tuple[Any, ...]]]:
        seen = []
        for _ in range(2):
            result = run.train()
            runner, learner = result["env_runners"], result["learners"]["default_policy"]
            numbers = [runner.get(name) for name in ("episode_return_mean", "episode_len_mean", "rooms_visited")]
            numbers += [learner[name] for name in ("intrinsic_reward_mean", "total_loss", "grad_norm")]
            seen.append(tuple(None if n is None else float(n) for n in numbers))
        return weights(run), seen

    expected_weights, expected = two_more(algorithm)
    algorithm.stop()
    restored = rllib_rnd.RND.from_checkpoint(path)
    got_weights, got = two_more(restored)
    restored.stop()
    assert got == expected
    assert_same(got_weights, expected_weights)
    assert expected[-1][0] is not None  # episodes ended on the way


class Unsaved(gym.Wrapper):
    """CartPole in a wrapper that keeps an object to itself."""

    def __init__(self, **_: Any) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self.secret = [self.env]


def test_environments_that_cannot_be_saved_begin_new_episodes(tmp_path: Path) -> None:
    algorithm = small_config(env=f"{__name__}:Unsaved", warmup_steps=0).build_algo()
    first_obs = algorithm.env_runner.sample().frames[0]
    algorithm.train()
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    restored = rllib_rnd.RND.from_checkpoint(path)
    assert not np.isin(restored.env_runner.sample().frames[0], first_obs).any()  # not the first episodes once more
    assert restored.train()["training_iteration"] == 2
    restored.stop()


CONTINUE = """
import json, sys
import ray
ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
import rllib_rnd
algorithm = rllib_rnd.RND.from_checkpoint(sys.argv[1])
result = algorithm.train()
print("RESULT " + json.dumps({
    "iteration": result["training_iteration"],
    "finite": bool(result["learners"]["default_policy"]["nonfinite_updates"] == 0),
    "std": float(result["learners"]["default_policy"]["intrinsic_return_std"]),
}))
algorithm.stop()
ray.shutdown()
"""


def test_a_new_process_goes_on(quick_python: Path, tmp_path: Path) -> None:
    algorithm = small_config().build_algo()
    algorithm.train()
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    done = subprocess.run(
        [str(quick_python), "-c", CONTINUE, str(path)], capture_output=True, text=True, timeout=300, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-2000:]
    result = json.loads(lines[-1].removeprefix("RESULT "))
    assert result["iteration"] == 2 and result["finite"] and result["std"] > 0


def test_the_module_alone_can_be_taken(tmp_path: Path) -> None:
    algorithm = small_config().build_algo()
    module = algorithm.get_module("default_policy")
    assert not hasattr(module, "intrinsic_rewards")  # runners hold policy and critics only
    algorithm.stop()


@pytest.mark.parametrize("runners", [0, 2])
def test_places_are_merged_over_runners_and_go_on_after_a_resume(tmp_path: Path, runners: int) -> None:
    def build() -> Any:
        config = small_config().env_runners(num_env_runners=runners, num_envs_per_env_runner=4 // max(1, runners))
        return config.environment(env_config={"size": 10}).build_algo()

    algorithm = build()
    for _ in range(2):
        result = algorithm.train()
    history = algorithm.places["position"]
    assert result["env_runners"]["positions_visited"] == len(history.visits) > 5
    # Every observation but those at the end of an episode, where DeepSea is nowhere.
    assert sum(history.visits.values()) <= 2 * 4 * 16 + 4
    assert min(history.first_visit.values()) < max(history.first_visit.values())
    path = algorithm.save_to_path(tmp_path)
    algorithm.stop()
    again = build()
    again.restore_from_path(path)
    assert vars(again.places["position"]) == vars(history)
    before = dict(history.first_visit)
    result = again.train()
    again.stop()
    after = again.places["position"]
    assert all(after.first_visit[place] == step for place, step in before.items())
    assert all(after.visits[place] >= steps for place, steps in history.visits.items())
    assert result["env_runners"]["positions_visited"] == len(after.visits)
