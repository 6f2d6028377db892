"""What an MLflow store holds: read from a database file without MLflow, which is fast and touches nothing, or from a
server through MLflow's client."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rllib_rnd.errors import ConfigError
from rllib_rnd.ray_logs import environment
from rllib_rnd.redaction import without_password
from rllib_rnd.tracking.mlflow_store import database_path, impatience
from rllib_rnd.tracking.mlflow_writer import reason_of

_PAGE = 1000
_HEADER = b"SQLite format 3\x00"
_SUFFIXES = (".db", ".sqlite", ".sqlite3")
# The tables and columns that are read; they have been the same from MLflow 1.11 to 3.17.
_COLUMNS = {
    "experiments": {"experiment_id", "name", "lifecycle_stage"},
    "runs": {"run_uuid", "name", "status", "start_time", "experiment_id", "lifecycle_stage"},
    "params": {"run_uuid", "key", "value"},
    "tags": {"run_uuid", "key", "value"},
    "latest_metrics": {"run_uuid", "key"},
    "metrics": {"run_uuid", "key", "value", "timestamp", "step", "is_nan"},
}

#: Key, value, time of writing in ms, step.
Entry = tuple[str, float, int, int]


@dataclass(frozen=True)
class StoredRun:
    """A run as MLflow keeps it.

    Attributes:
        run_id, experiment, name, status: as MLflow has them.
        started: ms since 1970.
        params, tags: texts by key.
        metrics: keys of its metrics.
        history: reads all entries of some metrics, in any order.
    """

    run_id: str
    experiment: str
    name: str
    status: str
    started: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: frozenset[str]
    history: Callable[[Collection[str]], Iterable[Entry]] = field(repr=False)


def is_store(place: str) -> bool:
    """Whether a place is a store's: a URI, or an SQLite file; ``#...`` behind it names a run or an experiment."""
    address = place.partition("#")[0]
    if "://" in address or address.startswith("sqlite:"):
        return True
    path = Path(address).expanduser()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_HEADER)) == _HEADER or path.suffix in _SUFFIXES


def stored_runs(address: str) -> list[StoredRun]:
    """Returns all runs that are not deleted, oldest first.

    Args:
        address: a database file, its URI, or that of a server.

    Raises:
        ConfigError: no store there, one with tables of another kind, or a server that does not answer.
    """
    path = database_path(address) if address.startswith("sqlite") else None
    if path is None and "://" in address:
        return runs_on_server(address)
    return runs_in_database(path or Path(address).expanduser(), address)


def runs_in_database(path: Path, address: str) -> list[StoredRun]:
    """`stored_runs` of an SQLite file, which is opened for reading only.

    Raises:
        ConfigError: it is no MLflow store, or one of another kind.
    """
    if not path.is_file():
        raise ConfigError(f"run {address}", "there is no such file")
    try:
        with _opened(path) as database:
            _check_tables(database, address)
            return _read(database, path)
    except sqlite3.Error as error:
        raise ConfigError(f"run {address}", f"is no database that can be read ({error})") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        yield database


def _check_tables(database: sqlite3.Connection, address: str) -> None:
    tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" not in tables or "experiments" not in tables:
        raise ConfigError(f"run {address}", "is a database, but no MLflow store")
    for table, wanted in _COLUMNS.items():
        there = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        if not wanted <= there:
            (version,) = next(iter(database.execute("SELECT version_num FROM alembic_version")), ("?",))
            problem = f"is a store of another version of MLflow (schema {version}): no {table}.{min(wanted - there)}"
            raise ConfigError(f"run {address}", problem, "the URI of a server of that version (mlflow server)")


def _read(database: sqlite3.Connection, path: Path) -> list[StoredRun]:
    texts: dict[str, dict[str, dict[str, str]]] = {"params": {}, "tags": {}}
    for table, found in texts.items():
        for run_id, key, value in database.execute(f"SELECT run_uuid, key, value FROM {table}"):
            found.setdefault(run_id, {})[key] = value or ""
    metrics: dict[str, set[str]] = {}
    for run_id, key in database.execute("SELECT run_uuid, key FROM latest_metrics"):
        metrics.setdefault(run_id, set()).add(key)
    query = """
        SELECT run_uuid, experiments.name, runs.name, status, start_time FROM runs
        JOIN experiments ON experiments.experiment_id = runs.experiment_id
        WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'
        ORDER BY start_time, run_uuid
    """
    return [
        StoredRun(
            run_id,
            experiment,
            name or "",
            status,
            started or 0,
            texts["params"].get(run_id, {}),
            texts["tags"].get(run_id, {}),
            frozenset(metrics.get(run_id, ())),
            _history_in(path, run_id),
        )
        for run_id, experiment, name, status, started in database.execute(query)
    ]


def _history_in(path: Path, run_id: str) -> Callable[[Collection[str]], list[Entry]]:
    def read(keys: Collection[str]) -> list[Entry]:
        marks = ", ".join("?" * len(keys))
        query = f"""
            SELECT key, value, timestamp, step FROM metrics
            WHERE run_uuid = ? AND key IN ({marks}) AND NOT is_nan
        """
        with _opened(path) as database:
            return list(database.execute(query, (run_id, *keys)))

    return read


def runs_on_server(uri: str) -> list[StoredRun]:
    """`stored_runs` through MLflow's client.

    Raises:
        ConfigError: MLflow is not installed, or the server does not answer as it should.
    """
    with _plain_errors(uri):
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        names = {one.experiment_id: one.name for one in client.search_experiments(max_results=_PAGE)}
        found, token = [], None
        while names:
            page = client.search_runs(
                list(names), max_results=_PAGE, order_by=["attributes.start_time ASC"], page_token=token
            )
            found += page
            token = page.token
            if not token:
                break

    def history_of(run_id: str) -> Callable[[Collection[str]], list[Entry]]:
        def read(keys: Collection[str]) -> list[Entry]:
            with _plain_errors(uri):
                entries = [entry for key in keys for entry in client.get_metric_history(run_id, key)]
            return [(entry.key, entry.value, entry.timestamp, entry.step) for entry in entries]

        return read

    return [
        StoredRun(
            one.info.run_id,
            names[one.info.experiment_id],
            one.info.run_name or "",
            one.info.status,
            one.info.start_time or 0,
            one.data.params,
            one.data.tags,
            frozenset(one.data.metrics),
            history_of(one.info.run_id),
        )
        for one in found
    ]


@contextlib.contextmanager
def _plain_errors(uri: str) -> Iterator[None]:
    """Makes one line of whatever MLflow raises.

    Raises:
        ConfigError: in place of MLflow's errors.
    """
    with environment(impatience()):
        try:
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise ConfigError(
                f"run {without_password(uri)}", "reading from a server needs mlflow; pip install mlflow"
            ) from error
        for name in ("mlflow", "mlflow.store.db.utils", "alembic"):  # importing mlflow sets its loggers up
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        except (MlflowException, OSError) as error:
            problem = f"the MLflow store cannot be read ({reason_of(error)})"
            raise ConfigError(f"run {without_password(uri)}", problem) from error
