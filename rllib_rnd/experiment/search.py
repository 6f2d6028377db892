"""Sampling expressions, and the options of search and scheduler: a closed set, nothing is evaluated.

Two expressions may stand wherever ``config`` takes a value, at any depth::

    lr: {grid_search: [1.0e-4, 3.0e-4]}             every value once, all combinations of several grids
    entropy_coeff: {tune: loguniform, args: [1.0e-4, 1.0e-2]}    one draw per trial, ``num_samples`` trials
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.tune.search.sample import Domain, Function

from rllib_rnd.errors import ConfigError, KeyPath, unknown_name_error
from rllib_rnd.experiment.yaml_file import Places, walk
from rllib_rnd.options import as_yaml, option, parse_options


@dataclass(frozen=True)
class Sampler:
    """One sampling function of Ray Tune that a file may name.

    Attributes:
        arguments: the names of its arguments, in order.
        discrete: it draws integers.
    """

    arguments: tuple[str, ...]
    discrete: bool = False


SAMPLERS: dict[str, Sampler] = {
    "uniform": Sampler(("lower", "upper")),
    "loguniform": Sampler(("lower", "upper")),
    "quniform": Sampler(("lower", "upper", "q")),
    "qloguniform": Sampler(("lower", "upper", "q")),
    "randint": Sampler(("lower", "upper"), discrete=True),
    "lograndint": Sampler(("lower", "upper"), discrete=True),
    "choice": Sampler(("values",)),
}


@dataclass(frozen=True)
class SectionOptions:
    """Base of the options of ``search`` and ``scheduler``."""


@dataclass(frozen=True)
class AshaOptions(SectionOptions):
    """Asynchronous successive halving (Li et al. 2018): stops the worse trials early."""

    metric: str = option("env_runners/episode_return_mean", "result that ranks the trials")
    mode: str = option("max", "whether more or less of the metric is better", choices=["max", "min"])
    time_attr: str = option("training_iteration", "result that measures how far a trial is")
    max_t: int = option(100, "value of time_attr at which a trial ends", low=1)
    grace_period: int = option(1, "value of time_attr before which no trial is stopped", low=1)
    reduction_factor: float = option(4.0, "one trial in this many survives a rung", low=1.01)


@dataclass(frozen=True)
class MedianOptions(SectionOptions):
    """Median stopping rule: stops trials below the median of the others."""

    metric: str = option("env_runners/episode_return_mean", "result that ranks the trials")
    mode: str = option("max", "whether more or less of the metric is better", choices=["max", "min"])
    time_attr: str = option("training_iteration", "result that measures how far a trial is")
    grace_period: float = option(10.0, "value of time_attr before which no trial is stopped", low=0.0)
    min_samples_required: int = option(3, "trials needed before any is stopped", low=1)


@dataclass(frozen=True)
class PbtOptions(SectionOptions):
    """Population based training (Jaderberg et al. 2017): worse trials go on as changed copies of better ones.

    What changes are the values that ``config`` draws with ``tune``, within the ranges there.
    """

    metric: str = option("env_runners/episode_return_mean", "result that ranks the trials")
    mode: str = option("max", "whether more or less of the metric is better", choices=["max", "min"])
    time_attr: str = option("training_iteration", "result that measures how far a trial is")
    perturbation_interval: float = option(10.0, "how much time_attr grows between two rankings", low=1.0)
    quantile_fraction: float = option(0.25, "share of the trials that copy, and that are copied", low=0.01, high=0.5)
    resample_probability: float = option(0.25, "chance of a new draw; else a step up or down", low=0.0, high=1.0)
    synch: bool = option(True, "rank all trials at the same time_attr; false: each when it gets there")


@dataclass(frozen=True)
class FifoOptions(SectionOptions):
    """No early stopping."""


@dataclass(frozen=True)
class RandomOptions(SectionOptions):
    """Grid and random search."""

    seed: int | None = option(None, "seed of the draws", low=0)


@dataclass(frozen=True)
class OptunaOptions(SectionOptions):
    """Optuna's tree-structured Parzen estimator."""

    metric: str = option("env_runners/episode_return_mean", "result to improve")
    mode: str = option("max", "whether more or less of the metric is better", choices=["max", "min"])
    seed: int | None = option(None, "seed of the sampler", low=0)


SCHEDULERS: dict[str, type[SectionOptions]] = {
    "asha": AshaOptions,
    "median": MedianOptions,
    "pbt": PbtOptions,
    "fifo": FifoOptions,
}
SEARCHES: dict[str, type[SectionOptions]] = {"random": RandomOptions, "optuna": OptunaOptions}


@dataclass
class SearchSpace:
    """What ``config`` means for Tune and what it means for one trial.

    Attributes:
        space: the mapping with Ray Tune's samplers in place of the expressions.
        sample: one member of the space: the first grid value, the lower end of each range.
        alternatives: the other values each expression can take (all of a grid, the upper end of a range).
        grids: how many trials the grids make together.
        sampled: at least one value is drawn at random.
        fixed: places of grids of one value, which all trials have.
    """

    space: dict[str, Any]
    sample: dict[str, Any]
    alternatives: list[tuple[KeyPath, Any]]
    grids: int = 1
    sampled: bool = False
    fixed: list[KeyPath] = field(default_factory=list)

    @property
    def varies(self) -> bool:
        """Whether trials differ from each other."""
        return self.sampled or self.grids > 1

    @property
    def tried(self) -> list[tuple[KeyPath, Any]]:
        """Those of ``alternatives`` that checks try; of a very long grid the first values stand for the rest."""
        return self.alternatives[:50]

    def with_values(self, choices: Iterable[tuple[KeyPath, Any]]) -> dict[str, Any]:
        """Returns the member of the space that is ``sample`` but for these values."""
        result = copy.deepcopy(self.sample)
        for where, value in choices:
            target: Any = result
            for part in where[:-1]:
                target = target[part]
            target[where[-1]] = value
        return result

    @property
    def mutations(self) -> dict[str, Any]:
        """What population based training changes: the drawn values but the seed, in their mappings."""
        return {name: value for name, value in _mutations(self.space).items() if name != "seed"}

    def draws(self, name: str) -> bool:
        """Whether a setting at the top is an expression."""
        value = self.space.get(name)
        return (
            (name,) in self.fixed or isinstance(value, Domain) or (isinstance(value, Mapping) and is_expression(value))
        )


def _mutations(space: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in space.items():
        if isinstance(value, Domain) and not isinstance(value, Function):
            found[name] = value
        elif isinstance(value, Mapping) and "grid_search" not in value and (inner := _mutations(value)):
            found[name] = inner
    return found


def read_space(config: Mapping[str, Any], path: KeyPath, places: Places) -> SearchSpace:
    """Turns the expressions in ``config`` into Ray Tune's samplers.

    Args:
        config: the mapping of one experiment.
        path: where it stands in the file.
        places: the places of its values.

    Raises:
        ExperimentError: unknown sampler, wrong arguments, an empty grid, or Tune's own ``{eval: ...}``.
    """
    result = SearchSpace({}, {}, [])
    space, sample = _read(config, path, (), places, result)
    result.space, result.sample = space, sample
    return result


def _read(value: object, path: KeyPath, key: KeyPath, places: Places, result: SearchSpace) -> tuple[Any, Any]:
    """Returns (value for Tune, value for one trial)."""
    if isinstance(value, Mapping):
        if "grid_search" in value:
            return _read_grid(value, path, key, places, result)
        if "tune" in value:
            return _read_sampler(value, path, key, places, result)
        if set(value) == {"eval"}:
            raise places.error((*path, "eval"), "expressions are not evaluated; use grid_search or tune.")
        pairs = {k: _read(v, (*path, str(k)), (*key, str(k)), places, result) for k, v in value.items()}
        return {k: p[0] for k, p in pairs.items()}, {k: p[1] for k, p in pairs.items()}
    if isinstance(value, list):
        items = [_read(v, (*path, i), (*key, i), places, result) for i, v in enumerate(value)]
        return [p[0] for p in items], [p[1] for p in items]
    if isinstance(value, Domain):  # a Python file may hold Ray Tune's own objects
        result.sampled = True
        return value, _domain_sample(value)
    return value, value


def _read_grid(
    value: Mapping[str, Any], path: KeyPath, key: KeyPath, places: Places, result: SearchSpace
) -> tuple[Any, Any]:
    values = value["grid_search"]
    if set(value) != {"grid_search"}:
        others = sorted(set(map(str, value)) - {"grid_search"})
        raise places.error(path, f"grid_search stands alone in its mapping; found also {', '.join(others)}.")
    if not isinstance(values, list) or not values:
        raise places.error((*path, "grid_search"), f"{values!r} is not a list of at least one value.")
    _refuse_nested(values, (*path, "grid_search"), places)
    twice = next((v for i, v in enumerate(values) if any(_equal(v, other) for other in values[:i])), None)
    if twice is not None:
        raise places.error((*path, "grid_search"), f"{as_yaml(twice)} stands twice; its trials would be alike.")
    if len(values) == 1:  # for Tune a plain value: no trial is told apart by it, and Optuna takes no grid
        result.fixed.append(key)
        return values[0], values[0]
    result.grids *= len(values)
    result.alternatives += [(key, v) for v in values[1:]]
    return {"grid_search": list(values)}, values[0]


def _read_sampler(
    value: Mapping[str, Any], path: KeyPath, key: KeyPath, places: Places, result: SearchSpace
) -> tuple[Any, Any]:
    from ray import tune

    name, args = value["tune"], value.get("args")
    for other in value:
        if other not in ("tune", "args"):
            raise places.located(path, unknown_name_error("key", str(other), ("tune", "args"), str(other)))
    if name not in SAMPLERS:
        raise places.located(path, unknown_name_error("sampler", str(name), SAMPLERS, "tune"))
    sampler = SAMPLERS[name]
    if name == "choice":
        if not isinstance(args, list) or not args:
            raise places.error((*path, "args"), f"{args!r} is not a list of at least one value.")
        _refuse_nested(args, (*path, "args"), places)
        result.alternatives += [(key, v) for v in args[1:]]
        result.sampled = True
        return tune.choice(args), args[0]
    wanted = f"[{', '.join(sampler.arguments)}]"
    if not isinstance(args, list) or len(args) != len(sampler.arguments) or not all(map(_is_number, args)):
        raise places.error((*path, "args"), f"{args!r} is not what {name} takes: numbers {wanted}.")
    if sampler.discrete and any(a != int(a) for a in args):
        raise places.error((*path, "args"), f"{args!r}: {name} takes whole numbers.")
    numbers = [int(a) for a in args] if sampler.discrete else [float(a) for a in args]
    lower, upper = numbers[:2]
    if not lower < upper or ("log" in name and lower <= 0) or (len(numbers) == 3 and numbers[2] <= 0):
        need = "0 < lower < upper" if "log" in name else "lower < upper"
        raise places.error((*path, "args"), f"{args!r} is out of range; {name} needs {need} and q above 0.")
    result.alternatives.append((key, upper - 1 if sampler.discrete else upper))  # the upper end is excluded
    result.sampled = True
    return getattr(tune, name)(*numbers), lower


def is_expression(value: Mapping[str, Any]) -> bool:
    """Whether a mapping stands for values that trials draw, instead of being one."""
    return bool({"grid_search", "tune"} & set(value)) or set(value) == {"eval"}


def _refuse_nested(values: list[Any], path: KeyPath, places: Places) -> None:
    for inner, value in walk(values, path):
        if isinstance(value, Mapping) and is_expression(value):
            raise places.error(inner, "sampling expressions cannot stand inside each other.")


def _equal(value: object, other: object) -> bool:
    if isinstance(value, bool) is not isinstance(other, bool):  # for Python 1 is True
        return False
    try:
        return bool(value == other)
    except ValueError:  # arrays in a Python file
        return value is other


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _domain_sample(domain: Domain) -> object:
    categories = getattr(domain, "categories", None)
    return categories[0] if isinstance(categories, Sequence) else domain.sample()


def population_problem(
    space: SearchSpace, search: SectionOptions | None, num_samples: object, max_concurrent: object
) -> str:
    """Returns why population based training cannot train these trials; "" if it can."""
    if isinstance(search, OptunaOptions):
        return "pbt changes the draws itself; leave search: optuna out"
    if max_concurrent is not None:
        return "pbt trains trials that do not fit by turns; leave max_concurrent_trials out"
    if not space.mutations:
        return "pbt has nothing to change: no value of config is drawn, as in {tune: loguniform, args: [...]}"
    if _draws_in_lists(space.space):
        return "pbt changes no value inside a list; write what is drawn outside of lists"
    return "pbt needs several trials; set num_samples" if num_samples == 1 and space.grids == 1 else ""


def _draws_in_lists(value: object, inside: bool = False) -> bool:
    if isinstance(value, Mapping):
        return any(_draws_in_lists(part, inside) for part in value.values())
    if isinstance(value, list):
        return any(_draws_in_lists(part, True) for part in value)
    return inside and isinstance(value, Domain)


def read_section(
    section: Mapping[str, Any] | str | None, kinds: Mapping[str, type[SectionOptions]]
) -> SectionOptions | None:
    """Reads ``search:`` or ``scheduler:``, a type name or ``{type: name, ...options}``.

    Returns:
        The options object, or None when the section is absent.

    Raises:
        ConfigError: unknown type or options that it does not take, with the path below the section.
    """
    if section is None:
        return None
    if isinstance(section, str):
        section = {"type": section}
    if not isinstance(section, Mapping) or "type" not in section:
        raise ConfigError("", "expected a mapping with a 'type' key", f"type: {' or '.join(sorted(kinds))}")
    if section["type"] not in kinds:
        raise unknown_name_error("type", str(section["type"]), kinds, "type")
    options = parse_options(kinds[section["type"]], {k: v for k, v in section.items() if k != "type"})
    if isinstance(options, AshaOptions) and options.grace_period > options.max_t:
        raise ConfigError("grace_period", f"{options.grace_period} is above max_t", f"1 to {options.max_t}")
    return options
