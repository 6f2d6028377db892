"""The learning test: deep exploration that dithering cannot do.

DeepSea (Osband et al. 2020, bsuite) with N = 20: a uniformly random policy reaches the goal once in 2^20 episodes.
"""

from __future__ import annotations

from typing import Any

import pytest

from rllib_rnd import IntrinsicPPOConfig, RNDConfig
from rllib_rnd.experiment_file import load_experiments

pytestmark = [pytest.mark.learning, pytest.mark.usefixtures("ray_session")]


def final_return(config: Any, max_agent_steps: int, enough: float) -> float:
    """Trains until the mean return is enough or the budget is spent; returns the last mean return."""
    algorithm = config.build_algo()
    mean_return, steps = float("-inf"), 0
    while steps < max_agent_steps and mean_return < enough:
        runner = algorithm.train()["env_runners"]
        mean_return, steps = runner["episode_return_mean"], runner["num_env_steps_sampled_lifetime"]
    algorithm.stop()
    return mean_return
