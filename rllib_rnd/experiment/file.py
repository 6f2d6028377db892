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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_rnd.errors import ConfigError, KeyPath, at, parse_dotted, unknown_name_error
from rllib_rnd.experiment.callbacks import import_callbacks
from rllib_rnd.experiment.checks import build_config, check_config, known_keys, validate_trials, with_attribute_names
from rllib_rnd.experiment.folder_name import check_folder_name
from rllib_rnd.experiment.metric_names import MetricNames, metric_names, read_stop, with_full_metrics
from rllib_rnd.experiment.overrides import Overrides
from rllib_rnd.experiment.python_file import load_python
from rllib_rnd.experiment.search import (
    SCHEDULERS,
    SEARCHES,
    OptunaOptions,
    PbtOptions,
    SearchSpace,
    SectionOptions,
    population_problem,
    read_section,
    read_space,
)
from rllib_rnd.experiment.sections import check_section
from rllib_rnd.experiment.yaml_file import ExperimentError, Places, load_yaml, parse_scalar
from rllib_rnd.options import Limits, check_value, option, parse_options
from rllib_rnd.own_code import import_path, is_import_path
from rllib_rnd.settings import ALIASES, PUBLIC_NAMES, SETTINGS, attribute_name
from rllib_rnd.tracking.metrics import is_known

# Options of `search` and `scheduler` that name a metric.
_METRICS = ("metric", "time_attr")


@dataclass(frozen=True)
class CheckpointOptions:
    """``checkpoint_config``: when to save and how much to keep."""

    checkpoint_frequency: int = option(20, "iterations between checkpoints; 0 saves only at the end", low=0)
    checkpoint_every_s: float | None = option(600.0, "seconds between checkpoints; null: by iterations alone", low=1.0)
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
        promised: those of ``stop`` that only a user's code can report, and that are not declared as ``metrics``.
        places: where its values were written.
        num_samples: draws per grid point.
        checkpoint, tune, search, scheduler: the sections of the same names.
        max_failures: how often a failed trial is started again from its checkpoint; None: when its process dies, see
            `restarts`.
    """

    name: str
    source: Path
    algorithm_class: type[Algorithm]
    base: AlgorithmConfig | None
    space: SearchSpace
    stop: dict[str, float]
    places: Places
    promised: tuple[str, ...] = ()
    num_samples: int = 1
    checkpoint: CheckpointOptions = field(default_factory=CheckpointOptions)
    tune: TuneOptions = field(default_factory=TuneOptions)
    search: SectionOptions | None = None
    scheduler: SectionOptions | None = None
    max_failures: int | None = None

    @property
    def algorithm_name(self) -> str:
        """The name of the algorithm class."""
        return str(self.algorithm_class.__name__)

    @property
    def single(self) -> bool:
        """Whether there is exactly one trial."""
        return self.num_samples == 1 and not self.space.varies

    @property
    def first_seed(self) -> int | None:
        """The seed of the first of several samples; the next has the next number. None if trials differ without it."""
        if self.num_samples == 1 or self.space.draws("seed"):
            return None
        seed = self.sample_config().seed
        return None if seed is None else int(seed)

    def sample_config(self, **overrides: object) -> AlgorithmConfig:
        """Returns the configuration object of the first trial, with ``overrides`` on top."""
        return build_config(self.algorithm_class, self.base, {**self.space.sample, **overrides})

    def trial_config(self, values: Mapping[str, Any]) -> AlgorithmConfig:
        """Returns the configuration object of the trial whose ``config`` mapping is ``values``."""
        return build_config(self.algorithm_class, self.base, values)

    @contextmanager
    def placing_errors(self) -> Iterator[None]:
        """Gives a `ConfigError` about ``config`` that comes out of the block its file and line."""
        with self.places.at(self.name, "config"):
            yield

    def param_space(self, **extra: object) -> dict[str, Any]:
        """Returns what ``tune.Tuner(param_space=...)`` takes."""
        values = {**self.space.space, **extra}
        if self.base is None:
            return values
        config = self.base.copy(copy_frozen=False)
        config.update_from_dict(values)
        return dict(config.to_dict())


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
    "metrics",
)
_HOMES = {
    "checkpoint_config": [field.name for field in fields(CheckpointOptions)],
    "tune_config": [field.name for field in fields(TuneOptions)],
    "": TOP_LEVEL_KEYS,
    "config": [*SETTINGS, *ALIASES],
}


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
        raise ExperimentError(str(path), "", "no such file")
    if path.suffix == ".py":
        blocks, places = load_python(path), Places(str(path))
    elif path.suffix in (".yaml", ".yml"):
        blocks, places = load_yaml(path)
    else:
        raise ExperimentError(str(path), "", "an experiment file ends in .yaml, .yml or .py")
    if not isinstance(blocks, Mapping) or not blocks:
        raise ExperimentError(str(path), "", "expected at least one `name: {run: ..., env: ..., ...}`")
    return [_read_block(str(name), block, path, places, overrides or Overrides()) for name, block in blocks.items()]


def _read_block(name: str, block: object, source: Path, places: Places, overrides: Overrides) -> Experiment:
    top: KeyPath = (name,)
    with places.at(name):
        check_folder_name(name, "")
    if not isinstance(block, Mapping):
        raise places.error(top, f"{block!r} is not an experiment; expected `{{run: ..., env: ..., ...}}`.")
    base = block.get("_base")
    block = {key: copy.deepcopy(value) for key, value in block.items() if key != "_base"}
    with places.at(*top):
        check_section(block, "", TOP_LEVEL_KEYS, _HOMES)
        for section in ("checkpoint_config", "tune_config"):
            with at(section):
                check_section(block.get(section) or (), section, _HOMES[section], _HOMES)
    for key in block:
        if key not in TOP_LEVEL_KEYS:
            raise places.located(top, unknown_name_error("key", str(key), TOP_LEVEL_KEYS, str(key)))
    with places.at(*top):
        algorithm_class = resolve_algorithm(block.get("run"))
    default = base if base is not None else algorithm_class.get_default_config()
    config = _read_config(block, top, places)
    _apply_overrides(config, (*top, "config"), places, overrides, default)
    with places.at(*top, "config"):
        check_section(config, "config", known_keys(default), _HOMES)
    config = with_attribute_names(config, default, (*top, "config"), places)
    with places.at(*top, "config"):
        config = import_callbacks(config)
    space = read_space(config, (*top, "config"), places)
    check_config(space, default, (*top, "config"), places)
    if space.sample.get("env", getattr(base, "env", None)) is None:
        raise places.error(top, "env is missing; name an environment (`rllib list environments`)")
    names = metric_names(block, space, default, top, places)
    search, scheduler = _read_sections(block, space, top, places, names)
    num_samples = _read_num_samples(block, space, top, places)
    validate_trials(algorithm_class, base, space, (*top, "config"), places)
    stop = read_stop(block.get("stop"), top, places, overrides.stop, names)
    with places.at(*top):
        return Experiment(
            name=name,
            source=source,
            algorithm_class=algorithm_class,
            base=base,
            space=space,
            stop=stop,
            promised=tuple(path for path in stop if not is_known(path, names.own) and path not in names.declared),
            num_samples=num_samples,
            checkpoint=_read_checkpoint(block.get("checkpoint_config"), names),
            tune=parse_options(TuneOptions, block.get("tune_config"), "tune_config"),
            search=search,
            scheduler=scheduler,
            max_failures=check_value(block.get("max_failures"), int | None, "max_failures", Limits(low=-1)),
            places=places,
        )


def _read_sections(
    block: Mapping[str, Any], space: SearchSpace, top: KeyPath, places: Places, names: MetricNames
) -> tuple[SectionOptions | None, SectionOptions | None]:
    """The options of ``search`` and ``scheduler``."""
    with places.at(*top, "search"):
        search = read_section(block.get("search"), SEARCHES)
        search = search and with_full_metrics(search, names, _METRICS)
    with places.at(*top, "scheduler"):
        scheduler = read_section(block.get("scheduler"), SCHEDULERS)
        scheduler = scheduler and with_full_metrics(scheduler, names, _METRICS)
    if isinstance(search, OptunaOptions) and space.grids > 1:
        problem = "optuna does not take grid_search, nor --seeds; use {tune: choice, args: [...]}"
        raise places.error((*top, "search"), problem)
    if isinstance(search, OptunaOptions) and not space.sampled:
        problem = "optuna has nothing to search: no value of config is drawn, as in {tune: loguniform, args: [...]}"
        raise places.error((*top, "search"), problem)
    if isinstance(scheduler, PbtOptions):
        tune = block.get("tune_config")
        limit = tune.get("max_concurrent_trials") if isinstance(tune, Mapping) else None
        problem = population_problem(space, search, block.get("num_samples", 1), limit)
        if problem:
            raise places.error((*top, "scheduler"), problem)
    return search, scheduler


def _read_num_samples(block: Mapping[str, Any], space: SearchSpace, top: KeyPath, places: Places) -> int:
    with places.at(*top):
        count: int = check_value(block.get("num_samples", 1), int, "num_samples", Limits(low=1))
    if count > 1 and space.draws("seed") and not space.sampled:
        problem = (
            f"{count} would run every trial {count} times alike: its seed is one of a list. List more seeds instead"
        )
        raise places.error((*top, "num_samples"), problem)
    return count


def _read_checkpoint(section: Mapping[str, Any] | None, names: MetricNames) -> CheckpointOptions:
    """The options of ``checkpoint_config``, with the full name of the metric."""
    options = parse_options(CheckpointOptions, section, "checkpoint_config")
    with at("checkpoint_config"):
        return with_full_metrics(options, names, ("checkpoint_score_attribute",))


def resolve_algorithm(run: object) -> type[Algorithm]:
    """Returns the algorithm class for a registered name or an import path (Python files: for the class itself).

    Raises:
        ConfigError: missing, unknown (with the nearest name), or not an RLlib algorithm.
    """
    if run is None:
        raise ConfigError("run", "is missing; name an algorithm", algorithm_names())
    found = run
    if isinstance(run, str) and is_import_path(run):
        found = import_path(run, "run")
    elif isinstance(run, str):
        found = own_algorithms().get(run) or _rllib_algorithm(run)
        if found is None:
            raise unknown_name_error("algorithm", run, algorithm_names(), "run")
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise ConfigError("run", f"{run!r} is not an RLlib Algorithm class")
    return found


def own_algorithms() -> dict[str, type[Algorithm]]:
    """Returns this package's algorithms by their registered names."""
    from rllib_rnd.presets import ALGORITHMS

    return dict(ALGORITHMS)


def algorithm_names() -> list[str]:
    """Returns every name that ``run`` may take besides import paths."""
    from ray.rllib.algorithms.registry import ALGORITHMS

    return sorted({*own_algorithms(), *ALGORITHMS})


def _rllib_algorithm(name: str) -> type[Algorithm] | None:
    from ray.rllib.algorithms.registry import ALGORITHMS

    return ALGORITHMS[name]()[0] if name in ALGORITHMS else None  # (class, default configuration)


def _read_config(block: Mapping[str, Any], top: KeyPath, places: Places) -> dict[str, Any]:
    config = block.get("config") or {}
    if not isinstance(config, Mapping):
        raise places.error((*top, "config"), f"{config!r} is not a mapping")
    config = {str(key): value for key, value in config.items()}
    for key in ("env", "env_config"):  # classic files write them beside `config`
        if block.get(key) is None:
            continue
        if key in config and config[key] != block[key]:
            raise places.error((*top, "config", key), f"{config[key]!r} differs from {block[key]!r} beside config")
        config[key] = block[key]
        places.rename((*top, "config", key), (*top, key))
    return config


def _apply_overrides(
    config: dict[str, Any], path: KeyPath, places: Places, overrides: Overrides, default: AlgorithmConfig
) -> None:
    for text in overrides.settings:
        key, equals, value = text.partition("=")
        place = f"--set {text}"
        parts = parse_dotted(key.strip().removeprefix("config."))
        if not equals or not parts:
            raise ExperimentError(place, "", "expected key.path=value")
        first = str(parts[0])
        # Whichever of its two names the setting has in the file, the override changes that one.
        other = ALIASES.get(first, PUBLIC_NAMES.get(first, first))
        if first not in config and other in config:
            first = other
        if first not in config and len(parts) > 1:
            config[first] = copy.deepcopy(getattr(default, attribute_name(first), None)) or {}
            places.set((*path, first), place)
        option_of = Places(place)
        with option_of.at():
            parsed = parse_scalar(value)
        _put(config, (first, *parts[1:]), parsed, option_of)
        places.set((*path, first, *parts[1:]), place)
    if overrides.seed is not None:
        config["seed"] = overrides.seed
        places.set((*path, "seed"), f"--seed {overrides.seed}")
    if overrides.seeds:
        config["seed"] = {"grid_search": list(overrides.seeds)}
        places.set((*path, "seed"), f"--seeds {','.join(map(str, overrides.seeds))}")


def _put(target: Any, parts: KeyPath, value: object, place: Places) -> None:
    """Sets ``target[a][b]... = value``; mappings on the way are made, list items must exist."""
    for position, part in enumerate(parts):
        in_list = isinstance(target, list) and isinstance(part, int) and part < len(target)
        if not in_list and not (isinstance(target, dict) and isinstance(part, str)):
            raise place.error(parts[: position + 1], f"there is no such place in {target!r}")
        if position == len(parts) - 1:
            target[part] = value
        elif not in_list and target.get(part) is None:
            target[part] = {}
        target = target[part]
