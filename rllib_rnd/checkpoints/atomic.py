"""Folders that are there as a whole or not at all, whatever ends the process that writes or deletes them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from rllib_rnd.checkpoints.manifest import MANIFEST, sync
from rllib_rnd.checkpoints.names import REPLACED, UNFINISHED, hidden

# After that many seconds without a change one that another machine has left counts as left for good.
_ABANDONED_S = 24 * 3600
_under_way: set[Path] = set()


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of ``target`` when the block ends without an error.

    Until then ``target`` is as it was. Files in it that are none of a checkpoint's stay.

    Args:
        target: an absolute path; nothing, a folder, or a checkpoint to be replaced.

    Raises:
        OSError: it cannot be written; ``target`` is as it was then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    folder = hidden(target, "saving")
    _under_way.add(folder)
    try:
        folder.mkdir()
        yield folder
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_dir():
                sync(path)
        sync(folder)
        _put(folder, target)
        with contextlib.suppress(OSError):  # the new one is in its place
            sync(target.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # also to give back its space
        raise
    finally:
        _under_way.discard(folder)


def discard(folder: Path) -> None:
    """Deletes a checkpoint, which at no moment is there in part.

    Raises:
        OSError: it cannot be deleted, or not all of it: the next save in its parent folder tries again.
    """
    doomed = hidden(folder, "deleting")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def remove_leftovers(parent: Path) -> None:
    """Deletes what killed processes have left of folders that they were writing or deleting; what resists stays."""
    for path in parent.glob(".*"):
        found = UNFINISHED.match(path.name)
        if found and path not in _under_way and (found["what"] == "deleting" or not _may_live(found, path)):
            shutil.rmtree(path, ignore_errors=True)


def _may_live(name: re.Match[str], path: Path) -> bool:
    """Whether the process that made a folder may still be writing it."""
    try:
        if name["host"] != socket.gethostname():
            return time.time() - path.stat().st_mtime < _ABANDONED_S
        number = int(name["pid"])
        if number == os.getpid():
            return False
        os.kill(number, 0)
    except (ProcessLookupError, FileNotFoundError):
        return False
    except PermissionError:
        return True
    return True


def _put(folder: Path, target: Path) -> None:
    """Moves a whole folder to where it belongs."""
    try:
        folder.rename(target)  # nothing is there, or an empty folder
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EPERM, errno.EACCES) or not target.is_dir():
            raise
    if not is_checkpoint_folder(target):
        _move_into(folder, target)
        return
    old = target.with_name(target.name + REPLACED)
    shutil.rmtree(old, ignore_errors=True)
    own = {path.name for path in folder.iterdir()}
    target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise
    with contextlib.suppress(OSError):  # what cannot be moved stays where it is
        for path in _of_others(old, own):
            path.rename(target / path.name)
        shutil.rmtree(old, ignore_errors=True)


def is_checkpoint_folder(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of this package or of RLlib's, whole or not."""
    return (folder / MANIFEST).is_file() or (folder / "rllib_checkpoint.json").is_file()


#: Of checkpoints of any format at their root.
_KNOWN = {
    *(MANIFEST, "rllib_checkpoint.json", "algorithm_state.pkl", "class_and_ctor_args.pkl"),
    *("learner_group", "env_runner", "eval_env_runner", "env_to_module_connector", "module_to_env_connector"),
}


def _of_others(old: Path, own: set[str]) -> list[Path]:
    """What a user has put into a checkpoint's folder."""
    return [path for path in old.iterdir() if path.name not in own and path.name not in _KNOWN]


def _move_into(folder: Path, target: Path) -> None:
    """Moves a checkpoint's files among others, its manifest last."""
    entries = sorted(folder.iterdir(), key=lambda path: (path.name == MANIFEST, path.name))
    for path in entries:
        if path.is_dir() and (target / path.name).is_dir():
            shutil.rmtree(target / path.name)
        path.replace(target / path.name)
    sync(target)
    folder.rmdir()
