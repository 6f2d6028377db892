"""From an environment's name to a vector environment: which family it belongs to, its options, its maker."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.vector import VectorEnv

from rllib_rnd.envs import by_id, minigrid
from rllib_rnd.envs.atari import AtariEnv
from rllib_rnd.envs.atari_native import atari_backend, make_native_atari
from rllib_rnd.envs.atari_options import AtariOptions, atari_games, parse_atari_options
from rllib_rnd.envs.catch import CatchEnv, CatchOptions, CatchVectorEnv
from rllib_rnd.envs.deep_sea import DeepSeaEnv, DeepSeaOptions, DeepSeaVectorEnv
from rllib_rnd.envs.doom import DOOM_MY_WAY_HOME, DoomEnv, DoomOptions, import_vizdoom
from rllib_rnd.envs.mario import MARIO_PREFIX, MarioEnv, MarioOptions, import_mario, mario_ids, parse_mario_id
from rllib_rnd.envs.minigrid import MiniGridOneHotEnv, MiniGridOptions
from rllib_rnd.envs.minigrid_native import EnvPoolMiniGridVectorEnv, minigrid_backend
from rllib_rnd.envs.pixels import PixelsEnv, PixelsOptions
from rllib_rnd.envs.point_maze import PointMazeEnv, PointMazeOptions, PointMazeVectorEnv
from rllib_rnd.envs.vector import LeanVectorEnv
from rllib_rnd.envs.warehouse import WarehouseEnv, WarehouseOptions, WarehouseVectorEnv
from rllib_rnd.envs.warehouse_rules import VARIANTS
from rllib_rnd.errors import ConfigError, unknown_name_error
from rllib_rnd.options import parse_options

DEEP_SEA = "rllib_rnd/DeepSea-v0"
CATCH = "rllib_rnd/Catch-v0"
POINT_MAZE = "rllib_rnd/PointMaze-v0"
PIXELS = "rllib_rnd/Pixels-v0"
_ATARI = re.compile(r"(?:ALE/(\w+)-v5|(\w+)NoFrameskip-v4)\Z")

Config = dict[str, Any]
Maker = Callable[[], gym.Env]


class FrameStack(NamedTuple):
    """How the frames of an observation lie on its axis 0: ``size`` of them, the newest last or first."""

    size: int = 1
    newest_first: bool = False


@dataclass(frozen=True)
class EnvironmentFamily:
    """One kind of environment.

    Attributes:
        pattern: what its names look like.
        description: one line.
        options_class: dataclass of its ``env_config``; None where that holds free arguments.
        matches: whether a name belongs to it.
        maker: (name, env_config, render mode) -> function that makes one environment; checks both at once.
        make_vector: (name, number, env_config, threads) -> vector environment; None: copies of single ones.
        stack: env_config -> `FrameStack`.
        backend: (name, env_config) -> which of several backends steps it, and why; None: there is one.
    """

    pattern: str
    description: str
    options_class: type | None
    matches: Callable[[str], bool]
    maker: Callable[[str, Config, str | None], Maker]
    make_vector: Callable[[str, int, Config, int | None], VectorEnv] | None = None
    stack: Callable[[Mapping[str, Any] | None], FrameStack] = lambda env_config: FrameStack()
    backend: Callable[[str, Mapping[str, Any] | None], tuple[str, str]] | None = None


def list_environments() -> list[EnvironmentFamily]:
    """Returns the families, in the order in which a name is looked for in them."""
    return list(_FAMILIES)


def own_ids() -> list[str]:
    """Returns the ids that begin with this package's name."""
    return [DEEP_SEA, CATCH, POINT_MAZE, PIXELS, DOOM_MY_WAY_HOME, *VARIANTS, *mario_ids()]


def register_environments() -> None:
    """Registers the package's own ids with gymnasium, for `gymnasium.make` and `gymnasium.make_vec`."""
    for env_id in own_ids():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point=functools.partial(_gymnasium_entry, env_id),
                vector_entry_point=functools.partial(_gymnasium_vector_entry, env_id),
            )


def env_config_class(env_id: str) -> type | None:
    """Returns the options dataclass of an environment's ``env_config``; None where it holds free arguments.

    Raises:
        ConfigError: ``env_id`` is not a name.
    """
    return _family(env_id).options_class


def frame_stack(env_id: str, env_config: Mapping[str, Any] | None = None) -> FrameStack:
    """Returns how frames are stacked on axis 0 of an observation.

    Raises:
        ConfigError: bad options.
    """
    return _family(env_id).stack(env_config)


def make_vector_env(
    env_id: str, num_envs: int, env_config: Mapping[str, Any] | None = None, num_threads: int | None = None
) -> VectorEnv:
    """Makes ``num_envs`` copies of an environment as one vector environment in NEXT_STEP autoreset mode.

    ``reset(seed=s)`` gives environment i the seed s + i (families in numpy: one stream for all). Rewards are raw.

    Args:
        env_id: see `list_environments`.
        num_envs: number of environments, at least 1.
        env_config: options of the family, or keyword arguments of the environment.
        num_threads: threads for environments written in C++; None for one per core.

    Raises:
        ConfigError: unknown name (with the nearest ones), bad options, a missing package, a vector
            environment in another autoreset mode.
    """
    family = _family(env_id)
    if not isinstance(num_envs, int) or num_envs < 1:
        raise ConfigError(f"num_envs: {num_envs!r} is out of range; allowed is a whole number, 1 or more.")
    config = dict(env_config or {})
    if family.make_vector is not None:
        return family.make_vector(env_id, num_envs, config, num_threads)
    return LeanVectorEnv([family.maker(env_id, config, None)] * num_envs)


def make_env(env_id: str, env_config: Mapping[str, Any] | None = None, render_mode: str | None = None) -> gym.Env:
    """Makes a single environment (for videos, checks and own loops); arguments as in `make_vector_env`.

    Raises:
        ConfigError: as `make_vector_env`; or the name is that of a vector environment.
    """
    return _family(env_id).maker(env_id, dict(env_config or {}), render_mode)()


def backend_note(env_id: str, env_config: Mapping[str, Any] | None = None) -> str | None:
    """Which backend steps an Atari game or a MiniGrid task and why, in one line; None for other environments.

    Raises:
        ConfigError: as `make_vector_env`.
    """
    find_backend = _family(env_id).backend
    if find_backend is None:
        return None
    backend, reason = find_backend(env_id, env_config)
    return f"{backend} ({reason})"


def _family(env_id: str) -> EnvironmentFamily:
    if not isinstance(env_id, str) or not env_id:
        raise ConfigError(f"env: {env_id!r} is no environment name; allowed: {[f.pattern for f in _FAMILIES]}.")
    return next(family for family in _FAMILIES if family.matches(env_id))


def _gymnasium_entry(env_id: str, render_mode: str | None = None, **env_config: Any) -> gym.Env:
    return make_env(env_id, env_config, render_mode)


def _gymnasium_vector_entry(env_id: str, num_envs: int = 1, **env_config: Any) -> VectorEnv:
    return make_vector_env(env_id, num_envs, env_config)


# --- families ---------------------------------------------------------------------------------------------------


def _game(env_id: str) -> str:
    match = _ATARI.match(env_id)
    assert match is not None  # the family said so
    game = match[1] or match[2]
    if game not in atari_games():
        template = "ALE/{}-v5" if match[1] else "{}NoFrameskip-v4"
        raise unknown_name_error("environment", env_id, [template.format(g) for g in atari_games()], "env")
    return game


def _atari_maker(env_id: str, config: Config, render_mode: str | None) -> Maker:
    return functools.partial(AtariEnv, _game(env_id), parse_atari_options(config), render_mode)


def _atari_vector(env_id: str, num_envs: int, config: Config, num_threads: int | None) -> VectorEnv:
    backend, _ = _atari_backend(env_id, config)
    if backend == "gymnasium":
        return LeanVectorEnv([_atari_maker(env_id, config, None)] * num_envs)
    threads = _native_threads(num_envs, num_threads)
    return make_native_atari(backend, _game(env_id), num_envs, parse_atari_options(config), threads)


def _atari_backend(env_id: str, env_config: Mapping[str, Any] | None) -> tuple[str, str]:
    return atari_backend(_game(env_id), parse_atari_options(env_config))


def _native_threads(num_envs: int, num_threads: int | None) -> int:
    return min(num_envs, num_threads or os.cpu_count() or 1)


def _atari_stack(env_config: Mapping[str, Any] | None) -> FrameStack:
    options = parse_atari_options(env_config)
    return FrameStack(options.rebuilt_stack, options.stack_order == "newest_first")


def _mario_maker(env_id: str, config: Config, render_mode: str | None) -> Maker:
    stage, options = parse_mario_id(env_id), parse_options(MarioOptions, config, "env_config")
    import_mario()
    return functools.partial(MarioEnv, stage, options, render_mode)


def _doom_maker(env_id: str, config: Config, render_mode: str | None) -> Maker:
    options = parse_options(DoomOptions, config, "env_config")
    import_vizdoom()
    return functools.partial(DoomEnv, options, render_mode)


def _minigrid_maker(env_id: str, config: Config, render_mode: str | None) -> Maker:
    options = parse_options(MiniGridOptions, config, "env_config")
    minigrid.import_minigrid()
    by_id.find_spec(env_id)
    return functools.partial(MiniGridOneHotEnv, env_id, options, render_mode)


def _minigrid_vector(env_id: str, num_envs: int, config: Config, num_threads: int | None) -> VectorEnv:
    maker = _minigrid_maker(env_id, config, None)
    backend, _ = _minigrid_backend(env_id, config)
    if backend == "minigrid":
        return LeanVectorEnv([maker] * num_envs)
    options = parse_options(MiniGridOptions, config, "env_config")
    return EnvPoolMiniGridVectorEnv(env_id, num_envs, options, _native_threads(num_envs, num_threads))


def _minigrid_backend(env_id: str, env_config: Mapping[str, Any] | None) -> tuple[str, str]:
    return minigrid_backend(env_id, parse_options(MiniGridOptions, dict(env_config or {}), "env_config"))


def _keyword_maker(cls: Callable[..., gym.Env], options_class: type) -> Callable[[str, Config, str | None], Maker]:
    """For classes that take their options as keywords."""

    def maker(env_id: str, config: Config, render_mode: str | None) -> Maker:
        parse_options(options_class, config, "env_config")
        return functools.partial(cls, render_mode=render_mode, **config)

    return maker


def _warehouse_maker(env_id: str, config: Config, render_mode: str | None) -> Maker:
    return _keyword_maker(functools.partial(WarehouseEnv, env_id), WarehouseOptions)(env_id, config, render_mode)


def _option_stack(options_class: type) -> Callable[[Mapping[str, Any] | None], FrameStack]:
    """For options with the field ``frame_stack``, newest last."""
    return lambda env_config: FrameStack(parse_options(options_class, env_config, "env_config").frame_stack)


def _other_maker(env_id: str, config: Config, render_mode: str | None) -> Maker:
    _require_known(env_id)
    return by_id.gymnasium_maker(env_id, config, render_mode)


def _other_vector(env_id: str, num_envs: int, config: Config, num_threads: int | None) -> VectorEnv:
    _require_known(env_id)
    return by_id.gymnasium_vector(env_id, num_envs, config, num_threads)


def _require_known(env_id: str) -> None:
    """Names this package's ids and the games among the nearest of an unknown name."""
    try:
        games = [f"ALE/{game}-v5" for game in atari_games()]
    except ConfigError:  # no emulator is installed
        games = []
    by_id.find_spec(env_id, also_known=games)


_FAMILIES: tuple[EnvironmentFamily, ...] = (
    EnvironmentFamily(
        "ALE/<Game>-v5 or <Game>NoFrameskip-v4",
        "Atari 2600: sticky actions, frame stacks, raw rewards, rooms for five games; presets of four papers",
        AtariOptions,
        matches=lambda env_id: _ATARI.match(env_id) is not None,
        maker=_atari_maker,
        make_vector=_atari_vector,
        stack=_atari_stack,
        backend=_atari_backend,
    ),
    EnvironmentFamily(
        "rllib_rnd/SuperMarioBros-v0 or -<world>-<stage>-v0",
        'Super Mario Bros., the game or one stage (pip install "rllib_rnd[mario]")',
        MarioOptions,
        matches=lambda env_id: env_id.startswith(MARIO_PREFIX),
        maker=_mario_maker,
        stack=_option_stack(MarioOptions),
    ),
    EnvironmentFamily(
        DOOM_MY_WAY_HOME,
        'My Way Home, Doom in the first person, sparse reward (pip install "rllib_rnd[vizdoom]")',
        DoomOptions,
        matches=lambda env_id: env_id == DOOM_MY_WAY_HOME,
        maker=_doom_maker,
        stack=_option_stack(DoomOptions),
    ),
    EnvironmentFamily(
        DEEP_SEA,
        "DeepSea, bsuite's exploration test, vectorised",
        DeepSeaOptions,
        matches=lambda env_id: env_id == DEEP_SEA,
        maker=_keyword_maker(DeepSeaEnv, DeepSeaOptions),
        make_vector=lambda env_id, num_envs, config, threads: DeepSeaVectorEnv(num_envs, **config),
    ),
    EnvironmentFamily(
        CATCH,
        "Catch, the smallest game in pixels, vectorised; with hidden balls a memory test",
        CatchOptions,
        matches=lambda env_id: env_id == CATCH,
        maker=_keyword_maker(CatchEnv, CatchOptions),
        make_vector=lambda env_id, num_envs, config, threads: CatchVectorEnv(num_envs, **config),
    ),
    EnvironmentFamily(
        POINT_MAZE,
        "a point mass in a maze, continuous actions, sparse reward, vectorised",
        PointMazeOptions,
        matches=lambda env_id: env_id == POINT_MAZE,
        maker=_keyword_maker(PointMazeEnv, PointMazeOptions),
        make_vector=lambda env_id, num_envs, config, threads: PointMazeVectorEnv(num_envs, **config),
    ),
    EnvironmentFamily(
        " or ".join(VARIANTS),
        "the warehouse of influence-aware memory and its variants, vectorised",
        WarehouseOptions,
        matches=lambda env_id: env_id in VARIANTS,
        maker=_warehouse_maker,
        make_vector=lambda env_id, num_envs, config, threads: WarehouseVectorEnv(num_envs, env_id, **config),
    ),
    EnvironmentFamily(
        PIXELS,
        "any gymnasium environment as rendered pixels",
        PixelsOptions,
        matches=lambda env_id: env_id == PIXELS,
        maker=_keyword_maker(PixelsEnv, PixelsOptions),
        stack=_option_stack(PixelsOptions),
    ),
    EnvironmentFamily(
        "MiniGrid-*",
        'MiniGrid with one-hot vectors (pip install "rllib_rnd[minigrid]")',
        MiniGridOptions,
        matches=lambda env_id: env_id.startswith("MiniGrid-"),
        maker=_minigrid_maker,
        make_vector=_minigrid_vector,
        backend=_minigrid_backend,
    ),
    EnvironmentFamily(
        "package.module:Class",
        "your own gymnasium.Env or VectorEnv (NEXT_STEP); env_config: its arguments",
        None,
        matches=lambda env_id: ":" in env_id and not by_id.GYM_VERSION.search(env_id),
        maker=by_id.imported_maker,
        make_vector=by_id.imported_vector,
    ),
    EnvironmentFamily(
        "any other gymnasium id",
        "gymnasium.make; env_config holds the keyword arguments",
        None,
        matches=lambda env_id: True,
        maker=_other_maker,
        make_vector=_other_vector,
    ),
)
