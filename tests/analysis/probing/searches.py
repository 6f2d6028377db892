"""Searches for hyperparameters in this process, for tests that ask for something else."""

from __future__ import annotations

import os

import pytest
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from rllib_rnd.analysis.probing.probe_bank import ProbeBank

_SHARED = {"scoring", "cv", "error_score", "random_state", "n_trials"}


def search_in_process(patch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Puts scikit-learn's searches in place of those on Ray, which find the same (`test_tune_sklearn_compat`).

    Returns:
        The environment that each search of from now on is made in.
    """
    seen: list[dict[str, str]] = []

    def replaced(kind: type, **names: str) -> object:
        def make(bank: ProbeBank, space: object, **options: object) -> object:
            seen.append(dict(os.environ))
            return kind(bank, space, refit=False, **{names.get(n, n): options[n] for n in _SHARED & set(options)})

        return make

    module = "rllib_rnd.analysis.probing.tune_sklearn_compat"
    patch.setattr(f"{module}.GridScores", replaced(GridSearchCV))
    patch.setattr(f"{module}.RandomScores", replaced(RandomizedSearchCV, n_trials="n_iter"))
    return seen
