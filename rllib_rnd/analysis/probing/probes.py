"""Probes: how much of the state of the world can be read off a layer's features, and of what it is compared with.

A probe is a small model that predicts a label from features (Alain and Bengio 2016, arXiv:1610.01644; for games and
console memory Anand et al. 2019, arXiv:1906.08226). Games are split, never states of one game: two states that follow
each other are nearly the same. A third of the games is only measured on; hyperparameters are tuned within the others,
by cross-validation over games.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.probing.features import PIXELS, components, layer_features, pixel_features
from rllib_rnd.analysis.probing.labels import Labels, rotated, usable
from rllib_rnd.analysis.probing.probe_bank import ProbeBank, Unit, UnitScore, known_rows
from rllib_rnd.analysis.probing.probe_states import PlayPlan, ProbeStates, observe
from rllib_rnd.envs.atari_ram import Kind
from rllib_rnd.errors import ConfigError, unknown_name_error
from rllib_rnd.sampling.seeds import derived_seed

UNTRAINED = "untrained"
MODELS = ("linear", "mlp")

# Least games: a split of fewer says nothing.
LEAST_GAMES = 6
_FOLDS = 3
_DRAWS_OF_BOOTSTRAP, _LEVEL = 1000, 0.95
_ALPHAS = [0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0]
_MLP_SPACE = {"alpha": [1e-3, 0.1, 1.0, 10.0, 100.0], "hidden": [32, 64, 128]}


@dataclass(frozen=True)
class ProbeOptions:
    """How probes are made.

    Attributes:
        play: the games.
        models: of `MODELS`.
        variables: labels to predict; none: all that can be, `most_variables` at most.
        layers: to read; none: all.
        untrained: also read the same networks with weights drawn anew.
        components: principal components that are read of a layer of more than 256 numbers.
        trials: draws of the MLP's hyperparameters.
        shuffled: also predict labels of other moments.
        most_variables: see ``variables``.
    """

    play: PlayPlan = field(default_factory=PlayPlan)
    models: tuple[str, ...] = MODELS
    variables: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    untrained: bool = True
    components: int = 64
    trials: int = 3
    shuffled: bool = True
    most_variables: int = 12

    def quick(self) -> ProbeOptions:
        """The same in under a minute: fewer and shorter games, fewer components, linear probes only."""
        own = self.play
        play = replace(own, max_steps=min(own.max_steps, 200), states=min(own.states, 1200), least_games=16)
        return replace(self, play=play, models=("linear",), components=32, most_variables=8)


@dataclass(frozen=True)
class ProbeRow:
    """What one probe came to.

    Attributes:
        agent: whose layer: a name, ``untrained`` or ``pixels`` (nobody's: the observation itself).
        layer: which.
        variable: what it predicts.
        kind: number or category.
        model: linear or mlp.
        labels: true, or shuffled (those of other moments).
        metric: r2 or balanced_accuracy.
        score: of the states of games that it was not fitted on.
        low, high: 95 % interval of the score over those games (bootstrap).
        chance: score of knowing nothing.
        states: that it was measured on.
        games: they are from.
        inputs: numbers that it reads.
        settings: hyperparameters that were best in cross-validation.
    """

    agent: str
    layer: str
    variable: str
    kind: Kind
    model: str
    labels: str
    metric: str
    score: float
    low: float
    high: float
    chance: float
    states: int
    games: int
    inputs: int
    settings: str

    def as_dict(self) -> dict[str, object]:
        """Column -> value."""
        return asdict(self)


@dataclass(frozen=True)
class Probed:
    """All that was found.

    Attributes:
        rows: a probe each.
        left_out: variable or "agent / layer" -> why it was left out.
        train_games, test_games: how many.
        train_states, test_states: how many.
    """

    rows: list[ProbeRow]
    left_out: dict[str, str]
    train_games: int
    test_games: int
    train_states: int
    test_states: int


def _nobody(*_: object) -> None:
    """Is told, and does nothing."""


@dataclass(frozen=True)
class Progress:
    """Who is told how far it is: ``begin(what, total)`` and ``advance(count)``."""

    begin: Callable[[str, int], object] = _nobody
    advance: Callable[[int], object] = _nobody


def probe(agents: Mapping[str, Agent], options: ProbeOptions, progress: Progress | None = None) -> Probed:
    """Probes the layers of agents on the same states.

    Needs a Ray that runs (hyperparameters are tuned on it); the same seed gives the same numbers.

    Args:
        agents: by name, all of one environment. The first one plays, its twin without training is the control.
        options: see `ProbeOptions`.
        progress: is told how far it is.

    Raises:
        ConfigError: agents of different environments, an unknown variable or layer, or nothing that can be probed.
    """
    told = progress or Progress()
    everyone = dict(agents)
    if options.untrained:
        first = next(iter(agents.values()))
        everyone[UNTRAINED] = first.untrained(options.play.seed)
    told.begin("agent steps", (options.play.games or options.play.least_games) * options.play.max_steps)
    states = observe(everyone, options.play, told.advance)
    train = training_side(states.episode, options.play.seed)
    labels = usable(states.labels, train, options.variables, options.most_variables)
    if not labels.values:
        raise ConfigError(
            "variables",
            f"none can be probed in these {len(states.episode):,} states: {in_a_line(labels.left_out)}",
            "an environment that tells numbers (console memory, info, positions), and enough games",
        )
    layers, left_out = _read_layers(everyone, states, options, train, told)
    rows = fit_probes(layers, labels, states.episode, train, options, told)
    in_training, held_out = (len(np.unique(states.episode[side])) for side in (train, ~train))
    return Probed(rows, {**labels.left_out, **left_out}, in_training, held_out, int(train.sum()), int((~train).sum()))


def training_side(episode: np.ndarray, seed: int) -> np.ndarray:
    """Which states probes may be fitted on, ``[B]`` bool: those of two thirds of the games, drawn at random.

    Raises:
        ConfigError: there are too few games.
    """
    games = np.unique(episode)
    if len(games) < LEAST_GAMES:
        raise ConfigError("--episodes", f"{len(games)} games are too few to split", f"{LEAST_GAMES} or more")
    held_out = np.random.default_rng(derived_seed(seed, 1)).permutation(games)[: max(2, len(games) // 3)]
    return ~np.isin(episode, held_out)


def in_a_line(left_out: Mapping[str, str]) -> str:
    """What was left out, grouped by reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items()) or "nothing is told"


# --- layers --------------------------------------------------------------------------------------------------------


def _read_layers(
    agents: Mapping[str, Agent], states: ProbeStates, options: ProbeOptions, train: np.ndarray, told: Progress
) -> tuple[dict[tuple[str, str], np.ndarray], dict[str, str]]:
    """Features ``[B, D]`` of every agent's layers by (agent, layer), and what was left out of them.

    Raises:
        ConfigError: a layer that is wanted is nobody's.
    """
    told.begin("layers", len(states.obs) * len(agents))
    found: dict[tuple[str, str], np.ndarray] = {}
    left_out: dict[str, str] = {}
    names: list[str] = []
    for agent_name, agent in agents.items():
        features, reasons = layer_features(agent, states.obs, states.memory[agent_name], states.is_first, told.advance)
        left_out |= {f"{agent_name} / {layer}": reason for layer, reason in reasons.items()}
        names += [layer for layer in features if layer not in names]
        for layer, values in features.items():
            if options.layers and layer not in options.layers:
                continue
            read = components(values, train, options.components, options.play.seed)
            same = next((other for other in agents if _alike(found.get((other, layer)), read)), None)
            if same is None:
                found[agent_name, layer] = read
            else:  # what never learns, like RND's target, is no control of itself
                left_out[f"{agent_name} / {layer}"] = f"the same as {same} / {layer}"
    for layer in options.layers:
        if layer not in names and layer != PIXELS:
            raise unknown_name_error("layer", layer, [*names, PIXELS], "--layers")
    pixels = pixel_features(states.obs)
    found[PIXELS, PIXELS] = components(pixels, train, options.components, options.play.seed)
    return found, left_out


def _alike(known: np.ndarray | None, read: np.ndarray) -> bool:
    return known is not None and known.shape == read.shape and np.allclose(known, read, atol=1e-3)


# --- probes --------------------------------------------------------------------------------------------------------


def fit_probes(
    layers: Mapping[tuple[str, str], np.ndarray],
    labels: Labels,
    episode: np.ndarray,
    train: np.ndarray,
    options: ProbeOptions,
    told: Progress | None = None,
) -> list[ProbeRow]:
    """Tunes, fits and measures a probe for every layer, variable and model.

    Args:
        layers: (agent, layer) -> ``[B, D]``.
        labels: of the states.
        episode: ``[B]``, their games, in order of games and time.
        train: ``[B]`` bool, states of games that are fitted on.
        options: see `ProbeOptions`.
        told: is told how far it is.
    """
    told = told or Progress()
    names = list(labels.values)
    columns = [labels.values[name] for name in names]
    shuffled = [rotated(v, episode, int(derived_seed(options.play.seed, 2, i) or 0)) for i, v in enumerate(columns)]
    y = np.stack([*columns, *(shuffled if options.shuffled else [])], axis=1)
    x = np.concatenate(list(layers.values()), axis=1)
    # Shuffled labels are a control of the method: they are asked of the first agent's layers only.
    units, owners = _units(layers, labels, y)
    rows = []
    for model in options.models:
        told.begin(f"{model} probes", len(units))
        best = tune(units, model, x[train], y[train], episode[train], options)
        for unit, owner, settings in zip(units, owners, best, strict=True):
            bank = ProbeBank((unit,), model, seed=options.play.seed).set_params(**settings).fit(x[train], y[train])
            told.advance(1)
            known = ~train & known_rows(unit, y)
            predicted = bank.predict_unit(0, x[known])
            for k, label in enumerate(unit.labels):
                truth = y[known, label]
                score = measured(truth, predicted[:, k], episode[known], unit.kind, options.play.seed)
                rows.append(
                    ProbeRow(
                        *owner,
                        names[label % len(names)],
                        unit.kind,
                        model,
                        "true" if label < len(names) else "shuffled",
                        "r2" if unit.kind == "number" else "balanced_accuracy",
                        *score,
                        0.0 if unit.kind == "number" else 1.0 / len(np.unique(truth)),
                        int(known.sum()),
                        len(np.unique(episode[known])),
                        unit.columns[1] - unit.columns[0],
                        ", ".join(f"{name}={value:g}" for name, value in settings.items()),
                    )
                )
    return rows


def _units(
    layers: Mapping[tuple[str, str], np.ndarray], labels: Labels, y: np.ndarray
) -> tuple[tuple[Unit, ...], list[tuple[str, str]]]:
    """The probes, and of each whose layer it reads. Numbers that are known in the same states share a model."""
    names = list(labels.values)
    first_agent = next(iter(layers))[0]
    groups: dict[tuple[object, ...], list[int]] = {}
    for i in range(y.shape[1]):
        own, is_shuffled = names[i % len(names)], i >= len(names)
        key: tuple[object, ...] = (is_shuffled, i)
        if labels.kinds[own] == "number":
            key = (is_shuffled, "numbers", np.isnan(y[:, i]).tobytes())
        groups.setdefault(key, []).append(i)
    units, owners, start = [], [], 0
    for (agent, layer), features in layers.items():
        columns = (start, start + features.shape[1])
        start = columns[1]
        for key, members in groups.items():
            if key[0] and agent != first_agent:
                continue
            kind = labels.kinds[names[members[0] % len(names)]]
            units.append(Unit(layer, columns, tuple(members), kind))
            owners.append((agent, layer))
    return tuple(units), owners


def tune(
    units: Sequence[Unit], model: str, x: np.ndarray, y: np.ndarray, episode: np.ndarray, options: ProbeOptions
) -> list[dict[str, float]]:
    """The hyperparameters that are best for each unit in cross-validation over games.

    One search of tune-sklearn on Ray tries them on all units at once: a grid for the one of linear probes, draws for
    those of MLPs.

    Args:
        units: the probes.
        model: linear or mlp.
        x, y, episode: of the training games.
        options: see `ProbeOptions`.
    """
    from sklearn.model_selection import GroupKFold

    from rllib_rnd.analysis.probing.tune_sklearn_compat import TuneGridSearchCV, TuneSearchCV

    bank = ProbeBank(tuple(units), model, seed=options.play.seed)
    with tempfile.TemporaryDirectory(prefix="rllib_probe_") as folder:
        common = {
            "scoring": {"mean": UnitScore(None), **{unit_name(i): UnitScore(i) for i in range(len(units))}},
            "refit": "mean",
            "cv": GroupKFold(_FOLDS),
            # Linear probes take less time than a second worker needs to start.
            "n_jobs": 1 if model == "linear" else -1,
            "loggers": [],
            "local_dir": folder,
            "error_score": "raise",
        }
        if model == "linear":
            search = TuneGridSearchCV(bank, {"alpha": _ALPHAS}, **common)
        else:
            search = TuneSearchCV(bank, _MLP_SPACE, n_trials=options.trials, random_state=options.play.seed, **common)
        search.fit(x, y, groups=episode)
    found = search.cv_results_
    # By their values, so that it does not matter which trial came back first where two are equally good.
    order = sorted(range(len(found["params"])), key=lambda i: sorted(found["params"][i].items()))
    best = []
    for unit in range(len(units)):
        chosen = max(order, key=lambda i: (found[f"mean_test_{unit_name(unit)}"][i], -order.index(i)))
        best.append(dict(found["params"][chosen]))
    return best


def unit_name(index: int) -> str:
    """Name of a unit's score in a search: none is the beginning of another, as tune-sklearn needs it."""
    return f"u{index:04d}"


# --- scores --------------------------------------------------------------------------------------------------------


def measured(
    truth: np.ndarray, predicted: np.ndarray, episode: np.ndarray, kind: Kind, seed: int
) -> tuple[float, float, float]:
    """Score, and the bounds of its 95 % interval by the bootstrap over games (Efron 1979; percentiles).

    Games are drawn with replacement, with all their states: states of one game are not independent.

    Args:
        truth, predicted: ``[B]``.
        episode: ``[B]``, the game of each.
        kind: number (R2: 1 less squared errors over squared deviations from the mean) or category (balanced accuracy:
            mean over categories of the share that is recognised).
        seed: of the draws.
    """
    games, game = np.unique(episode, return_inverse=True)
    sums = _sums_by_game(truth, predicted, game, len(games), kind)
    draws = np.random.default_rng(derived_seed(seed, 3)).multinomial(
        len(games), np.full(len(games), 1.0 / len(games)), size=_DRAWS_OF_BOOTSTRAP
    )
    scores = _score_of_sums(draws.astype(np.float64) @ sums, kind)
    scores = scores[np.isfinite(scores)]  # a draw in which the label does not vary has no score
    score = float(_score_of_sums(sums.sum(axis=0, keepdims=True), kind)[0])
    if not len(scores):
        return score, score, score
    tail = 100.0 * (1.0 - _LEVEL) / 2.0
    low, high = np.percentile(scores, [tail, 100.0 - tail])
    return score, float(low), float(high)


def _sums_by_game(truth: np.ndarray, predicted: np.ndarray, game: np.ndarray, count: int, kind: Kind) -> np.ndarray:
    """What scores are made of, added up over each game's states: ``[games, sums]``."""
    if kind == "number":
        columns = [np.ones_like(truth), truth, truth**2, (truth - predicted) ** 2]
    else:
        categories = np.unique(truth)
        there = truth == categories[:, None]
        columns = [*there.astype(np.float64), *(there & (predicted == truth)).astype(np.float64)]
    return np.stack([np.bincount(game, weights=column, minlength=count) for column in columns], axis=1)


def _score_of_sums(sums: np.ndarray, kind: Kind) -> np.ndarray:
    """``[draws, sums]`` -> ``[draws]``; NaN where there is no score."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "number":
            count, total, squares, errors = sums.T
            deviation = squares - total**2 / count
            varied = deviation > 1e-9 * np.maximum(squares, 1e-30)
            return np.where(varied, 1.0 - errors / np.where(varied, deviation, 1.0), np.nan)
        there, right = np.split(sums, 2, axis=1)
        return np.asarray(np.nanmean(np.where(there > 0, right / there, np.nan), axis=1))
