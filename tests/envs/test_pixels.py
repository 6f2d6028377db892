"""Pixels: classic control seen through its own pictures, without a display."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rllib_rnd.envs.pixels import PixelsEnv
from rllib_rnd.errors import ConfigError

pytest.importorskip("pygame", reason="the extra classic-control is not installed")

CLASSIC_CONTROL = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1"]


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def play(env: gym.Env, actions: list[Any], seed: int = 0) -> Iterator[tuple[Any, ...]]:
    """What reset and each step return, all as (obs, reward, terminated, truncated), to the end of the episode."""
    yield env.reset(seed=seed)[0], 0.0, False, False
    for action in actions:
        result = env.step(action)[:4]
        yield result
        if result[2] or result[3]:
            return


def random_actions(env: gym.Env, steps: int) -> list[Any]:
    env.action_space.seed(0)
    return [env.action_space.sample() for _ in range(steps)]


def cart_pole_frame(env: PixelsEnv, x: float, angle: float) -> np.ndarray:
    """The frame of one state of CartPole, ``[H, W]``; a picture shows place and angle alone."""
    inner: Any = env.inner.unwrapped
    env.reset(seed=0)
    inner.state = np.array([x, 0.0, angle, 0.0])
    return env._frame()


@pytest.mark.parametrize("env_id", CLASSIC_CONTROL)
def test_shapes_spaces_rewards_and_ends_are_those_of_the_inner_environment(env_id: str) -> None:
    env, inner = PixelsEnv(id=env_id), gym.make(env_id)
    assert env.observation_space == gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    assert env.action_space == inner.action_space
    actions = random_actions(env, 60)
    frames = set()
    for ours, theirs in zip(play(env, actions, seed=7), play(inner, actions, seed=7), strict=True):
        assert env.observation_space.contains(ours[0])
        assert ours[1:] == tuple(theirs[1:])
        frames.add(ours[0][-1].tobytes())
    assert len(frames) > 10  # the picture does change


def test_the_inner_time_limit_truncates() -> None:
    env = PixelsEnv(id="MountainCar-v0", kwargs={"max_episode_steps": 6}, frame_skip=4)
    steps = list(play(env, [1] * 9))[1:]
    assert [s[1:] for s in steps] == [(-4.0, False, False), (-2.0, False, True)]  # the second played 2 of its 4
    with pytest.raises(RuntimeError, match="reset"):
        env.step(1)


@pytest.mark.parametrize(("grayscale", "size", "k"), [(True, 84, 4), (False, 64, 3)])
def test_stacks_are_the_last_frames_newest_last(grayscale: bool, size: int, k: int) -> None:
    env = PixelsEnv(id="Acrobot-v1", grayscale=grayscale, frame_size=size, frame_stack=k)
    shape = (k, size, size) if grayscale else (k, size, size, 3)
    assert env.observation_space.shape == shape
    for seed in (0, 1):
        observations = [s[0] for s in play(env, random_actions(env, 10), seed)]
        frames = [obs[-1] for obs in observations]
        for t, obs in enumerate(observations):
            np.testing.assert_array_equal(obs, np.stack([frames[max(t - i, 0)] for i in reversed(range(k))]))
        assert not np.array_equal(observations[-1][-1], observations[-1][0])


def test_frames_are_the_shrunk_grey_picture() -> None:
    env = PixelsEnv("rgb_array", id="MountainCar-v0")
    obs, _ = env.reset(seed=0)
    picture = env.render()
    assert picture is not None and picture.shape == (400, 600, 3) and picture.dtype == np.uint8
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(obs[-1], cv2.resize(grey, (84, 84), interpolation=cv2.INTER_AREA))
    colour = PixelsEnv(id="MountainCar-v0", grayscale=False, interpolation="linear")
    expected = cv2.resize(picture, (84, 84), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(colour.reset(seed=0)[0][-1], expected)
    assert colour.render() is None


def test_pictures_of_cart_pole_show_cart_and_pole() -> None:
    env = PixelsEnv(id="CartPole-v1")
    middle = cart_pole_frame(env, 0.0, 0.0)
    assert not np.array_equal(middle, cart_pole_frame(env, 0.1, 0.0))
    assert not np.array_equal(middle, cart_pole_frame(env, 0.0, 0.1))

    def cart_column(frame: np.ndarray) -> float:
        """Mean column of the black pixels."""
        return float(np.argwhere(frame < 30)[:, 1].mean())

    # 4.8 units are 84 columns: one unit is 17.5.
    shift = cart_column(cart_pole_frame(env, 1.0, 0.0)) - cart_column(middle)
    assert shift == pytest.approx(17.5, abs=1.0)
    left, right = (cart_pole_frame(env, sign * 1.0, sign * 0.15).astype(int) for sign in (-1, 1))
    # A pixel of the picture is 0.14 of a column, so mirrored edges differ a little.
    assert np.abs(left[:, ::-1] - right).mean() < 0.2 * np.abs(left - right).mean()


def test_frame_skip_adds_up_rewards_and_shows_the_last_picture() -> None:
    """Pendulum: rewards that differ from step to step."""
    skipping, single = (PixelsEnv(id="Pendulum-v1", frame_skip=n) for n in (3, 1))
    actions = random_actions(single, 5)
    rare = list(play(skipping, actions))
    all_steps = list(play(single, [a for a in actions for _ in range(3)]))
    for t in range(1, 6):
        assert rare[t][1] == pytest.approx(sum(s[1] for s in all_steps[3 * t - 2 : 3 * t + 1]))
        np.testing.assert_array_equal(rare[t][0][-1], all_steps[3 * t][0][-1])
    assert skipping.metadata["render_fps"] == 10


def test_a_skip_ends_with_the_episode() -> None:
    """The pole falls after some steps of one action; each of them pays 1."""
    lengths = []
    for skip in (1, 4):
        steps = list(play(PixelsEnv(id="CartPole-v1", frame_skip=skip), [0] * 30))
        assert steps[-1][2] and not steps[-1][3]
        lengths.append(sum(s[1] for s in steps))
    assert lengths[0] == lengths[1] and lengths[0] % 4 != 0


class Informative(gym.Env):
    """Has infos of many kinds, and whatever pictures it is told to have."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as gymnasium
    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None, picture: Any = None) -> None:
        self.render_mode, self.picture = render_mode, picture

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        info = {"room": 3, "speed": np.float32(0.5), "won": np.True_, "name": "x", "cells": np.zeros(2), "none": None}
        return np.zeros(1, np.float32), info

    def render(self) -> Any:
        return self.picture


class Blind(Informative):
    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012 - as gymnasium


@pytest.fixture
def own_ids() -> Iterator[None]:
    makers: dict[str, Any] = {"Informative-v0": Informative, "Blind-v0": Blind}
    makers["BlindFunction-v0"] = lambda render_mode: Blind()
    for name, maker in makers.items():
        gym.register(name, entry_point=maker)
    yield
    for name in makers:
        del gym.registry[name]


def test_of_the_infos_the_numbers_are_passed_on(own_ids: None) -> None:
    env = PixelsEnv(id="Informative-v0", kwargs={"picture": np.zeros((40, 40, 3), np.uint8)})
    assert env.reset()[1] == {"room": 3, "speed": 0.5, "won": True}


@pytest.mark.parametrize(
    ("env_config", "message"),
    [
        ({}, r"^id: missing"),
        ({"id": "CartPol-v1"}, r"^id: unknown environment 'CartPol-v1'.*CartPole-v1"),
        ({"id": "CartPole-v1", "frame_sise": 84}, r"^frame_sise: unknown key 'frame_sise'.*'frame_size'"),
        ({"id": "CartPole-v1", "frame_size": 20}, r"^frame_size: 20 .*36"),
        ({"id": "CartPole-v1", "kwargs": {"gravity": 1}}, r"^kwargs\.gravity: unknown key 'gravity'"),
        ({"id": "CartPole-v1", "kwargs": {"render_mode": "human"}}, r"^kwargs: \['render_mode'\]"),
        ({"id": "Blind-v0"}, r"^id: 'Blind-v0' has the render modes \['ansi'\]; needed is 'rgb_array'"),
        ({"id": "BlindFunction-v0"}, r"^id: 'BlindFunction-v0' has the render modes \['ansi'\]"),
        ({"id": "Informative-v0"}, r"^id: 'Informative-v0' renders NoneType; needed is uint8"),
        ({"id": "Informative-v0", "kwargs": {"picture": np.zeros((9, 9))}}, r"renders float64 \(9, 9\)"),
    ],
)
def test_bad_options_are_refused(own_ids: None, env_config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PixelsEnv(**env_config)


def test_bad_render_mode_and_missing_pygame(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="render_mode"):
        PixelsEnv("human", id="CartPole-v1")
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ConfigError, match=r'pygame.*pip install "rllib_rnd\[classic-control\]"'):
        PixelsEnv(id="CartPole-v1")


@pytest.mark.filterwarnings("ignore")
def test_gymnasium_checker_passes() -> None:
    check_env(PixelsEnv("rgb_array", id="CartPole-v1"))


def test_closing_one_leaves_the_others_as_they_are() -> None:
    first, second = PixelsEnv(id="CartPole-v1"), PixelsEnv(id="CartPole-v1")
    expected = [s[0] for s in play(first, [0, 1, 0])]
    first.reset(seed=0)
    second.close()
    for obs, step in zip(expected, play(first, [0, 1, 0]), strict=True):
        np.testing.assert_array_equal(step[0], obs)


def test_returned_observations_stay_as_they_were() -> None:
    env = PixelsEnv(id="CartPole-v1")
    kept = [(s[0], s[0].copy()) for s in play(env, [0, 1] * 3)]
    for obs, as_returned in kept:
        np.testing.assert_array_equal(obs, as_returned)


@pytest.mark.parametrize(("screen", "driver"), [(None, "dummy"), (":0", None)])
def test_no_screen_is_looked_for_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, screen: str | None, driver: str | None
) -> None:
    """SDL's search for one ends in lines on stderr."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "")  # so that it is put back
    monkeypatch.delenv("SDL_VIDEODRIVER")
    if screen is not None:
        monkeypatch.setenv("DISPLAY", screen)
    PixelsEnv(id="CartPole-v1").close()
    assert os.environ.get("SDL_VIDEODRIVER") == driver
