"""Shape checks that stay on under ``python -O`` and say which argument is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def check_shape(name: str, tensor: torch.Tensor, shape: Sequence[int | None]) -> None:
    """Checks ``tensor.shape`` against ``shape``, where None stands for any size.

    Raises:
        ValueError: the shapes differ; the message names the argument and both shapes.
    """
    actual = tuple(tensor.shape)
    same = len(actual) == len(shape) and all(w is None or w == a for w, a in zip(shape, actual, strict=True))
    if not same:
        wanted = ", ".join("*" if s is None else str(s) for s in shape)
        raise ValueError(f"{name}: expected shape [{wanted}], got {list(actual)}.")
