"""Runners of training and of evaluation that are killed, hang or lose what they played: each a function of a training.

It places the fault, watches, and tells what came of it; what must hold of every fault is asserted in here. `FAULTS` has
them all, each with a training of its own, for whoever measures. Tests call the functions with a training that they
share.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from rllib_rnd.sampling import runners as runners_module
from tests.faults.outcome import Outcome
from tests.faults.small_training import LIMIT_S, PATIENCE_S, N, Training, alone


def one_killed_while_sampling(training: Training) -> Outcome:
    """The others' rollouts are trained on at once; it comes back."""
    restarts = training.crew.restarts
    training.orders.place("kill")
    started = time.monotonic()
    training.train()
    if not training.said:  # with overlap the rollout under way may have been played before the order
        training.train()
    outcome = training.went_on(started, training.remote - 1)
    assert training.crew.restarts == restarts + 1
    return outcome


def all_killed_while_sampling(training: Training) -> Outcome:
    """The iteration waits for the first that is back."""
    training.orders.place("kill", times=training.remote * N)  # each environment takes one
    started = time.monotonic()
    training.train()
    assert any("waits for env runners" in line for line in training.said)
    return training.went_on(started, len(training.batches[-1]))


def killed_in_random_play(training: Training) -> Outcome:
    """During the warm-up of a new training: it goes on with the other."""
    assert not training.algorithm.warmed_up
    training.orders.place("kill")
    started = time.monotonic()
    training.train()
    assert training.algorithm.warmed_up
    return training.went_on(started, len(training.batches[-1]))


def killed_between_iterations(training: Training) -> Outcome:
    """Ray has another process in its place before anybody asks it: that does not play with the weights it has."""
    runner = training.crew.in_service[0]
    actor = training.algorithm.env_runner_group._worker_manager.actors()[runner]
    before = ray.get(actor.apply.remote(_pid))
    os.kill(before, signal.SIGKILL)
    until = time.monotonic() + PATIENCE_S
    while True:
        assert time.monotonic() < until
        with contextlib.suppress(ray.exceptions.RayError):
            if ray.get(actor.apply.remote(_pid)) != before:
                break
        time.sleep(0.05)
    started = time.monotonic()
    training.train()
    assert "another is there in its place" in training.said[0]
    return training.went_on(started, training.remote - 1)


def _pid(_: Any) -> int:
    return os.getpid()


def killed_in_weight_sync(training: Training) -> Outcome:
    """After its rollout, before it has the weights that were learned from it."""
    marker, original = training.orders.folder / f"sync-{len(training.batches)}", runners_module._take_weights
    runners_module._take_weights = functools.partial(_die_once, str(marker))
    try:
        started = time.monotonic()
        training.train()
        assert len(training.batches[-1]) == training.remote
    finally:
        runners_module._take_weights = original
    training.train()
    return training.went_on(started, training.remote - 1)


def _die_once(marker: str, runner: Any, state: Any) -> None:
    with contextlib.suppress(FileExistsError):
        Path(marker).touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    runner.set_state(state)


def rollout_does_not_fit_into_the_store(training: Training) -> Outcome:
    """A runner is well, but what it has played is lost; it plays on, and is taken for another one's play."""
    marker, original = training.orders.folder / f"full-{len(training.batches)}", runners_module._sample_for_driver
    restarts = training.crew.restarts
    runners_module._sample_for_driver = functools.partial(_full_once, str(marker))
    try:
        started = time.monotonic()
        training.train()
    finally:
        runners_module._sample_for_driver = original
    outcome = training.went_on(started, training.remote - 1)
    assert training.crew.restarts == restarts
    return outcome


def _full_once(marker: str, runner: Any, learner_nodes: Any) -> Any:
    sample = runner.sample_for_driver(learner_nodes)
    with contextlib.suppress(FileExistsError):
        Path(marker).touch(exist_ok=False)
        raise ray.exceptions.OutOfDiskError("as where a rollout is put into the store")
    return sample


def constructor_raises_at_the_restart(training: Training) -> Outcome:
    """Ray gives such an actor up for ever; here another is made."""
    training.orders.place("raise", "init", at=1)
    training.orders.place("kill")
    started = time.monotonic()
    training.train()
    outcome = training.went_on(started, training.remote - 1)
    assert training.orders.take("init") is None, "nobody took the order"
    return outcome


def evaluation_runner_killed(training: Training) -> Outcome:
    """Training does not mind; the evaluation has no result this once."""
    training.evaluation_orders.place("kill")
    started = time.monotonic()
    training.train()
    assert any("is lost" in line for line in training.said)
    outcome = training.went_on(started, max(1, training.remote))
    assert training.results["evaluation"]["env_runners"]["num_episodes"] == 4
    return outcome._replace(lost="one evaluation of one iteration")


def evaluation_runner_hangs(training: Training) -> Outcome:
    """It is ended after ``evaluation_sample_timeout_s``."""
    training.evaluation_orders.place("hang")
    started = time.monotonic()
    with training.limit("evaluation_sample_timeout_s", LIMIT_S):
        training.train()
    assert training.algorithm.evaluation_crew.hanging == 1
    outcome = training.went_on(started, max(1, training.remote))
    assert training.results["evaluation"]["env_runners"]["num_episodes"] == 4
    return outcome._replace(lost="one evaluation of one iteration")


def evaluation_runner_lost_while_it_trains(training: Training, act: str) -> Outcome:
    """With ``evaluation_duration: auto`` nobody waits for it: it is missed, or ended, in an iteration after."""
    crew = training.algorithm.evaluation_crew
    lost = crew.restarts
    training.evaluation_orders.place(act)
    started, iterations = time.monotonic(), len(training.batches)
    with training.limit("evaluation_sample_timeout_s", LIMIT_S if act == "hang" else PATIENCE_S):
        while not training.said or not any("Env runner" in line for line in training.said):
            assert time.monotonic() - started < PATIENCE_S, "nobody misses it"
            training.train()
    seconds, seen = time.monotonic() - started, training.said[0]
    assert len(training.batches) > iterations and all(training.batches[iterations:])  # it has trained all the time
    training.settle()
    training.check()
    assert crew.restarts == lost + 1 and crew.hanging == (act == "hang")
    while not training.results["evaluation"].get("env_runners", {}).get("num_episodes"):
        assert time.monotonic() - started < PATIENCE_S, "it does not evaluate any more"
        training.train()
    return Outcome(seen, seconds, "evaluations until it is back")


def every_rollout_ends_a_process(training: Training) -> Outcome:
    """A deterministic crash ends the run after a number of rounds, instead of counting iterations without steps."""
    training.orders.place("exit", "reset", at=1, times=100)
    started, iterations = time.monotonic(), len(training.batches)
    try:
        training.train()
    except RuntimeError as error:
        seen = str(error)
    else:
        raise AssertionError("training goes on without samples")
    assert len(training.batches) == iterations and training.algorithm.iteration == iterations
    training.orders.clear()
    return Outcome(seen, time.monotonic() - started, "the run ends; what came after the last checkpoint")


_PARALLEL: dict[str, Any] = {"evaluation": 1, "parallel": True}
_PLACED: tuple[tuple[str, Callable[[Training], Outcome], dict[str, Any]], ...] = (
    ("one env runner killed while sampling", one_killed_while_sampling, {}),
    ("one killed, overlap_sampling", one_killed_while_sampling, {"overlap_sampling": True}),
    ("all killed while sampling", all_killed_while_sampling, {}),
    ("all killed, overlap_sampling", all_killed_while_sampling, {"overlap_sampling": True}),
    ("one killed in warm-up", killed_in_random_play, {"settled": False}),
    ("one killed between iterations", killed_between_iterations, {}),
    ("one killed in weight sync", killed_in_weight_sync, {}),
    ("a runner's rollout does not fit into the object store", rollout_does_not_fit_into_the_store, {}),
    ("constructor raises at the restart", constructor_raises_at_the_restart, {}),
    ("evaluation runner killed", evaluation_runner_killed, {"evaluation": 1}),
    ("evaluation runner hangs, limit 4 s", evaluation_runner_hangs, {"evaluation": 1}),
    ("evaluation in parallel: its runner killed", evaluation_runner_killed, _PARALLEL),
    ("evaluation in parallel: its runner hangs, limit 4 s", evaluation_runner_hangs, _PARALLEL),
    ("evaluation in parallel: a runner of training killed", one_killed_while_sampling, _PARALLEL),
    (
        "evaluation in parallel, duration auto: its runner killed",
        functools.partial(evaluation_runner_lost_while_it_trains, act="kill"),
        {**_PARALLEL, "duration": "auto"},
    ),
    (
        "evaluation in parallel, duration auto: its runner hangs, limit 4 s",
        functools.partial(evaluation_runner_lost_while_it_trains, act="hang"),
        {**_PARALLEL, "duration": "auto"},
    ),
    ("every reset ends the process, tolerance 2", every_rollout_ends_a_process, {}),
)

#: Name and function of every fault: it starts a small training, places the fault and tells what came of it. Needs Ray.
FAULTS: list[tuple[str, Callable[[], Outcome]]] = [
    (name, functools.partial(alone, fault, **built)) for name, fault, built in _PLACED
]
