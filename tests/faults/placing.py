"""Faults placed at a named call of a named function, in whichever process makes it: never by sleeping.

A fault is told to a process by the environment variable ``PLACED_FAULTS`` (`as_environment`), which Ray's processes
inherit. It is put in place

- in the driver by `Command`, which runs ``rllib`` in a process of its own;
- in the process of a trial, of a learner or of a runner by the callback class `Place`, named in the experiment's
  configuration: ``callbacks: tests.faults.placing:Place``;
- in this process by `placed`.

    fault = Fault("ray.rllib.algorithms.algorithm:Algorithm.save_checkpoint", call=2, victim=DRIVER, marker=str(path))
    command = Command(["train", "file", "x.yaml"], tmp_path, [fault])
    assert command.wait() == -signal.SIGKILL
    command.clean_up()
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

# isort: split
import psutil  # Ray brings it, and it is found once Ray is imported

REPOSITORY = Path(__file__).resolve().parents[2]
FAULTS, MARK, PIDS = "PLACED_FAULTS", "PLACED_MARK", "PLACED_PIDS"
#: Whom a fault strikes, besides the name of a program of the run ("raylet", "gcs_server"); `GROUP`: the driver and all
#: that it has started, as Slurm and Kubernetes send signals.
SELF, DRIVER, GROUP = "self", "driver", "group"

#: Runs a command in a folder whose ``results`` are a small disk of their own; what is on it in the end is in ``kept``.
SMALL_DISK = (
    *("unshare", "--mount", "--map-root-user", "bash", "-c"),
    'mkdir results && mount -t tmpfs -o size=64m none results && "$@"; code=$?; cp -a results kept; exit $code',
    "bash",
)


@dataclass(frozen=True)
class Fault:
    """What happens at one call of one function.

    Attributes:
        target: the function, ``module:attribute`` or ``module:Class.attribute``.
        call: at its n-th call in a process, from 1.
        act: "kill" sends ``signal`` to ``victim``; "raise" raises ``error(text)`` or ``OSError(number, text)``; "block"
            sleeps for ever, or until there is a file ``release``; "fill" writes a file ``release`` until its disk is
            full; "free" deletes it.
        place: the process that makes the call: "driver", "trial", "learner" or "runner".
        victim: `SELF`, `DRIVER`, `GROUP`, or a program of the run by a part of its command line.
        signal: sent by "kill".
        after: the function has returned when the fault strikes, else it has not been entered.
        index: of the only learner or runner that makes the call; None: of all.
        marker: a file that is made as the fault strikes, which it does once; "": each process once.
        number, text: of the error that "raise" raises; number 0 is a RuntimeError.
        error: import path of the error's class, instead of these two.
        release: a file that ends "block", or fills the disk.
        on: a part of the first argument's text (a path) that the call must have to be counted.
    """

    target: str
    call: int = 1
    act: str = "kill"
    place: str = "trial"
    victim: str = SELF
    signal: int = signal.SIGKILL
    after: bool = False
    index: int | None = None
    marker: str = ""
    number: int = 0
    text: str = "placed"
    error: str = ""
    release: str = ""
    on: str = ""

    def strike(self) -> None:
        """Lets it happen, unless it has."""
        if self.marker:
            try:
                Path(self.marker).touch(exist_ok=False)
            except FileExistsError:
                return
        if self.act == "raise" and self.error:
            raise _imported(self.error)(self.text)
        if self.act == "raise":
            raise OSError(self.number, self.text) if self.number else RuntimeError(self.text)
        if self.act == "block":
            while not (self.release and Path(self.release).exists()):
                time.sleep(0.05)
            return
        if self.act == "fill":
            fill_up(Path(self.release))
            return
        if self.act == "free":
            Path(self.release).unlink()
            return
        for pid in self._victims():
            (os.killpg if self.victim == GROUP else os.kill)(pid, self.signal)
        if self.victim == DRIVER and self.signal == signal.SIGKILL:
            threading.Event().wait()  # nothing more is done: Ray ends what the driver leaves

    def _victims(self) -> list[int]:
        if self.victim == SELF:
            return [os.getpid()]
        if self.victim in (DRIVER, GROUP):
            return [int((Path(os.environ[PIDS]) / DRIVER).read_text(encoding="ascii"))]
        return [process.pid for process in processes_of(os.environ[MARK], self.victim)]


def fill_up(path: Path) -> None:
    """Writes a file until nothing more fits onto its disk."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def install(fault: Fault, holder: object = None) -> Callable[[], None]:
    """Puts a fault into this process; returns what takes it out again.

    Args:
        fault: which.
        holder: the object that an actor is: Ray gives the class of an actor copies of all methods that it inherits.
    """
    module, _, path = fault.target.partition(":")
    *holders, name = path.split(".")
    owner: Any = functools.reduce(getattr, holders, importlib.import_module(module))
    static = owner.__dict__.get(name) if isinstance(owner, type) else None
    function, calls = getattr(owner, name), [0]

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        subject = args[1:2] if isinstance(owner, type) and not isinstance(static, staticmethod) else args[:1]
        if fault.on and not any(fault.on in str(text) for text in (*subject, *kwargs.values())):
            return function(*args, **kwargs)
        calls[0] += 1
        due = calls[0] == fault.call
        if due and not fault.after:
            fault.strike()
        result = function(*args, **kwargs)
        if due and fault.after:
            fault.strike()
        return result

    setattr(owner, name, staticmethod(counted) if isinstance(static, (staticmethod, classmethod)) else counted)
    if isinstance(owner, type) and isinstance(holder, owner) and hasattr(type(holder), "__ray_actor_class__"):
        with contextlib.suppress(AttributeError):
            delattr(type(holder), name)
    return lambda: setattr(owner, name, function if static is None else static)


@contextlib.contextmanager
def placed(*faults: Fault) -> Iterator[None]:
    """Faults of this process, while it is open."""
    with contextlib.ExitStack() as stack:
        for fault in faults:
            stack.callback(install(fault))
        yield


def as_environment(faults: Sequence[Fault]) -> dict[str, str]:
    """Returns the environment variable that tells these faults to a process and to those that it starts."""
    return {FAULTS: json.dumps([dataclasses.asdict(fault) for fault in faults])}


def told(place: str, index: int | None = None) -> list[Fault]:
    """Returns the faults that the environment has for a process of this kind."""
    faults = [Fault(**fault) for fault in json.loads(os.environ.get(FAULTS, "[]"))]
    return [fault for fault in faults if fault.place == place and fault.index in (None, index)]


class Place(RLlibCallback):
    """Puts the faults of the environment into the processes of a trial: ``callbacks: tests.faults.placing:Place``."""

    def on_algorithm_init(self, *, algorithm: Any, **_: Any) -> None:
        """Of the trial's own process and of its learners."""
        for fault in told("trial"):
            install(fault, algorithm)
        if told_to_learners := json.loads(os.environ.get(FAULTS, "[]")):
            algorithm.learner_group.foreach_learner(functools.partial(_into_learner, faults=told_to_learners))

    def on_environment_created(self, *, env_runner: Any, **_: Any) -> None:
        """Of a runner, once."""
        if not getattr(env_runner, "_faults_placed", False):
            env_runner._faults_placed = True
            for fault in told("runner", getattr(env_runner, "worker_index", None)):
                install(fault, env_runner)


def _into_learner(learner: Any, faults: Sequence[Mapping[str, Any]]) -> None:
    rank = getattr(learner, "_placement_group_rank", None)
    if rank is None:
        distributed = __import__("torch").distributed
        rank = distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
    for fault in (Fault(**fault) for fault in faults):
        if fault.place == "learner" and fault.index in (None, rank):
            install(fault, learner)


class Command:
    """``rllib`` with these arguments in a process of its own, the leader of a process group and session.

    Args:
        arguments: of ``rllib``.
        folder: where it runs; its output goes to ``output-*.txt`` there.
        faults: told to all its processes.
        variables: more environment variables.
        within: the command that runs it, as `SMALL_DISK`.

    Attributes:
        seconds: that it took, once it has ended.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        faults: Sequence[Fault] = (),
        variables: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.file = folder / f"output-{self.mark[:8]}.txt"
        self.started, self.seconds = time.monotonic(), 0.0
        paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        environment = {
            **{name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"},
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "COLUMNS": "200",
            MARK: self.mark,
            PIDS: str(folder / f"pids-{self.mark[:8]}"),
            **as_environment(faults),
            **(variables or {}),
        }
        with self.file.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                [*within, sys.executable, "-m", "tests.faults.placing", *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has printed so far, errors too."""
        return self.file.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout_s: float = 300.0) -> int:
        """Returns its exit code, or minus the signal that ended it; one that does not end is killed with all it has.

        Raises:
            AssertionError: it did not end.
        """
        try:
            code = self.process.wait(timeout_s)
            self.seconds = time.monotonic() - self.started
            return code
        except subprocess.TimeoutExpired:
            self.clean_up(patience_s=0)
            raise AssertionError(f"did not end within {timeout_s:g} s:\n{self.output}") from None

    def wait_for(self, text: str, timeout_s: float = 300.0) -> None:
        """Waits until it has printed a text.

        Raises:
            AssertionError: it ended, or the time was over, without.
        """
        until = time.monotonic() + timeout_s
        while text not in self.output:
            ended = self.process.poll() is not None
            if (ended and text not in self.output) or time.monotonic() > until:
                self.clean_up(patience_s=0)
                raise AssertionError(f"{text!r} was not printed (ended: {ended}):\n{self.output}")
            time.sleep(0.05)

    def signal(self, number: int, group: bool = False) -> None:
        """Sends a signal to it, or to its whole process group as terminals, Slurm and Kubernetes do."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Returns the processes of this run that live, also those that a killed driver left; by part of their command.

        Ray's processes are known by the mark in their environment, whoever is their parent by now.
        """
        return processes_of(self.mark, name)

    def clean_up(self, patience_s: float = 90.0) -> list[str]:
        """Kills every process of this run; returns the programs that did not end by themselves within the patience.

        Agents of a Ray whose control process has been killed try to tell it of their end for up to a minute.
        """
        until = time.monotonic() + patience_s
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.1)
        names = [_name(process) for process in left]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.poll()
        psutil.wait_procs(left, timeout=30)
        return names


def can_mount() -> bool:
    """Whether this user may make the small disk of `SMALL_DISK`."""
    if shutil.which("unshare") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run([*SMALL_DISK, "true"], cwd=folder, capture_output=True, check=False).returncode == 0


def processes_of(mark: str, name: str = "") -> list[psutil.Process]:
    """Returns the living processes with this mark in their environment, and this text in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
            if marked and name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # it has ended, or is another user's
            continue
    return found


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:80]
    except psutil.Error:
        return "?"


def main() -> None:
    """Runs ``rllib`` with the arguments of this process, and the faults of the driver in place."""
    pids = Path(os.environ[PIDS])
    pids.mkdir(exist_ok=True)
    (pids / DRIVER).write_text(str(os.getpid()), encoding="ascii")
    for fault in told("driver"):
        install(fault)
    from rllib_rnd.cli import main as rllib

    rllib()


if __name__ == "__main__":
    main()
