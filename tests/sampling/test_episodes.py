"""Returns, lengths and rooms per episode, with reset steps excluded."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import numpy as np
import pytest

from rllib_rnd.sampling.episodes import EpisodeSummary, EpisodeTracker, PlaceHistory, RecentEpisodes


def step(tracker: EpisodeTracker, reward: float, done: bool, reset: bool, room: int | None = None) -> None:
    infos = {} if room is None else {"room": np.array([room])}
    tracker.step(np.array([reward]), np.array([done]), np.array([reset]), infos)


def test_reset_step_starts_a_new_episode_and_counts_nothing() -> None:
    tracker = EpisodeTracker(1)
    tracker.start({"room": np.array([1])})
    step(tracker, 2.0, False, False, 1)
    step(tracker, 3.0, True, False, 5)
    step(tracker, 0.0, False, True, 1)  # the reset step, back in room 1
    step(tracker, 7.0, True, False, 1)
    first, second = tracker.take_finished()
    assert (first.get_return(), len(first), first.rooms) == (5.0, 2, {1, 5})
    assert (second.get_return(), len(second), second.rooms) == (7.0, 1, {1})
    assert tracker.take_visits() == {"room": {1: 4, 5: 1}}  # every observation counts, reset ones too
    assert tracker.take_finished() == [] and tracker.take_visits() == {}


def test_an_episode_may_span_several_rollouts() -> None:
    tracker = EpisodeTracker(1)
    tracker.start({"room": np.array([1])})
    step(tracker, 0.0, False, False, 2)
    assert tracker.take_finished() == []
    tracker = pickle.loads(pickle.dumps(tracker))  # as in a checkpoint
    step(tracker, 0.0, False, False, 3)
    assert tracker.take_finished() == []
    step(tracker, 1.0, True, False, 3)
    (whole,) = tracker.take_finished()
    assert whole.rooms == {1, 2, 3} and whole.length == 3
    step(tracker, 0.0, False, True, 1)
    step(tracker, 0.0, True, False, 1)
    (next_one,) = tracker.take_finished()
    assert next_one.rooms == {1}
    assert whole.rooms == {1, 2, 3}


def test_environments_are_kept_apart_and_negative_places_are_nowhere() -> None:
    tracker, no = EpisodeTracker(3), np.zeros(3, dtype=bool)
    tracker.start({"position": np.array([0, 5, -1])})
    tracker.step(np.zeros(3), np.array([True, True, True]), no, {"position": np.array([1, 5, -1])})
    assert [e.places["position"] for e in tracker.take_finished()] == [{0, 1}, {5}, set()]
    assert tracker.take_visits() == {"position": {0: 1, 1: 1, 5: 2}}


def test_gymnasiums_mask_says_who_tells_a_place() -> None:
    tracker, none = EpisodeTracker(2), np.zeros(2, dtype=bool)
    tracker.start({})
    infos = {"room": np.array([7, 0]), "_room": np.array([True, False])}
    tracker.step(np.zeros(2), ~none, none, infos)
    assert [e.rooms for e in tracker.take_finished()] == [{7}, set()]


def test_progress_is_the_farthest_of_an_episode() -> None:
    tracker = EpisodeTracker(1)
    tracker.start({"progress": np.array([40])})
    for x, done, reset in [(90, False, False), (60, True, False), (40, False, True), (50, True, False)]:
        tracker.step(np.zeros(1), np.array([done]), np.array([reset]), {"progress": np.array([x])})
    assert [e.progress for e in tracker.take_finished()] == [90.0, 50.0]


def test_lost_lives_end_episodes_but_whole_games_are_reported() -> None:
    tracker = EpisodeTracker(1)
    tracker.start({"game_goes_on": np.array([False])})
    steps = [(5.0, True, False, True), (0.0, False, True, False), (7.0, True, False, False), (0.0, False, True, False)]
    for reward, done, reset, goes_on in [*steps, (1.0, True, False, False)]:
        tracker.step(np.array([reward]), np.array([done]), np.array([reset]), {"game_goes_on": np.array([goes_on])})
    assert [(e.raw_return, len(e)) for e in tracker.take_finished()] == [(12.0, 2), (1.0, 1)]


def test_environments_without_places_report_none() -> None:
    tracker = EpisodeTracker(1)
    tracker.start({})
    step(tracker, 1.0, True, False)
    (episode,) = tracker.take_finished()
    assert (episode.rooms, episode.places, episode.progress) == (set(), {}, None)
    assert tracker.take_visits() == {}


def test_the_history_remembers_the_first_visit_and_adds_up() -> None:
    history = PlaceHistory()
    history.add({1: 10, 2: 1}, agent_steps=100)
    history.add({1: 5, 3: 2}, agent_steps=200)
    assert history.visits == {1: 15, 2: 1, 3: 2}
    assert history.first_visit == {1: 100, 2: 100, 3: 200}
    assert vars(PlaceHistory(**vars(history))) == vars(history)


def test_means_are_over_the_last_episodes_only() -> None:
    recent = RecentEpisodes(2)
    assert recent.summary() == {}
    recent.add([EpisodeSummary(0, 100.0, 9, {"room": {1, 2, 3}}), EpisodeSummary(0, 1.0, 2, {"room": {1}})])
    recent.add([EpisodeSummary(1, 4.0, 6, {"room": {1, 2}})])
    assert [e.raw_return for e in recent.episodes()] == [1.0, 4.0]
    assert recent.summary() == {
        "episode_return_mean": 2.5,
        "episode_return_min": 1.0,
        "episode_return_max": 4.0,
        "episode_len_mean": 4.0,
        "episode_len_min": 2.0,
        "episode_len_max": 6.0,
        "rooms_per_episode_mean": 1.5,
    }
    roomless = RecentEpisodes(1)
    roomless.add([EpisodeSummary(0, 1.0, 1)])
    assert "rooms_per_episode_mean" not in roomless.summary()


STRANGE = ["kitchen", None, 3.7, float("nan"), (1, 2), {"x": 1}, np.array([0.5, 1.5])]


@pytest.mark.parametrize(
    ("kind", "value"),
    [(kind, v) for kind in ("room", "position", "progress") for v in STRANGE if (kind, str(v)) != ("progress", "3.7")],
    ids=str,
)
def test_what_is_no_number_is_ignored_with_one_warning(kind: str, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    values = np.full(2, None, dtype=object)
    values[0], values[1] = 2, value
    tracker, no = EpisodeTracker(2), np.zeros(2, dtype=bool)
    with caplog.at_level(logging.WARNING):
        tracker.start({kind: values})
        for _ in range(3):
            tracker.step(np.ones(2), no, no, {kind: values})
        tracker.step(np.ones(2), ~no, no, {kind: values})
    assert len(caplog.records) == 1 and repr(kind) in caplog.text
    told, untold = sorted(tracker.take_finished(), key=lambda episode: episode.env_index)
    if kind == "progress":
        assert (told.progress, untold.progress) == (2.0, None)
    else:
        assert (told.places[kind], untold.places[kind]) == ({2}, set())


@pytest.mark.parametrize("value", STRANGE, ids=str)
def test_a_life_is_only_lost_where_the_environment_says_true(value: Any) -> None:
    told = np.full(2, None, dtype=object)
    told[0], told[1] = True, value
    tracker, no = EpisodeTracker(2), np.zeros(2, dtype=bool)
    tracker.start({})
    tracker.step(np.ones(2), ~no, no, {"game_goes_on": told})
    assert [episode.env_index for episode in tracker.take_finished()] == [1]


def test_progress_that_only_some_tell_is_theirs() -> None:
    tracker, no = EpisodeTracker(2), np.zeros(2, dtype=bool)
    tracker.start({"progress": np.array([-5.0, 0.0]), "_progress": np.array([True, False])})
    tracker.step(np.ones(2), ~no, no, {})
    assert [episode.progress for episode in tracker.take_finished()] == [-5.0, None]
