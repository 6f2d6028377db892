"""Every setting of the algorithms, once: type, default, limits, meaning, and whether runs are compared by it.

Python's ``training()``, experiment files, Tune, MLflow, ``rllib list settings`` and the table in
docs/configuration.md read this file and nothing else.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.options import Limits, as_yaml, check_value, default_of, describe_allowed, option

R = TypeVar("R")

#: The default is RLlib's.
RLLIB = object()


@dataclass(frozen=True)
class Settings:
    """What `IntrinsicPPOConfig` has besides RLlib's settings."""

    extrinsic_coeff: float = option(2.0, "weight of the extrinsic advantage; RND: 2", low=0.0)
    extrinsic_reward: Literal["raw", "sign", "positive_sign", "clip", "none"] = option(
        "raw",
        "what the learner trains on; positive_sign is 1 where something is gained, else 0; clip is to -1..1; none is "
        "0. Reported returns are always raw",
    )
    num_minibatches: int = option(4, "minibatches per epoch; RND: 4", low=1)
    normalize_advantages: Literal["none", "rollout", "minibatch"] = option(
        "none", "standardise the mixed advantage over all samples of the iteration, or of each minibatch; RND: none"
    )
    bootstrap_truncated: bool = option(
        True,
        "returns that stop at episode ends go on with the value of the last observation where a time limit has cut the "
        "episode; False: the limit is the task's own end and nothing follows, as in the code of RND, RIDE and NovelD",
    )
    backbone: dict | str = option({"type": "auto"}, "the network below policy and critics; auto picks by observation")
    heads: dict = option({}, "changes to how policy and critics stand on the backbone")
    intrinsic_reward: dict | str | list | None = option(None, "one intrinsic reward or several, a value stream each")
    auxiliary_loss: dict | str | list | None = option(None, "one representation loss on the backbone or several")
    pretraining: dict | None = option(None, "auxiliary losses train the backbone on random play first")
    freeze_backbone: bool = option(
        False, "train everything but the backbone; auxiliary losses act in pre-training only"
    )
    warmup_steps: int = option(0, "vector steps of random play before training, for the first statistics", low=0)
    # A process that is stopped, or waits for a GPU that is gone, would be waited for without end.
    learn_timeout_s: float | None = option(
        3600.0,
        "seconds that learners in processes of their own may take for an iteration before they are given up, and the "
        "trial goes on from its checkpoint; null: any",
        above=0.0,
        logged=False,
    )
    max_nonfinite_updates: int = option(20, "skipped updates in a row that end the training", low=1, logged=False)
    torch_threads: int | None = option(
        None,
        "threads of each learner; null: all cores (or OMP_NUM_THREADS), shared, less those of runners that play "
        "meanwhile, but one where the network is too small to share",
        low=1,
        logged=False,
    )
    keep_freed_memory: bool = option(
        True,
        "on the CPU: the process keeps freed memory for its next step (glibc), instead of having the kernel clear it "
        "anew",
        logged=False,
    )
    micro_batch_size: int | None = option(
        None,
        "samples per pass of policy and critics, gradients summed over the minibatch; null: 1,024 on the CPU, the "
        "whole minibatch on a GPU",
        low=1,
        logged=False,
    )
    autocast: Literal["none", "bfloat16"] = option(
        "none", "precision that policy and critics are run in; weights, rewards and losses stay float32"
    )
    overlap_sampling: bool = option(
        False,
        "remote runners play the next rollout while the learner trains, with a policy one update older; needs "
        "num_env_runners of 1 or more",
    )
    compress_rollouts: Literal["auto", "none", "lz4"] = option(
        "auto",
        "remote runners pack their rollouts for the way (nothing is lost); auto: where a learner is on another machine",
        logged=False,
    )
    optimizer_type: Literal["adam", "rmsprop"] = option("adam", "rmsprop (alpha 0.99) is for the settings of A2C")
    optimizer_epsilon: float = option(1e-8, "epsilon of the optimizer", low=0.0)
    max_evaluation_steps: int = option(
        27_000,
        "agent steps after which an episode of evaluation counts as truncated (108,000 frames of Atari)",
        low=1,
        logged=False,
    )


@dataclass(frozen=True)
class RLlibSettings:
    """RLlib's settings that have another default here, limits that RLlib does not check, or a place in MLflow."""

    env: str | Callable | None = option(RLLIB, "the environment, by its name or what makes it")
    env_config: dict = option(RLLIB, "its options")
    num_env_runners: int = option(0, "processes that play; 0 plays in the main process", low=0)
    num_envs_per_env_runner: int = option(8, "environments of each", low=1)
    rollout_fragment_length: int | Literal["auto"] = option(
        128, "T, agent steps per environment and iteration; auto: 128", low=1
    )
    num_learners: int = option(
        0, "learner processes; 0 learns in the main process; at most the number of environments", low=0
    )
    lr: float = option(1e-4, "step size of the optimizer", above=0.0, schedule=True)
    gamma: float = option(0.999, "discount of the extrinsic stream", low=0.0, high=1.0)
    lambda_: float = option(0.95, "GAE's lambda, all streams (lambda_ in Python)", low=0.0, high=1.0)
    clip_param: float = option(0.1, "PPO's clip range", above=0.0, schedule=True)
    entropy_coeff: float = option(0.001, "weight of the entropy", low=0.0, schedule=True)
    vf_loss_coeff: float = option(1.0, "weight of the sum of value losses, each 0.5 (v - target)^2", low=0.0)
    vf_clip_param: float | None = option(None, "value clipping; null: off", above=0.0)
    grad_clip: float | None = option(None, "largest norm of the whole gradient; null: off", above=0.0)
    num_epochs: int = option(4, "passes over the rollout", low=1)
    minibatch_size: int | None = option(
        None, "samples per minibatch and learner; decides instead of num_minibatches", low=1
    )
    seed: int | None = option(
        RLLIB, "of everything; runners and environments get different ones derived from it", low=0
    )
    # Longer than RLlib's 60 s: a long rollout of many environments takes more on a small machine.
    sample_timeout_s: float | None = option(
        600.0, "seconds that a rollout may take before its runner is started anew; null: any", low=0.0, logged=False
    )
    restart_failed_env_runners: bool = option(
        RLLIB, "env runners whose process ends or hangs are started anew; false: training ends", logged=False
    )
    # RLlib's is off: a crash after days would end a run, and with remote runners not even be told.
    restart_failed_sub_environments: bool = option(
        True, "environments that raise are made anew, ten times in a row; false: training ends", logged=False
    )
    # RLlib's 100 rounds without a sample would be counted as iterations.
    num_consecutive_env_runner_failures_tolerance: int = option(
        10, "times in a row that runners may be lost without a rollout of any between", low=0, logged=False
    )
    # RLlib's 60 s are slept by each runner that raises, which here none does.
    delay_between_env_runner_restarts_s: float = option(
        5.0, "seconds between two tries to make a runner whose constructor raises", low=0.0, logged=False
    )
    max_num_env_runner_restarts: int = option(RLLIB, "restarts of each runner", low=0, logged=False)
    env_runner_restore_timeout_s: float = option(
        RLLIB, "seconds that training waits for a runner to come back, when too few are left", low=0.0, logged=False
    )
    num_cpus_per_env_runner: int | float = option(RLLIB, "CPUs that Ray reserves for each", low=0, logged=False)
    num_gpus_per_env_runner: int | float = option(RLLIB, "GPUs, likewise", low=0, logged=False)
    num_cpus_per_learner: int | float | Literal["auto"] = option(RLLIB, "CPUs of each learner", low=0, logged=False)
    num_gpus_per_learner: int | float = option(RLLIB, "GPUs of each learner, 0 or 1", low=0, high=1, logged=False)
    num_cpus_for_main_process: int | float = option(RLLIB, "CPUs of the main process", low=0, logged=False)
    evaluation_interval: int | None = option(
        RLLIB, "iterations between evaluations; null or 0: none", low=0, logged=False
    )
    evaluation_duration: int | Literal["auto"] = option(RLLIB, "episodes of each evaluation", low=1, logged=False)
    evaluation_num_env_runners: int = option(RLLIB, "processes that evaluate", low=0, logged=False)
    # RLlib's 120 s end evaluations of long episodes.
    evaluation_sample_timeout_s: float | None = option(
        1800.0,
        "seconds that an evaluation may take before its runner is started anew; null: any",
        low=0.0,
        logged=False,
    )
    evaluation_config: dict | AlgorithmConfig | None = option(RLLIB, "settings that differ in evaluation", logged=False)


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: attribute of the configuration.
        hint: type annotation, as `check_value` reads it.
        default: of `IntrinsicPPOConfig`; `RLLIB` where RLlib's stands.
        help: meaning.
        limits: what the value may be besides its type.
        logged: MLflow keeps it among a run's parameters.
    """

    name: str
    hint: Any
    default: Any
    help: str
    limits: Limits
    logged: bool

    @property
    def key(self) -> str:
        """The name in experiment files."""
        return PUBLIC_NAMES.get(self.name, self.name)

    def check(self, value: object) -> Any:
        """Returns the value, normalised.

        Raises:
            ConfigError: it has a wrong type, or is out of range.
        """
        return check_value(value, self.hint, self.name, self.limits)


def _collect(cls: type) -> dict[str, Setting]:
    hints = typing.get_type_hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        found[field.name] = Setting(field.name, hints[field.name], default_of(field), **field.metadata)
    return found


#: What experiment files call a setting -> the attribute of RLlib's configuration that holds it.
ALIASES = {
    "lambda": "lambda_",
    "callbacks": "callbacks_class",
    "framework": "framework_str",
    "input": "input_",
    "train_batch_size_per_learner": "_train_batch_size_per_learner",
    "model_config": "_model_config",
    "env_to_module_connector": "_env_to_module_connector",
    "module_to_env_connector": "_module_to_env_connector",
    "learner_connector": "_learner_connector",
    "learner_class": "_learner_class",
    "rl_module_spec": "_rl_module_spec",
    "is_atari": "_is_atari",
}
PUBLIC_NAMES = {attribute: alias for alias, attribute in ALIASES.items()}

#: This package's own settings, and with them RLlib's that it limits, changes or logs; by attribute.
OWN: dict[str, Setting] = _collect(Settings)
SETTINGS: dict[str, Setting] = _collect(RLlibSettings) | OWN


#: Limits of settings that only RLlib's own algorithms read.
RLLIBS_OWN: dict[str, tuple[Any, Limits]] = {
    "kl_coeff": (float, Limits(low=0.0)),
    "kl_target": (float, Limits(above=0.0)),
    "num_gpus": (int | float, Limits(low=0)),
    "train_batch_size": (int, Limits(low=1)),
    "_train_batch_size_per_learner": (int | None, Limits(low=1)),
}


def attribute_name(key: str) -> str:
    """The attribute of the configuration that a key of an experiment file stands for."""
    return ALIASES.get(key, key)


def defaults() -> dict[str, Any]:
    """The values that `IntrinsicPPOConfig` starts with, by attribute, as far as they are not RLlib's."""
    own = _collect(Settings)  # anew: defaults that are mappings belong to one configuration each
    chosen = {setting.name: setting.default for setting in (SETTINGS | own).values()}
    return {name: value for name, value in chosen.items() if value is not RLLIB}


def table(differing: Mapping[str, Mapping[str, Any]], rllib: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Key, default, what is allowed and meaning of every setting, as text.

    Args:
        differing: the defaults of presets, where they differ: preset -> {attribute: value}.
        rllib: RLlib's defaults by attribute, for settings that have no other.
    """
    rows = []
    for setting in SETTINGS.values():
        default = as_yaml(rllib[setting.name] if setting.default is RLLIB else setting.default)
        for preset, values in differing.items():
            if setting.name in values:
                default += f"; {preset}: {as_yaml(values[setting.name])}"
        rows.append((setting.key, default, describe_allowed(setting.hint, setting.limits), setting.help))
    return rows


def documented(training: Callable[..., R]) -> Callable[..., R]:
    """Shows this package's settings in the signature and the documentation of ``training``.

    The defaults shown are those of a new configuration; what is not given stays as it is.
    """
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [inspect.Parameter(s.name, keyword, default=s.default, annotation=s.hint) for s in OWN.values()]
    parameters.append(inspect.Parameter("rllib", inspect.Parameter.VAR_KEYWORD))
    signature = inspect.signature(training).replace(parameters=parameters)
    training.__signature__ = signature  # type: ignore[attr-defined]
    lines = ["Args:", *(f"    {s.name}: {s.help}. Default: {as_yaml(s.default)}." for s in OWN.values())]
    lines += ["    **rllib: PPO's and RLlib's own training settings.", "", "Raises:"]
    training.__doc__ = inspect.cleandoc(training.__doc__ or "").replace("Raises:", "\n".join(lines))
    return training


def parameters_of(cls: type, method: str) -> set[str]:
    """Names of a method's arguments in all classes of ``cls``, for each hands its ``**kwargs`` on to the next."""
    owners = [c for c in cls.__mro__ if method in vars(c)]
    found = [p for c in owners for p in inspect.signature(vars(c)[method]).parameters.values()]
    return {p.name for p in found if p.kind is inspect.Parameter.KEYWORD_ONLY}
