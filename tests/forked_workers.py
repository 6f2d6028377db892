"""Ray's workers of the tests, forked from a process that has imported torch and RLlib.

A worker costs about 5 s of CPU before it does anything: two interpreters, one after the other, which import Ray, and
then torch and RLlib. The suite starts hundreds. A Ray that is started under `forked_workers` has its raylet
begin each of them by this file as a script, in place of Ray's ``setup_worker.py``: it asks a server, which stands by
with those imports done, for a copy of itself, and stands for that until it ends.

This package is not among what is imported beforehand: each worker imports it, registers its environments and so on as
in real life. What is lost is that a worker begins as a new interpreter; commands that tests run in processes of their
own (``rllib train``) have Ray's own workers, unless they are run by `forked_python`, which is for those that would
spend most of their time on imports.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SERVER = "FORKED_WORKERS"
FIRST_JOB, NO_JOB = "01000000", "ffffffff"  # as Ray numbers the programs that use it
_LENGTH = struct.Struct("!I")
_IDS = 256  # that Ray draws at random in a worker, more than enough


@contextlib.contextmanager
def fork_server() -> Iterator[str]:
    """The server, as long as the block lasts: the address for `forked_workers`."""
    with tempfile.TemporaryDirectory(prefix="fw") as folder:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{folder}/s")
        listener.listen(64)
        # Its standard input ends with this process, and so does it. A single thread, or it could not be copied.
        variables = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # These two Ray reads when it is imported: whose work it is, and with which process it ends.
        variables |= {"RAY_JOB_ID": FIRST_JOB, "RAY_RAYLET_PID": str(os.getpid())}
        command = [sys.executable, __file__, "serve", str(listener.fileno())]
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env={**os.environ, **variables}
        )
        listener.close()
        try:
            yield f"{folder}/s"
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait(timeout=60.0)


@contextlib.contextmanager
def forked_workers(server: str) -> Iterator[None]:
    """A Ray that is started in the block has forked workers, also afterwards."""
    from unittest import mock  # slow, and the script needs none of it

    from ray._private.parameter import RayParams

    as_usual = RayParams.update_if_absent

    def update_if_absent(self: RayParams, **given: Any) -> None:
        if "setup_worker_path" in given:
            given["setup_worker_path"] = __file__
        as_usual(self, **given)

    with (
        mock.patch.object(RayParams, "update_if_absent", update_if_absent),
        mock.patch.dict(os.environ, {SERVER: server}),
    ):
        yield


def forked_python(server: str, path: Path) -> Path:
    """Writes an interpreter to a path, whose processes are copies of the server's: ``-c`` and ``-m`` need no imports.

    So are the workers of the Ray that one of them starts, and what it runs by `sys.executable`. A process is in the
    group of the server: none for signals to groups. The server's flags and encodings are its own.
    """
    path.write_text(f'#!/bin/sh\n{SERVER}={server} exec {sys.executable} {__file__} run "$0" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def _read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := connection.recv(size - len(found))):
        found += more
    return found


# --- the script that Ray starts ---------------------------------------------------------------------------------------


def _stand_for_a_worker(arguments: list[str]) -> None:
    """Has a worker forked, and ends as it ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--serialized-runtime-env-context", default="{}")
    parser.add_argument("--language")
    own, rest = parser.parse_known_args(arguments)
    context = json.loads(own.serialized_runtime_env_context or "{}")
    plain: dict[str, object] = {
        "command_prefix": [],
        "py_executable": sys.executable,
        "override_worker_entrypoint": None,
    }
    special = any(context.get(name, value) != value for name, value in plain.items())
    if special or os.environ.get("RAY_JOB_ID") not in (FIRST_JOB, NO_JOB):
        as_usual = Path(rest[0]).with_name("setup_worker.py")
        os.execv(sys.executable, [sys.executable, str(as_usual), *arguments])
    _stand_for({"argv": rest, "env": {**os.environ, **context.get("env_vars", {})}})


def _stand_for_an_interpreter(arguments: list[str], itself: str) -> None:
    """Has a process forked that does what this interpreter would, and ends as it ends."""
    if not arguments or arguments[0] not in ("-c", "-m"):
        os.execv(sys.executable, [sys.executable, *arguments])
    _stand_for({"argv": arguments, "env": dict(os.environ), "executable": itself})


def _stand_for(request: dict[str, Any]) -> None:
    message = json.dumps({**request, "cwd": os.getcwd()}).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[SERVER])
        socket.send_fds(connection, [_LENGTH.pack(len(message))], [0, 1, 2])
        connection.sendall(message)
        answer = _read(connection, _LENGTH.size)
    status = _LENGTH.unpack(answer)[0] if len(answer) == _LENGTH.size else signal.SIGKILL
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    raise SystemExit(os.waitstatus_to_exitcode(status))


# --- the server -------------------------------------------------------------------------------------------------------


class _Server:
    """Forks a worker for each request; ends one whose request is gone, and all when its standard input ends."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener, self.workers = listener, dict[int, socket.socket]()
        self.forks = 0
        self.selector = selectors.DefaultSelector()
        self.wakeup = socket.socketpair()
        for end in self.wakeup:
            end.setblocking(False)
        signal.set_wakeup_fd(self.wakeup[1].fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest, which ends this
        for source in (listener, self.wakeup[0], sys.stdin):
            self.selector.register(source, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any] | None:
        """Returns in each worker with its request, and in the server with None, when it is to end."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is sys.stdin:
                    for pid in self.workers:
                        os.kill(pid, signal.SIGKILL)
                    return None
                if key.fileobj is self.listener:
                    request = self._fork(self.listener.accept()[0])
                    if request is not None:
                        return request
                elif key.fileobj is self.wakeup[0]:
                    with contextlib.suppress(BlockingIOError):
                        self.wakeup[0].recv(4096)
                    self._reap()
                elif key.data in self.workers:  # its stand-in was ended
                    os.kill(key.data, signal.SIGKILL)
                    self.selector.unregister(self.workers[key.data])

    def _fork(self, connection: socket.socket) -> dict[str, Any] | None:
        head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, 3)
        message = _read(connection, _LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
        self.forks += 1
        pid = os.fork() if message else 0
        if pid or not message:
            for descriptor in descriptors:
                os.close(descriptor)
            if message:
                self.workers[pid] = connection
                self.selector.register(connection, selectors.EVENT_READ, pid)
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        self.selector.close()
        for end in (*self.wakeup, self.listener, connection, *self.workers.values()):
            end.close()
        found: dict[str, Any] = json.loads(message)
        return found

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                connection = self.workers.pop(ended[0])
                with contextlib.suppress(KeyError):
                    self.selector.unregister(connection)
                with contextlib.suppress(OSError):
                    connection.sendall(_LENGTH.pack(ended[1]))
                connection.close()


def _serve(descriptor: int) -> None:
    import gc
    import runpy
    import types

    import numpy as np
    import ray._raylet
    import ray.rllib.algorithms.ppo  # and with it all that workers of RLlib need

    read: Any = ray._raylet

    gc.freeze()
    server = _Server(socket.socket(fileno=descriptor))
    request = server.serve()
    if request is None:
        return
    os.environ.clear()
    os.environ.update(request["env"])
    read.Config.initialize("")  # what Ray has read of the environment, and of tokens
    read.AuthenticationTokenLoader.instance().reset_cache()
    os.chdir(request["cwd"])
    # Each goes on from another place of the sequence that imports have begun: two objects of the same id end a worker.
    for _ in range(_IDS * server.forks):
        read.ObjectRef.from_random()
    np.random.seed()  # it would be the server's; the generators of Python and torch are as in a new process
    how, *rest = request["argv"]
    if "executable" not in request:
        sys.argv[:], sys.path[0] = request["argv"], str(Path(how).parent)
        runpy.run_path(how, run_name="__main__")
        return
    sys.executable, sys.path[0] = request["executable"], os.getcwd()
    with forked_workers(os.environ[SERVER]):
        if how == "-m":
            sys.argv[:] = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv[:] = ["-c", *rest[1:]]
            sys.modules["__main__"] = main = types.ModuleType("__main__")
            exec(compile(rest[0], "<string>", "exec"), main.__dict__)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(int(sys.argv[2]))
    elif sys.argv[1] == "run":
        _stand_for_an_interpreter(sys.argv[3:], sys.argv[2])
    else:
        _stand_for_a_worker(sys.argv[1:])
