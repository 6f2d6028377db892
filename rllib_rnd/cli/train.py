"""``rllib train``: runs experiment files through Ray Tune."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils import force_list

from rllib_rnd.checkpoints import iteration_of
from rllib_rnd.cli import summary
from rllib_rnd.cli.checkpoints import KeepCheckpoints, TellSaves
from rllib_rnd.cli.cost import SweepCost, TellCost, pace_of_earlier_runs
from rllib_rnd.cli.ending import Ending, stopped_now
from rllib_rnd.cli.examples import as_named
from rllib_rnd.cli.jobs import Job, claim_folders, jobs_of, release_folders
from rllib_rnd.cli.profiling import FOLDER, TellProfile, check_profile, profile_of
from rllib_rnd.cli.runtime import RUN_ERROR, be_quiet, console, ray_session, say
from rllib_rnd.cli.starting import (
    check_memory,
    check_resources,
    cluster_address,
    cpus_needed,
    first_of_all,
    needs,
    processes_of,
    refusal,
    trials_at_once,
)
from rllib_rnd.cli.stores import Stores, identity_of, open_stores, status_of
from rllib_rnd.cli.surroundings import check_storage
from rllib_rnd.cli.sweep import changes_since, restore, tune_config
from rllib_rnd.cli.train_options import TrainOptions, resume_command, start_command
from rllib_rnd.cli.watching import watching
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import Experiment, load_experiments
from rllib_rnd.experiment.folder_name import check_folder_name
from rllib_rnd.experiment.restarts import TellRestarts
from rllib_rnd.ray_logs import keep_keys_out
from rllib_rnd.tracking.display import RunDisplay
from rllib_rnd.tracking.mlflow_logger import import_ahead
from rllib_rnd.tracking.mlflow_store import store_uri
from rllib_rnd.tracking.result_files import result_loggers
from rllib_rnd.tracking.saving import SaveInTime
from rllib_rnd.tracking.stopping import Conditions, Interrupt, RunStopper, SaveOnInterrupt
from rllib_rnd.tracking.wandb_logger import wandb_options


def train_files(paths: list[Path], options: TrainOptions) -> int:
    """Trains every experiment of every file, one after the other.

    Returns:
        The exit code: 0, 1 if a trial failed or Ray has ended, 130 after Ctrl-C, 143 after SIGTERM.

    Raises:
        ConfigError: any mistake in any file or option; nothing has been started then.
    """
    if options.resume and options.checkpoint:
        raise ConfigError("", "--resume and --checkpoint exclude each other: one continues a run, one starts a new one")
    if options.name is not None:
        check_folder_name(options.name, "--name")
    wandb_options(options.wandb)  # refused before anything starts
    be_quiet(options.verbose)
    experiments = [e for path in paths for e in load_experiments(path, options.overrides)]
    left_out = check_profile(experiments, options.storage) if options.profile else None
    if left_out is not None:
        say(left_out)
    files, code = [as_named(path) for path in paths], 0
    jobs = jobs_of(experiments, files, options)
    if not jobs:
        return 0
    check_storage(options.storage_path, [job.folder for job in jobs])
    address = cluster_address(options.address)
    if address is None:
        for line in (line for job in jobs for line in check_memory(job.experiment)):
            say(line)
    cpus = max(cpus_needed(job.experiment) for job in jobs)
    if not options.quiet:
        say("Starting Ray ..." if address is None else f"Joining the Ray cluster at {address} ...")
    if store_uri(options.storage_path) is not None:
        import_ahead()  # while this process waits for Ray's; later the trial's process would want the cores as well
    # Ray first: until there is something to save, Ctrl-C just stops.
    with ray_session(cpus, address, options.verbose), Interrupt() as interrupt:
        if address is None:
            for job in jobs:
                check_resources(job.experiment)
        claim_folders(jobs, files, options)
        for number, job in enumerate(jobs):
            resume = resume_command(files, options, job.folder)
            try:
                code = max(code, _run(job, options, interrupt, start_command(files, options), resume))
            except KeyboardInterrupt:
                say(stopped_now(Path(options.storage_path) / job.folder, resume, interrupt.late))
                return interrupt.code
            except ConfigError:  # of what only building finds; nothing has been trained
                release_folders(jobs[number:], options)
                raise
            if interrupt.requested:
                return interrupt.code
    return code


def _run(job: Job, options: TrainOptions, interrupt: Interrupt, command: str, resume: str) -> int:
    experiment, sweep = job.experiment, not job.experiment.single
    conditions = Conditions(experiment.stop, experiment.promised)
    trials = experiment.num_samples * experiment.space.grids
    display = RunDisplay(job.folder, experiment.stop, console(), options.quiet, needs(experiment), trials=trials)
    display.notice = lambda: interrupt.notice
    interrupt.training, interrupt.on_screen = False, display.is_live
    start = job.start.checkpoint if job.start else ""
    identity = identity_of(experiment, job.folder, job.key, job.provenance, command, start)
    status = partial(status_of, conditions=conditions, interrupt=interrupt)
    stores = open_stores(identity, experiment, options, status)
    ending = Ending(Path(options.storage_path) / job.folder, resume, display.close, stores)
    interrupt.end_now = ending.now
    tell = say if options.quiet else display.tell  # warnings are for quiet users too
    timed = SaveInTime(experiment.checkpoint.checkpoint_every_s)
    keep = KeepCheckpoints(experiment.checkpoint, tell, lone=not sweep)
    restarts = TellRestarts(tell, lambda path: iteration_of(Path(path)))
    callbacks: list[tune.Callback] = [SaveOnInterrupt(interrupt, sweep), timed, display, *result_loggers(tell)]
    callbacks += [*stores.callbacks, keep, TellSaves(tell), restarts]
    if options.profile:
        callbacks.append(TellProfile(Path(options.storage_path) / job.folder / FOLDER, tell))
    if sweep and job.begun is None:
        callbacks += _told_cost(experiment, options, display)
    tuner = _tuner(job, options, RunStopper(conditions, interrupt), callbacks, conditions)
    config = experiment.sample_config()
    if not (sweep or options.quiet) and isinstance(config, IntrinsicPPOConfig):  # others have other rules
        say(f"Processes: {processes_of(config)}.")
        say(first_of_all(config, goes_on=job.start is not None))
    if not options.quiet:
        say("Starting the trial's process; the first iteration follows ...")
    display.start()
    results, crash = None, None
    try:
        with watching(ending.lost, timed.ask, tell):
            results = tuner.fit()
        interrupt.in_time()
    except KeyboardInterrupt:
        stores.close("KILLED", "KILLED", patience_s=3.0)
        raise
    except Exception as error:  # Tune wraps everything that goes wrong in its own loop
        crash = error
        stores.close("FAILED", "FAILED")
    finally:
        display.close()
    # Trials that Tune left running when it was interrupted.
    parent = "KILLED" if interrupt.requested else "FAILED" if conditions.problem else ""
    stores.close("KILLED", parent, patience_s=3.0 if interrupt.number == signal.SIGTERM else 60.0)
    refused = None if results is None else refusal(experiment, list(results))
    if refused is not None:
        raise refused
    summary.print_report(_report(job, options, resume, stores, interrupt.name, keep), results, crash)
    if conditions.problem:
        say(f"rllib: {experiment.name}.{conditions.problem}")
    failed = crash is not None or results is None or results.num_errors > 0 or bool(conditions.problem)
    return RUN_ERROR if failed else 0


def _report(
    job: Job, options: TrainOptions, resume: str, stores: Stores, interrupted: str, keep: KeepCheckpoints
) -> summary.Report:
    """What the summary of a run that has ended needs besides its results."""
    mlflow, score = stores.mlflow, job.experiment.checkpoint.checkpoint_score_attribute
    return summary.Report(
        name=job.folder,
        folder=f"{options.storage_path}/{job.folder}",
        resume_command=resume,
        mlflow_uri=mlflow.uri if mlflow and mlflow.active else None,
        mlflow_experiment=mlflow.experiment_id if mlflow else "",
        wandb_command=stores.wandb.sync_command() if stores.wandb else "",
        interrupted=interrupted,
        stop=job.experiment.stop,
        best=None if score is None else keep.best,
        score=score or "",
    )


def _told_cost(experiment: Experiment, options: TrainOptions, display: RunDisplay) -> list[tune.Callback]:
    """Says what a sweep will cost; what tells it later, where no earlier run says how fast it is."""
    cost, pace = (
        SweepCost(experiment, trials_at_once(experiment)),
        pace_of_earlier_runs(options.storage_path, experiment),
    )
    if pace is not None:
        display.tell(cost.told(*pace))
        return []
    display.tell(f"Sweep: {cost.words()}; how long it takes is told when the first iterations are in.")
    return [TellCost(cost, display.tell)]


def _tuner(
    job: Job, options: TrainOptions, stopper: RunStopper, callbacks: list[tune.Callback], conditions: Conditions
) -> tune.Tuner:
    experiment = job.experiment
    keep_keys_out()
    if job.begun is not None:
        folder = Path(options.storage_path) / job.folder
        changes = changes_since(experiment, job.begun)
        return restore(experiment, folder, changes, callbacks, conditions, _param_space(job, options))
    checkpoint = experiment.checkpoint
    return tune.Tuner(
        experiment.algorithm_class,
        param_space=_param_space(job, options),
        tune_config=tune_config(experiment, conditions),
        run_config=tune.RunConfig(
            name=job.folder,
            storage_path=options.storage_path,
            stop=stopper if experiment.single else None,  # a sweep's conditions are in its plan
            callbacks=callbacks,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=experiment.max_failures or 0),
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=checkpoint.checkpoint_frequency,
                checkpoint_at_end=checkpoint.checkpoint_at_end,
                num_to_keep=None,  # `KeepCheckpoints` does it
            ),
        ),
    )


def _shares_cores(config: AlgorithmConfig) -> bool:
    return isinstance(config, IntrinsicPPOConfig) and config.torch_threads is None


def _param_space(job: Job, options: TrainOptions) -> dict[str, Any]:
    experiment = job.experiment
    extra: dict[str, Any] = {}
    if not experiment.single and _shares_cores(experiment.sample_config()):
        # Several trials at a time: if each took all cores, they would mostly wait for each other.
        extra["torch_threads"] = 1
    if job.start is not None:
        job.start.before = getattr(experiment.base, "callbacks_on_algorithm_init", None)
        extra["callbacks_on_algorithm_init"] = job.start
    if options.profile:
        before = extra.get("callbacks_on_algorithm_init", getattr(experiment.base, "callbacks_on_algorithm_init", None))
        profile = profile_of(Path(options.storage_path) / job.folder / FOLDER)
        extra["callbacks_on_algorithm_init"] = [*force_list(before), profile]
    return experiment.param_space(**extra)
