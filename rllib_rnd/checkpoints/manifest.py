"""What a checkpoint says of itself: its manifest, written last, which every file of it is held against.

A folder without one is no checkpoint of this package, or one that was cut short.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rllib_rnd.errors import ConfigError

#: At the root of a checkpoint.
MANIFEST = "manifest.json"
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)  # of file systems that know no such thing
# Whose versions decide whether a checkpoint can be read.
_PACKAGES = ("rllib_rnd", "ray", "torch", "numpy", "gymnasium", "safetensors")


@dataclass(frozen=True)
class FileEntry:
    """One file of a checkpoint.

    Attributes:
        size: in bytes.
        sha256: of its content, in hex.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself.

    Attributes:
        format: number of its layout, see `CHECKPOINT_FORMAT`.
        algorithm: the class, ``module:Class``.
        iteration: training iterations done.
        agent_steps: of all environments, since the start of the run.
        created: when, ISO 8601 in UTC.
        versions: of Python and of the packages that matter, as they were then.
        files: by their path in the folder, with ``/``.
    """

    format: int
    algorithm: str
    iteration: int
    agent_steps: int
    created: str
    versions: Mapping[str, str]
    files: Mapping[str, FileEntry]

    def to_json(self) -> str:
        """As it is written."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> Manifest:
        """Inverse of `to_json`.

        Raises:
            ValueError: it is none.
        """
        try:
            data: dict[str, Any] = json.loads(text)
            files = {str(name): FileEntry(int(e["size"]), str(e["sha256"])) for name, e in data["files"].items()}
            return Manifest(
                format=int(data["format"]),
                algorithm=str(data["algorithm"]),
                iteration=int(data["iteration"]),
                agent_steps=int(data["agent_steps"]),
                created=str(data["created"]),
                versions={str(name): str(version) for name, version in data["versions"].items()},
                files=files,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no manifest ({error!r})") from error


def seal(folder: Path, format_: int, algorithm: str, iteration: int, agent_steps: int) -> Manifest:
    """Makes a checkpoint of a folder in which all files are written: they are on the disk, then comes the manifest.

    Raises:
        OSError: the disk does not take it.
    """
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        sync(path)
        files[path.relative_to(folder).as_posix()] = FileEntry(path.stat().st_size, sha256(path))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = Manifest(format_, algorithm, iteration, agent_steps, now, installed_versions(), files)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    sync(folder / MANIFEST)
    return manifest


def sync(path: Path) -> None:
    """Has the kernel write a file, or a folder's list of names, to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(number)


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a checkpoint depends on, as they are here."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a checkout
            continue
    return found


def sha256(path: Path) -> str:
    """The hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: str | Path) -> Manifest:
    """What a checkpoint says of itself.

    Raises:
        ConfigError: it has no manifest, or one that cannot be read.
    """
    path = Path(folder) / MANIFEST
    try:
        return Manifest.from_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(
            f"checkpoint {folder}", f"has no {MANIFEST}: it was cut short, or is of an older format"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"checkpoint {folder}", f"its {MANIFEST} cannot be read ({error})") from error


def problems(folder: Path, manifest: Manifest, hashes: bool) -> list[str]:
    """What of a folder is not as its manifest says.

    Args:
        folder: the checkpoint.
        manifest: its own.
        hashes: compare contents too, not sizes alone.
    """
    found = []
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != entry.size:
            found.append(f"{name} has {path.stat().st_size:,} bytes instead of {entry.size:,}")
        elif hashes and sha256(path) != entry.sha256:
            found.append(f"{name} is damaged: its content is not what was written")
    return found


def verify(folder: str | Path) -> list[str]:
    """What is wrong with a checkpoint of this format, file by file; empty: nothing. All of it is read."""
    try:
        manifest = read_manifest(folder)
        return problems(Path(folder), manifest, hashes=True)
    except ConfigError as error:
        return [error.problem]
    except OSError as error:
        return [f"it cannot be read ({error})"]
