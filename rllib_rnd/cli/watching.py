"""What the driver watches while it trains: whether Ray lives, and whether one of its nodes is about to go."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import ray

from rllib_rnd.cli.ray_processes import dead_process

_ALIVE_EVERY_S, _DRAINING_EVERY_S = 1.0, 5.0
_KNOCK_S, _KNOCKS = 3.0, 3  # a cluster's control process is given up after so many tries, each so long at most


class Watch(threading.Thread):
    """Asks again and again, in a thread of its own, until `end`.

    Args:
        look: asks; True ends the watch.
        every_s: seconds between two times.
    """

    def __init__(self, look: Callable[[], bool], every_s: float) -> None:
        super().__init__(name=f"watch-{look.__name__}", daemon=True)
        self._look, self._every_s = look, every_s
        self._over = threading.Event()

    def run(self) -> None:
        """Looks; what goes wrong with that is no trouble of the training."""
        while not self._over.wait(self._every_s):
            with contextlib.suppress(Exception):  # of Ray's, whatever it is: the next look may do better
                if self._look():
                    return

    def end(self) -> None:
        """Ends it, without waiting."""
        self._over.set()


class RayLives:
    """Notices that Ray's control process is gone: the driver would wait for it, and then end without a word.

    Args:
        lost: told what is gone, once.
    """

    def __init__(self, lost: Callable[[str], object]) -> None:
        self._lost = lost
        self._failed = 0
        self._host, _, self._port = str(ray.get_runtime_context().gcs_address).rpartition(":")

    def look(self) -> bool:
        """Asks the kernel for a Ray of this machine, its port for a cluster's."""
        gone = dead_process()
        if not gone:
            self._failed = 0 if self._answers() else self._failed + 1
            if self._failed < _KNOCKS:
                return False
            gone = f"the control process (GCS) of the Ray cluster at {self._host}:{self._port}"
        self._lost(gone)
        return True

    def _answers(self) -> bool:
        try:
            socket.create_connection((self._host.strip("[]"), int(self._port)), timeout=_KNOCK_S).close()
        except OSError:
            return False
        return True


class Draining:
    """Notices nodes that are about to be taken away, of which Ray tells: pre-empted, or scaled down.

    Args:
        save: asks all trials to save.
        tell: prints one line.
    """

    def __init__(self, save: Callable[[], object], tell: Callable[[str], object]) -> None:
        self._save, self._tell = save, tell
        self._known: set[str] = set()

    def look(self) -> bool:
        """Asks Ray which nodes are draining, and has all trials saved for a new one."""
        draining: Mapping[str, int] = ray._private.state.state.get_draining_nodes()
        for node, deadline_ms in draining.items():
            if node not in self._known:
                self._tell(f"Ray node {node[:8]} is being taken away{_when(deadline_ms)}: saving after this iteration.")
                self._save()
        self._known = set(draining)
        return False


def _when(deadline_ms: int) -> str:
    if not deadline_ms:
        return ""
    at, left_s = datetime.fromtimestamp(deadline_ms / 1000), deadline_ms / 1000 - time.time()
    return f" at {at:%H:%M:%S} (in {max(0.0, left_s):.0f} s)"


@contextlib.contextmanager
def watching(
    lost: Callable[[str], object], save: Callable[[], object], tell: Callable[[str], object]
) -> Iterator[None]:
    """Watches Ray and its nodes meanwhile.

    Args:
        lost: told that Ray is gone.
        save: asked for when a node is about to go.
        tell: prints one line.
    """
    watches = [Watch(RayLives(lost).look, _ALIVE_EVERY_S), Watch(Draining(save, tell).look, _DRAINING_EVERY_S)]
    for watch in watches:
        watch.start()
    try:
        yield
    finally:
        for watch in watches:
            watch.end()
