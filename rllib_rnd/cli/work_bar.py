"""How far a long command is: a bar with the time left, and lines above it."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rllib_rnd.cli.runtime import console, say


class WorkBar:
    """A progress bar with the time left; in a pipe, the lines alone."""

    def __init__(self) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %")
        self._progress = Progress(
            *columns,
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console(),
            transient=True,
            disable=not sys.stdout.isatty(),
        )
        self._task = self._progress.add_task("starting", total=None)

    def __enter__(self) -> WorkBar:
        """Shows it."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes it."""
        self._progress.stop()

    def plan(self, units: float) -> None:
        """Says how much there is to do in all."""
        self._progress.update(self._task, total=units)

    def begin(self, what: str) -> None:
        """Says what is being done."""
        self._progress.update(self._task, description=what)

    def done(self, units: float) -> None:
        """Moves on."""
        self._progress.advance(self._task, units)

    def say(self, line: str) -> None:
        """Prints a line above it."""
        if self._progress.disable:
            say(line)
        else:
            self._progress.console.print(line, markup=False)
