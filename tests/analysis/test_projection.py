"""Projections: the same for the same seed, true principal components, points drawn evenly over rooms and time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rllib_rnd.analysis.figures.projection_charts import projection_chart, safe, spread_chart
from rllib_rnd.analysis.projection import (
    MAX_POINTS,
    colours_of,
    draw_evenly,
    points_of,
    policy_features,
    principal_components,
    project,
    projections,
    reward_features,
)
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.errors import ConfigError
from tests.analysis.agents import PICTURES, make_agent, random_obs, random_states
from tests.analysis.playing import sizes_gathered
from tests.intrinsic.every_reward import SMALL

BACKBONE = {"type": "nature_cnn", "hidden_sizes": [8]}
RND = {"type": "rnd", **SMALL["rnd"]}


def make_tape(length: int, rooms: list[int | None]) -> Tape:
    """Noise in pictures of two frames, a reset step in the middle, reward 1 in every step."""
    tape, frames = Tape(2, newest_first=False), random_obs(PICTURES, length + 1)
    for t in range(length + 1):
        tape.add_frames(frames[t])
        tape.is_first.append(t in (0, length // 2))
        tape.memory.append(np.zeros(0, np.float32))
        tape.rooms.append(rooms[t])
        tape.add_outlook(np.zeros(4, np.float32), np.array([0.1 * t, -1.0], np.float32))
    for t in range(length):
        tape.action.append(np.array(t % 4))
        tape.logp.append(0.0)
        tape.reward.append(0.0 if t == length // 2 - 1 else 1.0)
        tape.terminated.append(False)
        tape.truncated.append(False)
    return tape


def test_no_group_has_fewer_samples_than_another_unless_all_of_it_is_drawn() -> None:
    groups = np.array([0] * 1000 + [1] * 5 + [2] * 300 + [-1] * 100)
    drawn = draw_evenly(groups, 125, seed=3)
    assert len(np.unique(drawn)) == len(drawn) == 125
    assert {int(g): int((groups[drawn] == g).sum()) for g in np.unique(groups)} == {-1: 40, 0: 40, 1: 5, 2: 40}
    assert (np.diff(drawn) > 0).all()


def test_of_more_groups_than_samples_those_give_one_that_lie_evenly_among_all() -> None:
    """Not the last ones alone, nor the largest."""
    groups = np.repeat(np.arange(100), np.arange(1, 101))
    drawn = draw_evenly(groups, 10, seed=0)
    assert groups[drawn].tolist() == [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]
    assert draw_evenly(groups, 0, seed=0).tolist() == []


def test_samples_of_a_group_are_even_over_time() -> None:
    """One of each of ten pieces, whatever the other group does in between."""
    groups = np.array([0, 1, 1] * 50)
    of_group = np.flatnonzero(groups == 0)
    drawn = draw_evenly(groups, 20, seed=1)
    place = np.searchsorted(of_group, drawn[groups[drawn] == 0])
    assert (place // 5).tolist() == list(range(10))


def test_draws_are_those_of_the_seed_and_all_if_they_are_few() -> None:
    groups = np.repeat([0, 1], 40)
    assert draw_evenly(groups, 10, 0).tolist() == draw_evenly(groups, 10, 0).tolist()
    assert draw_evenly(groups, 10, 0).tolist() != draw_evenly(groups, 10, 1).tolist()
    assert draw_evenly(groups, 80, 0).tolist() == list(range(80))
    assert draw_evenly(np.zeros(MAX_POINTS + 7, int), MAX_POINTS, 0).shape == (MAX_POINTS,)


def test_points_are_what_the_tapes_hold_without_reset_steps() -> None:
    points = points_of([make_tape(6, [0, 0, None, 5, 5, 5, 5]), make_tape(2, [1] * 3)], seed=0)
    # Steps 2 and 0 only reset.
    assert points.states.step.tolist() == [0, 1, 2, 3, 4, 0]
    assert points.states.episode.tolist() == [0, 0, 0, 0, 0, 1]
    assert points.states.room.tolist() == [0, 0, 5, 5, 5, 1]
    assert points.return_to_go.tolist() == [5.0, 4.0, 3.0, 2.0, 1.0, 1.0]
    np.testing.assert_allclose(points.value[:, 0], [0.0, 0.1, 0.3, 0.4, 0.5, 0.1], atol=1e-6)
    assert len(points_of([make_tape(40, [0] * 41)], seed=0, limit=9).states) == 9
    with pytest.raises(ConfigError, match="no agent step was played"):
        points_of([], seed=0)


def test_only_the_points_drawn_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """All observations of a few episodes of 4,500 steps, stacked, are gigabytes."""
    tapes = [make_tape(60, [i // 10 for i in range(61)]) for _ in range(3)]
    whole = points_of(tapes, seed=0)
    gathered = sizes_gathered(monkeypatch)
    few = points_of(tapes, seed=0, limit=12)
    assert len(few.states) == 12 and sum(gathered) == 2 * 12
    ids = whole.states.episode * 1000 + whole.states.step
    same = np.searchsorted(ids, few.states.episode * 1000 + few.states.step)
    for name, column in vars(whole.states).items():
        np.testing.assert_array_equal(getattr(few.states, name), column[same], err_msg=name)
    np.testing.assert_array_equal(few.return_to_go, whole.return_to_go[same])
    np.testing.assert_array_equal(few.value, whole.value[same])


def test_principal_components_are_those_of_a_singular_value_decomposition() -> None:
    features = np.random.default_rng(0).normal(size=(30, 4)) @ np.diag([5.0, 2.0, 1.0, 0.1])
    points, shares = principal_components(features, 2)
    left, singular, right = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    signs = np.sign(right[[0, 1], np.abs(right[:2]).argmax(axis=1)])
    np.testing.assert_allclose(points, left[:, :2] * singular[:2] * signs, atol=1e-9)
    np.testing.assert_allclose(shares, np.square(singular[:2]) / np.square(singular).sum())


def test_features_turned_upside_down_are_projected_upside_down_but_for_signs() -> None:
    """The largest loading points to the right whatever the solver chose."""
    features = np.outer(np.arange(5.0), [0.0, 3.0, -1.0])
    expected = (np.arange(5.0) - 2.0) * np.sqrt(10.0)
    np.testing.assert_allclose(principal_components(features, 1)[0][:, 0], expected, atol=1e-12)
    np.testing.assert_allclose(principal_components(-features, 1)[0][:, 0], -expected, atol=1e-12)


def test_components_that_cannot_be_are_zero() -> None:
    points, shares = principal_components(np.arange(4.0)[:, None], 2)
    assert not points[:, 1].any() and shares.tolist() == [1.0, 0.0]
    points, shares = principal_components(np.full((4, 3), 2.0), 2)
    assert not points.any() and not shares.any()
    assert not project(np.full((4, 3), 2.0), 0, "tsne").points.any()


def test_neighbours_stay_neighbours() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(10.0 * i, 0.1, (20, 6)) for i in range(3)])
    points = project(features, 0, "tsne").points
    assert points.tolist() == project(features, 0, "tsne").points.tolist()
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(60)
    assert (distance.argmin(axis=1) // 20 == np.arange(60) // 20).all()


def test_a_method_that_is_not_there_and_one_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"unknown projection 'umap'. Allowed: pca, tsne"):
        project(np.eye(3), 0, "umap")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(ConfigError, match=r'pip install "rllib_rnd\[insight\]"'):
        project(np.eye(3), 0, "tsne")


def test_features_are_those_of_the_networks_and_nothing_is_remembered() -> None:
    agent = make_agent(backbone=BACKBONE, rewards=[RND, {"type": "count"}])
    states = random_states(agent, 3)
    before = {name: value.clone() for name, value in agent.module.state_dict().items()}
    with torch.no_grad():
        policy = agent.module.backbone(torch.from_numpy(states.obs)).policy
        reward = agent.module.rewards()[0]
        x = reward.normalize_frames(torch.from_numpy(states.obs[:, -1]))
        expected = {"rnd target": reward.target(x), "rnd predictor": reward.predictor(x)}
    np.testing.assert_allclose(policy_features(agent, states), policy, rtol=1e-5)
    found = reward_features(agent, states.obs)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5)
    for name, value in agent.module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_projections_are_the_same_bytes_for_the_same_seed() -> None:
    agent, other = (make_agent(backbone=BACKBONE, rewards=[RND], seed=seed) for seed in (0, 1))
    tapes = [make_tape(30, [i // 10 for i in range(31)])]
    charts = projections(agent, tapes, seed=0, baseline=other)
    assert [chart.name for chart in charts] == ["pca_policy", "pca_rnd_target", "pca_rnd_predictor", "spread"]
    points = points_of(tapes, seed=0)
    features = policy_features(agent, points.states)
    colours = colours_of(points, agent.reward_names)
    assert list(colours) == ["room", "time (agent step)", "return-to-go", "extrinsic value", "intrinsic value: rnd"]
    assert charts[0] == projection_chart("policy", features, project(features, 0), colours, "PCA")
    for chart in charts:
        assert chart.png.startswith(b"\x89PNG") and b"</svg>" in chart.svg and b"<dc:date>" not in chart.svg
    spread = charts[-1].numbers
    for name in ("policy", "rnd target", "policy, untrained", "baseline: policy", "baseline: rnd target"):
        assert 1.0 <= spread[f"{name}: effective rank"] <= spread[f"{name}: dimensions"]
    assert spread["rnd target: effective rank"] == charts[1].numbers["effective rank"]
    assert spread["rnd target: effective rank"] != spread["baseline: rnd target: effective rank"]
    assert charts[0].numbers["points"] == 29


def test_every_line_of_the_spread_is_named_and_equal_lines_are_both_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    figure: Any = pytest.importorskip("matplotlib.figure").Figure()

    def kept(draw: Callable[[Any], None], *_: object) -> tuple[bytes, bytes]:
        draw(figure)
        return b"", b""

    monkeypatch.setattr("rllib_rnd.analysis.figures.projection_charts.render", kept)
    same = np.random.default_rng(0).normal(size=(50, 4))
    spread_chart({f"features {i}": same for i in range(12)})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"features {i}" for i in range(12)]
    styles = [(line.get_color(), line.get_linestyle()) for line in legend.legend_handles]
    assert len(set(styles)) == 12 and len({dashes for _, dashes in styles[:4]}) == 4
    for axes in figure.axes[:2]:
        assert [(line.get_color(), line.get_linestyle()) for line in axes.lines] == styles


def test_rooms_have_a_legend_and_values_that_do_not_vary_no_scale() -> None:
    features = np.random.default_rng(0).normal(size=(50, 3))
    rooms, constant = np.repeat([3, -1], 25), np.full(50, 2.5)
    chart = projection_chart("x", features, project(features, 0), {"room": rooms, "value": constant}, "PCA")
    many = {"room": np.arange(50), "value": constant}
    assert chart.png != projection_chart("x", features, project(features, 0), many, "PCA").png
    assert chart.name == "pca_x" and safe("Intrinsic value: snd_v 2!") == "intrinsic_value_snd_v_2"
    assert spread_chart({"flat": np.ones((4, 2))}).numbers["flat: effective rank"] == 0.0
