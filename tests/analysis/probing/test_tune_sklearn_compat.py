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


def test_early_stopping(ray_session: None, tmp_path: Path) -> None:
    """``partial_fit`` learns of its classes, and scores take one scorer."""
    from sklearn.linear_model import SGDClassifier

    from rllib_rnd.analysis.probing.tune_sklearn_compat import TuneSearchCV

    x, y, _ = data()
    options = {"early_stopping": True, "max_iters": 2, "n_trials": 1, "cv": 2, "n_jobs": 1, "random_state": 4}
    search = TuneSearchCV(
        SGDClassifier(random_state=0), {"alpha": [1e-4, 1e-3]}, loggers=[], local_dir=str(tmp_path), **options
    )
    assert search.fit(x, (y > 0.0).astype(int)).best_score_ > 0.7


def test_the_search_that_ray_dropped_says_so() -> None:
    import rllib_rnd.analysis.probing.tune_sklearn_compat  # noqa: F401 - puts it there

    with pytest.raises(RuntimeError, match="optuna"):
        sys.modules["ray.tune.search.skopt"].SkOptSearch(space={})
