"""``rllib train file``: runs experiment files through Ray Tune."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.algorithm import IntrinsicPPOConfig
from rllib_rnd.checkpoint_format import check_checkpoint
from rllib_rnd.cli import summary
from rllib_rnd.cli.checkpoints import checkpoints_in, find_checkpoint, result_at, start_from
from rllib_rnd.cli.runtime import INTERRUPTED, RUN_ERROR, be_quiet, console, ray_session, say
from rllib_rnd.cli.starting import check_resources, cluster_address, needs, stopped_now
from rllib_rnd.cli.surroundings import check_storage
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import Experiment, Overrides, load_experiments
from rllib_rnd.experiment.search import build_scheduler, build_search
from rllib_rnd.threads import describe_processes
from rllib_rnd.tracking.display import RunDisplay
from rllib_rnd.tracking.metrics import read, short_name, show
from rllib_rnd.tracking.mlflow_logger import MLflowLogger
from rllib_rnd.tracking.mlflow_store import store_uri
from rllib_rnd.tracking.stopping import NOTICE, Interrupt, RunStopper, SaveOnInterrupt, reached


@dataclass
class TrainOptions:
    """The options of ``rllib train file``.

    Attributes:
        overrides: changes to every experiment.
        address: Ray cluster, or None.
        storage: folder or URI of results.
        name: folder of the experiment in the storage; None takes the name in the file.
        resume: continue the newest run of that name.
        checkpoint: start a new run from this checkpoint.
        quiet: no display, only the summary.
        verbose: Ray's own output.
    """

    overrides: Overrides = field(default_factory=Overrides)
    address: str | None = None
    storage: str = "results"
    name: str | None = None
    resume: bool = False
    checkpoint: str | None = None
    quiet: bool = False
    verbose: bool = False

    @property
    def storage_path(self) -> str:
        """The storage as Tune wants it: a URI or an absolute path."""
        return self.storage if "://" in self.storage else str(Path(self.storage).expanduser().resolve())


@dataclass
class Job:
    """One experiment, ready to run.

    Attributes:
        experiment: what to train.
        folder: name of its folder in the storage.
        start: where it starts from, or None.
        tuner_folder: a sweep's folder that Tune restores as a whole, or None.
    """

    experiment: Experiment
    folder: str
    start: Any = None
    tuner_folder: Path | None = None


def train_files(paths: list[Path], options: TrainOptions) -> int:
    """Trains every experiment of every file, one after the other.

    Returns:
        The exit code: 0, 1 if a trial failed, 130 after Ctrl-C.

    Raises:
        ConfigError: any mistake in any file or option; nothing has been started then.
    """
    if options.resume and options.checkpoint:
        raise ConfigError("", "--resume and --checkpoint exclude each other: one continues a run, one starts a new one")
    be_quiet(options.verbose)
    experiments = [e for path in paths for e in load_experiments(path, options.overrides)]
    if options.checkpoint:
        find_checkpoint(options.checkpoint)
    jobs = _jobs(experiments, options)
    if not jobs:
        return 0
    check_storage(options.storage_path, [job.folder for job in jobs])
    address = cluster_address(options.address)
    cpus = max(_cpus(job.experiment) for job in jobs)
    files, total, code = [str(p) for p in paths], len(experiments), 0
    # Ray first: until there is something to save, Ctrl-C just stops.
    with ray_session(cpus, address, options.verbose), Interrupt() as interrupt:
        if address is None:
            for job in jobs:
                check_resources(job.experiment)
        for job in jobs:
            if interrupt.requested:
                say("Stopped before training; there was nothing to save.")
                return INTERRUPTED
            command = resume_command(files, options, job.folder, job.experiment, total)
            try:
                code = max(code, _run(job, options, interrupt, command))
            except KeyboardInterrupt:
                say(stopped_now(Path(options.storage_path) / job.folder, command))
                return INTERRUPTED
            if interrupt.requested:
                return INTERRUPTED
    return code


def _cpus(experiment: Experiment) -> float:
    """CPUs of the first trial, as RLlib asks Tune for them."""
    request = experiment.algorithm_class.default_resource_request(experiment.sample_config())
    return float(sum(bundle.get("CPU", 0) for bundle in request.bundles))


def _jobs(experiments: list[Experiment], options: TrainOptions) -> list[Job]:
    jobs: list[Job] = []
    for experiment in experiments:
        base = experiment.name
        if options.name:
            base = options.name if len(experiments) == 1 else f"{options.name}_{experiment.name}"
        taken = {job.folder for job in jobs}
        job = _resumed(experiment, base, options, only=len(experiments) == 1) if options.resume else None
        if job is None:
            start = None
            if options.checkpoint:
                start = start_from(find_checkpoint(options.checkpoint), with_counters=False)
            job = Job(experiment, new_folder(options.storage_path, base, taken), start)
        elif _already_done(job, options):
            continue
        jobs.append(job)
    return jobs


def new_folder(storage: str, base: str, taken: set[str]) -> str:
    """Returns ``base``, or ``base_2``, ``base_3``, ... so that no run writes into another's folder."""
    number, name = 1, base
    while name in taken or ("://" not in storage and (Path(storage) / name).exists()):
        number += 1
        name = f"{base}_{number}"
    return name


def newest_folder(storage: str, base: str) -> Path | None:
    """Returns the newest of ``base``, ``base_2``, ... that exists in the storage."""
    newest, number = None, 1
    while (folder := Path(storage) / (base if number == 1 else f"{base}_{number}")).is_dir():
        newest, number = folder, number + 1
    return newest


def _resumed(experiment: Experiment, base: str, options: TrainOptions, only: bool) -> Job | None:
    """Returns the job that continues the newest run, or None if it (one of several) has not started yet."""
    if "://" in options.storage:
        raise ConfigError("--resume", "needs --storage to be a folder; use --checkpoint with a remote store")
    folder = newest_folder(options.storage_path, base)
    if folder is None:
        if only:
            _refuse_resume(base, options)
        return None
    if not experiment.single:
        for checkpoint in checkpoints_in(folder)[-1:]:  # all of a run are of one version
            check_checkpoint(checkpoint)
        return Job(experiment, folder.name, tuner_folder=folder)
    if not only and not checkpoints_in(folder):
        return None
    return Job(experiment, folder.name, start_from(find_checkpoint(folder), with_counters=True))


def _refuse_resume(base: str, options: TrainOptions) -> None:
    storage = Path(options.storage_path)
    runs = sorted(p.name for p in storage.iterdir() if p.is_dir()) if storage.is_dir() else []
    raise ConfigError("--resume", f"no run {base!r} in {storage}. Runs there: {', '.join(runs) or 'none'}")


def _already_done(job: Job, options: TrainOptions) -> bool:
    if job.start is None:
        return False
    result = result_at(Path(job.start.checkpoint))
    met = reached(result, job.experiment.stop)
    where = f"iteration {show('iteration', read(result, 'iteration'))}"
    where += f", {show('agent_steps', read(result, 'agent_steps'))} agent steps"
    if met is None:
        say(f"{job.folder}: continuing from {job.start.checkpoint} ({where}).")
        return False
    path, target = met
    say(
        f"{job.folder}: has reached {short_name(path)} >= {target:g}. "
        f"To go on, raise it: --stop {short_name(path)}=NUMBER --resume"
    )
    return True


def _run(job: Job, options: TrainOptions, interrupt: Interrupt, resume: str) -> int:
    experiment = job.experiment
    sweep = not experiment.single
    stopper = RunStopper(experiment.stop, interrupt, sweep)
    display = RunDisplay(job.folder, experiment.stop, console(), quiet=options.quiet, needs=needs(experiment))
    display.notice = lambda: NOTICE if interrupt.requested else ""
    interrupt.on_screen = display.is_live
    mlflow = _mlflow(job, options, interrupt)
    callbacks = [SaveOnInterrupt(interrupt, sweep), display, *([mlflow] if mlflow else [])]
    tuner = _tuner(job, options, stopper, callbacks)
    config = experiment.sample_config()
    if not (sweep or options.quiet) and isinstance(config, IntrinsicPPOConfig):  # others have other rules
        say(f"Processes: {describe_processes(config)}.")
    display.start()
    results, crash = None, None
    try:
        results = tuner.fit()
    except KeyboardInterrupt:
        if mlflow:
            mlflow.close("KILLED", patience_s=3.0)
        raise
    except Exception as error:  # Tune wraps everything that goes wrong in its own loop
        crash = error
        if mlflow:
            mlflow.close("FAILED")
    finally:
        display.close()
    if mlflow:
        mlflow.close("KILLED")  # trials that Tune left running when it was interrupted
    report = summary.Report(
        name=job.folder,
        folder=f"{options.storage_path}/{job.folder}",
        resume_command=resume,
        mlflow_uri=mlflow.uri if mlflow and mlflow.active else None,
        interrupted=interrupt.requested,
        stop=experiment.stop,
    )
    summary.print_report(report, results, crash)
    failed = crash is not None or results is None or results.num_errors > 0
    return RUN_ERROR if failed else 0


def _mlflow(job: Job, options: TrainOptions, interrupt: Interrupt) -> MLflowLogger | None:
    uri = store_uri(options.storage_path)
    if uri is None:
        say("MLflow: no MLFLOW_TRACKING_URI and the storage is no local folder; training goes on without it.")
        return None
    if "://" not in options.storage:
        Path(options.storage_path).mkdir(parents=True, exist_ok=True)
    experiment = job.experiment
    tags = {"experiment_file": str(experiment.source), "folder": job.folder}
    if job.start is not None:
        tags["started_from"] = job.start.checkpoint
    logger = MLflowLogger(
        uri=uri,
        experiment=experiment.name if options.name is None else options.name,
        algorithm=experiment.algorithm_name,
        make_config=experiment.trial_config,
        tags=tags,
        say=say,
        interrupted=lambda: interrupt.requested,
    )
    logger.open()
    return logger


def _tuner(job: Job, options: TrainOptions, stopper: RunStopper, callbacks: list[tune.Callback]) -> tune.Tuner:
    experiment = job.experiment
    checkpoint = experiment.checkpoint
    if job.tuner_folder is not None:
        # Tune brings back its own snapshot of all trials and may repeat the iterations since then. The
        # callbacks and the stopper of the first start are in it too; the new ones take their place.
        tuner = tune.Tuner.restore(
            str(job.tuner_folder),
            trainable=experiment.algorithm_class,
            resume_unfinished=True,
            resume_errored=True,
        )
        run_config = tuner._local_tuner.get_run_config()
        run_config.callbacks, run_config.stop = callbacks, stopper
        return tuner
    return tune.Tuner(
        experiment.algorithm_class,
        param_space=_param_space(job),
        tune_config=tune.TuneConfig(
            num_samples=experiment.num_samples,
            scheduler=build_scheduler(experiment.scheduler),
            search_alg=build_search(experiment.search),
            max_concurrent_trials=experiment.tune.max_concurrent_trials,
            time_budget_s=experiment.tune.time_budget_s,
        ),
        run_config=tune.RunConfig(
            name=job.folder,
            storage_path=options.storage_path,
            stop=stopper,
            callbacks=callbacks,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=experiment.max_failures),
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=checkpoint.checkpoint_frequency,
                checkpoint_at_end=checkpoint.checkpoint_at_end,
                num_to_keep=checkpoint.num_to_keep,
                checkpoint_score_attribute=checkpoint.checkpoint_score_attribute,
                checkpoint_score_order=checkpoint.checkpoint_score_order,
            ),
        ),
    )


def _shares_cores(config: AlgorithmConfig) -> bool:
    return isinstance(config, IntrinsicPPOConfig) and config.torch_threads is None


def _param_space(job: Job) -> dict[str, Any]:
    experiment = job.experiment
    extra: dict[str, Any] = {}
    if not experiment.single and _shares_cores(experiment.sample_config()):
        # Several trials at a time: if each took all cores, they would mostly wait for each other.
        extra["torch_threads"] = 1
    if job.start is not None:
        job.start.before = getattr(experiment.base, "callbacks_on_algorithm_init", None)
        extra["callbacks_on_algorithm_init"] = job.start
    return experiment.param_space(**extra)


def resume_command(files: list[str], options: TrainOptions, folder: str, experiment: Experiment, total: int) -> str:
    """Returns the exact command that continues this run.

    Of several experiments, finished ones are skipped then and those that had not started are started.
    """
    words = ["rllib", "train", "file", *files]
    for setting in options.overrides.settings:
        words += ["--set", setting]
    for stop in options.overrides.stop:
        words += ["--stop", stop]
    if options.overrides.seed is not None:
        words += ["--seed", str(options.overrides.seed)]
    if options.address:
        words += ["--address", options.address]
    if options.storage != "results":
        words += ["--storage", options.storage]
    if total == 1 and folder != experiment.name:
        words += ["--name", folder]
    elif total > 1 and options.name:
        words += ["--name", options.name]
    return shlex.join([*words, "--resume"])
