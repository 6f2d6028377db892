"""What an iteration costs with more runners: a model of its four parts, fitted to measured ones.

Weak scaling: every runner plays the same number of agent steps per iteration, so R runners bring R times as many.

    sample = play * max(1, R / cores) + wait * R     runners play at once, as far as there are cores for them
    transfer = R * (bytes / bandwidth + call)        the learner fetches one rollout after the other
    learn = R * learn_rate * steps + learn_fixed     on one learner
    sync = sync_fixed + sync_rate * R                weights go to each runner

All coefficients are 0 or more and in seconds. Pure functions; ``benchmarks.scaling --fit`` measures and uses them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PARTS = ("sample_s", "transfer_s", "learn_s", "sync_s")


@dataclass(frozen=True)
class Measured:
    """One setting.

    Attributes:
        runners: R, 1 or more.
        seconds: of each of `PARTS`, in one iteration.
    """

    runners: int
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Model:
    """Coefficients, seconds per iteration.

    Attributes:
        steps: agent steps of one runner per iteration.
        rollout_bytes: of one runner's rollout, as it travels.
        cores: that runners shared where it was measured.
        play: one runner's playing, on a core of its own.
        wait: that each runner adds to the playing of all.
        fetch: of one runner's rollout on the same machine.
        learn: per runner's steps, on one learner.
        learn_fixed: whatever the number of steps.
        sync: per runner.
        sync_fixed: whatever the number of runners.
    """

    steps: int
    rollout_bytes: int
    cores: float
    play: float
    wait: float
    fetch: float
    learn: float
    learn_fixed: float
    sync: float
    sync_fixed: float


@dataclass(frozen=True)
class Cluster:
    """Where it is to run.

    Attributes:
        cores: that runners have in all; infinite: one for each.
        bandwidth: of the learner's network, bytes/s; None: all on one machine.
        learner_speed: how much faster its learners are together than the measured one.
    """

    cores: float = float("inf")
    bandwidth: float | None = None
    learner_speed: float = 1.0


def fit(measured: Sequence[Measured], steps: int, rollout_bytes: int, cores: float) -> Model:
    """Fits the coefficients by least squares of the relative errors, none below 0.

    Args:
        measured: at least two numbers of runners.
        steps: see `Model`.
        rollout_bytes: see `Model`.
        cores: see `Model`.

    Raises:
        ValueError: only one number of runners was measured.
    """
    runners = np.array([m.runners for m in measured], dtype=float)
    if len(set(runners)) < 2:
        raise ValueError("Two numbers of runners or more are needed to tell what grows with them.")
    ones = np.ones_like(runners)
    seconds = {part: np.array([m.seconds[part] for m in measured]) for part in PARTS}
    play, wait = _least_squares([np.maximum(1.0, runners / cores), runners], seconds["sample_s"])
    (fetch,) = _least_squares([runners], seconds["transfer_s"])
    learn, learn_fixed = _least_squares([runners, ones], seconds["learn_s"])
    sync, sync_fixed = _least_squares([runners, ones], seconds["sync_s"])
    return Model(steps, rollout_bytes, cores, play, wait, fetch, learn, learn_fixed, sync, sync_fixed)


def _least_squares(columns: Sequence[np.ndarray], values: np.ndarray) -> tuple[float, ...]:
    """Coefficients of 0 or more that come nearest, relative to the values."""
    from scipy.optimize import nnls

    scale = 1.0 / np.maximum(values, 1e-9)
    found, _ = nnls(np.stack(columns, axis=1) * scale[:, None], values * scale)
    return tuple(float(value) for value in found)


def predict(model: Model, runners: int, where: Cluster) -> dict[str, float]:
    """Seconds of each part of an iteration."""
    fetch = model.fetch * runners
    if where.bandwidth is not None:
        fetch += runners * model.rollout_bytes / where.bandwidth
    return {
        "sample_s": model.play * max(1.0, runners / where.cores) + model.wait * runners,
        "transfer_s": fetch,
        "learn_s": (model.learn * runners + model.learn_fixed) / where.learner_speed,
        "sync_s": model.sync_fixed + model.sync * runners,
    }


def steps_per_s(model: Model, runners: int, parts: Mapping[str, float]) -> float:
    """Agent steps per second of an iteration with such parts, one after the other."""
    return model.steps * runners / sum(parts.values())


def bottleneck(parts: Mapping[str, float]) -> str:
    """The part that takes longest."""
    return max(parts, key=lambda part: parts[part]).removesuffix("_s")


def error(model: Model, measured: Measured) -> float:
    """Predicted over measured seconds of the whole iteration, minus one."""
    predicted = predict(model, measured.runners, Cluster(cores=model.cores))
    return sum(predicted.values()) / sum(measured.seconds.values()) - 1.0
