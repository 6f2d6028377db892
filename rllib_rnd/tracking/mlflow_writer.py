"""Writes to a store, one entry after the other, in a thread: a store that hangs never holds the training up."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rllib_rnd.redaction import without_password

_MAX_KEPT = 10_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0


@dataclass(frozen=True)
class Job:
    """One thing to write.

    Attributes:
        run: writes it, or raises.
        spare: may be forgotten if very many wait (a row of metrics; not the start or the end of a run).
    """

    run: Callable[[], None]
    spare: bool = False


class StoreWriter:
    """Runs jobs in their order in a thread. One that fails is kept and tried again, ever more slowly, until it works.

    Args:
        tell: prints one line to the user.
        is_refusal: whether an error says that the job is wrong and not the store; the job is dropped then.
        pause_s: before the second try; doubles up to half a minute.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        is_refusal: Callable[[Exception], bool],
        pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        self._tell = tell
        self._is_refusal = is_refusal
        self._first_pause_s = pause_s
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()  # somebody waits for the end
        self._told_refusal = False
        self.trouble = ""  # what the store says while it does not answer

    def put(self, job: Job) -> None:
        """Adds a job behind the others."""
        with self._changed:
            self._jobs.append(job)
            if len(self._jobs) > _MAX_KEPT:
                # Not the first one, which is being tried.
                oldest = next((i for i, kept in enumerate(self._jobs) if kept.spare and i > 0), None)
                if oldest is not None:
                    del self._jobs[oldest]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def drain(self, patience_s: float) -> int:
        """Waits until all is written, at most so long.

        Returns:
            How many jobs are left.
        """
        with self._changed:
            self._hurry.set()
            self._changed.wait_for(lambda: not self._jobs, patience_s)
            self._hurry.clear()
            return len(self._jobs)

    def _work(self) -> None:
        pause_s = self._first_pause_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._jobs))
                job = self._jobs[0]
            try:
                job.run()
            except Exception as error:  # any fault of the store: the run matters more than its log
                if not self._is_refusal(error):
                    self._fail(error)
                    if self._hurry.is_set():
                        time.sleep(self._first_pause_s)
                    else:
                        self._hurry.wait(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                    continue
                self._refuse(error)
            pause_s = self._first_pause_s
            with self._changed:
                self._jobs.popleft()
                kept, recovered, self.trouble = len(self._jobs), bool(self.trouble), ""
                self._changed.notify_all()
            if recovered:
                self._tell(f"MLflow store answers again; {kept + 1} kept entries are written.")

    def _fail(self, error: Exception) -> None:
        first, self.trouble = not self.trouble, reason_of(error)
        if first:
            self._tell(
                f"MLflow store does not answer ({self.trouble}); entries are kept until it does, training goes on."
            )

    def _refuse(self, error: Exception) -> None:
        if not self._told_refusal:
            self._told_refusal = True
            self._tell(f"MLflow refuses an entry ({reason_of(error)}); the others and the training go on.")


def reason_of(error: BaseException) -> str:
    """Returns the line of an error that names its cause, shortened."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # A database's own words, "(sqlite3.OperationalError) database is locked", stand below SQLAlchemy's.
    own = [line.partition("Error) ")[2] for line in lines if "Error) " in line]
    line = (own or lines)[0].strip()
    # A client's, "API request to ... failed with exception HTTPConnectionPool(...): Max retries exceeded ...".
    server = re.search(r"HTTPS?ConnectionPool\(host='([^']*)', port=(\d+)\)", line)
    if server:
        cause = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(Read timed out|timed out)", line)
        line = f"{server[1]}:{server[2]}: {(cause[1] or cause[2]) if cause else 'no connection'}"
    return without_password(line)[:160]  # before it is cut, perhaps in the middle of a password
