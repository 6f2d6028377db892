"""The end of a run that does not come to its own: what is kept, how it goes on, and a way out that nothing holds up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from rllib_rnd.checkpoints import checkpoints_in, iteration_of
from rllib_rnd.cli.ray_processes import leave
from rllib_rnd.cli.runtime import RUN_ERROR, say
from rllib_rnd.cli.stores import Stores
from rllib_rnd.cli.summary import relative, typed

_CLOSE_WITHIN_S = 8.0  # what may hang, as a display or a store


def what_is_left(folder: Path, resume: str, nothing: str = "no checkpoint had been written") -> list[str]:
    """Returns the lines that say what is kept of a run that was cut off, and the command that continues it."""
    kept = checkpoints_in(folder) if folder.is_dir() else []
    if not kept:
        trained = any(path.stat().st_size for path in folder.glob("*/result.json"))
        what = f"nothing but the results so far: {nothing}" if trained else "nothing: no iteration had ended"
        return [f"kept         {what}", f"again        {typed(resume)}"]
    iteration = iteration_of(kept[-1])  # its result may not have been logged any more
    return [f"kept         {relative(str(kept[-1]))} (iteration {iteration})", f"resume       {typed(resume)}"]


def stopped_now(folder: Path, resume: str, late: bool = False) -> str:
    """Returns what is said of a run that a second signal ended, or the end of the time after SIGTERM (``late``)."""
    why = "The iteration did not end in time after SIGTERM: what it did is lost." if late else "Stopped now;"
    why += "" if late else " nothing more was saved."
    return "\n".join(["\n" + why, *what_is_left(folder, resume)])


class Ending:
    """Ends the whole command from any thread, in seconds, whatever the main thread waits for.

    Args:
        folder: of the run.
        resume: the command that continues it.
        close: takes the display from the terminal.
        stores: what the run is logged to.
    """

    def __init__(self, folder: Path, resume: str, close: Callable[[], object], stores: Stores) -> None:
        self._folder, self._resume, self._close, self._stores = folder, resume, close, stores
        self._once = threading.Lock()

    def lost(self, what: str) -> None:
        """Ray is gone: nothing can be trained or saved any more."""
        lines = [f"\nrllib: {what} has ended; training cannot go on.", *what_is_left(self._folder, self._resume)]
        self._end("\n".join(lines), RUN_ERROR, "FAILED")

    def now(self, code: int) -> None:
        """The time after SIGTERM is over, or there was a third signal."""
        self._end(stopped_now(self._folder, self._resume), code, "KILLED")

    def _end(self, text: str, code: int, status: str) -> None:
        if not self._once.acquire(blocking=False):
            return
        closing = threading.Thread(target=self._say_and_close, args=(text, status), daemon=True)
        closing.start()
        closing.join(_CLOSE_WITHIN_S if code == RUN_ERROR else 1.0)
        leave(code)

    def _say_and_close(self, text: str, status: str) -> None:
        with contextlib.suppress(Exception):  # the display may be in the middle of anything
            self._close()
        say(text)
        self._stores.close(status, status, patience_s=3.0)
