"""The one error of a user's mistake: its sentence, its path that grows on the way up, and its way between processes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch

from rllib_rnd.errors import (
    ConfigError,
    at,
    briefly,
    dotted,
    in_words,
    join,
    nearest_name,
    parse_dotted,
    same,
    unknown_name_error,
)
from rllib_rnd.experiment.yaml_file import ExperimentError, Places
from rllib_rnd.sampling.intake import EnvironmentFailedError
from rllib_rnd.training.nonfinite import NonFiniteTrainingError


class Unequal:
    """Whose ``==`` fails."""

    def __eq__(self, other: object) -> bool:
        raise ValueError

    __hash__ = None  # type: ignore[assignment]


#: Values of settings, each different from all others.
DIFFERENT: list[Any] = [
    None,
    True,
    2,
    "x",
    [2, 2],
    [2],
    (2, 2),
    np.array([2, 2]),
    np.array([[2, 2], [2, 2]]),
    np.array([2, 3]),
    np.array([]),
    torch.tensor([2, 4]),
    {"a": np.zeros(3), "b": [1]},
    {"a": np.ones(3), "b": [1]},
    {"a": [np.zeros(3)]},
    {"a": np.zeros(3)},
    gym.spaces.Box(0, 1, (2,)),
    gym.spaces.Discrete(2),
    int,
]


def test_values_are_the_same_only_as_themselves() -> None:
    for i, value in enumerate(DIFFERENT):
        for j, other in enumerate(copy.deepcopy(DIFFERENT)):
            assert same(value, other) == (i == j), (value, other)
    assert not same(Unequal(), Unequal()) and same(value := Unequal(), value)
    assert same(2, 2.0) and same(np.float64(2), 2)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            ConfigError("gamma", "1.5 is out of range", "0.0 to 1.0"),
            "gamma: 1.5 is out of range; allowed is 0.0 to 1.0.",
        ),
        (ConfigError("", "there is no such file."), "there is no such file."),
        (ConfigError("patch_size", "7 does not fit", "6", 6), "patch_size: 7 does not fit; allowed is 6. Nearest: 6."),
        (ConfigError("a", "is odd", nearest="b"), "a: is odd. Nearest: 'b'."),
        (ConfigError("run", "is missing", ["A", "B"]), "run: is missing. Allowed: A, B."),
        (ConfigError("run", "unknown", ["A", "B"], "A"), "run: unknown. Did you mean 'A'? Allowed: A, B."),
        (ConfigError("run", "unknown", []), "run: unknown. Allowed: none yet."),
        (ConfigError("key", "unknown", list(range(241))), "key: unknown. Allowed: 241 names."),
    ],
)
def test_the_sentence(error: ConfigError, sentence: str) -> None:
    assert str(error) == sentence


def test_who_knows_more_puts_it_in_front() -> None:
    with pytest.raises(ConfigError) as caught, at("intrinsic_reward[1]"), at(""), at("options"):
        raise ConfigError("gamma", "is out of range")
    assert caught.value.path == "intrinsic_reward[1].options.gamma"
    assert str(caught.value) == "intrinsic_reward[1].options.gamma: is out of range."


def test_other_errors_pass_untouched() -> None:
    with pytest.raises(ValueError, match=r"^plain$"), at("backbone"):
        raise ValueError("plain")


@pytest.mark.parametrize("path", [("a",), ("a", "b"), ("a", 0), ("a", 0, "b", 12, 3), ("lambda_", "x_1")])
def test_paths_go_both_ways(path: tuple[str | int, ...]) -> None:
    assert parse_dotted(dotted(path)) == path


def test_paths_are_joined_by_a_dot_or_an_index() -> None:
    assert [join("a", "b"), join("a", "[0].b"), join("", "b"), join("a", "")] == ["a.b", "a[0].b", "b", "a"]


def test_the_nearest_name_is_named() -> None:
    error = unknown_name_error("key", "gama", ["gamma", "lambda"], "gama")
    assert (error.path, error.nearest, error.allowed) == ("gama", "gamma", ["gamma", "lambda"])


@pytest.mark.parametrize(
    ("name", "nearest"), [("rnd", "RND"), ("SND_V", "snd_v"), ("Clip_Parm", "clip_param"), ("zzz", None)]
)
def test_case_does_not_hide_a_name(name: str, nearest: str | None) -> None:
    assert nearest_name(name, ["RND", "snd_v", "clip_param"]) == nearest


def errors() -> list[Exception]:
    placed = Places("x.yaml").error(("a", "config", "lr"), "0 is out of range", "more than 0")
    grown = ConfigError("gamma", "1.5 is out of range", "0.0 to 1.0")
    try:
        with at("backbone"):
            raise grown
    except ConfigError:
        pass
    failed = EnvironmentFailedError("CartPole-v1", "step", "OSError: gone")
    return [placed, grown, unknown_name_error("key", "x", ["y"]), failed, NonFiniteTrainingError("loss")]


@pytest.mark.parametrize("error", errors(), ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling_and_copying(error: Exception) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(twin) is type(error) and str(twin) == str(error) and vars(twin) == vars(error)


@pytest.mark.usefixtures("ray_session")
def test_an_error_of_another_process_can_be_caught_as_what_it_is() -> None:
    @ray.remote
    def refuse() -> None:
        with at("backbone"):
            raise ConfigError("patch_size", "7 does not divide 84", "6 or 12", 6)

    with pytest.raises(ConfigError, match=r"backbone\.patch_size: 7 does not divide 84; allowed is 6 or 12\."):
        ray.get(refuse.remote())


def test_a_place_is_that_of_the_nearest_parent_and_says_what_was_written() -> None:
    places = Places("x.yaml")
    places.add(("a", "config", "lambda"), "x.yaml:7")
    places.add(("a", "config", "lambda", 1), "x.yaml:8")
    places.rename(("a", "config", "lambda_"), ("a", "config", "lambda"))
    with pytest.raises(ExperimentError) as caught, places.at("a", "config"):
        raise ConfigError("lambda_[1].x", "is wrong")
    assert str(caught.value) == "x.yaml:8: a.config.lambda[1].x: is wrong."


def test_code_is_called_by_its_name() -> None:
    """Never by its address, which says nothing and is another in each process."""
    assert in_words(ConfigError) == "rllib_rnd.errors.ConfigError"
    assert in_words([in_words, {"a": len}]) == "[rllib_rnd.errors.in_words, {a: builtins.len}]"


def test_a_long_value_is_cut_behind_a_word() -> None:
    assert briefly({f"layer_{i}": i for i in range(3)}) == "{layer_0: 0, layer_1: 1, layer_2: 2}"
    long = briefly({f"layer_{i}": i for i in range(30)})
    assert long == "{layer_0: 0, layer_1: 1, layer_2: 2, layer_3: 3, layer_4: 4, layer_5: 5, ..."
    assert briefly("x" * 100) == "'" + "x" * 76 + "..."
