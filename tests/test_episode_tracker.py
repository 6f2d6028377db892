"""Returns, lengths and rooms per episode, with reset steps excluded."""

from __future__ import annotations

import numpy as np

from rllib_rnd.episode_tracker import EpisodeSummary, EpisodeTracker, RecentEpisodes


def test_reset_step_starts_a_new_episode_and_counts_nothing() -> None:
    tracker, no, yes = EpisodeTracker(1), np.array([False]), np.array([True])
    tracker.start(np.array([1]))
    tracker.step(np.array([2.0]), no, no, np.array([1]))
    tracker.step(np.array([3.0]), yes, no, np.array([5]))
    tracker.step(np.array([0.0]), no, yes, np.array([1]))  # the reset step, back in room 1
    tracker.step(np.array([7.0]), yes, no, np.array([1]))
    first, second = tracker.take_finished()
    assert (first.get_return(), len(first), first.rooms) == (5.0, 2, {1, 5})
    assert (second.get_return(), len(second), second.rooms) == (7.0, 1, {1})
    assert tracker.rooms_visited == {1, 5}
    assert tracker.take_finished() == []


def test_environments_without_rooms_report_none() -> None:
    tracker = EpisodeTracker(2)
    tracker.start(None)
    tracker.step(np.ones(2), np.array([True, False]), np.zeros(2, dtype=bool), None)
    assert [e.rooms for e in tracker.take_finished()] == [set()]
    assert tracker.rooms_visited == set()


def test_means_are_over_the_last_episodes_only() -> None:
    recent = RecentEpisodes(2)
    assert recent.summary() == {}
    recent.add([EpisodeSummary(0, 100.0, 9, {1, 2, 3}), EpisodeSummary(0, 1.0, 2, {1})])
    recent.add([EpisodeSummary(1, 4.0, 6, {1, 2})])
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
