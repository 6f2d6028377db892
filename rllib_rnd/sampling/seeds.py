"""Seeds that follow from one number, so that no two parts of a run play the same episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def derived_seed(seed: int | None, *path: int) -> int | None:
    """A seed of its own for each ``path``, always the same one; None without a seed."""
    if seed is None:
        return None
    sequence = np.random.SeedSequence([seed, *path])
    return int(sequence.generate_state(1)[0] % (2**31 - 1))


def runner_seed(seed: int | None, worker_index: int, in_evaluation: bool) -> int | None:
    """Derives a runner's own seed, so that no two runners (nor training and evaluation) share environments."""
    return derived_seed(seed, worker_index, int(in_evaluation))


@dataclass
class ResetSeeds:
    """The seeds that environments are reset with: all different, or a restart would bring the same episodes again.

    Several `Play` may draw from one, as training and random play of a runner do.

    Attributes:
        first: the first of them, which the others are derived from; None: no seeds.
        used: how many have been used.
    """

    first: int | None
    used: int = 0

    @property
    def next(self) -> int | None:
        """The seed of the next reset."""
        return self.first if self.used == 0 else derived_seed(self.first, self.used, 0)
