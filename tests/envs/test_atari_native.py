"""The C++ backends of Atari, on real games, against the Python environment."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import VectorEnv

from rllib_rnd.envs import backend_note, make_vector_env
from rllib_rnd.errors import ConfigError

# envpool always plays a first no-op; the Python environment is told to do so too.
NATIVE = [("ale", 0), ("envpool", 1)]


def make(backend: str, game: str = "MontezumaRevenge", num_envs: int = 3, **options: Any) -> VectorEnv:
    return make_vector_env(f"ALE/{game}-v5", num_envs, {"backend": backend, **options}, num_threads=1)


@pytest.mark.parametrize(("backend", "noops"), NATIVE)
@pytest.mark.parametrize("game", ["MontezumaRevenge", "Breakout", "Venture"])
def test_parity_with_the_python_environment(game: str, backend: str, noops: int) -> None:
    """Same actions, nothing random: stacks, rewards, ends, lives and rooms are equal, step by step.

    Only an episode's last observation may differ: native code mixes an older frame into it.
    """
    options: dict[str, Any] = {"sticky_action_prob": 0.0, "noop_max": noops, "max_frames": 1200, "frame_stack": 3}
    native, python = make(backend, game, **options), make("gymnasium", game, **options)
    assert native.single_observation_space == python.single_observation_space
    assert native.single_action_space == python.single_action_space
    obs, expected_obs = native.reset(seed=5)[0], python.reset(seed=5)[0]
    np.testing.assert_array_equal(obs, expected_obs)
    actions, ends = np.random.default_rng(0), 0
    for _ in range(650):
        action = actions.integers(native.single_action_space.n, size=3)  # type: ignore[attr-defined]
        got, expected = native.step(action), python.step(action)
        goes_on = ~(expected[2] | expected[3])
        np.testing.assert_array_equal(got[0][goes_on], expected[0][goes_on])
        np.testing.assert_array_equal(got[0][:, :-1], expected[0][:, :-1])
        for i in (1, 2, 3):
            np.testing.assert_array_equal(got[i], expected[i])
        np.testing.assert_array_equal(got[4]["lives"], expected[4]["lives"])
        if "room" in got[4]:
            np.testing.assert_array_equal(got[4]["room"], expected[4]["room"])
        ends += int((~goes_on).sum())
    assert ends >= 6
    assert ("room" in got[4]) == (backend == "envpool" and game != "Breakout")


def play(env: VectorEnv, seed: int, steps: int = 60) -> np.ndarray:
    frames = [env.reset(seed=seed)[0]]
    rng = np.random.default_rng(1)
    frames += [env.step(rng.integers(4, size=env.num_envs))[0] for _ in range(steps)]
    return np.stack(frames)


@pytest.mark.parametrize("backend", ["ale", "envpool"])
def test_seeds(backend: str) -> None:
    """One seed gives one course, another another, and the games of one vector differ (sticky actions)."""
    first = play(make(backend, "Breakout"), seed=3)
    np.testing.assert_array_equal(first, play(make(backend, "Breakout"), seed=3))
    assert not np.array_equal(first, play(make(backend, "Breakout"), seed=40))
    assert not np.array_equal(first[:, 0], first[:, 1])


@pytest.mark.parametrize("backend", ["ale", "envpool"])
def test_returned_observations_stay_as_they_were(backend: str) -> None:
    env = make(backend, "Breakout")
    kept = [env.reset(seed=0)[0]]
    copies = [kept[0].copy()]
    for _ in range(20):
        kept.append(env.step(np.ones(3, dtype=np.int64))[0])
        copies.append(kept[-1].copy())
    for obs, as_returned in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(obs, as_returned)


@pytest.mark.parametrize("backend", ["ale", "envpool"])
def test_life_loss_can_end_episodes(backend: str) -> None:
    env = make(backend, "Breakout", terminal_on_life_loss=True)
    _, infos = env.reset(seed=0)
    assert infos["lives"].tolist() == [5, 5, 5]
    rng, ended = np.random.default_rng(0), 0
    for _ in range(200):
        _, _, terminated, _, infos = env.step(rng.integers(4, size=3))
        ended += int(terminated.sum())
        assert (infos["lives"][terminated] < 5).all()
    assert ended >= 3


def test_the_backend_that_auto_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (backend_note("ALE/MontezumaRevenge-v5") or "").startswith("envpool (the fastest that reports rooms")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "envpool" else real(name))
    note = backend_note("ALE/MontezumaRevenge-v5") or ""
    assert note.startswith("gymnasium (reports rooms") and 'pip install "rllib_rnd[envpool]"' in note
    assert (backend_note("ALE/Breakout-v5") or "").startswith("ale (Breakout has no known rooms")
    assert (backend_note("ALE/Breakout-v5", {"interpolation": "linear"}) or "").startswith("gymnasium")
    assert backend_note("CartPole-v1") is None
    with pytest.raises(ConfigError, match=r"backend: 'envpool' is not possible: .* pip install"):
        make("envpool")


@pytest.mark.parametrize("backend", ["ale", "envpool"])
def test_order_flicker_and_actions_work_on_native_frames(backend: str) -> None:
    options: dict[str, Any] = {"sticky_action_prob": 0.0, "noop_max": 1}
    plain, other = make(backend, **options), make(backend, **options, stack_order="newest_first", flicker_prob=0.5)
    few = make(backend, **options, actions=["NOOP", "LEFT"])
    names = {"LEFT": 4}  # in Montezuma's full set
    blank = []
    plain.reset(seed=1), other.reset(seed=1), few.reset(seed=1)
    for _ in range(60):
        a = plain.step(np.full(plain.num_envs, names["LEFT"]))[0]
        b = other.step(np.full(plain.num_envs, names["LEFT"]))[0]
        np.testing.assert_array_equal(few.step(np.ones(plain.num_envs, int))[0], a)
        gone = ~b[:, 0].any(axis=(1, 2))
        blank.append(gone.mean())
        np.testing.assert_array_equal(b[~gone, 0], a[~gone, -1])
    assert few.single_action_space.n == 2  # type: ignore[attr-defined]
    assert 0.35 < np.mean(blank) < 0.65


@pytest.mark.parametrize("option", [{"grayscale": False}, {"fire_reset": True}, {"sticky_level": "step"}])
def test_auto_takes_python_where_native_code_cannot(option: dict[str, Any]) -> None:
    assert (backend_note("ALE/Breakout-v5", option) or "").startswith("gymnasium")
    with pytest.raises(ConfigError, match=next(iter(option))):
        make("ale", **option)


def test_what_a_backend_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigError, match="interpolation is 'linear'"):
        make("ale", interpolation="linear")
    with pytest.raises(ConfigError, match="gymnasium"):
        make("gymnasum")
    with pytest.raises(ConfigError, match="seed"):
        make("ale").reset(seed=[1, 2, 3])  # type: ignore[arg-type]
