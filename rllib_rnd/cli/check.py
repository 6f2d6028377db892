"""``rllib check``: validates an experiment file, builds it small and runs one tiny iteration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.table import Table
from torch import nn

from rllib_rnd.cli.runtime import RUN_ERROR, be_quiet, console, fail, ray_session, say
from rllib_rnd.cli.surroundings import nothing_in_the_home
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import Experiment, Overrides, load_experiments
from rllib_rnd.machine import in_words
from rllib_rnd.memory import Prediction, Room, predict, refusal, warnings
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.own_code import cause_of
from rllib_rnd.tracking.metrics import curated, show
from rllib_rnd.training.learners import note_without_warmup

# What makes an iteration small, for the settings that an algorithm has.
_TINY: dict[str, Any] = {
    "num_env_runners": 0,
    "num_learners": 0,
    "num_envs_per_env_runner": 4,
    "rollout_fragment_length": 16,
    "num_epochs": 1,
    "num_minibatches": 1,
    "warmup_steps": 16,
    "evaluation_interval": None,
    "num_gpus_per_learner": 0,
    "max_nonfinite_updates": 1,  # which training would skip and count
}


def check_file(path: Path, overrides: Overrides) -> None:
    """Checks every experiment of a file.

    Raises:
        ConfigError: the first mistake found.
        typer.Exit: an experiment does not build or train.
    """
    be_quiet(verbose=False)
    for experiment in load_experiments(path, overrides):
        say(f"{experiment.name}: file, names, types and ranges are fine ({experiment.algorithm_name})")
        with ray_session(cpus=1.0), nothing_in_the_home():
            _check_experiment(experiment)


def tiny_settings(experiment: Experiment) -> dict[str, Any]:
    """Returns the settings that make one iteration of this algorithm take seconds."""
    config = experiment.sample_config()
    settings: dict[str, Any] = {key: value for key, value in _TINY.items() if hasattr(config, key)}
    settings["num_envs_per_env_runner"] = min(4, config.num_envs_per_env_runner)
    if not isinstance(config, IntrinsicPPOConfig):  # RLlib's own algorithms count samples instead
        samples = settings["num_envs_per_env_runner"] * _TINY["rollout_fragment_length"]
        settings |= {"_train_batch_size_per_learner": samples, "rollout_fragment_length": "auto"}
        if hasattr(config, "minibatch_size"):
            settings["minibatch_size"] = samples
        return settings
    if config.minibatch_size is not None:
        settings["minibatch_size"] = min(config.minibatch_size, 32)
    length = config.sequence_length()  # rollouts hold whole sequences of a recurrent policy
    settings["rollout_fragment_length"] = length * math.ceil(_TINY["rollout_fragment_length"] / length)
    if config.pretraining is not None:
        settings["pretraining"] = {**config.pretraining, "max_rollouts": 1}
    return settings


def _check_experiment(experiment: Experiment) -> None:
    try:
        with experiment.placing_errors():
            algorithm = experiment.sample_config(**tiny_settings(experiment)).build_algo()
    except ConfigError:
        raise
    except Exception as error:  # whatever an environment or a network raises is the answer of the check
        raise fail(f"{experiment.name}: does not build. {cause_of(error)}", RUN_ERROR) from error
    from rllib_rnd.envs import backend_note, steps_in_threads
    from rllib_rnd.threads import describe_processes
    from rllib_rnd.training.work import forward_flops

    try:
        module = algorithm.get_module()
        # Not `learner_module()`, which RLlib's own algorithms lack.
        (learner_module,) = algorithm.learner_group.foreach_learner(lambda learner: learner.module["default_policy"])
        say(f"observations  {module.observation_space}")
        say(f"actions       {module.action_space}")
        note = backend_note(algorithm.config.env, dict(algorithm.config.env_config))
        if note:
            say(f"backend       {note}")
        wanted = experiment.sample_config()  # at the file's own size
        if isinstance(wanted, IntrinsicPPOConfig):
            native = steps_in_threads(wanted.env, dict(wanted.env_config))
            say(f"processes     {describe_processes(wanted, native, forward_flops(wanted, learner_module.get()))}")
        print_parameters(learner_module.get())
        if isinstance(wanted, IntrinsicPPOConfig):  # RLlib's own algorithms collect episodes, not rollouts
            with experiment.placing_errors():
                check_memory(wanted, module)
            note = note_without_warmup(learner_module.get().rewards())
            if note is not None and wanted.warmup_steps == 0:
                say(note)
            if wanted.pretraining is not None:
                algorithm.train()
        with experiment.placing_errors():
            result = algorithm.train()
    except ConfigError:
        raise
    except Exception as error:
        raise fail(f"{experiment.name}: does not train. {cause_of(error)}", RUN_ERROR) from error
    finally:
        algorithm.stop()
    values = {name: show(name, value) for name, value in curated(result).items() if name not in ("iteration",)}
    say("one tiny iteration: " + ", ".join(f"{name} {value}" for name, value in values.items()))
    say(f"process memory {resident_bytes() / 2**20:,.0f} MiB\n")


def parameter_counts(module: nn.Module) -> list[tuple[str, int, int]]:
    """Returns (part, trainable parameters, frozen parameters) for every direct part of a module.

    Lists of plug-ins are opened one level further, so that predictor and target stand apart.
    """
    rows: list[tuple[str, int, int]] = []
    for name, part in _parts(module, "", depth=3):
        trainable = sum(p.numel() for p in part.parameters() if p.requires_grad)
        frozen = sum(p.numel() for p in part.parameters() if not p.requires_grad)
        if trainable or frozen:
            rows.append((name, trainable, frozen))
    return rows


def _parts(module: nn.Module, prefix: str, depth: int) -> list[tuple[str, nn.Module]]:
    """Names the parts that hold parameters; only lists, and what is in them, are opened."""
    parts: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        full = f"{prefix}{name}"
        is_list = isinstance(child, nn.ModuleList)
        if depth > 1 and (is_list or isinstance(module, nn.ModuleList)) and list(child.children()):
            parts += _parts(child, f"{full}.", depth - 1)
        else:
            parts.append((full, child))
    return parts


def print_parameters(module: nn.Module) -> None:
    """Prints the parameter counts of each part."""
    table = Table(box=None)
    table.add_column("part")
    table.add_column("trainable", justify="right")
    table.add_column("frozen", justify="right")
    rows = parameter_counts(module)
    for name, trainable, frozen in rows:
        table.add_row(name, f"{trainable:,}", f"{frozen:,}")
    table.add_row("all", f"{sum(r[1] for r in rows):,}", f"{sum(r[2] for r in rows):,}")
    console().print(table)


def print_memory(need: Prediction) -> None:
    """Prints what the training takes at the file's own size, part by part."""
    table = Table(box=None)
    table.add_column("memory at full size")
    table.add_column("at most", justify="right")
    for part in need.parts:
        table.add_row(part.name, in_words(part.bytes))
    table.add_row("all", in_words(need.total))
    for part in need.on_gpu:
        table.add_row(f"GPU: {part.name}", in_words(part.bytes))
    console().print(table)


def check_memory(wanted: IntrinsicPPOConfig, module: IntrinsicPPOModule) -> None:
    """Tells what the training takes and what there is.

    Raises:
        ConfigError: it does not fit.
    """
    need, room = predict(wanted, (module.observation_space, module.action_space)), Room.here()
    say(
        f"one rollout at full size: {wanted.samples_per_iteration():,} agent steps, "
        f"{in_words(need.rollout * max(1, wanted.num_env_runners))}"
    )
    print_memory(need)
    there = {"memory": room.memory, "Ray's object store": room.store, "GPU": room.gpu}
    say("there is     " + ", ".join(f"{name} {in_words(size)}" for name, size in there.items() if size is not None))
    for line in warnings(need, room):
        say(line)
    error = refusal(need, room)
    if error is not None:
        raise error


def resident_bytes() -> int:
    """Returns the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096
