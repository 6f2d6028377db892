"""What the bounds of numbers say of their scale."""

from __future__ import annotations

import numpy as np

# Bounds from here on are those of a type, or a way of saying that there are none.
_NO_BOUND = float(2**31 - 1)


def largest_sizes(low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
    """The largest size that bounds allow of each number, float64, of the shape of the bounds.

    None where they set no scale: a number has none, or only those of a type of 4 bytes or more.
    """
    size = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
    return size if size.max(initial=0.0) < _NO_BOUND else None
