"""The bytes of console memory that are read as the room, against the pictures of real play.

``data/rooms.json`` holds one walk through several rooms for each game in `ROOM_BYTES`: ``actions`` as
``[action, count]`` pairs, and ``rooms`` as ``[agent step, room]`` from the reset (step 0) on. The walks were found by
random search over saved emulator states; nothing in them is random. Each begins with one step of no-op, so that
envpool, which cannot reset without a frame of it, can play the same frames.

Shown is that the byte changes with the screen and takes its old value in a room seen before; not that no two rooms of
a whole game share a number. In Hero the byte counts the screens of a level from 0, so its level is added in.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from rllib_rnd.envs import make_vector_env
from rllib_rnd.envs.atari import AtariEnv
from rllib_rnd.envs.atari_options import ROOM_BYTES, AtariOptions, atari_games

WALKS: dict[str, dict[str, list[list[int]]]] = json.loads((Path(__file__).parent / "data" / "rooms.json").read_text())
ALL_GAMES = pytest.mark.parametrize("game", sorted(WALKS))

# The console may write the room one frame before it draws it, so a picture is final two steps after the change.
SETTLED = 2


class Replay(NamedTuple):
    rooms: list[int]  # after the reset and after each step, as the next two
    lives: list[int]
    screens: list[np.ndarray]  # raw frames in grey, [210, 160]


@functools.cache
def replay(game: str) -> Replay:
    env = AtariEnv(game, AtariOptions(sticky_action_prob=0.0))
    info = env.reset(seed=0)[1]
    rooms, lives, screens = [info["room"]], [info["lives"]], [env.ale.getScreenGrayscale()]
    for action in walk(game):
        _, _, terminated, truncated, info = env.step(action)
        assert not terminated and not truncated
        rooms.append(info["room"])
        lives.append(info["lives"])
        screens.append(env.ale.getScreenGrayscale())
    return Replay(rooms, lives, screens)


def walk(game: str) -> list[int]:
    return [action for action, count in WALKS[game]["actions"] for _ in range(count)]


def changes(rooms: list[int]) -> list[list[int]]:
    """``[step, room]`` of the first room and of each change."""
    return [[step, room] for step, room in enumerate(rooms) if step == 0 or room != rooms[step - 1]]


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two screens, 0 to 255."""
    return float(np.abs(a.astype(np.int16) - b).mean())


def test_every_known_byte_has_a_walk() -> None:
    """An address cannot be added without one."""
    assert {atari_games()[game] for game in WALKS} == set(ROOM_BYTES)


@ALL_GAMES
def test_the_room_follows_the_player(game: str) -> None:
    """Out of a room and back in every game; no life is lost, so it is the walking that changes the room."""
    played = replay(game)
    assert changes(played.rooms) == WALKS[game]["rooms"]
    visits = [room for _, room in WALKS[game]["rooms"]]
    assert len(set(visits)) >= 2 and len(visits) > len(set(visits))
    assert len(set(played.lives)) == 1


@ALL_GAMES
def test_the_picture_changes_exactly_when_the_room_does(game: str) -> None:
    """Each room change moves the picture three times as much as the busiest of all other steps.

    Both ways: a byte that changes within one screen fails, and so does one that misses a new screen.
    """
    played = replay(game)
    moved = np.array([difference(a, b) for a, b in zip(played.screens[:-1], played.screens[1:], strict=True)])
    # moved[i] is what step i + 1 did; a change may be drawn one step late.
    at_change = np.array([[step - 1, step] for step, _ in WALKS[game]["rooms"][1:]])
    others = np.delete(moved, at_change.ravel())
    assert moved[at_change].max(axis=1).min() > 3.0 * others.max()
    assert len(others) > 0.9 * len(moved)


@ALL_GAMES
def test_a_room_looks_the_same_when_entered_again(game: str) -> None:
    """Two visits of one room differ less than half as much as a visit of it and one of any other room."""
    screens = replay(game).screens
    visits = [(room, screens[step + SETTLED]) for step, room in WALKS[game]["rooms"]]
    returns = 0
    for i, (room, screen) in enumerate(visits):
        same = [difference(screen, other) for j, (r, other) in enumerate(visits) if r == room and j != i]
        unlike = [difference(screen, other) for r, other in visits if r != room]
        assert min(unlike) > 2.0
        if same:
            assert max(same) < 0.5 * min(unlike)
            returns += 1
    assert returns >= 2


@ALL_GAMES
def test_envpool_reads_the_same_rooms(game: str) -> None:
    """Played frame by frame: the no-op that envpool adds after a reset then is the first frame of the walk's own."""
    pytest.importorskip("envpool")
    options = {"backend": "envpool", "sticky_action_prob": 0.0, "frame_skip": 1}
    env = make_vector_env(f"ALE/{game}-v5", 1, options, num_threads=1)
    actions = walk(game)
    assert actions[0] == 0
    per_step = AtariOptions().frame_skip
    infos = env.reset(seed=0)[1]
    rooms = [int(infos["room"][0])]
    for action in np.repeat(actions, per_step)[1:]:
        infos = env.step(np.array([action]))[4]
        rooms.append(int(infos["room"][0]))
    # The first entry was read after frame 1, the others after frames 2, 3, ...; a step ends with each fourth.
    assert changes([rooms[0], *rooms[per_step - 1 :: per_step]]) == WALKS[game]["rooms"]
    env.close()


@pytest.mark.parametrize("game", ["Gravitar", "Breakout"])
@pytest.mark.parametrize("backend", ["gymnasium", "ale", "envpool"])
def test_games_without_a_known_byte_report_no_room(game: str, backend: str) -> None:
    if backend == "envpool":
        pytest.importorskip("envpool")
    options: dict[str, Any] = {"backend": backend, "sticky_action_prob": 0.0}
    env = make_vector_env(f"ALE/{game}-v5", 1, options, num_threads=1)
    infos = [env.reset(seed=0)[1], env.step(np.array([1]))[4]]
    assert all("lives" in info and "room" not in info and "_room" not in info for info in infos)
    env.close()
