"""Checks of a checkpoint: whole, readable here, and full of numbers. Nothing that it names is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rllib_rnd.analysis.diagnosis.finding import Finding
from rllib_rnd.analysis.diagnosis.run import compare_versions
from rllib_rnd.analysis.diagnosis.subject import Trained
from rllib_rnd.checkpoints.content import ALGORITHM
from rllib_rnd.checkpoints.finding import what_is_wrong
from rllib_rnd.checkpoints.format import check_checkpoint
from rllib_rnd.checkpoints.manifest import MANIFEST, Manifest, installed_versions, read_manifest
from rllib_rnd.checkpoints.pickles import read_arrays
from rllib_rnd.checkpoints.reading import iteration_of
from rllib_rnd.errors import ConfigError


@dataclass(frozen=True)
class Saved:
    """A checkpoint, read.

    Attributes:
        folder: of it.
        wrong: with its files, or with its format; empty: nothing.
        manifest: of it; None: it has none.
        arrays: numbers of its learner by name; empty where they cannot be read.
        unreadable: why they cannot; "" if they can.
        iteration: that it was written after; None: it does not tell.
        of: the run that it is of; None: it lies alone.
    """

    folder: Path
    wrong: tuple[str, ...]
    manifest: Manifest | None
    arrays: Mapping[str, np.ndarray]
    unreadable: str
    iteration: int | None
    of: Trained | None


def read_saved(folder: Path, of: Trained | None = None) -> Saved:
    """Reads all that the checks want; what is damaged is a finding, not an error."""
    wrong = what_is_wrong(folder)
    manifest, iteration, unreadable = None, None, ""
    arrays: dict[str, np.ndarray] = {}
    try:
        if (folder / MANIFEST).is_file():
            manifest = read_manifest(folder)
        iteration = iteration_of(folder)
        check_checkpoint(folder)
    except (ConfigError, OSError) as error:
        wrong = wrong or [error.reason if isinstance(error, ConfigError) else str(error)]
    try:
        arrays = dict(learner_arrays(folder))
    except Exception as error:  # of damaged files any
        unreadable = error.reason if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    return Saved(folder, tuple(wrong), manifest, arrays, unreadable, iteration, of)


def learner_arrays(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and arrays of numbers of a checkpoint's learner: weights, statistics, the optimizer's.

    Where play stands is left out: it has NaN for what an environment does not tell.
    """
    root = folder / "learner_group" if (folder / "learner_group").is_dir() else folder
    for path in sorted(path for path in root.rglob("*.safetensors") if path.stem != ALGORITHM):  # where play stands
        from safetensors.numpy import load_file

        for name, array in load_file(path).items():
            yield f"{path.stem}.{name}", array
    for path in sorted({*root.rglob("state.pkl"), *root.rglob("module_state.pkl")}):
        yield from _arrays_in(read_arrays(path), path.stem)


def _arrays_in(value: object, name: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key != "metrics_logger":  # which has NaN for what was not measured
                yield from _arrays_in(item, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _arrays_in(item, f"{name}.{i}")
    elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
        yield name, value


# --- the checks ------------------------------------------------------------------------------------------------------


def files(saved: Saved) -> Finding:
    """Whether it is whole."""
    if saved.wrong:
        other = saved.of.valid if saved.of is not None else None
        more = f" (and {len(saved.wrong) - 1} more)" if len(saved.wrong) > 1 else ""
        advice = f"Use {other.name}, the newest valid one of its run." if other is not None else "It cannot be used."
        return Finding("problem", "files", saved.wrong[0] + more, advice)
    if saved.manifest is None:
        return Finding("ok", "files", "all that are needed; it has no manifest to compare contents with")
    return Finding("ok", "files", f"{len(saved.manifest.files)} files, every byte as it was written")


def origin(saved: Saved) -> Finding:
    """What it is of."""
    told = [] if saved.iteration is None else [f"iteration {saved.iteration}"]
    if saved.manifest is not None:
        told += [f"{saved.manifest.agent_steps:,} agent steps", saved.manifest.algorithm.rpartition(":")[2]]
        told += [f"format {saved.manifest.format}", f"written {saved.manifest.created[:16].replace('T', ' ')}"]
    if saved.of is not None:
        told.append(f"of {saved.of.run.experiment} on {saved.of.run.task}")
    if not told:
        return Finding("warning", "origin", "it tells nothing of itself", "Keep it with its run's folder around it.")
    return Finding("ok", "origin", ", ".join(told))


def versions(saved: Saved) -> Finding:
    """Whether what wrote it is what is installed."""
    if saved.manifest is not None:
        return compare_versions(saved.manifest.versions, installed_versions())
    return compare_versions(saved.of.versions if saved.of is not None else {}, installed_versions())


def readable(saved: Saved) -> Finding:
    """Whether its numbers can be read."""
    if saved.unreadable:
        return Finding("problem", "content", f"cannot be read ({saved.unreadable})", "Take another checkpoint.")
    if not saved.arrays:
        return Finding("problem", "content", "no weights are in it", "Take another checkpoint.")
    count = sum(array.size for array in saved.arrays.values())
    return Finding("ok", "content", f"{len(saved.arrays)} arrays, {count:,} numbers")


def finite(saved: Saved) -> Finding:
    """Whether all weights, statistics and the optimizer's moments are numbers."""
    bad = [name for name, array in saved.arrays.items() if not np.isfinite(array).all()]
    if bad:
        kinds = ", ".join(dict.fromkeys(map(_kind, bad)))
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        detail = f"not finite: {kinds} ({bad[0].partition('.')[2]}{more})"
        return Finding("problem", "numbers", detail, "Go on from an older checkpoint, with a smaller lr or grad_clip.")
    if not saved.arrays:
        return Finding("note", "numbers", "not looked at, as none can be read", "See content above.")
    return Finding("ok", "numbers", "weights, statistics and optimizer are finite")


def _kind(name: str) -> str:
    if "optimizer" in name:
        return "optimizer"
    return "statistics" if "moments" in name or "filter" in name else "weights"


def statistics(saved: Saved) -> Finding:
    """Whether running statistics have seen something, and have a scale."""
    if not saved.arrays:
        return Finding("note", "statistics", "not looked at, as no numbers can be read", "See content above.")
    counts = {n.removesuffix(".count"): a for n, a in saved.arrays.items() if n.endswith("moments.count")}
    empty = [name for name, count in counts.items() if not np.any(count)]
    if empty:
        advice = "Random play before training sets them: warmup_steps."
        return Finding("warning", "statistics", f"{_short(empty[0])} has seen nothing", advice)
    flat = [name for name in counts if not np.any(saved.arrays.get(f"{name}.var", np.ones(1)))]
    scale = [name for name in flat if "reward_filter" in name]
    if scale:
        detail = f"{_short(scale[0])}: the bonus has never varied"
        return Finding("warning", "statistics", detail, "It pays the same everywhere: nothing is learned from it.")
    if flat:
        advice = "The environment shows always the same."
        return Finding("warning", "statistics", f"{_short(flat[0])}: what it sees has never varied", advice)
    return Finding("ok", "statistics", f"{len(counts)} alive" if counts else "there are none")


def _short(name: str) -> str:
    return ".".join(name.split(".")[-3:])


#: In the order in which they are told.
CHECKS: tuple[Callable[[Saved], Finding], ...] = (origin, files, versions, readable, finite, statistics)
