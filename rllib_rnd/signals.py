"""What a process of this package does when it is told to end: by Ctrl-C, or by SIGTERM (pre-emption, Slurm)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

#: What a user calls them.
NAMES = {int(signal.SIGINT): "Ctrl-C", int(signal.SIGTERM): "SIGTERM"}


class Terminated(KeyboardInterrupt):
    """SIGTERM where there is nothing to save: it ends a command as Ctrl-C does."""


def exit_code(number: int) -> int:
    """Returns the shell's exit code for a signal: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + number


def is_command() -> bool:
    """Whether this process is the ``rllib`` command, also as ``python -m rllib_rnd``."""
    program = Path(sys.argv[0]) if sys.argv else Path()
    if program.name == "-m":  # Python is still looking for the module
        return "rllib_rnd" in sys.orig_argv[: sys.orig_argv.index("-m") + 2]
    return program.name == "rllib" or program.parts[-2:] == ("rllib_rnd", "__main__.py")


def end_while_importing() -> None:
    """Has both signals end this process with one line, until `end_command` takes over: nothing has begun yet."""

    def end(number: int, _frame: FrameType | None) -> None:
        os.write(2, f"rllib: stopped by {NAMES[number]}\n".encode())
        os._exit(exit_code(number))

    _handle(end, signal.SIGINT, signal.SIGTERM)


def end_command() -> None:
    """Has Ctrl-C raise ``KeyboardInterrupt`` again, and SIGTERM `Terminated`: a command cleans up behind itself."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    _handle(signal.default_int_handler, signal.SIGINT)
    _handle(end, signal.SIGTERM)


def _handle(handler: object, *numbers: signal.Signals) -> None:
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        for number in numbers:
            signal.signal(number, handler)  # type: ignore[arg-type]


@contextlib.contextmanager
def sigterm_for_this_process_alone() -> Iterator[None]:
    """Processes started meanwhile, and theirs, never see SIGTERM, and this process's handler of it stays.

    Slurm, Kubernetes and ``timeout`` send SIGTERM to all processes of a job at once. Ray's would end, and with them
    what is to be saved. Ray ends them by SIGKILL where SIGTERM does nothing, and so does the kernel with the last
    process of a container.
    """
    from ray._private import utils

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler, rays = signal.getsignal(signal.SIGTERM), utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda _handler: None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        utils.set_sigterm_handler = rays
        signal.signal(signal.SIGTERM, handler)  # also in place of that of Ray's core, which prints a stack
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlive_sigterm() -> None:
    """In a process of Ray that was started deaf to SIGTERM: its own children can be ended by it, as they expect.

    (A process's environments may have processes of their own, which ``terminate()`` must reach.)
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        return
    mine = os.getpid()

    def ignore(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != mine:  # a fork
            os._exit(exit_code(number))

    signal.signal(signal.SIGTERM, ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
