"""How an algorithm's checkpoint gets to its place: a folder of this machine, a store, or the trial's own folder."""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs
from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import StorageContext
from ray.tune import Checkpoint

from rllib_rnd.checkpoints.atomic import remove_leftovers, whole_folder
from rllib_rnd.checkpoints.remote import is_remote, open_store, upload

logger = logging.getLogger(__name__)

#: Writes a whole checkpoint, with its manifest, into an empty folder.
Write = Callable[[Path], None]


def save_at(path: str | Path | None, write: Write, system: pyarrow.fs.FileSystem | None = None) -> str:
    """Writes a checkpoint to a folder or an address, as a whole or not at all.

    Args:
        path: None makes a temporary folder.
        write: see `Write`.
        system: the store that ``path`` is in; None: this machine's folders, or that of the address.

    Returns:
        Where it is.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    if path is None:
        path = Path(tempfile.mkdtemp(prefix="rllib_checkpoint_"))
    where = str(path)
    if system is None and is_remote(where):
        system, inside = open_store(where)
    elif system is not None:
        inside = where
    if system is None or isinstance(system, pyarrow.fs.LocalFileSystem):
        target = Path(where.removeprefix("file://")).expanduser().resolve()
        with whole_folder(target) as folder:
            write(folder)
        return str(target)
    with _staged(write) as folder:
        upload(folder, system, inside)
    return where


@contextlib.contextmanager
def _staged(write: Write) -> Iterator[Path]:
    """A checkpoint in a temporary folder of this machine."""
    parent = Path(tempfile.mkdtemp(prefix="rllib_saving_"))
    try:
        folder = parent / "checkpoint"
        folder.mkdir()
        write(folder)
        yield folder
    finally:
        shutil.rmtree(parent, ignore_errors=True)


class TrialSaver:
    """Saves a trial of Ray Tune into its folder of the storage.

    Tune itself copies a checkpoint there file by file, and ends the trial where that fails.

    Args:
        storage: Tune's, of the trial.

    Attributes:
        problem: why the newest save failed; "" if it did not.
    """

    def __init__(self, storage: StorageContext) -> None:
        self._storage = storage
        self._reached = False
        self.problem = ""

    def save(self, write: Write, metrics: dict[str, Any]) -> _TrainingResult:
        """Saves, as Tune's ``Trainable.save`` would.

        Where the storage cannot be written to (full, read-only, gone for a while), nothing is saved and `problem` says
        why: the trial goes on, and what was saved before is as it was.

        Args:
            write: see `Write`.
            metrics: of the newest iteration.

        Returns:
            What Tune is told: the checkpoint, or None, of which Tune takes no notice.

        Raises:
            RuntimeError: the storage has never been reached from this machine: nothing of the trial would be saved.
        """
        storage, self.problem = self._storage, ""
        before, checkpoint = storage.current_checkpoint_index, None
        try:
            self._check_storage()
            storage._update_checkpoint_index(metrics)
            if isinstance(storage.storage_filesystem, pyarrow.fs.LocalFileSystem):
                for trial in Path(storage.experiment_fs_path).iterdir():  # each resume has a trial folder of its own
                    if trial.is_dir():
                        remove_leftovers(trial)
            save_at(storage.checkpoint_fs_path, write, storage.storage_filesystem)
            checkpoint = Checkpoint(storage.checkpoint_fs_path, storage.storage_filesystem)
            storage.persist_artifacts(force=storage.sync_config.sync_artifacts_on_checkpoint)
        except OSError as error:
            storage.current_checkpoint_index, checkpoint = before, None
            self.problem = error.strerror or str(error)
            logger.warning("The checkpoint was not saved (%s); training goes on.", error)
        return _TrainingResult(checkpoint=checkpoint, metrics=metrics)

    def _check_storage(self) -> None:
        """Looks for the mark that Tune has put into the storage; one that was deleted is made again.

        Raises:
            FileNotFoundError: the folder of the run is gone, as where a share is not mounted any more.
            RuntimeError: the storage has never been reached from this machine.
        """
        storage = self._storage
        try:
            storage._check_validation_file()
        except RuntimeError as error:
            home = str(storage.experiment_fs_path)
            if storage.storage_filesystem.get_file_info(home).type == pyarrow.fs.FileType.Directory:
                storage._create_validation_file()
            elif self._reached:
                raise FileNotFoundError(errno.ENOENT, f"the run's folder {home} is gone", home) from error
            else:
                here = f"the machine {socket.gethostname()} that the trial is on"
                wanted = "use a folder that all machines share, or a store (s3://...)"
                raise RuntimeError(f"--storage: {home} cannot be reached from {here}; {wanted}") from error
        self._reached = True
