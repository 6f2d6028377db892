"""What a soaked training tells of itself in each result: how much its running statistics have seen."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_rnd.modules.running_moments import RunningMoments


def samples_seen(learner: Any) -> float:
    """Samples in all running statistics of a learner's module together."""
    modules = [m for _, module in learner.module.items() for m in module.modules()]
    return sum(float(module.count) for module in modules if isinstance(module, RunningMoments))


class Watch(RLlibCallback):
    """Puts ``soak/moments`` into each result."""

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **_: object) -> None:
        """Asks the first learner that answers."""
        found = next((r.get() for r in algorithm.learner_group.foreach_learner(samples_seen) if r.ok), None)
        result["soak"] = {} if found is None else {"moments": found}
