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
import torch
import yaml
from typer.testing import CliRunner

import rllib_rnd
from rllib_rnd.cli import app
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import load_experiments
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.plugin_contract import checked_terms
from rllib_rnd.training.batch import AdvantageSettings, prepare_training
from rllib_rnd.training.nonfinite import NonFiniteTrainingError
from rllib_rnd.training.plugin_losses import auxiliary_terms, reward_terms, update_statistics
from tests.conftest import small_config
from tests.intrinsic.rollouts import random_rollout, vector_space
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

# What goes wrong only when it is called.
FAILING = """
import torch
from torch import nn
from rllib_rnd.modules import Backbone, BackboneOutput
from my_plugins import MyLoss, MyReward, dataclass, option, MyOptions

@dataclass(frozen=True)
class FaultOptions(MyOptions):
    fault: str = option("", "which")
class Reward(MyReward):
    Options = FaultOptions
    def compute(self, rollout):
        r_t, features = super().compute(rollout)
        self.metrics["odd"] = torch.zeros(2 if self.options.fault == "metric" else 1)
        return {
            "shape": (r_t.T, features), "dtype": (r_t.long(), features), "alone": r_t,
            "numpy": (r_t.numpy(), features), "nothing": None, "no features": (r_t, None),
            "feature": (r_t, {"x": r_t}), "nan": (r_t * float("nan"), features),
        }.get(self.options.fault, (r_t, features))
    def terms(self, rollout, features, index, generator):
        return {}[self.options.fault] if self.options.fault == "terms" else {}
class InConstructor(MyReward):
    def __init__(self, spaces, options):
        super().__init__(spaces, options)
        self.weight = {}["weight"]
class InStatistics(MyReward):
    def update_statistics(self, rollout):
        assert False
class AfterUpdate(MyReward):
    def after_update(self, backbone):
        raise RuntimeError
class Mean(MyLoss):
    def terms(self, *a):
        total, count = super().terms(*a)["my_loss"]
        return {"my_loss": total / count}
class PerSample(MyLoss):
    def terms(self, *a):
        total, count = super().terms(*a)["my_loss"]
        return {"my_loss": (total.expand(3), count)}
class OneTensor(MyLoss):
    def terms(self, *a):
        return super().terms(*a)["my_loss"][0]
class Keeps(MyLoss):
    def __init__(self, backbone, spaces, options):
        super().__init__(backbone, spaces, options)
        self.kept = backbone
class Detached(MyLoss):
    def terms(self, *a):
        total, count = super().terms(*a)["my_loss"]
        return {"my_loss": (total.detach(), count)}
class Untrained(MyReward):
    def __init__(self, spaces, options):
        super().__init__(spaces, options)
        self.net = nn.Linear(1, 1)

class Net(nn.Module):
    def __init__(self, observation_space, width=4):
        super().__init__()
        self.layer = nn.Linear(observation_space.shape[0] + (width == 5), width)
    def forward(self, obs):
        y = self.layer(obs.float())
        return {4: y, 5: y, 6: y[:, None], 7: (y, y), 8: y[:1]}[self.layer.out_features]
class Blind(Net):
    @torch.no_grad()
    def forward(self, obs):
        return super().forward(obs)
class Broken(Net):
    def __init__(self, observation_space):
        {}["weights"]
class OwnBackbone(Backbone):
    def __init__(self, observation_space, options):
        super().__init__(observation_space, options)
        self.layer = nn.Linear(observation_space.shape[0], 4)
        self.feature_dim = 5
    def forward(self, obs, state=None, is_first=None):
        return BackboneOutput.shared(self.layer(obs.float()))
class NoDim(OwnBackbone):
    def __init__(self, observation_space, options):
        super().__init__(observation_space, options)
        del self.feature_dim
class Unfinished(Backbone):
    pass
"""


@pytest.fixture(autouse=True)
def my_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's code in one file, another beside it, both where Python finds them."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_plugins.py").write_text("\n\n".join(blocks))
    (tmp_path / "faulty_plugins.py").write_text(FAULTY)
    (tmp_path / "failing_plugins.py").write_text(FAILING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("my_plugins", "faulty_plugins", "failing_plugins"):
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


def failing(name: str, **options: Any) -> dict[str, Any]:
    return {"type": f"failing_plugins:{name}", **options}


REWARD_FAULTS = [
    (failing("Reward", fault="shape"), "compute() (failing_plugins.py:12) returned rewards: a float32 tensor [3, 6]; "),
    (failing("Reward", fault="shape"), "allowed is a float tensor [T, N] = [6, 3]."),
    (failing("Reward", fault="dtype"), "returned rewards: a int64 tensor [6, 3]; allowed is a float tensor"),
    (failing("Reward", fault="alone"), "returned a float32 tensor [6, 3]; allowed is (rewards [T, N] = [6, 3], "),
    (failing("Reward", fault="numpy"), "returned rewards: type ndarray; allowed is a float tensor"),
    (failing("Reward", fault="nothing"), "returned None; allowed is (rewards [T, N] = [6, 3], features by name)."),
    (failing("Reward", fault="no features"), "returned features: None; allowed is a mapping"),
    (failing("Reward", fault="feature"), "returned feature 'x': a float32 tensor [6, 3]; allowed is a tensor [T"),
    (failing("Reward", fault="terms"), "terms() failed: KeyError: 'terms' (failing_plugins.py:21, in terms)."),
    (failing("InConstructor"), "__init__() failed: KeyError: 'weight' (failing_plugins.py:"),
    (failing("InStatistics"), "update_statistics() failed: AssertionError (failing_plugins.py:"),
]
LOSS_FAULTS = [
    (failing("Mean"), "returned 'my_loss': a float32 tensor []; allowed is a mapping of names to (sum over samples, "),
    (failing("PerSample"), "returned 'my_loss': as sum a float32 tensor [3]; allowed is a mapping"),
    (failing("OneTensor"), "returned a float32 tensor []; allowed is a mapping of names to (sum over samples, number"),
]
BACKBONE_FAULTS = [
    (failing("Net", width=5), "forward() failed: RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
    (failing("Net", width=6), "returned shape (2, 1, 6) for 2 observations (5,); allowed is one tensor [2, features]"),
    (failing("Net", width=7), "returned tuple for 2 observations (5,); allowed is one tensor [2, features]"),
    (failing("Net", width=8), "returned shape (1, 8) for 2 observations (5,); allowed is one tensor [2, features]"),
    (failing("Broken"), "Broken.__init__() failed: KeyError: 'weights' (failing_plugins.py:"),
    (failing("OwnBackbone"), "returned policy = shape (2, 4) for 2 observations; allowed is a BackboneOutput"),
    (failing("NoDim"), "has feature_dim = None; allowed is the width of its features"),
]


@pytest.mark.parametrize(
    ("key", "spec", "message"),
    [
        *(("intrinsic_reward", *fault) for fault in REWARD_FAULTS),
        *(("auxiliary_loss", *fault) for fault in LOSS_FAULTS),
        *(("backbone", *fault) for fault in BACKBONE_FAULTS),
    ],
)
def test_what_goes_wrong_when_it_is_called_is_named(key: str, spec: dict[str, Any], message: str) -> None:
    """Class and method, what came and what was expected, or the first cause with its line."""
    rollout, generator = random_rollout(), torch.Generator()
    with pytest.raises(ConfigError) as failed:
        module = IntrinsicPPOModule(
            observation_space=vector_space(5),
            action_space=gym.spaces.Discrete(4),
            model_config={
                "backbone": spec if key == "backbone" else {"type": "mlp"},
                "intrinsic_rewards": [spec if key == "intrinsic_reward" else {"type": "rnd"}],
                "auxiliary_losses": [spec] * (key == "auxiliary_loss"),
                "frame_stack": 1,
            },
        )
        batch, _ = prepare_training(module, rollout, AdvantageSettings(gamma=0.9, lambda_=0.9))
        index = batch.sequences[:, 0]
        reward_terms(module.rewards(), rollout, batch.features, index, generator)
        auxiliary_terms(module.auxiliaries(), module.backbone, rollout, index, generator)
        update_statistics(module.rewards(), rollout)
    assert failed.value.path == key and spec["type"] in str(failed.value) and message in str(failed.value)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        (failing("Reward", fault="metric"), "intrinsic_reward[1]", "set metrics['odd'] to a float32 tensor [2]; a"),
        (failing("AfterUpdate"), "", "AfterUpdate.after_update() failed: RuntimeError (failing_plugins.py:"),
    ],
)
def test_what_goes_wrong_in_an_update_is_named(spec: dict[str, Any], path: str, message: str) -> None:
    algorithm = small_config("IntrinsicPPO", intrinsic_reward=[REWARD, spec]).build_algo()
    with pytest.raises(ConfigError) as failed:
        algorithm.train()
    algorithm.stop()
    assert failed.value.path == path and message in str(failed.value)


@pytest.mark.usefixtures("ray_session")
def test_rewards_that_are_not_finite_leave_everything_as_it_is_and_are_named() -> None:
    rewards = ["rnd", failing("Reward", fault="nan")]
    algorithm = small_config("IntrinsicPPO", intrinsic_reward=rewards, max_nonfinite_updates=2).build_algo()
    before = weights(algorithm)
    assert algorithm.train()["learners"]["default_policy"]["nonfinite_updates"] == 1.0
    changed = {name for name, value in weights(algorithm).items() if not np.array_equal(value, before[name])}
    assert changed <= {"intrinsic_rewards.1.visits"}  # what compute itself remembers
    with pytest.raises(NonFiniteTrainingError, match="the rewards of failing_plugins:Reward") as ended:
        algorithm.train()
    assert "a root or logarithm of zero, in your own code (failing_plugins:Reward). Else a lower lr" in str(ended.value)
    algorithm.stop()


def test_a_loss_that_keeps_the_backbone_is_refused() -> None:
    config = small_config("IntrinsicPPO", auxiliary_loss=failing("Keeps"))
    with pytest.raises(ConfigError, match=r"auxiliary_loss: failing_plugins:Keeps keeps the backbone as its own"):
        config.build_algo()


def checked(**training: Any) -> str:
    """What `rllib check` says of a file with these settings."""
    config = {"num_envs_per_env_runner": 4, "rollout_fragment_length": 16, **training}
    experiment = {"run": "IntrinsicPPO", "env": "rllib_rnd/DeepSea-v0", "stop": {"iteration": 1}, "config": config}
    Path("x.yaml").write_text(yaml.safe_dump({"x": experiment}))
    return " ".join(CliRunner().invoke(app, ["check", "x.yaml"]).output.split())


@pytest.mark.parametrize(
    ("training", "part"),
    [
        ({"intrinsic_reward": failing("Untrained")}, "intrinsic_rewards.0.net"),
        ({"backbone": failing("Blind")}, "backbone"),
    ],
)
def test_check_names_what_nothing_trains(training: dict[str, Any], part: str) -> None:
    assert f"warning: nothing trains {part}: no loss has a gradient for it" in checked(**training)


def test_a_loss_without_a_gradient_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    algorithm = small_config("IntrinsicPPO", auxiliary_loss=failing("Detached")).build_algo()
    algorithm.train()
    algorithm.stop()
    told = [record.getMessage() for record in caplog.records if "gradient" in record.getMessage()]
    assert len(told) == 1, told
    assert "failing_plugins:Detached.terms() (failing_plugins.py:" in told[0]
    assert told[0].endswith("returned 'my_loss' without a gradient: nothing is learned from it (detach, no_grad).")


def test_check_names_what_is_not_finite_and_where_a_fault_stands_in_the_file() -> None:
    said = checked(intrinsic_reward=failing("Reward", fault="nan"))
    assert "not finite: the rewards of failing_plugins:Reward." in said and "nothing trains" not in said
    said = checked(intrinsic_reward=failing("Reward", fault="numpy"))
    assert "x.config.intrinsic_reward: failing_plugins:Reward.compute() (failing_plugins.py:12) returned" in said


def test_a_plain_number_of_samples_will_do() -> None:
    terms = checked_terms("a plug-in", lambda: {"a": (torch.ones(()), 3)}, torch.device("cpu"))
    assert terms["a"][1].dtype == torch.float32 and float(terms["a"][1]) == 3.0


@pytest.mark.parametrize(
    ("backbone", "path", "message"),
    [
        (failing("Net", widht=3), "backbone.widht", "unknown key 'widht'. Did you mean 'width'?"),
        (failing("Unfinished"), "backbone.type", "failing_plugins:Unfinished lacks forward; allowed is a class with"),
        (failing("Nett"), "backbone.type", "Nearest: 'failing_plugins:Net'."),
        ({"type": "math:pi"}, "backbone.type", "is no class of torch.nn.Module"),
    ],
)
def test_a_backbone_is_refused_before_anything_is_built(backbone: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        small_config(backbone=backbone).validate()
    assert refused.value.path == path and message in str(refused.value)


def test_the_dotted_spelling_is_the_same() -> None:
    loss, backbone = {"type": "my_plugins.MyLoss", "hidden_size": 8}, "failing_plugins.Net"
    small_config(intrinsic_reward="my_plugins.MyReward", auxiliary_loss=loss, backbone=backbone).validate()
