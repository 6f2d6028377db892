"""Probes on planted features: what they find and what not, their split, their controls, what they are judged by."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from rllib_rnd.analysis.probing.features import bounded, components, pixel_features
from rllib_rnd.analysis.probing.labels import Labels, rotated, usable
from rllib_rnd.analysis.probing.layers import alike
from rllib_rnd.analysis.probing.options import ProbeOptions
from rllib_rnd.analysis.probing.probe_bank import ProbeBank, Unit, UnitScore
from rllib_rnd.analysis.probing.probe_states import PlayPlan
from rllib_rnd.analysis.probing.probes import Gathered, fit, training_side
from rllib_rnd.analysis.probing.results import BETTER, NO_BETTER, ProbeRow, judged
from rllib_rnd.envs.atari_ram import Kind
from rllib_rnd.errors import ConfigError
from tests.analysis.probing.searches import search_in_process

GAMES, LENGTH = 18, 30
EPISODE = np.repeat(np.arange(GAMES), LENGTH)


def walks(seed: int, count: int) -> np.ndarray:
    """``[B, count]``: random walks, one to a game, so that labels are as slow as those of real games."""
    random = np.random.default_rng(seed)
    steps = random.normal(size=(GAMES, LENGTH, count))
    return (random.normal(size=(GAMES, 1, count)) * 3.0 + steps.cumsum(axis=1)).reshape(-1, count)


@pytest.fixture(scope="module")
def environments() -> Iterator[list[dict[str, str]]]:
    """Searches run in this process; the environment that each ran in."""
    with pytest.MonkeyPatch.context() as patch:
        yield search_in_process(patch)


def gathered(layers: dict[tuple[str, str], np.ndarray], labels: Labels, seed: int = 3) -> Gathered:
    return Gathered(layers, labels, EPISODE, training_side(EPISODE, seed), {})


@pytest.fixture(scope="module")
def planted(environments: list[dict[str, str]]) -> list[ProbeRow]:
    """A layer in which one number and one category are linear, and one that holds nothing of them."""
    hidden = walks(0, 6)
    mixing = np.random.default_rng(1).normal(size=(6, 12))
    layers = {
        ("agent", "knows"): (hidden @ mixing).astype(np.float32),
        ("agent", "noise"): walks(2, 12).astype(np.float32),
    }
    labels = Labels(
        {"position": hidden[:, 0], "side": (hidden[:, 1] > 0.0).astype(float)},
        {"position": "number", "side": "category"},
    )
    return fit(gathered(layers, labels), ProbeOptions(play=PlayPlan(seed=3), models=("linear",))).rows


def row(rows: list[ProbeRow], layer: str, variable: str, labels: str = "true") -> ProbeRow:
    return next(r for r in rows if (r.layer, r.variable, r.labels) == (layer, variable, labels))


def test_a_planted_number_is_found(planted: list[ProbeRow]) -> None:
    found = row(planted, "knows", "position")
    assert found.metric == "r2" and found.score > 0.99
    assert found.low <= found.score <= found.high and found.low > 0.98
    assert row(planted, "noise", "position").score < 0.3


def test_a_planted_category_is_found(planted: list[ProbeRow]) -> None:
    found = row(planted, "knows", "side")
    assert found.metric == "balanced_accuracy" and found.chance == 0.5 and found.score > 0.9
    assert row(planted, "noise", "side").score < 0.7


def test_shuffled_labels_give_no_more_than_chance(planted: list[ProbeRow]) -> None:
    assert row(planted, "knows", "position", "shuffled").score < 0.1
    assert row(planted, "knows", "side", "shuffled").low < 0.5 + 0.1
    assert {r.labels for r in planted} == {"true", "shuffled"}


def test_scores_are_judged_by_their_own_shuffled_labels(planted: list[ProbeRow]) -> None:
    """Every layer has its control; the one that holds nothing is no better than it."""
    for layer, verdict in (("knows", BETTER), ("noise", NO_BETTER)):
        for variable in ("position", "side"):
            assert row(planted, layer, variable).verdict == verdict
            assert row(planted, layer, variable, "shuffled").verdict == ""


def made_up(labels: str, low: float, high: float, chance: float = 0.0, layer: str = "policy") -> ProbeRow:
    metric = "balanced_accuracy" if chance else "r2"
    middle = (low + high) / 2.0
    return ProbeRow("a", layer, "x", "number", "linear", labels, metric, middle, low, high, chance, 90, 9, 4, "")


@pytest.mark.parametrize(
    ("score", "control", "chance", "verdict"),
    [
        ((0.3, 0.5), (-0.1, 0.2), 0.0, BETTER),
        ((0.3, 0.5), (-0.1, 0.4), 0.0, NO_BETTER),  # they overlap
        ((-0.2, -0.1), (-0.9, -0.5), 0.0, NO_BETTER),  # above its control, but both are worse than knowing nothing
        ((0.3, 0.45), (0.1, 0.2), 0.5, NO_BETTER),
        ((0.6, 0.7), (0.1, 0.2), 0.5, BETTER),
        ((float("nan"), float("nan")), (-0.9, -0.5), 0.0, NO_BETTER),
        ((0.3, 0.5), (float("nan"), float("nan")), 0.0, NO_BETTER),
    ],
)
def test_verdicts_by_hand(
    score: tuple[float, float], control: tuple[float, float], chance: float, verdict: str
) -> None:
    rows = [made_up("true", *score, chance), made_up("shuffled", *control, chance)]
    assert [r.verdict for r in judged(rows)] == [verdict, ""]
    other = [made_up("true", *score, chance), made_up("shuffled", *control, chance, layer="memory")]
    assert judged(other) == other, "the control of another layer was taken"


@pytest.mark.parametrize("kind", ["number", "category"])
def test_a_label_of_few_games_has_a_control_that_varies(
    environments: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """It varies in one game of either side alone; where no draw finds such a control, there is no score."""
    layers = {("agent", "layer"): walks(2, 4).astype(np.float32)}
    train = training_side(EPISODE, 3)
    first, held_out = EPISODE[train][0], EPISODE[~train][0]
    values = np.where(np.isin(EPISODE, (first, held_out)), np.arange(len(EPISODE)) % 2, 0.0)
    labels = Labels({"key": values}, {"key": kind})
    found = gathered(layers, labels)
    options = ProbeOptions(play=PlayPlan(seed=3), models=("linear",))
    assert all(np.isfinite(one.score) for one in fit(found, options).rows)
    monkeypatch.setattr("rllib_rnd.analysis.probing.probes.rotated", lambda values, *_: np.zeros_like(values))
    true, control = fit(found, options).rows
    assert np.isfinite(true.score) and true.verdict == NO_BETTER
    assert control.as_dict()["score"] is None and json.dumps(control.as_dict(), allow_nan=False)


def test_each_number_has_a_penalty_of_its_own(environments: list[dict[str, str]]) -> None:
    """Of two numbers that are known in the same states one is exact and one is mostly noise."""
    random = np.random.default_rng(0)
    x = random.normal(size=(len(EPISODE), 40)).astype(np.float32)
    exact = x @ random.normal(size=40)
    noisy = x[:, 0] + 8.0 * random.normal(size=len(x))
    labels = Labels({"exact": exact, "noisy": noisy}, {"exact": "number", "noisy": "number"})
    rows = fit(gathered({("agent", "layer"): x}, labels), ProbeOptions(models=("linear",), shuffled=False)).rows
    assert [r.settings for r in rows] == ["alpha=0.1", "alpha=10000"]
    alone = []
    for name in ("exact", "noisy"):
        one = Labels({name: labels.values[name]}, {name: "number"})
        alone += fit(gathered({("agent", "layer"): x}, one), ProbeOptions(models=("linear",), shuffled=False)).rows
    assert [(r.settings, round(r.score, 6)) for r in rows] == [(r.settings, round(r.score, 6)) for r in alone]
    assert {r.verdict for r in rows} == {""}


def test_mlps_are_drawn_from_their_space(environments: list[dict[str, str]]) -> None:
    labels = Labels({"position": walks(0, 1)[:, 0]}, {"position": "number"})
    layers = {("agent", "layer"): walks(0, 1).astype(np.float32)}
    options = ProbeOptions(models=("mlp",), trials=2, shuffled=False)
    (found,) = fit(gathered(layers, labels), options).rows
    assert found.model == "mlp" and found.score > 0.9
    assert [part.split("=")[0] for part in found.settings.split(", ")] == ["alpha", "hidden", "rate"]


def test_tune_is_silent_for_the_search_alone(environments: list[dict[str, str]], planted: list[ProbeRow]) -> None:
    """Neither its panel nor its log files; and the next training of this process has both."""
    for name, value in (("RAY_AIR_NEW_OUTPUT", "0"), ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")):
        assert environments[0][name] == value
        assert name not in os.environ


def test_no_game_is_on_both_sides() -> None:
    for seed in range(5):
        train = training_side(EPISODE, seed)
        assert not set(EPISODE[train]) & set(EPISODE[~train])
        assert len(set(EPISODE[~train])) == GAMES // 3
    assert not np.array_equal(training_side(EPISODE, 0), training_side(EPISODE, 1))
    with pytest.raises(ConfigError, match="too few"):
        training_side(np.repeat(np.arange(3), 10), 0)


def test_rotated_labels_are_those_of_other_moments() -> None:
    """Each game gets all labels of one other game, in their circular order."""
    values = EPISODE * 100.0 + np.tile(np.arange(LENGTH), GAMES)
    mixed = rotated(values, EPISODE, 5)
    for game in range(GAMES):
        own = mixed[game == EPISODE]
        assert len(set(own // 100)) == 1 and own[0] // 100 != game
        steps = np.diff(own % 100)
        assert sorted(own % 100) == list(range(LENGTH)) and (steps != 1).sum() <= 1
    assert sorted(mixed) == sorted(values)
    assert np.array_equal(mixed, rotated(values, EPISODE, 5))


def test_labels_that_cannot_be_probed_are_left_out_with_a_reason() -> None:
    train = training_side(EPISODE, 0)
    count = len(EPISODE)
    rare = np.full(count, np.nan)
    rare[:5] = np.arange(5)
    rooms = np.zeros(count)
    rooms[0] = 1.0
    x = walks(0, 1)[:, 0]
    labels = Labels(
        {"x": x, "same": x.copy(), "constant": np.ones(count), "rare": rare, "room": rooms, "y": x**2, "z": x**3},
        {
            name: "category" if name == "room" else "number"
            for name in ("x", "same", "constant", "rare", "room", "y", "z")
        },
    )
    kept = usable(labels, train, (), 2)
    assert list(kept.values) == ["x", "y"]
    assert "same as x" in kept.left_out["same"] and "more --episodes" in kept.left_out["rare"]
    assert "same in all states" in kept.left_out["constant"] and "too rare" in kept.left_out["room"]
    assert "--variables" in kept.left_out["z"]
    assert list(usable(labels, train, ("z",), 2).values) == ["z"]
    with pytest.raises(ConfigError, match="Did you mean 'room'"):
        usable(labels, train, ("rom",), 2)


def test_an_mlp_finds_what_a_line_cannot() -> None:
    """The sign of a product; hyperparameters given, so without a search."""
    x = np.random.default_rng(0).normal(size=(900, 4)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0.0).astype(float)[:, None]
    unit = Unit("layer", (0, 4), (0,), "category")
    scores = {
        model: UnitScore(0)(ProbeBank((unit,), model, alpha=0.01).fit(x[:600], y[:600]), x[600:], y[600:])
        for model in ("linear", "mlp")
    }
    assert scores["linear"] < 0.65 and scores["mlp"] > 0.85


def test_unknown_labels_are_neither_fitted_nor_scored() -> None:
    x = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    y = (x @ np.array([1.0, -2.0, 0.5]))[:, None].astype(float)
    y[::3] = np.nan
    bank = ProbeBank((Unit("layer", (0, 3), (0,), "number"),), alpha=1e-6).fit(x[:200], y[:200])
    assert UnitScore(0)(bank, x[200:], y[200:]) > 0.99
    assert UnitScore(0)(bank, x[200:], np.full((100, 1), np.nan)) == 0.0


def test_components_come_from_training_states_alone() -> None:
    random = np.random.default_rng(0)
    train = np.arange(500) < 400
    for width, kept in ((300, 8), (30, 30)):
        features = random.normal(size=(500, width))
        reduced = components(features, train, 8, 0)
        assert reduced.shape == (500, kept)
        assert np.allclose(reduced[train].mean(axis=0), 0.0, atol=1e-5) and np.allclose(reduced[train].std(axis=0), 1.0)
        changed = features.copy()
        changed[~train] += 100.0
        assert np.allclose(components(changed, train, 8, 0)[train], reduced[train], atol=1e-4)


@pytest.mark.parametrize("width", [40, 300])
def test_rounding_errors_of_a_layer_of_low_rank_are_not_read(width: int) -> None:
    """Three directions on large means: components after them, and numbers that are constant, are dropped."""
    random = np.random.default_rng(0)
    train = np.arange(500) < 400
    features = random.normal(size=(500, 3)) @ random.normal(size=(3, width)) * 700.0 + 5_000.0
    features[:, 3:6] = 686.0 + random.normal(size=(500, 3)) * 4e-5
    reduced = components(features.astype(np.float32), train, 64, 0)
    assert reduced.shape[1] == (3 if width == 300 else width - 3)
    assert np.abs(reduced[~train]).max() < 10.0
    assert components(np.full((500, width), 0.1, np.float32), train, 64, 0).tolist() == [[0.0]] * 500


@pytest.mark.parametrize("width", [120, 400])
def test_a_layer_that_contains_another_knows_no_less(width: int) -> None:
    """The label is in 8 numbers of small scale, beside many of a large scale that have nothing to do with it."""
    random = np.random.default_rng(0)
    train = np.arange(900) < 600
    hidden = random.normal(size=(900, 2))
    own = hidden @ random.normal(size=(2, 8)) * 0.01
    other = random.normal(size=(900, 40)) @ random.normal(size=(40, width))
    y = hidden[:, :1]
    scores = []
    for features in (own, np.concatenate([own, other], axis=1)):
        x = components(features.astype(np.float32), train, 64, 0)
        bank = ProbeBank((Unit("layer", (0, x.shape[1]), (0,), "number"),), alpha=0.1).fit(x[train], y[train])
        scores.append(UnitScore(0)(bank, x[~train], y[~train]))
    assert scores[0] > 0.99 and scores[1] > scores[0] - 0.02


def test_large_maps_are_averaged_over_neighbours() -> None:
    import torch

    maps = torch.arange(2 * 16 * 32 * 32, dtype=torch.float32).view(2, 16, 32, 32)
    small = bounded(maps)
    assert small.shape == (2, 16 * 16 * 16)
    assert small.view(2, 16, 16, 16)[0, 0, 0, 0] == maps[0, 0, :2, :2].mean()
    assert bounded(maps[:, :1, :4, :4]).shape == (2, 16)
    grey = np.zeros((3, 4, 84, 84), dtype=np.uint8)
    grey[1] = 8
    assert (pixel_features(grey)[1] == 8.0).all() and pixel_features(grey).shape == (3, 4 * 32 * 32)
    colour = np.zeros((2, 84, 84, 3), dtype=np.uint8)
    colour[..., 1] = 6
    assert np.array_equal(np.unique(pixel_features(colour)[0].reshape(3, -1)[1]), [6.0])


def test_quick_is_less_of_everything() -> None:
    usual, quick = ProbeOptions(variables=("x",)), ProbeOptions(variables=("x",)).quick()
    assert quick.models == ("linear",) and quick.variables == ("x",) and quick.components < usual.components
    assert quick.play.states < usual.play.states and quick.play.max_steps < usual.play.max_steps
    assert replace(usual, play=replace(usual.play, max_steps=50)).quick().play.max_steps == 50


def test_a_layer_that_never_learns_is_no_control() -> None:
    values = np.random.default_rng(0).normal(size=(50, 4))
    assert alike(values, values + 1e-5) and not alike(values, values[:, ::-1]) and not alike(values[:, :1], values)


def test_the_best_known_labels_come_first() -> None:
    train = np.arange(200) < 120
    rng = np.random.default_rng(0)
    half = np.where(np.arange(200) % 2 == 0, rng.normal(size=200), np.nan)
    labels = Labels({"age": half, "row": rng.normal(size=200)}, {"age": "number", "row": "number"})
    assert list(usable(labels, train, (), 1).values) == ["row"]
    assert list(usable(labels, train, ("age",), 1).values) == ["age"]
    few = Labels({"x": np.where(np.arange(200) < 125, 1.0 * np.arange(200), np.nan)}, {"x": "number"})
    assert "known in 5 states of one side" in usable(few, train, (), 1).left_out["x"]
