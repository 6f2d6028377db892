"""Ray, logging and error output of the command line: quiet by default, errors in one line."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from rllib_rnd.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")

USAGE_ERROR = 2  # a mistake in a command, file or option
RUN_ERROR = 1  # the training itself failed
INTERRUPTED = 130  # the shell's number for Ctrl-C

# Read by Ray when it is imported or started; a value the user has set wins.
_RAY_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own progress table
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's handler saves no checkpoint; ours does
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # returns are absent until the first episode ends
    "PYTHONWARNINGS": "ignore::DeprecationWarning",  # for the worker processes
}


def console(stderr: bool = False) -> Console:
    """Returns the console of this process; made anew so that tests can replace the streams."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """Prints one line for the user, without markup."""
    console().print(line, markup=False)


def fail(message: str, code: int = USAGE_ERROR) -> typer.Exit:
    """Prints one line to stderr and returns the exit to raise."""
    console(stderr=True).print(f"rllib: {message}", markup=False, style="red" if sys.stderr.isatty() else None)
    return typer.Exit(code)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Makes a `ConfigError` one line and exit code 2 instead of a traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            raise fail(str(error)) from None

    return wrapper


def be_quiet(verbose: bool) -> None:
    """Sets Ray's environment and silences its loggers; call before Ray is started."""
    for name, value in _RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if verbose:
        return
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"ray|gymnasium|torch")
    for name in ("ray", "ray.rllib", "ray.tune", "ray.air", "ray.train", "gymnasium", "tensorboardX"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("ray.tune.execution.tune_controller", "ray.tune.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # failed trials are reported in the summary


@contextlib.contextmanager
def ray_session(cpus: float, address: str | None = None, verbose: bool = False) -> Iterator[None]:
    """Starts Ray (or joins a cluster) and shuts it down at the end.

    Args:
        cpus: CPUs that one trial asks for. A local Ray offers at least as many, so that a file made for a
            larger machine still runs, more slowly.
        address: of a cluster; None starts Ray on this machine.
        verbose: let Ray and its workers write to the terminal.

    Raises:
        ConfigError: the cluster cannot be reached.
    """
    import ray

    be_quiet(verbose)
    options: dict[str, Any] = {"log_to_driver": verbose, "logging_level": "INFO" if verbose else "ERROR"}
    if address is None:
        available = os.cpu_count() or 1
        if cpus > available:
            say(f"A trial asks for {cpus:g} CPUs, this machine has {available}: its processes share them.")
        options.update(include_dashboard=False, num_cpus=max(available, int(cpus + 0.999)))
    else:
        options["address"] = address
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        target = f"the cluster at {address}" if address else "Ray on this machine"
        raise ConfigError("--address", f"cannot start {target} ({str(error).splitlines()[0]})") from error
    be_quiet(verbose)  # ray.init() sets its loggers up again
    try:
        yield
    finally:
        ray.shutdown()
