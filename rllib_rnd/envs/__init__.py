"""Environments: from a name to a vector environment with NEXT_STEP autoreset, seeded by ``reset(seed=)``."""

from rllib_rnd.envs.family import EnvironmentFamily
from rllib_rnd.envs.registry import (
    backend_note,
    env_config_class,
    frame_stack,
    list_environments,
    make_env,
    make_vector_env,
    register_environments,
    steps_in_threads,
)

__all__ = [
    "EnvironmentFamily",
    "backend_note",
    "env_config_class",
    "frame_stack",
    "list_environments",
    "make_env",
    "make_vector_env",
    "register_environments",
    "steps_in_threads",
]
