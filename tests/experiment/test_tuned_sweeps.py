"""The sweeps that stand ready for each method: Ray Tune takes their search and their scheduler.

That they load and say what they do is held with all examples in test_file.py.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from rllib_rnd.cli.sweep import tune_config
from rllib_rnd.experiment.file import Experiment, load_experiments
from rllib_rnd.tracking.stopping import Conditions

METHODS = ("deep_sea_rnd", "deep_sea_snd", "catch_explorative", "warehouse_iam")
SWEEPS = sorted(
    path
    for path in (Path(__file__).parents[2] / "tuned_examples" / "sweeps").glob("*.yaml")
    if path.stem.startswith(METHODS)
)


@functools.cache
def loaded(path: Path) -> list[Experiment]:
    return load_experiments(path)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_is_taken(path: Path) -> None:
    for experiment in loaded(path):
        assert not experiment.single and experiment.stop
        config = tune_config(experiment, Conditions(experiment.stop))
        assert config.scheduler is not None and config.search_alg is not None


def test_every_method_has_a_search_early_stopping_and_a_population() -> None:
    kinds = set()
    for path in SWEEPS:
        for experiment in loaded(path):
            for options in (experiment.search, experiment.scheduler):
                kinds |= {(method, type(options).__name__) for method in METHODS if method in path.stem}
    wanted = {(method, f"{kind}Options") for method in METHODS for kind in ("Optuna", "Asha", "Pbt")}
    assert wanted <= kinds
