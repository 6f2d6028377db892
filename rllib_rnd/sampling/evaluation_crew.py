"""Evaluation by remote runners: each plays its share, the share of one that is lost is played by the others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EVALUATION_RESULTS
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_rnd.sampling.answers import RunnerFailure, failure_or
from rllib_rnd.sampling.crew import Crew
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from rllib_rnd.sampling.evaluation import shares

logger = logging.getLogger(__name__)


def evaluate_remotely(crew: Crew, config: AlgorithmConfig, metrics: MetricsLogger) -> int:
    """Plays ``evaluation_duration`` episodes or steps, as far as there are runners; returns the agent steps.

    Args:
        crew: of evaluation.
        config: of training.
        metrics: where those of the runners go.

    Raises:
        Exception: the error that stopped a runner, as of an environment that fails. Lost runners are no error.
    """
    unit, wanted = config.evaluation_duration_unit, config.evaluation_duration
    force_reset = config.evaluation_force_reset_envs_before_iteration
    done = steps = 0
    found: list[dict[str, Any]] = []
    while done < wanted and crew.in_service:
        runners = crew.in_service
        share = dict(zip(runners, shares(wanted - done, len(runners)), strict=True))
        asked = [runner for runner in runners if share[runner]]
        requests = crew.start(_play_share, asked, share=share, unit=unit, force_reset=force_reset)
        for played, played_steps, played_metrics in crew.answers(requests).values():
            done, steps, force_reset = done + played, steps + played_steps, False
            found.append(played_metrics)
    if done < wanted:
        logger.warning("This evaluation has %d of %d %s: no runner of evaluation is left for now.", done, wanted, unit)
    if found:
        crew.has_answered()
        metrics.aggregate(found, key=(EVALUATION_RESULTS, ENV_RUNNER_RESULTS))
    return steps


def _play_share(
    runner: RolloutEnvRunner, share: Mapping[int, int], unit: str, force_reset: bool
) -> tuple[int, int, dict[str, Any]] | RunnerFailure:
    """A runner's share: what it has played of what was wanted, its agent steps, its metrics."""

    def play() -> tuple[int, int, dict[str, Any]]:
        number = {f"num_{unit}": share[runner.worker_index]}
        episodes = runner.sample(**number, force_reset=force_reset)
        steps = sum(map(len, episodes))
        return len(episodes) if unit == "episodes" else steps, steps, runner.get_metrics()

    return failure_or(play)
