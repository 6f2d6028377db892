"""What a run finds around it: a folder for Ray's sockets, a home, a storage that can be written; what to do if not."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from rllib_rnd.errors import ConfigError
from rllib_rnd.redaction import has_password

# Ray adds this to its folder, with the number of a process; the kernel takes 107 bytes.
_LONGEST_SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.99"
_MAX_SOCKET_PATH = 107

_ADVICE = {
    errno.ENOSPC: "the disk is full; make room there or write elsewhere",
    errno.EDQUOT: "your quota is used up; make room there or write elsewhere",
    errno.EROFS: "that is read-only; write elsewhere",
    errno.EACCES: "this user may not do that; write elsewhere or change the permissions",
    errno.EPERM: "this user may not do that; write elsewhere or change the permissions",
    errno.ENAMETOOLONG: "the name is too long; take a shorter one",
    errno.ENOTDIR: "a part of the path is a file, not a folder; write elsewhere",
    errno.EEXIST: "that is a file, not a folder; write elsewhere",
    errno.EISDIR: "that is a folder, not a file; name a file",
    errno.ENOENT: "there is no such folder; make it first or write elsewhere",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EIO: "the disk or the network share fails; write elsewhere",
    errno.ESTALE: "the network share is gone; mount it again",
}


def advice(error: BaseException, place: bool = True) -> str | None:
    """Returns what to do about an error of the operating system, in one sentence; None if that is not known.

    Args:
        error: the error.
        place: begin with the file.
    """
    if isinstance(error, UnicodeEncodeError):
        return f"this locale ({error.encoding}) lacks a character of a name; set LC_ALL=C.UTF-8 or take another name"
    if not isinstance(error, OSError) or error.errno not in _ADVICE:
        return None
    where = f"{_short(str(error.filename))}: " if place and error.filename else ""
    return f"{where}{os.strerror(error.errno)}; {_ADVICE[error.errno]}"


def cannot_write(option: str, error: OSError) -> ConfigError:
    """Returns the error for a file that a command was to write, with what to do about it.

    Args:
        option: and its value, as given: ``--out a.mp4``.
        error: of the operating system.
    """
    return ConfigError(option, f"cannot be written: {advice(error, place=False) or error}")


def _short(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:50]}...{path[-40:]}"


def advice_in(text: str) -> str | None:
    """Returns what to do about an error of another process, of which there is only the text."""
    for number, words in _ADVICE.items():
        if f"[Errno {number}]" in text or f"[errno {number}]" in text:
            return words
    return None


def check_storage(storage: str, folders: Iterable[str]) -> None:
    """Makes sure that a run can be written before anything is started.

    Raises:
        ConfigError: the storage, or a folder in it, cannot be made or written.
    """
    if has_password(storage):
        allowed = (
            "a URI without it; s3:// and gs:// read AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS and the like"
        )
        raise ConfigError("--storage", "a password in it would be written into the files of the run", allowed)
    if "://" in storage:
        return
    try:
        root = Path(storage)
        root.mkdir(parents=True, exist_ok=True)
        longest = os.pathconf(root, "PC_NAME_MAX")
        for name in folders:
            for part in Path(name).parts:
                if len(os.fsencode(part)) > longest:
                    raise ConfigError("--name", f"{part[:20]!r}... has {len(part)} characters", f"at most {longest}")
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"0" * 4096)
            file.flush()
    except OSError as error:
        raise ConfigError(f"--storage {_short(storage)}", advice(error, place=False) or str(error)) from error


def ray_folder() -> str | None:
    """Returns the folder that Ray's sockets and logs must be told to use; None if its own choice works.

    Raises:
        ConfigError: no folder is short enough and can be written.
    """
    ours = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    fallbacks = ("/tmp", "/var/tmp", "/dev/shm")
    user = f"ray_{os.getuid()}"
    for number, folder in enumerate([f"{ours}/ray", *(f"{f}/{name}" for f in fallbacks for name in ("ray", user))]):
        if len(os.fsencode(folder + _LONGEST_SOCKET)) <= _MAX_SOCKET_PATH and _can_write(Path(folder)):
            return folder if number else None
    most = _MAX_SOCKET_PATH - len(_LONGEST_SOCKET) - len("/ray")
    raise ConfigError(
        "TMPDIR", f"{ours!r} cannot hold Ray's sockets", f"a writable folder of at most {most} characters"
    )


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def nothing_in_the_home() -> Iterator[None]:
    """Has algorithms that are built meanwhile keep their folder of results for no longer than this, and not at home."""
    from ray.tune.trainable import trainable

    before = trainable.DEFAULT_STORAGE_PATH
    with tempfile.TemporaryDirectory(prefix="rllib_", ignore_cleanup_errors=True) as folder:
        trainable.DEFAULT_STORAGE_PATH = folder
        try:
            yield
        finally:
            trainable.DEFAULT_STORAGE_PATH = before


def prepare_token() -> None:
    """Gives Ray a secret of this process where it cannot keep one in the user's home."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        token = Path.home() / ".ray" / "auth_token"
        if (token.is_file() and os.access(token, os.R_OK)) or _can_write(token.parent):
            return
    except (OSError, RuntimeError):  # there is no home
        pass
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
