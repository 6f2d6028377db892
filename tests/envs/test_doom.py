"""My Way Home on the real engine: what pays, where episodes begin and end, processes and files, exact resume."""

from __future__ import annotations

import importlib.util
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rllib_rnd.envs import frame_stack, make_env, make_vector_env
from rllib_rnd.envs.doom import _SECTORS, DOOM_MY_WAY_HOME, DoomEnv, DoomOptions, find_cell, find_sector
from rllib_rnd.errors import ConfigError
from rllib_rnd.options import parse_options

if importlib.util.find_spec("vizdoom") is None:
    pytest.skip("the extra vizdoom is not installed", allow_module_level=True)

NOOP, LEFT, RIGHT, FORWARD = range(4)
# From the end of the southern dead end, through every turn, to the armour; map units.
WALK = ((460, -596), (464, -176), (464, 56), (690, 56), (1040, 56), (1040, -352))
ARMOUR = (1040, -352)


def make(render_mode: str | None = None, **options: Any) -> DoomEnv:
    return DoomEnv(DoomOptions(**options), render_mode)


def walk(env: DoomEnv, way: tuple[tuple[float, float], ...]) -> list[Any]:
    """(obs, reward, terminated, truncated, info) of each step from corner to corner, turning towards the next."""
    from vizdoom import GameVariable

    results: list[Any] = []
    for x, y in way:
        while not results or not (results[-1][2] or results[-1][3]):
            own_x, own_y = env._place()
            if math.hypot(x - own_x, y - own_y) < 24:
                break
            heading = math.degrees(math.atan2(y - own_y, x - own_x))
            turn = (heading - env.game.get_game_variable(GameVariable.ANGLE) + 180) % 360 - 180
            results.append(env.step(FORWARD if abs(turn) < 7 else LEFT if turn > 0 else RIGHT))
    return results


def play(env: DoomEnv, actions: list[int]) -> list[Any]:
    results: list[Any] = []
    for action in actions:
        results.append(env.step(action))
        if results[-1][2] or results[-1][3]:
            break
    return results


def random_actions(steps: int, seed: int = 0) -> list[int]:
    return [int(a) for a in np.random.default_rng(seed).integers(6, size=steps)]


def assert_same_play(first: list[Any], second: list[Any]) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        assert a[1:] == b[1:]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasium_checker_passes() -> None:
    check_env(make("rgb_array"))


def test_observations_are_stacks_of_what_the_player_sees() -> None:
    env = make("rgb_array", frame_size=42, frame_stack=3)
    obs, _ = env.reset(seed=0)
    assert env.observation_space == gym.spaces.Box(0, 255, (3, 42, 42), np.uint8)
    assert obs.shape == (3, 42, 42) and obs.dtype == np.uint8
    assert (obs == obs[0]).all() and obs.std() > 10
    kept, copies = [obs], [obs.copy()]
    for _ in range(20):
        kept.append(env.step(LEFT)[0])
        copies.append(kept[-1].copy())
        np.testing.assert_array_equal(kept[-1][:-1], kept[-2][1:])
        grey = cv2.cvtColor(env.render(), cv2.COLOR_RGB2GRAY)
        np.testing.assert_array_equal(kept[-1][-1], cv2.resize(grey, (42, 42), interpolation=cv2.INTER_AREA))
    assert not np.array_equal(kept[-1][-1], kept[-2][-1])
    np.testing.assert_array_equal(kept, copies)  # what was returned stays as it was
    assert env.render().shape == (120, 160, 3) and make().render() is None


@pytest.mark.parametrize(("start", "rooms"), [("very_sparse", 10), ("sparse", 8)])
def test_only_the_armour_pays_and_it_ends_the_episode(start: str, rooms: int) -> None:
    """A scripted walk from each fixed start, at each with a heading of its own."""
    way = WALK if start == "very_sparse" else WALK[1:]
    env = make(start=start, actions="scenario")
    env.reset(seed=1)
    assert math.dist(env._place(), (544, -672) if start == "very_sparse" else (240, -176)) < 1
    results = walk(env, way)
    assert len(results) < 525
    assert [r[1] for r in results] == [0.0] * (len(results) - 1) + [1.0]
    assert [r[2] for r in results] == [False] * (len(results) - 1) + [True]
    assert not any(r[3] for r in results)
    assert math.dist(env._place(), ARMOUR) < 50 and results[-1][4]["room"] == 8
    assert len({r[4]["room"] for r in results}) >= rooms
    with pytest.raises(RuntimeError, match="reset"):
        env.step(NOOP)
    assert env.reset()[0].any()


def test_the_original_reward_counts_the_tics() -> None:
    env = make(start="sparse", reward="original")
    env.reset(seed=1)
    results = walk(env, WALK[1:])
    assert [r[1] for r in results[:-1]] == pytest.approx([-0.0004] * (len(results) - 1))
    assert results[-1][1] == pytest.approx(1.0, abs=0.0004)


@pytest.mark.parametrize(("frame_skip", "steps"), [(4, 525), (7, 300), (16, 132)])
def test_the_time_limit_truncates_with_a_true_last_picture(frame_skip: int, steps: int) -> None:
    env = make(frame_skip=frame_skip, reward="original")
    env.reset(seed=0)
    results = play(env, [LEFT] * 600)
    assert len(results) == steps
    assert results[-1][2:4] == (False, True) and not any(r[2] or r[3] for r in results[:-1])
    assert sum(r[1] for r in results) == pytest.approx(-0.21)  # 2,100 tics
    assert not np.array_equal(results[-1][0][-1], results[-1][0][-2])


def test_random_play_is_not_paid() -> None:
    env = make(start="very_sparse")
    env.reset(seed=0)
    assert {r[1] for r in play(env, random_actions(525))} == {0.0}


def test_same_seed_and_actions_same_play_and_other_seed_other_play() -> None:
    env, other = make(), make()
    actions = random_actions(30)

    def one(e: DoomEnv, seed: int | None) -> list[Any]:
        obs, info = e.reset(seed=seed)
        return [(obs, 0.0, False, False, info), *play(e, actions)]

    first = one(env, 5)
    second = one(env, None)  # goes on with the random stream
    assert_same_play(first, one(other, 5))
    assert_same_play(second, one(other, None))
    for others in (second, one(other, 6)):
        assert any(not np.array_equal(a[0], b[0]) for a, b in zip(first, others, strict=False))


def test_dense_starts_are_the_scenarios_17_places() -> None:
    env = make()
    places = {tuple(np.round(env._place())) for seed in range(200) if env.reset(seed=seed)}
    assert len(places) == 17


def test_rooms_and_cells_are_those_of_the_engine() -> None:
    import vizdoom

    game = vizdoom.DoomGame()
    env = make()
    game.load_config(os.path.join(vizdoom.scenarios_path, "my_way_home.cfg"))
    game.set_doom_config_path(env.game.get_doom_config_path())  # or the engine writes its own where tests run
    game.set_window_visible(False)
    game.set_sectors_info_enabled(True)
    game.init()
    for bounds, sector in zip(_SECTORS, game.get_state().sectors, strict=True):
        x = [v for line in sector.lines for v in (line.x1, line.x2)]
        y = [v for line in sector.lines for v in (line.y1, line.y2)]
        assert (min(x), max(x), min(y), max(y)) == tuple(bounds)
    game.close()
    for number, (west, east, south, north) in enumerate(_SECTORS):
        corners = [(x, y) for x in (west + 1, east - 1) for y in (south + 1, north - 1)]
        assert {find_sector(x, y) for x, y in corners} == {number}  # no two overlap
        cells = [find_cell(x, y) for x, y in corners]
        assert not env.maze.walls.ravel()[cells].any() and len(set(cells)) == 4
    assert env.maze.walls.shape == env.position_shape == (26, 30)
    assert (find_cell(161, 127), find_cell(1119, -703), find_cell(0, 0), find_sector(300, 100)) == (0, 779, -1, -1)


def test_action_sets() -> None:
    assert make().get_action_meanings() == [
        "NOOP",
        "TURN_LEFT",
        "TURN_RIGHT",
        "MOVE_FORWARD",
        "MOVE_LEFT",
        "MOVE_RIGHT",
    ]
    icm = make(actions="icm")
    assert icm.get_action_meanings() == ["NOOP", "MOVE_FORWARD", "TURN_LEFT", "TURN_RIGHT"]
    assert icm.action_space == gym.spaces.Discrete(4)
    other = make()
    icm.reset(seed=3), other.reset(seed=3)
    assert_same_play(play(icm, [1, 1, 2, 3, 3, 0]), play(other, [3, 3, 1, 2, 2, 0]))


def engines() -> set[str]:
    """Process ids of the children of this process, whichever thread they belong to."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_each_environment_has_a_process_that_close_ends_once() -> None:
    before = engines()
    env, other = make(), make()
    assert len(engines() - before) == 2
    env.reset(seed=0), other.reset(seed=0)
    directory = Path(env.game.get_doom_config_path()).parent
    assert directory.exists()
    env.close()
    env.close()
    assert len(engines() - before) == 1 and not directory.exists()
    other.step(FORWARD)
    for call in (env.reset, env.clone_state, lambda: env.step(NOOP)):
        with pytest.raises(RuntimeError, match=r"closed|reset"):
            call()
    del other  # nobody closed it
    assert engines() == before


def test_nothing_is_printed_or_left_behind(tmp_path: Path) -> None:
    code = """
        import gymnasium
        import rllib_rnd
        env = gymnasium.make("rllib_rnd/DoomMyWayHome-v0")
        env.reset(seed=0)
        env.step(1)
    """
    command = [sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines())]
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(work.iterdir()) == list(temporary.iterdir()) == []


def test_a_restored_environment_goes_on_bit_for_bit() -> None:
    env, fresh = make("rgb_array", max_tics=300), make("rgb_array", max_tics=300)
    env.reset(seed=3)
    actions = random_actions(75)
    play(env, actions[:40])
    state = pickle.loads(pickle.dumps(env.clone_state()))
    screen = env.render()
    expected = play(env, actions[40:])
    fresh.reset(seed=9)
    fresh.restore_state(state)
    np.testing.assert_array_equal(fresh.render(), screen)
    assert_same_play(expected, play(fresh, actions[40:]))
    assert expected[-1][3]
    np.testing.assert_array_equal(env.reset()[0], fresh.reset()[0])
    with pytest.raises(ConfigError, match="stack"):
        make(frame_stack=2).restore_state(state)


def test_by_its_name() -> None:
    env = make_vector_env(DOOM_MY_WAY_HOME, 2, {"frame_stack": 2})
    obs, info = env.reset(seed=0)
    assert obs.shape == (2, 2, 84, 84) and info["position"].shape == info["room"].shape == (2,)
    assert not np.array_equal(obs[0], obs[1])
    assert frame_stack(DOOM_MY_WAY_HOME, {"frame_stack": 2}) == (2, False)
    env.close()
    assert make_env(DOOM_MY_WAY_HOME, {"actions": "icm"}).action_space.n == 4  # type: ignore[attr-defined]


def test_bad_options_are_refused() -> None:
    for config, message in (
        ({"reward": "spars"}, "'sparse'"),
        ({"start": "verysparse"}, "'very_sparse'"),
        ({"actions": "icn"}, "'icm'"),
        ({"frame_skp": 4}, "'frame_skip'"),
        ({"frame_size": 12}, "36 to 120"),
        ({"max_tics": 0}, "1 or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_options(DoomOptions, config, "env_config")
    with pytest.raises(ConfigError, match="render_mode"):
        make("human")


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    for call in (make, lambda: make_vector_env(DOOM_MY_WAY_HOME, 1)):
        with pytest.raises(ConfigError, match=r'pip install "rllib_rnd\[vizdoom\]"'):
            call()
