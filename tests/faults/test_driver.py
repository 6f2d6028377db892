"""What the driver does with signals, dying processes, nodes that go, and trials that were cut off: without a run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import exceptions
from ray.rllib.algorithms.ppo import PPO
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT

from rllib_rnd.algorithm import IntrinsicPPO
from rllib_rnd.cli import watching
from rllib_rnd.cli.watching import Draining, RayLives
from rllib_rnd.experiment.restarts import MAX_DEATHS, MortalTrial, TellRestarts, is_death
from rllib_rnd.signals import Terminated, outlive_sigterm, sigterm_for_this_process_alone
from rllib_rnd.tracking.saving import SaveInTime
from rllib_rnd.tracking.stopping import SIGTERM_NOTICE, Interrupt
from rllib_rnd.training import learners
from rllib_rnd.training.learners import LearnerDiedError
from tests.faults.placing import REPOSITORY


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def interrupt(clock: Clock, training: bool = True) -> Iterator[tuple[Interrupt, list[int]]]:
    """One that notes its last resort instead of ending this process."""
    ended: list[int] = []
    with Interrupt(clock) as flag:
        flag.training, flag.end_now = training, ended.append
        yield flag, ended


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_one_sigterm_that_comes_twice_is_one_and_a_second_one_stops(capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with interrupt(clock) as (flag, ended):
        send(signal.SIGTERM)
        clock.now += 0.1  # to the process, then to its group
        send(signal.SIGTERM)
        assert (flag.requested, flag.code, flag.name, flag.late) == (True, 143, "SIGTERM", False)
        assert SIGTERM_NOTICE in capfd.readouterr().err
        clock.now += 5.0
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)
        assert not ended
        clock.now += 5.0
        send(signal.SIGTERM)
        assert ended == [143]


def test_an_iteration_that_takes_longer_than_the_time_after_sigterm_is_cut_off() -> None:
    with interrupt(Clock()) as (flag, _):
        send(signal.SIGTERM)
        assert 0.0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 20.0
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGALRM)  # the kernel's, when that is over
        assert flag.late
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_before_training_there_is_nothing_to_save(number: int, kind: type[BaseException]) -> None:
    with interrupt(Clock(), training=False) as (flag, _), pytest.raises(kind):
        send(number)
    assert flag.code == 128 + number


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_while_the_command_imports_a_signal_ends_it_with_one_line(number: int, name: str, tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()  # in the place of Ray: the signal comes while that is imported
    (tmp_path / "ray" / "__init__.py").write_text(f"import os\nos.kill(os.getpid(), {number:d})\n", encoding="utf-8")
    (tmp_path / "x.yaml").write_text("a: {run: RND, env: rllib_rnd/DeepSea-v0}", encoding="utf-8")
    (tmp_path / "rllib").write_text("from rllib_rnd.cli import main\nmain()\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "rllib"), "check", str(tmp_path / "x.yaml")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (128 + number, f"rllib: stopped by {name}\n")
    assert done.stdout == "Checking x.yaml: loading torch and Ray ...\n"


def blocked(pid: int) -> bool:
    """Whether a process is deaf to SIGTERM."""
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return bool(int(status["SigBlk"], 16) >> (signal.SIGTERM - 1) & 1)


def test_processes_that_are_started_for_ray_are_deaf_to_sigterm_and_handlers_stay() -> None:
    from ray._private import utils

    before, rays = signal.getsignal(signal.SIGTERM), utils.set_sigterm_handler
    with sigterm_for_this_process_alone():
        utils.set_sigterm_handler(lambda *_: None)  # as ray.init() does
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    plain = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert (blocked(child.pid), blocked(plain.pid), blocked(os.getpid())) == (True, False, False)
        assert signal.getsignal(signal.SIGTERM) is before and utils.set_sigterm_handler is rays
    finally:
        for process in (child, plain):
            process.communicate(timeout=30)


def test_a_runner_outlives_sigterm_and_its_own_processes_do_not() -> None:
    before = signal.getsignal(signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as it is started
    try:
        outlive_sigterm()
        send(signal.SIGTERM)
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        child.terminate()
        assert child.wait(30) == -signal.SIGTERM
        pid = os.fork()
        if pid == 0:
            send(signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        signal.signal(signal.SIGTERM, before)


def asks(saver: SaveInTime, trial: Any) -> bool:
    result: dict[str, Any] = {}
    saver.on_trial_result(trial=trial, result=result)
    return bool(result.get(SHOULD_CHECKPOINT))


def test_trials_are_saved_in_time_whatever_they_were_saved_for_before() -> None:
    clock, trial, other = Clock(), SimpleNamespace(trial_id="a"), SimpleNamespace(trial_id="b")
    saver = SaveInTime(600.0, clock)
    saver.on_trial_start(trial=trial)
    clock.now += 599
    assert not asks(saver, trial)
    saver.on_trial_start(trial=other)
    clock.now += 1
    assert asks(saver, trial) and not asks(saver, trial) and not asks(saver, other)
    clock.now += 500
    saver.on_checkpoint(trial=trial, checkpoint=None)  # by iterations
    clock.now += 599
    assert not asks(saver, trial) and asks(saver, other)
    never = SaveInTime(None, clock)
    never.on_trial_start(trial=trial)
    clock.now += 1e6
    assert not asks(never, trial)


def test_a_draining_node_has_every_trial_saved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trial, lines, draining = SimpleNamespace(trial_id="a"), list[str](), dict[str, int]()
    saver = SaveInTime(None)
    saver.on_trial_start(trial=trial)
    monkeypatch.setattr(ray._private.state.state, "get_draining_nodes", lambda: dict(draining))
    watch = Draining(saver.ask, lines.append)
    assert not watch.look() and not asks(saver, trial)
    draining["ab12cd34ef"] = int(1000 * (time.time() + 120))
    watch.look()
    watch.look()
    assert asks(saver, trial) and not asks(saver, trial)
    draining["ffff00001111"] = 0  # without a deadline
    watch.look()
    assert asks(saver, trial)
    assert len(lines) == 2 and "Ray node ab12cd34 is being taken away at " in lines[0] and "(in 1" in lines[0]
    assert lines[1] == "Ray node ffff0000 is being taken away: saving after this iteration."


def test_a_ray_that_is_gone_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dead, answers, told = [""], [True], list[str]()
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="127.0.0.1:1"))
    monkeypatch.setattr(watching, "dead_process", lambda: dead[0])
    monkeypatch.setattr(RayLives, "_answers", lambda _: answers[0])
    watch = RayLives(told.append)
    answers[0] = False
    assert [watch.look() for _ in range(2)] == [False, False]
    answers[0] = True  # a cluster that was slow to answer
    assert not watch.look()
    answers[0] = False
    assert [watch.look() for _ in range(3)] == [False, False, True]
    assert told == ["the control process (GCS) of the Ray cluster at 127.0.0.1:1"]
    dead[0] = "Ray's control process (GCS)"
    assert RayLives(told.append).look() and told[1:] == [dead[0]]


def test_an_address_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="127.0.0.1:1"))
    assert not RayLives(print)._answers()


DIED = exceptions.RayActorError(error_msg="The actor died unexpectedly before finishing this task.")
IN_START = exceptions.RayActorError(error_msg="The actor died because of an error", actor_init_failed=True)


LEARNER_DIED = LearnerDiedError("the learner (process 7) died: its node is gone. What it had learned is lost.")


def raised(cause: Exception) -> exceptions.RayTaskError:
    return exceptions.RayTaskError("train", "Traceback ...", cause)


@pytest.mark.parametrize(
    ("error", "death"),
    [
        (DIED, True),
        (raised(DIED), True),
        (raised(LEARNER_DIED), True),  # as the trial's process tells of it
        (raised(LEARNER_DIED).as_instanceof_cause(), True),  # as Ray hands it to Tune
        (exceptions.OutOfMemoryError("short of memory"), True),
        (IN_START, False),
        (raised(ValueError("wrong")), False),
        (ValueError("Tune's own"), False),
        (None, False),
    ],
)
def test_a_death_is_not_what_code_raises(error: Exception | None, death: bool) -> None:
    assert is_death(error) is death


@pytest.mark.parametrize("method", ["step", "get_state"])
def test_a_death_of_a_learner_that_rllib_meets_first_is_told_of_too(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RLlib asserts that all learners are in service, in a word-less error that would restart nothing."""

    def raises(error: Exception) -> Any:
        def function(*_: Any) -> None:
            raise error

        return function

    monkeypatch.setattr(PPO, method, raises(AssertionError()))
    monkeypatch.setattr(learners, "_answers", raises(LEARNER_DIED))
    algorithm = object.__new__(IntrinsicPPO)
    algorithm.learner_group = SimpleNamespace(is_remote=True)
    with pytest.raises(LearnerDiedError):
        getattr(algorithm, method)()


def mortal() -> Any:
    trial = Trial("RND", stub=True, _setup_default_resource=False)
    MortalTrial.adopt(trial)
    return trial


def test_a_trial_is_started_again_as_long_as_it_gets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    trial, lines = mortal(), list[str]()
    saved = [None]
    monkeypatch.setattr(Trial, "checkpoint", property(lambda _: saved[0]))
    monkeypatch.setattr(Trial, "local_path", None)
    tell = TellRestarts(lines.append, lambda path: int(path[-1]))

    def dies(error: Exception) -> bool:
        trial.handle_error(error)
        again = trial.should_recover()
        if again:
            tell.on_trial_recover(trial=trial)
        return again

    assert [dies(DIED) for _ in range(MAX_DEATHS + 1)] == [True] * MAX_DEATHS + [False]
    saved[0] = SimpleNamespace(path="/r/checkpoint_000004")  # type: ignore[call-overload]
    assert dies(raised(DIED)) and trial.deaths == 1
    assert "It is started again from iteration 4; restart 1 of at most 3 before the next checkpoint." in lines[-1]
    assert "from its start; restart 3 of at most 3" in lines[-2]
    assert dies(raised(LEARNER_DIED).as_instanceof_cause()) and trial.deaths == 2
    assert "a process of it died (the learner (process 7) died: its node is gone). It is started again" in lines[-1]
    assert not dies(raised(ValueError("wrong")))  # it would raise it again
    assert json.loads(trial.get_json_state()[0])["deaths"] == 2  # which the snapshot of a sweep brings back
