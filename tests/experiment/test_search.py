"""Sampling expressions: what Tune gets, what is refused."""

from typing import Any

import numpy as np
import pytest
from ray.tune.search.sample import Categorical, Float, Integer
from ray.tune.search.variant_generator import generate_variants

from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.search import (
    SCHEDULERS,
    AshaOptions,
    read_section,
    read_space,
)
from rllib_rnd.experiment.yaml_file import ExperimentError, Places

PLACES = Places("x.yaml")


def space(config: dict[str, Any]) -> Any:
    return read_space(config, ("config",), PLACES)


def test_plain_values_pass_through() -> None:
    result = space({"lr": 1e-4, "lr_schedule": [[0, 1.0], [10, 0.0]], "model": {"a": [1, {"b": 2}]}})
    assert result.space == result.sample
    assert not result.varies


def test_grids_multiply_and_resolve_at_any_depth() -> None:
    config = {
        "lr": {"grid_search": [1, 2, 3]},
        "intrinsic_reward": [{"type": "rnd", "gamma": {"grid_search": [0.9, 0.99]}}],
    }
    result = space(config)
    assert result.grids == 6
    assert result.sample == {"lr": 1, "intrinsic_reward": [{"type": "rnd", "gamma": 0.9}]}
    assert (("intrinsic_reward", 0, "gamma"), 0.99) in result.alternatives
    variants = [v for _, v in generate_variants(result.space)]
    found = {(v["lr"], v["intrinsic_reward"][0]["gamma"]) for v in variants}
    assert found == {(lr, gamma) for lr in (1, 2, 3) for gamma in (0.9, 0.99)}


def test_a_grid_of_one_value_is_that_value() -> None:
    result = space({"lr": {"grid_search": [3]}, "seed": {"grid_search": [0, False]}})
    assert result.space == {"lr": 3, "seed": {"grid_search": [0, False]}}
    assert (result.grids, result.draws("lr"), result.draws("gamma")) == (2, True, False)
    arrays = space({"lr": {"grid_search": [np.zeros(2), np.ones(2)]}})
    assert arrays.grids == 2


def test_samplers_become_tunes_own() -> None:
    result = space(
        {
            "a": {"tune": "loguniform", "args": [1e-5, 1e-3]},
            "b": {"tune": "choice", "args": ["x", "y"]},
            "c": {"tune": "randint", "args": [1, 5]},
        }
    )
    a, b, c = result.space["a"], result.space["b"], result.space["c"]
    assert isinstance(a, Float) and (a.lower, a.upper) == (1e-5, 1e-3)
    assert isinstance(b, Categorical) and b.categories == ["x", "y"]
    assert isinstance(c, Integer) and all(1 <= c.sample() <= 4 for _ in range(50))
    assert result.sampled and result.sample == {"a": 1e-5, "b": "x", "c": 1}
    assert (("c",), 4) in result.alternatives


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"grid_search": []}, "not a list of at least one value"),
        ({"grid_search": 3}, "not a list of at least one value"),
        ({"grid_search": [1], "lr": 2}, "stands alone"),
        ({"grid_search": [1, 2, 1]}, "1 stands twice; its trials would be alike"),
        ({"grid_search": [1e-4, 1.0e-04]}, "0.0001 stands twice"),
        ({"grid_search": [1, 1.0]}, "1 stands twice"),
        ({"grid_search": [[1, {"a": None}], [1, {"a": None}]]}, r"\[1, {a: null}\] stands twice"),
        ({"tune": "logunifrom", "args": [1, 2]}, "unknown sampler 'logunifrom'. Did you mean 'loguniform'"),
        ({"tune": "uniform", "args": [1]}, r"takes: numbers \[lower, upper\]"),
        ({"tune": "uniform", "args": [2, 1]}, "needs lower < upper"),
        ({"tune": "loguniform", "args": [0, 1]}, "needs 0 < lower < upper"),
        ({"tune": "randint", "args": [0.5, 3]}, "whole numbers"),
        ({"tune": "uniform", "arg": [0, 1]}, "unknown key 'arg'. Did you mean 'args'"),
        ({"tune": "choice", "args": [{"grid_search": [1]}]}, "cannot stand inside each other"),
        ({"eval": "__import__('os').getcwd()"}, "not evaluated"),
    ],
)
def test_wrong_expressions_are_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        space({"lr": value})


def test_scheduler_section() -> None:
    section = {"type": "asha", "metric": "return_mean", "max_t": 50}
    options = read_section(section, SCHEDULERS)
    assert options == AshaOptions(metric="return_mean", max_t=50)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "asah"}, "unknown type 'asah'. Did you mean 'asha'"),
        ({"metric": "x"}, "with a 'type' key"),
        ({"type": "asha", "modes": "max"}, "unknown key 'modes'. Did you mean 'mode'"),
        ({"type": "asha", "mode": "maximum"}, "unknown value 'maximum'. Did you mean 'max'"),
        ({"type": "asha", "grace_period": 0}, "allowed is 1 or more"),
        ({"type": "asha", "grace_period": 9, "max_t": 5}, "grace_period: 9 is above max_t; allowed is 1 to 5"),
    ],
)
def test_wrong_sections_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_section(section, SCHEDULERS)
