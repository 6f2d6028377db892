"""Errors speak the language that users write: YAML's true, false and null, never Python's."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from rllib_rnd import RNDConfig
from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES
from rllib_rnd.errors import ConfigError, in_words
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.modules.backbone import BACKBONES
from rllib_rnd.options import parse_options
from rllib_rnd.rllib_settings import REFUSED, check_evaluation_config, check_rllib_settings
from rllib_rnd.settings import SETTINGS, Setting

WRONG: list[object] = [None, True, False, [None, True], {"a": None}, -1, 1e99, "x", ["x", False], [[0, None], [1, 2]]]
PLUGINS = [cls for registry in (INTRINSIC_REWARDS, AUXILIARY_LOSSES, BACKBONES) for _, cls in registry.items()]


def speaks_yaml(error: ConfigError) -> bool:
    return not re.search(r"\b(None|True|False|NoneType|bool)\b", str(error))


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_errors_about_settings(setting: Setting) -> None:
    refused = 0
    for value in WRONG:
        try:
            setting.check(value)
        except ConfigError as error:
            refused += 1
            assert speaks_yaml(error), str(error)
    assert refused


@pytest.mark.parametrize("cls", PLUGINS, ids=lambda cls: cls.name)
def test_errors_about_options_of_plugins(cls: Any) -> None:
    for name in (field.name for field in dataclasses.fields(cls.Options)):
        for value in WRONG:
            try:
                parse_options(cls.Options, {name: value})
            except ConfigError as error:
                assert speaks_yaml(error), str(error)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_errors_about_settings_of_rllib(name: str) -> None:
    default, refused = RNDConfig(), 0
    for value in WRONG:
        config, evaluation = RNDConfig(), RNDConfig().evaluation(evaluation_config={name: value})
        setattr(config, name, value)
        for check in (
            lambda c=config: check_rllib_settings(c, default),
            lambda c=evaluation: check_evaluation_config(c),
        ):
            try:
                check()
            except ConfigError as error:
                refused += 1
                assert speaks_yaml(error) and REFUSED[name] in str(error), str(error)
    assert refused >= len(WRONG)


@pytest.mark.parametrize(
    "change",
    [
        {"overlap_sampling": True},
        {"_model_config": {"a": [None, True]}},
        {"learner_config_dict": {"a": False}},
        {"_learner_class": int},
        {"freeze_backbone": True, "auxiliary_loss": "byol"},
    ],
    ids=str,
)
def test_errors_about_settings_that_do_not_fit_each_other(change: dict[str, Any]) -> None:
    config = RNDConfig().environment("CartPole-v1")
    for name, value in change.items():
        setattr(config, name, value)
    with pytest.raises(ConfigError) as caught:
        config.validate()
    assert speaks_yaml(caught.value), str(caught.value)


def test_words() -> None:
    assert in_words(np.zeros((3, 2))) == "array([[0., 0.], [0., 0.], [0., 0.]])"
    assert in_words({"a": [True, 1e-8]}, str) == "{a: [true, 1e-08]}"
    assert in_words({"a": [True, None, "x", 1.5]}) == "{a: [true, null, 'x', 1.5]}"
    assert str(ConfigError("a", "is wrong", [True, None, "x"], True)) == (
        "a: is wrong. Did you mean true? Allowed: true, null, x."
    )
