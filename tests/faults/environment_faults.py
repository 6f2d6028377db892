"""Environments that misbehave or hang: each a function of a training, that places it and tells what came of it.

`FAULTS` has them all, each with a training of its own; see `runner_faults`.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.faults.outcome import Outcome
from tests.faults.small_training import LIMIT_S, PATIENCE_S, N, Training, alone


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
        return training.went_on(started, training.remote - 1)
    assert after["num_env_step_failures"] >= 1
    training.check()
    return Outcome(training.said[-1], time.monotonic() - started, "the rollout begun is played again")


#: What a script does whose environment, in its own process, dies or cannot be interrupted.
_SCRIPT = """
import sys
from pathlib import Path
import ray
from rllib_rnd.sampling import time_limit
from tests.faults.small_training import Training
time_limit.GRACE_S = 1.0
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
training = Training(Path(sys.argv[1]), remote=0, warmup_steps=0)
training.build()
training.train()
training.orders.place(sys.argv[2])
with training.limit("sample_timeout_s", float(sys.argv[3])):
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
        timeout=PATIENCE_S,
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


def _row_name(row: Misbehaviour, remote: int) -> str:
    return f"environment: {row.act} in {row.where}, {'remote runners' if remote else 'main process'}"


#: Name and function of every fault: it starts a small training, places the fault and tells what came of it. Needs Ray.
FAULTS: list[tuple[str, Callable[[], Outcome]]] = [
    ("environment hangs, remote runner, limit 4 s", functools.partial(alone, hangs)),
    ("environment hangs, main process, limit 4 s", functools.partial(alone, hangs, remote=0)),
    *(
        (
            _row_name(row, remote),
            functools.partial(alone, functools.partial(environment_misbehaves, row=row), remote=remote),
        )
        for remote in (0, 1)
        for row in MISBEHAVIOURS
    ),
    ("environment hangs and cannot be interrupted, limit 2 s, with the start", hangs_for_good_in_the_main_process),
]
