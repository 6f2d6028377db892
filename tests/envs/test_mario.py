"""Super Mario Bros. on the real emulator: stacks, the package's reward, ends, numbers numpy 2 breaks, exact resume."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rllib_rnd.envs import mario
from rllib_rnd.envs.mario import MarioEnv, MarioOptions, import_mario, mario_ids, parse_mario_id
from rllib_rnd.errors import ConfigError
from rllib_rnd.options import parse_options

if importlib.util.find_spec("gym_super_mario_bros") is None or importlib.util.find_spec("nes_py") is None:
    pytest.skip("the extra mario is not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

NOOP, RIGHT = 0, 1
RIGHT_BYTE = 0x80
FRAMES_TO_GOOMBA = 160  # held to the right from the start of 1-1, Mario walks into the first goomba


def make(world_stage: tuple[int, int] | None = (1, 1), **options: Any) -> MarioEnv:
    return MarioEnv(world_stage, MarioOptions(**options))


def actions_to_the_right(steps: int, seed: int = 0) -> list[int]:
    """Right with and without jump and run, at random."""
    return [int(a) for a in np.random.default_rng(seed).integers(1, 5, size=steps)]


def play(env: MarioEnv, actions: list[int]) -> list[Any]:
    """(obs, reward, terminated, truncated, info) of each step, to the end of the episode at most."""
    results: list[Any] = []
    for action in actions:
        results.append(env.step(action))
        if results[-1][2] or results[-1][3]:
            break
    return results


def assert_same_play(first: list[Any], second: list[Any]) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        assert a[1:] == b[1:]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasium_checker_passes() -> None:
    check_env(MarioEnv((1, 1), MarioOptions(sticky_action_prob=0.25), render_mode="rgb_array"))


def test_observations_are_stacks_with_the_newest_frame_last() -> None:
    env = make(frame_size=96, frame_stack=3)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (3, 96, 96) and obs.dtype == np.uint8
    assert env.observation_space == gym.spaces.Box(0, 255, (3, 96, 96), np.uint8)
    assert (obs == obs[0]).all() and obs.std() > 10
    kept, copies = [obs], [obs.copy()]
    for _ in range(20):
        kept.append(env.step(RIGHT)[0])
        copies.append(kept[-1].copy())
        np.testing.assert_array_equal(kept[-1][:-1], kept[-2][1:])
    assert not np.array_equal(kept[-1][-1], kept[-1][-2])
    np.testing.assert_array_equal(kept, copies)  # what was returned stays as it was


@pytest.mark.parametrize("interpolation", ["area", "linear"])
def test_frames_are_the_resized_maximum_of_the_last_two_raw_frames(interpolation: str) -> None:
    """Against a plain loop over a second emulator, its screen converted in the usual order of colours."""
    env = make(interpolation=interpolation)
    obs, _ = env.reset()
    game = import_mario()(target=(1, 1))
    method = cv2.INTER_AREA if interpolation == "area" else cv2.INTER_LINEAR

    def grey() -> np.ndarray:
        return cv2.cvtColor(game.screen.copy(), cv2.COLOR_RGB2GRAY)

    game.reset()
    np.testing.assert_array_equal(obs[-1], cv2.resize(grey(), (84, 84), interpolation=method))
    for _ in range(25):
        screens = []
        for _ in range(4):
            game.step(RIGHT_BYTE)
            screens.append(grey())
        expected = cv2.resize(np.maximum(screens[2], screens[3]), (84, 84), interpolation=method)
        np.testing.assert_array_equal(env.step(RIGHT)[0][-1], expected)
    game.close()


def test_the_reward_is_progress_less_the_clock_and_a_death() -> None:
    """Each raw frame: change of x, plus change of the clock (it counts down), less 25 for a death, at least -15."""
    env = make(frame_skip=1)
    _, info = env.reset(seed=0)
    assert (info["x_pos"], info["time"]) == (40, 400)
    x, time = info["x_pos"], info["time"]
    results = play(env, [RIGHT] * 200)
    for _, reward, terminated, _, info in results:
        progress = (info["x_pos"] - x) + (info["time"] - time)
        assert reward == (max(progress - 25, -15) if terminated else progress)
        x, time = info["x_pos"], info["time"]
    # By hand: at frame 18 Mario is one pixel further and the clock has gone from 400 to 399.
    assert [r[1] for r in results[15:21]] == [1, 1, 1, 0, 2, 1]
    assert [r[4]["time"] for r in results[15:21]] == [400, 400, 400, 399, 399, 399]
    assert len(results) == FRAMES_TO_GOOMBA and results[-1][1] == -15


def test_walking_into_the_first_goomba_ends_a_stage() -> None:
    env = make(reward_scale=0.5)
    env.reset(seed=0)
    results = play(env, [RIGHT] * 60)
    assert len(results) == FRAMES_TO_GOOMBA // 4
    assert [r[2] for r in results[:-1]] == [False] * (len(results) - 1) and results[-1][2]
    info = results[-1][4]
    assert info["x_pos"] == 296  # more than a byte holds
    assert info["flag_get"] is False and info["life"] == 2
    # 256 pixels, 8 units of the clock, and the last raw frame pays -15 rather than its 2 pixels.
    assert sum(r[1] for r in results) == 0.5 * (256 - 8 - 2 - 15)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(NOOP)
    assert env.reset()[1]["x_pos"] == 40


def test_the_whole_game_ends_after_three_lives() -> None:
    env = make(None)
    env.reset(seed=0)
    results = play(env, [RIGHT] * 200)
    lives = [r[4]["life"] for r in results]
    assert sorted(set(lives)) == [-1, 0, 1, 2] and lives == sorted(lives, reverse=True)
    # A game is over one raw frame after the last death, here in an agent step of its own, and that frame pays -15 too.
    assert [r[2] for r in results] == [False] * (3 * FRAMES_TO_GOOMBA // 4) + [True]
    assert results[-1][1] == -15


def test_the_whole_game_ends_with_the_last_castle() -> None:
    env = make(None)
    game = env.game
    game.reset()
    game.ram[0x0770] = 2  # the princess, or a mushroom retainer, is reached
    for world_byte, over in ((0, False), (6, False), (7, True)):
        game.ram[0x075F] = world_byte
        assert game._get_done() is over


@pytest.mark.parametrize("world_stage", [(1, 1), None])
def test_a_flag_ends_a_stage_and_leads_the_whole_game_to_the_next(
    world_stage: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a start on the last page of 1-1, written where the game keeps the page to begin at after a death."""
    game_class = import_mario()
    original = game_class._runout_prelevel_timer

    def begin_late(game: Any) -> None:
        game.ram[0x075B] = 12
        original(game)

    with monkeypatch.context() as patch:
        patch.setattr(game_class, "_runout_prelevel_timer", begin_late)
        env = make(world_stage)
    assert env.reset(seed=0)[1]["x_pos"] == 3112
    jump_right = 2
    results = play(env, [jump_right] * 12)
    (at_flag,) = [i for i, r in enumerate(results) if r[4]["flag_get"]]
    assert [r[4]["room"] for r in results[:at_flag]] == [1] * at_flag
    info = results[at_flag][4]
    if world_stage is None:
        assert not any(r[2] for r in results) and len(results) == 12
        assert (info["world"], info["stage"], info["room"], info["time"]) == (1, 2, 2, 400)
    else:
        assert results[-1][2] and at_flag == len(results) - 1
        assert (info["room"], info["life"]) == (1, 2) and info["x_pos"] > 3150


def test_info_holds_plain_numbers() -> None:
    env = make((4, 2))
    for info in (env.reset(seed=0)[1], env.step(RIGHT)[4]):
        keys = {"x_pos", "y_pos", "world", "stage", "room", "flag_get", "coins", "life", "score", "time", "progress"}
        assert set(info) == keys
        assert {k: type(v) for k, v in info.items()} == {k: bool if k == "flag_get" else int for k in keys}
        assert (info["world"], info["stage"], info["room"]) == (4, 2, 14)


def test_positions_do_not_wrap_around() -> None:
    """Written to memory: one page right of the start, and above the screen."""
    env = make()
    env.reset(seed=0)
    for page, x, expected in ((0, 255, 255), (1, 0, 256), (13, 20, 3348)):
        env.game.ram[0x6D], env.game.ram[0x86] = page, x
        assert env._info(False)["x_pos"] == expected
    # The screen's byte: 0 above it, 1 within. The pixel counts from the top down, y_pos from the bottom up.
    for screen, pixel, y_pos in ((1, 255, 0), (1, 176, 79), (1, 0, 255), (0, 255, 255), (0, 216, 294)):
        env.game.ram[0xB5], env.game.ram[0x03B8] = screen, pixel
        assert env._info(False)["y_pos"] == y_pos


def test_a_flag_within_the_skipped_frames_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make(None)
    env.reset(seed=0)
    original, calls = env.game.step, []

    def step(joypad: int) -> Any:
        obs, reward, done, info = original(joypad)
        calls.append(joypad)
        return obs, reward, done, {**info, "flag_get": len(calls) == 2}

    monkeypatch.setattr(env.game, "step", step)
    assert [env.step(NOOP)[4]["flag_get"] for _ in range(2)] == [True, False]


def test_same_seed_and_actions_same_play_and_other_seed_other_play() -> None:
    env, other = (make(sticky_action_prob=0.25, noop_max=20) for _ in range(2))
    actions = actions_to_the_right(40)

    def one(e: MarioEnv, seed: int | None) -> list[Any]:
        obs, info = e.reset(seed=seed)
        return [(obs, 0.0, False, False, info), *play(e, actions)]

    first = one(env, 5)
    second = one(env, None)  # goes on with the random stream
    assert_same_play(first, one(other, 5))
    third = one(other, 6)
    for others in (second, third):
        assert any(not np.array_equal(a[0], b[0]) for a, b in zip(first, others, strict=False))


def test_environments_in_one_process_do_not_touch_each_other() -> None:
    actions = {name: actions_to_the_right(30, seed=i) for i, name in enumerate(("a", "b"))}
    stages: dict[str, tuple[int, int] | None] = {"a": (1, 1), "b": (2, 2)}
    alone = {}
    for name, stage in stages.items():
        env = make(stage)
        env.reset(seed=0)
        alone[name] = play(env, actions[name])
        env.close()
    envs = {name: make(stage) for name, stage in stages.items()}
    third = make()
    for env in envs.values():
        env.reset(seed=0)
    together: dict[str, list[Any]] = {"a": [], "b": []}
    for t in range(30):
        for name, env in envs.items():
            if t < len(alone[name]):
                together[name].append(env.step(actions[name][t]))
        if t == 15:
            third.close()
    for name in envs:
        assert_same_play(alone[name], together[name])


def test_sticky_actions_repeat_the_executed_action() -> None:
    env = make(sticky_action_prob=1.0)
    env.reset(seed=0)
    assert play(env, [RIGHT] * 10)[-1][4]["x_pos"] == 40  # the first action is the no-op before it
    env._executed = RIGHT_BYTE  # as if the episode had ended so
    env.reset()
    assert play(env, [RIGHT] * 10)[-1][4]["x_pos"] == 40
    env = make(sticky_action_prob=0.5, actions="right_only")
    env.reset(seed=0)
    for t in range(60):  # right, right with A, right, ...: another joypad byte at every step
        env.step(RIGHT + t % 2)
    executed = np.frombuffer(env.clone_state()["played"], np.uint8).reshape(-1, 4)
    chosen = RIGHT_BYTE + np.arange(len(executed)) % 2
    late = (executed != chosen[:, None])[1:]
    # The chosen action comes through at frame i with chance 1 - p^(i + 1), then stays; 4 standard errors.
    np.testing.assert_allclose(late.mean(0), [0.5, 0.25, 0.125, 0.0625], atol=0.27)
    assert late[:, 0].any() and not (late[:, 1:] & ~late[:, :-1]).any()


def test_noop_starts_are_drawn_within_their_limit() -> None:
    env = make(noop_max=3)
    lengths = {len(env.clone_state()["played"]) for i in range(25) if env.reset(seed=None if i else 0)}
    assert lengths == {1, 2, 3}


def test_max_steps_truncates_and_does_not_terminate() -> None:
    env = make(max_steps=4)
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(NOOP)[2:4] for _ in range(4)] == [(False, False)] * 3 + [(False, True)]
    with pytest.raises(RuntimeError, match="reset"):
        env.step(NOOP)
    # A death with the last allowed step is a death.
    env = make(max_steps=FRAMES_TO_GOOMBA // 4)
    env.reset(seed=0)
    assert play(env, [RIGHT] * 60)[-1][2:4] == (True, False)


@pytest.mark.parametrize(("actions", "number"), [("right_only", 5), ("simple", 7), ("complex", 12)])
def test_action_sets_are_those_of_the_package(actions: str, number: int) -> None:
    import_mario()
    from gym_super_mario_bros import actions as package
    from nes_py.wrappers import JoypadSpace

    names = {"right_only": "RIGHT_ONLY", "simple": "SIMPLE_MOVEMENT", "complex": "COMPLEX_MOVEMENT"}
    buttons = JoypadSpace._button_map
    expected = tuple(sum(buttons[b] for b in combination) for combination in getattr(package, names[actions]))
    assert mario._ACTIONS[actions] == expected and len(expected) == number


def test_rom_modes_and_rendering() -> None:
    screens = set()
    for rom_mode in ("vanilla", "downsample", "pixel", "rectangle"):
        env = MarioEnv((1, 1), MarioOptions(rom_mode=rom_mode, actions="simple"), render_mode="rgb_array")
        assert env.action_space == gym.spaces.Discrete(7)
        env.reset()
        screen = env.render()
        assert screen.shape == (240, 256, 3) and screen.dtype == np.uint8
        screens.add(screen.tobytes())
        copy = screen.copy()
        env.step(RIGHT)
        np.testing.assert_array_equal(screen, copy)
        env.close()
    assert len(screens) == 4
    assert make().render() is None


def test_closing_twice_is_closing_once_and_a_closed_environment_says_so() -> None:
    env = MarioEnv((1, 1), render_mode="rgb_array")
    closed: list[int] = []
    env.reset()
    # The game package closes its window after the emulator, each time: stand in for one.
    env.game.viewer = SimpleNamespace(close=lambda: closed.append(1))
    env.close()
    env.close()
    assert closed == [1]
    for call in (env.reset, env.render, env.clone_state, lambda: env.step(NOOP)):
        with pytest.raises(RuntimeError, match=r"closed|reset"):
            call()


def test_a_restored_environment_goes_on_bit_for_bit() -> None:
    """In another environment object, in the middle of an episode, with a high chance of a repeated action."""
    options: dict[str, Any] = {"sticky_action_prob": 0.5, "noop_max": 10, "max_steps": 70}
    env, fresh = make(None, **options), make(None, **options)
    env.reset(seed=3)
    actions = actions_to_the_right(70)
    play(env, actions[:45])
    state = pickle.loads(pickle.dumps(env.clone_state()))
    expected = play(env, actions[45:])
    fresh.reset(seed=9)
    fresh.restore_state(state)
    assert_same_play(expected, play(fresh, actions[45:]))
    assert expected[-1][3]
    np.testing.assert_array_equal(env.reset()[0], fresh.reset()[0])
    with pytest.raises(ConfigError, match="stack"):
        make(frame_stack=2).restore_state(state)
    with pytest.raises(ConfigError, match="another screen"):
        make((1, 2), **options).restore_state(state)


def test_ids() -> None:
    assert len(mario_ids()) == len({parse_mario_id(i) for i in mario_ids()}) == 33
    assert parse_mario_id("rllib_rnd/SuperMarioBros-v0") is None
    assert parse_mario_id("rllib_rnd/SuperMarioBros-8-4-v0") == (8, 4)
    for wrong in ("9-1-v0", "1-5-v0", "0-1-v0", "11-v0", "1-1-v1", "v1", "1-1-v0\n"):
        with pytest.raises(ConfigError, match=r"Did you mean 'rllib_rnd/SuperMarioBros-.*world 1 to 8"):
            parse_mario_id(f"rllib_rnd/SuperMarioBros-{wrong}")
    with pytest.raises(ConfigError, match="'rllib_rnd/SuperMarioBros-8-1-v0'"):
        parse_mario_id("rllib_rnd/SuperMarioBros-9-1-v0")


def test_bad_options_are_refused() -> None:
    for config, message in (
        ({"actions": "simpel"}, "'simple'"),
        ({"rom_mode": "vanila"}, "'vanilla'"),
        ({"frame_skp": 4}, "'frame_skip'"),
        ({"sticky_action_prob": 1.5}, "0.0 to 1.0"),
        ({"max_steps": 0}, "1 or more"),
        ({"reward_scale": -1.0}, "0.0 to"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_options(MarioOptions, config, "env_config")
    with pytest.raises(ConfigError, match="worlds 1 to 8"):
        MarioEnv((9, 1))
    with pytest.raises(ConfigError, match="render_mode"):
        MarioEnv((1, 1), render_mode="human")


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    mario._game_class.cache_clear()
    monkeypatch.setitem(sys.modules, "gym_super_mario_bros", None)
    monkeypatch.setitem(sys.modules, "gym_super_mario_bros.smb_env", None)  # imported by the tests before
    with pytest.raises(ConfigError, match=r'pip install "rllib_rnd\[mario\]"'):
        MarioEnv((1, 1))


def test_making_an_environment_is_silent_and_leaves_nothing_behind() -> None:
    code = """
        import os, sys, warnings
        import cv2, gymnasium
        import rllib_rnd.envs.mario as mario
        assert not {"gym", "nes_py", "gym_super_mario_bros"} & set(sys.modules)
        before = dict(os.environ), list(warnings.filters), len(gymnasium.registry)
        env = mario.MarioEnv((1, 1))
        env.reset(seed=0)
        env.step(1)
        assert before == (dict(os.environ), list(warnings.filters), len(gymnasium.registry))
        assert gymnasium.make("CartPole-v1").reset(seed=0)[0].shape == (4,)
    """
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", "\n".join(line[8:] for line in code.splitlines())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
