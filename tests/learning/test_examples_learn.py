"""Tuned examples that learn: deep exploration that dithering cannot do, and continuous actions.

DeepSea (Osband et al. 2019, arXiv:1908.03568) with N = 20: a uniformly random policy reaches the goal once in 2^20
episodes, so plain PPO, which never sees it, stays at the slightly negative return of aimless wandering.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_rnd.experiment.file import Overrides, load_experiments

pytestmark = [pytest.mark.learning, pytest.mark.usefixtures("ray_session")]
EXAMPLES = Path(__file__).parents[2] / "tuned_examples"


def final_return(example: str, max_agent_steps: int, enough: float, settings: tuple[str, ...] = ()) -> float:
    """Trains a tuned example until its mean return is enough or the budget is spent; returns the last mean return."""
    (experiment,) = load_experiments(EXAMPLES / f"{example}.yaml", Overrides(settings=settings))
    algorithm = experiment.sample_config().build_algo()
    mean_return, steps = float("-inf"), 0
    while steps < max_agent_steps and mean_return < enough:
        runner = algorithm.train()["env_runners"]
        steps = runner["num_env_steps_sampled_lifetime"]
        mean_return = runner.get("episode_return_mean", mean_return)  # absent until the first episode has ended
    algorithm.stop()
    return mean_return


def test_rnd_solves_deep_sea() -> None:
    assert final_return("deep_sea_rnd", max_agent_steps=600_000, enough=0.9) >= 0.9


def test_ppo_does_not() -> None:
    assert final_return("deep_sea_ppo", max_agent_steps=300_000, enough=0.9) < 0.1


def test_ppo_learns_cartpole() -> None:
    assert final_return("cartpole_ppo", max_agent_steps=150_000, enough=400.0) >= 400.0


def test_a_gaussian_policy_swings_the_pendulum_up() -> None:
    """Random play returns about -1,200, a pendulum that is held up -150 to -200."""
    assert final_return("pendulum_ppo", max_agent_steps=125_000, enough=-400.0) >= -400.0


def test_snd_v_solves_deep_sea_from_pixels() -> None:
    """PPO alone stays below 0."""
    reward = (
        "{type: snd_v, episodic: false, reward_on: next, normalize_reward: true, clip_reward: null, feature_dim: 64, "
        "update_proportion: 0.5, keep_proportion: 1.0, pairs: 128}"
    )
    settings = (f"intrinsic_reward={reward}",)
    assert final_return("deep_sea_pixels_rnd", max_agent_steps=80_000, enough=0.9, settings=settings) >= 0.9
