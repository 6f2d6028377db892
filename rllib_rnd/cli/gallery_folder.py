"""The folder that ``rllib explain`` writes: it knows which files are its own, and never touches another."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_rnd.cli.surroundings import cannot_write
from rllib_rnd.errors import ConfigError

MARKER = "explain.json"
_MADE_BY = "rllib explain"


class GalleryFolder:
    """A folder with a gallery, new or in place of an earlier one.

    The marker lists every file before it is written, so that the folder is known even after a power cut.

    Args:
        path: of the folder; made if there is none.

    Raises:
        ConfigError: it holds files but no earlier gallery, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.root = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            there = sorted(entry.name for entry in path.iterdir())
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise cannot_write(f"--out {path}", error) from error
        earlier = read_marker(path)
        if there and earlier is None:
            more = f" and {len(there) - 1} more" if len(there) > 1 else ""
            raise ConfigError(
                f"--out {path}",
                f"the folder holds {there[0]!r}{more} and no earlier gallery",
                f"a new or empty folder, or one that `{_MADE_BY}` wrote",
            )
        self._earlier, self._files = set(earlier or ()), set[str]()
        self._mark({})

    def path(self, name: str) -> Path:
        """Where a file goes that someone else will write; its folder is made.

        Raises:
            ConfigError: a file of that name is there that no gallery wrote.
        """
        path = self.root / name
        if path.exists() and name not in self._earlier | self._files | {MARKER}:
            raise ConfigError(f"--out {self.root}", f"{name!r} is there and is of no gallery", "another folder")
        self._files.add(name)
        self._mark({})
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, data: bytes) -> None:
        """Writes a file.

        Raises:
            ConfigError: see `path`; or it cannot be written.
        """
        try:
            self.path(name).write_bytes(data)
        except OSError as error:
            raise cannot_write(f"--out {self.root}", error) from error

    def finish(self, report: Mapping[str, Any]) -> None:
        """Removes what an earlier gallery left and this one did not replace, and writes the report into the marker."""
        for name in sorted(self._earlier - self._files):
            path = self.root / name
            path.unlink(missing_ok=True)
            if path.parent != self.root and path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()
        self._earlier = set()
        self._mark(report)

    def _mark(self, report: Mapping[str, Any]) -> None:
        """Replaces the marker: it is there as a whole or not at all."""
        content = {"made_by": _MADE_BY, **report, "files": sorted(self._earlier | self._files)}
        new = self.root / f"{MARKER}.new"
        try:
            new.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            os.replace(new, self.root / MARKER)
        except OSError as error:
            raise cannot_write(f"--out {self.root}", error) from error


def read_marker(folder: Path) -> list[str] | None:
    """The files of a gallery, as its marker lists them: below the folder only; None if there is no marker."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if content["made_by"] != _MADE_BY:
            return None
        names = [str(name) for name in content["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    root = folder.resolve()
    return [name for name in names if (root / name).resolve().is_relative_to(root)]
