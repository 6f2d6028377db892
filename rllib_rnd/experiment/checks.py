"""Checks of an experiment's ``config``: names, types and ranges, each error with its place in the file.

RLlib's own ``AlgorithmConfig.from_dict`` sets unknown keys without a word, so a typing error would train with
the default. Here every key must exist in the algorithm's default configuration.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rllib_rnd.errors import ConfigError, KeyPath, dotted, parse_dotted, unknown_name_error
from rllib_rnd.experiment.search import SearchSpace
from rllib_rnd.experiment.yaml_file import ExperimentError, Places
from rllib_rnd.options import Limits, check_value

# What users write -> the attribute of AlgorithmConfig that holds it.
ALIASES = {
    "lambda": "lambda_",
    "callbacks": "callbacks_class",
    "framework": "framework_str",
    "input": "input_",
    "train_batch_size_per_learner": "_train_batch_size_per_learner",
    "model_config": "_model_config",
}
# Attributes that are state or belong to parts of RLlib that cannot be set from a file.
_HIDDEN = {"algo_class", "in_evaluation", "policies", "policy_mapping_fn", "stats_cls_lookup"}
_RLLIB_DEPRECATED = -1  # ray.rllib.utils.deprecation.DEPRECATED_VALUE


@dataclass(frozen=True)
class Rule:
    """Allowed values of one key.

    Attributes:
        hint: type annotation, as :func:`rllib_rnd.options.check_value` reads it.
        low, high: inclusive limits.
        above: exclusive lower limit.
        schedule: a list ``[[agent_step, value], ...]`` is allowed too.
    """

    hint: Any
    low: float | None = None
    high: float | None = None
    above: float | None = None
    schedule: bool = False


_COUNT = Rule(int, low=1)
_COUNT_OR_ZERO = Rule(int, low=0)
_SHARE = Rule(float, low=0.0, high=1.0)
_NOT_NEGATIVE = Rule(float, low=0.0)
_POSITIVE_OR_NONE = Rule(float | None, above=0.0)

RULES: dict[str, Rule] = {
    "env": Rule(str),
    "env_config": Rule(dict),
    "lr": Rule(float, above=0.0, schedule=True),
    "entropy_coeff": Rule(float, low=0.0, schedule=True),
    "clip_param": Rule(float, above=0.0, schedule=True),
    "gamma": _SHARE,
    "lambda_": _SHARE,
    "vf_loss_coeff": _NOT_NEGATIVE,
    "vf_clip_param": _POSITIVE_OR_NONE,
    "grad_clip": _POSITIVE_OR_NONE,
    "kl_coeff": _NOT_NEGATIVE,
    "kl_target": Rule(float, above=0.0),
    "num_epochs": _COUNT,
    "num_minibatches": _COUNT,
    "minibatch_size": Rule(int | None, low=1),
    "_train_batch_size_per_learner": Rule(int | None, low=1),
    "train_batch_size": _COUNT,
    "num_env_runners": _COUNT_OR_ZERO,
    "num_envs_per_env_runner": _COUNT,
    "num_learners": _COUNT_OR_ZERO,
    "num_cpus_per_env_runner": _NOT_NEGATIVE,
    "num_gpus_per_env_runner": _NOT_NEGATIVE,
    "num_cpus_per_learner": Rule(float | str, low=0.0),
    "num_gpus_per_learner": _NOT_NEGATIVE,
    "num_cpus_for_main_process": _NOT_NEGATIVE,
    "num_gpus": _NOT_NEGATIVE,
    "rollout_fragment_length": Rule(int | str, low=1),
    "sample_timeout_s": Rule(float | None, low=0.0),
    "seed": Rule(int | None, low=0),
    "extrinsic_coeff": _NOT_NEGATIVE,
    "warmup_steps": _COUNT_OR_ZERO,
    # The presets' defaults are single mappings; what they may be besides is known here alone.
    "intrinsic_reward": Rule(dict | str | list | None),
    "auxiliary_loss": Rule(dict | str | list | None),
    "backbone": Rule(dict | str),
    "pretraining": Rule(dict | None),
    "max_nonfinite_updates": _COUNT,
    "torch_threads": Rule(int | None, low=1),
    "micro_batch_size": Rule(int | None, low=1),
    "evaluation_interval": Rule(int | None, low=1),
    "evaluation_duration": Rule(int | str, low=1),
    "evaluation_num_env_runners": _COUNT_OR_ZERO,
    "evaluation_config": Rule(dict | None),
    "callbacks_class": Rule(Any),
    "_model_config": Rule(dict),
}


def known_keys(default: Any) -> dict[str, str]:
    """Returns {name a user may write: attribute of the configuration} for one algorithm."""
    names: dict[str, str] = {}
    for name, value in vars(default).items():
        deprecated = isinstance(value, int) and not isinstance(value, bool) and value == _RLLIB_DEPRECATED
        if name.startswith("_") or name in _HIDDEN or deprecated:
            continue
        names[name] = name
    for alias, name in ALIASES.items():
        if hasattr(default, name):
            names[alias] = name
    for internal in ("callbacks_class", "framework_str", "input_"):  # the alias is the public word
        names.pop(internal, None)
    return names


def check_config(space: SearchSpace, default: Any, path: KeyPath, places: Places) -> None:
    """Checks every key and every value that any trial can take.

    Args:
        space: the ``config`` of one experiment.
        default: ``algorithm_class.get_default_config()``.
        path: where ``config`` stands in the file.
        places: the places of its values.

    Raises:
        ExperimentError: for the first problem found.
    """
    known = known_keys(default)
    for key in space.sample:
        if key not in known:
            raise places.error((*path, key), str(unknown_name_error("key", key, known)))
    for key in space.sample.get("evaluation_config") or ():
        if key not in known:
            raise places.error((*path, "evaluation_config", key), str(unknown_name_error("key", key, known)))
    values: list[tuple[KeyPath, Any]] = [((key,), value) for key, value in space.sample.items()]
    for where, value in [*values, *space.alternatives]:
        if len(where) == 1:
            _check_one(str(where[0]), value, known, default, (*path, *where), places)


def _check_one(key: str, value: Any, known: Mapping[str, str], default: Any, path: KeyPath, places: Places) -> None:
    attribute = known[key]
    rule = RULES.get(attribute) or _rule_from(vars(default).get(attribute))
    try:
        check_rule(value, rule, "value")
    except ConfigError as error:
        raise places.error(path, str(error).partition(": ")[2]) from error


def check_rule(value: Any, rule: Rule, where: str) -> None:
    """Checks one value against one rule.

    Raises:
        ConfigError: naming ``where``, the value and what is allowed.
    """
    if rule.schedule and isinstance(value, list):
        _check_schedule(value, rule, where)
        return
    # Counts are often written 1e6, which YAML reads as a float.
    whole = isinstance(value, float) and value.is_integer() and rule.hint in (int, int | None)
    check_value(int(value) if whole else value, rule.hint, where, Limits(low=rule.low, high=rule.high))
    if rule.above is not None and isinstance(value, (int, float)) and value <= rule.above:
        raise ConfigError(f"{where}: {value!r} is out of range; allowed is more than {rule.above:g}.")


def _check_schedule(value: list[Any], rule: Rule, where: str) -> None:
    steps = []
    for point in value:
        if not isinstance(point, list) or len(point) != 2 or isinstance(point[0], bool):
            raise ConfigError(f"{where}: {point!r} is no point of a schedule; allowed is [agent_step, value].")
        step, number = point
        if not isinstance(step, (int, float)) or step < 0:
            raise ConfigError(f"{where}: {step!r} is not an agent step; allowed is 0 or more.")
        steps.append(step)
        # A schedule may end at zero: a learning rate that is annealed away.
        check_value(number, float, where, Limits(low=0.0, high=rule.high))
    if not steps or steps[0] != 0 or steps != sorted(set(steps)):
        raise ConfigError(f"{where}: {value!r}: a schedule starts at agent step 0 and its steps grow.")


def _rule_from(default: Any) -> Rule:
    for kind in (bool, int, float, str, dict, list):  # bool first, it is an int too
        if isinstance(default, kind):
            return Rule(float | int if kind is float else kind)
    return Rule(Any)


def whole_numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration with counts written as ``1e6`` turned into integers."""
    result = dict(config)
    for key, value in result.items():
        rule = RULES.get(ALIASES.get(key, key))
        if rule and rule.hint in (int, int | None) and isinstance(value, float) and value.is_integer():
            result[key] = int(value)
    return result


def build_config(algorithm_class: Any, base: Any | None, values: Mapping[str, Any]) -> Any:
    """Returns the configuration object of one trial.

    Args:
        algorithm_class: the algorithm.
        base: a configuration object to start from (Python experiment files), or None for the defaults.
        values: keys to set, without sampling expressions.
    """
    config = base.copy(copy_frozen=False) if base is not None else algorithm_class.get_default_config()
    config.update_from_dict(copy.deepcopy(dict(values)))
    return config


def validate_trials(algorithm_class: Any, base: Any | None, space: SearchSpace, path: KeyPath, places: Places) -> None:
    """Runs the algorithm's own ``validate()`` on one trial and once per other value of each expression.

    Raises:
        ExperimentError: what the algorithm refused, in one line, at the line of the key it names.
    """
    _validate(algorithm_class, base, space.sample, path, places)
    # A range needs no more than its two ends; of a very long grid the first values stand for the rest.
    for where, value in space.alternatives[:50]:
        _validate(algorithm_class, base, replaced(space.sample, where, value), path, places)


def replaced(config: Mapping[str, Any], where: KeyPath, value: Any) -> dict[str, Any]:
    """Returns a copy of ``config`` with the value at ``where`` replaced."""
    result = copy.deepcopy(dict(config))
    target: Any = result
    for part in where[:-1]:
        target = target[part]
    target[where[-1]] = value
    return result


def _validate(algorithm_class: Any, base: Any, values: Mapping[str, Any], path: KeyPath, places: Places) -> None:
    try:
        config = build_config(algorithm_class, base, values)
        config.validate()
        check_environment(algorithm_class, config)
    except ExperimentError:
        raise
    except (ConfigError, ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise _placed(error, values, path, places) from error


def check_environment(algorithm_class: Any, config: Any) -> None:
    """Makes the environment once, so that a wrong name or option is found before anything is started.

    Only for this package's algorithms; RLlib's own look environments up in a registry of their own.

    Raises:
        ConfigError: unknown name, wrong option, missing package, or spaces that are not supported.
    """
    from rllib_rnd.algorithm import IntrinsicPPO
    from rllib_rnd.envs import make_vector_env

    if issubclass(algorithm_class, IntrinsicPPO):
        make_vector_env(config.env, 1, dict(config.env_config)).close()


def _placed(error: Exception, values: Mapping[str, Any], path: KeyPath, places: Places) -> ExperimentError:
    """Finds the key that an algorithm's message is about: the path it starts with, or the first key named."""
    message = " ".join(str(error).partition("\nTo suppress all validation")[0].split())
    start, colon, rest = message.partition(": ")
    where = parse_dotted(start.removeprefix("config.")) if colon and " " not in start else ()
    if len(where) > 1 and isinstance(where[1], int) and isinstance(values.get(str(where[0])), Mapping):
        where = (where[0], *where[2:])  # a single plug-in counts as a list of one in the algorithm's messages
    if where and str(where[0]) in values:
        unknown = re.match(r"unknown \w+ '([^']*)'", rest)
        if unknown and (*path, *where, unknown.group(1)) in places:
            where = (*where, unknown.group(1))
        return places.error((*path, *where), rest)
    named = [key for key in values if re.search(rf"\b{re.escape(key)}\b", message)]
    if named:
        first = min(named, key=message.index)
        return places.error((*path, first), message)
    return ExperimentError(f"{places.of(path)}: {dotted(path)}: {message}")
