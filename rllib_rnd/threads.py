"""How many threads each process gets by default: together never more than the cores of the machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig


@dataclass(frozen=True)
class Threads:
    """Threads of the processes on one machine.

    Attributes:
        learner: torch threads of each learner.
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
        cores: of this machine; None to count them.
    """
    cores = cores or os.cpu_count() or 1
    runners, learners = config.num_env_runners, max(1, config.num_learners)
    runner = cores if runners == 0 else max(1, min(int(config.num_cpus_per_env_runner), cores))
    left = cores - runners * runner if config.overlap_sampling else cores
    return Threads(learner=config.torch_threads or max(1, left // learners), runner=runner)


def describe_processes(config: AlgorithmConfig, cores: int | None = None) -> str:
    """One line for people: which processes there are, and with how many threads."""
    cores = cores or os.cpu_count() or 1
    threads, runners, learners = plan_threads(config, cores), config.num_env_runners, config.num_learners
    playing = f"{runners} runner{_s(runners)} x {threads.runner} thread{_s(threads.runner)}"
    learning = f"{learners} learner{_s(learners)} x {threads.learner} thread{_s(threads.learner)}"
    if runners == 0:
        playing = f"the main process plays (environments in C++: {threads.runner} thread{_s(threads.runner)})"
    if learners == 0:
        learning = f"the main process learns ({threads.learner} thread{_s(threads.learner)})"
    order = "at the same time" if config.overlap_sampling else "in turn"
    return f"{playing}, {learning}, {order}; {cores} core{_s(cores)} here"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
