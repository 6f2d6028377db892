"""``rllib check``: validates experiment files, builds them small and runs an iteration, in this process alone."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import typer
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env import env_runner_group
from rich.console import Console
from rich.table import Table
from torch import nn

from rllib_rnd.cli.estimate import Pace, hours
from rllib_rnd.cli.parameters import Trained, parameter_counts, parameter_table
from rllib_rnd.cli.ray_processes import shut_down
from rllib_rnd.cli.runtime import RUN_ERROR, be_quiet, console, fail, ray_session, say
from rllib_rnd.cli.starting import processes_of
from rllib_rnd.cli.surroundings import nothing_in_the_home
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.envs import backend_note, make_vector_env
from rllib_rnd.envs.makers import is_own
from rllib_rnd.envs.space_json import space_in_words
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import Experiment, load_experiments
from rllib_rnd.experiment.overrides import Overrides
from rllib_rnd.machine import in_words
from rllib_rnd.memory import Prediction, Room, predict, refusal, warnings
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.own_code import cause_of
from rllib_rnd.resources import GPUS
from rllib_rnd.threads import learner_threads
from rllib_rnd.tracking.metrics import curated, read, show
from rllib_rnd.training.learners import note_without_warmup
from rllib_rnd.training.work import forward_flops

# What keeps an iteration in this process, for the settings that an algorithm has.
_HERE: dict[str, Any] = {
    "num_env_runners": 0,
    "num_learners": 0,
    "warmup_steps": 16,
    "evaluation_interval": None,
    "evaluation_num_env_runners": 0,
    "num_gpus_per_learner": 0,
    "num_gpus_per_env_runner": 0,
    "overlap_sampling": False,  # which needs runners of their own
    "torch_threads": 1,  # several wait for each other by spinning: minutes of them beside any other busy process
    "max_nonfinite_updates": 1,  # which training would skip and count
}
# What makes it small.
_TINY: dict[str, Any] = {
    "num_envs_per_env_runner": 8,  # fewer tell too little of how fast many are
    "rollout_fragment_length": 16,
    "num_epochs": 1,
    "num_minibatches": 1,
}
# Environments of a user's own, which may be slow to make.
_OWN_ENVS = 4
# Agent steps of numbers that are played and learned in no time.
_QUICK = 8192
# Seconds of learning in which warming up is no large part.
_LONG_S = 1.0


@dataclass(frozen=True)
class Checked:
    """What is said of an experiment that is fine.

    Attributes:
        parameters: of all its networks.
        memory: that it takes, in words; "" where that is not known.
        hours: until its stop condition, in words.
        warning: what was not trained, in words; "" where there is nothing of the kind.
    """

    parameters: int
    memory: str
    hours: str
    warning: str


def check_files(paths: Sequence[Path], overrides: Overrides) -> int:
    """Checks every experiment of every file, in one process; of a single file all is shown, of several a line each.

    Returns:
        The exit code: of several files that of the worst mistake, which do not hide each other.

    Raises:
        ConfigError: the first mistake found in a single file.
        typer.Exit: an experiment of a single file does not build or train.
    """
    be_quiet(verbose=False)
    with _Processes() as processes, nothing_in_the_home():
        if len(paths) == 1:
            for experiment in load_experiments(paths[0], overrides):
                say(f"{experiment.name}: file, names, types and ranges are fine ({experiment.algorithm_name})")
                _check_experiment(experiment, processes, say)
            return 0
        codes = [_check_briefly(path, overrides, processes) for path in paths]
    wrong = [code for code in codes if code]
    say(f"\n{len(paths) - len(wrong)} of {len(paths)} files are fine.")
    return max(wrong, default=0)


def _check_briefly(path: Path, overrides: Overrides, processes: _Processes) -> int:
    """Prints a line for each experiment of a file, and what is wrong with the first that is not fine."""
    try:
        for experiment in load_experiments(path, overrides):
            found = _check_experiment(experiment, processes, _unsaid)
            parts = [f"{found.parameters:,} parameters", found.memory, found.hours, found.warning]
            say(f"{path}: {experiment.name}: " + ", ".join(part for part in parts if part))
    except ConfigError as error:
        return int(fail(str(error)).exit_code)
    except typer.Exit as error:  # which has said why
        return int(error.exit_code)
    return 0


def _unsaid(_line: str) -> None:
    """Prints nothing."""


class _Processes:
    """What a check has besides its own process: nothing, or one Ray for all algorithms that cannot do without."""

    def __init__(self) -> None:
        self._opened = contextlib.ExitStack()
        self._started = False

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()
        if ray.is_initialized():  # by a user's own code
            shut_down()

    def prepare(self, config: AlgorithmConfig) -> contextlib.AbstractContextManager[None]:
        """Returns what building this configuration has to happen in."""
        if isinstance(config, IntrinsicPPOConfig):
            return _without_ray()
        if not self._started:
            say("RLlib's own algorithms need Ray: starting it ...")
            self._opened.enter_context(ray_session(cpus=1.0))
            self._started = True
        return contextlib.nullcontext()


@contextlib.contextmanager
def _without_ray() -> Iterator[None]:
    """Has RLlib keep for itself what it puts into Ray's store for remote runners, of which there are none."""

    class Store:
        def __getattr__(self, name: str) -> object:
            return getattr(ray, name)

        @staticmethod
        def put(value: object) -> object:
            return value

    env_runner_group.ray = Store()
    try:
        yield
    finally:
        env_runner_group.ray = ray


def small_settings(experiment: Experiment) -> dict[str, Any]:
    """Returns the settings that make one iteration of this algorithm take seconds, in this process.

    Where the file's own size takes no longer, only the number of processes is another: the time of an iteration is then
    that of training.
    """
    config = experiment.sample_config()
    settings: dict[str, Any] = {key: value for key, value in _HERE.items() if hasattr(config, key)}
    if isinstance(config, IntrinsicPPOConfig) and config.pretraining is not None:
        settings["pretraining"] = {**config.pretraining, "max_rollouts": 1}
    if _is_quick(config):
        return settings
    settings |= {key: value for key, value in _TINY.items() if hasattr(config, key)}
    envs = _OWN_ENVS if is_own(config.env) else _TINY["num_envs_per_env_runner"]
    settings["num_envs_per_env_runner"] = min(envs, config.num_envs_per_env_runner)
    if not isinstance(config, IntrinsicPPOConfig):  # RLlib's own algorithms count samples instead
        samples = settings["num_envs_per_env_runner"] * _TINY["rollout_fragment_length"]
        settings |= {"_train_batch_size_per_learner": samples, "rollout_fragment_length": "auto"}
        if hasattr(config, "minibatch_size"):
            settings["minibatch_size"] = samples
        return settings
    length = config.sequence_length()  # rollouts hold whole sequences of a recurrent policy
    settings["rollout_fragment_length"] = length * math.ceil(_TINY["rollout_fragment_length"] / length)
    if config.minibatch_size is not None:
        samples = settings["num_envs_per_env_runner"] * settings["rollout_fragment_length"]
        settings["minibatch_size"] = min(config.minibatch_size, samples)
    return settings


def _is_quick(config: AlgorithmConfig) -> bool:
    """Whether an iteration at the file's own size takes no time: a few thousand steps of one of our environments, of
    numbers."""
    if not isinstance(config, IntrinsicPPOConfig) or not isinstance(config.env, str) or is_own(config.env):
        return False
    steps = config.get_rollout_fragment_length() * config.num_envs_per_env_runner
    with contextlib.closing(make_vector_env(config.env, 1, dict(config.env_config), 1)) as env:
        return steps <= _QUICK and len(env.single_observation_space.shape or ()) == 1


def _check_experiment(experiment: Experiment, processes: _Processes, tell: Callable[[str], None]) -> Checked:
    """Builds an experiment and trains an iteration of it.

    Raises:
        ConfigError: a mistake in it.
        typer.Exit: it does not build or train.
    """
    settings = small_settings(experiment)
    config = experiment.sample_config(**settings)
    try:
        with experiment.placing_errors(), processes.prepare(config):
            algorithm = config.build_algo()
    except ConfigError:
        raise
    except Exception as error:  # whatever an environment or a network raises is the answer of the check
        raise fail(f"{experiment.name}: does not build. {cause_of(error)}", RUN_ERROR) from error
    try:
        # Not `learner_module()`, which RLlib's own algorithms lack.
        (learner_module,) = algorithm.learner_group.foreach_learner(lambda learner: learner.module["default_policy"])
        networks = learner_module.get()
        with experiment.placing_errors():
            memory = _describe(experiment, algorithm, networks, tell)
            trained = Trained(networks)
            result = algorithm.train()
            if is_worth_repeating(settings, config, result):
                result = algorithm.train()
    except ConfigError:
        raise
    except Exception as error:
        raise fail(f"{experiment.name}: does not train. {cause_of(error)}", RUN_ERROR) from error
    finally:
        algorithm.stop()
        gc.collect()  # what an algorithm holds goes round in circles: of many, memory would only ever grow
    values = {name: show(name, value) for name, value in curated(result).items() if name not in ("iteration",)}
    still = trained.untouched()
    if still:
        tell(f"warning: {still}")
    tell("one small iteration: " + ", ".join(f"{name} {value}" for name, value in values.items()))
    told = hours(experiment, _pace(experiment.sample_config(), config, result, networks))
    tell(told)
    tell(f"process memory {resident_bytes() / 2**20:,.0f} MiB\n")
    return Checked(sum(row[1] + row[2] for row in parameter_counts(networks)), memory, told, still)


def is_worth_repeating(settings: Mapping[str, Any], config: AlgorithmConfig, result: Mapping[str, Any]) -> bool:
    """Whether a first iteration tells too little: it trained before training, or its few steps were mostly warming up.

    One at the file's own size is not mostly that, nor one whose learning took a second, and longer than playing, in
    which environments are reset for the first time.
    """
    if isinstance(config, IntrinsicPPOConfig) and config.pretraining is not None:
        return True
    learn_s, sample_s = read(result, "learn_s") or 0.0, read(result, "sample_s") or 0.0
    return "num_envs_per_env_runner" in settings and learn_s < max(_LONG_S, sample_s)


def _pace(wanted: AlgorithmConfig, run: AlgorithmConfig, result: Mapping[str, Any], networks: nn.Module) -> Pace | None:
    """Returns how fast training will be, by an iteration of it; None for RLlib's own algorithms."""
    if not (isinstance(wanted, IntrinsicPPOConfig) and isinstance(run, IntrinsicPPOConfig)):
        return None
    assert isinstance(networks, IntrinsicPPOModule)
    return Pace.of(wanted, run, result, learner_threads(wanted, forward_flops(wanted, networks)))


def _describe(experiment: Experiment, algorithm: Algorithm, networks: nn.Module, tell: Callable[[str], None]) -> str:
    """Tells spaces, processes, parameters and memory; returns the memory in words."""
    module = algorithm.get_module()
    tell(f"observations  {space_in_words(module.observation_space)}")
    tell(f"actions       {space_in_words(module.action_space)}")
    note = backend_note(algorithm.config.env, dict(algorithm.config.env_config))
    if note:
        tell(f"backend       {note}")
    wanted = experiment.sample_config()  # at the file's own size
    if not isinstance(wanted, IntrinsicPPOConfig):  # RLlib's own algorithms collect episodes, not rollouts
        _print_table(parameter_table(networks), tell)
        return ""
    assert isinstance(networks, IntrinsicPPOModule)
    tell(f"processes     {processes_of(wanted, forward_flops(wanted, networks))}")
    _print_table(parameter_table(networks), tell)
    memory = tell_memory(wanted, networks, tell)
    note = note_without_warmup(networks.rewards())
    if note is not None and wanted.warmup_steps == 0:
        tell(note)
    return memory


def memory_table(need: Prediction) -> Table:
    """What the training takes at the file's own size, part by part."""
    table = Table(box=None)
    table.add_column("memory at full size")
    table.add_column("at most", justify="right")
    for part in need.parts:
        table.add_row(part.name, in_words(part.bytes))
    table.add_row("all", in_words(need.total))
    for part in need.on_gpu:
        table.add_row(f"GPU: {part.name}", in_words(part.bytes))
    return table


def _print_table(table: Table, tell: Callable[[str], None]) -> None:
    """Prints it where lines are told."""
    printed = io.StringIO()
    Console(file=printed, width=max(80, console().width)).print(table)
    tell(printed.getvalue().rstrip())


def tell_memory(wanted: IntrinsicPPOConfig, networks: IntrinsicPPOModule, tell: Callable[[str], None]) -> str:
    """Tells what the training takes and what there is; returns the first in words.

    What does not fit here is no mistake of the file: it may be meant for another machine. Training will refuse it.
    """
    need, room = (
        predict(wanted, (networks.observation_space, networks.action_space), copy.deepcopy(networks)),
        Room.here(),
    )
    tell(
        f"one rollout at full size: {wanted.samples_per_iteration():,} agent steps, "
        f"{in_words(need.rollout * max(1, wanted.num_env_runners))}"
    )
    _print_table(memory_table(need), tell)
    there = {"memory": room.memory, "Ray's object store": room.store, "GPU": room.gpu}
    tell("there is     " + ", ".join(f"{name} {in_words(size)}" for name, size in there.items() if size is not None))
    for line in warnings(need, room):
        tell(line)
    asked = [name for name in GPUS if getattr(wanted, name)]
    takes, refused = f"memory {in_words(need.total)}", "training will be refused here"
    without_gpu = bool(asked) and room.gpu is None
    if without_gpu:
        who = f"{' and '.join(asked)} {'asks' if len(asked) == 1 else 'ask'} for one"
        tell(f"warning: this machine has no GPU, {refused}. {who}; " + " ".join(f"--set {name}=0" for name in asked))
    error = refusal(need, room)
    if error is not None:
        tell(f"warning: this machine is too small, {refused}. {error}")
        return f"{takes} (too much for this machine: {refused})"
    return f"{takes} (no GPU here: {refused})" if without_gpu else takes


def resident_bytes() -> int:
    """Returns the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096
