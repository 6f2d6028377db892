"""A fault at the n-th operation on files below a folder: it fails, all later ones fail too, or the process ends."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_EVENTS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree"}
_watching: list[Callable[[], None]] = []
_below: list[str] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    """Python asks it before every such operation, also those of libraries written in Python."""
    if not _watching:
        return
    writes = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
    if (writes or event in _EVENTS) and any(str(argument).startswith(_below[0]) for argument in arguments[:2]):
        _watching[-1]()


sys.addaudithook(_hook)


@contextlib.contextmanager
def fault_at(number: int, folder: Path, kind: str) -> Iterator[list[int]]:
    """Places a fault.

    Args:
        number: of the operation, from 0. A sync of a file counts as one.
        folder: below which operations count.
        kind: ``fails``; ``ends``: nothing that comes later takes effect either, as after a kill; ``kill``: SIGKILL.

    Yields:
        A list with one number: the operations so far.
    """
    count, real = [0], os.fsync

    def operation() -> None:
        count[0] += 1
        if count[0] - 1 == number or (kind == "ends" and count[0] > number):
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fsync(fd: Any) -> None:
        operation()
        real(fd)

    _below[:] = [str(folder)]
    _watching.append(operation)
    os.fsync = fsync
    try:
        yield count
    finally:
        os.fsync = real
        _watching.pop()
