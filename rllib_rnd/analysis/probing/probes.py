"""Probes: how much of the state of the world can be read off a layer's features, and of what it is compared with.

A probe is a small model that predicts a label from features (Alain and Bengio 2016, arXiv:1610.01644; for games and
console memory Anand et al. 2019, arXiv:1906.08226). Games are split, never states of one game: two states that follow
each other are nearly the same. A third of the games is only measured on; hyperparameters are tuned within the others,
by cross-validation over games.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.probing.intervals import measured
from rllib_rnd.analysis.probing.labels import Labels, rotated, usable
from rllib_rnd.analysis.probing.layers import Features, check_names, read_layers, with_twins
from rllib_rnd.analysis.probing.options import LEAST_GAMES, ProbeOptions, Progress
from rllib_rnd.analysis.probing.probe_bank import ProbeBank, Unit, known_rows
from rllib_rnd.analysis.probing.probe_states import check_alike, observe
from rllib_rnd.analysis.probing.results import SHUFFLED, TRUE, Probed, ProbeRow, in_a_line, judged
from rllib_rnd.analysis.probing.tuning import Settings, tune
from rllib_rnd.errors import ConfigError
from rllib_rnd.sampling.seeds import derived_seed

# Of controls, until there is one whose labels vary.
_DRAWS = 20


@dataclass(frozen=True)
class Gathered:
    """What probes are fitted to: B states in order of games and time.

    Attributes:
        layers: (agent, layer) -> ``[B, D]``.
        labels: those that can be probed.
        episode: ``[B]``, their games.
        train: ``[B]`` bool, states of games that are fitted on.
        left_out: variable or "agent / layer" -> why it was left out.
    """

    layers: Features
    labels: Labels
    episode: np.ndarray
    train: np.ndarray
    left_out: dict[str, str]


def probe(agents: Mapping[str, Agent], options: ProbeOptions, progress: Progress | None = None) -> Probed:
    """Probes the layers of agents on the same states.

    Needs a Ray that runs (hyperparameters are tuned on it); the same seed gives the same numbers. To learn of mistakes
    before Ray is started, call `gather` and `fit` instead.

    Args:
        agents: by name, all of one environment. The first one plays; twins without training are the control.
        options: see `ProbeOptions`.
        progress: is told how far it is.

    Raises:
        ConfigError: agents of different environments, an unknown variable or layer, or nothing that can be probed.
    """
    return fit(gather(agents, options, progress), options, progress)


def gather(agents: Mapping[str, Agent], options: ProbeOptions, progress: Progress | None = None) -> Gathered:
    """Plays games and reads all layers in them; needs no Ray.

    Args, Raises: see `probe`. Names are checked before the games.
    """
    told = progress or Progress()
    check_alike(agents)
    everyone = with_twins(agents, options.play.seed) if options.untrained else dict(agents)
    check_names(agents, options)
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
    layers, left_out = read_layers(everyone, states, options, train, told)
    return Gathered(layers, labels, states.episode, train, {**labels.left_out, **left_out})


def fit(found: Gathered, options: ProbeOptions, progress: Progress | None = None) -> Probed:
    """Tunes, fits and measures all probes, and judges their scores by those of shuffled labels. Needs a Ray that runs.

    Args:
        found: what to fit to.
        options: see `ProbeOptions`.
        progress: is told how far it is.
    """
    told = progress or Progress()
    units, y = _units(found, options)
    x = np.concatenate(list(found.layers.values()), axis=1)
    train, episode = found.train, found.episode
    rows: list[ProbeRow] = []
    for model in options.models:
        told.begin(f"{model} probes", len(units))
        best = tune([one.unit for one in units], model, x[train], y[train], episode[train], options)
        for one, settings in zip(units, best, strict=True):
            bank = ProbeBank((one.unit,), model, seed=options.play.seed).set_params(**settings).fit(x[train], y[train])
            rows += one.rows(bank, settings, x[~train], y[~train], episode[~train])
            told.advance(1)
    in_training, held_out = (len(np.unique(episode[side])) for side in (train, ~train))
    return Probed(judged(rows), found.left_out, in_training, held_out, int(train.sum()), int((~train).sum()))


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


@dataclass(frozen=True)
class _OwnedUnit:
    """A probe, and what it is called.

    Attributes:
        unit: the probe.
        owner: agent and layer that it reads.
        variables: that it predicts, in the order of the unit's labels.
        labels: true or shuffled.
    """

    unit: Unit
    owner: tuple[str, str]
    variables: tuple[str, ...]
    labels: str

    def rows(
        self, bank: ProbeBank, settings: Settings, x: np.ndarray, y: np.ndarray, episode: np.ndarray
    ) -> Iterator[ProbeRow]:
        """Measures the fitted bank of this one unit on held-out states: a row to each variable."""
        known = known_rows(self.unit, y)
        predicted = bank.predict_unit(0, x[known]) if known.any() else np.empty((0, len(self.variables)))
        is_number = self.unit.kind == "number"
        for k, variable in enumerate(self.variables):
            truth = y[known, self.unit.labels[k]]
            own = {name: value[k] if isinstance(value, tuple) else value for name, value in settings.items()}
            yield ProbeRow(
                *self.owner,
                variable,
                self.unit.kind,
                bank.model,
                self.labels,
                "r2" if is_number else "balanced_accuracy",
                *measured(truth, predicted[:, k], episode[known], self.unit.kind),
                0.0 if is_number else 1.0 / max(1, len(np.unique(truth))),
                int(known.sum()),
                len(np.unique(episode[known])),
                self.unit.columns[1] - self.unit.columns[0],
                ", ".join(f"{name}={value:g}" for name, value in sorted(own.items())),
            )


def _control(values: np.ndarray, found: Gathered, seed: int) -> np.ndarray:
    """`rotated` labels that vary on both sides of the split, as the true ones do, if a few draws find such.

    Of a label that is the same in most games, the held-out ones may get the labels of those alone.
    """
    for draw in range(_DRAWS):
        other = rotated(values, found.episode, seed + draw)
        if all(len(np.unique(other[side & ~np.isnan(other)])) > 1 for side in (found.train, ~found.train)):
            break
    return other


def _units(found: Gathered, options: ProbeOptions) -> tuple[list[_OwnedUnit], np.ndarray]:
    """The probes, and all labels ``[B, V]``: the true ones, and after them the same shuffled.

    Numbers that are known in the same states share a model.
    """
    names = list(found.labels.values)
    columns = list(found.labels.values.values())
    kinds = [found.labels.kinds[name] for name in names]
    if options.shuffled:
        seeds = [int(derived_seed(options.play.seed, 2, i) or 0) for i in range(len(names))]
        columns += [_control(v, found, seed) for v, seed in zip(columns, seeds, strict=True)]
    y = np.stack(columns, axis=1)
    groups: dict[tuple[object, ...], list[int]] = {}
    for i in range(y.shape[1]):
        of = i % len(names)
        key: tuple[object, ...] = (np.isnan(y[:, i]).tobytes(),) if kinds[of] == "number" else (of,)
        groups.setdefault((TRUE if i < len(names) else SHUFFLED, *key), []).append(i)
    units, start = [], 0
    for owner, features in found.layers.items():
        where = (start, start + features.shape[1])
        start = where[1]
        for key, members in groups.items():
            variables = [i % len(names) for i in members]
            unit = Unit(owner[1], where, tuple(members), kinds[variables[0]])
            units.append(_OwnedUnit(unit, owner, tuple(names[i] for i in variables), str(key[0])))
    return units, y
