"""A limit for what environments of this process take: the line that names them, an error where they hang, or the end.

Nobody watches a process that plays for itself (``num_env_runners: 0``), and no other process could go on without it.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TextIO

#: Seconds in which what hangs has to give in to the error, before the process ends.
GRACE_S = 10.0

# Nobody else's: Ray, torch and pytest leave it alone.
_SIGNAL = signal.SIGUSR2


class HangError(TimeoutError):
    """What was called has not come back in time."""


class _Limit:
    """The limit of one call: its end in another thread, its error in the main one."""

    def __init__(self, seconds: float, message: str) -> None:
        self._message, self._lock, self._over = message, threading.Lock(), False
        self._main = threading.main_thread().ident if threading.current_thread() is threading.main_thread() else None
        self._timer = threading.Timer(seconds, self._passed)
        self._timer.daemon = True

    def start(self) -> None:
        if self._main is not None:  # Python takes handlers from no other thread
            self._before = signal.signal(_SIGNAL, self._raise)
        self._timer.start()

    def stop(self) -> None:
        with self._lock:
            self._over = True
        self._timer.cancel()
        if self._main is not None:
            signal.signal(_SIGNAL, self._before if self._before is not None else signal.SIG_DFL)

    def _passed(self) -> None:
        # Not by a logger, whose lock may be what the block waits for.
        _write(f"{self._message} If it does not give in within {GRACE_S:g} s, this process ends with exit code 1.")
        with self._lock:
            if not self._over and self._main is not None:
                signal.pthread_kill(self._main, _SIGNAL)

    def _raise(self, *_: object) -> None:
        if not self._over:
            raise HangError(self._message)


@contextmanager
def time_limit(seconds: float | None, message: str) -> Iterator[None]:
    """Raises an error in the block, wherever it is, once it has taken so long.

    Python code, sleeping, waiting for locks and for other processes is interrupted by that. Code in C that does not
    come back is not: `GRACE_S` later the process writes to standard error where all its threads are, and ends with
    exit code 1. That part needs no lock of Python's, which such code may hold. So does a block that is not in the
    main thread.

    Args:
        seconds: None: no limit.
        message: of the error and of the line in the log that comes first.

    Raises:
        HangError: it was interrupted.
    """
    if not seconds:
        yield
        return
    limit = _Limit(seconds, message)
    limit.start()
    try:
        with _dump_after(seconds + GRACE_S, ends=True):
            yield
    finally:
        limit.stop()


@contextmanager
def told_where(seconds: float | None) -> Iterator[None]:
    """Writes to standard error where all threads are, once the block has taken so long."""
    if not seconds:
        yield
        return
    with _dump_after(seconds, ends=False):
        yield


def _write(line: str) -> None:
    print(line, file=_errors(), flush=True)


class _Dump(NamedTuple):
    """What is to be written: at which time of the monotonic clock, and whether the process ends then."""

    at: float
    ends: bool


class _Dumps:
    """Those of all blocks that are open, in any thread. faulthandler has one timer: it is set to the soonest."""

    def __init__(self) -> None:
        self._lock, self._open = threading.Lock(), list[_Dump]()

    def add(self, dump: _Dump) -> None:
        with self._lock:
            self._open.append(dump)
            self._set()

    def remove(self, dump: _Dump) -> None:
        with self._lock:
            self._open.remove(dump)
            self._set()

    def _set(self) -> None:
        now = time.monotonic()
        due = [dump for dump in self._open if dump.at > now]  # others have been written
        faulthandler.cancel_dump_traceback_later()
        if due:
            first = min(due)
            faulthandler.dump_traceback_later(first.at - now, exit=first.ends, file=_errors())


_DUMPS = _Dumps()


@contextmanager
def _dump_after(seconds: float, ends: bool) -> Iterator[None]:
    dump = _Dump(time.monotonic() + seconds, ends)
    _DUMPS.add(dump)
    try:
        yield
    finally:
        _DUMPS.remove(dump)


def _errors() -> TextIO:
    """Where sys.stderr is no file, as under pytest, the process still has one."""
    return sys.__stderr__ or sys.stderr
