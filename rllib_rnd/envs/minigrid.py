"""MiniGrid tasks (Chevalier-Boisvert et al. 2023) with one-hot vector observations for MLP networks.

The mission text is left out: tasks whose goal differs from episode to episode by its text only (GoToObject,
Fetch) cannot be told apart by such an observation.
"""

from __future__ import annotations

import contextlib
import copy
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from rllib_rnd.envs.by_id import find_spec
from rllib_rnd.envs.family import EnvironmentFamily, Wanted, check_render_mode
from rllib_rnd.envs.info import POSITION, ROOM
from rllib_rnd.envs.minigrid_arrays import MultiRoomEnv, MultiRoomVectorEnv
from rllib_rnd.envs.minigrid_backends import find_backend
from rllib_rnd.envs.minigrid_native import EnvPoolMiniGridVectorEnv
from rllib_rnd.envs.minigrid_rules import (
    AGENT,
    CHANNELS,
    COLORS,
    EMPTY,
    TABLE,
    WALL,
    MiniGridOptions,
    allowed_actions,
    check_minigrid_options,
    encode_view,
    find_room,
    import_minigrid,
    make_task,
    parse_minigrid_options,
)
from rllib_rnd.errors import ConfigError, at

if TYPE_CHECKING:
    from minigrid.core.world_object import WorldObj
    from minigrid.minigrid_env import MiniGridEnv

_CARRIED = {"key": 0, "ball": 1, "box": 2}


class MiniGridOneHotEnv(gym.Env):
    """One MiniGrid task with a flat uint8 observation of zeros and ones.

    ``partial`` is ``[V * V * 20 + 4]``: 20 bits for each cell of the view, then the heading. ``full`` is
    ``[H * W * 20 + 4 + 18]``: 20 bits for each cell, heading, carried object (kind x colour). ``compact``
    has, for the cells within reach, the agent's place, open and locked doors, a plane for each kind and
    colour of object that can be carried, then heading and carried object. ``info["room"]`` is there for tasks
    made of rooms; ``info["position"]`` is the index of the agent's cell in a grid of ``position_shape`` (rows,
    columns).

    Args:
        env_id: for example "MiniGrid-MultiRoom-N4-S5-v1".
        options: see `MiniGridOptions`.
        render_mode: None or "rgb_array".

    Raises:
        ConfigError: MiniGrid is not installed, repeated or no actions, or ``compact`` without a fixed layout.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as gymnasium

    def __init__(self, env_id: str, options: MiniGridOptions | None = None, render_mode: str | None = None) -> None:
        self.options = options or MiniGridOptions()
        self.env_id, self.render_mode = env_id, render_mode
        check_render_mode(render_mode, self)
        check_minigrid_options(self.options)
        self.allowed_actions = allowed_actions(self.options)
        self.inner = make_task(env_id, self.options, render_mode)
        self.position_shape: tuple[int, int] = (self.inner.height, self.inner.width)
        if self.options.observation != "partial":
            # The view is the costly part of a step, and these observations do not use it.
            self.inner.gen_obs = _no_view
        self._compact: _CompactLayout | None = None
        if self.options.observation == "compact":
            self.inner.reset(seed=self.options.fixed_layout_seed)
            self._compact = _CompactLayout(self.inner)
        self._began_with: dict[str, Any] | None = None  # the random stream at the beginning of the episode
        self._played = bytearray()  # since then
        self.observation_space = spaces.Box(0, 1, (self._length(),), np.uint8)
        self.action_space = spaces.Discrete(len(self.allowed_actions))

    def _length(self) -> int:
        if self._compact is not None:
            return self._compact.length
        if self.options.observation == "full":
            return self.inner.width * self.inner.height * CHANNELS + 4 + len(_CARRIED) * COLORS
        return self.options.agent_view_size**2 * CHANNELS + 4

    def _observe(self, raw: dict[str, Any]) -> np.ndarray:
        """The observation now; ``raw`` is what the task shows itself."""
        if self._compact is not None:
            return self._compact.observe()
        if self.options.observation == "full":
            return self._full()
        return encode_view(raw["image"], self.inner.agent_dir)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode. A fixed layout is the same under every seed; all else follows the seed."""
        super().reset(seed=seed)
        return self._observe(self._begin(options)), self._info()

    def _begin(self, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """Begins an episode from where the random stream is; what the task shows of it."""
        self._began_with = dict(copy.deepcopy(self.np_random.bit_generator.state))
        self._played.clear()
        if self.options.fixed_layout_seed is None:
            self.inner.np_random = self.np_random
            raw, _ = self.inner.reset(options=options)
        else:
            raw, _ = self.inner.reset(seed=self.options.fixed_layout_seed, options=options)
            self.inner.np_random = self.np_random
        return raw

    def _play(self, action: int) -> tuple[dict[str, Any], SupportsFloat, bool, bool]:
        """One step: what the task shows, reward, terminated, truncated."""
        self._played.append(action)
        raw, reward, terminated, truncated, _ = self.inner.step(self.allowed_actions[action])
        return raw, reward, terminated, truncated

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One agent step; ``action`` indexes the allowed actions."""
        raw, reward, terminated, truncated = self._play(int(action))
        if self.options.reward == "sparse_one" and float(reward) > 0:
            reward = 1.0
        # A goal reached with the last allowed step is a goal reached: the episode did not go on.
        truncated = bool(truncated) and not terminated
        return self._observe(raw), float(reward), bool(terminated), truncated, self._info()

    def _info(self) -> dict[str, Any]:
        x, y = (int(v) for v in self.inner.agent_pos)
        info = {POSITION: y * self.inner.width + x}
        room = find_room(self.inner, x, y)
        if room is not None:
            info[ROOM] = room
        return info

    def _full(self) -> np.ndarray:
        inner = self.inner
        codes = np.zeros((len(inner.grid.grid), 3), dtype=np.uint8)
        codes[:, 0] = EMPTY
        for cell, thing in enumerate(inner.grid.grid):
            if thing is None:
                continue
            if thing.type == "wall":
                codes[cell, 0] = WALL
            else:
                codes[cell] = thing.encode()
        bits = TABLE[codes[:, 0], codes[:, 1], codes[:, 2]]
        bits[inner.agent_pos[1] * inner.width + inner.agent_pos[0], AGENT] = 1
        rest = np.zeros(4 + len(_CARRIED) * COLORS, dtype=np.uint8)
        rest[inner.agent_dir] = 1
        if inner.carrying is not None:
            rest[4 + _CARRIED[inner.carrying.type] * COLORS + inner.carrying.encode()[1]] = 1
        return np.concatenate([bits.ravel(), rest])

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The grid in colour, ``[H, W, 3]`` uint8, or None without a render mode."""
        return self.inner.render() if self.render_mode == "rgb_array" else None

    def clone_state(self) -> dict[str, Any]:
        """Saves how the episode began and what was played since: tasks keep objects, which are no plain data."""
        return {
            "began_with": copy.deepcopy(self._began_with),
            "played": np.frombuffer(bytes(self._played), dtype=np.uint8),
            "scene": self._scene(),
            "np_random": copy.deepcopy(self.np_random.bit_generator.state),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state, also in another process, by playing the episode again (under 0.1 s).

        Raises:
            ConfigError: what was played leads elsewhere here.
        """
        if state["began_with"] is not None:
            self.np_random.bit_generator.state = copy.deepcopy(state["began_with"])
            with self._unseen():
                self._begin()
                for action in bytes(state["played"]):
                    self._play(action)
        self.np_random.bit_generator.state = copy.deepcopy(state["np_random"])
        if self._scene() != state["scene"]:
            raise ConfigError(
                "state", "played again it leads to another scene; was it saved in another task or version?"
            )

    def _scene(self) -> int:
        """A number that tells scenes from each other."""
        inner = self.inner
        if self._began_with is None:
            return 0
        codes = inner.grid.encode().tobytes()
        return zlib.crc32(codes + repr((*map(int, inner.agent_pos), int(inner.agent_dir), inner.step_count)).encode())

    @contextlib.contextmanager
    def _unseen(self) -> Iterator[None]:
        """Without the view, which is the costly part of a step."""
        before = vars(self.inner).get("gen_obs")
        self.inner.gen_obs = _no_view
        try:
            yield
        finally:
            del self.inner.gen_obs
            if before is not None:
                self.inner.gen_obs = before

    def close(self) -> None:
        """Closes the task."""
        self.inner.close()


class _CompactLayout:
    """Where the bits of a compact observation are, for one layout."""

    def __init__(self, inner: MiniGridEnv) -> None:
        self._inner = inner
        grid = inner.grid.grid
        cells = _reachable_cells(inner)
        self._doors = [i for i in cells if grid[i] is not None and grid[i].type == "door"]
        self._things = sorted({pair for thing in grid for pair in _carriable(thing)})
        self._place = {cell: i for i, cell in enumerate(cells)}
        self._open = len(cells)
        self._locked = self._open + len(self._doors)
        self._planes = self._locked + len(self._doors)
        self._heading = self._planes + len(self._things) * len(cells)
        self._carried = self._heading + 4
        self.length = self._carried + len(self._things)

    def observe(self) -> np.ndarray:
        inner, things = self._inner, self._things
        grid, place = inner.grid.grid, self._place
        obs = np.zeros(self.length, dtype=np.uint8)
        obs[place[inner.agent_pos[1] * inner.width + inner.agent_pos[0]]] = 1
        for i, cell in enumerate(self._doors):
            obs[self._open + i], obs[self._locked + i] = grid[cell].is_open, grid[cell].is_locked
        if things:
            for cell, i in place.items():
                thing = grid[cell]
                if thing is not None and thing.type in _CARRIED:
                    obs[self._planes + things.index((thing.type, thing.color)) * len(place) + i] = 1
        obs[self._heading + inner.agent_dir] = 1
        if inner.carrying is not None:
            obs[self._carried + things.index((inner.carrying.type, inner.carrying.color))] = 1
        return obs


def _reachable_cells(inner: MiniGridEnv) -> list[int]:
    """Cells the agent could ever come to, doors and obstacles taken as passable; in grid order."""
    grid, width = inner.grid.grid, inner.width
    found = {int(inner.agent_pos[1]) * width + int(inner.agent_pos[0])}
    border = list(found)
    while border:
        cell = border.pop()
        # Every MiniGrid task is closed in by walls, so no step can leave the grid or wrap around a row.
        for beside in (cell - 1, cell + 1, cell - width, cell + width):
            if beside not in found and (grid[beside] is None or grid[beside].type != "wall"):
                found.add(beside)
                border.append(beside)
    return sorted(found)


def _carriable(thing: WorldObj | None) -> list[tuple[str, str]]:
    """Kind and colour of an object that can be carried, and of what is in it if it is a box."""
    if thing is None or thing.type not in _CARRIED:
        return []
    return [(thing.type, thing.color), *_carriable(getattr(thing, "contains", None))]


def _no_view() -> dict[str, Any]:
    return {}


def _require(env_id: str) -> None:
    import_minigrid()
    find_spec(env_id)


def _backend(wanted: Wanted[MiniGridOptions]) -> tuple[str, str]:
    with at("env_config"):
        return find_backend(wanted.env_id, wanted.options)


def _make_vector(wanted: Wanted[MiniGridOptions]) -> VectorEnv | None:
    backend, _ = _backend(wanted)
    if backend == "minigrid":
        return None
    if backend == "arrays":
        return MultiRoomVectorEnv(wanted.num_envs, wanted.env_id, **vars(wanted.options))
    return EnvPoolMiniGridVectorEnv(wanted.env_id, wanted.num_envs, wanted.options, wanted.threads)


def _make(wanted: Wanted[MiniGridOptions]) -> gym.Env:
    if wanted.options.noisy_tv:  # the Python package has none
        with at("env_config"):
            find_backend(wanted.env_id, wanted.options)
        return MultiRoomEnv(wanted.env_id, wanted.render_mode, **vars(wanted.options))
    return MiniGridOneHotEnv(wanted.env_id, wanted.options, wanted.render_mode)


FAMILY = EnvironmentFamily(
    "MiniGrid-*",
    'MiniGrid with one-hot vectors (pip install "rllib_rnd[minigrid]")',
    MiniGridOptions,
    matches=lambda env_id: env_id.startswith("MiniGrid-"),
    require=_require,
    read=parse_minigrid_options,
    make=_make,
    make_vector=_make_vector,
    backend=_backend,
)
