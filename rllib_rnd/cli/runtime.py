"""Ray, logging and error output of the command line: quiet by default, errors in one line."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from rllib_rnd.cli.surroundings import advice, prepare_token, ray_folder
from rllib_rnd.errors import ConfigError
from rllib_rnd.ray_logs import nothing_of_processes, only_errors
from rllib_rnd.redaction import without_password
from rllib_rnd.signals import Terminated, exit_code, sigterm_for_this_process_alone

P = ParamSpec("P")
R = TypeVar("R")

USAGE_ERROR = 2  # a mistake in a command, file or option
RUN_ERROR = 1  # the training itself failed
INTERRUPTED = 130  # the shell's number for Ctrl-C
_TRIES = 2  # to start Ray: a machine that was busy for a moment is none the next time
_TRY_AGAIN = f", {_TRIES} times; nothing was trained. Where the machine is busy try again when it is less so"

# Read by Ray when it is imported or started; a value the user has set wins.
_RAY_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own progress table
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow's own, which writes into the user's home too
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's handler saves no checkpoint; ours does
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # returns are absent until the first episode ends
    "PYTHONWARNINGS": "ignore::DeprecationWarning",  # for the worker processes
}


class RayDoesNotStartError(RuntimeError):
    """Ray does not start on this machine: no mistake of the user's, in one line."""


def show_what_can_be_shown() -> None:
    """Has standard output and error replace what their encoding lacks (ASCII, Latin-1): printing never ends a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def console(stderr: bool = False) -> Console:
    """Returns the console of this process; made anew so that tests can replace the streams."""
    show_what_can_be_shown()
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """Prints one line for the user, without markup; no password in it is shown."""
    console().print(without_password(line), markup=False)


def fail(message: str, code: int = USAGE_ERROR) -> typer.Exit:
    """Prints one line to stderr and returns the exit to raise."""
    console(stderr=True).print(
        f"rllib: {without_password(message)}", markup=False, style="red" if sys.stderr.isatty() else None
    )
    return typer.Exit(code)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Makes a `ConfigError` one line and exit code 2 instead of a traceback; 1 where Ray does not start."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            raise fail(str(error)) from None
        except RayDoesNotStartError as error:
            raise fail(str(error), RUN_ERROR) from None
        except Terminated:
            raise fail("stopped by SIGTERM", exit_code(signal.SIGTERM)) from None
        except KeyboardInterrupt:
            raise fail("stopped by Ctrl-C", INTERRUPTED) from None
        except (OSError, UnicodeEncodeError) as error:
            words = advice(error)
            if words is None:
                raise
            raise fail(words) from error

    return wrapper


def be_quiet(verbose: bool) -> None:
    """Sets Ray's environment and silences its loggers; call before Ray is started."""
    for name, value in _RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not verbose:
        only_errors()


@contextlib.contextmanager
def ray_session(cpus: float, address: str | None = None, verbose: bool = False) -> Iterator[None]:
    """Starts Ray (or joins a cluster) and shuts it down at the end.

    Args:
        cpus: CPUs that one trial asks for. A local Ray offers at least as many, so that a file made for a
            larger machine still runs, more slowly.
        address: of a cluster; None starts Ray on this machine, also where another one runs.
        verbose: let Ray and its workers write to the terminal.

    Raises:
        ConfigError: the cluster cannot be reached.
        RayDoesNotStartError: Ray does not start here.
    """
    from rllib_rnd.cli.ray_processes import shut_down

    be_quiet(verbose)
    options: dict[str, Any] = {"log_to_driver": verbose, "logging_level": "INFO" if verbose else "ERROR"}
    if address is None:
        available = os.cpu_count() or 1
        if cpus > available:
            say(f"A trial asks for {cpus:g} CPUs, this machine has {available}: its processes share them.")
        options.update(address="local", include_dashboard=False, num_cpus=max(available, int(cpus + 0.999)))
        folder = ray_folder()
        if folder is not None:
            options["_temp_dir"] = folder
        prepare_token()
    else:
        options["address"] = address
    with _telling_of_a_wait(address):
        if address is None:
            _start(options)
        else:
            _join(address, options)
    be_quiet(verbose)  # ray.init() sets its loggers up again
    try:
        with contextlib.nullcontext() if verbose else nothing_of_processes():
            yield
    finally:
        shut_down()


def _start(options: Mapping[str, Any]) -> None:
    """Starts Ray here.

    Raises:
        RayDoesNotStartError: it does not, more than once.
    """
    import ray

    from rllib_rnd.cli.ray_processes import children, end_those_begun_since, only_needed_processes

    here, before = ray.is_initialized(), children(os.getpid())
    for left in reversed(range(_TRIES)):
        try:
            with sigterm_for_this_process_alone(), only_needed_processes(logs=bool(options["log_to_driver"])):
                ray.init(**options)
            return
        except Exception as error:  # a start that takes too long is a bare Exception
            end_those_begun_since(before)  # Ray has no record of them: its node was never complete
            if not here:
                with contextlib.suppress(Exception):
                    ray.shutdown()  # what it has noted of the start
            reason = advice(error) or _first_line(error)
            if not left:
                raise RayDoesNotStartError(f"Ray does not start on this machine ({reason}){_TRY_AGAIN}.") from error
            say(f"Ray did not start ({reason}); trying once more.")


def _join(address: str, options: Mapping[str, Any]) -> None:
    """Joins a cluster.

    Raises:
        ConfigError: it cannot be reached.
    """
    import ray

    try:
        _knock(address)
        _take_token()
        with sigterm_for_this_process_alone():
            ray.init(**options)
    except Exception as error:
        wanted = "a cluster that runs and whose token this user has, or local for a Ray of this machine alone"
        problem = f"cannot reach the cluster at {address} ({_first_line(error)})"
        raise ConfigError("--address", problem, wanted) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _knock(address: str) -> None:
    """Tries an address of the form ``host:port``: Ray itself tries it for minutes.

    Raises:
        OSError: nothing answers there.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10.0).close()


def _take_token() -> None:
    """Has this process show the user's token to a cluster, which Ray does for its own start but not for joining."""
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


@contextlib.contextmanager
def _telling_of_a_wait(address: str | None) -> Iterator[None]:
    """Says what is being waited for if Ray takes long to start or to answer."""
    place = "on this machine" if address is None else f"at {address}"
    timer = threading.Timer(15.0, say, [f"Still waiting for Ray {place} (Ctrl-C stops) ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
