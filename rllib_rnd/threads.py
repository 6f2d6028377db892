"""How many threads each process gets by default: together never more than the cores of the machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

#: Floating point operations of one forward pass from which on threads are worth their waiting for each other; below,
#: a second one wins little in a whole iteration and loses where another process is busy (docs/performance.md).
WORTH_SHARING = 200e6


@dataclass(frozen=True)
class Threads:
    """Threads of the processes on one machine.

    Attributes:
        learner: torch threads of each learner, at most: see `learner_threads`.
        runner: threads of each runner that plays: of its environments in C++, and of torch.
    """

    learner: int
    runner: int


def plan_threads(config: AlgorithmConfig, cores: int | None = None) -> Threads:
    """Shares the cores.

    Playing and learning take turns, so each may have all cores, unless they overlap. Remote runners have the CPUs
    that Ray reserves for them. ``torch_threads`` decides for the learners if it is set.

    Args:
        config: an `IntrinsicPPOConfig`.
        cores: that may be used; None to count them.
    """
    cores = cores or usable_cores()
    runners, learners = config.num_env_runners, max(1, config.num_learners)
    runner = cores if runners == 0 else max(1, min(int(config.num_cpus_per_env_runner), cores))
    left = cores - runners * runner if config.overlap_sampling else cores
    return Threads(learner=config.torch_threads or max(1, left // learners), runner=runner)


def learner_threads(config: AlgorithmConfig, flops: float, cores: int | None = None) -> int:
    """Threads that a learner takes: those of `plan_threads`, or one where its work is too small to share.

    Args:
        config: an `IntrinsicPPOConfig`.
        flops: floating point operations of one forward pass of policy and critics.
        cores: that may be used; None to count them.
    """
    planned = plan_threads(config, cores).learner
    return planned if config.torch_threads is not None or flops >= WORTH_SHARING else 1


def usable_cores() -> int:
    """Cores that this process may use: those of the machine, or fewer if the user says so in ``OMP_NUM_THREADS``."""
    # By affinity: containers and batch systems hand out parts of a machine.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = _omp_num_threads()
    return max(1, min(cores, int(wanted))) if wanted.isdecimal() else cores


def _omp_num_threads() -> str:
    """``OMP_NUM_THREADS`` as the user set it: Ray sets it in its workers to the CPUs that it reserves for them."""
    if not ray.is_initialized() or ray.get_runtime_context().worker.mode != ray.WORKER_MODE:
        return os.environ.get("OMP_NUM_THREADS", "")
    try:  # what a process began with, before Ray's own code ran in it
        began = Path("/proc/self/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""
    return dict(entry.partition("=")[::2] for entry in began.split("\0")).get("OMP_NUM_THREADS", "")


def describe_processes(
    config: AlgorithmConfig,
    native_envs: bool,
    flops: float | None = None,
    cores: int | None = None,
    env_processes: int = 0,
) -> str:
    """One line for people: which processes there are, and with how many threads.

    Args:
        config: an `IntrinsicPPOConfig`.
        native_envs: whether environments are stepped by threads in C++.
        flops: see `learner_threads`; None: not known yet.
        cores: that may be used; None to count them.
        env_processes: that step the environments of each process that plays.
    """
    cores = cores or usable_cores()
    plan, runners, learners = plan_threads(config, cores), config.num_env_runners, config.num_learners
    of_learner = count(plan.learner if flops is None else learner_threads(config, flops, cores), "thread")
    if flops is None and config.torch_threads is None and plan.learner > 1:
        of_learner = f"1 thread, or {plan.learner} if its work is worth sharing"
    playing = f"{count(runners, 'runner')} x {count(plan.runner, 'thread')}"
    stepping = f" (environments in {env_processes} processes)" if env_processes else ""
    learning = f"{count(learners, 'learner')} x {of_learner}"
    if runners == 0:
        native = f" (environments in C++: {count(plan.runner, 'thread')})" if native_envs else ""
        playing = f"the main process plays{native}"
    playing += stepping
    if learners == 0:
        learning = f"the main process learns ({of_learner})"
    order = "at the same time" if config.overlap_sampling else "in turn"
    return f"{playing}, {learning}, {order}; {count(cores, 'core')} to use"


def count(number: int, what: str) -> str:
    """A number of things in words: 1 core, 2 cores."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
