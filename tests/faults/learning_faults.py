"""Faults of learners and storage, each placed and watched: what is seen, how long it takes, what is lost."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pyarrow.fs
import ray

from rllib_rnd.tracking.result_files import result_loggers
from rllib_rnd.training.learners import LearnerDiedError
from tests.conftest import small_config
from tests.faults.outcome import Outcome
from tests.faults.own_ray import own_ray
from tests.faults.placing import Fault, Place, as_environment
from tests.faults.two_learners import STEPS, changed, learner_with, played, state_of
from tests.tracking.mlflow_trials import make, result, runs, trial

# isort: split
import psutil  # Ray brings it, and it is found once Ray is imported

#: Seconds that learners may take which are stopped.
LIMIT_S = 2.0


@dataclass(frozen=True)
class LearnerDeath:
    """What came of a fault in the process of a learner.

    Attributes:
        error: that the algorithm raised.
        seconds: until it did.
        left: processes of learners that are still there a little later.
    """

    error: BaseException | None
    seconds: float
    left: list[int]


def learner_death(learners: int, fault: Fault) -> LearnerDeath:
    """Trains with so many learner processes until the fault has struck. Ray has to run."""
    with mock.patch.dict(os.environ, as_environment([fault])):
        algorithm = small_config().learners(num_learners=learners).callbacks(Place).build_algo()
    group, error, started = algorithm.learner_group, None, time.perf_counter()
    pids = ray.get([actor.apply.remote(_pid) for actor in group._workers])
    try:
        for _ in range(4):
            started = time.perf_counter()
            algorithm.train()
    except Exception as raised:
        error = raised
    seconds = time.perf_counter() - started
    algorithm.stop()
    _, left = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=60.0)
    return LearnerDeath(error, seconds, [process.pid for process in left])


def learner_stopped(learners: int, where: str = "") -> LearnerDeath:
    """Stops the process of the last learner, which then does nothing any more and is not dead. Ray has to run.

    Args:
        learners: processes.
        where: RLlib's method of the group that is to wait for it in vain; "": an update.
    """
    algorithm = small_config().learners(num_learners=learners).build_algo()
    group, error = algorithm.learner_group, None
    algorithm.train()
    pids = ray.get([actor.apply.remote(_pid) for actor in group._workers])
    # From here on, as others wait longer for busy machines. (The other learner waits no longer than that either.)
    vars(group.config)["learn_timeout_s"] = LIMIT_S
    os.kill(pids[-1], signal.SIGSTOP)
    started = time.perf_counter()
    try:
        getattr(group, where)() if where else algorithm.train()
    except Exception as raised:
        error = raised
    seconds = time.perf_counter() - started
    algorithm.stop()
    _, left = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=60.0)
    for process in left:
        process.kill()
    return LearnerDeath(error, seconds, [process.pid for process in left])


def _pid(_: Any) -> int:
    return os.getpid()


#: A step of the optimizer, and a sum over learners in the middle of one.
IN_A_STEP = Fault("rllib_rnd.training.update:PPOUpdate.step", call=6, place="learner")
IN_A_SUM = Fault("torch.distributed:all_reduce", call=60, place="learner", index=1)


def learner_killed(learners: int, fault: Fault) -> Outcome:
    """The process of a learner is killed."""
    with own_ray():
        death = learner_death(learners, fault)
    assert isinstance(death.error, LearnerDiedError) and not death.left
    return Outcome(str(death.error), death.seconds, "what was trained since the last checkpoint")


def learner_hangs(learners: int) -> Outcome:
    """The process of a learner is stopped."""
    with own_ray():
        death = learner_stopped(learners)
    assert isinstance(death.error, LearnerDiedError) and not death.left
    return Outcome(str(death.error), death.seconds, "what was trained since the last checkpoint")


def not_finite_rewards() -> Outcome:
    """An intrinsic reward is NaN once."""
    learner = learner_with("intrinsic_reward", "ngu")
    learner.update_from_rollouts([played(learner, first=[(0, n) for n in range(4)])], STEPS)
    before, (reward,) = state_of(learner), learner.trained_module.rewards()
    compute = reward.compute
    with mock.patch.object(reward, "compute", lambda rollout: (compute(rollout)[0] * math.nan, {})):
        started = time.perf_counter()
        learner.update_from_rollouts([played(learner, seed=1)], STEPS)
    assert not changed(before, state_of(learner))
    seconds = time.perf_counter() - started
    return Outcome(f"nonfinite_updates: {learner.nonfinite.total}, one warning", seconds, "one rollout; no statistic")


def disk_full() -> Outcome:
    """The disk is full while rows are written, and has room again."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "trial"
        storage = SimpleNamespace(storage_filesystem=pyarrow.fs.LocalFileSystem(), trial_fs_path=str(folder))
        one: Any = SimpleNamespace(local_path=name, config={}, evaluated_params={}, storage=storage)
        one.init_local_path = one.__repr__
        rows, hashable = folder / "result.json", type("Trial", (), vars(one))()
        logger: Any = result_loggers(said.append)[0]
        logger.log_trial_start(hashable)
        folder.mkdir(exist_ok=True)
        rows.symlink_to("/dev/full")
        for steps in (100, 200):
            logger.log_trial_result(1, hashable, result(steps))
        rows.unlink()
        started = time.perf_counter()
        logger.log_trial_result(1, hashable, result(300))
        seconds = time.perf_counter() - started
        assert [json.loads(row)["training_iteration"] for row in rows.read_text().splitlines()] == [1, 2, 3]
    return Outcome(said[0], seconds, "nothing")


def store_locked() -> Outcome:
    """Another process holds the MLflow database while rows come."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        uri = f"sqlite:///{name}/mlruns.db"
        logger = make(uri, said)
        logger.log_trial_start(trial())
        assert logger._writer is not None and logger._writer.drain(60.0) == 0
        other = sqlite3.connect(f"{name}/mlruns.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        for steps in (100, 200, 300):
            logger.log_trial_result(1, trial(), result(steps))
        other.execute("ROLLBACK")
        other.close()
        started = time.perf_counter()
        logger.log_trial_end(trial())
        logger.close()
        (run,) = runs(uri)
        assert run.data.metrics["agent_steps"] == 300.0 and logger.left == 0
    return Outcome(said[0] if said else "nothing", time.perf_counter() - started, "nothing")


def store_away() -> Outcome:
    """The MLflow server refuses to answer all the time."""
    said: list[str] = []
    with mock.patch.dict(os.environ, {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}):
        started = time.perf_counter()
        logger = make("http://127.0.0.1:9", said)
        logger.place = "results/run"
        logger.log_trial_start(trial())
        logger.log_trial_result(1, trial(), result(100))
        logger.log_trial_end(trial())
        logger.close(patience_s=1.0)
    return Outcome(said[-1], time.perf_counter() - started, "nothing: the run's folder has all rows")


#: What is measured: name, and what places it.
FAULTS: list[tuple[str, Callable[[], Outcome]]] = [
    ("intrinsic reward not finite", not_finite_rewards),
    ("the only learner process killed in a step", lambda: learner_killed(1, IN_A_STEP)),
    ("one of two learner processes killed in an all-reduce", lambda: learner_killed(2, IN_A_SUM)),
    (f"the only learner process stopped, limit {LIMIT_S:.0f} s", lambda: learner_hangs(1)),
    (f"one of two learner processes stopped, limit {LIMIT_S:.0f} s", lambda: learner_hangs(2)),
    ("disk full while results are written", disk_full),
    ("MLflow database locked by another process", store_locked),
    ("MLflow server out of reach", store_away),
]
