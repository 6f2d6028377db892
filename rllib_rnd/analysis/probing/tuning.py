"""The search for each probe's hyperparameters, by tune-sklearn on Ray, in cross-validation over games."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import numpy as np

from rllib_rnd.analysis.probing.options import ProbeOptions
from rllib_rnd.analysis.probing.probe_bank import ProbeBank, Unit, UnitScore
from rllib_rnd.ray_logs import quiet_tune

_FOLDS = 3
_ALPHAS = [0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0]
_MLP_SPACE = {
    "alpha": [1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0],
    "hidden": [16, 32, 64, 128, 256],
    "rate": [1e-3, 3e-3, 1e-2],
}

#: Hyperparameters of one unit. Of a regression along lines alpha is a tuple, one to the label.
Settings = dict[str, float | tuple[float, ...]]


def tune(
    units: Sequence[Unit], model: str, x: np.ndarray, y: np.ndarray, episode: np.ndarray, options: ProbeOptions
) -> list[Settings]:
    """The hyperparameters that are best for each unit in cross-validation over games.

    One search tries them on all units at once: a grid for the one of linear probes, draws for those of MLPs. Numbers
    that share a linear unit each take the penalty that is best for them.

    Args:
        units: the probes.
        model: linear or mlp.
        x, y, episode: of the training games.
        options: see `ProbeOptions`.
    """
    from sklearn.model_selection import GroupKFold

    from rllib_rnd.analysis.probing.tune_sklearn_compat import GridScores, RandomScores

    asked = [_asked_of(i, unit, model) for i, unit in enumerate(units)]
    scoring = {_score_name(i): scorer for i, scorer in enumerate(s for scorers in asked for s in scorers)}
    bank = ProbeBank(tuple(units), model, seed=options.play.seed)
    with tempfile.TemporaryDirectory(prefix="rllib_probe_") as folder, quiet_tune():
        common = {
            "scoring": scoring,
            "refit": _score_name(0),  # wanted by tune-sklearn, not done
            "cv": GroupKFold(_FOLDS),
            # Linear probes take less time than a second worker needs to start.
            "n_jobs": 1 if model == "linear" else -1,
            "loggers": [],
            "local_dir": folder,
            "error_score": "raise",
        }
        if model == "linear":
            search = GridScores(bank, {"alpha": _ALPHAS}, **common)
        else:
            search = RandomScores(bank, _MLP_SPACE, n_trials=options.trials, random_state=options.play.seed, **common)
        search.fit(x, y, groups=episode)
    tried, scores = search.cv_results_["params"], search.cv_results_
    # By their values, so that it does not matter which trial came back first where two are equally good.
    order = sorted(range(len(tried)), key=lambda i: sorted(tried[i].items()))
    number, best = 0, []
    for scorers in asked:
        chosen = []
        for _ in scorers:
            of_trials = scores[f"mean_test_{_score_name(number)}"]
            chosen.append(tried[max(order, key=lambda i: (of_trials[i], -order.index(i)))])
            number += 1
        best.append(_together(chosen, scorers))
    return best


def _asked_of(index: int, unit: Unit, model: str) -> list[UnitScore]:
    """What a unit's hyperparameters are chosen by: each number of a linear one by itself."""
    if model == "linear" and unit.kind == "number":
        return [UnitScore(index, k) for k in range(len(unit.labels))]
    return [UnitScore(index)]


def _together(chosen: Sequence[dict[str, float]], scorers: Sequence[UnitScore]) -> Settings:
    if scorers[0].label is None:
        return dict(chosen[0])
    return {"alpha": tuple(settings["alpha"] for settings in chosen)}


def _score_name(index: int) -> str:
    """Name of a score in a search: none is the beginning of another, as tune-sklearn needs it."""
    return f"u{index:05d}"
