"""Plug-ins in a user's own file: those of docs/plugins.md, as they stand there, in a module outside the package."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rllib_rnd
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import load_experiments
from rllib_rnd.module import IntrinsicPPOModule
from tests.conftest import small_config
from tests.test_algorithm import assert_same, weights

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "plugins.md").read_text()
REWARD: dict[str, Any] = {"type": "my_plugins:MyReward", "bits": 2}
LOSS: dict[str, Any] = {"type": "my_plugins:MyLoss", "hidden_size": 8}

# What users write when they have not read all of the page.
FAULTY = """
from dataclasses import dataclass
from my_plugins import AuxiliaryLoss, IntrinsicOptions, IntrinsicReward, MyReward

class Unfinished(IntrinsicReward):
    name = "unfinished"
    def update_statistics(self, rollout): pass

class Nameless(IntrinsicReward):
    def compute(self, rollout): pass

class OldLoss(AuxiliaryLoss):
    name = "old"
    def loss(self, backbone, rollout, index, generator, valid): pass

class PlainOptions:
    bits = 3

class WithPlainOptions(MyReward):
    Options = PlainOptions

class Misnamed(MyReward):
    name = "My Reward"

class UndecoratedOptions(IntrinsicOptions):
    bits: int = 3

class WithUndecoratedOptions(MyReward):
    Options = UndecoratedOptions
"""


@pytest.fixture(autouse=True)
def my_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's code in one file, another beside it, both where Python finds them."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_plugins.py").write_text("\n\n".join(blocks))
    (tmp_path / "faulty_plugins.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("my_plugins", "faulty_plugins"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("ray_session")
def test_they_train_are_logged_and_come_back_from_a_checkpoint(tmp_path: Path) -> None:
    algorithm = small_config(intrinsic_reward=REWARD, auxiliary_loss={**LOSS, "coeff": 0.1}).build_algo()
    before = weights(algorithm)
    result = algorithm.train()["learners"]["default_policy"]
    assert 0.0 < result["intrinsic_reward_mean"] < 1.0 and result["intrinsic_reward_max"] == 1.0
    assert 1.0 <= result["plugins"]["my_reward_keys"] <= 4.0
    assert result["plugins"]["my_loss"] > 0.0 and 0.0 <= result["plugins"]["my_loss_accuracy"] <= 1.0
    saved = weights(algorithm)
    visits, head = "intrinsic_rewards.0.visits", "auxiliary_losses.0.head.0.weight"
    assert saved[visits].shape == (4, 4) and 0.0 < saved[visits].sum(axis=1).max() <= 5.0  # steps of an episode
    assert not np.array_equal(saved[head], before[head])
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    restored = rllib_rnd.RND.from_checkpoint(path)
    assert_same(weights(restored), saved)
    assert np.isfinite(restored.train()["learners"]["default_policy"]["total_loss"])
    restored.stop()


def test_the_experiment_of_the_page_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
    (experiment,) = load_experiments(path)
    assert experiment.sample_config().intrinsic_reward == {"type": "my_plugins:MyReward", "bits": 10}


@pytest.mark.parametrize(
    ("settings", "path", "problem"),
    [
        ({"intrinsic_reward": {**REWARD, "bitz": 3}}, "intrinsic_reward.bitz", "Did you mean 'bits'"),
        ({"intrinsic_reward": {**REWARD, "bits": 21}}, "intrinsic_reward.bits", "21 is out of range; allowed is 1 to"),
        ({"intrinsic_reward": ["rnd", {**REWARD, "gamma": 2}]}, "intrinsic_reward[1].gamma", "2 is out of range"),
        ({"auxiliary_loss": {**LOSS, "hidden": 3}}, "auxiliary_loss.hidden", "Did you mean 'hidden_size'"),
        ({"intrinsic_reward": {"type": "my_plugins:MyRewards"}}, "intrinsic_reward.type", "cannot import"),
    ],
)
def test_wrong_options_are_refused_where_they_stand(settings: dict[str, Any], path: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)) as refused:
        small_config(**settings).validate()
    assert refused.value.path == path and str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("intrinsic_reward", "faulty_plugins:Unfinished", "lacks compute; allowed is a class with all that"),
        ("intrinsic_reward", "faulty_plugins:Nameless", "lacks update_statistics, name; allowed is"),
        ("auxiliary_loss", "faulty_plugins:OldLoss", "lacks terms; allowed is"),
        (
            "intrinsic_reward",
            "my_plugins:MyLoss",
            "is no intrinsic reward; allowed is a subclass of rllib_rnd",
        ),
        ("auxiliary_loss", "my_plugins:MyReward", "is no auxiliary loss; allowed is a subclass of rllib_rnd"),
        ("intrinsic_reward", "math:pi", "is no intrinsic reward; allowed is"),
        ("intrinsic_reward", "faulty_plugins:Misnamed", "has name = 'My Reward'; allowed is lower-case letters"),
        ("intrinsic_reward", "faulty_plugins:WithPlainOptions", "has Options = PlainOptions; allowed is a subclass of"),
        ("intrinsic_reward", "faulty_plugins:WithUndecoratedOptions", "under @dataclass(frozen=True)"),
    ],
)
def test_classes_that_do_not_follow_the_contract_are_refused(kind: str, name: str, message: str) -> None:
    settings: dict[str, Any] = {kind: {"type": name}}
    with pytest.raises(ConfigError, match=re.escape(message)) as refused:
        small_config(**settings).validate()
    assert refused.value.path == f"{kind}.type" and repr(name) in str(refused.value)


@pytest.mark.parametrize("losses", [[LOSS], ["barlow_twins", LOSS]])
def test_what_a_constructor_refuses_gets_the_place_of_the_plug_in(losses: list[Any]) -> None:
    with pytest.raises(ConfigError, match="my_loss cannot predict actions of Box") as refused:
        IntrinsicPPOModule(
            observation_space=gym.spaces.Box(0, 255, (4, 36, 36), np.uint8),
            action_space=gym.spaces.Box(-1, 1, (2,)),
            model_config={
                "backbone": {"type": "nature_cnn"},
                "intrinsic_rewards": [],
                "auxiliary_losses": losses,
                "frame_stack": 4,
            },
        )
    assert refused.value.path == ("auxiliary_loss.type" if len(losses) == 1 else "auxiliary_loss[1].type")
