"""Games whose engine cannot hand out its state: what was played since the reset is saved, and played again."""

from __future__ import annotations

import abc
import copy
import weakref
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_rnd.envs.family import check_render_mode, check_saved_stack


class ReplayedEnv(gym.Env, abc.ABC):
    """A deterministic game on an engine of its own, with a stack of grey frames ``[K, H, W]`` uint8, newest last.

    A subclass appends what it plays to ``_played`` and says how to play it again (`_replay`), sets ``_ended`` in
    `reset` and `step`, and gives in ``_close_engine`` what ends the engine.

    Args:
        frame_size: H and W.
        frame_stack: K.
        frame_skip: frames of the engine in an agent step; pictures come slower by as much.
        render_mode: None or "rgb_array".

    Raises:
        ConfigError: no such render mode.
    """

    #: Ends the engine once: on close(), or when this object goes and nobody closed it.
    _close_engine: weakref.finalize

    def __init__(self, frame_size: int, frame_stack: int, frame_skip: int, render_mode: str | None) -> None:
        check_render_mode(render_mode, self)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": self.metadata["render_fps"] // frame_skip or 1}
        shape = (frame_stack, frame_size, frame_size)
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        self._stack = np.zeros(shape, dtype=np.uint8)
        self._played = bytearray()  # since the reset
        self._ended = True

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The screen in colour, ``[height, width, 3]`` uint8, or None without a render mode.

        Raises:
            RuntimeError: the environment was closed.
        """
        if self.render_mode is None:
            return None
        self._require_open()
        return self._picture().copy()

    @abc.abstractmethod
    def _picture(self) -> np.ndarray:
        """The screen in colour, ``[height, width, 3]`` uint8."""

    def close(self) -> None:
        """Ends the engine; again does nothing."""
        self._close_engine()
        self._ended = True

    def _require_open(self) -> None:
        if not self._close_engine.alive:
            raise RuntimeError("The environment was closed: make a new one.")

    def _require_begun(self) -> None:
        if self._ended:
            raise RuntimeError("The episode is over: call reset() before step().")

    def clone_state(self) -> dict[str, Any]:
        """Saves what was played in this episode, stack, counters and random stream: a restored run goes on bit for bit.

        Raises:
            RuntimeError: the environment was closed.
        """
        self._require_open()
        return {
            **self._own_state(),
            "played": np.frombuffer(bytes(self._played), dtype=np.uint8),
            "stack": self._stack.copy(),
            "ended": self._ended,
            "np_random": copy.deepcopy(self.np_random.bit_generator.state),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state, also in another process, by playing the episode again.

        Raises:
            ConfigError: the state was saved with another frame size or stack, or what was played leads elsewhere here.
            RuntimeError: the environment was closed.
        """
        self._require_open()
        check_saved_stack(state["stack"], self._stack)
        self._ended = True  # until it is played to the end
        self._replay(state)
        self._stack[:] = state["stack"]
        self._ended = state["ended"]
        self.np_random.bit_generator.state = copy.deepcopy(state["np_random"])

    @abc.abstractmethod
    def _own_state(self) -> dict[str, Any]:
        """What the engine's game needs besides ``played`` to go on."""

    @abc.abstractmethod
    def _replay(self, state: dict[str, Any]) -> None:
        """Begins the episode that ``state`` is of, plays what was played, and takes what `_own_state` saved.

        Raises:
            ConfigError: it does not lead to where it led.
        """
