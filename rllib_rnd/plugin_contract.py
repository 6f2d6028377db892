"""Calls of intrinsic rewards and auxiliary losses: what they return is checked, and what they raise gets their name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.own_code import failures_of, method_of, name_of
from rllib_rnd.plugin import LossTerms
from rllib_rnd.rollout import Rollout

_TERMS = "a mapping of names to (sum over samples, number of samples), see count_samples"


def checked_reward(
    plugin: object, compute: Callable[[Rollout], object], rollout: Rollout
) -> tuple[Tensor, dict[str, Tensor]]:
    """Calls an intrinsic reward's ``compute``.

    Args:
        plugin: the reward, for messages.
        compute: its method.
        rollout: what it is computed for.

    Returns:
        Raw rewards ``[T, N]`` and features by name.

    Raises:
        ConfigError: it raises an error, or returns something else.
    """
    with failures_of(plugin, "compute"):
        returned = compute(rollout)
    shape = (rollout.num_steps, rollout.num_envs)
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise _wrong(plugin, "compute", _kind(returned), f"(rewards [T, N] = {list(shape)}, features by name)")
    r_t, features = returned
    if not isinstance(r_t, Tensor) or tuple(r_t.shape) != shape or not r_t.is_floating_point():
        raise _wrong(plugin, "compute", f"rewards: {_kind(r_t)}", f"a float tensor [T, N] = {list(shape)}")
    if not isinstance(features, Mapping):
        raise _wrong(plugin, "compute", f"features: {_kind(features)}", "a mapping of names to tensors [T * N, ...]")
    for name, feature in features.items():
        if not isinstance(feature, Tensor) or feature.dim() == 0 or len(feature) != r_t.numel():
            allowed = f"a tensor [T * N, ...] = [{r_t.numel()}, ...]"
            raise _wrong(plugin, "compute", f"feature {name!r}: {_kind(feature)}", allowed)
    return r_t, dict(features)


def checked_terms(plugin: object, terms: Callable[[], object], device: torch.device) -> LossTerms:
    """Calls a plug-in's ``terms``.

    Args:
        plugin: for messages.
        terms: its method with the arguments.
        device: that the number of samples is moved to, where it is a plain number.

    Returns:
        Name -> sum and number of samples, ``[]`` each.

    Raises:
        ConfigError: it raises an error, or returns something else.
    """
    with failures_of(plugin, "terms"):
        returned = terms()
    if not isinstance(returned, Mapping):
        raise _wrong(plugin, "terms", _kind(returned), _TERMS)
    checked: LossTerms = {}
    for name, term in returned.items():
        if not (isinstance(term, tuple | list) and len(term) == 2):
            raise _wrong(plugin, "terms", f"{name!r}: {_kind(term)}", f"{_TERMS}; not a mean, not a loss per sample")
        total, count = term
        if isinstance(count, int | float) and not isinstance(count, bool):
            count = torch.full((), float(count), device=device)
        for part, value in (("sum", total), ("number of samples", count)):
            if not isinstance(value, Tensor) or value.dim() > 0:
                raise _wrong(plugin, "terms", f"{name!r}: as {part} {_kind(value)}", f"{_TERMS}, tensors [] both")
        checked[str(name)] = (cast("Tensor", total), count)
    return checked


def checked_metrics(plugin: object, metrics: Mapping[str, object]) -> dict[str, float]:
    """What a plug-in wants to have logged, as numbers.

    Raises:
        ConfigError: a value is no single number.
    """
    values: dict[str, float] = {}
    for name, value in metrics.items():
        if not (isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)):
            problem = f"{name_of(type(plugin))} set metrics[{name!r}] to {_kind(value)}"
            raise ConfigError("", problem, "one number, a tensor []")
        values[name] = float(value)
    return values


def check_own_parameters(plugin: nn.Module, backbone: nn.Module) -> None:
    """Refuses a plug-in that keeps the backbone: its parameters would be listed, saved and counted twice.

    Raises:
        ConfigError: it does.
    """
    theirs = {id(parameter) for parameter in backbone.parameters()}
    kept = next((name for name, parameter in plugin.named_parameters() if id(parameter) in theirs), None)
    if kept is not None:
        problem = f"{name_of(type(plugin))} keeps the backbone as its own (its parameter {kept!r} is the backbone's)"
        raise ConfigError("", problem, "a frozen copy (copy.deepcopy), or the backbone that its methods are handed")


def _wrong(plugin: object, method: str, what: str, allowed: str) -> ConfigError:
    return ConfigError("", f"{method_of(plugin, method, with_line=True)} returned {what}", allowed)


def _kind(value: object) -> str:
    """A value's type, and of tensors what matters of them."""
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"type {type(value).__name__}"
