"""Files that grow by whole pieces: what a disk does not take is kept and written when it does."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pyarrow.fs
from ray.tune.experiment import Trial

_MAX_KEPT = 2**28  # bytes


class PatientFile:
    """A file to which pieces are added at its end, in their order, each once and as a whole.

    A piece that cannot be written (a disk that is full, read-only or away) leaves nothing of itself in the file, and is
    written before the next one. Beyond 256 MiB the oldest are forgotten.

    Args:
        path: of the file; its folder is made.
        tell: is handed the reason, once, until all is written again; "" then.
        lines: pieces are whole lines of text, and what a kill has cut short stays a line of its own.
    """

    def __init__(self, path: Path, tell: Callable[[str], None], lines: bool = True) -> None:
        self.path, self._tell, self._lines = path, tell, lines
        self._kept: deque[bytes] = deque()
        self._troubled = False

    @property
    def kept(self) -> int:
        """How many pieces are still to be written."""
        return len(self._kept)

    def append(self, piece: bytes = b"") -> None:
        """Adds a piece, if any, behind those that are kept."""
        if piece:
            self._kept.append(piece)
            while len(self._kept) > 1 and sum(map(len, self._kept)) > _MAX_KEPT:
                self._kept.popleft()
        if not self._kept:
            return
        try:
            self._write(b"".join(self._kept))
        except OSError as error:
            if not self._troubled:
                self._troubled = True
                self._tell(error.strerror or str(error))
            return
        self._kept.clear()
        if self._troubled:
            self._troubled = False
            self._tell("")

    def _write(self, data: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size, written = os.fstat(file).st_size, 0
            if self._lines and size and os.pread(file, 1, size - 1) != b"\n":
                data = b"\n" + data
            try:
                while written < len(data):
                    written += os.write(file, data[written:])
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(file, size)
                raise
        finally:
            os.close(file)


def folder_of(trial: Trial) -> Path:
    """Where files of results are written: the trial's folder in the storage, or what Tune copies to a remote one."""
    storage = getattr(trial, "storage", None)
    if storage is not None and isinstance(storage.storage_filesystem, pyarrow.fs.LocalFileSystem):
        return Path(storage.trial_fs_path)
    return Path(trial.local_path)
