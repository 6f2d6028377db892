"""What a sweep will cost, told before it starts: its trials, their steps, and hours at the pace of earlier runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from rllib_rnd.cli.folders import runs_in
from rllib_rnd.experiment.conduct import ends_early
from rllib_rnd.experiment.file import Experiment
from rllib_rnd.tracking.metrics import BY_NAME, duration, read

_TAIL = 65536  # bytes; more than one result takes
_STEPS, _ITERATION, _SECONDS = (BY_NAME[name].paths[0] for name in ("agent_steps", "iteration", "time_total_s"))


class SweepCost:
    """The size of a sweep.

    Args:
        experiment: the sweep.
        at_once: trials that run at the same time.
    """

    def __init__(self, experiment: Experiment, at_once: int) -> None:
        self.experiment = experiment
        self.trials = experiment.num_samples * experiment.space.grids
        limit = experiment.tune.max_concurrent_trials or self.trials
        self.at_once = max(1, min(self.trials, at_once, limit))
        self.steps = agent_steps(experiment)

    def words(self) -> str:
        """``16 trials of at most 400,000 agent steps, 2 at a time``."""
        size = f" of at most {self.steps:,.0f} agent steps" if self.steps is not None else ""
        seconds = self.experiment.stop.get(_SECONDS)
        if seconds is not None:
            size += f"{',' if size else ' of'} at most {duration(seconds)}"
        return f"{self.trials} trials{size}, {self.at_once} at a time"

    def seconds(self, steps_per_s: float) -> float | None:
        """How long all takes at a trial's pace, if every trial goes to its end; None if no condition says."""
        each = [] if self.steps is None else [self.steps / steps_per_s]
        each += [self.experiment.stop[_SECONDS]] if _SECONDS in self.experiment.stop else []
        if not each:
            return None
        rounds = -(-self.trials // self.at_once)
        whole, budget = min(each) * rounds, self.experiment.tune.time_budget_s
        return whole if budget is None else min(whole, budget)

    def told(self, steps_per_s: float, source: str) -> str:
        """The line with hours."""
        seconds = self.seconds(steps_per_s)
        if seconds is None:
            return f"Sweep: {self.words()}; no condition says when they end."
        early = "; worse trials end earlier" if ends_early(self.experiment.scheduler) else ""
        return f"Sweep: {self.words()}: about {duration(seconds)} ({steps_per_s:,.0f} agent steps/s, {source}){early}."


def expected(experiment: Experiment, at_once: int, steps_per_s: float, source: str) -> str:
    """Returns how long an experiment takes to its end, in a sentence; of a sweep what `SweepCost` tells.

    Args:
        experiment: one trial or several.
        at_once: trials that run at the same time.
        steps_per_s: agent steps per second of a trial.
        source: where the pace is known from.
    """
    cost = SweepCost(experiment, at_once)
    if not experiment.single:
        return cost.told(steps_per_s, source)
    seconds, pace = cost.seconds(steps_per_s), f"{steps_per_s:,.0f} agent steps/s, {source}"
    if seconds is None:
        return f"no condition says when it ends ({pace})"
    end = f"{cost.steps:,.0f} agent steps" if cost.steps is not None else "its end"
    return f"about {duration(seconds)} to {end} ({pace})"


def agent_steps(experiment: Experiment) -> float | None:
    """Agent steps of a trial that goes to its end."""
    stop, config = experiment.stop, experiment.sample_config()
    found = [stop[_STEPS]] if _STEPS in stop else []
    if _ITERATION in stop:
        envs = config.num_envs_per_env_runner * max(1, config.num_env_runners)
        if isinstance(config.rollout_fragment_length, int):
            found.append(stop[_ITERATION] * envs * config.rollout_fragment_length)
    return min(found, default=None)


def pace_of_earlier_runs(storage: str, experiment: Experiment) -> tuple[float, str] | None:
    """Returns the agent steps/s of a trial of this experiment in the storage, and the run's folder; None if none ran.

    The newest run counts, and of its trials the median.
    """
    if "://" in storage:
        return None
    for folder, record in reversed(runs_in(storage).items()):
        if record.experiment != experiment.name:
            continue
        paces = []
        for path in (Path(storage) / folder).glob("*/result.json"):
            last = _last_result(path)
            steps, seconds = read(last, "agent_steps"), read(last, "time_total_s")
            if steps and seconds:
                paces.append(steps / seconds)
        if paces:
            return sorted(paces)[len(paces) // 2], f"as in {folder}"
    return None


def _last_result(path: Path) -> Mapping[str, Any]:
    """The last whole line of a trial's results."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _TAIL))
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            result = json.loads(line)
        except ValueError:  # cut short by a kill, or the first one of the piece
            continue
        return result if isinstance(result, dict) else {}
    return {}


class TellCost(Callback):
    """Tells the hours of a sweep of which nothing ran before, after two results of a trial: the first one warms up.

    Args:
        cost: of the sweep.
        tell: prints a line.
    """

    def __init__(self, cost: SweepCost, tell: Callable[[str], None]) -> None:
        self._cost: SweepCost | None = cost
        self._tell: Callable[[str], None] | None = tell

    def __getstate__(self) -> dict[str, Any]:
        return {"_cost": None, "_tell": None}

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: object) -> None:
        """Tells once."""
        pace = read(result, "agent_steps_per_s")
        seen = getattr(trial, "last_result", None)
        if self._tell is None or self._cost is None or not pace or not seen or not read(result, "agent_steps"):
            return
        self._tell(self._cost.told(pace, "in its first iterations"))
        self._tell = None
