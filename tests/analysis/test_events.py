"""Events on tapes made by hand: each kind, its order, its limits, and what is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis import events as events_module
from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.events import Event, around, find_events, segment
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.tape import Tape
from tests.analysis.playing import agent_in, hand_made, play

SMALL_RND = {"type": "rnd", "feature_dim": 4, "hidden_sizes": [4]}


@pytest.fixture(scope="module")
def agent() -> Agent:
    return agent_in()


@pytest.fixture
def curious(monkeypatch: pytest.MonkeyPatch) -> Agent:
    """With an intrinsic reward, which a test sets by ``bonus``."""
    agent = agent_in(rewards=[SMALL_RND])
    monkeypatch.setattr(events_module, "intrinsic_rewards", lambda _, rollout: (no_bonus(rollout.num_steps), None))
    return agent


def no_bonus(steps: int) -> np.ndarray:
    return np.zeros((steps, 1))


def set_bonus(monkeypatch: pytest.MonkeyPatch, *bonuses: Any) -> None:
    left = [np.asarray(bonus, dtype=np.float64)[:, None] for bonus in bonuses]
    monkeypatch.setattr(events_module, "intrinsic_rewards", lambda *_: (left.pop(0), None))


def places(found: list[Event], kind: str) -> list[tuple[int, int]]:
    return [(event.episode, event.t) for event in found if event.kind == kind]


def at(values: dict[int, Any], steps: int, otherwise: Any = 0.0) -> list[Any]:
    return [values.get(t, otherwise) for t in range(steps)]


def streams(*columns: list[float]) -> list[np.ndarray]:
    return list(np.array(columns, dtype=np.float32).T)


def test_nothing_to_see(agent: Agent, curious: Agent) -> None:
    """No rooms, no pictures, no rewards, values that never change: only the end."""
    assert find_events(agent, []) == []
    for who, count in ((agent, 1), (curious, 2)):
        (event,) = find_events(who, [hand_made(30, count)])
        assert (event.kind, event.t, event.episode, event.strength) == ("end", 29, 0, 0.0)
        assert event.text == "end of the episode after 30 agent steps, return 0"


def test_first_visits_of_rooms_over_all_episodes(agent: Agent) -> None:
    """The last one found first; none is found twice, nowhere is no room, and the last observation is not acted on."""
    first = hand_made(40, rooms=[1] * 10 + [-1] * 5 + [2] * 15 + [1] * 10 + [9])
    second = hand_made(20, rooms=[2] * 5 + [7] * 16, positions=[5] * 21)
    found = find_events(agent, [first, second])
    rooms = [event for event in found if event.kind == "room"]
    assert [(event.episode, event.t) for event in rooms] == [(1, 5), (0, 15), (0, 0)]
    assert [event.text for event in rooms] == [
        "first visit of room 7, after 2 others",
        "first visit of room 2, after 1 other",
        "first visit of room 1",
    ]
    assert not places(found, "position")


def test_an_atari_console_draws_a_room_late(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    atari = agent_in("ALE/MontezumaRevenge-v5", {"frame_size": 36}, {"type": "mlp", "hidden_sizes": [2]})
    tape = hand_made(40, rooms=[1] * 10 + [2] * 20 + [3, 3, 1, 1, 1] + [4] * 6)
    tape.is_first[36] = True
    assert places(find_events(atari, [tape], limit=9), "room") == [(0, 35), (0, 31), (0, 12), (0, 2)]
    assert places(find_events(agent, [tape], limit=9), "room") == [(0, 35), (0, 30), (0, 10), (0, 0)]


def test_positions_stand_in_for_rooms_and_are_thinned(agent: Agent) -> None:
    tape = hand_made(31, positions=[t // 3 for t in range(32)])
    found = find_events(agent, [tape], limit=3)
    assert places(found, "position") == [(0, 30), (0, 15), (0, 0)]
    (end,) = [event for event in found if "end of" in event.text]
    assert (end.kind, end.t) == ("position", 30)
    assert end.text == "first visit of position 10, after 10 others; end of the episode after 31 agent steps, return 0"


def test_rewards_the_largest_first_ties_in_order_of_time(agent: Agent) -> None:
    """Neighbours of a larger one are left out, also just before it, but not those of another episode."""
    first = hand_made(60, reward=at({3: 1.0, 20: -5.0, 22: 4.0, 26: 2.0, 40: 1.0, 52: 1.0}, 60))
    second = hand_made(60, reward=at({21: 1.0}, 60))
    found = find_events(agent, [first, second])
    assert places(found, "reward") == [(0, 20), (0, 3), (0, 40), (0, 52)]
    assert next(event.text for event in found if event.kind == "reward") == "extrinsic reward -5"
    assert places(find_events(agent, [first, second], limit=1), "reward") == [(0, 20)]
    assert places(find_events(agent, [first, second], limit=9), "reward")[-1] == (1, 21)


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ([1.0] * 60, []),  # CartPole's
        ([1.0] * 59 + [-1.0], [59]),  # and where falling costs something
        ([1.0, 0.0] * 30, []),  # as usual as its absence
        ([float(min(t % 7, 5)) for t in range(60)], [0, 14, 28, 42]),  # 0 is furthest from 3; neighbours are left out
        ([*np.linspace(-1.0, 1.0, 50), *[0.0] * 8, 9.0, 0.0], [58, 0, 49]),  # of those that are never the same
        (at({3: 0.5, 30: 100.0}, 60), [30, 3]),  # rare ones count, however small beside the largest
    ],
)
def test_only_unusual_rewards_are_events(agent: Agent, reward: list[float], expected: list[int]) -> None:
    found = find_events(agent, [hand_made(60, reward=reward)])
    rewards = [event.t for event in found if "extrinsic reward" in event.text]  # alone, or together with the end
    assert sorted(rewards[: len(expected)]) == sorted(expected) and bool(rewards) == bool(expected)


def test_a_lone_reward_of_a_short_episode_is_an_event(agent: Agent) -> None:
    (event,) = find_events(agent, [hand_made(3, reward=[0.0, 0.0, 1.0])])
    assert event.text.startswith("extrinsic reward +1; end of the episode")


def test_what_is_usual_is_told(agent: Agent) -> None:
    tape = hand_made(60, reward=[1.0] * 30 + [3.0] + [1.0] * 29)
    tape.is_first[20] = True  # a step that only resets is none of the agent's, and its 0 no reward
    tape.reward[19] = 0.0
    (reward,) = [event for event in find_events(agent, [tape]) if event.kind == "reward"]
    assert (reward.t, reward.text, reward.strength) == (30, "extrinsic reward +3, usually +1", 2.0)


def test_moments_of_one_kind_are_apart_whatever_their_order() -> None:
    """As by comparing each with all stronger ones, without doing so."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, [90, 2, 9], (80, 3))
    found = [events_module._Found(int(t), int(i), "", float(strength)) for t, i, strength in drawn]
    kept: list[tuple[int, int]] = []
    for t, i, _, _ in sorted(found, key=lambda one: (-one.strength, one.episode, one.t)):
        if all(i != episode or abs(t - other) > events_module.APART for episode, other in kept):
            kept.append((i, t))
    assert [(one.episode, one.t) for one in events_module._apart(found)] == kept and len(kept) < len(found)


def test_lives_told_in_two_ways(agent: Agent) -> None:
    """By their number, and by episodes that are one life, whose reset step brings the next observation."""
    counted = hand_made(40, lives=[3] * 10 + [2] * 20 + [1] * 11)
    found = find_events(agent, [counted])
    assert places(found, "life") == [(0, 29), (0, 9)]
    assert [event.text for event in found if event.kind == "life"] == ["life lost, 1 left", "life lost, 2 left"]
    lost = hand_made(40, life_lost=at({10: True}, 41, False))
    lost.is_first[11] = True
    found = find_events(agent, [lost])
    assert places(found, "life") == [(0, 9)]
    (life,) = [event for event in found if event.kind == "life"]
    assert life.text == "life lost" and (life.first, life.last) == (0, 10)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"finished": False}, "cut after 12 agent steps, return 0"),
        ({"terminated": [False] * 12, "truncated": at({11: True}, 12, False)}, "end by the time limit after 12"),
    ],
)
def test_ends(agent: Agent, changes: dict[str, Any], text: str) -> None:
    tape = hand_made(12)
    for name, value in changes.items():
        setattr(tape, name, value)
    (event,) = find_events(agent, [tape])
    assert event.text.startswith(text)


def test_bonuses_are_peaks_and_not_their_neighbours(curious: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the observation that was reached; of a plateau the first; the shoulder of a peak is none."""
    bonus = np.full(60, 0.1)
    bonus[5:20] = np.linspace(1.0, 0.15, 15)  # a long slope: only its top is a peak
    bonus[30:33] = 0.9
    bonus[45], bonus[50] = 0.5, 0.6  # too near to each other
    bonus[59] = 2.0  # leads to the last observation, which the policy did not act on
    set_bonus(monkeypatch, bonus)
    found = find_events(curious, [hand_made(60, 2)])
    assert places(found, "bonus: rnd") == [(0, 6), (0, 31), (0, 51)]
    top = next(event for event in found if event.kind == "bonus: rnd")
    assert top.strength == 1.0 and top.text.startswith("rnd: intrinsic reward 1, 2.")
    assert top.text.endswith(" standard deviations above its mean")


def test_a_bonus_for_being_there_lies_at_its_own_step(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_in(rewards=[{**SMALL_RND, "reward_on": "current"}])
    set_bonus(monkeypatch, at({0: 3.0, 20: 2.0}, 40, 1.0))
    assert places(find_events(agent, [hand_made(40, 2)]), "bonus: rnd") == [(0, 0), (0, 20)]


def test_no_bonus_is_paid_for_a_reset(curious: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = hand_made(40, 2)
    tape.is_first[21] = True
    bonus = np.array(at({12: 2.0, 30: 1.5}, 40, 1.0))
    bonus[20] = np.nan
    set_bonus(monkeypatch, bonus)
    assert places(find_events(curious, [tape]), "bonus: rnd") == [(0, 13), (0, 31)]


def test_critics_disagree_where_their_standard_scores_are_far_apart(curious: Agent) -> None:
    """Not where their values are: one is a hundred times as large as the other, and both rise at 10."""
    extrinsic = at({10: 5.0, 25: 5.0}, 41)
    for other, expected in {30: [25], 35: [25, 35]}.items():  # equally far apart: the earlier one, if they are near
        values = streams(extrinsic, at({10: 500.0, other: 500.0}, 41))
        found = find_events(curious, [hand_made(40, 2, value=values)])
        assert places(found, "disagreement: rnd") == [(0, t) for t in expected]
    first = next(event for event in found if event.kind == "disagreement: rnd")
    assert first.text.startswith(
        "critics disagree: extrinsic value 4.4 standard deviations above its mean, that of rnd"
    )


def test_events_that_fall_together_are_one(curious: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first kind names it, all tell; what lies in another life or episode stays apart."""
    tape = hand_made(40, 2, rooms=[1] * 12 + [2] * 29, reward=at({13: 1.0, 30: 1.0}, 40))
    set_bonus(monkeypatch, at({12: 5.0, 30: 4.0}, 40, 1.0))
    found = find_events(curious, [tape])
    (room,) = [event for event in found if event.t == 12]
    assert room.kind == "room"
    assert room.text.startswith("first visit of room 2, after 1 other; extrinsic reward +1; rnd: intrinsic reward 5, ")
    assert places(found, "reward") == [(0, 30)] and not places(found, "bonus: rnd")
    tape.is_first[31] = True
    set_bonus(monkeypatch, at({12: 5.0, 31: 4.0}, 40, 1.0))
    assert places(find_events(curious, [tape]), "bonus: rnd") == [(0, 32)]


def test_the_first_of_every_kind_come_first(agent: Agent) -> None:
    tape = hand_made(60, reward=at({20: 1.0, 40: 2.0}, 60), rooms=[1] * 10 + [2] * 51)
    kinds = [event.kind for event in find_events(agent, [tape])]
    assert kinds == ["room", "reward", "end", "room", "reward"]


def test_an_empty_tape_is_passed_over(agent: Agent) -> None:
    found = find_events(agent, [Tape(1, False), hand_made(5)])
    assert [(event.episode, event.t) for event in found] == [(1, 4)]


def test_a_strip_stays_within_its_life() -> None:
    tape = hand_made(30)
    tape.is_first[10] = tape.is_first[20] = True
    assert [segment(tape, t) for t in (0, 9, 10, 19, 30)] == [(0, 9), (0, 9), (10, 19), (10, 19), (20, 30)]
    event = Event("end", 11, 0, "", 0.0, *segment(tape, 11))
    assert around(event, 3, 2) == [10, 11, 12, 13]
    assert around(Event("end", 29, 0, "", 0.0, *segment(tape, 29)), 1, 5) == [28, 29, 30]
    assert around(event, 0, 0) == [11]


@pytest.mark.parametrize("env", ["rllib_rnd/DeepSea-v0", "CartPole-v1"])
def test_played_episodes(env: str) -> None:
    """The same events every time, each at an observation that States hold; cells where they are told, and bonuses."""
    agent = agent_in(env, rewards=[SMALL_RND])
    tapes = [play(agent, seed) for seed in range(2)]
    found = find_events(agent, tapes)
    assert found == find_events(agent, tapes)
    kinds = {event.kind for event in found}
    assert ("position" in kinds) == ("DeepSea" in env) and any("rnd" in event.text for event in found)
    for event in found:
        states = States.of_tape(tapes[event.episode], event.episode)
        assert 0 <= event.t < len(states) and event.first <= event.t <= event.last
