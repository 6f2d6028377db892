"""What becomes of the features that a reward is made of: do they collapse, and how fast do they move?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rllib_rnd.functional import drift
from rllib_rnd.rollout import Rollout

# Samples that are looked at, about.
_SAMPLES = 256


class FeatureWatch:
    """Compares features of some samples as they were when a rollout was rewarded and after the training on it.

    Args:
        name: begins the metrics' names.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._before: tuple[Tensor, Tensor] | None = None

    def keep(self, rollout: Rollout, features: Tensor) -> None:
        """Keeps the features ``[>= T * N, ...]``, by flat index, of some valid samples, if they can be compared."""
        valid = rollout.valid.flatten().nonzero()[:, 0]
        index = valid[:: max(1, len(valid) // _SAMPLES)]
        self._before = (index, features[index].detach()) if len(index) > 1 else None

    @torch.no_grad()
    def compare(self, encode: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Metrics of what was kept last; none before a reward.

        Args:
            encode: flat indices ``[B]`` -> features of today ``[B, ...]``.

        Returns:
            ``<name>_feature_std``, mean over features of their standard deviation over the samples then (0 is
            collapse), and ``<name>_feature_drift``, as of `functional.drift`. ``[]`` each.
        """
        if self._before is None:
            return {}
        (index, before), self._before = self._before, None
        before, now = before.flatten(1), encode(index).flatten(1)
        return {
            f"{self.name}_feature_std": before.std(dim=0, unbiased=False).mean(),
            f"{self.name}_feature_drift": drift(now, before),
        }
