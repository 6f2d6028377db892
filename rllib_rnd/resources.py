"""What processes ask of a Ray cluster, against what its nodes have: what can never start is refused, not waited for.

And what is said where its object store is full.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, RayError, RayTaskError
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.utils import _get_env_runner_bundles, _get_learner_bundles
from ray.util import get_current_placement_group, placement_group_table

from rllib_rnd.errors import ConfigError

Bundle = Mapping[str, float]

# A reserved placement group's share, as Ray names it: bundle_group_0_<id>, CPU_group_<id>.
_OF_A_GROUP = re.compile(r".+_group_(\d+_)?[0-9a-f]{16,}")
#: Settings that ask for GPUs.
GPUS = ("num_gpus_per_learner", "num_gpus_per_env_runner")
_CPUS = ("num_env_runners", "num_learners", "num_cpus_per_env_runner", "num_cpus_per_learner")
_CUSTOM = ("custom_resources_per_env_runner", "custom_resources_for_main_process", "custom_resources_per_learner")


def nodes() -> list[dict[str, float]]:
    """Returns what each living node of the cluster has in all, in use or not."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def lacking(bundles: Sequence[Bundle], nodes: Sequence[Bundle]) -> tuple[str, float] | None:
    """Returns the first resource (name, amount in all) that the nodes can never give to these processes; or None.

    Args:
        bundles: what each process asks for; one process stands on one node.
        nodes: what each node has in all.
    """
    asked: Counter[str] = Counter()
    for bundle in bundles:
        asked.update({name: amount for name, amount in bundle.items() if amount})
    for name, amount in asked.items():
        most = max((node.get(name, 0.0) for node in nodes), default=0.0)
        largest = max(bundle.get(name, 0.0) for bundle in bundles)
        if largest > most or amount > sum(node.get(name, 0.0) for node in nodes):
            return name, amount
    return None


def describe(resources: Iterable[tuple[str, float]]) -> str:
    """Returns ``2 CPUs and 1 GPU``; Ray's bookkeeping (memory, names of nodes) is left out."""
    words = [_amount(name, amount) for name, amount in resources if not _is_bookkeeping(name)]
    return ", ".join(words[:-1]) + (" and " if words[:-1] else "") + words[-1] if words else "nothing"


def describe_sum(bundles: Iterable[Bundle]) -> str:
    """Returns what several processes ask for in all, in words."""
    asked: Counter[str] = Counter()
    for bundle in bundles:
        asked.update(bundle)
    return describe((name, amount) for name, amount in asked.items() if amount)


def describe_nodes(nodes: Sequence[Bundle]) -> str:
    """Returns ``3 nodes with 12 CPUs and no GPU`` in all."""
    total: Counter[str] = Counter({"CPU": 0, "GPU": 0})
    for node in nodes:
        total.update(node)
    return f"{len(nodes)} node{'' if len(nodes) == 1 else 's'} with {describe(total.items())}"


def describe_free(free: Bundle, nodes: Sequence[Bundle]) -> str:
    """Returns ``2 CPUs and no GPU``: what is free of each kind that the nodes have; CPUs are always named.

    Args:
        free: as Ray gives it, without what is all in use.
        nodes: what each node has in all.
    """
    amounts = {"CPU": 0.0} | {name: 0.0 for node in nodes for name, amount in node.items() if amount} | dict(free)
    return describe(amounts.items())


def _is_bookkeeping(name: str) -> bool:
    kept = name in ("memory", "object_store_memory") or name.startswith(("node:", "accelerator_type:"))
    return kept or _OF_A_GROUP.fullmatch(name) is not None


def _amount(name: str, amount: float) -> str:
    kind = f"{name}s" if name in ("CPU", "GPU") and amount > 1 else name
    return f"no {kind}" if not amount else f"{amount:g} {kind}"


def key_of(config: AlgorithmConfig, resource: str) -> str:
    """Returns the setting that asks for a resource."""
    if resource in ("CPU", "GPU"):
        keys = GPUS if resource == "GPU" else _CPUS
        return next((key for key in keys if (getattr(config, key, 0) or 0) not in (0, "auto")), keys[0])
    return next((key for key in _CUSTOM if resource in (getattr(config, key, None) or {})), _CUSTOM[0])


def shortage(config: AlgorithmConfig, bundles: Sequence[Bundle], nodes: Sequence[Bundle]) -> ConfigError | None:
    """Returns the error for processes that the nodes can never hold; None if they can.

    Args:
        config: what asks for them.
        bundles: what each process asks for.
        nodes: what each node has in all.
    """
    missing = lacking(bundles, nodes)
    if missing is None:
        return None
    return ConfigError(
        key_of(config, missing[0]),
        f"the processes need {describe_sum(bundles)}; Ray has {describe_nodes(nodes)}, so they would never start",
    )


def check_actors(config: AlgorithmConfig) -> None:
    """Refuses runners and learners of their own processes that Ray on this one machine can never start.

    Only for an algorithm that is built directly: in a trial, Tune has reserved all. A cluster of several nodes, or one
    that can grow, may have room later.

    Raises:
        ConfigError: there is less than they ask for.
    """
    actors = _get_env_runner_bundles(config) + _get_learner_bundles(config)
    if config.evaluation_interval:
        runner = config.copy(copy_frozen=False).env_runners(num_env_runners=config.evaluation_num_env_runners)
        actors += _get_env_runner_bundles(runner)
    if not actors or get_current_placement_group() is not None:
        return  # and Ray need not even run
    if not ray.is_initialized():
        ray.init()  # as the first actor would
    here = nodes()
    if len(here) != 1 or can_grow():
        return
    error = shortage(config, actors, here)
    if error is not None:
        error.allowed = "what there is, or ray.init(num_cpus=...) with more before the algorithm is built"
        raise error


def trials_wait(bundles: Sequence[Bundle]) -> bool:
    """Whether no trial of this program has been placed and Ray has no room for one.

    A trial that is placed has its process started, while the groups of the next ones wait their turn; with room, Ray
    only needs a moment.

    Args:
        bundles: what each process of a trial asks for.
    """
    job = ray.get_runtime_context().get_job_id()  # with which the ids of its groups end
    states = {group["state"] for id_, group in placement_group_table().items() if id_.endswith(job)}
    return "PENDING" in states and "CREATED" not in states and lacking(bundles, free_nodes()) is not None


def free_nodes() -> list[dict[str, float]]:
    """Returns what each living node of the cluster has free."""
    from ray._private.state import available_resources_per_node

    return [dict(free) for free in available_resources_per_node().values()]


def can_grow() -> bool:
    """Whether an autoscaler has told this cluster which nodes it may add."""
    from ray._private.state import state

    return state.get_cluster_config() is not None


# --- the object store ------------------------------------------------------------------------------------------------

#: What is said of it.
FULL_STORE = (
    "Ray's object store is full, and so is the disk that it spills to. A smaller num_envs_per_env_runner, "
    "rollout_fragment_length or num_env_runners takes less of it; more room in /dev/shm (docker run --shm-size=4g), or "
    "on the disk of Ray's folder (TMPDIR, else /tmp), holds more"
)


class StoreFullError(OSError):
    """Something does not fit into Ray's object store, nor beside it; the message says what helps."""


def is_full_store(error: BaseException | None) -> bool:
    """Whether this is Ray's error for a full object store, from wherever it comes."""
    return isinstance(error, (ObjectStoreFullError, OutOfDiskError, StoreFullError)) or (
        isinstance(error, RayTaskError) and is_full_store(getattr(error, "cause", None))
    )


@contextlib.contextmanager
def told_of_full_store() -> Iterator[None]:
    """Says in one line what helps where something in the block does not fit into Ray's object store.

    Raises:
        StoreFullError: it does not.
    """
    try:
        yield
    except (RayError, StoreFullError) as error:
        if is_full_store(error):
            raise StoreFullError(FULL_STORE) from None
        raise
