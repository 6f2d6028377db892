"""The processes of a training: who they are, what they use, and which outlive their driver."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable
from pathlib import Path

import ray  # noqa: F401  (brings psutil)

import psutil  # isort: skip

_TITLES = {
    "ray::RND": "trial",
    "ray::RolloutEnvRunner": "runner",
    "ray::_WrappedExecutable": "learner",
    "ray::IDLE": "idle worker",
    "gcs_server": "control process",
    "raylet": "raylet",
}
_STORE = {"store_mib": ("pinned objects size", 2**20), "store_objects": ("num local plasma objects", 1)}
#: What is sampled of each process: MiB, and counts.
COLUMNS = ("rss_mib", "uss_mib", "pss_mib", "shared_mib", "handles", "threads")


def title_of(process: psutil.Process) -> str:
    """What a process calls itself, or its program's name; "gone" if it has ended."""
    try:
        title = " ".join(process.cmdline()[:1])
        return title if title.startswith("ray::") else str(process.name())
    except psutil.Error:
        return "gone"


def role_of(process: psutil.Process) -> str:
    """What a process below a driver is."""
    title = title_of(process)
    return next((role for start, role in _TITLES.items() if title.startswith(start)), "other")


class Processes:
    """A driver and all processes that it has had below it.

    Args:
        driver: its process id.
    """

    def __init__(self, driver: int) -> None:
        self.driver = psutil.Process(driver)
        self.known: set[psutil.Process] = {self.driver}

    def find(self) -> dict[psutil.Process, str]:
        """Returns the role of each living process."""
        found: dict[psutil.Process, str] = {}
        with contextlib.suppress(psutil.Error):
            found[self.driver] = "driver"
            for process in self.driver.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    found[process] = role_of(process)
        self.known |= set(found)
        return found

    def of_role(self, role: str) -> list[psutil.Process]:
        """Living processes of a role, in the order of their start."""
        found = [process for process, name in self.find().items() if name == role]
        return sorted(found, key=lambda process: (process.create_time(), process.pid))

    def sample(self) -> list[dict[str, object]]:
        """What each process uses now."""
        rows = []
        for process, role in self.find().items():
            with contextlib.suppress(psutil.Error):
                memory = process.memory_full_info()
                used = {f"{kind}_mib": getattr(memory, kind) / 2**20 for kind in ("rss", "uss", "pss", "shared")}
                counts = {"handles": process.num_fds(), "threads": process.num_threads()}
                rows.append({"role": role, "pid": process.pid, **used, **counts})
        return rows

    def left(self) -> list[psutil.Process]:
        """Processes that were below the driver and still live."""
        return [process for process in self.known if process != self.driver and alive(process)]

    def wait_for_end(self, patience_s: float) -> list[psutil.Process]:
        """Waits for those to end; returns the ones that have not."""
        until = time.monotonic() + patience_s
        while self.left() and time.monotonic() < until:
            time.sleep(0.2)
        return self.left()


def alive(process: psutil.Process) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL for each."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def object_store(processes: Processes | None) -> dict[str, float]:
    """What Ray's object store holds, as the raylet writes it down every ten seconds; 0 where there is none."""
    found = dict.fromkeys(_STORE, 0.0)
    with contextlib.suppress(psutil.Error, OSError):
        for raylet in processes.of_role("raylet") if processes is not None else []:
            folder = next(word.partition("=")[2] for word in raylet.cmdline() if word.startswith("--log_dir="))
            text = (Path(folder) / "debug_state.txt").read_text(errors="replace")
            for name, (label, unit) in _STORE.items():
                number = re.search(rf"^- {label}: (\d+)$", text, re.MULTILINE)
                found[name] = int(number[1]) / unit if number else 0.0
    return found


def shared_memory_mib() -> float:
    """Use of ``/dev/shm``, by whomever."""
    return float(psutil.disk_usage("/dev/shm").used / 2**20)


def folder_mib(folder: Path) -> float:
    """What lies in a folder; files that go meanwhile do not count."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total / 2**20
