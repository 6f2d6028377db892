"""``rllib export``: a checkpoint's policy as files that need neither Ray nor this package."""

from __future__ import annotations

from pathlib import Path

from rllib_rnd.cli.checkpoints import find_checkpoint
from rllib_rnd.cli.export_facts import training_of
from rllib_rnd.cli.runtime import be_quiet, say
from rllib_rnd.cli.surroundings import cannot_write
from rllib_rnd.export.folder import Exported, check_place, export_policy


def export(checkpoint: str, out: str, format_: str, samples: int, license_: str | None) -> Exported:
    """Exports a checkpoint's policy, verified, and says what was written.

    Args:
        checkpoint: checkpoint, trial or experiment folder.
        out: the folder to write.
        format_: pt2, onnx or both.
        samples: observations that are stored with their outputs.
        license_: of the weights; None claims none.

    Raises:
        ConfigError: no usable checkpoint, a place that is not free, or a policy that cannot be exported.
    """
    be_quiet(verbose=False)
    place = Path(out).expanduser()
    check_place(place)
    folder = find_checkpoint(checkpoint)
    try:
        made = export_policy(folder, place, training_of(folder), format_, samples, license_, say)
    except OSError as error:
        raise cannot_write(f"--out {out}", error) from error
    for name, size in sorted(made.sizes.items()):
        difference = made.differences.get(name)
        checked = "" if difference is None else f"  differs from the module by at most {difference:.1g}"
        say(f"  {name:<18} {in_bytes(size):>9}{checked}")
    say(f"written to {place} ({in_bytes(sum(made.sizes.values()))}); {samples} observations reproduced")
    return made


def in_bytes(size: int) -> str:
    """A size in words: ``1.2 MB``."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
