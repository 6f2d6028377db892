"""Random generators in checkpoints: their states as plain data, put back, or continued where none was saved.

The training path draws from generators of its own. The process's global ones are saved beside them, for what cannot be
given one: dropout, and whatever a user's environment, reward or loss draws from.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

#: Arrays, numbers, strings, and mappings of them.
State = dict[str, Any]


def generator_state(generator: torch.Generator) -> np.ndarray:
    """A torch generator's state, uint8."""
    return generator.get_state().numpy()


def restore_generator(generator: torch.Generator, state: np.ndarray) -> None:
    """Puts a state back; that of a generator of another device, which says nothing here, decides a new one."""
    if state.nbytes == generator.get_state().nbytes:
        generator.set_state(torch.from_numpy(np.array(state, dtype=np.uint8)))
    else:
        generator.manual_seed(seed_from(state, 0))


def seed_from(state: np.ndarray, *path: int) -> int:
    """A seed that follows from a saved state, another one for each ``path``: for whoever has no state of its own."""
    digest = hashlib.sha256(np.ascontiguousarray(state).tobytes() + repr(path).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def global_states(device: torch.device | None = None) -> State:
    """States of this process's global generators: torch's (of a GPU too), numpy's and Python's."""
    _, keys, position, has_gauss, cached = np.random.get_state()
    version, numbers, gauss = random.getstate()
    states: State = {
        "torch": torch.get_rng_state().numpy(),
        "numpy": {"keys": np.array(keys), "position": position, "has_gauss": has_gauss, "gauss": float(cached)},
        "python": {"version": version, "numbers": np.array(numbers, dtype=np.uint32), "gauss": gauss},
    }
    if device is not None and device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device).numpy()
    return states


def restore_global_states(states: Mapping[str, Any], device: torch.device | None = None) -> None:
    """Puts `global_states` back; a GPU's only where there was one and is one."""
    torch.set_rng_state(torch.from_numpy(np.array(states["torch"], dtype=np.uint8)))
    numpy_state, python_state = states["numpy"], states["python"]
    keys = np.array(numpy_state["keys"], dtype=np.uint32)
    position, has_gauss, gauss = (numpy_state[name] for name in ("position", "has_gauss", "gauss"))
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), float(gauss)))
    numbers = tuple(int(number) for number in python_state["numbers"])
    random.setstate((int(python_state["version"]), numbers, python_state["gauss"]))
    if device is not None and device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(torch.from_numpy(np.array(states["cuda"], dtype=np.uint8)), device)


def seed_globals(seed: int) -> None:
    """Seeds this process's global generators."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def process_state(generator: torch.Generator, device: torch.device | None = None) -> State:
    """A process's generators: its own one, under ``own``, and the global ones."""
    return {"own": generator_state(generator), **global_states(device)}


def restore_process(
    states: Sequence[Mapping[str, Any]], which: int, generator: torch.Generator, device: torch.device | None = None
) -> None:
    """Puts back the state of process ``which``; one more than were saved draws what no other does.

    Args:
        states: `process_state` of each process of the run that was saved; at least one.
        which: number of this process.
        generator: its own one.
        device: its device.
    """
    if which < len(states):
        restore_generator(generator, states[which]["own"])
        restore_global_states(states[which], device)
        return
    seed = seed_from(states[0]["own"], which)
    generator.manual_seed(seed)
    seed_globals(seed)


def derived_bit_generator_state(state: Mapping[str, Any], *path: int) -> State:
    """State of a numpy generator that follows from another's (``bit_generator.state``), a different one per path."""
    seed = seed_from(np.frombuffer(repr(sorted(state.items(), key=str)).encode(), dtype=np.uint8), *path)
    derived: State = dict(np.random.default_rng(seed).bit_generator.state)
    return derived
