"""Checkpoints: written whole or not at all, found, judged, read."""

from rllib_rnd.checkpoints.finding import checkpoints_in, find_checkpoint, is_complete, newest_valid
from rllib_rnd.checkpoints.manifest import Manifest, read_manifest, verify
from rllib_rnd.checkpoints.reading import (
    checkpoint_config,
    iteration_of,
    load_module,
    load_own_module,
    result_at,
    results_of,
)

__all__ = [
    "Manifest",
    "checkpoint_config",
    "checkpoints_in",
    "find_checkpoint",
    "is_complete",
    "iteration_of",
    "load_module",
    "load_own_module",
    "newest_valid",
    "read_manifest",
    "result_at",
    "results_of",
    "verify",
]
