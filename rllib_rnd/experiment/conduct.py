"""How a sweep is conducted: Ray Tune's schedulers and searcher, made to bear what runs here do.

Tune's own suppose that every result holds their metric. Here the first results of a trial often have no return yet,
because no episode has ended; such results are passed over.

The scheduler is also where Tune shows every trial before it starts, new or restored, and asks after every result
whether to go on. A `Plan` acts there. (A stopper would not do: Tune brings the old one back with a restored sweep.)
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyarrow.fs import FileType
from ray.tune import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.result import DONE
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search import SearchAlgorithm, Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Categorical, Integer

from rllib_rnd.errors import ConfigError, KeyPath
from rllib_rnd.experiment.restarts import MortalTrial
from rllib_rnd.experiment.search import (
    AshaOptions,
    MedianOptions,
    OptunaOptions,
    PbtOptions,
    RandomOptions,
    SectionOptions,
)
from rllib_rnd.experiment.trial_state import renew
from rllib_rnd.experiment.tune_memory import forget_results
from rllib_rnd.tracking.labels import folder_label, trial_label
from rllib_rnd.tracking.metrics import find
from rllib_rnd.tracking.stopping import Conditions, reached

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController


@dataclass
class Plan:
    """What is done to each trial of a sweep.

    Attributes:
        conditions: what ends a trial.
        first_seed: sample i of the draws trains with this seed + i; None: the seed is drawn itself, or there is none.
        grids: trials of each sample.
        changes: (place in the configuration, value) that replace what the sweep was begun with.
        home: folder of a sweep that goes on; None: where Tune puts it.
        early: the scheduler ends trials before their conditions do; those stay ended.
        restarts: a trial whose process dies is started again.
    """

    conditions: Conditions = field(default_factory=Conditions)
    first_seed: int | None = None
    grids: int = 1
    changes: Sequence[tuple[KeyPath, Any]] = ()
    home: Path | None = None
    early: bool = False
    restarts: bool = True
    _added: int = 0
    _snapped: set[str] = field(default_factory=set)
    _prepared: set[str] = field(default_factory=set)

    def prepare(self, trial: Trial) -> None:
        """Gives a trial that is added its seed, its name, and what has changed; ends one that has nothing to do."""
        if self.restarts and not isinstance(trial, MortalTrial):
            MortalTrial.adopt(trial)
        if trial.trial_id in self._prepared:  # it is started again
            return
        self._prepared.add(trial.trial_id)
        number, self._added = self._added, self._added + 1
        if self.home is not None:
            # What Tune has still to begin would go to where the sweep was begun, though its folder may have been moved.
            storage = copy.copy(trial.storage)
            storage.storage_fs_path, storage.experiment_dir_name = str(self.home.parent), self.home.name
            trial.set_storage(storage)
        if self.first_seed is not None and "seed" not in trial.evaluated_params:
            trial.config["seed"] = trial.evaluated_params["seed"] = self.first_seed + number // self.grids
        if trial.custom_trial_name is None and trial.evaluated_params:
            name_trial(trial)
        if self.home is not None:
            renew(trial)
        if trial.status == Trial.PENDING and self._has_ended(trial):
            trial.set_status(Trial.TERMINATED)  # restored, and already where it should go
        if trial.status == Trial.PENDING and self.changes:
            for where, value in self.changes:
                _assign(trial.config, where, value)
            trial.create_placement_group_factory()  # the change may be to its processes
        trial.invalidate_json_state()

    def _has_ended(self, trial: Trial) -> bool:
        last = trial.last_result
        if not last:
            return False
        return reached(last, self.conditions.stop) is not None or (self.early and bool(last.get(DONE)))

    def is_new(self, trial: Trial) -> bool:
        """Whether this is asked for a trial for the first time."""
        new = trial.trial_id not in self._snapped
        self._snapped.add(trial.trial_id)
        return new


def name_trial(trial: Trial) -> None:
    """Names a trial and its folder by the values that it draws."""
    label = trial_label(trial.evaluated_params)
    # Tune's id in the folder's name keeps it the only one; its time orders trials that were copied elsewhere.
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    trial.custom_dirname = f"{trial}_{folder_label(label)}_{now}"
    trial.custom_trial_name = label


def _assign(config: dict[str, Any], where: KeyPath, value: object) -> None:
    target: Any = config
    for part in where[:-1]:
        target = target[part]
    target[where[-1]] = value


def with_metrics(result: Mapping[str, Any], *names: str) -> dict[str, Any] | None:
    """Returns a result that holds these metrics under these very names, wherever it has them; None if it lacks one."""
    values = {name: find(result, name) for name in names}
    return None if None in values.values() else {**result, **values}


class _Conducted(TrialScheduler):
    """A scheduler with a plan, which passes over results without its metric."""

    plan = Plan()
    _time_attr: str = "training_iteration"
    _max_t: float = float("inf")

    def _measured(self, result: Mapping[str, Any]) -> dict[str, Any] | None:
        return dict(result) if self._metric is None else with_metrics(result, self._metric, self._time_attr)

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Prepares a trial, new or restored, before it starts."""
        self.plan.prepare(trial)
        super().on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Decides whether a trial goes on."""
        controller = getattr(tune_controller, "_tune_controller", None)  # what schedulers are given is wrapped
        if controller is not None:
            forget_results(controller)
            if self.plan.is_new(trial):
                # Tune's snapshot of the sweep comes every 10 s or more; what it lacks would begin anew after a kill.
                controller.checkpoint(force=True, wait=True)
        if self.plan.conditions.end(trial.trial_id, result):
            return str(TrialScheduler.STOP)
        measured = self._measured(result)
        if measured is not None:
            return str(super().on_trial_result(tune_controller, trial, measured))
        ended = (find(result, self._time_attr) or 0) >= self._max_t
        return str(TrialScheduler.STOP if ended else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> None:
        """Counts the last result of a trial that has ended."""
        measured = self._measured(result)
        if measured is not None:
            super().on_trial_complete(tune_controller, trial, measured)


class Fifo(_Conducted, FIFOScheduler):
    """Every trial goes to its end."""


class Asha(_Conducted, ASHAScheduler):
    """Asynchronous successive halving."""


class Median(_Conducted, MedianStoppingRule):
    """Median stopping rule."""


class Pbt(_Conducted, PopulationBasedTraining):
    """Population based training whose trials keep their seeds and stay in the ranges that were given."""

    _next_perturbation_sync: float

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict[str, Any], dict[str, Any]]:
        config, operations = super()._get_new_config(trial, trial_to_clone)
        _keep_in_range(config, self._hyperparam_mutations)
        if "seed" in trial.config:
            config["seed"] = trial.config["seed"]
        return config, operations

    def _exploit(self, tune_controller: TuneController, trial: Trial, trial_to_clone: Trial) -> None:
        """Copies a trial as it was when it was ranked; where that checkpoint has been deleted, as it was saved last.

        (Trials that are ranked at different times save more often than they are ranked.)
        """
        state = self._trial_state[trial_to_clone]
        if trial_to_clone.checkpoint is not None and not _is_there(state.last_checkpoint):
            state.last_checkpoint = trial_to_clone.checkpoint
        super()._exploit(tune_controller, trial, trial_to_clone)

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """Returns the next trial; where all wait for one that has ended instead, they go on without a ranking.

        Ray ranks when the last trial arrives, and would wait for ever.
        """
        chosen: Trial | None = super().choose_trial_to_run(tune_controller)
        live = [trial for trial in tune_controller.get_live_trials() if not trial.is_finished()]
        if chosen is not None or not self._synch or not live or any(t.status != Trial.PAUSED for t in live):
            return chosen
        farthest = max(self._trial_state[trial].last_train_time for trial in live)
        self._next_perturbation_sync = max(self._next_perturbation_sync, farthest) + self._perturbation_interval
        chosen = super().choose_trial_to_run(tune_controller)
        return chosen


def _is_there(checkpoint: Checkpoint) -> bool:
    return bool(checkpoint.filesystem.get_file_info(checkpoint.path).type != FileType.NotFound)


def _keep_in_range(config: dict[str, Any], mutations: Mapping[str, Any]) -> None:
    for name, domain in mutations.items():
        if isinstance(domain, Mapping):
            _keep_in_range(config[name], domain)
        elif not isinstance(domain, list):  # Ray multiplies by 0.8 or 1.2, whatever the range
            upper = domain.upper - 1 if isinstance(domain, Integer) else domain.upper
            config[name] = min(max(config[name], domain.lower), upper)


def _as_ray_takes(mutations: Mapping[str, Any]) -> dict[str, Any]:
    """Choices as lists: Ray steps to the neighbour in a list, and would multiply a drawn choice."""
    return {
        name: _as_ray_takes(value)
        if isinstance(value, Mapping)
        else list(value.categories)
        if isinstance(value, Categorical)
        else value
        for name, value in mutations.items()
    }


class Optuna(OptunaSearch):
    """Optuna's search over trials whose results may lack its metric."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Reports a result that has the metric."""
        measured = with_metrics(result, self.metric)
        if trial_id not in self._completed_trials and measured is not None:
            super().on_trial_result(trial_id, measured)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Ends a trial, as pruned if its last result lacks the metric."""
        if trial_id not in self._completed_trials:
            super().on_trial_complete(trial_id, None if result is None else with_metrics(result, self.metric), error)


def build_scheduler(
    options: SectionOptions | None, plan: Plan, mutations: Mapping[str, Any] | None = None
) -> TrialScheduler:
    """Returns Ray Tune's scheduler for the options that `read_section` gave, with a plan.

    Args:
        options: of the section ``scheduler``.
        plan: what is done to each trial.
        mutations: what population based training changes, as `SearchSpace.mutations` gives it.
    """
    if isinstance(options, AshaOptions):
        scheduler: _Conducted = Asha(**dataclasses.asdict(options))
    elif isinstance(options, MedianOptions):
        scheduler = Median(**dataclasses.asdict(options))
    elif isinstance(options, PbtOptions):
        # Of actors that are used again, which would keep what the algorithm built from the former settings.
        warnings.filterwarnings("ignore", message="Consider boosting PBT")
        scheduler = Pbt(**dataclasses.asdict(options), hyperparam_mutations=_as_ray_takes(mutations or {}))
    else:
        scheduler = Fifo()
    scheduler.plan = plan
    return scheduler


def ends_early(options: SectionOptions | None) -> bool:
    """Whether a scheduler ends trials before their stop conditions do."""
    return isinstance(options, AshaOptions | MedianOptions)


def build_search(options: SectionOptions | None, max_concurrent: int | None = None) -> Searcher | SearchAlgorithm:
    """Returns Ray Tune's search algorithm for the options.

    Args:
        options: of the section ``search``.
        max_concurrent: trials at the same time; None: as many as fit.

    Raises:
        ConfigError: optuna is asked for and not installed.
    """
    if isinstance(options, OptunaOptions):
        from ray.tune.search import ConcurrencyLimiter

        try:
            import optuna

            optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of studies, of which users know nothing
            search = Optuna(metric=options.metric, mode=options.mode, seed=options.seed)
        except (AssertionError, ImportError) as error:
            raise ConfigError("search.type", "'optuna' needs a package; pip install optuna") from error
        return ConcurrencyLimiter(search, max_concurrent) if max_concurrent is not None else search
    seed = options.seed if isinstance(options, RandomOptions) else None
    return BasicVariantGenerator(random_state=seed, max_concurrent=max_concurrent or 0)
