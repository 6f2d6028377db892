"""A bank of probes: one small model for each pair of a layer and some labels, fitted and scored together.

One bank is one estimator of scikit-learn, so that one search tunes all of its probes: every draw of hyperparameters is
tried on all of them, each is scored by itself, and each then takes the draw that was best for it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor

from rllib_rnd.envs.atari_ram import Kind

# A probe is fitted on so many states at most; more change its score little and cost much.
_MOST_ROWS = {"linear": 4000, "mlp": 2000}
_LOGISTIC_ITERATIONS, _MLP_ITERATIONS = 100, 40


@dataclass(frozen=True)
class Unit:
    """One probe.

    Attributes:
        layer: what it reads.
        columns: of X, from and to.
        labels: columns of y that it predicts. Several numbers that are known in the same states share a model.
        kind: number or category; of a category it predicts one.
    """

    layer: str
    columns: tuple[int, int]
    labels: tuple[int, ...]
    kind: Kind


class Model(Protocol):
    """Any of scikit-learn's models."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Model:
        """Learns."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """``[B, D]`` -> ``[B]`` or ``[B, V]``."""


class ProbeBank(BaseEstimator):
    """Probes of all units, with the same hyperparameters.

    Args:
        units: the probes.
        model: "linear" (ridge regression, logistic regression) or "mlp" (one hidden layer).
        alpha: weight of the penalty on squared weights, per state of 1,000: of linear probes it then does not depend on
            their number; of MLPs, whose penalty scikit-learn divides by the states of a batch, it grows with it. Of
            linear probes of numbers also one to each of the unit's labels.
        hidden: units of the hidden layer ("mlp").
        rate: learning rate of Adam ("mlp").
        seed: of initial weights and of the states that are left out where there are too many.
    """

    def __init__(
        self,
        units: tuple[Unit, ...] = (),
        model: str = "linear",
        alpha: float | tuple[float, ...] = 1.0,
        hidden: int = 64,
        rate: float = 3e-3,
        seed: int = 0,
    ) -> None:
        self.units = units
        self.model = model
        self.alpha = alpha
        self.hidden = hidden
        self.rate = rate
        self.seed = seed

    def fit(self, x: np.ndarray, y: np.ndarray) -> ProbeBank:
        """Fits every unit on the states in which its labels are known.

        Args:
            x: ``[B, D]`` all layers, side by side.
            y: ``[B, V]`` all labels, NaN where they are not known.
        """
        self.models_ = [self.fit_unit(unit, x, y) for unit in self.units]
        return self

    def fit_unit(self, unit: Unit, x: np.ndarray, y: np.ndarray) -> Model | None:
        """The model of one unit; None if its labels leave nothing to fit."""
        known = np.flatnonzero(known_rows(unit, y))
        most = _MOST_ROWS[self.model]
        if len(known) > most:
            known = np.sort(np.random.default_rng(self.seed).choice(known, most, replace=False))
        targets = y[known][:, unit.labels]
        if len(known) < 2 or (unit.kind == "category" and len(np.unique(targets)) < 2):
            return None
        inputs = x[known, slice(*unit.columns)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # bounded on purpose: a probe is to be simple
            if unit.kind == "category":
                return self._classifier(len(known)).fit(inputs, targets[:, 0].astype(np.int64))
            mean, std = targets.mean(axis=0), targets.std(axis=0)
            std = np.where(std > 0.0, std, 1.0)
            scaled = (targets - mean) / std
            model = self._regressor(len(known)).fit(inputs, scaled if scaled.shape[1] > 1 else scaled[:, 0])
            return _Regression(model, mean, std)

    def _classifier(self, count: int) -> Model:
        if self.model == "linear":
            strength = 1000.0 / (max(_one(self.alpha), 1e-12) * count)
            return LogisticRegression(C=strength, class_weight="balanced", max_iter=_LOGISTIC_ITERATIONS)
        return MLPClassifier(**self._training(count))

    def _regressor(self, count: int) -> Model:
        if self.model == "linear":
            return Ridge(alpha=np.asarray(self.alpha) * count / 1000.0, solver="cholesky")
        return MLPRegressor(**self._training(count))

    def _training(self, count: int) -> dict[str, Any]:
        return {
            "hidden_layer_sizes": (self.hidden,),
            "alpha": _one(self.alpha) * count / 1000.0,
            "learning_rate_init": self.rate,
            "max_iter": _MLP_ITERATIONS,
            "batch_size": min(200, count),
            "random_state": self.seed,
        }

    def predict_unit(self, index: int, x: np.ndarray) -> np.ndarray:
        """``[B, labels of the unit]``; NaN without a model."""
        unit, model = self.units[index], self.models_[index]
        if model is None:
            return np.full((len(x), len(unit.labels)), np.nan)
        predicted: np.ndarray = model.predict(x[:, slice(*unit.columns)])
        return predicted.reshape(len(x), -1).astype(np.float64)


def _one(alpha: float | tuple[float, ...]) -> float:
    """The one penalty of a model that has no other."""
    if isinstance(alpha, tuple):
        (alpha,) = alpha
    return alpha


@dataclass(frozen=True)
class _Regression:
    """A regression of standardised labels that predicts them as they are."""

    model: Model
    mean: np.ndarray
    std: np.ndarray

    def fit(self, x: np.ndarray, y: np.ndarray) -> _Regression:
        """Learns anew, on labels as they are."""
        return _Regression(self.model.fit(x, (y - self.mean) / self.std), self.mean, self.std)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """``[B, V]``."""
        predicted = self.model.predict(x).reshape(len(x), -1)
        return np.asarray(predicted * self.std + self.mean)


def known_rows(unit: Unit, y: np.ndarray) -> np.ndarray:
    """``[B]`` bool: states in which all labels of a unit are known."""
    return np.asarray(~np.isnan(y[:, unit.labels]).any(axis=1))


@dataclass(frozen=True)
class UnitScore:
    """How well one unit of a bank predicts: mean R2 of its numbers, or balanced accuracy. A scorer of scikit-learn.

    Attributes:
        index: which unit.
        label: which of its numbers; None: the mean over all of them.
    """

    index: int
    label: int | None = None

    def __call__(self, bank: ProbeBank, x: np.ndarray, y: np.ndarray) -> float:
        """The score; where there is nothing to score, that of knowing nothing."""
        unit = bank.units[self.index]
        known = known_rows(unit, y)
        if known.sum() < 2 or bank.models_[self.index] is None:
            return 0.0
        truth, predicted = y[known][:, unit.labels], bank.predict_unit(self.index, x[known])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # categories that a fold has not seen
            if unit.kind == "category":
                return float(balanced_accuracy_score(truth[:, 0], predicted[:, 0]))
            chosen = slice(None) if self.label is None else self.label
            return float(r2_score(truth[:, chosen], predicted[:, chosen]))
