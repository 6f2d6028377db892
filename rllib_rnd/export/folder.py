"""The folder of an exported policy: written beside its place, verified, and only then put there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from rllib_rnd.checkpoints import checkpoint_config, load_own_module
from rllib_rnd.errors import ConfigError, unknown_name_error
from rllib_rnd.export.card import Training, model_card
from rllib_rnd.export.description import describe
from rllib_rnd.export.engines import ONNX, PT2, onnx_engine, pt2_engine
from rllib_rnd.export.graph import PolicyGraph
from rllib_rnd.export.policy import CONFIG, read_config
from rllib_rnd.export.samples import Samples, play_samples
from rllib_rnd.export.verification import TOLERANCE, verify
from rllib_rnd.export.writers import require_onnx, trace, write_onnx, write_pt2, write_weights

CARD, WEIGHTS, SAMPLES = "README.md", "model.safetensors", "samples.npz"
#: What ``--format`` may be, and the files of the networks that it stands for.
FORMATS = {"pt2": (PT2,), "onnx": (ONNX,), "both": (PT2, ONNX)}


@dataclass(frozen=True)
class Exported:
    """What an export came to.

    Attributes:
        folder: where it is.
        sizes: bytes of each file.
        differences: largest difference of each file of the networks from the module.
    """

    folder: Path
    sizes: dict[str, int]
    differences: dict[str, float]


def check_place(out: Path) -> None:
    """Refuses a folder whose files are somebody's.

    Raises:
        ConfigError: it is a file, or holds files and no exported policy.
    """
    if out.is_file():
        raise ConfigError(f"--out {out}", "is a file", "a new or empty folder, or one that `rllib export` wrote")
    there = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if there and read_config(out) is None:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise ConfigError(
            f"--out {out}",
            f"the folder holds {there[0]!r}{more} and no exported policy",
            "a new or empty folder, or one that `rllib export` wrote",
        )


def export_policy(
    checkpoint: Path,
    out: Path,
    training: Training,
    format_: str = "pt2",
    samples: int = 100,
    license_: str | None = None,
    say: Callable[[str], object] = str,
) -> Exported:
    """Writes a checkpoint's policy into a folder; if anything is wrong with it, nothing is left there.

    Args:
        checkpoint: its folder.
        out: the folder; an earlier export in it is replaced, other files stay.
        training: where the policy comes from, for the card.
        format_: one of `FORMATS`.
        samples: observations that are stored and verified with.
        license_: of the weights, for the card; None: none is claimed.
        say: is told what is being done.

    Raises:
        ConfigError: an unknown format, a missing package, a backbone that cannot be exported, outputs that differ, a
            folder that is not free or cannot be written.
    """
    if format_ not in FORMATS:
        raise unknown_name_error("format", format_, FORMATS, path="--format")
    if ONNX in FORMATS[format_]:
        require_onnx()
    check_place(out)
    module, config = load_own_module(checkpoint, "`rllib export`"), checkpoint_config(checkpoint)
    say(f"playing for {samples} observations ...")
    played, behind = play_samples(module, config, samples)
    graph = PolicyGraph(module, behind.action)
    with _beside(out) as folder:
        differences = _write_networks(graph, played, folder, FORMATS[format_], say)
        write_weights(graph, folder / WEIGHTS)
        _write_samples(played, folder / SAMPLES)
        description = describe(config, graph, behind, played)
        description["rllib_rnd"] = metadata.version("rllib_rnd")
        description["training"] = json.loads(json.dumps(asdict(training), default=str))
        description["verified"] = {"samples": samples, "tolerance": TOLERANCE, "largest_difference": differences}
        description["files"] = sorted([*FORMATS[format_], WEIGHTS, SAMPLES, CARD, CONFIG])
        (folder / CARD).write_text(model_card(description, training, out.resolve().name, license_), encoding="utf-8")
        (folder / CONFIG).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
        _put(folder, out)
    sizes = {name: (out / name).stat().st_size for name in description["files"]}
    return Exported(out, sizes, differences)


def _write_samples(samples: Samples, path: Path) -> None:
    arrays: dict[str, Any] = {f"in_{name}": array for name, array in samples.inputs.items()}
    arrays |= {f"out_{name}": array for name, array in samples.outputs.items()}
    np.savez_compressed(path, **arrays)


def _write_networks(
    graph: PolicyGraph, samples: Samples, folder: Path, files: tuple[str, ...], say: Callable[[str], object]
) -> dict[str, float]:
    """Writes and verifies the files of the networks; returns the largest difference of each."""
    program = trace(graph, samples.inputs)
    differences = {}
    for name in files:
        say(f"writing and verifying {name} ...")
        if name == PT2:
            write_pt2(program, folder / name)
            engine = pt2_engine(folder / name)
        else:
            write_onnx(program, folder / name)
            engine = onnx_engine(folder / name)
        differences[name] = verify(name, engine, samples, graph)
    return differences


@contextlib.contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder on the same disk that is gone afterwards."""
    target = out.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, out: Path) -> None:
    """Moves what was written to its place; files of an earlier export that are not replaced go."""
    earlier = (read_config(out) or {}).get("files", [])
    out.mkdir(exist_ok=True)
    # Last what makes it an exported policy.
    new = sorted((path.name for path in folder.iterdir()), key=lambda name: name == CONFIG)
    for name in new:
        (folder / name).chmod(out.stat().st_mode & 0o666)  # some writers keep what they write to themselves
        os.replace(folder / name, out / name)
    for name in {str(name) for name in earlier} - set(new):
        if Path(name).name == name:
            (out / name).unlink(missing_ok=True)
