"""Observations that come again: keys that tell them apart, and networks that read each different one once.

In grid worlds most steps of a rollout show what another step shows: an action changes nothing, or many environments are
in the same place. What a network makes of one observation alone it then makes of each different one, and the results
are handed out; gradients add up on the way back.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rllib_rnd.rollout import Rollout

# Numbers converted at a time while a rollout is hashed (32 MiB): bounds memory.
_CHUNK_ELEMENTS = 2**22

# Observations of fewer numbers cost less to read than to look for.
_FEW_NUMBERS = 256
# Share of different observations in a rollout from which on looking for them is not worth while.
_MOSTLY_DIFFERENT = 0.5

_LOW_HALF = 0xFFFFFFFF


@torch.no_grad()
def hash_observations(frames: Tensor) -> Tensor:
    """Keys of observations, equal exactly where all their bytes are equal.

    Two multilinear hashes of 32 bits each (Lemire and Kaser 2014, "Strongly universal string hashing is fast",
    arXiv:1202.4961): ``((m_0 + sum_i m_i x_i) mod 2^64) >> 32`` over the 32-bit words x_i of an observation, weights
    m_i of 64 bits. Over random weights two different observations collide with probability 2^-64, and any two of n
    with at most n^2 / 2^65: 3e-8 for a million. The weights are fixed numbers (SplitMix64), so that keys mean the
    same in every process and after a restart. 0.0 and -0.0 are equal.

    Args:
        frames: ``[B, ...]`` of any dtype.

    Returns:
        ``[B]`` int64.
    """
    size = math.prod(frames.shape[1:])
    num_bytes = size * frames.element_size()
    words = -(-num_bytes // 4)
    weights = _hash_weights(words + 1, frames.device)
    keys = torch.empty(len(frames), dtype=torch.int64, device=frames.device)
    rows = max(1, _CHUNK_ELEMENTS // max(1, words))
    for start in range(0, len(frames), rows):
        part = frames[start : start + rows].reshape(-1, size)
        if part.is_floating_point():
            part = part + 0.0  # -0.0 becomes 0.0
        padded = torch.zeros(len(part), 4 * words, dtype=torch.uint8, device=frames.device)
        padded[:, :num_bytes] = part.contiguous().view(torch.uint8)
        x = padded.view(torch.int32).long() & _LOW_HALF
        high, low = ((m[0] + (m[1:] * x).sum(dim=1)) >> 32 for m in weights)
        keys[start : start + rows] = (high << 32) | (low & _LOW_HALF)
    return keys


@functools.lru_cache(maxsize=8)
def _hash_weights(count: int, device: torch.device) -> Tensor:
    """``[2, count]`` int64, numbers 1 to 2 ``count`` of SplitMix64 (Steele et al. 2014) with seed 0."""
    with np.errstate(over="ignore"):
        z = np.arange(1, 2 * count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    # Alternating, so that a weight does not depend on the number of words.
    return torch.from_numpy(z.view(np.int64).reshape(count, 2).T.copy()).to(device)


class Repeats(NamedTuple):
    """Which observations of a rollout are the same.

    Attributes:
        number: ``[(T + 1) * N]`` int64, by flat index: equal exactly where all bytes are equal; 0 to U - 1.
        row: ``[U]`` int64, the flat index of one observation of each number.
    """

    number: Tensor
    row: Tensor


class Different(NamedTuple):
    """The different observations among some samples.

    Attributes:
        rows: ``[U]`` flat indices, one of each.
        places: ``[B]``, which of them each sample's observation is equal to.
    """

    rows: Tensor
    places: Tensor


def newest_keys(rollout: Rollout) -> Tensor:
    """`hash_observations` of the newest frames of ``obs_0 .. obs_T``, ``[(T + 1) * N]``; found once, kept with it."""
    if "newest_keys" not in rollout.__dict__:
        rollout.__dict__["newest_keys"] = hash_observations(rollout.all_newest_frames())
    keys: Tensor = rollout.__dict__["newest_keys"]
    return keys


def find_repeats(rollout: Rollout) -> Repeats | None:
    """Which observations of a rollout are the same; found once, and kept with it.

    None where it is not worth while: most are different, they are small, floats (which hardly ever repeat), or stacks
    of frames.
    """
    if "repeats" not in rollout.__dict__:
        rollout.__dict__["repeats"] = _find(rollout)
    found: Repeats | None = rollout.__dict__["repeats"]
    return found


@torch.no_grad()
def _find(rollout: Rollout) -> Repeats | None:
    frames = rollout.frames
    if rollout.frame_stack > 1 or frames.is_floating_point() or math.prod(frames.shape[2:]) < _FEW_NUMBERS:
        return None
    keys, number = torch.unique(newest_keys(rollout), return_inverse=True)
    if len(keys) > _MOSTLY_DIFFERENT * len(number):
        return None
    row = torch.empty_like(keys)
    row[number] = torch.arange(len(number), device=number.device)
    return Repeats(number, row)


def different(rollout: Rollout, index: Tensor) -> Different | None:
    """The different observations among those of the flat indices ``index [B]``; None as of `find_repeats`."""
    repeats = find_repeats(rollout)
    if repeats is None:
        return None
    numbers, places = torch.unique(repeats.number[index], return_inverse=True)
    return Different(repeats.row[numbers], places)


def of_each(rollout: Rollout, index: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """What a function makes of single observations: for each different one it is asked once.

    Args:
        rollout: that the observations are of.
        index: ``[B]`` flat indices, up to those of ``obs_T``.
        function: flat indices ``[U]`` -> ``[U, ...]``, of each observation by itself: nothing is drawn, and no
            statistic of a batch plays a part.

    Returns:
        ``[B, ...]``, through which gradients flow.
    """
    found = different(rollout, index)
    return function(index) if found is None else function(found.rows).index_select(0, found.places)
