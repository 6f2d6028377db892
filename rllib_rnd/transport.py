"""Rollouts on their way from one machine to another: arrays that lz4 makes smaller travel so, bit for bit the same.

Frames of games are mostly background. Packing runs on the runners, all at the same time, and at some GB/s on each core,
so that it pays on most networks (docs/performance.md). On one machine rollouts do not travel: the learner reads them
where the object store keeps them, and packing would only cost.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_rnd.rollout import ARRAYS, Rollout

# An array that does not become smaller than this share of itself travels as it is.
_WORTH = 0.9
_SMALLEST = 4096  # bytes, below which nothing is gained
# Bytes that are packed at a time. What stays in the caches is unpacked eight times as fast as 28 MB at once, for
# which the kernel has to clear pages twice.
_PIECE = 2**20


@dataclass(frozen=True)
class PackedArray:
    """An array, packed.

    Attributes:
        pieces: (packed uint8, bytes of it) one after the other; arrays, which the object store hands out uncopied.
        shape, dtype: of the array.
    """

    pieces: tuple[tuple[np.ndarray, int], ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return sum(len(piece) for piece, _ in self.pieces)


@dataclass(frozen=True)
class PackedRollout:
    """A rollout, packed.

    Attributes:
        arrays: by their names in `Rollout`; those that do not become smaller as they are.
        frame_stack, newest_first: of the rollout.
    """

    arrays: dict[str, PackedArray | np.ndarray]
    frame_stack: int
    newest_first: bool

    @property
    def num_bytes(self) -> int:
        """Bytes that travel."""
        return sum(array.nbytes for array in self.arrays.values())


def packs(setting: str, here: str, learners: Collection[str]) -> bool:
    """Whether a runner packs its rollouts.

    Args:
        setting: ``compress_rollouts``.
        here: the node of the runner.
        learners: the nodes of the learners.
    """
    return setting == "lz4" or (setting == "auto" and any(node != here for node in learners))


def pack(rollout: Rollout) -> PackedRollout:
    """Packs the arrays (numpy) of a rollout."""
    arrays = {name: _packed(getattr(rollout, name)) for name in ARRAYS}
    return PackedRollout(arrays, rollout.frame_stack, rollout.newest_first)


def unpack(rollout: Rollout | PackedRollout) -> Rollout:
    """The rollout, as it was before `pack`; one that is not packed as it is."""
    if isinstance(rollout, Rollout):
        return rollout
    arrays = {n: a if isinstance(a, np.ndarray) else _unpacked(a) for n, a in rollout.arrays.items()}
    return Rollout(**arrays, frame_stack=rollout.frame_stack, newest_first=rollout.newest_first)


def _packed(array: np.ndarray) -> PackedArray | np.ndarray:
    import lz4.block

    if array.nbytes < _SMALLEST:
        return array
    whole = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    parts = [whole[start : start + _PIECE] for start in range(0, len(whole), _PIECE)]
    packed_parts = (np.frombuffer(lz4.block.compress(part, store_size=False), np.uint8) for part in parts)
    pieces = tuple((packed, len(part)) for packed, part in zip(packed_parts, parts, strict=True))
    found = PackedArray(pieces, array.shape, array.dtype)
    return found if found.nbytes < _WORTH * array.nbytes else array


def _unpacked(array: PackedArray) -> np.ndarray:
    import lz4.block

    whole = np.empty(sum(size for _, size in array.pieces), np.uint8)
    start = 0
    for piece, size in array.pieces:
        part = lz4.block.decompress(piece, uncompressed_size=size)
        whole[start : start + size] = np.frombuffer(part, np.uint8)
        start += size
    return whole.view(array.dtype).reshape(array.shape)
