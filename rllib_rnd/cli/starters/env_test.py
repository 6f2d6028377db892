"""Tests of my_env."""

from pathlib import Path

import numpy as np
from gymnasium.utils.env_checker import check_env

from rllib_rnd.cli.check import check_files
from rllib_rnd.cli.starters.env import MyEnv
from rllib_rnd.experiment.overrides import Overrides


def test_it_is_what_gymnasium_asks_for() -> None:
    """Spaces, seeds and what step returns."""
    check_env(MyEnv(), skip_render_check=True)


def test_the_far_end_pays() -> None:
    """Right, and right again."""
    env = MyEnv(length=3)
    env.reset(seed=0)
    assert env.step(np.int64(1))[1:4] == (0.0, False, False)
    assert env.step(np.int64(1))[1:4] == (1.0, True, False)


def test_it_can_be_trained_on(tmp_path: Path) -> None:
    """What ``rllib check`` does."""
    file = tmp_path / "my_env.yaml"
    file.write_text(
        "my_env_run:\n"
        "  run: RND\n"
        "  env: rllib_rnd.cli.starters.env:MyEnv\n"
        "  env_config: {length: 6}\n"
        "  stop: {agent_steps: 100000}\n"
    )
    assert check_files([file], Overrides()) == 0
