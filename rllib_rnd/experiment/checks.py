"""Checks of an experiment's ``config``: names, types and ranges, each error with its place in the file.

RLlib's own ``AlgorithmConfig.from_dict`` sets unknown keys without a word, so a typing error would train with
the default. Here every key must exist in the algorithm's default configuration.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from ray._common.deprecation import DEPRECATED_VALUE
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.config_checks import unknown_setting_error
from rllib_rnd.errors import ConfigError, KeyPath, at, dotted, nearest_name, same, unknown_name_error
from rllib_rnd.experiment.search import SearchSpace, is_expression
from rllib_rnd.experiment.yaml_file import ExperimentError, Places
from rllib_rnd.options import check_value
from rllib_rnd.rllib_settings import check_written, usable_names
from rllib_rnd.settings import ALIASES, RLLIBS_OWN, SETTINGS, attribute_name

# Attributes that are state or belong to parts of RLlib that cannot be set from a file.
_HIDDEN = {"algo_class", "in_evaluation", "policies", "policy_mapping_fn", "stats_cls_lookup"}
# What RLlib itself calls otherwise than its users do.
_INTERNAL = {"callbacks_class", "framework_str", "input_"}


def known_keys(default: AlgorithmConfig) -> list[str]:
    """Returns the names that a user may write in ``config`` for one algorithm.

    Args:
        default: ``algorithm_class.get_default_config()``.
    """
    names = [alias for alias, attribute in ALIASES.items() if hasattr(default, attribute)]
    for name, value in vars(default).items():
        deprecated = same(value, DEPRECATED_VALUE)
        if not (name.startswith("_") or name in _HIDDEN or name in _INTERNAL or deprecated):
            names.append(name)
    return names


def usable_keys(default: AlgorithmConfig) -> list[str]:
    """Returns those of `known_keys` that have an effect: this package's algorithms refuse what they do not read."""
    from rllib_rnd.config import IntrinsicPPOConfig

    return usable_names(default) if isinstance(default, IntrinsicPPOConfig) else known_keys(default)


def with_attribute_names(
    config: Mapping[str, Any], default: AlgorithmConfig, path: KeyPath, places: Places
) -> dict[str, Any]:
    """Returns ``config`` by attribute of the configuration: the one place where aliases are resolved.

    Args:
        config: by the names of the file.
        default: whose names are allowed.
        path: where it stands in the file.
        places: the places of its values, renamed likewise.

    Raises:
        ExperimentError: an unknown key, or a setting under both of its names.
    """
    known, result = known_keys(default), {}
    for key, value in config.items():
        if key not in known:
            raise places.located(path, _unknown_key(key, config, default))
        name = attribute_name(key)
        if name in result or (name != key and name in config):
            raise places.error((*path, name), f"is the same setting as {key}; give one of them")
        if name != key:
            places.rename((*path, name), (*path, key))
        if name == "evaluation_config" and isinstance(value, Mapping) and not is_expression(value):
            value = with_attribute_names(value, default, (*path, name), places)
        result[name] = value
    return result


def _unknown_key(key: str, config: Mapping[str, Any], default: AlgorithmConfig) -> ConfigError:
    if isinstance(default, IntrinsicPPOConfig):
        return unknown_setting_error("key", key, usable_keys(default), config)
    return unknown_name_error("key", key, usable_keys(default), key)


def check_config(space: SearchSpace, default: AlgorithmConfig, path: KeyPath, places: Places) -> None:
    """Checks every value that any trial can take, and takes counts written as ``1e6`` for the integers they are.

    Args:
        space: the ``config`` of one experiment, by attribute.
        default: ``algorithm_class.get_default_config()``.
        path: where ``config`` stands in the file.
        places: the places of its values.

    Raises:
        ExperimentError: for the first problem found.
    """
    evaluation = ("evaluation_config",)
    _check_evaluation(space.sample.get(*evaluation), default, path, places)  # by attribute, as all of the sample
    for where, value in space.alternatives:
        if where == evaluation and isinstance(value, Mapping):
            named = with_attribute_names(value, default, (*path, *evaluation), places)
            _check_evaluation(named, default, path, places)
    with places.at(*path):
        if isinstance(default, IntrinsicPPOConfig):
            check_written(space.sample)
        for name, value in space.sample.items():
            checked = check_setting(name, value, default)
            if space.space[name] is value:  # no sampling expression
                space.space[name] = checked
            space.sample[name] = checked
        for where, value in space.alternatives:
            if len(where) == 1:
                check_setting(str(where[0]), value, default)


def _check_evaluation(settings: object, default: AlgorithmConfig, path: KeyPath, places: Places) -> None:
    with places.at(*path, "evaluation_config"):
        for name, value in settings.items() if isinstance(settings, Mapping) else ():
            check_setting(name, value, default)


def check_setting(name: str, value: object, default: AlgorithmConfig) -> Any:
    """Checks one value against the table of settings, or against the type of its default.

    Raises:
        ConfigError: naming the setting, the value and what is allowed.
    """
    try:
        return _checked(name, value, default)
    except ConfigError as error:
        if isinstance(value, Mapping) and len(value) == 1 and error.nearest is None and error.path == name:
            error.nearest = nearest_name(str(next(iter(value))), ("grid_search",))  # written wrongly
        raise


def _checked(name: str, value: object, default: AlgorithmConfig) -> object:
    if name in SETTINGS:
        return SETTINGS[name].check(value)
    if name in RLLIBS_OWN:
        hint, limits = RLLIBS_OWN[name]
        return check_value(value, hint, name, limits)
    mine = vars(default).get(name)
    for kind in (bool, int, float, str, dict, list):  # bool first, it is an int too
        if isinstance(mine, kind):
            return check_value(value, int | float if kind is float else kind, name)
    return value


def build_config(
    algorithm_class: type[Algorithm], base: AlgorithmConfig | None, values: Mapping[str, Any]
) -> AlgorithmConfig:
    """Returns the configuration object of one trial.

    Args:
        algorithm_class: the algorithm.
        base: a configuration object to start from (Python experiment files), or None for the defaults.
        values: attributes to set, without sampling expressions.
    """
    config = base.copy(copy_frozen=False) if base is not None else algorithm_class.get_default_config()
    config.update_from_dict(copy.deepcopy(dict(values)))
    return config


def validate_trials(
    algorithm_class: type[Algorithm], base: AlgorithmConfig | None, space: SearchSpace, path: KeyPath, places: Places
) -> None:
    """Runs the algorithm's own ``validate()`` on one trial and once per other value of each expression.

    Raises:
        ExperimentError: what the algorithm refused, in one line, at the line of the key it names.
    """
    for values in [space.sample, *(space.with_values([choice]) for choice in space.tried)]:
        _validate(algorithm_class, base, values, path, places)


def _validate(
    algorithm_class: type[Algorithm],
    base: AlgorithmConfig | None,
    values: Mapping[str, Any],
    path: KeyPath,
    places: Places,
) -> None:
    try:
        with places.at(*path):
            config = build_config(algorithm_class, base, values)
            config.validate()
            check_environment(config)
    except ConfigError:
        raise
    except (ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise _from_rllib(error, values, path, places) from error


def check_environment(config: AlgorithmConfig) -> None:
    """Makes the environment once, so that a wrong name or option is found before anything is started.

    Only for this package's algorithms; RLlib's own look environments up in a registry of their own.

    Raises:
        ConfigError: unknown name, wrong option, missing package, or spaces that are not supported; or the environment
            of evaluation has other spaces.
    """
    from rllib_rnd.config import IntrinsicPPOConfig

    if not isinstance(config, IntrinsicPPOConfig):
        return
    from rllib_rnd.envs.space_json import space_in_words

    spaces = _spaces_of(config)
    evaluation = config.get_evaluation_config_object()
    if not same((evaluation.env, evaluation.env_config), (config.env, config.env_config)):
        with at("evaluation_config"):
            if (other := _spaces_of(evaluation)) != spaces:
                found, wanted = (" and ".join(map(space_in_words, pair)) for pair in (other, spaces))
                raise ConfigError("env", f"{evaluation.env!r} has {found}", f"what training has, {wanted}")


def _spaces_of(config: AlgorithmConfig) -> tuple[gym.Space, gym.Space]:
    from rllib_rnd.envs import make_vector_env

    env = make_vector_env(config.env, 1, dict(config.env_config))
    try:
        return env.single_observation_space, env.single_action_space
    finally:
        env.close()


def _from_rllib(error: Exception, values: Mapping[str, Any], path: KeyPath, places: Places) -> ExperimentError:
    """RLlib's own errors carry no place: theirs is the line of the first key that the message names."""
    message = " ".join(str(error).partition("\nTo suppress all validation")[0].split())
    named = [key for key in values if re.search(rf"\b{re.escape(key)}\b", message)]
    if named:
        return places.error((*path, min(named, key=message.index)), message)
    return ExperimentError(places.of(path), dotted(path), message)
