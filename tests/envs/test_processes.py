"""Environments in worker processes: the same play as in one process, and failures that are told, bear, and end."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from rllib_rnd.envs import count_processes, make_vector_env, processes
from rllib_rnd.envs.atari import AtariEnv
from rllib_rnd.envs.atari_options import AtariOptions
from rllib_rnd.envs.processes import ProcessVectorEnv
from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.errors import ConfigError
from rllib_rnd.sampling.time_limit import HangError, time_limit
from tests.envs.stepped import Counter, Unsaved

GAME = functools.partial(AtariEnv, "MontezumaRevenge", AtariOptions(max_frames=80, noop_max=5, frame_size=42))


@contextlib.contextmanager
def stepped(make: Callable[[], Any] = Counter, num_envs: int = 5, num_processes: int = 2) -> Iterator[ProcessVectorEnv]:
    env = ProcessVectorEnv(make, num_envs, num_processes, "a name")
    with contextlib.closing(env):
        yield env


def pids(env: ProcessVectorEnv) -> list[int]:
    return [worker.process.pid for worker in env._workers]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone_in_time(*found: int) -> bool:
    until = time.monotonic() + 60.0
    while any(map(is_there, found)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(is_there, found))


def assert_same(first: Any, second: Any) -> None:
    """Values and types, through tuples and dictionaries."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert list(first) == list(second)
        first, second = list(first.values()), list(second.values())
    if isinstance(first, tuple | list):
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, np.ndarray) and first.dtype != object:
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)
    else:
        assert np.all(first == second)


@pytest.mark.parametrize("make", [Counter, GAME], ids=["counter", "game"])
def test_it_plays_and_saves_what_one_process_does(make: Callable[[], Any]) -> None:
    """Ends of episodes, infos that only some tell, seeds; and each goes on from the other's saved state."""
    one, actions, ends = LeanVectorEnv([make] * 5), np.random.default_rng(0), 0
    with stepped(make) as several:
        assert_same(several.reset(seed=3), one.reset(seed=3))
        for lap in range(3):
            for _ in range(25):
                action = actions.integers(18, size=5) if make is GAME else np.zeros(5, np.int64)
                expected = one.step(action)
                assert_same(several.step(action), expected)
                ends += int((expected[2] | expected[3]).sum())
            if lap == 0:
                state = one.clone_state()
                assert_same(pickle.loads(pickle.dumps(several.clone_state())), state)
                one.reset(seed=9)
                several.restore_state(state)
                one.restore_state(state)
        assert_same(several.reset(), one.reset())  # without a seed the random streams go on
        assert_same(several.reset(seed=[5, 6, 7, 8, 9]), one.reset(seed=[5, 6, 7, 8, 9]))
    assert ends > 10


def test_what_a_vector_environment_tells_and_is_asked_for() -> None:
    one = LeanVectorEnv([GAME] * 3)
    with stepped(GAME, 3, 7) as env:
        assert len(env._workers) == 3  # not more than environments
        for name in ("num_envs", "metadata", "render_mode", "spec", "observation_space", "single_action_space"):
            assert getattr(env, name) == getattr(one, name)
        assert env.reusable and one.reusable and env.why_no_state is one.why_no_state is None
        assert env.get_attr("game") == ("MontezumaRevenge",) * 3
        assert env.call("_game_over") == (False,) * 3
        assert env.render() == (None,) * 3
        with pytest.raises(ConfigError, match="2 seeds for 3 environments"):
            env.reset(seed=[1, 2])
        with pytest.raises(ConfigError, match="saved from 2 environments, this vector has 3"):
            env.restore_state(LeanVectorEnv([GAME] * 2).clone_state())
        env.reset(seed=0)  # mistakes of the caller's break nothing


def test_returned_observations_stay_as_they_were() -> None:
    with stepped() as env:
        kept = [env.reset(seed=0)[0]]
        copies = [kept[0].copy()]
        for _ in range(7):
            kept.append(env.step(np.zeros(5, np.int64))[0])
            copies.append(kept[-1].copy())
    for obs, as_returned in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(obs, as_returned)


def test_environments_that_cannot_save_say_so() -> None:
    with stepped(Unsaved, 2) as env:
        assert not env.can_clone_state and env.why_no_state == "Unsaved has no method clone_state"
        with pytest.raises(ConfigError, match="Unsaved has no method clone_state"):
            env.clone_state()


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (1, r"ValueError: the emulator died \(.*stepped.py:\d+, in step\)"),
        (2, r"process \d+, which steps environments 3 to 4, has ended with exit code 7"),
        (3, r"process \d+, which steps .* 3 to 4, was ended by signal 9 \(perhaps for lack of memory\)"),
        (5, r"env: this cannot be\."),
    ],
)
def test_a_failure_is_told_and_nothing_is_left_but_to_close(action: int, said: str) -> None:
    with stepped() as env:
        env.reset(seed=0)
        with pytest.raises((RuntimeError, ConfigError)) as failure:
            env.step(np.array([0, 0, 0, 0, action]))
        assert re.fullmatch(said, str(failure.value)), failure.value
        for call in (env.reset, lambda: env.step(np.zeros(5, np.int64)), env.clone_state):
            with pytest.raises(RuntimeError, match="have to be made anew"):
                call()
        found = pids(env)
    assert gone_in_time(*found)


def test_one_that_hangs_is_interrupted_and_its_process_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_END_S", 0.2)
    with stepped() as env:
        env.reset(seed=0)
        with pytest.raises(HangError, match="it hangs"), time_limit(0.3, "it hangs"):
            env.step(np.array([4, 0, 0, 0, 0]))
        with pytest.raises(RuntimeError, match="have to be made anew"):
            env.step(np.zeros(5, np.int64))
        found = pids(env)
    assert gone_in_time(*found)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("refuses", "env_config.size: 0 is out of range"),
        ("dies", r"environments (0 to 0|1 to 1), has ended with exit code 3"),
    ],
)
def test_what_cannot_be_made_is_told_and_leaves_nothing(mistake: str, said: str) -> None:
    made: list[processes._Worker] = []
    real_end = processes._end

    def end(workers: list[processes._Worker]) -> None:
        made.extend(workers)
        real_end(workers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "_end", end)
        with pytest.raises((ConfigError, RuntimeError), match=said):
            ProcessVectorEnv(functools.partial(Counter, **{mistake: True}), 2, 2, "a name")
    assert len(made) == 2 and gone_in_time(*(worker.process.pid for worker in made))


def test_what_is_waited_for_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(processes, "_TELL_EVERY_S", 0.0)
    with stepped():
        said = capsys.readouterr().err.splitlines()
    assert said and all(
        re.fullmatch(r"a name: \d of 5 environments are made \(\d+ s, 2 processes\)", one) for one in said
    )


def test_processes_end_with_what_asked_for_them() -> None:
    """Dropped without being closed; and killed, so that it could not do anything more."""
    env = ProcessVectorEnv(Counter, 2, 2, "a name")
    found = pids(env)
    assert all(map(is_there, found))
    del env
    gc.collect()
    assert gone_in_time(*found)
    program = processes._BEGIN.partition("pipe, memory")[0] + (
        f"folders = {processes._FOLDERS!r}\n"
        "for name, folder in folders.items():\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "    sys.modules[name].__path__ = [folder]\n"
        "import os, signal\n"
        "from rllib_rnd.envs.processes import ProcessVectorEnv\n"
        "from tests.envs.stepped import Counter\n"
        "env = ProcessVectorEnv(Counter, 2, 2, 'a name')\n"
        "print(*(worker.process.pid for worker in env._workers), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == -signal.SIGKILL and gone_in_time(*map(int, done.stdout.split()))


def test_what_ends_a_run_is_left_to_the_process_that_asks() -> None:
    """Ctrl-C and SIGTERM reach all processes of a job; there is still a state to be saved."""
    with stepped() as env:
        before = env.reset(seed=0)[0]
        for pid in pids(env):
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        np.testing.assert_array_equal(env.step(np.zeros(5, np.int64))[0] - before, [[0, 1]] * 5)
        assert len(env.clone_state()["envs"]) == 5


def test_the_workers_bring_neither_ray_nor_torch_along() -> None:
    with stepped(GAME, 2) as env:
        for pid in pids(env):
            with open(f"/proc/{pid}/maps") as maps:
                assert not re.search(r"/(torch|ray)/", maps.read())


@pytest.mark.parametrize(
    ("game", "num_envs", "threads", "workers"),
    [("MontezumaRevenge", 8, 2, 2), ("MontezumaRevenge", 8, 1, 0), ("MontezumaRevenge", 3, 2, 0)],
)
def test_many_games_in_python_are_dealt_over_the_cores(game: str, num_envs: int, threads: int, workers: int) -> None:
    asked: tuple[str, int, dict[str, str], int] = (f"ALE/{game}-v5", num_envs, {"backend": "gymnasium"}, threads)
    with contextlib.closing(make_vector_env(*asked)) as env:
        assert len(getattr(env, "_workers", ())) == count_processes(*asked) == workers


@pytest.mark.parametrize(("env", "config"), [("ALE/Pong-v5", {"backend": "ale"}), ("CartPole-v1", {})])
def test_others_have_no_processes(env: str, config: dict[str, str]) -> None:
    assert count_processes(env, 64, config, 4) == 0
