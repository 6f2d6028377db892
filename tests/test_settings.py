"""Settings stand once: Python, experiment files and the command line accept and refuse the same values alike."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from rllib_rnd import IntrinsicPPOConfig, RNDConfig, SNDConfig
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import Overrides, load_experiments
from rllib_rnd.options import describe_allowed
from rllib_rnd.presets import settings_table
from rllib_rnd.settings import OWN, PUBLIC_NAMES, SETTINGS, Setting
from rllib_rnd.tracking.parameters import parameters


def wrong_values(setting: Setting) -> list[Any]:
    """Values just outside what a setting allows, and one of a type that none has."""
    limits = setting.limits
    values: list[Any] = [b"x"]
    if limits.low is not None:
        values.append(limits.low - 1)
    if limits.above is not None:
        values += [limits.above, limits.above - 1]
    if limits.high is not None:
        values.append(limits.high + 1)
    if limits.schedule:
        values += [[[0, 0.1]], [[1, 0.1], [2, 0.1]], [[0, 0.1], [2]]]
    return values


WRONG = [(name, value) for name, setting in SETTINGS.items() for value in wrong_values(setting)]


def refused_from_python(name: str, value: Any) -> str:
    config = RNDConfig().environment("rllib_rnd/DeepSea-v0")
    setattr(config, name, value)
    with pytest.raises(ConfigError) as caught:
        config.validate()
    assert caught.value.path.split("[")[0] == name
    return caught.value.reason


def refused_from_a_file(path: Path, key: str, value: Any, **overrides: Any) -> str:
    config: dict[str, Any] = {"env": "rllib_rnd/DeepSea-v0"} | ({} if overrides else {key: value})
    path.write_text(yaml.safe_dump({"a": {"run": "RND", "config": config}}))
    with pytest.raises(ConfigError) as caught:
        load_experiments(path, Overrides(**overrides))
    assert caught.value.path.split("[")[0] == f"a.config.{key}"
    return caught.value.reason


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}={value!r}" for name, value in WRONG])
def test_python_and_yaml_refuse_the_same_with_the_same_words(tmp_path: Path, name: str, value: Any) -> None:
    reason = refused_from_python(name, value)
    assert refused_from_a_file(tmp_path / "x.yaml", SETTINGS[name].key, value) == reason
    if not isinstance(value, bytes):
        text = f"{SETTINGS[name].key}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"
        assert refused_from_a_file(tmp_path / "x.yaml", SETTINGS[name].key, value, settings=[text]) == reason


@pytest.mark.parametrize("config_class", [IntrinsicPPOConfig, RNDConfig, SNDConfig])
def test_every_default_is_allowed(config_class: type[IntrinsicPPOConfig]) -> None:
    config = config_class()
    for name, setting in SETTINGS.items():
        assert setting.check(getattr(config, name)) == getattr(config, name)


def test_every_setting_says_what_it_is() -> None:
    for setting in SETTINGS.values():
        assert setting.help and describe_allowed(setting.hint, setting.limits), setting.name
    assert {row[0] for row in settings_table()} == {setting.key for setting in SETTINGS.values()}
    assert [row[1] for row in settings_table() if row[0] == "gamma"] == ["0.999; SND: 0.998"]


def test_defaults_belong_to_one_configuration() -> None:
    first, second = IntrinsicPPOConfig(), IntrinsicPPOConfig()
    first.backbone["type"] = "mlp"
    first.heads["policy_gain"] = 1.0
    assert second.backbone == {"type": "auto"} and second.heads == {}


def test_training_shows_and_takes_every_own_setting() -> None:
    assert set(OWN) <= set(inspect.signature(IntrinsicPPOConfig.training).parameters)
    assert all(f"    {name}: " in (IntrinsicPPOConfig.training.__doc__ or "") for name in OWN)
    config = RNDConfig().training(**{name: SETTINGS[name].default for name in OWN}, lr=0.5, lambda_=0.5)
    assert {name: getattr(config, name) for name in OWN} == {name: SETTINGS[name].default for name in OWN}
    assert (config.lr, config.lambda_) == (0.5, 0.5)


def test_minus_one_is_refused_though_rllib_takes_it_for_a_mark() -> None:
    config = RNDConfig().environment("rllib_rnd/DeepSea-v0").training(entropy_coeff=-1)
    with pytest.raises(ConfigError, match=r"^entropy_coeff: -1 is out of range"):
        config.build_algo()


def test_training_refuses_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"^gama: unknown training setting 'gama'. Did you mean 'gamma'\?"):
        RNDConfig().training(gama=0.9)


def test_both_names_of_one_setting_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a:\n  run: RND\n  env: rllib_rnd/DeepSea-v0\n  config:\n    lambda_: 0.9\n    lambda: 0.8\n")
    with pytest.raises(
        ConfigError, match=r"x\.yaml:\d: a\.config\.lambda_?: is the same setting as lambda_?; give one"
    ):
        load_experiments(path)


@pytest.mark.parametrize("name", ["lambda", "lambda_"])
@pytest.mark.parametrize("override", ["lambda", "lambda_"])
def test_an_override_finds_a_setting_by_either_name(tmp_path: Path, name: str, override: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"a:\n  run: RND\n  env: rllib_rnd/DeepSea-v0\n  config:\n    {name}: 0.9\n")
    (experiment,) = load_experiments(path, Overrides(settings=[f"{override}=0.5"]))
    assert experiment.sample_config().lambda_ == 0.5


def test_mlflow_keeps_what_is_logged_and_nothing_else() -> None:
    config = RNDConfig().environment("rllib_rnd/DeepSea-v0", env_config={"size": 5})
    kept = parameters(config)
    logged = {s.key for s in SETTINGS.values() if s.logged}
    assert {key.split(".")[0] for key in kept} <= logged
    assert {"lambda", "env_config.size", "intrinsic_reward.type", "warmup_steps"} <= set(kept)
    assert "torch_threads" not in kept and PUBLIC_NAMES["lambda_"] == "lambda"


def test_evaluation_may_be_a_configuration_object_and_is_checked_at_its_place() -> None:
    def evaluated(evaluation: Any) -> IntrinsicPPOConfig:
        config = RNDConfig().environment("rllib_rnd/DeepSea-v0")
        return config.evaluation(evaluation_interval=1, evaluation_config=evaluation)

    evaluated(RNDConfig().environment("rllib_rnd/DeepSea-v0")).validate()
    evaluated({"explore": False}).validate()
    with pytest.raises(ConfigError, match=r"^evaluation_config\.num_envs_per_env_runner: 0 is out of range"):
        evaluated({"num_envs_per_env_runner": 0}).validate()
    with pytest.raises(ConfigError, match=r"^evaluation_config\.heads: .* what training has, \{\}"):
        evaluated(RNDConfig().training(heads={"policy_gain": 1.0})).validate()
