"""Tapes and observations in files: plain arrays (NumPy's .npz and .npy, nothing pickled), checked before they are used.

A tape file holds all of a `Tape`, so that an episode can be explained again, and by another checkpoint. It says which
environment it was played in, and with which spaces; who reads it must know the same spaces.
"""

from __future__ import annotations

import glob
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.envs import frame_stack
from rllib_rnd.errors import ConfigError

#: Of the layout below. A file of another number is refused.
FORMAT = 1
# Lists of whole numbers of which some are unknown: as two arrays, the numbers and whether they are known.
_MAYBE = ("rooms", "positions", "lives")
# Arrays of T + 1 entries, then those of T; of these types.
_PER_OBSERVATION = {"is_first": "b", "memory": "f", "dist_inputs": "f", "value": "f", "life_lost": "b"}
_PER_STEP = {"action": "", "logp": "f", "reward": "f", "terminated": "b", "truncated": "b"}
# Kinds of types, in words.
_KINDS = {"b": "bool", "i": "int64", "f": "a type of floats"}
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error)


def save_tape(path: Path, tape: Tape, agent: Agent) -> None:
    """Writes a tape; the same tape gives the same bytes.

    Args:
        path: ends in .npz; its folder is there.
        tape: of one step or more.
        agent: who played it, for the name of the environment and its spaces.

    Raises:
        OSError: it cannot be written.
    """
    space = agent.module.backbone.observation_space
    pictures = [np.asarray(picture, dtype=np.uint8).ravel() for picture in tape.pictures]
    arrays: dict[str, Any] = {
        "format": np.int64(FORMAT),
        "env": np.str_(agent.env),
        "obs_low": space.low,
        "obs_high": space.high,
        "action_space": np.str_(agent.module.action_space),
        "frame_stack": np.int64(tape.frame_stack),
        "newest_first": np.bool_(tape.newest_first),
        "finished": np.bool_(tape.finished),
        "seed": np.array([] if tape.seed is None else [tape.seed], dtype=np.int64),
        "frames": np.stack(tape.frames),
        "picture_sizes": np.array([len(picture) for picture in pictures], dtype=np.int64),
        "picture_bytes": np.concatenate([np.empty(0, dtype=np.uint8), *pictures]),
    }
    for name in _MAYBE:
        numbers: list[int | None] = getattr(tape, name)
        arrays[name] = np.array([-1 if number is None else number for number in numbers], dtype=np.int64)
        arrays[f"{name}_known"] = np.array([number is not None for number in numbers], dtype=bool)
    for name, kind in {**_PER_OBSERVATION, **_PER_STEP}.items():
        column = getattr(tape, name)
        # Floats of Python's are written in full.
        arrays[name] = np.stack(column) if isinstance(column[0], np.ndarray) else np.array(column)
        assert not kind or arrays[name].dtype.kind == kind, name
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_tape(path: Path, agent: Agent, option: str = "--tape") -> Tape:
    """Reads a tape; what it says of policy, values and memory are those of whoever played it (see `replay`).

    Args:
        path: of a file that `save_tape` has written.
        agent: who is to look at it.
        option: that named the file, for messages.

    Raises:
        ConfigError: there is no such file, it is no tape, or its spaces are not the agent's.
    """
    where = f"{option} {path}"
    arrays = _read(path, where)
    if not isinstance(arrays, dict) or "format" not in arrays:
        raise ConfigError(where, "is no tape", "a .npz file that `rllib explain` has written of an episode")
    if arrays["format"].shape or arrays["format"] != FORMAT:
        found = f"is a tape of format {arrays['format'].tolist()}, which this version does not read"
        raise ConfigError(where, found, f"format {FORMAT}")
    _check_spaces(arrays, agent, where)
    _check_columns(arrays, agent, where)
    tape = Tape(
        int(arrays["frame_stack"]),
        bool(arrays["newest_first"]),
        finished=bool(arrays["finished"]),
        seed=int(arrays["seed"][0]) if len(arrays["seed"]) else None,
        frames=list(arrays["frames"]),
        pictures=np.split(arrays["picture_bytes"], np.cumsum(arrays["picture_sizes"])[:-1])
        if len(arrays["picture_sizes"])
        else [],
    )
    for name in _MAYBE:
        pairs = zip(arrays[name].tolist(), arrays[f"{name}_known"], strict=True)
        setattr(tape, name, [number if known else None for number, known in pairs])
    for name in (*_PER_OBSERVATION, *_PER_STEP):
        as_arrays = name in ("memory", "dist_inputs", "value", "action")
        setattr(tape, name, list(arrays[name]) if as_arrays else arrays[name].tolist())
    return tape


def load_observations(
    files: Sequence[str], agent: Agent, option: str = "--states"
) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """Reads observations that were recorded anywhere.

    Args:
        files: names or patterns (``*``) of .npy files ``[B, *obs_shape]``, or of .npz files with such an array ``obs``.
            What a pattern finds is read in the order of its numbers.
        agent: who is to look at them.
        option: that named the files, for messages.

    Returns:
        The observations ``[B, *obs_shape]`` of all files, and of each the name of its file and its row in it.

    Raises:
        ConfigError: there is no such file, or it does not hold observations of this agent.
    """
    parts, origins = [], []
    for path in [path for name in files for path in _found(name, option)]:
        where = f"{option} {path}"
        arrays = _read(path, where)
        if isinstance(arrays, dict):
            if "obs" not in arrays and "frames" in arrays and "format" in arrays:
                raise ConfigError(where, "is a tape, which --states does not read", f"--tape {path}")
            if "obs" not in arrays:
                names = ", ".join(arrays) or "none"
                raise ConfigError(where, f"has no array 'obs' (it has: {names})", "a .npz file with an array 'obs'")
            obs = arrays["obs"]
        else:
            obs = arrays
        parts.append(_checked_observations(obs, agent, where))
        origins += [(path.name, row) for row in range(len(obs))]
    return np.concatenate(parts), origins


def _found(name: str, option: str) -> list[Path]:
    """The files that a name or a pattern stands for."""
    if not glob.has_magic(name) or Path(name).exists():
        return [Path(name)]
    found = sorted(glob.glob(name), key=lambda path: [(int(x), "") if x.isdigit() else (0, x) for x in _parts(path)])
    if not found:
        raise ConfigError(f"{option} {name}", "no file is called so", "a file, or a pattern that finds some")
    return [Path(path) for path in found]


def _parts(path: str) -> list[str]:
    """``a_10.npy`` -> ``a_``, ``10``, ``.npy``."""
    return re.split(r"(\d+)", path)


def _read(path: Path, where: str) -> dict[str, np.ndarray] | np.ndarray:
    """The arrays of a .npz file by name, or the array of a .npy file.

    Raises:
        ConfigError: there is no such file, or it is neither.
    """
    if not path.is_file():
        raise ConfigError(where, "is a folder" if path.is_dir() else "there is no such file", "a file")
    try:
        with path.open("rb") as file:  # np.load leaves a file that it cannot read open
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            return {name: loaded[name] for name in loaded.files}
    except _UNREADABLE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "pickle" in reason:  # NumPy's advice would be to read it all the same
            reason = "it is another kind of file, or holds objects"
        allowed = "NumPy's .npz or .npy, with arrays of numbers only (nothing pickled)"
        raise ConfigError(where, f"cannot be read ({reason.rstrip('.')})", allowed) from error


def _check_spaces(arrays: Mapping[str, np.ndarray], agent: Agent, where: str) -> None:
    """Refuses what an agent with other spaces saw and did.

    Raises:
        ConfigError: they differ.
    """
    space, action_space = agent.module.backbone.observation_space, str(agent.module.action_space)
    needed = ("env", "obs_low", "obs_high", "action_space", "frame_stack", "newest_first", "finished", "frames")
    _check_names(arrays, needed, where)
    for name in ("env", "action_space", "frame_stack", "newest_first", "finished"):
        if arrays[name].shape:
            raise ConfigError(where, f"its {name!r} is an array {list(arrays[name].shape)}", "one value")
    env, frames, low, high = (arrays[name] for name in ("env", "frames", "obs_low", "obs_high"))
    equal = low.shape == high.shape == space.shape and frames.dtype == space.dtype
    if not equal or (low != space.low).any() or (high != space.high).any():
        bounds = f", {low.min()} to {high.max()}" if low.size and high.size else ""
        found = f"holds observations {frames.dtype} {list(low.shape)}{bounds} of {env}"
        raise ConfigError(
            where, found, f"those of {agent.env}: {space.dtype} {list(space.shape or ())}, {_span(space)}"
        )
    if str(arrays["action_space"]) != action_space:
        found = f"holds actions of {arrays['action_space']} ({env})"
        raise ConfigError(where, found, f"those of {agent.env}: {action_space}")
    stack = frame_stack(agent.config.env, dict(agent.config.env_config))
    if (arrays["frame_stack"].item(), arrays["newest_first"].item()) != tuple(stack):
        found = _stack_in_words(arrays["frame_stack"].item(), arrays["newest_first"].item())
        raise ConfigError(where, f"holds {found}", f"{_stack_in_words(*stack)}, as {agent.env} has them here")


def _span(space: gym.spaces.Box) -> str:
    return f"{space.low.min()} to {space.high.max()}"


def _stack_in_words(size: int, newest_first: bool) -> str:
    if size == 1:
        return "observations that are stored whole"
    return f"stacks of {size} frames, the newest {'first' if newest_first else 'last'}"


def _check_names(arrays: Mapping[str, np.ndarray], names: Sequence[str], where: str) -> None:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ConfigError(where, f"is no whole tape: without the array {missing[0]!r}", "a tape as it was written")


def _check_columns(arrays: Mapping[str, np.ndarray], agent: Agent, where: str) -> None:
    """Refuses arrays that do not fit each other.

    Raises:
        ConfigError: one is missing, or of another type or length.
    """
    maybe = [f"{name}{end}" for name in _MAYBE for end in ("", "_known")]
    needed = [*_PER_OBSERVATION, *_PER_STEP, *maybe, "seed", "picture_sizes", "picture_bytes"]
    _check_names(arrays, needed, where)
    steps, stack = len(np.atleast_1d(arrays["reward"])), arrays["frame_stack"].item()
    shape = agent.module.backbone.observation_space.shape
    if steps == 0:
        raise ConfigError(where, "holds no step", "an episode of one step or more")
    frame, action = shape[1:] if stack > 1 else shape, agent.module.action_space.shape or ()
    expected: dict[str, tuple[str, tuple[int | None, ...]]] = {"frames": ("", (steps + stack, *frame))}
    vectors = {"memory": (None,), "dist_inputs": (None,), "value": (None,), "action": action}
    for name, kind in _PER_OBSERVATION.items():
        expected[name] = (kind, (steps + 1, *vectors.get(name, ())))
    for name, kind in _PER_STEP.items():
        expected[name] = (kind, (steps, *vectors.get(name, ())))
    for name in _MAYBE:
        length = len(np.atleast_1d(arrays[name]))
        length = length if length == 0 else steps + 1
        expected |= {name: ("i", (length,)), f"{name}_known": ("b", (length,))}
    pictures = len(np.atleast_1d(arrays["picture_sizes"]))
    expected["picture_sizes"] = ("i", (pictures and steps + 1,))
    expected["picture_bytes"] = ("u", (int(arrays["picture_sizes"].sum()),))
    for name, (kind, lengths) in expected.items():
        found = arrays[name]
        fits = len(found.shape) == len(lengths) and all(
            wanted in (None, length) for wanted, length in zip(lengths, found.shape, strict=True)
        )
        if not fits or (kind and found.dtype.kind != kind):
            sizes = ", ".join("any" if length is None else str(length) for length in lengths)
            allowed = f"{_KINDS.get(kind, 'numbers')} [{sizes}]"
            raise ConfigError(where, f"its array {name!r} is {found.dtype} {list(found.shape)}", allowed)
    if not np.isfinite(arrays["frames"]).all():
        raise ConfigError(where, "its observations hold numbers that are none (NaN, infinite)", "finite numbers")


def _checked_observations(obs: np.ndarray, agent: Agent, where: str) -> np.ndarray:
    """Observations ``[B, *obs_shape]`` in the type of the agent's space.

    Raises:
        ConfigError: of another shape, or with numbers that its observations cannot hold.
    """
    space = agent.module.backbone.observation_space
    shape = space.shape or ()
    allowed = f"{space.dtype} [B, {', '.join(map(str, shape))}], B of 1 or more, as {agent.env} has it"
    if obs.shape[1:] != shape or len(obs.shape) != 1 + len(shape) or not len(obs):
        raise ConfigError(where, f"observations of shape {list(obs.shape)}", allowed)
    if obs.dtype.kind not in "buif":
        raise ConfigError(where, f"observations of type {obs.dtype}", allowed)
    if not np.isfinite(obs).all():
        raise ConfigError(where, "observations hold numbers that are none (NaN, infinite)", allowed)
    if np.dtype(space.dtype).kind == "f":
        return obs.astype(space.dtype)
    # Bytes that were stored as floats are welcome; pictures from 0 to 1 would be read as black.
    info = (0, 1) if space.dtype == np.bool_ else (np.iinfo(space.dtype).min, np.iinfo(space.dtype).max)
    if obs.min() < info[0] or obs.max() > info[1] or (obs.dtype.kind == "f" and (obs != np.round(obs)).any()):
        found = (
            f"observations {obs.dtype} from {obs.min():g} to {obs.max():g} that are not all whole numbers of its range"
        )
        raise ConfigError(where, found, allowed)
    return obs.astype(space.dtype)
