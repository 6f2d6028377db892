"""A Ray for faults that are measured one by one; tests have theirs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import ray


@contextlib.contextmanager
def own_ray() -> Iterator[None]:
    """A Ray with room for all that these faults start, whatever the machine has; none where one runs already."""
    mine = not ray.is_initialized()
    if mine:
        options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
        ray.init(address="local", num_cpus=8, **options)
    try:
        yield
    finally:
        if mine:
            ray.shutdown()
