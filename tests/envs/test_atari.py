"""Atari on the real emulator: stacks, sticky actions, cap, rewards, rooms, seeds, exact resume."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import ale_py
import cv2
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rllib_rnd.envs import make_vector_env
from rllib_rnd.envs.atari import AtariEnv
from rllib_rnd.envs.atari_options import ROOM_BYTES, AtariOptions, atari_games, parse_atari_options
from rllib_rnd.errors import ConfigError


def make(game: str = "Breakout", **options: Any) -> AtariEnv:
    return AtariEnv(game, AtariOptions(**options))


def random_actions(env: AtariEnv, steps: int, seed: int = 0) -> list[int]:
    return [int(a) for a in np.random.default_rng(seed).integers(env.action_space.n, size=steps)]  # type: ignore[attr-defined]


def play(env: AtariEnv, actions: list[int]) -> list[Any]:
    """(obs, reward, terminated, truncated, info) of each step, resetting at episode ends."""
    results: list[Any] = []
    for action in actions:
        results.append(env.step(action))
        if results[-1][2] or results[-1][3]:
            env.reset()
    return results


def assert_same_play(first: list[Any], second: list[Any]) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        assert a[1:] == b[1:]


@pytest.mark.filterwarnings("ignore")
def test_gymnasium_checker_passes() -> None:
    check_env(AtariEnv("Breakout", AtariOptions(), render_mode="rgb_array"))


def test_frames_are_the_resized_maximum_of_the_last_two_raw_frames() -> None:
    """Against a plain loop over a second emulator, without sticky actions."""
    env = make("MontezumaRevenge", sticky_action_prob=0.0)
    obs, _ = env.reset(seed=4)
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(ale_py.roms.get_rom_path("montezuma_revenge"))
    ale.reset_game()

    def shrink(screen: np.ndarray) -> np.ndarray:
        return cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA)

    np.testing.assert_array_equal(obs[-1], shrink(ale.getScreenGrayscale()))
    for action in random_actions(env, 40):
        screens = []
        for _ in range(4):
            ale.act(ale.getMinimalActionSet()[action])
            screens.append(ale.getScreenGrayscale().copy())
        obs, *_ = env.step(action)
        np.testing.assert_array_equal(obs[-1], shrink(np.maximum(screens[2], screens[3])))


@pytest.mark.parametrize("backend", ["gymnasium", "ale", "envpool"])
@pytest.mark.parametrize(("size", "k"), [(84, 4), (96, 3)])
def test_stacks_rebuilt_from_single_frames_equal_the_environments_across_resets(
    size: int, k: int, backend: str
) -> None:
    env_config = {"max_frames": 60, "frame_size": size, "frame_stack": k, "backend": backend}
    env = make_vector_env("ALE/Breakout-v5", 2, env_config)
    obs, _ = env.reset(seed=1)
    frames, starts = [[obs[i, -1]] for i in range(2)], [[0], [0]]
    done = np.zeros(2, dtype=bool)
    rng = np.random.default_rng(0)
    for t in range(1, 60):
        obs, _, terminated, truncated, _ = env.step(rng.integers(4, size=2))
        for i in range(2):
            frames[i].append(obs[i, -1])
            if done[i]:
                starts[i].append(t)
            indices = [max(j, starts[i][-1]) for j in range(t - k + 1, t + 1)]
            np.testing.assert_array_equal(obs[i], np.stack([frames[i][j] for j in indices]))
        done = terminated | truncated
    assert obs.shape == (2, k, size, size) and obs.dtype == np.uint8
    assert len(starts[0]) > 3 and len(starts[1]) > 3
    assert len({f.tobytes() for f in frames[0]}) > 20  # the screen does change


def executed_actions(env: AtariEnv, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Cycles through all 18 actions; returns the chosen and the executed ones, ``[steps, skip]`` each."""
    executed: list[int] = []
    emulator = env.ale

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(emulator, name)

        def act(self, action: int) -> int:
            executed.append(action)
            return emulator.act(action)

    env.reset(seed=0)
    env.ale = Spy()
    for t in range(steps):
        env.step(t % 18)
    shape = (steps, env.options.frame_skip)
    return np.repeat(np.arange(steps) % 18, shape[1]).reshape(shape), np.array(executed).reshape(shape)


def test_sticky_actions_are_drawn_at_each_raw_frame() -> None:
    """Freeway: no episode ends within these frames. All tolerances are 4 standard errors or more."""
    options: dict[str, Any] = {"full_action_space": True, "max_frames": None}
    chosen, executed = executed_actions(make("Freeway", sticky_action_prob=0.0, **options), 40)
    np.testing.assert_array_equal(chosen, executed)

    chosen, executed = executed_actions(make("Freeway", sticky_action_prob=0.25, frame_skip=1, **options), 3000)
    sticky = (chosen != executed).ravel()[1:]
    assert sticky.mean() == pytest.approx(0.25, abs=0.032)
    np.testing.assert_array_equal(executed[1:][sticky], executed[:-1][sticky])  # the previous executed action

    # Within an agent step the chosen action comes through at frame i with chance 1 - p^(i + 1), then stays.
    chosen, executed = executed_actions(make("Freeway", sticky_action_prob=0.5, **options), 1500)
    late = (chosen != executed)[1:]
    np.testing.assert_allclose(late.mean(0), [0.5, 0.25, 0.125, 0.0625], atol=0.052)
    assert not (late[:, 1:] & ~late[:, :-1]).any()


def test_the_frame_cap_truncates_and_does_not_terminate() -> None:
    env = make("MontezumaRevenge", max_frames=50)
    env.reset(seed=0)
    results = [env.step(0) for _ in range(13)]
    assert [r[3] for r in results] == [False] * 12 + [True]
    assert not any(r[2] for r in results)
    assert results[-1][4]["episode_frame_number"] == 50  # the 13th step played 2 of its 4 frames
    with pytest.raises(RuntimeError, match="reset"):
        env.step(0)
    _, info = env.reset()
    assert info["episode_frame_number"] == 0
    assert AtariOptions().max_frames == 18_000


def test_game_over_terminates_and_rewards_are_the_raw_points() -> None:
    env = make("Breakout", max_frames=None)
    env.reset(seed=3)
    total = 0.0
    for action in random_actions(env, 4000):
        _, reward, terminated, truncated, info = env.step(action)
        assert not truncated
        total += reward
        if terminated:
            break
    assert terminated and info["lives"] == 0
    assert total >= 1 and total == int(total)
    # Points above 1 are not clipped: a dot of Ms. Pac-Man pays 10.
    pacman = make("MsPacman")
    pacman.reset(seed=0)
    assert max(r[1] for r in play(pacman, random_actions(pacman, 150))) >= 10


def test_life_loss_ends_the_episode_only_when_asked_and_the_game_goes_on() -> None:
    env = make("Breakout", terminal_on_life_loss=True)
    env.reset(seed=0)
    lives_at_end, lives_at_start = [], []
    for action in random_actions(env, 3000):
        _, _, terminated, _, info = env.step(action)
        if terminated:
            lives_at_end.append(info["lives"])
            lives_at_start.append(env.reset()[1]["lives"])
        if len(lives_at_end) == 6:
            break
    assert lives_at_end == [4, 3, 2, 1, 0, 4]
    assert lives_at_start == [4, 3, 2, 1, 5, 4]


def test_rooms() -> None:
    env = make_vector_env("MontezumaRevengeNoFrameskip-v4", 3)
    _, infos = env.reset(seed=0)
    assert infos["room"].tolist() == [1, 1, 1] and infos["room"].dtype.kind == "i"
    *_, infos = env.step(np.zeros(3, dtype=int))
    assert infos["room"].tolist() == [1, 1, 1] and infos["_room"].all()
    # The byte is read anew at each step, not remembered.
    single = make("MontezumaRevenge")
    single.reset(seed=0)
    single.ale.setRAM(3, 7)
    assert single.step(0)[4]["room"] == 7
    assert "room" not in make("Breakout").reset()[1]
    assert set(ROOM_BYTES) <= set(atari_games().values())
    hero = make("Hero")  # its byte counts the screens of each level from 0
    hero.reset(seed=0)
    hero.ale.setRAM(28, 3), hero.ale.setRAM(117, 2)
    assert hero.step(0)[4]["room"] == 3 + 2 * 256


def test_same_seed_same_play_and_other_seed_other_play() -> None:
    def one(seed: int) -> list[Any]:
        env = make("Breakout", noop_max=20, max_frames=600)
        first = env.reset(seed=seed)
        return [(first[0], 0.0, False, False, first[1]), *play(env, random_actions(env, 250))]

    first, again, other = one(5), one(5), one(6)
    assert_same_play(first, again)
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("game", ["Solaris", "IceHockey", "YarsRevenge"])
def test_a_seed_leaves_no_trace_of_the_games_before(game: str) -> None:
    """Some games keep some memory over the emulator's own reset; going back to a console just loaded wipes it."""
    env = make(game)
    plays = []
    for _ in range(2):
        env.reset(seed=1)
        plays.append(play(env, random_actions(env, 150)))
    assert_same_play(*plays)


def test_a_reset_without_a_seed_goes_on_with_the_random_stream() -> None:
    env = make("Breakout", max_frames=240)
    env.reset(seed=5)
    actions = [1, *random_actions(env, 59)]
    first = [env.step(a) for a in actions]
    env.reset()
    second = [env.step(a) for a in actions]
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(first, second, strict=True))
    env.reset(seed=5)
    assert_same_play(first, [env.step(a) for a in actions])


def test_environments_of_one_vector_differ() -> None:
    env = make_vector_env("ALE/Breakout-v5", 2)
    env.reset(seed=0)
    obs = [env.step(np.full(2, a))[0] for a in [1, *[2, 3] * 30]]
    assert any(not np.array_equal(o[0], o[1]) for o in obs)


def test_noop_starts_are_drawn_within_their_limit() -> None:
    env = make("Pong", noop_max=5)
    frames = {env.reset(seed=None if i else 0)[1]["episode_frame_number"] for i in range(40)}
    assert frames == {1, 2, 3, 4, 5}
    assert make("Pong").reset(seed=0)[1]["episode_frame_number"] == 0


def test_returned_observations_stay_as_they_were() -> None:
    env = make("Breakout")
    kept = [env.reset(seed=0)[0]]
    copies = [kept[0].copy()]
    for action in [1, *random_actions(env, 30)]:
        kept.append(env.step(action)[0])
        copies.append(kept[-1].copy())
    for obs, as_returned in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(obs, as_returned)


def test_a_restored_environment_goes_on_bit_for_bit() -> None:
    """In another environment object, in the middle of an episode, with a high chance of a repeated action."""
    env_config = {"sticky_action_prob": 0.8, "max_frames": 400, "noop_max": 10, "backend": "gymnasium"}
    env = make_vector_env("ALE/Breakout-v5", 2, env_config)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(4, size=(150, 2))
    for a in actions[:40]:
        env.step(a)
    state = pickle.dumps(env.clone_state())  # type: ignore[attr-defined]
    expected = [env.step(a) for a in actions]
    fresh = make_vector_env("ALE/Breakout-v5", 2, env_config)
    fresh.reset(seed=99)
    for other in (fresh, env):
        other.restore_state(pickle.loads(state))  # type: ignore[attr-defined]
        for a, step in zip(actions, expected, strict=True):
            again = other.step(a)
            for x, y in zip(step[:4], again[:4], strict=True):
                np.testing.assert_array_equal(x, y)
            np.testing.assert_array_equal(step[4]["episode_frame_number"], again[4]["episode_frame_number"])
    assert any(step[3].any() for step in expected)  # an episode end is within


def test_a_state_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match="stack"):
        make("Pong", frame_size=96).restore_state(make("Pong").clone_state())


def test_action_sets_and_rendering() -> None:
    assert make("Breakout").action_space == gym.spaces.Discrete(4)
    full = make("Breakout", full_action_space=True)
    assert full.action_space == gym.spaces.Discrete(18)
    assert full.render() is None
    env = AtariEnv("Pong", render_mode="rgb_array")
    env.reset()
    assert env.render().shape == (210, 160, 3)


def test_interpolation_changes_the_frame() -> None:
    area, linear = (make("Pong", interpolation=i).reset(seed=0)[0] for i in ("area", "linear"))
    assert area.shape == linear.shape and not np.array_equal(area, linear)


def test_importing_the_environments_does_not_load_the_emulator() -> None:
    code = "import sys, rllib_rnd.envs.registry; sys.exit('ale_py' in sys.modules or 'minigrid' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_presets_set_what_is_not_given() -> None:
    snd = parse_atari_options({"preset": "snd", "frame_stack": 2})
    assert (snd.frame_size, snd.stack_order, snd.frame_stack) == (96, "newest_first", 2)
    zoo = parse_atari_options({"preset": "self_attention", "noop_max": 5})
    assert (zoo.sticky_action_prob, zoo.noop_max, zoo.terminal_on_life_loss, zoo.fire_reset) == (0.0, 5, True, True)
    assert parse_atari_options({"preset": "iam"}).frame_stack == 1
    assert parse_atari_options({"preset": "rnd"}) == replace(AtariOptions(), preset="rnd")
    with pytest.raises(ConfigError, match="'snd'"):
        parse_atari_options({"preset": "snnd"})


def test_newest_first_is_the_stack_backwards() -> None:
    last, first = make(), make(stack_order="newest_first")
    last.reset(seed=0), first.reset(seed=0)
    for action in (2, 3, 2, 1, 3):
        a, b = last.step(action)[0], first.step(action)[0]
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(a, b[::-1])


def test_colour_frames() -> None:
    env = make(grayscale=False, frame_size=96, sticky_action_prob=0.0)
    obs, _ = env.reset(seed=0)
    assert obs.shape == (4, 96, 96, 3) and obs in env.observation_space
    screen = AtariEnv("Breakout", AtariOptions(), "rgb_array")
    screen.reset(seed=0)
    expected = cv2.resize(screen.render(), (96, 96), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(obs[-1], expected)
    assert (obs[..., 0] != obs[..., 2]).any()


def test_actions_can_be_a_subset_by_name() -> None:
    env, full = make(actions=("NOOP", "LEFT"), sticky_action_prob=0.0), make(sticky_action_prob=0.0)
    env.reset(seed=0), full.reset(seed=0)
    assert env.action_space == gym.spaces.Discrete(2)
    for _ in range(8):
        a, b = env.step(1)[0], full.step(3)[0]  # Breakout's minimal set: NOOP, FIRE, RIGHT, LEFT
    np.testing.assert_array_equal(a, b)
    for wrong, message in ((["LEFFT"], "'LEFT'"), ([], "one action or more"), (["LEFT", "LEFT"], "each once")):
        with pytest.raises(ConfigError, match=message):
            parse_atari_options({"actions": wrong})


def test_sticky_actions_per_agent_step_hold_for_all_its_frames() -> None:
    env, actions = make(sticky_action_prob=0.5, sticky_level="step", noop_max=0), []
    env.reset(seed=0)
    act = env.ale.act
    spied: list[int] = []

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def act(self, joystick: int) -> Any:
            spied.append(joystick)
            return act(joystick)

    real, env.ale = env.ale, Spy()  # type: ignore[assignment]
    for i in range(60):
        spied.clear()
        env.step(i % 4)
        assert len(spied) == 4 and len(set(spied)) == 1, "one action for the whole step"
        actions.append(spied[0])
    wanted = [[0, 1, 3, 4][i % 4] for i in range(60)]  # the joystick's numbers
    kept = np.mean([a == w for a, w in zip(actions, wanted, strict=True)])
    assert 0.3 < kept < 0.9
    for i, (a, w) in enumerate(zip(actions, wanted, strict=True)):
        assert a in (w, actions[i - 1] if i else 0)


def test_fire_is_pressed_after_a_reset_in_games_that_have_it() -> None:
    def ball_moves(fire: bool) -> bool:
        env = make(fire_reset=fire, sticky_action_prob=0.0)
        env.reset(seed=0)
        frames = [env.step(0)[0][-1] for _ in range(12)]
        return any(not np.array_equal(a, b) for a, b in itertools.pairwise(frames[4:]))

    assert ball_moves(True) and not ball_moves(False)
    without = make("Freeway", fire_reset=True, sticky_action_prob=0.0)
    plain = make("Freeway", sticky_action_prob=0.0)
    np.testing.assert_array_equal(without.reset(seed=0)[0], plain.reset(seed=0)[0])  # Freeway has no FIRE


def test_flicker_blanks_half_of_the_frames_and_nothing_else() -> None:
    flickering, plain = make("Pong", flicker_prob=0.5), make("Pong")
    flickering.reset(seed=3), plain.reset(seed=3)
    blank = []
    for i in range(200):
        a, reward_a, *_, info_a = flickering.step(i % 4)
        b, reward_b, *_, info_b = plain.step(i % 4)
        assert (reward_a, info_a) == (reward_b, info_b)  # its own random stream: play is the same
        blank.append(not a[-1].any())
        for k, was_blank in enumerate(blank[-4:][::-1]):
            np.testing.assert_array_equal(a[-1 - k], np.zeros_like(b[0]) if was_blank else b[-1 - k])
    assert 0.4 < np.mean(blank) < 0.6


def test_flicker_of_the_whole_stack_forgets_its_history() -> None:
    env = make(flicker_prob=0.5, flicker_level="stack")
    since = 99 if env.reset(seed=0)[0].any() else 0
    for _ in range(100):
        obs = env.step(0)[0]
        since = 0 if not obs[-1].any() else since + 1
        seen = [bool(frame.any()) for frame in obs]
        expected = [4 - k <= since for k in range(4)]
        assert seen == expected
    assert AtariOptions(flicker_prob=0.5, flicker_level="stack").rebuilt_stack == 1
    assert AtariOptions(flicker_prob=0.5).rebuilt_stack == 4


def test_flicker_is_repeatable_and_saved() -> None:
    env = make(flicker_prob=0.5)
    runs = []
    for _ in range(2):
        env.reset(seed=5)
        runs.append(np.stack([env.step(0)[0] for _ in range(20)]))
    np.testing.assert_array_equal(runs[0], runs[1])
    state = env.clone_state()
    after = np.stack([env.step(0)[0] for _ in range(20)])
    env.restore_state(state)
    np.testing.assert_array_equal(after, np.stack([env.step(0)[0] for _ in range(20)]))


def test_a_lost_life_says_that_the_game_goes_on() -> None:
    env = make(terminal_on_life_loss=True, fire_reset=True, sticky_action_prob=0.0)
    ends: list[bool] = []
    env.reset(seed=0)
    while len(ends) < 6:
        _, _, terminated, truncated, info = env.step(0)
        if terminated or truncated:
            ends.append(info["game_goes_on"])
            env.reset()
    assert ends == [True, True, True, True, False, True]  # five lives, then a new game
