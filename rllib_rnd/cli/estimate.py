"""How long a training will take, by the pace of earlier runs or of a small iteration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rllib_rnd.cli.cost import agent_steps, expected, pace_of_earlier_runs
from rllib_rnd.config import IntrinsicPPOConfig
from rllib_rnd.experiment.file import Experiment
from rllib_rnd.threads import usable_cores
from rllib_rnd.tracking.metrics import duration, read

_LONG_PLAY = 20_000  # agent steps of random play that take no time worth telling
_STORAGE = "results"  # where runs are unless it is said


@dataclass(frozen=True)
class Pace:
    """How fast a training is.

    Attributes:
        steps_per_s: agent steps per second.
        source: where that is known from.
        played_per_s: agent steps per second that are played alone; None where that is not known.
    """

    steps_per_s: float
    source: str
    played_per_s: float | None = None

    @staticmethod
    def of(
        wanted: IntrinsicPPOConfig, run: IntrinsicPPOConfig, result: Mapping[str, Any], threads: int = 1
    ) -> Pace | None:
        """Returns the pace at the file's own size, from an iteration of a smaller one; None where it tells no times.

        Playing and learning are taken to grow with the steps, the latter with the epochs too; remote runners to play at
        once, as many as there are cores; learners and their threads to share the learning as evenly.

        Args:
            wanted: the file's own settings.
            run: those of the iteration, which learned with one thread.
            result: of the iteration.
            threads: of each learner, at the file's own size.
        """
        sample_s, learn_s = read(result, "sample_s"), read(result, "learn_s")
        if sample_s is None or learn_s is None:
            return None
        steps, played = wanted.samples_per_iteration(), run.samples_per_iteration()
        at_once = min(max(1, wanted.num_env_runners), usable_cores())
        learning = min(max(1, wanted.num_learners) * threads, usable_cores())
        seconds = (sample_s / at_once + learn_s * wanted.num_epochs / run.num_epochs / learning) * steps / played
        source = "by one iteration here" if steps == played else f"by {played:,} steps here, roughly"
        if not (seconds > 0 and math.isfinite(seconds)):
            return None
        return Pace(steps / seconds, source, played * at_once / sample_s if sample_s > 0 else None)


def hours(experiment: Experiment, measured: Pace | None) -> str:
    """Returns how long an experiment takes to its stop condition, in a sentence."""
    earlier = pace_of_earlier_runs(_STORAGE, experiment)
    pace = Pace(*earlier) if earlier is not None else measured
    if pace is None:
        return "RLlib's own algorithm: nothing tells how fast it will be"
    told = expected(experiment, usable_cores(), pace.steps_per_s, pace.source)
    return f"{told}{_random_play(experiment, measured)}"


def _random_play(experiment: Experiment, measured: Pace | None) -> str:
    """What random play before training adds, where that is no small part: ``warmup_steps`` of every environment."""
    config = experiment.sample_config()
    if not isinstance(config, IntrinsicPPOConfig) or not config.intrinsic_reward_specs():
        return ""
    steps = config.warmup_steps * config.num_envs_per_env_runner * max(1, config.num_env_runners)
    budget = agent_steps(experiment)
    if steps < _LONG_PLAY or (budget is not None and steps < budget / 10):
        return ""
    took = ""
    if measured is not None and measured.played_per_s:
        took = f", about {duration(steps / measured.played_per_s)}"
    return f"; before that {steps:,} agent steps of random play (warmup_steps){took}"
