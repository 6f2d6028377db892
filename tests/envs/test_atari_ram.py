"""Annotated bytes of console memory, tried in the emulator: the screen, the lives and the clock say what they say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from rllib_rnd.envs.atari import AtariEnv
from rllib_rnd.envs.atari_options import ROOM_BYTES, AtariOptions, action_names, atari_games
from rllib_rnd.envs.atari_ram import KINDS, MONTEZUMA_INVENTORY, RAM, VARIABLES, decode
from tests.envs.test_rooms import walk

GAMES = {rom: game for game, rom in atari_games().items() if rom in RAM}
# Colours that only the player, and that only one of its enemies, has on the screen; the rows to look at.
COLOURS: dict[tuple[str, str], tuple[tuple[int, int, int], slice]] = {
    ("montezuma_revenge", ""): ((228, 111, 111), slice(50, 190)),
    ("montezuma_revenge", "skull_"): ((236, 236, 236), slice(150, 190)),
    ("pitfall", ""): ((92, 186, 92), slice(60, 150)),
    ("pitfall", "scorpion_"): ((236, 236, 236), slice(140, 190)),
    ("private_eye", ""): ((228, 111, 111), slice(60, 190)),
    ("hero", ""): ((84, 138, 210), slice(20, 140)),
}
VENTURE_MONSTERS = (82, 126, 45)


def start(rom: str) -> AtariEnv:
    """The game, a raw frame to the step."""
    env = AtariEnv(GAMES[rom], AtariOptions(sticky_action_prob=0.0, frame_skip=1, full_action_space=True))
    env.reset(seed=0)
    return env


def play(env: AtariEnv, num_frames: int, seed: int = 0) -> Iterator[dict[str, float]]:
    """Random play, an action to eight frames."""
    random = np.random.default_rng(seed)
    for frame in range(num_frames):
        if frame % 8 == 0:
            action = int(random.integers(len(env._actions)))
        if any(env.step(action)[2:4]):
            env.reset()
        else:
            yield decode(env._rom, env.ale.getRAM())


def centre(env: AtariEnv, colour: tuple[int, int, int], rows: slice = slice(None)) -> tuple[float, float]:
    """x and y of the middle of the pixels of a colour, NaN if there are none or too many for one thing."""
    y, x = np.nonzero((env.ale.getScreenRGB()[rows] == np.array(colour)).all(axis=-1))
    return (float(x.mean()), float(y.mean())) if 5 < len(x) < 100 else (math.nan, math.nan)


def changed(env: AtariEnv, byte: int, value: int) -> np.ndarray:
    """``[210, 160]`` bool: the pixels that differ, two frames later, if a byte is written."""
    state, screens = env.ale.cloneState(), []
    for write in (False, True):
        env.ale.restoreState(state)
        if write:
            env.ale.setRAM(byte, value)
        env.ale.act(0)
        env.ale.act(0)
        screens.append(env.ale.getScreenGrayscale())
    env.ale.restoreState(state)
    return screens[0] != screens[1]


@pytest.mark.parametrize(("rom", "what"), COLOURS, ids=[" ".join(key).strip() for key in COLOURS])
def test_positions_are_where_the_screen_shows_them(rom: str, what: str) -> None:
    """The byte follows the middle of its sprite; where one is not seen to move, nothing is asked of it."""
    env, (colour, rows) = start(rom), COLOURS[rom, what]
    said, seen = [], []
    for values in play(env, 900):
        said.append([values[what + "x"], values.get(what + "y", math.nan)])
        seen.append(centre(env, colour, rows))
    there, here = np.array(said), np.array(seen)
    known = ~np.isnan(there[:, 0]) & ~np.isnan(here[:, 0])
    assert known.sum() > 300
    assert np.corrcoef(there[known, 0], here[known, 0])[0, 1] > 0.97
    if what == "":  # the skull and the scorpion stay on their floor
        assert abs(np.corrcoef(there[known, 1], here[known, 1])[0, 1]) > 0.95


@pytest.mark.parametrize("rom", ["montezuma_revenge", "pitfall", "private_eye", "venture", "hero"])
def test_x_grows_to_the_right(rom: str) -> None:
    env, names = start(rom), action_names()
    for _ in range(150):
        env.step(0)
    x = [decode(rom, env.ale.getRAM())["x"]]
    for name in ("RIGHT", "LEFT"):
        for _ in range(6 if rom == "montezuma_revenge" else 25):  # there the platform ends
            env.step(env._actions.index(names[name]))
        x.append(decode(rom, env.ale.getRAM())["x"])
    assert x[1] > x[0] and x[2] < x[1]


@pytest.mark.parametrize("rom", sorted(rom for rom in RAM if "lives" in RAM[rom]))
def test_lives_are_the_emulators(rom: str) -> None:
    """At every frame of games in which lives are lost; at zero the game is over and its screens are another game's."""
    env, seen = start(rom), set()
    for values in play(env, 3000 if rom != "venture" else 4000):
        if env.ale.lives() > 0:
            assert values["lives"] == env.ale.lives()
            seen.add(env.ale.lives())
    assert len(seen) >= 2


@pytest.mark.parametrize("rom", sorted(ROOM_BYTES))
def test_rooms_are_those_of_info(rom: str) -> None:
    env = AtariEnv(GAMES[rom], AtariOptions(sticky_action_prob=0.0))
    env.reset(seed=0)
    for action in walk(GAMES[rom]):
        info = env.step(action)[4]
        assert decode(rom, env.ale.getRAM())["room"] == info["room"]


def test_montezumas_key_is_taken_and_spent() -> None:
    """On the walk through real rooms: 100 points for the key, 300 for the door that it opens."""
    env = AtariEnv("MontezumaRevenge", AtariOptions(sticky_action_prob=0.0))
    env.reset(seed=0)
    keys, skull, points, steps = [], [], [], walk("MontezumaRevenge")
    for action in steps:
        points.append(env.step(action)[1])
        values = decode("montezuma_revenge", env.ale.getRAM())
        keys.append(values["keys"])
        skull.append((values["room"], values["skull_x"]))
    taken, spent = points.index(100.0), points.index(300.0)
    assert keys == [0.0] * taken + [1.0] * (spent - taken) + [0.0] * (len(steps) - spent)
    assert all(math.isnan(x) == (room != 1.0) for room, x in skull)
    assert len({x for room, x in skull[:50]}) > 30  # it rolls


def test_a_written_byte_moves_what_it_stands_for() -> None:
    """Montezuma's skull, key and inventory, Private Eye's item, Hero's power, dynamite and lives: at their place."""
    montezuma = start("montezuma_revenge")
    for _ in range(60):
        montezuma.step(0)
    ram = RAM["montezuma_revenge"]
    areas = {"skull_x": (150, 190), "object_x": (95, 120), "x": (60, 100), "lives": (10, 25)}
    for name, (top, bottom) in areas.items():
        rows = np.nonzero(changed(montezuma, ram[name], int(montezuma.ale.getRAM()[ram[name]]) - 3))[0]
        assert rows.size and top <= rows.min() and rows.max() <= bottom
    for bit in range(8):
        rows = np.nonzero(changed(montezuma, ram["inventory"], 1 << bit))[0]
        assert rows.size and rows.min() >= 25 and rows.max() <= 50
    assert sum(MONTEZUMA_INVENTORY.values()) == 255

    for rom, name, value, place in (
        ("private_eye", "item", 20, (slice(30, 50), slice(130, 155))),
        ("hero", "power", 10, (slice(140, 152), slice(60, 160))),
        ("hero", "dynamite", 2, (slice(160, 180), slice(40, 110))),
        ("hero", "lives", 1, (slice(148, 168), slice(40, 110))),
    ):
        env = start(rom)
        for _ in range(60):
            env.step(0)
        pixels = changed(env, RAM[rom][name], value)
        assert pixels.any() and not np.delete(pixels, np.r_[place[0]], axis=0).any()
        assert not np.delete(pixels, np.r_[place[1]], axis=1).any()


@pytest.mark.parametrize("rom", ["pitfall", "private_eye"])
def test_the_clock_runs_down_a_second_in_sixty_frames(rom: str) -> None:
    env = start(rom)
    for _ in range(130):  # Pitfall's clock waits for the first action
        env.step(3)
    told = []
    for _ in range(600):
        env.step(0)
        values = decode(rom, env.ale.getRAM())
        told.append(60 * values["minutes"] + values["seconds"])
    assert 8.0 <= told[0] - told[-1] <= 11.0
    assert all(0.0 <= before - after <= 1.0 for before, after in itertools.pairwise(told))


def test_ventures_hall_monsters_are_where_they_are_drawn() -> None:
    """Every pixel in their colour lies at one of the six, and all six are seen (they flicker by turns)."""
    env, seen = start("venture"), set()
    for _ in range(200):
        env.step(0)
    for _ in range(60):
        before = decode("venture", env.ale.getRAM())
        env.step(0)
        left = (env.ale.getScreenRGB() == np.array(VENTURE_MONSTERS)).all(axis=-1)
        assert before["room"] == 8.0 and left.any()
        for i in range(6):
            # The second of each pair of sprites is drawn six pixels further to the left.
            x, y = int(before[f"monster_{i}_x"]) - (7 if i in (2, 5) else 1), int(before[f"monster_{i}_y"]) * 2 + 26
            area = (slice(max(0, y % 512 - 5 if y < 500 else 0), (y % 512) + 16), slice(max(0, x - 3), x + 11))
            if left[area].sum() > 10:
                seen.add(i)
                left[area] = False
        assert left.sum() == 0
    assert len(seen) >= 5


def test_gravitars_ship_is_where_its_bytes_are_written() -> None:
    """A written x moves it sideways, a written y up or down, and nothing else."""
    env, ram = start("gravitar"), RAM["gravitar"]
    for _ in range(200):
        env.step(0)
    boxes = {}
    for axis in "xy":
        rows, columns = np.nonzero(changed(env, ram[axis], int(env.ale.getRAM()[ram[axis]]) + 20))
        boxes[axis] = (np.ptp(columns), np.ptp(rows))
    assert boxes["x"][0] > 15 and boxes["x"][1] < 10
    assert boxes["y"][0] < 10 and boxes["y"][1] > 15


def test_gravitars_scene_changes_with_the_whole_picture() -> None:
    env, frames = start("gravitar"), []
    for values in play(env, 4000, seed=3):
        frames.append((values["scene"], env.ale.getScreenGrayscale()))
    scenes = [scene for scene, _ in frames]
    changes = [i for i in range(1, len(scenes) - 3) if scenes[i] != scenes[i - 1]]
    assert changes
    for i in changes:
        assert np.mean(frames[i - 1][1] != frames[min(i + 12, len(frames) - 1)][1]) > 0.01


def test_decode_names_every_annotated_variable_once() -> None:
    for rom, variables in VARIABLES.items():
        assert set(decode(rom, np.zeros(128, dtype=np.uint8))) == set(RAM[rom]) == set(KINDS[rom]) == set(variables)
        assert all(0 <= byte < 128 for byte in RAM[rom].values())
        assert set(KINDS[rom].values()) <= {"number", "category"}
