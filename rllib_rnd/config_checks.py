"""Settings that must fit each other: what the table of settings, which sees one at a time, cannot check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES
from rllib_rnd.envs import env_config_class
from rllib_rnd.errors import ConfigError, at, briefly, unknown_name_error
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.modules.backbone import BACKBONES
from rllib_rnd.modules.heads import HeadStyle, head_style
from rllib_rnd.options import plugin_specs
from rllib_rnd.redaction import secrets_in
from rllib_rnd.rllib_settings import public_name

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from rllib_rnd.options import Registry

_PLUGINS: dict[str, Registry[Any]] = {
    "intrinsic_reward": INTRINSIC_REWARDS,
    "backbone": BACKBONES,
    "auxiliary_loss": AUXILIARY_LOSSES,
}
_LISTED = 3


def check_together(config: AlgorithmConfig) -> None:
    """Checks plug-ins, sizes and combinations.

    Args:
        config: an `IntrinsicPPOConfig` whose settings are each allowed.

    Raises:
        ConfigError: naming the setting, the value and what is allowed.
    """
    _check_rllib(config)
    _check_secrets(config)
    sequence_length = config.sequence_length()
    with at("heads"):
        head_style(HeadStyle(), config.heads)
    for path, spec in plugin_specs("intrinsic_reward", config.intrinsic_reward):
        INTRINSIC_REWARDS.parse(spec, path)
    for path, spec in plugin_specs("auxiliary_loss", config.auxiliary_loss):
        AUXILIARY_LOSSES.parse(spec, path)
    _check_pretraining(config)
    learners, envs = max(1, config.num_learners), config.num_envs_per_env_runner * max(1, config.num_env_runners)
    if learners > envs and not config.in_evaluation:  # whose runners may be fewer, and which learns nothing
        raise ConfigError("num_learners", f"{learners} learners cannot share {envs} environments", f"{envs} or less")
    if not config.in_evaluation:  # which trains on nothing: RLlib sets its fragments to single steps
        _check_samples(config, sequence_length)


def unknown_setting_error(kind: str, name: str, known: Iterable[str], given: Mapping[str, Any]) -> ConfigError:
    """Builds the error for a setting that there is not, which may be an option of what a setting names.

    Args:
        kind: "key", "training setting".
        name: as the user wrote it.
        known: every allowed name.
        given: the settings beside it: whose options come first.
    """
    found = list(_options_named(name, given))
    if not found:
        error = unknown_name_error(kind, name, known, name)
        if error.nearest is None:
            error.allowed = f"one of {len(error.allowed)} names (the usual ones: `rllib list settings`)"
        return error
    return ConfigError(name, f"unknown {kind} {name!r} here", " or ".join(found))


def _options_named(option: str, given: Mapping[str, Any]) -> Iterator[str]:
    """Paths at which an option stands: of the plug-ins and the environment that are used, else of any that has it."""
    used: list[str] = []
    others: list[str] = []
    for key, registry in _PLUGINS.items():
        types = {str(spec.get("type")) for _, spec in plugin_specs(key, given.get(key)) if isinstance(spec, Mapping)}
        having = [kind for kind, plugin in registry.items() if option in _names(getattr(plugin, "Options", None))]
        if types & set(having):
            used.append(f"{key}.{option}")
        elif having:
            others.append(f"{key}.{option} ({_listed(having)})")
    with suppress(ConfigError):  # of an environment that there is not: told elsewhere
        if given.get("env") is not None and option in _names(env_config_class(given["env"])):
            used.append(f"env_config.{option}")
    if option in _names(HeadStyle):
        others.append(f"heads.{option}")
    yield from used or others


def _names(options: object) -> set[str]:
    return {field.name for field in fields(options)} if isinstance(options, type) and is_dataclass(options) else set()


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_LISTED], *(["..."] if len(names) > _LISTED else [])])


def check_own_class(name: str, given: object, base: type) -> None:
    """Refuses a user's class in place of one of this package's that is not derived from it.

    Args:
        name: attribute of the configuration.
        given: the class, a specification with a ``module_class``, or None.
        base: the package's.

    Raises:
        ConfigError: it is another class.
    """
    found = getattr(given, "module_class", given)
    if found is not None and not (isinstance(found, type) and issubclass(found, base)):
        allowed = f"a subclass of {base.__module__}.{base.__qualname__}"
        raise ConfigError(public_name(name), f"{briefly(found)} does not do what this algorithm asks of it", allowed)


def _check_secrets(config: AlgorithmConfig) -> None:
    for place in secrets_in(config.env_config, "env_config"):
        raise ConfigError(
            place,
            "a secret would be written into checkpoints and results; let the environment read it from os.environ",
            "the name of an environment variable, under another name than a secret's",
        )


def _check_rllib(config: AlgorithmConfig) -> None:
    """Settings of RLlib's that have an effect here only together with others."""
    if config._model_config and config._rl_module_spec is None:
        problem = f"{briefly(config._model_config)} would have no effect: networks are set by backbone and heads"
        raise ConfigError("model_config", problem, "{}, or settings of a module of your own in rl_module_spec")
    if config.learner_config_dict and config._learner_class is None:
        problem = f"{briefly(config.learner_config_dict)} would have no effect: only a learner of your own reads it"
        raise ConfigError("learner_config_dict", problem, "{}, or a learner_class beside it")
    asked = config._train_batch_size_per_learner
    if asked is not None and not config.in_evaluation and asked != config.train_batch_size_per_learner:
        raise ConfigError(
            "train_batch_size_per_learner",
            f"{briefly(asked)} would have no effect: a batch is rollout_fragment_length x num_envs_per_env_runner x "
            "max(1, num_env_runners) steps over max(1, num_learners)",
            f"null, or what they make, {config.train_batch_size_per_learner}",
        )
    if config.overlap_sampling and config.num_env_runners == 0 and not config.in_evaluation:
        raise ConfigError(
            "overlap_sampling",
            "true needs runners of their own, and num_env_runners is 0",
            "false, or num_env_runners of 1 or more",
        )


def _check_pretraining(config: AlgorithmConfig) -> None:
    if config.pretraining_options() is not None and not config.auxiliary_loss_specs():
        raise ConfigError(
            "pretraining",
            "there is no auxiliary_loss to train with",
            "one, for example {type: byol}, or pretraining: null",
        )
    if config.freeze_backbone and config.auxiliary_loss_specs() and config.pretraining is None:
        raise ConfigError(
            "freeze_backbone",
            "true leaves auxiliary_loss nothing to train",
            "pretraining beside it, auxiliary_loss: null, or freeze_backbone: false",
        )


def _check_samples(config: AlgorithmConfig, sequence_length: int) -> None:
    """Fits sequences into rollouts, and minibatches into an iteration's samples per learner."""
    steps, samples = config.get_rollout_fragment_length(), config.train_batch_size_per_learner
    if steps % sequence_length:
        allowed = [length for length in range(1, steps + 1) if steps % length == 0]
        nearest = min(allowed, key=lambda length: abs(length - sequence_length))
        raise ConfigError(
            "backbone.max_seq_len",
            f"{sequence_length} does not divide rollout_fragment_length {steps}",
            f"one of {', '.join(map(str, allowed))}",
            nearest,
        )
    if config.minibatch_size is not None and config.minibatch_size > samples:
        raise ConfigError(
            "minibatch_size",
            f"{config.minibatch_size} is more than an iteration's {samples} samples per learner",
            f"{samples} or less, or null for num_minibatches",
        )
    if config.minibatches_per_epoch() > samples // sequence_length:
        parts = "samples" if sequence_length == 1 else f"sequences of {sequence_length} steps"
        raise ConfigError(
            "num_minibatches",
            f"{config.minibatches_per_epoch()} is more than an iteration's {samples // sequence_length} {parts}",
        )
