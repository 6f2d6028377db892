"""tune-sklearn through the compatibility module gives what scikit-learn gives."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(120, 5))
    return x, x @ random.normal(size=5) + random.normal(size=120), np.repeat(np.arange(12), 10)


def test_scores_equal_those_of_grid_search(ray_session: None, tmp_path: Path) -> None:
    """Fold by fold, with games for groups; in workers that have imported nothing."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold

    from rllib_rnd.analysis.probing.tune_sklearn_compat import TuneGridSearchCV

    x, y, groups = data()
    grid, folds = {"alpha": [0.1, 100.0]}, GroupKFold(3)
    ours = TuneGridSearchCV(Ridge(), grid, cv=folds, n_jobs=1, loggers=[], local_dir=str(tmp_path))
    ours.fit(x, y, groups=groups)
    theirs = GridSearchCV(Ridge(), grid, cv=folds).fit(x, y, groups=groups)
    assert ours.best_params_ == theirs.best_params_
    order = [ours.cv_results_["params"].index(params) for params in theirs.cv_results_["params"]]
    for name in [f"split{i}_test_score" for i in range(3)] + ["mean_test_score"]:
        assert np.allclose(ours.cv_results_[name][order], theirs.cv_results_[name], rtol=0.0, atol=1e-12)
    assert np.allclose(ours.predict(x), theirs.predict(x))


def test_a_search_for_its_scores_fits_no_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several scores, each of which picks a winner of its own; without Ray, for its trials are not what is asked."""
    from sklearn.linear_model import Ridge
    from tune_sklearn.tune_basesearch import TuneBaseSearchCV

    from rllib_rnd.analysis.probing.tune_sklearn_compat import GridScores

    fits: list[object] = []

    class Counted(Ridge):
        def fit(self, *args: object) -> Ridge:
            fits.append(self)
            fitted: Ridge = super().fit(*args)
            return fitted

    scores = {"params": [{"alpha": 0.1}], "mean_test_a": [1.0], "rank_test_a": np.array([1])}
    monkeypatch.setattr(TuneBaseSearchCV, "_format_results", lambda *_: scores)
    monkeypatch.setattr(GridScores, "_tune_run", lambda *_: None)
    scoring = {"a": "r2", "b": "neg_mean_squared_error"}
    search = GridScores(Counted(), {"alpha": [0.1]}, scoring=scoring, refit="a", cv=2, n_jobs=1, loggers=[])
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 1.0})
    search.fit(*data()[:2])
    assert search.cv_results_ is scores and fits == []


def test_early_stopping() -> None:
    """``partial_fit`` learns of its classes, and scores take one scorer; what a worker does, in this process."""
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import get_scorer
    from tune_sklearn.utils import EarlyStopping

    from rllib_rnd.analysis.probing.tune_sklearn_compat import Trial

    x, y, _ = data()
    trial = Trial.__new__(Trial)
    trial.setup(
        {
            "early_stopping": True,
            "early_stop_type": EarlyStopping.PARTIAL_FIT,
            "groups": None,
            "scoring": {"score": get_scorer("accuracy")},
            "max_iters": 2,
            "return_train_score": False,
            "n_jobs": 1,
            "cv": 2,
            "alpha": 1e-3,
        },
        X=x,
        y=(y > 0.0).astype(int),
        estimator_list=[SGDClassifier(random_state=0) for _ in range(2)],
        fit_params={},
    )
    first, second = trial.step(), trial.step()
    assert {"split0_test_score", "split1_test_score"} <= set(second)
    assert second["average_test_score"] > 0.7
    assert [estimator.t_ > 100.0 for estimator in trial.estimator_list] == [True, True], "it began anew"
    assert first is not second


def test_the_search_that_ray_dropped_says_so() -> None:
    import rllib_rnd.analysis.probing.tune_sklearn_compat  # noqa: F401 - puts it there

    with pytest.raises(RuntimeError, match="optuna"):
        sys.modules["ray.tune.search.skopt"].SkOptSearch(space={})
