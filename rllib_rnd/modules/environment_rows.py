"""State that belongs to single environments and outlives a rollout: one row each, saved with the module."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rllib_rnd.modules.distributed import all_reduce_sum, world_size
from rllib_rnd.rollout import shard_bounds

logger = logging.getLogger(__name__)


class EnvironmentRows(nn.Module):
    """A module with buffers ``[N, ...]`` that hold a row per environment; N is 0 until a rollout shows it.

    With several learners each holds the rows of its own environments. If N changes later and nobody has told which
    environment is which (`follow_environments`), all rows start anew.

    Attributes:
        belongs_to_episode: a row is about an environment's current episode; False: about all of its past.
    """

    belongs_to_episode: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._new_rows: dict[str, Tensor] = {}

    def register_rows(self, name: str, new_row: Tensor) -> None:
        """Adds a buffer ``[N, *new_row.shape]``; ``new_row`` is what a row begins with."""
        self._new_rows[name] = new_row
        self.register_buffer(name, new_row.new_empty((0, *new_row.shape)))

    def row_names(self) -> list[str]:
        """Names of the buffers that hold rows."""
        return list(self._new_rows)

    def fit_rows(self, num_envs: int, device: torch.device) -> None:
        """Makes N ``num_envs``, with new rows if it was another number."""
        for name in self._new_rows:
            rows = self.get_buffer(name)
            if len(rows) == num_envs:
                continue
            if len(rows):
                message = "%d environments instead of %d: %s of %s starts anew."
                logger.warning(message, num_envs, len(rows), name, type(self).__name__)
            setattr(self, name, self.new_rows(name, num_envs, device))

    def new_rows(self, name: str, num_envs: int, device: torch.device) -> Tensor:
        """A buffer's rows as they begin."""
        new_row = self._new_rows[name]
        return new_row.to(device).expand(num_envs, *new_row.shape).clone()

    def renew_rows(self, where: Tensor) -> None:
        """Gives the environments ``where [N]`` (bool) new rows, in place."""
        for name, new_row in self._new_rows.items():
            rows = self.get_buffer(name)
            rows[where] = new_row.to(rows.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: object) -> None:
        # Saved rows are as many as the environments of the run that saved them: take their number before copying.
        for name in self._new_rows:
            saved, rows = state_dict.get(f"{prefix}{name}"), self.get_buffer(name)
            if saved is not None and saved.shape != rows.shape:
                setattr(self, name, rows.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def gather_rows(module: nn.Module, num_envs: int, start: int, stop: int) -> dict[str, Tensor]:
    """The rows of all environments over all learners, by buffer name, on every learner (which must all call it).

    With one learner they are the buffers themselves.

    Args:
        module: with `EnvironmentRows` somewhere in it.
        num_envs: environments of all learners.
        start, stop: this learner's share of them.
    """
    gathered = {}
    for path, part in _parts(module):
        for name in part.row_names():
            rows = part.get_buffer(name)
            if world_size() == 1:
                gathered[f"{path}.{name}"] = rows  # not a copy: an episode's memories can be large
                continue
            has_rows = torch.tensor(float(len(rows) == stop - start), device=rows.device)
            if all_reduce_sum(has_rows) < world_size():  # no rollout has shown it to all of them yet
                gathered[f"{path}.{name}"] = rows[:0]
                continue
            everyone = rows.new_zeros((num_envs, *rows.shape[1:]))
            everyone[start:stop] = rows
            gathered[f"{path}.{name}"] = all_reduce_sum(everyone)
    return gathered


def scatter_rows(module: nn.Module, gathered: dict[str, Tensor], num_learners: int, learner: int) -> None:
    """Hands a learner its share of what `gather_rows` returned."""
    for path, part in _parts(module):
        for name in part.row_names():
            everyone = gathered.get(f"{path}.{name}")
            if everyone is not None:
                start, stop = shard_bounds(len(everyone), num_learners, learner)
                setattr(part, name, everyone[start:stop].to(part.get_buffer(name).device, copy=True))


def forget_rows(module: nn.Module) -> None:
    """Lets all rows begin anew with the next rollout, of however many environments it is."""
    for _, part in _parts(module):
        for name in part.row_names():
            setattr(part, name, part.get_buffer(name)[:0].clone())


def follow_environments(
    module: nn.Module, gathered: dict[str, Tensor], before: Sequence[Hashable], now: Sequence[Hashable]
) -> dict[str, Tensor]:
    """What `gather_rows` returned, for other environments: those that are still there keep their rows.

    Args:
        module: with `EnvironmentRows` somewhere in it.
        gathered: rows of the environments ``before``.
        before, now: who they were and are, each by a name of its own.
    """
    found = {name: i for i, name in enumerate(before)}
    kept = [(i, found[name]) for i, name in enumerate(now) if name in found]
    followed = {}
    for path, part in _parts(module):
        for name in part.row_names():
            old = gathered.get(f"{path}.{name}")
            if old is None or len(old) != len(before):
                continue
            rows = part.new_rows(name, len(now), old.device)
            rows[[i for i, _ in kept]] = old[[j for _, j in kept]]
            followed[f"{path}.{name}"] = rows
    return followed


def saved_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of a module's tensors as checkpoints hold them, by name; -1 for the number of environments."""
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for path, part in _parts(module):
        for name in part.row_names():
            shapes[f"{path}.{name}"] = (-1, *shapes[f"{path}.{name}"][1:])
    return shapes


def _parts(module: nn.Module) -> list[tuple[str, EnvironmentRows]]:
    return [(path, part) for path, part in module.named_modules() if isinstance(part, EnvironmentRows)]
