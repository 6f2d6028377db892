"""Where MLflow keeps its runs, the names and texts that it takes, and one process at a time that makes a new store."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from rllib_rnd.redaction import without_password

_MAX_KEY_LENGTH = 250  # as MLflow has it
_MAX_VALUE_LENGTH = 500  # MLflow's databases limit a parameter's text
_LONGEST_CREATION_S = 60.0
_IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def impatience() -> dict[str, str]:
    """Returns MLflow's variables with which a server that is down holds nobody up for minutes; not what a user set."""
    return {name: value for name, value in _IMPATIENT.items() if name not in os.environ}


def store_uri(storage: str) -> str | None:
    """Returns where runs are logged: ``MLFLOW_TRACKING_URI``, or a database in the storage folder.

    None if there is no server and the storage is not a local folder (a database needs a file system).
    """
    server = os.environ.get("MLFLOW_TRACKING_URI")
    if server:
        return server
    if "://" in storage:
        return None
    return database_uri(Path(storage).expanduser().resolve() / "mlruns.db")


def database_uri(path: Path) -> str | None:
    """Returns the URI of a SQLite file; None if SQLAlchemy (before 2.1) has none for a path with such characters."""
    try:
        from sqlalchemy import URL
    except ImportError:  # no MLflow either, which the logger says
        return f"sqlite:///{path}"
    # MLflow makes the parent folder of what follows `sqlite:///` as it is written, %3F and all; with the driver named
    # it leaves that alone.
    escaped = URL.create("sqlite+pysqlite", database=str(path)).render_as_string(hide_password=False)
    return next((uri for uri in (f"sqlite:///{path}", escaped) if database_path(uri) == path), None)


def database_path(uri: str) -> Path | None:
    """Returns the SQLite file that a URI names; None if it names none."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if not uri.startswith("sqlite"):
        return None
    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):
        return None
    return Path(url.database) if url.database and not url.query else None


def charts_link(uri: str, experiment_id: str) -> str:
    """Returns the page with the charts of an experiment's runs; MLflow's own first page is of another trade.

    Args:
        uri: of the store; a local one is looked at with ``mlflow ui`` on its usual port.
        experiment_id: in the store.
    """
    uri = without_password(uri).replace("***@", "")  # a browser asks for it
    server = uri.rstrip("/") if uri.startswith(("http://", "https://")) else "http://localhost:5000"
    return f"{server}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART"


@contextlib.contextmanager
def alone(uri: str) -> Iterator[None]:
    """Keeps other runs from a local store meanwhile: two that make its tables at once leave one of them without.

    A file system without locks, or a process that holds the lock for a minute, is no reason to wait.
    """
    path = database_path(uri)
    if path is None:
        yield
        return
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=_LONGEST_CREATION_S)
    with contextlib.suppress(Timeout, OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def valid_keys(values: Mapping[str, object]) -> dict[str, object]:
    """Returns the values under names that MLflow takes, each name once."""
    found: dict[str, object] = {}
    for name, value in values.items():
        key, number = valid_key(name), 1
        while key in found:
            number += 1
            key = f"{valid_key(name)[: _MAX_KEY_LENGTH - 8]}_{number}"
        found[key] = value
    return found


def valid_key(name: str) -> str:
    """Returns the name of a parameter, metric or tag with an underscore for what MLflow does not take.

    It takes letters, digits and ``_ - . : /`` and spaces, and no name that reads as another path (``a//b``, ``../a``).
    """
    parts = re.sub(r"[^/\w.\- :]", "_", valid_text(name)).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))[:_MAX_KEY_LENGTH].rstrip("/") or "_"


def valid_text(value: str, limit: int = _MAX_VALUE_LENGTH) -> str:
    """Returns a text that a database stores: of limited length, and without the halves of broken characters."""
    return value.encode("utf-8", "replace").decode("utf-8")[:limit]
