"""Who steps a MiniGrid task: envpool's C++, numpy arrays, or the Python package."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from rllib_rnd.envs.minigrid_arrays import LARGEST_VIEW, MULTI_ROOM
from rllib_rnd.envs.minigrid_rules import MiniGridOptions
from rllib_rnd.errors import ConfigError

# What differs in envpool 1.2.5, found by loading its layouts into the Python tasks and by comparing layouts.
_UNLIKE = {
    "MiniGrid-MultiRoom-": "envpool puts doors into corners: in up to 84 % of its layouts no way leads to the goal",
    "MiniGrid-ObstructedMaze-": "envpool's mazes have other sizes, starts and colours",
    "MiniGrid-Dynamic-Obstacles-": "envpool moves the obstacles by another rule",
    "MiniGrid-WFC-": "envpool's layouts were not compared with the Python package's",
}


def find_backend(env_id: str, options: MiniGridOptions) -> tuple[str, str]:
    """Which backend steps a task, and why.

    Returns:
        ``envpool``, ``arrays`` or ``minigrid``; the reason in one sentence.

    Raises:
        ConfigError: one was asked for that cannot do what the options ask, or is not installed.
    """
    if options.backend == "minigrid":
        if options.noisy_tv:
            raise ConfigError("backend", "'minigrid' has no noisy_tv", "arrays, auto")
        return "minigrid", "asked for by env_config.backend"
    obstacles = {name: obstacle(env_id, options) for name, obstacle in _OBSTACLES.items()}
    if options.backend in obstacles:
        if obstacles[options.backend]:
            raise ConfigError("backend", f"{options.backend!r} is not possible: {obstacles[options.backend]}")
        return options.backend, "asked for by env_config.backend"
    for name, obstacle in obstacles.items():
        if not obstacle:
            return name, "the fastest that can do what the options ask"
    if options.noisy_tv:
        raise ConfigError("noisy_tv", f"true is not possible: {obstacles['arrays']}")
    return "minigrid", "; ".join(filter(None, obstacles.values()))


def _obstacle_to_arrays(env_id: str, options: MiniGridOptions) -> str | None:
    """Why arrays cannot be used, or None."""
    if not env_id.startswith(MULTI_ROOM):
        return f"arrays play {MULTI_ROOM}* only"
    if options.observation != "partial":
        return f"arrays show partial views only, env_config.observation is {options.observation!r}"
    if options.agent_view_size > LARGEST_VIEW:
        return f"arrays' views have sides up to {LARGEST_VIEW}, env_config.agent_view_size is {options.agent_view_size}"
    return None


def _obstacle_to_envpool(env_id: str, options: MiniGridOptions) -> str | None:
    """Why envpool cannot be used, or None."""
    if options.observation != "partial":
        return f"envpool shows partial views only, env_config.observation is {options.observation!r}"
    if options.agent_view_size != 7:  # 1.2.5 writes outside its memory with any other
        return f"envpool's view has side 7, env_config.agent_view_size is {options.agent_view_size}"
    if options.fixed_layout_seed is not None:
        return "envpool makes a new layout in each episode, env_config.fixed_layout_seed asks for one"
    if options.noisy_tv:
        return "envpool has no env_config.noisy_tv"
    for prefix, difference in _UNLIKE.items():
        if env_id.startswith(prefix):
            return difference
    if importlib.util.find_spec("envpool") is None:
        return 'envpool is not installed: pip install "rllib_rnd[envpool]"'
    import envpool

    return None if env_id in envpool.list_all_envs() else f"envpool has no task {env_id!r}"


#: What keeps the fast ones from a task, the fastest first.
_OBSTACLES: dict[str, Callable[[str, MiniGridOptions], str | None]] = {
    "envpool": _obstacle_to_envpool,
    "arrays": _obstacle_to_arrays,
}
