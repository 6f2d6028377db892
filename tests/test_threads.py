"""Who gets how many threads."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from rllib_rnd.threads import WORTH_SHARING, Threads, describe_processes, learner_threads, plan_threads, usable_cores
from tests.conftest import small_config


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Threads(learner=8, runner=8)),  # in turn: each has everything
        ({"num_learners": 2}, Threads(learner=4, runner=8)),
        ({"num_env_runners": 4}, Threads(learner=8, runner=1)),
        ({"num_env_runners": 4, "num_cpus_per_env_runner": 2}, Threads(learner=8, runner=2)),
        ({"num_env_runners": 4, "overlap_sampling": True}, Threads(learner=4, runner=1)),
        ({"num_env_runners": 6, "overlap_sampling": True, "num_learners": 2}, Threads(learner=1, runner=1)),
        ({"num_env_runners": 16, "overlap_sampling": True}, Threads(learner=1, runner=1)),
        ({"num_env_runners": 1, "num_cpus_per_env_runner": 64}, Threads(learner=8, runner=8)),
        ({"torch_threads": 3}, Threads(learner=3, runner=8)),
    ],
)
def test_the_cores_are_shared(settings: dict[str, Any], expected: Threads) -> None:
    config = small_config().training(torch_threads=None)
    for name, value in settings.items():
        setattr(config, name, value)
    assert plan_threads(config, cores=8) == expected


@pytest.mark.parametrize(
    ("torch_threads", "flops", "expected"),
    [(None, WORTH_SHARING, 8), (None, 0.99 * WORTH_SHARING, 1), (3, 1.0, 3), (3, 2 * WORTH_SHARING, 3)],
)
def test_small_work_is_not_shared_unless_asked_for(torch_threads: int | None, flops: float, expected: int) -> None:
    config = small_config().training(torch_threads=torch_threads)
    assert learner_threads(config, flops, cores=8) == expected


def test_the_line_for_people_names_processes_and_threads() -> None:
    config = small_config().training(torch_threads=None)
    assert describe_processes(config, native_envs=False, cores=4, env_processes=4).startswith(
        "the main process plays (environments in 4 processes), the main"
    )
    assert describe_processes(config, native_envs=True, cores=4) == (
        "the main process plays (environments in C++: 4 threads), the main process learns (1 thread, or 4 if its work "
        "is worth sharing), in turn; 4 cores to use"
    )
    # Environments in Python have no threads.
    assert describe_processes(config, native_envs=False, flops=1.0, cores=4) == (
        "the main process plays, the main process learns (1 thread), in turn; 4 cores to use"
    )
    config.env_runners(num_env_runners=2).learners(num_learners=1).training(overlap_sampling=True)
    assert describe_processes(config, native_envs=True, flops=WORTH_SHARING, cores=4) == (
        "2 runners x 1 thread, 1 learner x 2 threads, at the same time; 4 cores to use"
    )


@pytest.mark.parametrize(("omp", "expected"), [("1", 1), ("100000", None), ("", None), ("all", None)])
def test_openmps_own_variable_is_a_limit(omp: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    machine = usable_cores()
    assert machine == len(os.sched_getaffinity(0))
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    assert usable_cores() == (expected or machine)


@pytest.mark.parametrize("omp", ["1", None])
def test_a_worker_of_ray_follows_the_user_and_not_ray(omp: str | None) -> None:
    """Ray sets OMP_NUM_THREADS in its workers to the CPUs that it reserves for them, here 1."""
    program = """
import ray
from rllib_rnd.threads import usable_cores
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR", address="local")
print("cores", ray.get(ray.remote(num_cpus=1)(usable_cores).remote()))
ray.shutdown()
"""
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "RAY_ADDRESS")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | ({"OMP_NUM_THREADS": omp} if omp else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"cores {omp or len(os.sched_getaffinity(0))}" in done.stdout
