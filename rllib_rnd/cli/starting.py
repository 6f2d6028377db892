"""Around a run: what is refused as it starts, and what it waits for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune import Result

from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.envs import count_processes, steps_in_threads
from rllib_rnd.errors import ConfigError, KeyPath, dotted, parse_dotted
from rllib_rnd.experiment.file import Experiment
from rllib_rnd.memory import check_fits
from rllib_rnd.own_code import refusal_in
from rllib_rnd.resources import describe_free, describe_nodes, describe_sum, nodes, shortage, trials_wait
from rllib_rnd.settings import attribute_name
from rllib_rnd.threads import count, describe_processes, plan_threads
from rllib_rnd.tracking.metrics import read

Request = tuple[AlgorithmConfig, list[dict[str, float]]]  # a trial's configuration, what each of its processes asks for


def cluster_address(address: str | None) -> str | None:
    """Returns the cluster that training joins: the option's, or Ray's own ``RAY_ADDRESS``; None is this machine."""
    found = address or os.environ.get("RAY_ADDRESS")
    return None if found in (None, "", "local") else found


def requests(experiment: Experiment) -> list[Request]:
    """Returns what trials ask of Ray: the first one, one for each other value drawn, and the one that asks for most."""
    space, most = experiment.space, dict[KeyPath, Any]()  # place in the configuration -> value that asks for most
    found = [_request(experiment, space.sample)]
    largest = _size(found[0])
    for _ in range(2):  # what a value asks for depends on others, CPUs for each runner on how many runners there are
        before = largest
        for where, value in space.tried:
            try:
                found.append(_request(experiment, space.with_values({**most, where: value}.items())))
            except ValueError:  # values that do not go together; their trial says so
                continue
            if _size(found[-1]) > largest:
                largest, most[where] = _size(found[-1]), value
        if largest == before:
            break
    return found


def _request(experiment: Experiment, values: Mapping[str, Any]) -> Request:
    config = experiment.trial_config(values)
    return config, experiment.algorithm_class.default_resource_request(config).bundles


def _size(request: Request) -> float:
    return sum(sum(bundle.values()) for bundle in request[1])


def cpus_needed(experiment: Experiment) -> float:
    """Returns how many CPUs the largest trial asks for."""
    return float(max(sum(bundle.get("CPU", 0) for bundle in bundles) for _, bundles in requests(experiment)))


def trials_at_once(experiment: Experiment) -> int:
    """Returns how many of its largest trials Ray has room for, at least one."""
    largest = max(
        (bundles for _, bundles in requests(experiment)),
        key=lambda bundles: sum(sum(bundle.values()) for bundle in bundles),
    )
    there, needed = ray.cluster_resources(), Counter[str]()
    for bundle in largest:
        needed.update({name: amount for name, amount in bundle.items() if amount})
    return max(1, int(min((there.get(name, 0.0) / amount for name, amount in needed.items()), default=1.0)))


def check_resources(experiment: Experiment) -> None:
    """Refuses an experiment of which a trial asks for more than this machine has.

    Raises:
        ConfigError: which setting asks for it, and what there is.
    """
    here = nodes()
    for config, bundles in requests(experiment):
        error = shortage(config, bundles, here)
        if error is not None:
            with experiment.placing_errors():
                raise error


def check_memory(experiment: Experiment) -> list[str]:
    """Refuses an experiment whose training cannot fit into this machine's memory, before Ray is started.

    Returns:
        What will be tight, a line each.

    Raises:
        ConfigError: which setting takes most, and what there is.
    """
    config = experiment.sample_config()
    if not isinstance(config, IntrinsicPPOConfig):  # RLlib's own algorithms collect otherwise
        return []
    with experiment.placing_errors():
        return check_fits(config)


def processes_of(config: IntrinsicPPOConfig, flops: float | None = None) -> str:
    """Returns which processes a training has, in a line; ``flops`` as in `describe_processes`."""
    env_config = dict(config.env_config)
    workers = count_processes(config.env, config.num_envs_per_env_runner, env_config, plan_threads(config).runner)
    return describe_processes(config, steps_in_threads(config.env, env_config), flops, env_processes=workers)


def first_of_all(config: IntrinsicPPOConfig, goes_on: bool = False) -> str:
    """Returns what a training does before its first iteration, which may take as long as several.

    Args:
        config: its settings.
        goes_on: from a checkpoint, which has the random play behind it.
    """
    envs = config.num_envs_per_env_runner * max(1, config.num_env_runners)
    first = f"First: {count(envs, 'environment')} to make"
    steps = config.warmup_steps * envs if config.intrinsic_reward_specs() and not goes_on else 0
    return f"{first}, {steps:,} agent steps of random play (warmup_steps)." if steps else f"{first}."


def needs(experiment: Experiment) -> Callable[[], str]:
    """Returns what tells what a trial needs and Ray has, while Ray has no room for one; "" else."""
    _, bundles = _request(experiment, experiment.space.sample)

    def tell() -> str:
        if not trials_wait(bundles):
            return ""
        there = nodes()
        free = describe_free(ray.available_resources(), there)
        return f"a trial needs {describe_sum(bundles)}; Ray has {describe_nodes(there)}, free: {free}"

    return tell


def refusal(experiment: Experiment, trials: Sequence[Result]) -> ConfigError | None:
    """Returns the mistake in the configuration that kept every trial from being built, with its place; else None.

    Of an error in the start of its process Ray keeps the text alone.
    """
    errors = [trial.error for trial in trials if trial.error is not None]
    if not errors or len(errors) < len(trials) or any(read(t.metrics or {}, "iteration") is not None for t in trials):
        return None
    texts = {refusal_in(str(error)) for error in errors}
    text = texts.pop()
    if texts or text is None:
        return None
    path, _, problem = text.partition(": ")
    parts = parse_dotted(path)
    name = attribute_name(str(parts[0])) if parts and dotted(parts) == path else ""
    if name and hasattr(experiment.sample_config(), name):
        return experiment.places.error((experiment.name, "config", name, *parts[1:]), problem)
    return experiment.places.error((experiment.name,), text)
