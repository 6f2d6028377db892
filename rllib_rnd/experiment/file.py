"""Experiment files: ``X.yaml`` in RLlib's classic schema, or ``X.py``, read, checked and ready for Ray Tune.

YAML, one block per experiment::

    montezuma_rnd:
      run: RND                      # registered name, or package.module:Class
      env: ALE/MontezumaRevenge-v5
      stop: {agent_steps: 32000000} # short name or path of a metric
      config: {lr: 1.0e-4, intrinsic_reward: {type: rnd}}
      num_samples: 1

Python: a module with ``config`` (an ``AlgorithmConfig``) and optionally ``stop``, or with ``experiments``, a
dict in the same schema whose ``config`` may be an ``AlgorithmConfig``.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rllib_rnd.errors import ConfigError, KeyPath, parse_dotted, unknown_name_error
from rllib_rnd.experiment.checks import (
    ALIASES,
    build_config,
    check_config,
    validate_trials,
    whole_numbers,
)
from rllib_rnd.experiment.python_file import load_python
from rllib_rnd.experiment.search import (
    SCHEDULERS,
    SEARCHES,
    OptunaOptions,
    SearchSpace,
    read_section,
    read_space,
)
from rllib_rnd.experiment.yaml_file import ExperimentError, Places, load_yaml, parse_scalar
from rllib_rnd.options import Limits, check_value, import_path, option, parse_options
from rllib_rnd.tracking.metrics import full_path, is_known, known_stop_keys


@dataclass(frozen=True)
class CheckpointOptions:
    """``checkpoint_config``: when to save and how much to keep."""

    checkpoint_frequency: int = option(20, "iterations between checkpoints; 0 saves only at the end", low=0)
    checkpoint_at_end: bool = option(True, "save when a trial ends, also after Ctrl-C")
    num_to_keep: int | None = option(3, "checkpoints kept per trial; null keeps all", low=1)
    checkpoint_score_attribute: str | None = option(None, "keep the best by this metric, not the newest")
    checkpoint_score_order: str = option("max", "what best means", choices=["max", "min"])


@dataclass(frozen=True)
class TuneOptions:
    """``tune_config``: how trials share the machine."""

    max_concurrent_trials: int | None = option(None, "trials at the same time; null: as many as fit", low=1)
    time_budget_s: float | None = option(None, "seconds after which all trials stop", low=1.0)


@dataclass
class Experiment:
    """One checked experiment.

    Attributes:
        name: its name in the file.
        source: the file.
        algorithm_class: the RLlib algorithm.
        base: the configuration object of a Python file, or None.
        space: what ``config`` sets, with sampling expressions.
        stop: {result path: value at which a trial ends}; the first that is reached counts.
        num_samples: draws per grid point.
        checkpoint, tune, search, scheduler: the sections of the same names.
        max_failures: how often a crashed trial is started again from its checkpoint.
    """

    name: str
    source: Path
    algorithm_class: Any
    base: Any | None
    space: SearchSpace
    stop: dict[str, float]
    num_samples: int = 1
    checkpoint: CheckpointOptions = field(default_factory=CheckpointOptions)
    tune: TuneOptions = field(default_factory=TuneOptions)
    search: Any = None
    scheduler: Any = None
    max_failures: int = 0

    @property
    def algorithm_name(self) -> str:
        """The name of the algorithm class."""
        return str(self.algorithm_class.__name__)

    @property
    def single(self) -> bool:
        """Whether there is exactly one trial."""
        return self.num_samples == 1 and not self.space.varies

    def sample_config(self, **overrides: Any) -> Any:
        """Returns the configuration object of the first trial, with ``overrides`` on top."""
        return build_config(self.algorithm_class, self.base, {**self.space.sample, **overrides})

    def trial_config(self, values: Mapping[str, Any]) -> Any:
        """Returns the configuration object of the trial whose ``config`` mapping is ``values``."""
        return build_config(self.algorithm_class, self.base, values)

    def param_space(self, **extra: Any) -> dict[str, Any]:
        """Returns what ``tune.Tuner(param_space=...)`` takes."""
        values = {**self.space.space, **extra}
        if self.base is None:
            return values
        config = self.base.copy(copy_frozen=False)
        config.update_from_dict(values)
        return dict(config.to_dict())


@dataclass
class Overrides:
    """What the command line changes in every experiment it runs.

    Attributes:
        settings: ``key.path=value`` texts for ``config``.
        stop: ``key=value`` texts for ``stop``.
        seed: replaces ``config.seed``.
    """

    settings: Sequence[str] = ()
    stop: Sequence[str] = ()
    seed: int | None = None


TOP_LEVEL_KEYS = (
    "run",
    "env",
    "env_config",
    "stop",
    "config",
    "num_samples",
    "checkpoint_config",
    "tune_config",
    "search",
    "scheduler",
    "max_failures",
)


def load_experiments(path: str | Path, overrides: Overrides | None = None) -> list[Experiment]:
    """Reads and checks every experiment of one file.

    Args:
        path: a ``.yaml``, ``.yml`` or ``.py`` file.
        overrides: changes from the command line; errors in them name the option instead of a line.

    Raises:
        ExperimentError: for the first mistake, with file and line, key, value, what is allowed, nearest name.
    """
    path = Path(path)
    if not path.is_file():
        raise ExperimentError(f"{path}: no such file.")
    if path.suffix == ".py":
        blocks, places = load_python(path), Places(str(path))
    elif path.suffix in (".yaml", ".yml"):
        blocks, places = load_yaml(path)
    else:
        raise ExperimentError(f"{path}: an experiment file ends in .yaml, .yml or .py.")
    if not isinstance(blocks, Mapping) or not blocks:
        raise ExperimentError(f"{path}: expected at least one `name: {{run: ..., env: ..., ...}}`.")
    return [_read_block(str(name), block, path, places, overrides or Overrides()) for name, block in blocks.items()]


def _read_block(name: str, block: Any, source: Path, places: Places, overrides: Overrides) -> Experiment:
    top: KeyPath = (name,)
    if not isinstance(block, Mapping):
        raise places.error(top, f"{block!r} is not an experiment; expected `{{run: ..., env: ..., ...}}`.")
    base = block.get("_base")
    block = {key: copy.deepcopy(value) for key, value in block.items() if key != "_base"}
    for key in block:
        if key not in TOP_LEVEL_KEYS:
            raise places.error((*top, str(key)), str(unknown_name_error("key", str(key), TOP_LEVEL_KEYS)))
    algorithm_class = resolve_algorithm(block.get("run"), (*top, "run"), places)
    config = _read_config(block, top, places, has_base=base is not None)
    _apply_overrides(config, (*top, "config"), places, overrides, base)
    space = read_space(whole_numbers(config), (*top, "config"), places)
    default = base if base is not None else algorithm_class.get_default_config()
    check_config(space, default, (*top, "config"), places)
    if space.sample.get("env", getattr(base, "env", None)) is None:
        raise places.error(top, "env is missing; name an environment (`rllib list environments`).")
    search = read_section(block.get("search"), SEARCHES, (*top, "search"), places)
    scheduler = read_section(block.get("scheduler"), SCHEDULERS, (*top, "scheduler"), places)
    if isinstance(search, OptunaOptions) and space.grids > 1:
        raise places.error((*top, "search"), "optuna does not take grid_search; use {tune: choice, args: [...]}.")
    _validate_space(algorithm_class, base, space, top, places)
    return Experiment(
        name=name,
        source=source,
        algorithm_class=algorithm_class,
        base=base,
        space=space,
        stop=_read_stop(block.get("stop"), top, places, overrides, closed=source.suffix != ".py"),
        num_samples=_number(block, "num_samples", 1, top, places, low=1),
        checkpoint=_read_options(CheckpointOptions, block, "checkpoint_config", top, places),
        tune=_read_options(TuneOptions, block, "tune_config", top, places),
        search=_with_full_metric(search, (*top, "search"), places),
        scheduler=_with_full_metric(scheduler, (*top, "scheduler"), places),
        max_failures=_number(block, "max_failures", 0, top, places, low=-1),
    )


def _validate_space(algorithm_class: Any, base: Any, space: SearchSpace, top: KeyPath, places: Places) -> None:
    space.sample = {ALIASES.get(key, key): value for key, value in space.sample.items()}
    space.space = {ALIASES.get(key, key): value for key, value in space.space.items()}
    space.alternatives = [((ALIASES.get(str(k[0]), k[0]), *k[1:]), value) for k, value in space.alternatives]
    for alias, name in ALIASES.items():  # an error about lambda_ is an error about lambda in the file
        if (*top, "config", alias) in places:
            places.add((*top, "config", name), places.of((*top, "config", alias)))
    validate_trials(algorithm_class, base, space, (*top, "config"), places)


def resolve_algorithm(run: Any, path: KeyPath, places: Places) -> Any:
    """Returns the algorithm class for a registered name or an import path.

    Raises:
        ExperimentError: missing, unknown (with the nearest name), or not an RLlib algorithm.
    """
    from ray.rllib.algorithms.algorithm import Algorithm

    if run is None:
        raise places.error(path, f"is missing; name an algorithm: {', '.join(algorithm_names())}.")
    found = run
    if isinstance(run, str) and ":" in run:
        try:
            found = import_path(run, "run")
        except ConfigError as error:
            raise places.error(path, str(error).removeprefix("run: ")) from error
    elif isinstance(run, str):
        found = own_algorithms().get(run) or _rllib_algorithm(run)
        if found is None:
            raise places.error(path, str(unknown_name_error("algorithm", run, algorithm_names())))
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise places.error(path, f"{run!r} is not an RLlib Algorithm class.")
    return found


def own_algorithms() -> dict[str, Any]:
    """Returns this package's algorithms by their registered names."""
    from rllib_rnd.algorithm import ALGORITHMS

    return dict(ALGORITHMS)


def algorithm_names() -> list[str]:
    """Returns every name that ``run`` may take besides import paths."""
    from ray.rllib.algorithms.registry import ALGORITHMS

    return sorted({*own_algorithms(), *ALGORITHMS})


def _rllib_algorithm(name: str) -> Any | None:
    from ray.rllib.algorithms.registry import ALGORITHMS

    return ALGORITHMS[name]()[0] if name in ALGORITHMS else None  # (class, default configuration)


def _read_config(block: Mapping[str, Any], top: KeyPath, places: Places, has_base: bool) -> dict[str, Any]:
    config = block.get("config") or {}
    if not isinstance(config, Mapping):
        raise places.error((*top, "config"), f"{config!r} is not a mapping.")
    config = {str(key): value for key, value in config.items()}
    for key in ("env", "env_config"):  # classic files write them beside `config`
        if block.get(key) is None:
            continue
        if key in config and config[key] != block[key]:
            raise places.error((*top, "config", key), f"{config[key]!r} differs from {block[key]!r} beside config.")
        config[key] = block[key]
        places.add((*top, "config", key), places.of((*top, key)))
    for alias, name in ALIASES.items():
        if alias in config and name in config:
            raise places.error((*top, "config", name), f"is the same setting as {alias}; give one of them.")
    return config


def _apply_overrides(config: dict[str, Any], path: KeyPath, places: Places, overrides: Overrides, base: Any) -> None:
    for text in overrides.settings:
        key, equals, value = text.partition("=")
        place = Places(f"--set {text}")
        if not equals or not parse_dotted(key.strip()):
            raise ExperimentError(f"--set {text}: expected key.path=value.")
        parts = parse_dotted(key.strip().removeprefix("config."))
        parts = (ALIASES.get(str(parts[0]), parts[0]), *parts[1:])
        public = {name: alias for alias, name in ALIASES.items()}
        parts = (public.get(str(parts[0]), parts[0]), *parts[1:])
        if parts[0] not in config and len(parts) > 1:
            config[str(parts[0])] = copy.deepcopy(getattr(base, str(parts[0]), None)) or {}
        _put(config, parts, parse_scalar(value), place)
        places.set((*path, *parts), place.default)
    if overrides.seed is not None:
        config["seed"] = overrides.seed
        places.set((*path, "seed"), f"--seed {overrides.seed}")


def _put(target: Any, parts: KeyPath, value: Any, place: Places) -> None:
    """Sets ``target[a][b]... = value``; mappings on the way are made, list items must exist."""
    for position, part in enumerate(parts):
        in_list = isinstance(target, list) and isinstance(part, int) and part < len(target)
        if not in_list and not (isinstance(target, dict) and isinstance(part, str)):
            raise place.error(parts[: position + 1], f"there is no such place in {target!r}.")
        if position == len(parts) - 1:
            target[part] = value
        elif not in_list and target.get(part) is None:
            target[part] = {}
        target = target[part]


def _read_stop(stop: Any, top: KeyPath, places: Places, overrides: Overrides, closed: bool) -> dict[str, float]:
    path = (*top, "stop")
    if stop is not None and not isinstance(stop, Mapping):
        raise places.error(path, f"{stop!r} is not a mapping of metric to value.")
    merged = dict(stop or {})
    for text in overrides.stop:
        key, equals, value = text.partition("=")
        if not equals:
            raise ExperimentError(f"--stop {text}: expected key=value.")
        same = [known for known in merged if full_path(str(known)) == full_path(key.strip())]
        for known in same:
            del merged[known]
        merged[key.strip()] = parse_scalar(value)
        places.set((*path, key.strip()), f"--stop {text}")
    result: dict[str, float] = {}
    for key, value in merged.items():
        if closed and not is_known(str(key)):
            raise places.error((*path, str(key)), str(unknown_name_error("metric", str(key), known_stop_keys())))
        try:
            result[full_path(str(key))] = check_value(value, float, "value")
        except ConfigError as error:
            raise places.error((*path, str(key)), str(error).partition(": ")[2]) from error
    return result


def _with_full_metric(options: Any, path: KeyPath, places: Places) -> Any:
    """Resolves short metric names in a search or scheduler section and checks that the metric exists."""
    changes: dict[str, str] = {}
    for name in ("metric", "time_attr"):
        value = getattr(options, name, None)
        if value is None:
            continue
        if not is_known(value):
            raise places.error((*path, name), str(unknown_name_error("metric", value, known_stop_keys())))
        changes[name] = full_path(value)
    return dataclasses.replace(options, **changes) if changes else options


def _number(block: Mapping[str, Any], key: str, default: int, top: KeyPath, places: Places, low: int) -> int:
    try:
        return int(check_value(block.get(key, default), int, "value", Limits(low=low)))
    except ConfigError as error:
        raise places.error((*top, key), str(error).partition(": ")[2]) from error


def _read_options(cls: Any, block: Mapping[str, Any], key: str, top: KeyPath, places: Places) -> Any:
    section = block.get(key) or {}
    if not isinstance(section, Mapping):
        raise places.error((*top, key), f"{section!r} is not a mapping.")
    for name, value in section.items():
        try:
            parse_options(cls, {name: value}, "value")
        except ConfigError as error:
            raise places.error((*top, key, str(name)), str(error).partition(": ")[2]) from error
    return parse_options(cls, section, key)
