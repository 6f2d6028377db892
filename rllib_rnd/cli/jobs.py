"""What ``rllib train`` is to run: new runs, each with a folder of its own, and those that go on."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from rllib_rnd.checkpoints import iteration_of, newest_valid, result_at
from rllib_rnd.checkpoints.format import check_checkpoint
from rllib_rnd.cli.checkpoints import StartFrom, find_checkpoint, start_from
from rllib_rnd.cli.folders import RECORD, RunRecord, as_before, claim, release, runs_to_resume, trials_in, update
from rllib_rnd.cli.runtime import say
from rllib_rnd.cli.startable import check_startable
from rllib_rnd.cli.starting import cluster_address
from rllib_rnd.cli.summary import raised, typed, without_stop
from rllib_rnd.cli.sweep import TUNER_FILE, changes_since, describe, is_sweep
from rllib_rnd.cli.train_options import TrainOptions, resume_command, start_command
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.errors import ConfigError, in_words
from rllib_rnd.experiment.file import Experiment
from rllib_rnd.tracking.metrics import STEADY_PATHS, read, short_name, show
from rllib_rnd.tracking.provenance import provenance
from rllib_rnd.tracking.stopping import reached

_TOLD_CHANGES = 5


@dataclass
class Job:
    """One experiment, ready to run.

    Attributes:
        experiment: what to train.
        folder: name of its folder in the storage; of a new run, the name that it is claimed by.
        start_id: the same for all runs that one command starts.
        new: the folder is still to be claimed.
        start: where it starts from, or None.
        begun: the description of the sweep that is to go on, or None.
        before: of a run that goes on, the text of its record and its trials' folders.
        key: of the run, by which stores know it again.
        provenance: commit, versions and hardware that it runs with.
    """

    experiment: Experiment
    folder: str
    start_id: str
    new: bool = True
    start: StartFrom | None = None
    begun: Mapping[str, Any] | None = None
    before: tuple[str, set[Path]] | None = None
    key: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)


def jobs_of(experiments: list[Experiment], files: list[str], options: TrainOptions) -> list[Job]:
    """Returns what there is to run; a run that has reached its end is told and left out.

    Raises:
        ConfigError: there is no such run, or no such checkpoint, or it cannot go on with these settings.
    """
    names = [experiment.name for experiment in experiments]
    if options.resume and "://" in options.storage:
        raise ConfigError("--resume", "needs --storage to be a folder; use --checkpoint with a remote store")
    folders = runs_to_resume(options.storage_path, names, options.name) if options.resume else [None] * len(names)
    records = [RunRecord.read(Path(options.storage_path) / folder) for folder in folders if folder is not None]
    start_id = next((record.start for record in records if record is not None), uuid.uuid4().hex)
    checkpoint = find_checkpoint(options.checkpoint) if options.checkpoint else None  # once: it says which it takes
    jobs: list[Job] = []
    for experiment, folder in zip(experiments, folders, strict=True):
        if folder is None:
            base = experiment.name
            if options.name:
                base = options.name if len(experiments) == 1 else f"{options.name}_{experiment.name}"
            start = start_from(checkpoint, with_counters=False) if checkpoint else None
            if checkpoint:
                _check_start(experiment, checkpoint)
            jobs.append(Job(experiment, base, start_id, start=start))
            continue
        job = _resumed(experiment, folder, options, start_id)
        if not _already_done(job, resume_command(files, options, folder)):
            jobs.append(job)
    return jobs


def _resumed(experiment: Experiment, name: str, options: TrainOptions, start_id: str) -> Job:
    """Returns the job that continues a run; one that had saved nothing yet begins anew in its folder."""
    folder = Path(options.storage_path) / name
    job = Job(experiment, name, start_id, new=False)
    record, newest = RunRecord.read(folder), newest_valid(folder, say)
    if record is not None and (is_sweep(record.description) or not experiment.single):
        if newest is not None:  # all of a run are of one version
            check_checkpoint(newest)
        changes_since(experiment, record.description)  # refused before anything starts
        if (folder / TUNER_FILE).is_file():
            job.begun = record.description
    elif newest is not None:  # each resume has a trial folder of its own; the newest goes on, not the best
        check_checkpoint(newest)
        _tell_changes(name, _check_start(experiment, newest), record)
        job.start = start_from(newest, with_counters=True)
    if job.begun is None and job.start is None:
        say(f"{name}: nothing was saved of it yet; it begins anew.")
    return job


def _check_start(experiment: Experiment, checkpoint: Path) -> list[str]:
    """Refuses, before anything starts, a checkpoint that an experiment cannot go on from; trials of a sweep tell so.

    Returns:
        What is not as in the checkpoint, in words.
    """
    config = experiment.sample_config()
    if not (experiment.single and isinstance(config, IntrinsicPPOConfig)):  # others have other rules
        return []
    with experiment.placing_errors():
        found = check_startable(checkpoint, config)
    return [f"{path} {_in_words(path, was)} -> {_in_words(path, now)}" for path, was, now in found]


def _in_words(path: str, value: object) -> str:
    """A value; an option that is not given has its default."""
    return "its default" if value is None and "." in path else in_words(value)


def _tell_changes(name: str, changed: Sequence[str], record: RunRecord | None) -> None:
    """Says with which settings a run goes on that are not those it had, as where an option was not given again."""
    if not changed:
        return
    more = f", and {len(changed) - _TOLD_CHANGES} more" if len(changed) > _TOLD_CHANGES else ""
    say(f"{name}: goes on with other settings: {', '.join(changed[:_TOLD_CHANGES])}{more}.")
    if record is not None:
        say(f"  It was started by: {record.command}")


def _already_done(job: Job, resume: str) -> bool:
    if job.start is None:
        return False
    result = result_at(Path(job.start.checkpoint))
    met = reached(result, job.experiment.stop)
    where = f"iteration {iteration_of(Path(job.start.checkpoint))}"
    if result:  # a kill may come between the checkpoint and its row
        where += f", {show('agent_steps', read(result, 'agent_steps'))} agent steps"
    if met is None:
        say(f"{job.folder}: continuing from {job.start.checkpoint} ({where}).")
        return False
    path, target = met
    say(f"{job.folder}: has reached {short_name(path)} >= {target:g}. To go on, raise it:")
    for other, value in job.experiment.stop.items():
        if reached(result, {other: value}) is None:
            continue
        if other in STEADY_PATHS:
            resume = raised(resume, (other, value), read(result, short_name(other)))
        else:
            resume = f"{without_stop(resume, other)} --stop {short_name(other)}=NUMBER"
    say(typed(resume))
    return True


def claim_folders(jobs: list[Job], files: list[str], options: TrainOptions) -> None:
    """Gives every new run its folder; all at once, so that a resume knows what had not started yet."""
    command = start_command(files, options)
    cores = None if cluster_address(options.address) is None else ray.cluster_resources().get("CPU", 0.0)
    for job in jobs:
        job.provenance, job.key = provenance(job.experiment.source, cores), uuid.uuid4().hex
        description = describe(job.experiment)
        record = RunRecord(
            job.experiment.name,
            command,
            job.start_id,
            description=description,
            key=job.key,
            provenance=job.provenance,
        )
        if job.new:
            job.folder = claim(options.storage_path, job.folder, record)
        else:
            folder = Path(options.storage_path) / job.folder
            if (folder / RECORD).is_file():
                job.before = (folder / RECORD).read_text(encoding="utf-8"), trials_in(folder)
            job.key = update(options.storage_path, job.folder, description, job.provenance)


def release_folders(jobs: list[Job], options: TrainOptions) -> None:
    """Takes back the folders of new runs that have not trained; one that could not go on is what it was."""
    for job in jobs:
        if job.new:
            release(options.storage_path, job.folder)
        elif job.before is not None and job.begun is None:  # folders of a sweep are noted in Tune's state
            as_before(Path(options.storage_path) / job.folder, *job.before)
