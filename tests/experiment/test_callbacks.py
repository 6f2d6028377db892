"""Callbacks in experiment files: one spelling for all that is named by its import path, errors at the key itself."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rllib_rnd import RNDConfig
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import Experiment, load_experiments
from rllib_rnd.experiment.yaml_file import ExperimentError
from rllib_rnd.own_code import takes_functions
from rllib_rnd.rllib_settings import READ

SOURCE = """
from ray.rllib.callbacks.callbacks import RLlibCallback
class Mine(RLlibCallback): pass
class Stranger: pass
def note(**_): pass
"""


@pytest.fixture(autouse=True)
def own_callbacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_callbacks.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_callbacks", None)


def load(folder: Path, run: str = "RND", **config: Any) -> Experiment:
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump({"x": {"run": run, "env": "CartPole-v1", "config": config}}, sort_keys=False))
    return load_experiments(path)[0]


@pytest.mark.parametrize("run", ["RND", "PPO"])
@pytest.mark.parametrize("path", ["own_callbacks:Mine", "own_callbacks.Mine", ["own_callbacks:Mine"]])
def test_classes_by_either_spelling_alone_or_in_a_list(tmp_path: Path, path: str | list[str], run: str) -> None:
    config = load(tmp_path, run, callbacks=path).sample_config()
    mine = sys.modules["own_callbacks"].Mine
    assert config.callbacks_class == ([mine] if isinstance(path, list) else mine)


def test_functions_in_sweeps_and_in_evaluation(tmp_path: Path) -> None:
    experiment = load(
        tmp_path,
        callbacks={"grid_search": ["own_callbacks:Mine", None]},
        callbacks_on_train_result=["own_callbacks:note"],
        callbacks_on_episode_end="own_callbacks.note",
        evaluation_config={"callbacks": "own_callbacks:Mine"},
        custom_evaluation_function="own_callbacks:note",
    )
    module, space = sys.modules["own_callbacks"], experiment.param_space()
    assert space["callbacks_class"] == {"grid_search": [module.Mine, None]}
    config = experiment.sample_config()
    assert config.callbacks_on_train_result == [module.note] and config.callbacks_on_episode_end is module.note
    assert config.custom_evaluation_function is module.note
    assert config.get_evaluation_config_object().callbacks_class is module.Mine


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"callbacks": "own_callbacks:Min"}, ":5: x.config.callbacks: cannot import 'own_callbacks:Min' (there is no "),
        ({"callbacks": "own_callbacks.Min"}, "Nearest: 'own_callbacks.Mine'."),
        ({"callbacks": ["own_callbacks:Mine", "nowhere:X"]}, ":7: x.config.callbacks[1]: cannot import 'nowhere:X'"),
        ({"callbacks": "own_callbacks:Stranger"}, "x.config.callbacks: 'own_callbacks:Stranger' is no class of callb"),
        ({"callbacks": 3}, "x.config.callbacks: 3 names no class; allowed is module:Class, or a list of such."),
        ({"callbacks_on_episode_end": "own_callbacks:nothing"}, "x.config.callbacks_on_episode_end: cannot import"),
        ({"callbacks_on_episode_end": True}, "x.config.callbacks_on_episode_end: true is no function; allowed is mod"),
        (
            {"callbacks_on_episode_end": ["own_callbacks:Mine"]},
            "[0]: 'own_callbacks:Mine' is a class; allowed is a ",
        ),
        ({"callbacks_on_episode_end": "own_callbacks:Mine"}, "is a class; allowed is a function; callbacks: takes"),
        (
            {"custom_evaluation_function": 5},
            ":5: x.config.custom_evaluation_function: 5 is no function; allowed ",
        ),
        ({"custom_evaluation_function": "own_callbacks:nothing"}, "x.config.custom_evaluation_function: cannot import"),
        (
            {"custom_evaluation_function": "own_callbacks:Mine"},
            "' is a class; allowed is a function.",
        ),
        ({"evaluation_config": {"callbacks": "nowhere.X"}}, ":6: x.config.evaluation_config.callbacks: cannot import"),
        ({"callbacks": {"grid_search": ["nowhere.X"]}}, "x.config.callbacks.grid_search[0]: cannot import 'nowhere.X'"),
    ],
)
def test_a_mistake_is_placed_at_its_key(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError) as refused:
        load(tmp_path, **config)
    assert message in str(refused.value)


FUNCTION_SETTINGS = sorted(filter(takes_functions, READ))


@pytest.mark.parametrize("setting", FUNCTION_SETTINGS)
def test_python_refuses_what_is_no_function_too(setting: str) -> None:
    for given, said in ((5, "5 is no function"), (Path, "'pathlib:Path' is a class"), ("os:getcwd", "is no function")):
        config = RNDConfig().environment("CartPole-v1")
        setattr(config, setting, given)
        with pytest.raises(ConfigError, match=f"^{setting}: .*{said}; allowed is"):
            config.validate()
    for good in (len, None, functools.partial(len)):
        setattr(config, setting, good)
        config.validate()
