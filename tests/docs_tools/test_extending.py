"""The five files of docs/extending.md, as they stand there, in a folder outside this repository."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from docs_tools.sources import DOCS
from rllib_rnd import IntrinsicPPO
from rllib_rnd.experiment.file import load_experiments
from rllib_rnd.intrinsic import IntrinsicOptions
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout

PAGE = (DOCS / "extending.md").read_text()
FILES = dict(re.findall(r"^`(my_\w+\.py)`.*?:\n\n```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    (tmp_path / "mine.yaml").write_text(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def test_they_are_five_short_files() -> None:
    assert sorted(FILES) == ["my_callbacks.py", "my_env.py", "my_loss.py", "my_net.py", "my_reward.py"]
    assert {name: len(code.splitlines()) for name, code in FILES.items() if len(code.splitlines()) > 35} == {}
    assert f"`my_reward.py`, {len(FILES['my_reward.py'].splitlines())} lines:" in PAGE


@pytest.mark.usefixtures("ray_session")
def test_they_train_together_and_come_back_from_a_checkpoint(folder: Path) -> None:
    (experiment,) = load_experiments(folder / "mine.yaml")
    algorithm = experiment.sample_config().debugging(seed=0, log_level="ERROR").build_algo()
    results = [algorithm.train() for _ in range(2)]
    learned = [result["learners"]["default_policy"] for result in results]
    assert learned[1]["plugins"]["surprise_loss"] < learned[0]["plugins"]["surprise_loss"]
    assert learned[0]["intrinsic_reward_mean"] > 0.0 and learned[0]["plugins"]["next_reward_loss"] > 0.0
    players = results[1]["env_runners"]
    assert players["farthest_cell"] <= 11 and players["positions_visited"] >= players["farthest_cell"]
    path = algorithm.save_to_path(folder / "checkpoint")
    algorithm.stop()
    restored = IntrinsicPPO.from_checkpoint(path)
    assert np.isfinite(restored.train()["learners"]["default_policy"]["total_loss"])
    restored.stop()


def test_the_reward_is_what_the_page_says(folder: Path) -> None:
    """Its error is that of the last observation of an episode too, and a reset step is paid nothing."""
    from my_env import Corridor
    from my_reward import Surprise

    env = Corridor(length=4)
    spaces = Spaces(env.observation_space, env.action_space)
    rollout = Rollout.empty(3, 1, (4,))
    rollout.frames[:, 0] = np.eye(4, dtype=np.uint8)
    rollout.is_first[2] = True
    reward = Surprise(spaces, IntrinsicOptions())
    torch.nn.init.zeros_(reward.net[2].weight)
    torch.nn.init.zeros_(reward.net[2].bias)  # it always predicts zeros: the error is a quarter of the one
    r_t, features = reward.compute(rollout.to_torch())
    assert r_t[:, 0].tolist() == [0.25, 0.0, 0.25] and features == {}


def test_the_state_of_the_environment_comes_back(folder: Path) -> None:
    from my_env import Corridor

    env = Corridor()
    env.reset(seed=0)
    env.step(1)
    saved = env.clone_state()
    after = env.step(1)[0]
    env.restore_state(saved)
    assert (env.step(1)[0] == after).all()
