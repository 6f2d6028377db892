"""Checkpoints in stores that know no rename (S3, GCS, whatever fsspec reaches): files first, their manifest last."""

from __future__ import annotations

import atexit
import contextlib
import posixpath
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pyarrow
import pyarrow.fs
from ray.tune import Checkpoint

from rllib_rnd.checkpoints.manifest import MANIFEST, Manifest, verify
from rllib_rnd.checkpoints.names import order
from rllib_rnd.errors import ConfigError


def is_remote(path: str | Path) -> bool:
    """Whether a path is an address, as ``s3://bucket/run``; ``file://`` is none."""
    return re.match(r"^[A-Za-z][A-Za-z0-9+.-]*://", str(path)) is not None and not str(path).startswith("file://")


def open_store(address: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The store of an address and the path in it: one of pyarrow's own, or any that fsspec knows.

    Raises:
        ConfigError: nobody knows it, or it cannot be reached.
    """
    try:
        return pyarrow.fs.FileSystem.from_uri(address)  # type: ignore[no-any-return]
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        pass
    except OSError as error:
        raise ConfigError(f"checkpoint {address}", f"its store cannot be reached ({error})") from error
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ValueError, ImportError, OSError) as error:
        raise ConfigError(f"checkpoint {address}", f"its store is not known here ({error})") from error
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(system)), path


def upload(folder: Path, system: pyarrow.fs.FileSystem, path: str) -> None:
    """Copies a whole checkpoint to a store. One that is cut short there has no manifest, and so is none.

    Args:
        folder: with its manifest.
        system: the store.
        path: in it; a checkpoint there is replaced, and is none while this runs.

    Raises:
        OSError: the store does not take it.
    """
    last = posixpath.join(path, MANIFEST)
    if system.get_file_info(last).type != pyarrow.fs.FileType.NotFound:
        system.delete_file(last)
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST):
        _copy(file, system, posixpath.join(path, file.relative_to(folder).as_posix()))
    _copy(folder / MANIFEST, system, last)


def _copy(file: Path, system: pyarrow.fs.FileSystem, path: str) -> None:
    system.create_dir(posixpath.dirname(path), recursive=True)
    with file.open("rb") as source, system.open_output_stream(path) as sink:
        shutil.copyfileobj(source, sink, 16 * 1024 * 1024)


def checkpoints_at(system: pyarrow.fs.FileSystem, path: str) -> dict[str, str]:
    """Path -> what is wrong with it ("": nothing) of the checkpoints below a path of a store, oldest first.

    Files are counted and weighed, not read.
    """
    selector = pyarrow.fs.FileSelector(path, recursive=True, allow_not_found=True)
    sizes = {info.path: info.size for info in system.get_file_info(selector) if info.is_file}
    marks = (MANIFEST, "rllib_checkpoint.json")
    folders = {posixpath.dirname(name) for name in sizes if posixpath.basename(name) in marks}
    return {name: _missing_at(system, name, sizes) for name in sorted(folders, key=lambda n: order(PurePosixPath(n)))}


def _missing_at(system: pyarrow.fs.FileSystem, folder: str, sizes: dict[str, int]) -> str:
    name = posixpath.join(folder, MANIFEST)
    if name not in sizes:
        return f"has no {MANIFEST}: it was cut short, or is of an older format"
    try:
        with system.open_input_stream(name) as stream:
            manifest = Manifest.from_json(stream.read())
    except (OSError, ValueError) as error:
        return f"its {MANIFEST} cannot be read ({error})"
    wrong = [f for f, entry in manifest.files.items() if sizes.get(posixpath.join(folder, f)) != entry.size]
    return f"{wrong[0]} is missing or cut short" if wrong else ""


def download(system: pyarrow.fs.FileSystem, path: str) -> Path:
    """Brings a checkpoint to a temporary folder of this machine, which goes when this process ends.

    Raises:
        OSError: it cannot be read.
    """
    folder = Path(tempfile.mkdtemp(prefix="rllib_checkpoint_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return _brought(system, path, folder)


def _brought(system: pyarrow.fs.FileSystem, path: str, parent: Path) -> Path:
    """A copy of a checkpoint in a folder of this machine."""
    target = parent / PurePosixPath(path).name
    target.mkdir()  # pyarrow makes none for the files of stores that have no folders
    pyarrow.fs.copy_files(path, str(target), source_filesystem=system)
    return target


@contextlib.contextmanager
def local_folder(path: str | Path | Checkpoint, system: pyarrow.fs.FileSystem | None = None) -> Iterator[Path]:
    """A checkpoint's folder on this machine: itself, or a copy that goes with the block.

    Args:
        path: a folder, an address, or one of Tune's checkpoints.
        system: the store that ``path`` is in; None: this machine's folders, or that of the address.

    Raises:
        ConfigError: there is none, or the store cannot be reached.
    """
    if isinstance(path, Checkpoint):
        path, system = path.path, path.filesystem
    where = str(path)
    if system is None and is_remote(where):
        system, where = open_store(where)
    if system is None or isinstance(system, pyarrow.fs.LocalFileSystem):
        folder = Path(where.removeprefix("file://")).expanduser().resolve()
        if not folder.is_dir():
            raise ConfigError(f"checkpoint {path}", "there is no such folder")
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="rllib_checkpoint_") as parent:
        try:
            target = _brought(system, where, Path(parent))
        except OSError as error:
            raise ConfigError(f"checkpoint {path}", f"cannot be read ({error})") from error
        yield target


def fetch(address: str, say: Callable[[str], object] = str) -> Path:
    """Brings the newest valid checkpoint at an address here: of a checkpoint itself, a trial or an experiment.

    Args:
        address: ``s3://bucket/run`` and the like.
        say: is told which newer ones are passed over, and why.

    Returns:
        A folder on this machine, which goes when this process ends.

    Raises:
        ConfigError: there is none, or the store cannot be reached.
    """
    system, path = open_store(address)
    try:
        for name, missing in reversed(checkpoints_at(system, path).items()):
            folder = None if missing else download(system, name)
            wrong = [missing] if folder is None else verify(folder)
            if folder is not None and not wrong:
                return folder
            say(f"skipped {name}: {wrong[0]}")
    except OSError as error:
        raise ConfigError(f"checkpoint {address}", f"cannot be read ({error})") from error
    raise ConfigError(f"checkpoint {address}", f"holds no complete checkpoint (a folder with {MANIFEST})")
