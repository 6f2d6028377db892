"""Whether what was written says what the module says."""

from __future__ import annotations

import numpy as np
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.export.engines import Engine
from rllib_rnd.export.graph import PolicyGraph
from rllib_rnd.export.samples import Samples

#: Largest difference that is let pass: absolute up to 1, relative above.
TOLERANCE = 1e-5


def verify(name: str, engine: Engine, samples: Samples, graph: PolicyGraph) -> float:
    """Holds a file, as it was read back, against the module's own outputs: all samples at once, and single ones.

    Args:
        name: of the file.
        engine: runs it.
        samples: of play, with the module's outputs.
        graph: that was written.

    Returns:
        The largest difference of a number, relative above 1.

    Raises:
        ConfigError: it differs by more than `TOLERANCE`.
    """
    count = len(samples.inputs["obs"])
    batches = [np.arange(count), *(np.array([row]) for row in {0, count // 2, count - 1})]
    worst = 0.0
    for rows in batches:
        found = engine({key: array[rows] for key, array in samples.inputs.items()})
        wanted = {key: array[rows] for key, array in samples.outputs.items()}
        if found.keys() != wanted.keys():
            raise ConfigError(name, f"has outputs {sorted(found)}", sorted(wanted))
        for key, expected in wanted.items():
            if found[key].shape != expected.shape or found[key].dtype != expected.dtype:
                got = f"{found[key].dtype} {list(found[key].shape)}"
                raise ConfigError(name, f"{key} is {got}, not {expected.dtype} {list(expected.shape)}")
            if key == "action" and expected.dtype.kind in "iu":
                _check_choices(name, found[key], expected, wanted["dist_inputs"], graph)
                continue
            difference = _difference(found[key], expected)
            if not difference <= TOLERANCE:  # also not if it is no number
                raise ConfigError(
                    name, f"{key} differs by {difference:.3g} from the module's", f"{TOLERANCE:g} or less"
                )
            worst = max(worst, difference)
    return worst


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest of all numbers, relative above 1; what is equal, infinities too, does not differ."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return float(np.where(a == b, 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(b))).max())


def _check_choices(
    name: str, found: np.ndarray, expected: np.ndarray, dist_inputs: np.ndarray, graph: PolicyGraph
) -> None:
    """Whole numbers have to be the same, unless both are as likely: then rounding decides which is the first."""
    logps = []
    for action in (found, expected):
        own = graph.to_env.own(torch.from_numpy(action))
        logps.append(graph.networks.distribution.logp_and_entropy(torch.from_numpy(dist_inputs), own)[0].numpy())
    same = (found == expected).reshape(len(found), -1).all(axis=1)
    wrong = ~same & ~(np.abs(logps[0] - logps[1]) <= TOLERANCE)
    if wrong.any():
        raise ConfigError(name, f"{int(wrong.sum())} of {len(found)} actions are not the module's", "the same actions")
