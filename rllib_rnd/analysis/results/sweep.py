"""A sweep: variants of one experiment on one task, what was drawn for each, and which settings matter."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.score_sections import present, spread
from rllib_rnd.options import as_yaml

_FEWEST_VALUES = 3  # different ones of some setting, from which variants are called a sweep
#: Runs that importance is computed of, at least: fewer make no forest worth the name.
FEWEST_TRIALS = 8
_WIDE = 4.0  # the largest over the smallest value, from which a setting is looked at by its logarithm


@dataclass(frozen=True)
class Setting:
    """A setting that differs between the variants of a sweep.

    Attributes:
        name: dotted key.
        values: of each variant: numbers, or words where not all are numbers.
    """

    name: str
    values: tuple[float, ...] | tuple[str, ...]

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers."""
        return not isinstance(self.values[0], str)

    @property
    def log(self) -> bool:
        """Whether values are that far apart that their logarithms tell more."""
        numbers = self.numbers()
        return bool(len(numbers)) and numbers.min() > 0 and numbers.max() >= _WIDE * numbers.min()

    def numbers(self) -> np.ndarray:
        """The values, float64 ``[variants]``; empty where they are words."""
        return np.array(self.values, float) if self.numeric else np.empty(0)

    def scale(self) -> np.ndarray:
        """The numbers, or their logarithms."""
        return np.log(self.numbers()) if self.log else self.numbers()

    def different(self) -> list[float] | list[str]:
        """The different values, in order; words that are numbers come first."""
        if self.numeric:
            return [float(value) for value in np.unique(self.numbers())]
        return sorted({str(value) for value in self.values}, key=_in_order)


@dataclass(frozen=True)
class Sweep:
    """What was drawn on a task.

    Attributes:
        task, experiment: their names.
        variants: those with a score.
        settings: that differ between them.
        scores: float64 ``[runs]`` of each variant, without those that have none.
        unscored: how many variants have no score.
    """

    task: str
    experiment: str
    variants: tuple[Variant, ...]
    settings: tuple[Setting, ...]
    scores: tuple[np.ndarray, ...]
    unscored: int

    @property
    def means(self) -> np.ndarray:
        """The mean score of each variant, float64 ``[variants]``."""
        return np.array([spread(scores).mean for scores in self.scores])

    @property
    def ranked(self) -> list[int]:
        """Variants by number, the best mean first."""
        return [int(i) for i in np.argsort(-self.means, kind="stable")]


def sweeps_of(tasks: Mapping[str, Sequence[Variant]], metric: str) -> list[Sweep]:
    """The sweeps among some variants: an experiment that tried three or more values of some setting on a task."""
    found = []
    for task, variants in tasks.items():
        experiments = dict.fromkeys(run.experiment for variant in variants for run in variant.runs)
        for experiment in experiments:
            own = [
                dataclasses.replace(variant, runs=runs)
                for variant in variants
                if (runs := tuple(run for run in variant.runs if run.experiment == experiment))
            ]
            sweep = _sweep(task, experiment, own, metric)
            if any(len(setting.different()) >= _FEWEST_VALUES for setting in sweep.settings):
                found.append(sweep)
    return found


def _sweep(task: str, experiment: str, variants: Sequence[Variant], metric: str) -> Sweep:
    scores = [present(np.array([run.final(metric) for run in variant.runs])) for variant in variants]
    kept = [i for i, own in enumerate(scores) if len(own)]
    scored = tuple(variants[i] for i in kept)
    return Sweep(
        task, experiment, scored, _settings(scored), tuple(scores[i] for i in kept), len(variants) - len(scored)
    )


def _settings(variants: Sequence[Variant]) -> tuple[Setting, ...]:
    """The settings whose values are not the same in all variants."""
    keys = dict.fromkeys(key for variant in variants for key in variant.settings)
    settings = [_setting(key, [variant.settings.get(key) for variant in variants]) for key in keys]
    return tuple(setting for setting in settings if len(setting.different()) > 1)


def _setting(name: str, values: Sequence[object]) -> Setting:
    numbers = [float(value) for value in values if _is_number(value)]
    if len(numbers) == len(values):
        return Setting(name, tuple(numbers))
    return Setting(name, tuple(value if isinstance(value, str) else as_yaml(value) for value in values))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _in_order(word: str) -> tuple[bool, float, str]:
    try:
        return False, float(word), word
    except ValueError:
        return True, 0.0, word


@dataclass(frozen=True)
class Importance:
    """How much settings matter.

    Attributes:
        shares: of the differences in score, by setting, the largest first; they sum to 1. Empty where there are none.
        predicted: R² of the same forest on runs that its trees have not seen: 1 is all, 0 no better than their mean.
        reason: why there are no shares, else "".
    """

    shares: Mapping[str, float]
    predicted: float = math.nan
    reason: str = ""


def importance(sweep: Sweep, seed: int) -> Importance:
    """How much of the differences in score each setting explains by itself, within what was drawn.

    Each run is a trial. fANOVA (Hutter et al. 2014, "An Efficient Approach for Assessing Hyperparameter Importance") as
    Optuna has it: a forest of regression trees, whose variance over the ranges is split among the settings.

    Args:
        sweep: any.
        seed: of the forest.
    """
    scores = np.concatenate(sweep.scores)
    if len(sweep.settings) < 2:
        return Importance({}, reason="only one setting differs")
    if len(scores) < FEWEST_TRIALS:
        return Importance({}, reason=f"{len(scores)} runs have a score, and it takes {FEWEST_TRIALS}")
    if np.ptp(scores) == 0.0:
        return Importance({}, reason="all runs have the same score")
    shares = _explained(sweep, seed)
    total = sum(shares.values())
    if not total > 0.0:
        return Importance({}, reason="no setting explains anything by itself")
    ranked = sorted(shares, key=lambda name: (-shares[name], name))
    return Importance({name: float(shares[name] / total) for name in ranked}, _predicted(sweep, seed))


def _explained(sweep: Sweep, seed: int) -> dict[str, float]:
    """The share of the variance of scores that each setting explains by itself."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    spaces: dict[str, BaseDistribution] = {}
    for setting in sweep.settings:
        if setting.numeric:
            spaces[setting.name] = FloatDistribution(float(setting.scale().min()), float(setting.scale().max()))
        else:
            spaces[setting.name] = CategoricalDistribution([str(value) for value in setting.different()])
    drawn: dict[str, Sequence[float] | Sequence[str]] = {
        setting.name: setting.scale().tolist() if setting.numeric else [str(value) for value in setting.values]
        for setting in sweep.settings
    }
    trials = [
        optuna.create_trial(
            params={name: values[i] for name, values in drawn.items()}, distributions=spaces, value=float(score)
        )
        for i, scores in enumerate(sweep.scores)
        for score in scores
    ]
    told = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a study that is made up is nobody's news
    try:
        study = optuna.create_study(direction="maximize")
        study.add_trials(trials)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # since 3.0, of `normalize`
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
            return optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)
    finally:
        optuna.logging.set_verbosity(told)


def _predicted(sweep: Sweep, seed: int) -> float:
    """R² of a forest like that of `_explained`, of each run by the trees that have not seen it."""
    from sklearn.ensemble import RandomForestRegressor

    columns = []
    for setting in sweep.settings:
        words = [] if setting.numeric else setting.different()
        columns += [setting.scale()] if setting.numeric else [np.array(setting.values) == word for word in words]
    variants = np.repeat(np.arange(len(sweep.scores)), [len(scores) for scores in sweep.scores])
    forest = RandomForestRegressor(n_estimators=64, oob_score=True, random_state=seed)
    forest.fit(np.array(columns, float).T[variants], np.concatenate(sweep.scores))
    return float(forest.oob_score_)
