"""Runs compared with what goes on from their checkpoint: everything that is not a time, to the last bit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

# What tells of time, of this process, or of a restore itself.
_OF_TIME = {
    "timers",
    "throughput",
    "time_this_iter_s",
    "time_between_sampling",
    "time_total_s",
    "timestamp",
    "date",
    "pid",
    "hostname",
    "node_ip",
    "trial_id",
    "experiment_tag",
    "perf",
    "config",
    "transfer_s",
    "sample",
    "env_step_timer",
    "env_reset_timer",
    "rlmodule_inference_timer",
    "env_to_module_connector",
    "module_to_env_connector",
    "iterations_since_restore",
    "time_since_restore",
    "fault_tolerance",
    "metrics_logger",
    "weights_seq_no",
}


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two trees differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):
            if str(key) in _OF_TIME or any(part in str(key) for part in ("_timer", "throughput", "duration_sec")):
                continue
            if key not in one or key not in other:
                yield f"{path}/{key} is in one only"
            else:
                yield from differences(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            yield f"{path}: {len(one)} entries, {len(other)}"
        for i, (a, b) in enumerate(zip(one, other, strict=False)):
            yield from differences(a, b, f"{path}/{i}")
    elif isinstance(one, np.ndarray | torch.Tensor) or isinstance(other, np.ndarray | torch.Tensor):
        a, b = np.asarray(one), np.asarray(other)
        if a.shape != b.shape or a.dtype != b.dtype or a.tobytes() != b.tobytes():
            yield f"{path}: arrays differ"
    elif one != other and not (one != one and other != other):  # NaN is NaN
        yield f"{path}: {one!r}, {other!r}"


def assert_same_trees(one: Any, other: Any) -> None:
    """Fails with the first places where two trees differ."""
    found = list(differences(one, other))
    assert not found, "\n".join(found[:20])


def state_of(algorithm: Any) -> dict[str, Any]:
    """Everything that a checkpoint of an algorithm holds."""
    state: dict[str, Any] = algorithm.get_state()
    return state


@contextlib.contextmanager
def building(config: Any) -> Iterator[Any]:
    """An algorithm that is stopped in the end."""
    algorithm = config.copy().build_algo()
    try:
        yield algorithm
    finally:
        algorithm.stop()


def straight(config: Any, before: int, after: int, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Trains ``before + after`` iterations and saves in between: the later results, and the state in the end."""
    with building(config) as algorithm:
        for _ in range(before):
            algorithm.train()
        algorithm.save_to_path(folder)
        return [algorithm.train() for _ in range(after)], state_of(algorithm)


def resumed(config: Any, after: int, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The same of a new algorithm that goes on from there."""
    with building(config) as algorithm:
        algorithm.restore_from_path(folder)
        return [algorithm.train() for _ in range(after)], state_of(algorithm)


def assert_goes_on(config: Any, folder: Path, before: int = 2, after: int = 2) -> dict[str, Any]:
    """N + M iterations are N, save, restore, M. Returns the last result."""
    results, state = straight(config, before, after, folder)
    other_results, other_state = resumed(config, after, folder)
    assert_same_trees(results, other_results)
    assert_same_trees(state, other_state)
    return results[-1]
