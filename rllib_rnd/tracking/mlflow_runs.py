"""Runs in an MLflow store: the one that goes on is found again, those whose process is gone are closed."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from rllib_rnd.tracking.identity import RunIdentity, has_ended, this_process
from rllib_rnd.tracking.mlflow_store import valid_keys, valid_text

if TYPE_CHECKING:
    from mlflow.entities import Run, RunInfo
    from mlflow.tracking import MlflowClient

#: Tags that this package finds runs by.
KEY, PROCESS, FOLDERS, RESUMES = "run_key", "process", "trial_folders", "resumes"
#: What a changed setting is logged under: a metric if it is a number, a tag else.
SETTING = "setting/"
_MAX_TAG_LENGTH = 5000
_MAX_PARAMS, _MAX_TAGS = 100, 100  # of one request, as MLflow has it
_MEDIA = (".mp4", ".png", ".svg", ".gif", ".html")
#: What is kept as curves: the ones that papers draw. All others are in the store itself.
CURVES = (
    "return_mean",
    "return_max",
    "evaluation_return_mean",
    "intrinsic_reward_mean",
    "rooms_visited",
    "positions_visited",
    "entropy",
    "time_total_s",
)
_LARGEST_FILE = 50_000_000  # bytes; larger ones are found by the tag `trial_folder`


def all_experiments(client: MlflowClient) -> list[str]:
    """Returns the ids of all experiments of a store."""
    found, token = [], None
    while True:
        page = client.search_experiments(page_token=token)
        found += [experiment.experiment_id for experiment in page]
        token = page.token
        if not token:
            return found


def find_run(client: MlflowClient, key: str) -> Run | None:
    """Returns the run with a key, in whichever experiment it is; None if there is none (or it was deleted)."""
    if not key:
        return None
    runs = client.search_runs(all_experiments(client), f"tags.{KEY} = '{key}'", max_results=1)
    return runs[0] if runs else None


def close_orphans(client: MlflowClient) -> int:
    """Closes as KILLED the running runs of this machine whose process is gone: after kill -9, or a loss of power.

    Each ends when its last row was written, a sweep with the last of its trials.

    Returns:
        How many.
    """
    closed = []
    running = client.search_runs(all_experiments(client), "attributes.status = 'RUNNING'", max_results=1000)
    for run in running:
        process = run.data.tags.get(PROCESS, "")
        if process and has_ended(process):
            if client.get_run(run.info.run_id).info.status != "RUNNING":  # it has ended by itself since the search
                continue
            closed.append((run, _last_written(client, run.info)))
    for run, ended in closed:
        client.set_terminated(run.info.run_id, "KILLED", end_time=ended)
    return len(closed)


def _last_written(client: MlflowClient, info: RunInfo) -> int:
    """When the last row of a run, or of a trial of a sweep, was written; its start if it has none."""
    trials = client.search_runs([info.experiment_id], f"tags.`mlflow.parentRunId` = '{info.run_id}'", max_results=1000)
    times = [info.start_time]
    for one in (info, *(trial.info for trial in trials)):
        times += [one.end_time] if one is not info and one.end_time else []
        times += [metric.timestamp for metric in client.get_metric_history(one.run_id, "iteration")]
    return max(times)


def tags_of(identity: RunIdentity, more: Mapping[str, str]) -> dict[str, str]:
    """Returns all tags of a run as MLflow takes them, those of its own columns included."""
    own = {
        "mlflow.source.name": str(identity.source) if identity.source else "",
        "mlflow.source.type": "LOCAL" if identity.source else "",
        "mlflow.source.git.commit": identity.tags.get("commit", ""),
        "mlflow.user": _user(),
        PROCESS: this_process(),
    }
    tags = {**identity.tags, **{name: value for name, value in own.items() if value}, **more}
    return {key: valid_text(str(value), _MAX_TAG_LENGTH) for key, value in valid_keys(tags).items()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return ""


def set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Writes tags, those that are there anew."""
    from mlflow.entities import RunTag

    entries = [RunTag(key, valid_text(value, _MAX_TAG_LENGTH)) for key, value in tags.items()]
    for start in range(0, len(entries), _MAX_TAGS):
        client.log_batch(run_id, tags=entries[start : start + _MAX_TAGS])


def set_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Writes parameters that are not there yet (MLflow refuses a change)."""
    from mlflow.entities import Param

    entries = [Param(key, value) for key, value in params.items()]
    for start in range(0, len(entries), _MAX_PARAMS):
        client.log_batch(run_id, params=entries[start : start + _MAX_PARAMS])


def reopen(client: MlflowClient, run: Run, tags: Mapping[str, str], resumes: bool = True) -> None:
    """Marks a run as running again, in this process; ``resumes``: it goes on, which is counted."""
    folders = [*run.data.tags.get(FOLDERS, "").split("\n"), tags.get(FOLDERS, "")]
    count = int(run.data.tags.get(RESUMES, "0")) + resumes
    more = {FOLDERS: "\n".join(dict.fromkeys(filter(None, folders))), RESUMES: str(count)}
    client.update_run(run.info.run_id, status="RUNNING")
    set_tags(client, run.info.run_id, {**tags, **more})


def changed_settings(run: Run) -> dict[str, str]:
    """Returns the settings that have changed since a run began, as they were at last."""
    found = {**run.data.metrics, **run.data.tags}
    return {key.removeprefix(SETTING): str(value) for key, value in found.items() if key.startswith(SETTING)}


def log_description(client: MlflowClient, run_id: str, source: Path | None, settings: Mapping[str, str]) -> None:
    """Keeps the experiment's file and every setting that is in force, as YAML."""
    if source is not None and source.is_file():
        client.log_artifact(run_id, str(source))
    if settings:
        plain = {name: yaml.safe_load(value) if _is_plain(value) else value for name, value in settings.items()}
        client.log_text(run_id, yaml.safe_dump(plain, allow_unicode=True), "configuration.yaml")


def _is_plain(value: str) -> bool:
    try:
        return not isinstance(yaml.safe_load(value), (dict, list))
    except yaml.YAMLError:
        return False


def media_in(folders: Sequence[Path]) -> list[Path]:
    """Returns the pictures and videos that lie in the folders of a run or trial."""
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    return [p for p in files if p.suffix in _MEDIA and p.is_file() and p.stat().st_size <= _LARGEST_FILE]


def log_files(client: MlflowClient, run_id: str, files: Sequence[Path]) -> None:
    """Keeps pictures and videos beside the run."""
    for path in files:
        client.log_artifact(run_id, str(path), "media")


def log_curves(client: MlflowClient, run_id: str) -> None:
    """Keeps the curves of a run, over all its resumes, as ``curves.csv``: a row per number of agent steps."""
    known = [name for name in CURVES if name in client.get_run(run_id).data.metrics]
    rows: dict[int, dict[str, float]] = {}
    for name in known:
        for metric in client.get_metric_history(run_id, name):
            rows.setdefault(metric.step, {})[name] = metric.value
    lines = [",".join(["agent_steps", *known])]
    for step, values in sorted(rows.items()):
        lines.append(",".join([str(step), *(f"{values[name]:.9g}" if name in values else "" for name in known)]))
    client.log_text(run_id, "\n".join(lines) + "\n", "curves.csv")
