"""The sweeps that come with the package: each loads, says what it does, and Ray Tune takes its search."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from rllib_rnd.cli.sweep import tune_config
from rllib_rnd.experiment.file import Experiment, load_experiments
from rllib_rnd.tracking.stopping import Conditions

SWEEPS = sorted((Path(__file__).parents[2] / "tuned_examples" / "sweeps").glob("*.yaml"))
METHODS = ("rnd", "snd", "explorative", "iam")


@functools.cache
def loaded(path: Path) -> list[Experiment]:
    return load_experiments(path)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_loads_says_what_it_does_and_is_taken(path: Path) -> None:
    """Loading builds the configuration of every value that a trial can draw."""
    header = path.read_text(encoding="utf-8").partition("\n\n")[0]
    assert all(f"\n# {word}" in header for word in ("Shows", "Source", "Cost"))
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
