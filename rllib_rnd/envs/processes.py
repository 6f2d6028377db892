"""Python environments that are stepped by several processes of this machine, each with its share of them.

One message goes to each process per step and one comes back; observations are written where both can read them. What
is played, and what is saved of it, is exactly what `LeanVectorEnv` plays and saves in one process.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_rnd.envs.process_worker import FAILED, MADE, Infos, unpacked
from rllib_rnd.envs.vector import PythonVectorEnv, Seed, check_saved_number, environment_seeds
from rllib_rnd.errors import ConfigError

# The package's folders without their `__init__`, see `process_worker`; then work until the pipe is closed.
_BEGIN = """
import sys, types
from multiprocessing.connection import Connection
pipe, memory = Connection(int(sys.argv[1])), int(sys.argv[2])
sys.path[:], folders = pipe.recv()
for name, folder in folders.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from rllib_rnd.envs.process_worker import serve
serve(pipe, memory)
"""
_HERE = Path(__file__).parent
_FOLDERS = {"rllib_rnd": str(_HERE.parent), "rllib_rnd.envs": str(_HERE)}
# Each process has a core to itself.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_TELL_EVERY_S = 5.0  # while environments are made
_END_S = 2.0  # that a process may take to end by itself


class _Worker:
    """A process and its environments.

    Args:
        first: number of its first environment.
        count: how many it has.
        memory: the file of the shared memory.
    """

    def __init__(self, first: int, count: int, memory: int) -> None:
        self.rows = slice(first, first + count)
        self.first, self.count = first, count
        self.pipe, theirs = Pipe()
        # Isolated: where Python looks for modules is what this process says, and no variable of the user's.
        command = [sys.executable, "-I", "-c", _BEGIN, str(theirs.fileno()), str(memory)]
        environment = {**os.environ, **_ONE_THREAD}
        # What ends a run is told to all its processes; this one is needed until the end, to save its state. It ends
        # when its pipe is closed, however this process comes to its end.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), memory), env=environment
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self._send((sys.path, _FOLDERS))

    def ask(self, method: str, *args: object) -> None:
        """Has a method of its `Slice` called."""
        self._send((method, args))

    def _send(self, message: object) -> None:
        try:
            self.pipe.send(message)
        except ConnectionError as error:
            raise self._gone() from error

    def answer(self) -> tuple[str, Any]:
        """What kind it is of, and what the method returned; `MADE` and None for each environment made before that.

        Raises:
            ConfigError: it did.
            RuntimeError: it raised something else, or its process has ended.
        """
        try:
            kind, value = self.pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise self._gone() from error
        if kind == FAILED:
            raise value if isinstance(value, ConfigError) else RuntimeError(value)
        return kind, value

    def _gone(self) -> RuntimeError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_S)
        code = self.process.returncode
        how = "does not answer" if code is None else f"has ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by signal {-code}" + (" (perhaps for lack of memory)" if code == -9 else "")
        last = self.first + self.count - 1
        return RuntimeError(f"process {self.process.pid}, which steps environments {self.first} to {last}, {how}")


def _end(workers: Sequence[_Worker]) -> None:
    """Ends the processes: those that do not within some seconds, as where an environment hangs, by force."""
    for worker in workers:
        worker.pipe.close()
    until = time.monotonic() + _END_S
    for worker in workers:
        try:
            worker.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()


class ProcessVectorEnv(PythonVectorEnv):
    """N equal environments, dealt over several processes that step at the same time.

    After an error, also one that interrupted it from outside, it can only be closed. A process that is killed is an
    error of the step that it does not finish.

    Args:
        make: makes one; pickled by reference, from a module that imports nothing but files of ``rllib_rnd.envs`` and
            what is below them.
        num_envs: N.
        num_processes: no more than N of them.
        name: of the environment, for what is told while they are made.

    Raises:
        ConfigError: an environment cannot be made.
        RuntimeError: likewise, or a process has ended.
    """

    why_no_state: str | None = None  # as of those of the first process: all are equal

    def __init__(self, make: Callable[[], gym.Env], num_envs: int, num_processes: int, name: str) -> None:
        shares = np.array_split(np.arange(num_envs), min(num_processes, num_envs))
        with _memory_file() as memory:
            self._workers: list[_Worker] = []
            # Ends them too where nobody closes this object, and where the rest of this constructor fails.
            self._ended = weakref.finalize(self, _end, self._workers)
            self._broken = False
            for share in shares:
                self._workers.append(_Worker(int(share[0]), len(share), memory))
            try:
                self._make(make, num_envs, name)
                self._share(memory)
            except BaseException:
                self._ended()
                raise

    def _make(self, make: Callable[[], gym.Env], num_envs: int, name: str) -> None:
        """Has all environments made, and says how far that is while it takes long."""
        for worker in self._workers:
            worker.ask("make", make, worker.count)
        began = told = time.monotonic()
        made, waiting, descriptions = 0, {worker.pipe: worker for worker in self._workers}, list[Any]()
        while waiting:
            for pipe in wait(list(waiting), timeout=_TELL_EVERY_S):
                assert isinstance(pipe, Connection)
                kind, answer = waiting[pipe].answer()
                if kind == MADE:
                    made += 1
                else:
                    descriptions.append(answer)
                    del waiting[pipe]
            if time.monotonic() - told >= _TELL_EVERY_S:
                told = time.monotonic()
                seconds = f"{told - began:.0f} s, {len(self._workers)} processes"
                print(f"{name}: {made} of {num_envs} environments are made ({seconds})", file=sys.stderr, flush=True)
        single, self.why_no_state = descriptions[0]
        self._describe(single, num_envs)

    def _share(self, memory: int) -> None:
        """Lays out the memory that the processes write observations into."""
        size = max(1, int(np.prod(self._obs_shape)) * self._obs_dtype.itemsize)
        os.ftruncate(memory, size)
        self._obs = np.frombuffer(mmap.mmap(memory, size), self._obs_dtype).reshape(self._obs_shape)
        self._all("share", [(worker.first, self._one_shape, self._obs_dtype.str, size) for worker in self._workers])

    def _all(self, method: str, args: Sequence[Sequence[Any]]) -> list[Any]:
        """Has all processes do something at the same time, each with its own arguments; their answers.

        Raises:
            ConfigError, RuntimeError: as of `_Worker.answer`; or there was such an error before.
        """
        if self._broken or not self._ended.alive:
            raise RuntimeError("The environments have failed, were interrupted or closed: they have to be made anew.")
        self._broken = True  # unless all goes well
        for worker, of_worker in zip(self._workers, args, strict=True):
            worker.ask(method, *of_worker)
        answers = [worker.answer()[1] for worker in self._workers]
        self._broken = False
        return answers

    def reset(self, *, seed: Seed = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Resets every environment; returns ``(obs [N, *obs_shape], infos)``."""
        seeds = environment_seeds(seed, self.num_envs)
        infos = self._all("reset", [(seeds[worker.rows], options) for worker in self._workers])
        return self._obs.copy(), self._joined_infos(infos)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every environment: ``obs [N, *obs_shape]``, then ``[N]`` arrays, then infos."""
        parts = self._all("step", [(actions[worker.rows],) for worker in self._workers])
        *columns, infos = zip(*parts, strict=True)
        reward, terminated, truncated = (np.concatenate(column) for column in columns)
        return self._obs.copy(), reward, terminated, truncated, self._joined_infos(infos)

    def _joined_infos(self, parts: Sequence[Infos]) -> dict[str, Any]:
        """The infos of all processes as one batch."""
        columns = [part for part in parts if isinstance(part, dict)]
        if len(columns) == len(parts) and all(part.keys() == columns[0].keys() for part in columns):
            return self._with_masks({key: np.concatenate([part[key] for part in columns]) for key in columns[0]})
        return self._gather([info for part in parts for info in unpacked(part)])

    def render(self) -> tuple[Any, ...] | None:
        """Renders every environment."""
        return self._joined("render")

    def call(self, name: str, *args: object, **kwargs: object) -> tuple[Any, ...]:
        """Calls a method of every environment (or reads an attribute); one result per environment."""
        return self._joined("call", name, args, kwargs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Reads an attribute of every environment."""
        return self._joined("get_attr", name)

    def _joined(self, method: str, *args: object) -> tuple[Any, ...]:
        return tuple(one for part in self._all(method, [args] * len(self._workers)) for one in part)

    def clone_state(self) -> dict[str, Any]:
        """Saves all that decides the future of the environments, in the form of `LeanVectorEnv`.

        Raises:
            ConfigError: an environment cannot.
        """
        if self.why_no_state is not None:
            raise ConfigError("env", f"its environments cannot save their state: {self.why_no_state}")
        states = self._all("clone_state", [()] * len(self._workers))
        needs_reset = np.concatenate([state["needs_reset"] for state in states])
        return {"envs": [env for state in states for env in state["envs"]], "needs_reset": needs_reset}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Goes back to a saved state, also one of a `LeanVectorEnv`.

        Raises:
            ConfigError: the state is of another number of environments.
        """
        check_saved_number(state, self.num_envs)
        rows = [worker.rows for worker in self._workers]
        self._all("restore_state", [({name: state[name][part] for name in self.state_rows},) for part in rows])

    def close_extras(self, **_: object) -> None:
        """Ends the processes, and with them the environments."""
        self._ended()


@contextlib.contextmanager
def _memory_file() -> Iterator[int]:
    """A file that lies in memory and has no name; its number."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("observations")
        try:
            yield memory
        finally:
            os.close(memory)
    else:
        with tempfile.TemporaryFile() as file:
            yield file.fileno()
