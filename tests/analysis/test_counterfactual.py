"""Edits of console memory do on the screen what they say, there only; and what an agent is asked before and after."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.counterfactual import Counterfactual, counterfactuals, why_none
from rllib_rnd.analysis.events import Event, find_events, segment
from rllib_rnd.analysis.ram_edits import EDITS
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.envs.atari import AtariEnv
from rllib_rnd.envs.atari_options import AtariOptions, atari_games
from rllib_rnd.errors import ConfigError
from tests.analysis.playing import agent_in, hand_made, play, sizes_gathered

WALKS = json.loads((Path(__file__).parents[1] / "envs" / "data" / "rooms.json").read_text())
MONTEZUMA = "ALE/MontezumaRevenge-v5"
SMALL = {"frame_size": 36, "noop_max": 30}
MLP = {"type": "mlp", "hidden_sizes": [8]}
SMALL_RND = {"type": "rnd", "feature_dim": 4, "hidden_sizes": [4]}


@pytest.fixture(scope="module")
def agent() -> Agent:
    return agent_in(MONTEZUMA, SMALL, MLP, [SMALL_RND])


@pytest.fixture(scope="module")
def tape(agent: Agent) -> Tape:
    return play(agent, seed=5, max_steps=20)


def event_at(tape: Tape, t: int) -> Event:
    return Event("room", t, 0, "", 1.0, *segment(tape, t))


@pytest.fixture(scope="module")
def found(agent: Agent, tape: Tape) -> list[Counterfactual]:
    return counterfactuals(agent, tape, [event_at(tape, 12)])


# Game, step of its walk, edit -> where the screen changes: rows and columns from, to. None: not to be edited there.
BOXES: dict[tuple[str, int, str], tuple[int, int, int, int] | None] = {
    ("MontezumaRevenge", 20, "skull"): (168, 178, 66, 103),
    ("MontezumaRevenge", 20, "key away"): (99, 113, 13, 19),
    ("MontezumaRevenge", 20, "key given"): (28, 42, 56, 62),
    ("MontezumaRevenge", 20, "score"): (6, 13, 74, 93),
    ("MontezumaRevenge", 150, "key away"): None,  # it has been taken,
    ("MontezumaRevenge", 150, "key given"): None,  # and is carried
    ("MontezumaRevenge", 230, "skull"): None,  # another room
    ("Pitfall", 20, "log"): (118, 131, 101, 130),
    ("Pitfall", 20, "clock"): (22, 29, 54, 59),
    ("PrivateEye", 20, "player"): (51, 157, 19, 62),
    ("PrivateEye", 20, "clock"): (19, 26, 83, 88),
    ("Venture", 60, "monster"): (116, 123, 3, 24),
}


@pytest.mark.parametrize("game", sorted({game for game, _, _ in BOXES}))
def test_edits_change_what_they_say_and_nothing_else(game: str) -> None:
    env = AtariEnv(game, AtariOptions(sticky_action_prob=0.0, frame_size=36))
    env.reset(seed=0)
    actions = [action for action, count in WALKS[game]["actions"] for _ in range(count)]
    steps = {step for other, step, _ in BOXES if other == game}
    watched = {name for other, _, name in BOXES if other == game} | {"control"}
    edits = {edit.name: edit for edit in EDITS[atari_games()[game]]}
    assert watched == set(edits)
    for t, action in enumerate(actions[: max(steps) + 1]):
        if t in steps:
            state, ram = env.clone_state(), env.ale.getRAM()
            expected = {name: box for (other, step, name), box in BOXES.items() if (other, step) == (game, t)}
            as_it_was = screen(env, state, {}, actions[t : t + 4])
            for name, box in expected.items():
                writes = edits[name].writes(ram)
                assert (writes is None) == (box is None), name
                if writes is not None:
                    assert changed_box(as_it_was, screen(env, state, writes, actions[t : t + 4])) == box, name
            unseen = edits["control"].writes(ram)
            assert unseen and any(ram[address] != byte for address, byte in unseen.items())
            assert changed_box(as_it_was, screen(env, state, unseen, actions[t : t + 4])) is None
            env.restore_state(state)
        env.step(action)


def screen(env: AtariEnv, state: dict[str, Any], writes: dict[int, int], actions: list[int]) -> np.ndarray:
    env.restore_state(state)
    for address, byte in writes.items():
        env.ale.setRAM(address, byte)
    for action in actions:
        env.step(action)
    return env.ale.getScreenRGB()


def changed_box(a: np.ndarray, b: np.ndarray) -> tuple[int, int, int, int] | None:
    rows, columns = np.nonzero((a != b).any(axis=2))
    if not len(rows):
        return None
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def test_the_skull_moves_in_all_frames_and_nothing_else_does(agent: Agent, found: list[Counterfactual]) -> None:
    skull = found[0]
    assert [one.edit.name for one in found] == ["skull", "key away", "key given", "score", "control"]
    (address,), (old, new) = skull.writes, next(iter(skull.writes.values()))
    assert address == 47 and abs(new - old) == 30
    rows = np.flatnonzero((skull.obs != skull.obs_edited).any(axis=2))
    assert set(rows % 36) <= {28, 29, 30}  # of 36; the skull is in the rows 168 to 178 of 210
    assert set(rows // 36) == {0, 1, 2, 3}  # of the stack
    top, bottom, _, _ = changed_box(skull.picture, skull.picture_edited) or (0, 0, 0, 0)
    assert top in (167, 168) and bottom == 178
    assert 0 < skull.changed < 0.03


def test_every_target_and_the_policy_are_asked_twice(agent: Agent, tape: Tape, found: list[Counterfactual]) -> None:
    """Before the edit they say what the player wrote down; the unseen edit changes nothing at all."""
    state = States.of_tape(tape).select([12])
    for one in found:
        np.testing.assert_array_equal(one.obs, state.obs[0])
        assert set(one.targets) == {"action", "extrinsic_value", "intrinsic_value: rnd", "intrinsic_reward: rnd"}
        assert one.targets["extrinsic_value"][0] == pytest.approx(tape.value[12][0], abs=1e-6)
        assert one.targets["action"][0] == pytest.approx(np.log(one.policy[tape.action[12]]), abs=1e-5)
        assert one.policy_edited.sum() == pytest.approx(1.0) and len(one.actions) == len(one.policy) == 18
        before, after = zip(*one.targets.values(), strict=True)
        if one.edit.purpose == "control":
            assert before == after and one.policy_change == 0.0 == one.changed
            assert one.writes[118][0] != one.writes[118][1]
        else:
            assert {name for name, (x, y) in one.targets.items() if x == y} == set(), one.edit.name
            assert one.policy_change > 0.0


def test_the_same_again(agent: Agent, tape: Tape, found: list[Counterfactual]) -> None:
    for one, other in zip(found, counterfactuals(agent, tape, [event_at(tape, 12)], seed=5), strict=True):
        assert one.targets == other.targets and one.writes == other.writes
        np.testing.assert_array_equal(one.picture_edited, other.picture_edited)


def test_moments_are_a_stack_away_from_a_reset() -> None:
    """An event at the beginning is looked at later; of the same moment there is one; the limit counts moments."""
    agent = agent_in(MONTEZUMA, SMALL, MLP)
    tape = play(agent, seed=5, max_steps=20)
    events = [event_at(tape, t) for t in (0, 2, 4, 9, 15)]
    assert list(dict.fromkeys(one.t for one in counterfactuals(agent, tape, events))) == [4, 9, 15]
    assert list(dict.fromkeys(one.t for one in counterfactuals(agent, tape, events, limit=2))) == [4, 9]
    short = play(agent, seed=5, max_steps=3)
    assert counterfactuals(agent, short, [event_at(short, 1)]) == []


def test_only_the_moments_are_gathered(agent: Agent, tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = sizes_gathered(monkeypatch)
    assert counterfactuals(agent, tape, [event_at(tape, t) for t in (9, 12)], limit=1)
    assert gathered and max(gathered) == 2


def test_lives_that_are_episodes_play_again() -> None:
    """The steps that only reset, sticky actions and a newest frame that comes first."""
    config = {**SMALL, "terminal_on_life_loss": True, "stack_order": "newest_first", "sticky_action_prob": 0.5}
    agent = agent_in(MONTEZUMA, config, MLP, seed=1)
    tape = play(agent, seed=5, max_steps=60)
    second = next(t for t, first in enumerate(tape.is_first) if first and t)
    found = counterfactuals(agent, tape, [event_at(tape, second)])
    assert found[0].edit.name == "skull" and found[0].t == second + 4


def test_events_of_play_are_edited(agent: Agent, tape: Tape) -> None:
    found = counterfactuals(agent, tape, find_events(agent, [tape]), limit=1)
    assert found[0].event.kind == "room" and found[-1].edit.purpose == "control"


def test_what_cannot_be_played_again_is_refused(agent: Agent, tape: Tape) -> None:
    with pytest.raises(ConfigError, match="played again with seed 6, the episode differs from the tape at observation"):
        counterfactuals(agent, tape, [event_at(tape, 12)], seed=6)
    nowhere = dataclasses.replace(tape, seed=None)
    with pytest.raises(ConfigError, match="the tape does not say which seed its episode was played with"):
        counterfactuals(agent, nowhere, [event_at(tape, 12)])
    assert why_none(agent) is None


def test_where_no_edit_is_known() -> None:
    for env, config, reason in (
        ("rllib_rnd/DeepSea-v0", {}, "rllib_rnd/DeepSea-v0 is not an Atari game"),
        ("ALE/Pong-v5", {"frame_size": 36}, "no edit of ALE/Pong-v5 is known (there are some of MontezumaRevenge, "),
    ):
        agent = agent_in(env, config, MLP)
        tape = hand_made(9)
        assert (why_none(agent) or "").startswith(reason)
        assert counterfactuals(agent, tape, [event_at(tape, 5)]) == []
