"""tune-sklearn through the compatibility module gives what scikit-learn gives."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, GroupKFold

from rllib_rnd.analysis.probing import tune_sklearn_compat
from rllib_rnd.analysis.probing.probe_bank import ProbeBank, Unit
from rllib_rnd.analysis.probing.tune_sklearn_compat import (
    GridScores,
    RandomScores,
    Trial,
    TuneGridSearchCV,
    TuneSearchCV,
)
from tests.analysis.probing.searches import search_in_process


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(120, 5))
    return x, x @ random.normal(size=5) + random.normal(size=120), np.repeat(np.arange(12), 10)


def test_scores_equal_those_of_grid_search(
    ray_session: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a bank of probes, score by score and fold by fold, with games for groups; workers have imported nothing.

    Nothing is shown, and no bank is fitted here once more.
    """
    from rllib_rnd.analysis.probing.options import ProbeOptions
    from rllib_rnd.analysis.probing.tuning import tune

    x, y, groups = data()
    both = np.stack([y, (x[:, 0] > 0.0).astype(float)], axis=1)
    units = [Unit("layer", (0, 5), (0,), "number"), Unit("layer", (1, 5), (1,), "category")]
    searches: list[GridScores] = []

    class Kept(GridScores):
        def fit(self, *args: object, **kwargs: object) -> object:
            searches.append(self)
            return super().fit(*args, **kwargs)

    monkeypatch.setattr(tune_sklearn_compat, "GridScores", Kept)
    monkeypatch.setattr(ProbeBank, "fit", lambda *_: pytest.fail("a bank was fitted after its search"))
    found = tune(units, "linear", x, both, groups, ProbeOptions())
    monkeypatch.undo()
    assert capfd.readouterr().out == ""
    (ours,) = searches
    folds = {"cv": GroupKFold(3), "scoring": ours.scoring, "refit": False}
    theirs = GridSearchCV(ours.estimator, ours.param_grid, **folds).fit(x, both, groups=groups).cv_results_
    order = [ours.cv_results_["params"].index(params) for params in theirs["params"]]
    names = [f"{part}_test_{name}" for part in ("split0", "split1", "split2", "mean") for name in ours.scoring]
    assert len(names) == 8
    for name in names:
        assert np.allclose(ours.cv_results_[name][order], theirs[name], rtol=0.0, atol=1e-12)
    search_in_process(monkeypatch)
    assert found == tune(units, "linear", x, both, groups, ProbeOptions())


def test_a_random_search_asks_tune_for_what_it_takes(
    ray_session: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Arguments of today's ``tune.run`` (that is not run), with a place to write to and settings to draw from."""
    import inspect

    from ray import tune
    from sklearn.linear_model import Ridge

    asked: list[inspect.BoundArguments] = []
    takes = inspect.signature(tune.run)
    monkeypatch.setattr(tune, "run", lambda *args, **kwargs: asked.append(takes.bind(*args, **kwargs)))
    monkeypatch.setattr(
        TuneSearchCV, "_format_results", lambda *_: {"rank_test_a": np.array([1]), "params": [{"alpha": 0.1}]}
    )
    options = {"cv": 2, "n_jobs": -1, "n_trials": 3, "loggers": [], "local_dir": str(tmp_path)}
    x, y, _ = data()
    RandomScores(Ridge(), {"alpha": [0.1, 1.0, 10.0]}, scoring={"a": "r2", "b": "r2"}, refit="a", **options).fit(x, y)
    (bound,) = asked
    assert bound.arguments["storage_path"] == str(tmp_path) and bound.arguments["num_samples"] == 3
    assert "alpha" in bound.arguments["config"]


def test_a_search_for_its_scores_fits_no_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several scores, each of which picks a winner of its own; without Ray, for its trials are not what is asked."""
    from sklearn.linear_model import Ridge

    fits: list[object] = []

    class Counted(Ridge):
        def fit(self, *args: object) -> Ridge:
            fits.append(self)
            fitted: Ridge = super().fit(*args)
            return fitted

    scores = {"params": [{"alpha": 0.1}], "mean_test_a": [1.0], "rank_test_a": np.array([1])}
    monkeypatch.setattr(TuneGridSearchCV, "_format_results", lambda *_: scores)
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
    with pytest.raises(RuntimeError, match="optuna"):
        sys.modules["ray.tune.search.skopt"].SkOptSearch(space={})
