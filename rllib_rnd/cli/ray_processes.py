"""The processes of a Ray that this command has started: whether they live, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import ray

if TYPE_CHECKING:
    from ray._private.node import Node

_PATIENCE_S = 0.5  # for processes that end by themselves with their raylet


def _node() -> Node | None:
    """Ray's own record of the processes that it has started here; None where it has joined a cluster, or is down."""
    node = ray._private.worker._global_node
    return node if node is not None and node.is_head() else None


def children(pid: int) -> list[int]:
    """Process ids of what a process has started."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{entry.name}/stat", encoding="utf-8") as file:
                fields = file.read().rpartition(")")[2].split()
                if int(fields[1]) == pid and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


@contextlib.contextmanager
def only_needed_processes(logs: bool) -> Iterator[None]:
    """A Ray that is started in the block leaves out what serves nobody here, and takes a second and 300 MB.

    That is the server of a dashboard which is off, the monitor that scales a cluster of one machine, and what reads the
    output of workers, unless it is to be shown.

    Args:
        logs: it is to be shown.
    """
    from ray._private.node import Node

    names = ["start_api_server", "start_monitor", *([] if logs else ["start_log_monitor"])]
    kept = {name: getattr(Node, name) for name in names}
    for name in names:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, start in kept.items():
            setattr(Node, name, start)


def dead_process() -> str:
    """Returns which of the two processes that Ray cannot live without has ended: "" if none has, or none is ours."""
    node = _node()
    names = {"gcs_server": "control process (GCS)", "raylet": "node process (raylet)"}
    for kind, name in names.items():
        for info in node.all_processes.get(kind, []) if node is not None else []:
            if info.process.poll() is not None:
                return f"Ray's {name}"
    return ""


def end_processes() -> None:
    """Ends Ray's processes on this machine by SIGKILL, with all that they have started; returns when they are gone."""
    node = _node()
    if node is None:
        return
    mine = [info.process for infos in list(node.all_processes.values()) for info in list(infos)]
    workers = [child for process in mine for child in children(process.pid)]
    workers += [grandchild for worker in workers for grandchild in children(worker)]
    for process in mine:  # the raylet among them: its workers end by themselves then
        with contextlib.suppress(OSError):
            process.kill()
    for process in mine:
        with contextlib.suppress(Exception):
            process.wait(_PATIENCE_S)
    _wait_or_kill(workers)


def end_those_begun_since(before: Collection[int]) -> None:
    """Ends what a start of Ray that failed has left, with all that it has started.

    Args:
        before: process ids of this process' children as they were before the start.
    """
    mine = [pid for pid in children(os.getpid()) if pid not in before]
    below = [child for pid in mine for child in children(pid)]
    below += [grandchild for pid in below for grandchild in children(pid)]
    for pid in (*mine, *below):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    _wait_or_kill([*mine, *below])


def _wait_or_kill(pids: list[int]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while any(map(_lives, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in filter(_lives, pids):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def shut_down() -> None:
    """Shuts Ray down. Its processes, which SIGTERM does not reach, are not waited for one after the other."""
    node = _node()
    if node is not None:
        end = node.kill_all_processes

        def at_once(**_: object) -> None:
            end_processes()
            end(check_alive=False, allow_graceful=False)

        node.kill_all_processes = at_once
    ray.shutdown()


def leave(code: int, backstop_s: float = 5.0) -> None:
    """Ends this process, and Ray's here, without waiting for anything that may hang."""
    timer = threading.Timer(backstop_s, os._exit, [code])
    timer.daemon = True
    timer.start()
    end_processes()
    os._exit(code)
