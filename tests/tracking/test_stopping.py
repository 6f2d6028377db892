"""Stop conditions, progress, and what Ctrl-C does to trials."""

import os
import pickle
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from rllib_rnd.tracking.stopping import NOTICE, Conditions, Interrupt, RunStopper, SaveOnInterrupt, progress, reached

STEPS = "env_runners/num_env_steps_sampled_lifetime"
RETURN = "env_runners/episode_return_mean"


def result(steps: int, episode_return: float | None = None) -> dict:
    runners = {"num_env_steps_sampled_lifetime": steps}
    return {"env_runners": runners | ({} if episode_return is None else {"episode_return_mean": episode_return})}


@pytest.fixture
def interrupt() -> Iterator[Interrupt]:
    with Interrupt() as flag:
        flag.training = True
        yield flag


def test_conditions() -> None:
    stop = {STEPS: 100.0, RETURN: 5.0}
    assert reached(result(99), stop) is None  # a return that is absent is not reached
    assert reached(result(100), stop) == (STEPS, 100.0)
    assert reached(result(10, 5.0), stop) == (RETURN, 5.0)
    assert reached(result(10), {}) is None


def test_progress_follows_steady_quantities_only() -> None:
    state = progress(result(25, 4.9), {STEPS: 100.0, RETURN: 5.0})
    assert state is not None and (state.path, state.share) == (STEPS, 0.25)
    assert progress(result(25, 4.9), {RETURN: 5.0}) is None
    nearest = progress({"training_iteration": 5} | result(10), {STEPS: 100.0, "training_iteration": 10.0})
    assert nearest is not None and nearest.path == "training_iteration"


def test_first_signal_sets_a_flag_and_the_second_raises(interrupt: Interrupt, capfd: pytest.CaptureFixture) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    assert interrupt.requested
    assert NOTICE in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_a_lone_trial_ends_at_its_next_result(interrupt: Interrupt) -> None:
    stopper = RunStopper(Conditions({STEPS: 100.0}), interrupt)
    assert not stopper("a", result(50))
    assert stopper("a", result(100))
    interrupt.requested = True
    assert stopper("a", result(50))
    assert not stopper.stop_all()


def test_a_promised_metric_must_be_in_the_first_results() -> None:
    conditions = Conditions({STEPS: 100.0, "mine": 2.0}, promised=["mine"])
    assert not any(conditions.end("pre-training", result(0)) for _ in range(9))  # which reports little
    assert not any(conditions.end("a", result(i) | {"mine": 1.0}) for i in range(1, 9)) and conditions.problem == ""
    assert conditions.end("a", result(9) | {"mine": 2.0})
    assert not conditions.end("b", result(1) | {"mien": 1.0}) and not conditions.end("b", result(2) | {"mien": 1.0})
    assert conditions.end("b", result(3) | {"mien": 1.0})
    assert conditions.problem == (
        "stop.mine: the first 3 results do not hold it; nearest is 'mien'. If it comes later, declare it: "
        "metrics: [mine]"
    )


def test_a_metric_of_runners_is_found_by_its_own_name() -> None:
    conditions = Conditions({"mine": 2.0}, promised=["mine"])
    assert conditions.end("a", {"env_runners": {"mine": 2.0}})


def test_pickling_forgets_the_interrupt(interrupt: Interrupt) -> None:
    interrupt.requested = True
    stopper = pickle.loads(pickle.dumps(RunStopper(Conditions({STEPS: 100.0}), interrupt)))
    assert not stopper("a", result(50)) and stopper("a", result(100))
    saver = pickle.loads(pickle.dumps(SaveOnInterrupt(interrupt, sweep=True)))
    assert not saver.interrupted


def test_a_sweep_ends_when_the_last_running_trial_is_saved(interrupt: Interrupt) -> None:
    signals: list[int] = []
    previous = signal.signal(signal.SIGUSR1, lambda number, frame: signals.append(number))
    try:
        saver = SaveOnInterrupt(interrupt, sweep=True)
        a, b, late = (SimpleNamespace(trial_id=name) for name in ("a", "b", "late"))
        saver.on_trial_start(trial=a)
        saver.on_trial_start(trial=b)
        saver.on_checkpoint(trial=a, checkpoint=None)  # an ordinary checkpoint
        plain: dict = {}
        saver.on_trial_result(trial=a, result=plain)
        assert plain == {}
        interrupt.requested = True
        saver.on_trial_start(trial=late)
        asked: dict = {}
        saver.on_trial_result(trial=a, result=asked)
        assert asked == {"should_checkpoint": True}
        saver.on_checkpoint(trial=a, checkpoint=None)
        assert signals == []
        saver.on_trial_complete(trial=b)
        assert signals == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, previous)
