"""The other end of `ProcessVectorEnv`: a process that makes some of its environments and steps them when it is told to.

It is started without this package's ``__init__``, which would bring Ray and torch along: what it imports is what the
environments need (0.2 s and 70 MB for Atari, instead of 3 s and 400 MB).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_rnd.envs.vector import LeanVectorEnv, Single, number_columns
from rllib_rnd.errors import ConfigError
from rllib_rnd.own_code import cause_of

#: What kind of answer it is: one more environment is made, what was asked for, or what went wrong.
MADE, DONE, FAILED = "made", "done", "failed"


#: The infos of some environments: columns of numbers where they tell nothing else, or one by one.
Infos = dict[str, np.ndarray] | list[dict[str, Any]]


def packed(infos: list[dict[str, Any]]) -> Infos:
    """Infos as they are sent: as columns if that loses nothing."""
    columns = number_columns(infos)
    return columns if all(len(info) == len(columns) for info in infos) else infos


def unpacked(infos: Infos) -> list[dict[str, Any]]:
    """Inverse of `packed`."""
    if isinstance(infos, list):
        return infos
    # Python's own numbers come back as such; of others the type would be lost.
    columns = [column.tolist() if column.dtype.char in "?ld" else list(column) for column in infos.values()]
    return [dict(zip(infos, values, strict=True)) for values in zip(*columns, strict=True)]


class Slice:
    """Some environments of a vector, whose observations lie in memory that two processes share.

    Args:
        pipe: to the process that asks.
        memory: the file of the shared memory; its size is not known yet.
    """

    def __init__(self, pipe: Connection, memory: int) -> None:
        self._pipe, self._memory = pipe, memory
        self._vector: LeanVectorEnv

    def make(self, make: Callable[[], gym.Env], count: int) -> tuple[Single, str | None]:
        """Makes them; returns what one of them is, and why they cannot save their state."""

        def one() -> gym.Env:
            env = make()
            self._pipe.send((MADE, None))
            return env

        self._vector = LeanVectorEnv([one] * count)
        return Single.of(self._vector.envs[0]), self._vector.why_no_state

    def share(self, first: int, shape: Sequence[int], dtype: str, size: int) -> None:
        """Takes rows of the shared memory, from environment ``first`` on, for observations of this shape."""
        rows = np.frombuffer(mmap.mmap(self._memory, size), dtype)
        length = int(np.prod(shape))
        count = self._vector.num_envs
        self._obs = rows[first * length : (first + count) * length].reshape(count, *shape)

    def reset(self, seeds: Sequence[int | None], options: dict[str, Any] | None) -> Infos:
        """The infos; observations are in the shared memory."""
        return packed(self._vector.reset_into(self._obs, seeds, options))

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Rewards, flags and infos; observations are in the shared memory."""
        *columns, infos = self._vector.step_into(self._obs, actions)
        return *columns, packed(infos)  # type: ignore[return-value]

    def call(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """One result per environment."""
        return self._vector.call(name, *args, **kwargs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """One value per environment."""
        return self._vector.get_attr(name)

    def render(self) -> tuple[Any, ...] | None:
        """One picture per environment."""
        return self._vector.render()

    def clone_state(self) -> dict[str, Any]:
        """As of `LeanVectorEnv`."""
        return self._vector.clone_state()

    def restore_state(self, state: dict[str, Any]) -> None:
        """As of `LeanVectorEnv`."""
        self._vector.restore_state(state)


def serve(pipe: Connection, memory: int) -> None:
    """Does what it is asked, one answer for each request, until the process at the other end is gone."""
    environments = Slice(pipe, memory)
    while True:
        try:
            method, args = pipe.recv()
            pipe.send(_answer(environments, method, args))
        except (EOFError, ConnectionError):
            return


def _answer(environments: Slice, method: str, args: Sequence[Any]) -> tuple[str, Any]:
    try:
        return DONE, getattr(environments, method)(*args)
    except ConfigError as error:
        return FAILED, error
    except Exception as error:  # whatever an environment raises; it need not be one that can travel
        return FAILED, cause_of(error)
