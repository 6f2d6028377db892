"""tune-sklearn 0.5.0 (its last release) on today's Ray and scikit-learn. Nobody else here imports tune_sklearn.

It was written for Ray 2.7 and scikit-learn 1.3 and since then breaks at seven places: two names that it imports from
``ray.tune.logger`` and a module that it imports from ``ray.tune.search`` are gone; scikit-learn's ``cross_validate``
and ``_score`` have other arguments and wrap the methods whose arguments tune-sklearn inspects; and Ray's ``tune.run``
takes ``storage_path`` for ``local_dir``. Each is put right here, in the modules of tune-sklearn that trip over it, and
nothing of Ray or scikit-learn is changed but the three names that are missing.

Importing this module is what puts it right. Workers do so by themselves: what they are sent to run, `Trial`, is a class
of this module, so it is imported there before anything of tune-sklearn. Import it where it is used, not at the top of a
file: it imports Ray Tune and scikit-learn.

Not available: the search by scikit-optimize, which Ray dropped; tune-sklearn's other searches are.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from ray import tune
from sklearn.metrics._scorer import _MultimetricScorer

_SKOPT = "ray.tune.search.skopt"


class _Gone:
    """Stands for a class that Ray dropped, so that its name can be imported."""

    def __init__(self, *_: object, **__: object) -> None:
        raise RuntimeError("Ray has dropped this class; take search_optimization 'random', 'optuna' or 'hyperopt'.")


def _restore_names() -> None:
    """Puts the names that tune-sklearn imports back where Ray had them."""
    loggers = importlib.import_module("ray.tune.logger")
    for name in ("Logger", "LegacyLoggerCallback"):
        if not hasattr(loggers, name):
            setattr(loggers, name, type(name, (_Gone,), {}))
    try:
        importlib.import_module(_SKOPT)
    except ImportError:
        module = types.ModuleType(_SKOPT)
        setattr(module, "SkOptSearch", type("SkOptSearch", (_Gone,), {}))  # noqa: B010 - a module has no such field
        sys.modules[_SKOPT] = module


_restore_names()

from tune_sklearn import TuneGridSearchCV, TuneSearchCV, _trainable, tune_gridsearch, tune_search  # noqa: E402

_cross_validate, _score = _trainable.cross_validate, _trainable._score


def _cross_validate_now(
    *args: object, fit_params: Mapping[str, object] | None = None, **kwargs: object
) -> dict[str, Any]:
    """scikit-learn's function under its old argument: ``fit_params`` is called ``params`` now."""
    scores: dict[str, Any] = _cross_validate(*args, params=dict(fit_params) if fit_params else None, **kwargs)
    return scores


def _score_now(
    estimator: object, x_test: object, y_test: object, scorer: object, error_score: object = "raise"
) -> object:
    """scikit-learn's function under its old arguments: it wants parameters of the score, and one scorer for many."""
    if isinstance(scorer, dict):
        scorer = _MultimetricScorer(scorers=scorer, raise_exc=error_score == "raise")
    return _score(estimator, x_test, y_test, scorer, {}, error_score)


class _Inspect:
    """`inspect`, to whom scikit-learn's decorated methods show the arguments that they have."""

    @staticmethod
    def getfullargspec(function: Callable[..., object]) -> inspect.FullArgSpec:
        return inspect.getfullargspec(inspect.unwrap(function))


class _Tune:
    """`ray.tune`, with a ``run`` that still takes ``local_dir``."""

    def __getattr__(self, name: str) -> object:
        return getattr(tune, name)

    @staticmethod
    def run(trainable: object, local_dir: str | None = None, **kwargs: object) -> object:
        if local_dir is not None:
            kwargs.setdefault("storage_path", os.path.abspath(os.path.expanduser(local_dir)))
        return tune.run(trainable, **kwargs)


_trainable.cross_validate, _trainable._score, _trainable.inspect = _cross_validate_now, _score_now, _Inspect
tune_gridsearch.tune = tune_search.tune = _Tune()


class Trial(_trainable._Trainable):  # type: ignore[misc]
    """What workers run: tune-sklearn's own, under a name that makes them import this module first."""


class PipelineTrial(_trainable._PipelineTrainable):  # type: ignore[misc]
    """As `Trial`, of pipelines that are stopped early."""


for _module in (tune_gridsearch, tune_search):
    _module._Trainable, _module._PipelineTrainable = Trial, PipelineTrial


class _Scores:
    """A search that ends with its scores (``cv_results_``).

    Of several scores tune-sklearn wants one to pick a winner by, and fits that once more on all data. Where each score
    picks a winner of its own, that fit is for nothing.
    """

    def _format_results(self, n_splits: int, out: object) -> dict[str, Any]:
        results: dict[str, Any] = super()._format_results(n_splits, out)  # type: ignore[misc]
        self.refit = False
        return results


class GridScores(_Scores, TuneGridSearchCV):  # type: ignore[misc]
    """Every setting of a grid."""


class RandomScores(_Scores, TuneSearchCV):  # type: ignore[misc]
    """Settings drawn at random."""


__all__ = ["GridScores", "RandomScores", "TuneGridSearchCV", "TuneSearchCV"]
