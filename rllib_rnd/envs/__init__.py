"""Environments: from a name to a vector environment with NEXT_STEP autoreset, seeded by ``reset(seed=)``.

Importing this package registers its ids with gymnasium.
"""

from rllib_rnd.envs.family import EnvironmentFamily
from rllib_rnd.envs.registry import (
    backend_note,
    count_processes,
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
    "count_processes",
    "env_config_class",
    "frame_stack",
    "list_environments",
    "make_env",
    "make_vector_env",
    "register_environments",
    "steps_in_threads",
]

register_environments()
