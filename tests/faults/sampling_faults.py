"""Faults on the side of environments and runners, each a function that places it, watches, and tells what came of it.

`FAULTS` has them all, each with a training of its own, for whoever measures. Tests call the functions with a training
that they share. What must hold of every fault is asserted in here.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE

from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling import runners as runners_module
from rllib_rnd.sampling.crew import weights_of
from tests.conftest import small_config
from tests.faults.faulty import Orders

#: Steps of a rollout and environments of a runner here.
T, N = 16, 2
#: Seconds that a rollout of milliseconds may take where one hangs.
LIMIT_S = 4.0
_PATIENCE_S = 400.0  # for a process to start, on a machine that does other things


class Outcome(NamedTuple):
    """What came of a fault.

    Attributes:
        seen: the line that a user sees.
        seconds: from the fault until training has gone on by an iteration, or has ended.
        lost: what of the run is lost.
    """

    seen: str
    seconds: float
    lost: str


class Training:
    """A small training whose environments take orders.

    Args:
        folder: for orders.
        remote: env runners, 0: plays in this process.
        env: what plays, of `tests.faults.faulty`.
        settings: of `training()`.
    """

    def __init__(self, folder: Path, remote: int = 2, env: str = "Faulty", **settings: Any) -> None:
        self.orders, self.evaluation_orders = Orders(folder / "orders"), Orders(folder / "evaluation")
        config = small_config(env=f"tests.faults.faulty:{env}", **settings)
        config.environment(env_config={"folder": str(self.orders.folder)})
        config.env_runners(num_env_runners=remote, num_envs_per_env_runner=N, rollout_fragment_length=T)
        config.fault_tolerance(restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0.0)
        config.fault_tolerance(num_consecutive_env_runner_failures_tolerance=2)
        self.config, self.remote = config, remote
        self.batches: list[list[Rollout]] = []
        self.said: list[str] = []
        self.results: dict[str, Any] = {}

    def evaluate_too(self, remote: int) -> None:
        """Has each iteration end with an evaluation of 4 episodes."""
        self.config.evaluation(
            evaluation_interval=1,
            evaluation_num_env_runners=remote,
            evaluation_duration=4,
            evaluation_config={"env_config": {"folder": str(self.evaluation_orders.folder)}},
        )

    def build(self) -> Training:
        """Starts it."""
        self.algorithm = self.config.build_algo()
        collect = self.algorithm.runners.collect

        def recorded() -> Any:
            samples = collect()
            self.batches.append([copied(sample.rollout) for sample in samples])
            return samples

        self.algorithm.runners.collect = recorded
        return self

    @property
    def crew(self) -> Any:
        """The runners of training."""
        return self.algorithm.runners.crew

    def train(self) -> dict[str, Any]:
        """One iteration; returns its metrics of runners."""
        with self._listening():
            self.results = self.algorithm.train()
        # The rows of environments that go on, as of the intrinsic return, follow them.
        assert not any("starts anew" in line for line in self.said)
        found: dict[str, Any] = self.results["env_runners"]
        return found

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        said = self.said
        said.clear()

        class Listener(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                said.append(record.getMessage())

        listener, log = Listener(), logging.getLogger("rllib_rnd")
        log.addHandler(listener)
        try:
            yield
        finally:
            log.removeHandler(listener)

    def settle(self) -> None:
        """Waits until all runners are in service, and trains an iteration with them."""
        groups = {self.algorithm.env_runner_group: self.crew}
        if self.algorithm.eval_env_runner_group is not None:
            groups[self.algorithm.eval_env_runner_group] = self.algorithm.evaluation_crew
        until = time.monotonic() + _PATIENCE_S
        for group, crew in groups.items():
            while group.num_healthy_remote_env_runners() < group.num_remote_env_runners():
                assert time.monotonic() < until, "the runners do not come back"
                with self._listening():
                    crew.restore()
        self.train()
        assert len(self.batches[-1]) == max(1, self.remote)

    def check(self) -> None:
        """Counters are right, batches hold whole samples, each once, and all play with the learner's weights."""
        counted = sum(int((~rollout.is_first[1:]).sum()) for batch in self.batches for rollout in batch)
        assert self.results["env_runners"]["num_env_steps_sampled_lifetime"] == counted
        assert self.results["training_iteration"] == len(self.batches)
        seen: set[tuple[float, float]] = set()
        for batch in self.batches:
            for rollout in batch:
                for name in ("frames", "reward", "value", "logp", "memory"):
                    assert np.isfinite(getattr(rollout, name)).all()
                frames = rollout.frames.astype(np.float64)
                whole = ~(rollout.broken[1:] | rollout.broken[:-1])
                steps = (frames[1:, :, 1] - frames[:-1, :, 1]) * 8192
                assert (steps[whole] == 1.0).all() and (frames[1:, :, 0] == frames[:-1, :, 0])[whole].all()
                samples = {(float(a), float(b)) for a, b in frames[:-1][~rollout.broken[:-1]][:, :2]}
                assert len(samples) == (~rollout.broken[:-1]).sum() and not samples & seen
                seen |= samples
        weights = weights_of(self.algorithm.learner_group)
        for theirs in self.algorithm.runners.foreach(_weights):
            assert theirs.keys() == weights[COMPONENT_RL_MODULE]["default_policy"].keys()
            for name, tensor in theirs.items():
                np.testing.assert_array_equal(tensor, weights[COMPONENT_RL_MODULE]["default_policy"][name])

    @contextlib.contextmanager
    def limit(self, name: str, seconds: float) -> Iterator[None]:
        """A setting of a training that runs, for the iteration that hangs: others wait longer for busy machines."""
        algorithm = self.algorithm
        configs = [algorithm.config, algorithm.evaluation_config]
        configs += [] if self.remote else [algorithm.env_runner.config]
        before = [vars(config)[name] for config in configs]
        for config in configs:
            vars(config)[name] = seconds
        try:
            yield
        finally:
            for config, value in zip(configs, before, strict=True):
                vars(config)[name] = value

    def stop(self) -> None:
        """Ends it."""
        self.algorithm.stop()


def copied(rollout: Rollout) -> Any:
    """A rollout's arrays: those of a remote runner are Ray's to take back."""
    names = ("frames", "is_first", "broken", "reward", "value", "logp", "memory")
    return type("Copy", (), {name: np.array(getattr(rollout, name)) for name in names})


def _weights(runner: Any) -> dict[str, np.ndarray]:
    state = runner.get_state(components=[COMPONENT_RL_MODULE], inference_only=True)[COMPONENT_RL_MODULE]
    return {name: torch.as_tensor(value).numpy() for name, value in state.items()}


def _agent_steps(batch: list[Any]) -> int:
    return sum(int((~rollout.is_first[1:]).sum()) for rollout in batch)


# --- runners that are killed ----------------------------------------------------------------------------------------


def _after(training: Training, started: float, runners: int) -> Outcome:
    """Training has gone on: what was said, how long it took, what is missing; then all come back."""
    seconds = time.monotonic() - started
    seen, missing = training.said[0], max(1, training.remote) - runners
    assert len(training.batches[-1]) == runners
    training.check()
    restarts = training.crew.restarts
    training.settle()
    training.check()
    assert training.crew.restarts >= restarts
    return Outcome(seen, seconds, f"{missing} of {training.remote} rollouts of one iteration")


def one_killed_while_sampling(training: Training) -> Outcome:
    """The others' rollouts are trained on at once; it comes back."""
    restarts = training.crew.restarts
    training.orders.place("kill")
    started = time.monotonic()
    training.train()
    if not training.said:  # with overlap the rollout under way may have been played before the order
        training.train()
    outcome = _after(training, started, training.remote - 1)
    assert training.crew.restarts == restarts + 1
    return outcome


def all_killed_while_sampling(training: Training) -> Outcome:
    """The iteration waits for the first that is back."""
    training.orders.place("kill", times=training.remote * N)  # each environment takes one
    started = time.monotonic()
    training.train()
    assert any("waits for env runners" in line for line in training.said)
    return _after(training, started, len(training.batches[-1]))


def killed_in_random_play(training: Training) -> Outcome:
    """During the warm-up of a new training: it goes on with the other."""
    assert not training.algorithm.warmed_up
    training.orders.place("kill")
    started = time.monotonic()
    training.train()
    assert training.algorithm.warmed_up
    return _after(training, started, len(training.batches[-1]))


def killed_between_iterations(training: Training) -> Outcome:
    """Ray has another process in its place before anybody asks it: that does not play with the weights it has."""
    runner = training.crew.in_service[0]
    actor = training.algorithm.env_runner_group._worker_manager.actors()[runner]
    before = ray.get(actor.apply.remote(_pid))
    os.kill(before, signal.SIGKILL)
    until = time.monotonic() + _PATIENCE_S
    while True:
        assert time.monotonic() < until
        with contextlib.suppress(ray.exceptions.RayError):
            if ray.get(actor.apply.remote(_pid)) != before:
                break
        time.sleep(0.05)
    started = time.monotonic()
    training.train()
    assert "another is there in its place" in training.said[0]
    return _after(training, started, training.remote - 1)


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
    return _after(training, started, training.remote - 1)


def _die_once(marker: str, runner: Any, state: Any) -> None:
    with contextlib.suppress(FileExistsError):
        Path(marker).touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    runner.set_state(state)


def constructor_raises_at_the_restart(training: Training) -> Outcome:
    """Ray gives such an actor up for ever; here another is made."""
    training.orders.place("raise", "init", at=1)
    training.orders.place("kill")
    started = time.monotonic()
    training.train()
    outcome = _after(training, started, training.remote - 1)
    assert training.orders.take("init") is None, "nobody took the order"
    return outcome


def evaluation_runner_killed(training: Training) -> Outcome:
    """Training does not mind; the evaluation has no result this once."""
    training.evaluation_orders.place("kill")
    started = time.monotonic()
    training.train()
    assert any("is lost" in line for line in training.said)
    outcome = _after(training, started, training.remote)
    assert training.results["evaluation"]["env_runners"]["num_episodes"] == 4
    return outcome._replace(lost="one evaluation of one iteration")


def evaluation_runner_hangs(training: Training) -> Outcome:
    """It is ended after ``evaluation_sample_timeout_s``."""
    training.evaluation_orders.place("hang")
    started = time.monotonic()
    with training.limit("evaluation_sample_timeout_s", LIMIT_S):
        training.train()
    assert training.algorithm.evaluation_crew.hanging == 1
    outcome = _after(training, started, training.remote)
    assert training.results["evaluation"]["env_runners"]["num_episodes"] == 4
    return outcome._replace(lost="one evaluation of one iteration")


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


# --- environments that misbehave ------------------------------------------------------------------------------------


class Misbehaviour(NamedTuple):
    """One row of the table.

    Attributes:
        act: of `tests.faults.faulty`.
        where: the method.
        ends: the run ends with an error that matches this; "": it goes on.
        failures: how many are counted, and environments made anew.
        broken: observations that are counted as such.
        says: what the log has to say.
    """

    act: str
    where: str = "step"
    ends: str = ""
    failures: int = 0
    broken: int = 0
    says: str = ""


_DIED = r"Faulty\w*' failed in {}\(\): ValueError: the emulator died in {} \(.*faulty.py:\d+, in _act\)"
MISBEHAVIOURS = (
    Misbehaviour("raise", failures=1, says=_DIED.format("step", "step")),
    Misbehaviour("raise", "reset", failures=1, says=_DIED.format("(step|reset)", "reset")),
    Misbehaviour("nan", broken=1),
    Misbehaviour("inf", broken=1),
    Misbehaviour("nan", "reset", broken=1),
    Misbehaviour("last nan", broken=1),
    Misbehaviour("reward nan", failures=1, says=r"Faulty\w*' failed in step\(\): the reward of environment \d is nan"),
    Misbehaviour("reward inf", failures=1, says=r"Faulty\w*' failed in step\(\): the reward of environment \d is inf"),
    Misbehaviour("shape", ends=r"env: Faulty\w*.step\(\) \(.*faulty.py:\d+\) returned an observation of shape .*2"),
    Misbehaviour("dtype", ends=r"env: Faulty\w*.step\(\) \(.*faulty.py:\d+\) returned an observation of"),
    Misbehaviour("values", ends=r"env: Faulty\w*.step\(\) \(.*faulty.py:\d+\) returned 4 values"),
    Misbehaviour("shape", "reset", ends=r"env: Faulty\w*.(reset|step)\(\) \(.*faulty.py:\d+\) returned an observation"),
    Misbehaviour("outside", says=r"sent an observation outside its space \(5.0\); see Faulty\w*.step\(\)"),
    Misbehaviour("zombie"),
)


def environment_misbehaves(training: Training, row: Misbehaviour) -> Outcome:
    """The same for every way to play: what is seen, what is counted, and no broken sample in a batch."""
    before = training.results["env_runners"] if training.results else {}
    training.orders.place(row.act, row.where, at=1 if row.where == "reset" else 3)
    started = time.monotonic()
    if row.ends:
        try:
            training.train()
        except ValueError as error:
            seen = str(error)
        else:
            raise AssertionError(f"{row} does not end the run")
        seconds = time.monotonic() - started
        training.algorithm.runners.foreach(lambda runner: runner.make_env())  # for the next that shares it
        return Outcome(seen, seconds, "the run ends; what came after the last checkpoint")
    after, seconds = training.train(), time.monotonic() - started
    training.check()
    num_envs = N if training.config.env.endswith("Vector") else 1
    broken = after.get("broken_observations", 0) - before.get("broken_observations", 0)
    failures = after.get("num_env_step_failures", 0) - before.get("num_env_step_failures", 0)
    assert (broken, failures) == (row.broken * num_envs, row.failures), (broken, failures)
    seen = training.said[0] if training.said else f"broken_observations + {broken}" if broken else "nothing"
    lost = "the rollout begun is played again" if failures else "the samples around it" if broken else "nothing"
    return Outcome(seen, seconds, lost)


def hangs(training: Training) -> Outcome:
    """Interrupted in the main process, ended in others, after ``sample_timeout_s``."""
    training.orders.place("hang")
    started = time.monotonic()
    with training.limit("sample_timeout_s", LIMIT_S):
        after = training.train()
    if training.remote:
        assert after["hanging_env_runners"] == training.crew.hanging == 1
        return _after(training, started, training.remote - 1)
    assert after["num_env_step_failures"] >= 1
    training.check()
    return Outcome(training.said[-1], time.monotonic() - started, "the rollout begun is played again")


#: What a script does whose environment, in its own process, dies or cannot be interrupted.
_SCRIPT = """
import sys
from pathlib import Path
import ray
from rllib_rnd.sampling import time_limit
from tests.faults.sampling_faults import Training
time_limit.GRACE_S = 1.0
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
training = Training(Path(sys.argv[1]), remote=0, warmup_steps=0)
training.config.env_runners(sample_timeout_s=float(sys.argv[3]))
training.build()
training.train()
training.orders.place(sys.argv[2])
training.train()
print("went on")
"""


def alone_with(act: str, folder: Path, limit_s: float = 2.0) -> tuple[int, str, float]:
    """A script that plays in its own process: its exit code, its standard error, seconds of all of it."""
    started = time.monotonic()
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(folder), act, str(limit_s)],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert "went on" not in done.stdout
    return done.returncode, done.stderr, time.monotonic() - started


def hangs_for_good_in_the_main_process() -> Outcome:
    """Nothing interrupts it: the process says where it hangs, and ends."""
    with tempfile.TemporaryDirectory() as folder:
        code, errors, seconds = alone_with("hang for good", Path(folder))
    assert code == 1 and "in _act" in errors, (code, errors[-2000:])
    (seen,) = [line for line in errors.splitlines() if "hangs: it is not done within sample_timeout_s" in line][:1]
    return Outcome(seen, seconds, "the run ends; what came after the last checkpoint")


# --- all of them ----------------------------------------------------------------------------------------------------


def _alone(fault: Callable[..., Outcome], evaluation: int = 0, **built: Any) -> Outcome:
    """A fault of a training that is there for it alone."""
    with tempfile.TemporaryDirectory() as folder:
        training = Training(Path(folder), **built)
        if evaluation:
            training.evaluate_too(evaluation)
        training.build()
        try:
            if fault is not killed_in_random_play:
                training.settle()
            return fault(training)
        finally:
            training.stop()


def _row_name(row: Misbehaviour, remote: int) -> str:
    return f"environment: {row.act} in {row.where}, {'remote runners' if remote else 'main process'}"


_KILLED: tuple[tuple[str, Callable[[Training], Outcome], dict[str, Any]], ...] = (
    ("one env runner killed while sampling", one_killed_while_sampling, {}),
    ("one killed, overlap_sampling", one_killed_while_sampling, {"overlap_sampling": True}),
    ("all killed while sampling", all_killed_while_sampling, {}),
    ("all killed, overlap_sampling", all_killed_while_sampling, {"overlap_sampling": True}),
    ("one killed in warm-up", killed_in_random_play, {}),
    ("one killed between iterations", killed_between_iterations, {}),
    ("one killed in weight sync", killed_in_weight_sync, {}),
    ("constructor raises at the restart", constructor_raises_at_the_restart, {}),
    ("evaluation runner killed", evaluation_runner_killed, {"evaluation": 1}),
    ("evaluation runner hangs, limit 4 s", evaluation_runner_hangs, {"evaluation": 1}),
    ("every reset ends the process, tolerance 2", every_rollout_ends_a_process, {}),
    ("environment hangs, remote runner, limit 4 s", hangs, {}),
    ("environment hangs, main process, limit 4 s", hangs, {"remote": 0}),
)

#: Name and function of every fault: it starts a small training, places the fault and tells what came of it. Needs Ray.
FAULTS: list[tuple[str, Callable[[], Outcome]]] = [
    *((name, functools.partial(_alone, fault, **built)) for name, fault, built in _KILLED),
    *(
        (
            _row_name(row, remote),
            functools.partial(_alone, functools.partial(environment_misbehaves, row=row), remote=remote),
        )
        for remote in (0, 1)
        for row in MISBEHAVIOURS
    ),
    ("environment hangs and cannot be interrupted, limit 2 s, with the start", hangs_for_good_in_the_main_process),
]
