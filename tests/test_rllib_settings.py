"""Nothing is accepted and then ignored: every setting of RLlib acts here, or is refused with what replaces it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import ray.rllib
import yaml
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

import rllib_rnd
from rllib_rnd import IntrinsicPPOConfig, RNDConfig
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.checks import known_keys, usable_keys
from rllib_rnd.experiment.file import Overrides, load_experiments
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.rllib_settings import (
    EVALUATION,
    READ,
    REFUSED,
    STATE,
    UNTRUE,
    check_evaluation_config,
    public_name,
    usable_names,
)
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from rllib_rnd.settings import SETTINGS, attribute_name
from rllib_rnd.training.learner import IntrinsicPPOLearner
from tests.conftest import small_config

ENV = "rllib_rnd/DeepSea-v0"


def other_value(name: str) -> Any:
    """A value that is not the setting's default, of its type."""
    default = getattr(IntrinsicPPOConfig(), name)
    if isinstance(default, bool):
        return not default
    if isinstance(default, (int, float)):
        return default + 2
    if isinstance(default, dict):
        return {**default, "x": 1}
    return [*default, "x"] if isinstance(default, list) else "x"


def rnd() -> RNDConfig:
    return RNDConfig().environment(ENV)


def refused(config: IntrinsicPPOConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        config.validate()
    return str(caught.value)


def test_every_setting_is_in_one_table() -> None:
    """A setting that a new RLlib brings fails here until somebody has found out what it does."""
    settings, tables = set(vars(IntrinsicPPOConfig())), [set(SETTINGS), set(READ), set(REFUSED), set(STATE)]
    assert settings == set().union(*tables)
    assert len(settings) == sum(map(len, tables))
    assert not EVALUATION - READ - set(SETTINGS)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_not_read_is_refused_from_python_files_and_the_command_line(tmp_path: Path, name: str) -> None:
    key, value = public_name(name), other_value(name)
    config = rnd()
    setattr(config, name, value)
    message = refused(config)
    assert message.startswith(f"{key}: ") and REFUSED[name] in message

    config = rnd().evaluation(evaluation_config={name: value})
    message = refused(config)
    assert message.startswith(f"evaluation_config.{key}: ") and REFUSED[name] in message

    if key in known_keys(rnd()) and not isinstance(getattr(rnd(), name), type):
        for settings, overrides in (({key: value}, []), ({}, [f"{key}={yaml.safe_dump(value, width=999)}".strip()])):
            if overrides and isinstance(value, (dict, list)):
                continue
            path = tmp_path / "x.yaml"
            path.write_text(yaml.safe_dump({"a": {"run": "RND", "env": ENV, "config": settings}}))
            with pytest.raises(ConfigError) as caught:
                load_experiments(path, Overrides(settings=[o.removesuffix("\n...") for o in overrides]))
            both = {key, "enable_rl_module_and_learner"} if key.startswith("enable_") else {key}  # RLlib sets both
            assert caught.value.path.removeprefix("a.config.") in both and REFUSED[name] in str(caught.value)


def test_defaults_may_be_spelled_out() -> None:
    """Those of RLlib's PPO too, as files copied from its examples have them."""
    config, default, ppo = rnd(), vars(rnd()), vars(PPOConfig())
    config.update_from_dict({name: default[name] for name in REFUSED if default[name] != -1})
    config.validate()
    differing = {name for name in REFUSED if ppo[name] != default[name] and name != "stats_cls_lookup"}
    assert differing == {"use_kl_loss"}
    config.env_runners(env_runner_cls=None)
    config.validate()


@pytest.mark.parametrize("name", UNTRUE)
def test_defaults_that_are_not_what_happens_may_not(tmp_path: Path, name: str) -> None:
    value = vars(PPOConfig())[name]
    with pytest.raises(ConfigError, match=f"{name}: would have no effect: "):
        rnd().training(**{name: value})
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"a": {"run": "RND", "env": ENV, "config": {name: value}}}))
    with pytest.raises(ConfigError, match=rf"x\.yaml:3: a\.config\.{name}: would have no effect: "):
        load_experiments(path)


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - EVALUATION))
def test_evaluation_config_refuses_what_only_training_reads(name: str) -> None:
    config = rnd()
    config.evaluation_config = {name: other_value(name)}
    assert refused(config).startswith(f"evaluation_config.{public_name(name)}: ")
    if name != "evaluation_config":
        config.evaluation_config = {name: getattr(config, name)}
        config.validate()


#: Settings that a runner reads of training's configuration alone.
ONLY_IN_TRAINING = {
    "num_learners",
    "num_gpus_per_learner",
    "in_evaluation",
    "evaluation_force_reset_envs_before_iteration",
}


def test_evaluation_config_takes_all_that_runners_read() -> None:
    folder = Path(rllib_rnd.__file__).parent / "sampling"
    text = "".join((folder / name).read_text() for name in ("env_runner.py", "play.py"))
    read = set(re.findall(r"\bconfig\.(\w+)", text)) & set(vars(rnd()))
    assert {"env", "explore", "autocast", "max_evaluation_steps"} <= read
    assert read - EVALUATION == ONLY_IN_TRAINING
    for name in read & EVALUATION & set(SETTINGS):
        config = rnd().evaluation(evaluation_config={name: "bfloat16" if name == "autocast" else other_value(name)})
        check_evaluation_config(config)


def test_an_evaluation_may_have_a_shorter_limit_than_training() -> None:
    config = rnd().evaluation(evaluation_config={"max_evaluation_steps": 5, "autocast": "bfloat16"})
    config.validate()
    evaluation = config.get_evaluation_config_object()
    assert (evaluation.max_evaluation_steps, evaluation.autocast) == (5, "bfloat16")


def test_names_are_listed_alike_from_python_and_from_files() -> None:
    config = rnd()
    assert usable_keys(config) == usable_names(config)
    assert {attribute_name(name) for name in usable_names(config)} <= set(vars(config)) - set(REFUSED) - set(STATE)
    with pytest.raises(ConfigError) as caught:
        config.update_from_dict({"gama": 2})
    assert caught.value.allowed == usable_names(config)


def test_a_setting_that_does_not_exist_is_refused_wherever_it_is_written() -> None:
    with pytest.raises(ConfigError, match=r"^gama: unknown setting 'gama'. Did you mean 'gamma'\?"):
        rnd().update_from_dict({"gama": 2})
    config = rnd()
    config.gama = 2
    assert refused(config).startswith("gama: unknown setting 'gama'. Did you mean 'gamma'?")
    message = refused(rnd().evaluation(evaluation_config={"explor": 0}))
    assert message.startswith("evaluation_config.explor: unknown setting 'explor'. Did you mean 'explore'?")


def test_settings_of_a_users_own_configuration_class_are_known() -> None:
    class Mine(RNDConfig):
        def __init__(self, algo_class: type | None = None) -> None:
            super().__init__(algo_class)
            self.mine = 1

    config = Mine().environment(ENV).update_from_dict({"mine": 2})
    config.validate()
    assert config.mine == 2
    config.mein = 3
    assert refused(config).startswith("mein: unknown setting 'mein'. Did you mean 'mine'?")


def test_tunes_way_of_handing_a_configuration_over_is_no_mistake() -> None:
    config = rnd().update_from_dict(small_config().to_dict() | {"__trial_info__": object(), "__stdout_file__": None})
    config.validate()
    assert config.num_envs_per_env_runner == 4
    assert rnd().update_from_dict(config).num_envs_per_env_runner == 4


def test_what_acts_only_beside_another_setting_is_refused_alone() -> None:
    assert "networks are set by backbone and heads" in refused(rnd().rl_module(model_config={"fcnet_hiddens": [8]}))
    assert refused(rnd().training(learner_config_dict={"a": 1})).startswith("learner_config_dict: ")
    assert refused(rnd().training(train_batch_size_per_learner=4000)).endswith("or what they make, 1024.")
    rnd().training(train_batch_size_per_learner=1024).validate()
    assert refused(rnd().env_runners(explore=False)).startswith("explore: training always draws its actions")
    for change in ({"env_runner_cls": int}, {"_learner_class": "x:y"}, {"_rl_module_spec": RLModuleSpec(int)}):
        config = rnd()
        for name, value in change.items():
            setattr(config, name, value)
        assert "allowed is a subclass of rllib_rnd." in refused(config)


def test_a_configuration_may_be_changed_after_it_was_checked() -> None:
    """What checking leaves behind is not taken for the user's own."""
    config = rnd()
    config.validate()
    config.env_runners(num_envs_per_env_runner=16)
    config.validate()
    assert config.train_batch_size_per_learner == 16 * 128


#: Where the code that this package's algorithms run in RLlib reads its configuration.
_RLLIB = (
    "algorithms/algorithm.py",
    "algorithms/utils.py",
    "core/learner/learner.py",
    "core/learner/learner_group.py",
    "env/env_runner.py",
    "env/env_runner_group.py",
    "env/single_agent_env_runner.py",
    "utils/actor_manager.py",
    "utils/framework.py",
    "../tune/trainable/trainable.py",
)


#: What RLlib's configuration itself reads. It names all settings, so its file is no witness for the others.
_READ_BY_THE_CONFIGURATION = {"_validate_config"}


def test_every_setting_that_is_said_to_act_is_read_somewhere() -> None:
    sources = [(Path(ray.rllib.__file__).parent / name).read_text() for name in _RLLIB]
    sources += [path.read_text() for path in Path(rllib_rnd.__file__).parent.rglob("*.py")]
    text = re.sub(r"self\.\w+ = ", "", "\n".join(sources))
    read = set(re.findall(r"\.(\w+)", text)) | set(re.findall(r"""get\(["'](\w+)""", text))
    for name in READ - _READ_BY_THE_CONFIGURATION:
        by_name = name.startswith("callbacks_on_") and 'f"callbacks_{name}"' in text  # getattr, in the runner
        assert by_name or {name, name.lstrip("_")} & read, name


class Recorder(gym.Env):
    """Keeps what it is sent; actions in -4..4."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Box(-4, 4, (1,), np.float32)
    seen: ClassVar[list[float]] = []

    def __init__(self, **_: object) -> None:
        self.steps = 0

    def reset(self, **_: Any) -> tuple[np.ndarray, dict]:
        self.steps = 0
        return np.zeros(3, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        self.seen.append(float(action[0]))
        return np.ones(3, np.float32), 1.0, self.steps >= 4, False, {}


class Runner(RolloutEnvRunner):
    """Another class in its place."""


class Learner(IntrinsicPPOLearner):
    """Another class in its place."""


class Module(IntrinsicPPOModule):
    """Another class in its place."""


@pytest.mark.usefixtures("ray_session")
def test_settings_of_rllib_that_change_what_is_done_have_their_effect() -> None:
    gym.register("Recorder-v0", Recorder)
    try:
        _effects()
    finally:
        gym.registry.pop("Recorder-v0")


def _effects() -> None:
    calls: list[str] = []
    config = small_config("IntrinsicPPO", "Recorder-v0").environment(normalize_actions=False, clip_actions=True)
    config.env_runners(env_runner_cls=Runner).training(learner_class=Learner, learner_config_dict={"a": 1})
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=Module, model_config={"mine": 1}))
    config.reporting(metrics_num_episodes_for_smoothing=3, min_sample_timesteps_per_iteration=70)
    events = {f"on_{name}" for name in ("algorithm_init", "environment_created", "sample_end", "episode_end")}
    events |= {"on_train_result", "on_evaluate_start", "on_evaluate_end"}
    config.callbacks(**{event: lambda *, _event=event, **_: calls.append(_event) for event in events})
    config.evaluation(evaluation_interval=1, evaluation_duration=40, evaluation_duration_unit="timesteps")
    config.evaluation(evaluation_config={"explore": False, "num_envs_per_env_runner": 2})
    algorithm = config.build_algo()
    algorithm.learner_module().log_std.data.fill_(2.0)  # 28 % of the draws lie outside -4..4, none of the means
    algorithm.runners.sync_weights()
    Recorder.seen.clear()
    result = algorithm.train()
    assert type(algorithm.env_runner) is Runner and type(algorithm.local_learner()) is Learner
    assert type(algorithm.learner_module()) is Module and algorithm.learner_module().model_config["mine"] == 1
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] > 70  # two rollouts of 4 x 16, less resets
    played, evaluated = np.array(Recorder.seen[:-80]), np.array(Recorder.seen[-40:])
    assert np.abs(played).max() == 4.0 and (np.abs(played) == 4.0).mean() > 0.1
    assert len(set(evaluated)) == 2  # the most likely action at each of the two observations
    assert result["evaluation"]["env_runners"]["num_env_steps_sampled_lifetime"] == 40
    assert len(algorithm.recent_episodes.episodes()) == 3
    assert set(calls) == set(events)
    algorithm.stop()


def test_every_key_of_a_file_is_an_attribute() -> None:
    assert {attribute_name(key) for key in known_keys(RNDConfig())} <= set(vars(RNDConfig()))
