"""An option that is written where settings stand is shown its place."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from rllib_rnd import RNDConfig
from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES
from rllib_rnd.config_checks import unknown_setting_error
from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.modules.backbone import BACKBONES
from rllib_rnd.options import Registry
from rllib_rnd.rllib_settings import usable_names

REGISTRIES: dict[str, Registry[Any]] = {
    "intrinsic_reward": INTRINSIC_REWARDS,
    "backbone": BACKBONES,
    "auxiliary_loss": AUXILIARY_LOSSES,
}
SETTINGS = usable_names(RNDConfig())
OPTIONS = [
    (key, name, field.name)
    for key, registry in REGISTRIES.items()
    for name, plugin in registry.items()
    for field in fields(plugin.Options)
    if field.name not in SETTINGS
]


@pytest.mark.parametrize(("key", "name", "option"), OPTIONS, ids=str)
def test_of_every_plugin(key: str, name: str, option: str) -> None:
    for given in ({key: name}, {key: {"type": name}}, {key: [{"type": name}]}):
        error = unknown_setting_error("key", option, SETTINGS, given)
        assert f"{key}.{option}" in str(error.allowed).split(" or ") and error.path == option
    assert f"{key}.{option} (" in str(unknown_setting_error("key", option, SETTINGS, {}).allowed)


def test_those_in_use_come_alone() -> None:
    error = unknown_setting_error("key", "hidden_sizes", SETTINGS, {"intrinsic_reward": "rnd", "backbone": "vit"})
    assert str(error) == "hidden_sizes: unknown key 'hidden_sizes' here; allowed is intrinsic_reward.hidden_sizes."
    error = unknown_setting_error("key", "size", SETTINGS, {"env": "rllib_rnd/DeepSea-v0"})
    assert error.allowed == "env_config.size"
    assert unknown_setting_error("key", "policy_hidden", SETTINGS, {}).allowed == "heads.policy_hidden"


def test_what_is_no_option_has_the_nearest_setting_and_the_list() -> None:
    error = unknown_setting_error("key", "lrr", SETTINGS, {"env": "NoSuchEnvironment-v0"})
    assert error.nearest == "lr"
    error = unknown_setting_error("key", "zzzz", SETTINGS, {})
    assert error.nearest is None
    assert error.allowed == f"one of {len(SETTINGS)} names (the usual ones: `rllib list settings`)"


@pytest.mark.parametrize("key", REGISTRIES)
@pytest.mark.parametrize("name", [["rnd"], {"a": 1}, 3, None, True])
def test_what_is_no_name_is_refused_by_its_place(key: str, name: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}\.type: .* is no name") as caught:
        REGISTRIES[key].parse({"type": name}, key)
    assert caught.value.allowed == [*REGISTRIES[key].names(), "module:Class"]


@pytest.mark.parametrize("key", REGISTRIES)
def test_a_class_is_told_by_its_import_path(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        REGISTRIES[key].parse({"type": ConfigError}, key)
    assert caught.value.nearest == "rllib_rnd.errors:ConfigError"


def test_from_python() -> None:
    with pytest.raises(ConfigError, match=r"'reward_momentum' here; allowed is intrinsic_reward\.reward_momentum\."):
        RNDConfig().training(reward_momentum=0.5)
