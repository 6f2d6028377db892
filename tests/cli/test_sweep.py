"""A sweep that goes on: every change since its start is applied or refused by name, none is passed over."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_rnd.cli.starting import refusal
from rllib_rnd.cli.sweep import changes_since, describe, is_sweep
from rllib_rnd.experiment.file import Experiment, Overrides, load_experiments
from rllib_rnd.experiment.yaml_file import ExperimentError

SWEEP = """\
x:
  run: RND
  env: rllib_rnd/DeepSea-v0
  env_config: {size: 5}
  stop: {iteration: 3}
  num_samples: 2
  checkpoint_config: {num_to_keep: 2}
  config:
    seed: 0
    gamma: 0.9
    lr: {grid_search: [1.0e-4, 1.0e-3]}
    entropy_coeff: {tune: loguniform, args: [1.0e-4, 1.0e-2]}
    intrinsic_reward: {type: rnd, coeff: 1.0, gamma: {tune: choice, args: [0.9, 0.99]}}
"""


def sweep(folder: Path, text: str = SWEEP, **overrides: Any) -> Experiment:
    (folder / "x.yaml").write_text(text, encoding="utf-8")
    return load_experiments(folder / "x.yaml", Overrides(**overrides))[0]


def test_what_has_not_changed_is_no_change(tmp_path: Path) -> None:
    begun = describe(sweep(tmp_path))
    assert changes_since(sweep(tmp_path), begun) == []
    assert changes_since(sweep(tmp_path, stop=["iteration=9"]), begun) == []  # the plan has the new ones
    one = sweep(tmp_path, "x: {run: PPO, env: CartPole-v1, config: {lr: {grid_search: [1.0e-4]}}}")
    assert one.single and not is_sweep(describe(one))
    assert is_sweep(begun) and not is_sweep(describe(sweep(tmp_path, "x: {run: PPO, env: CartPole-v1}")))


@pytest.mark.parametrize(
    ("setting", "change"),
    [
        ("gamma=0.5", (("gamma",), 0.5)),
        ("env_config.size=6", (("env_config",), {"size": 6})),
        ("clip_param=0.2", (("clip_param",), 0.2)),  # not in the file
        ("intrinsic_reward.coeff=2.0", (("intrinsic_reward", "coeff"), 2.0)),  # beside a draw
        ("heads={policy_gain: 1.0}", (("heads",), {"policy_gain": 1.0})),
    ],
)
def test_plain_settings_are_applied(tmp_path: Path, setting: str, change: tuple[Any, Any]) -> None:
    begun = describe(sweep(tmp_path))
    assert changes_since(sweep(tmp_path, settings=[setting]), begun) == [change]


def test_a_setting_that_is_left_out_again_has_its_default(tmp_path: Path) -> None:
    begun = describe(sweep(tmp_path, settings=["clip_param=0.2"]))
    assert changes_since(sweep(tmp_path), begun) == [(("clip_param",), 0.1)]


@pytest.mark.parametrize(
    ("name", "overrides", "old", "new"),
    [
        ("lr", {"settings": ["lr=0.01"]}, "", ""),
        ("lr", {"settings": ["lr={grid_search: [1.0e-4]}"]}, "", ""),
        ("gamma", {"settings": ["gamma={grid_search: [0.1, 0.2]}"]}, "", ""),
        ("entropy_coeff", {"settings": ["entropy_coeff={tune: uniform, args: [1.0e-4, 1.0e-2]}"]}, "", ""),
        ("entropy_coeff", {"settings": ["entropy_coeff={tune: loguniform, args: [1.0e-4, 1.0e-1]}"]}, "", ""),
        ("gamma", {"settings": ["intrinsic_reward.gamma=0.9"]}, "", ""),
        ("intrinsic_reward", {"settings": ["intrinsic_reward=icm"]}, "", ""),
        ("seed", {"seed": 3}, "", ""),
        ("seed", {"seeds": (0, 1)}, "num_samples: 2", "num_samples: 2"),
        ("num_samples", {}, "num_samples: 2", "num_samples: 3"),
        ("run", {}, "run: RND", "run: IntrinsicPPO"),
        ("search", {}, "num_samples: 2", "num_samples: 2\n  search: {type: random, seed: 1}"),
        ("tune_config", {}, "num_samples: 2", "num_samples: 2\n  tune_config: {time_budget_s: 9}"),
        ("checkpoint_config", {}, "num_to_keep: 2", "num_to_keep: 3"),
        ("max_failures", {}, "num_samples: 2", "num_samples: 2\n  max_failures: 1"),
    ],
)
def test_what_cannot_change_is_refused_by_name(
    tmp_path: Path, name: str, overrides: dict[str, Any], old: str, new: str
) -> None:
    begun = describe(sweep(tmp_path))
    changed = sweep(tmp_path, SWEEP.replace(old, new, 1), **overrides)
    with pytest.raises(ExperimentError, match=f"{name} cannot change when a sweep goes on: it was begun with"):
        changes_since(changed, begun)


def failed(text: str, metrics: dict[str, Any] | None = None) -> Any:
    return SimpleNamespace(error=RuntimeError(text), metrics=metrics or {})


def test_a_mistake_that_only_building_finds_has_its_place(tmp_path: Path) -> None:
    """What Ray tells of it is a traceback; the sentence is that of `rllib check`."""
    experiment = sweep(tmp_path)
    sentence = "'nature_cnn' reads images; allowed is H x W. Nearest: 'mlp'."
    text = f'Traceback:\n  File "x.py"\nrllib_rnd.errors.ConfigError: gamma: {sentence}'
    found = refusal(experiment, [failed(text), failed(text)])
    assert str(found) == f"{tmp_path}/x.yaml:10: x.config.gamma: {sentence}"
    for written, told in itertools.product(("lambda", "lambda_"), repeat=2):  # whichever of its names is where
        named = sweep(tmp_path, SWEEP.replace("gamma: 0.9\n", f"{written}: 0.9\n", 1))
        found = refusal(named, [failed(f"rllib_rnd.errors.ConfigError: {told}: is wrong")])
        assert str(found) == f"{tmp_path}/x.yaml:10: x.config.{written}: is wrong."
    assert "x.yaml:1: x: no such" in str(refusal(experiment, [failed("rllib_rnd.errors.ConfigError: no such: thing")]))
    assert refusal(experiment, [failed("RuntimeError: gamma: broken")]) is None
    assert refusal(experiment, [failed(text), failed(text, {"training_iteration": 1})]) is None  # it had been trained
    assert refusal(experiment, [failed(text), SimpleNamespace(error=None, metrics={})]) is None
    assert refusal(experiment, []) is None
