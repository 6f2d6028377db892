"""Where the learners stand, in checkpoints: their generators, and the rows of environments; of all, on every learner.

A checkpoint is written by the first learner alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rllib_rnd.modules.distributed import from_all, rank, world_size
from rllib_rnd.modules.environment_rows import follow_environments, forget_rows, gather_rows, scatter_rows
from rllib_rnd.modules.generators import State, process_state, restore_process


class Standing:
    """What of the learners goes into checkpoints beside weights and counters, and how it is put back.

    Args:
        module: with this learner's rows.
        generator: this learner's own.
        seed: that it begins with on the first learner; None: any.
        device: of the learner.
    """

    def __init__(self, module: nn.Module, generator: torch.Generator, seed: int | None, device: torch.device) -> None:
        self._module, self._generator, self._seed, self._device = module, generator, seed, device
        self._generators: list[State] = []
        self._rows: dict[str, Tensor] = {}
        self._environments: Sequence[Hashable] = ()

    # --- generators --------------------------------------------------------------------------------------------------

    def seed_generator(self) -> None:
        """Begins this learner's own generator."""
        if self._seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(self._seed + 7919 * rank())

    def own_generators(self) -> State:
        """This learner's own generator and the global ones of its process."""
        return process_state(self._generator, self._device)

    def note_generators(self) -> None:
        """At the end of an update, on every learner; a single one needs none of it."""
        if world_size() > 1:
            self._generators = from_all(self.own_generators())

    def _all_generators(self) -> list[State]:
        """The generators of every learner, in their order, as of the end of the newest update."""
        return [self.own_generators()] if world_size() == 1 else self._generators

    # --- rows --------------------------------------------------------------------------------------------------------

    def note_rows(self, num_envs: int, start: int, stop: int) -> None:
        """At the end of an update, on every learner; arguments as of `gather_rows`."""
        self._rows = gather_rows(self._module, num_envs, start, stop)

    def follow(self, environments: Sequence[Hashable]) -> None:
        """Environments that are lost take their rows with them; those that are left keep theirs."""
        if self._environments and environments and self._environments != environments:
            gathered = follow_environments(self._module, self._rows, self._environments, environments)
            scatter_rows(self._module, gathered, world_size(), rank())
        self._environments = environments

    def _take_rows(self, rows: dict[str, Tensor], num_envs: int) -> None:
        """This learner's share of saved rows; of another number of environments nobody can tell which is which."""
        self._environments = ()
        if any(len(saved) not in (0, num_envs) for saved in rows.values()):  # 0: no rollout has shown it yet
            self._rows = {}
            forget_rows(self._module)
            return
        self._rows = rows
        scatter_rows(self._module, rows, world_size(), rank())

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All of it, as plain data."""
        rows = {name: rows.cpu().numpy() for name, rows in self._rows.items()}
        return {"generators": self._all_generators(), "environment_rows": rows}

    def restore(self, state: Mapping[str, Any], num_envs: int) -> None:
        """Puts `state` back, that of another number of learners too; rows as far as it is of as many environments."""
        # One more than there were draws what no other does: two learners must not have the same masks.
        restore_process(state["generators"], rank(), self._generator, self._device)
        self.note_generators()
        saved = {name: torch.from_numpy(rows.copy()) for name, rows in state["environment_rows"].items()}
        self._take_rows(saved, num_envs)
