"""Names of folders: in which order checkpoints were written, and which folders are none yet, or none any more."""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

T = TypeVar("T")

#: Ends the name of a folder that is about to be replaced. It is a whole checkpoint, older than its successor.
REPLACED = ".replaced"
# .NAME.saving-HOST-PID-RANDOM: no finder takes such a folder for a checkpoint.
UNFINISHED = re.compile(r"^\..+\.(?P<what>saving|deleting)-(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{8}$")


def is_unfinished(path: PurePath) -> bool:
    """Whether a path lies in a folder that is being written or deleted, or was when its process ended."""
    return any(UNFINISHED.match(part) for part in path.parts)


def hidden(target: Path, what: str) -> Path:
    """A new name beside a folder, which no finder takes for a checkpoint; ``what`` is saving or deleting."""
    return target.with_name(f".{target.name}.{what}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def order(folder: PurePath) -> tuple[str, int, bool, str]:
    """Sorts by the time in the trial folder's name, then by the checkpoint's number; copying keeps both."""
    name = folder.name.removesuffix(REPLACED)
    number = re.search(r"(\d+)$", name)
    return stamp(folder.parent), int(number.group()) if number else -1, name == folder.name, str(folder)


def stamp(trial_folder: PurePath) -> str:
    """The time in a trial folder's name; "" if there is none."""
    found = re.search(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}$", trial_folder.name)
    return found.group() if found else ""


def by_progress(parts: Sequence[T], begins_at: Callable[[T], int | float | None]) -> list[T]:
    """Parts of a run, which follow on each other, in that order although a clock went back between them.

    A part goes on from within an earlier one, and so begins farther on than that.

    Args:
        parts: as the times of their starts have them.
        begins_at: the first iteration that there is something of in a part; None where there is nothing.

    Returns:
        As they are if that can be, else by where they begin, those without a beginning at the end.
    """
    begins = [begins_at(part) for part in parts]
    known = [begin for begin in begins if begin is not None]
    if known == sorted(known):
        return list(parts)
    order_of = sorted(range(len(parts)), key=lambda i: (begins[i] is None, begins[i] or 0, i))
    return [parts[i] for i in order_of]
