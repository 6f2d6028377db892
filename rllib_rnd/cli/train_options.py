"""The options of ``rllib train``, and the commands that say them again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from rllib_rnd.experiment.overrides import Overrides
from rllib_rnd.redaction import without_password


@dataclass
class TrainOptions:
    """The options of ``rllib train``.

    Attributes:
        overrides: changes to every experiment.
        address: Ray cluster, or None.
        storage: folder or URI of results.
        name: folder of the experiment in the storage; None takes the name in the file.
        resume: continue the newest run of that name.
        checkpoint: start a new run from this checkpoint.
        quiet: no display, only the summary.
        verbose: Ray's own output.
        wandb: project of Weights & Biases; None leaves it to the environment.
        profile: record where time and memory go; a resumed run does not.
    """

    overrides: Overrides = field(default_factory=Overrides)
    address: str | None = None
    storage: str = "results"
    name: str | None = None
    resume: bool = False
    checkpoint: str | None = None
    quiet: bool = False
    verbose: bool = False
    wandb: str | None = None
    profile: bool = False

    @property
    def storage_path(self) -> str:
        """The storage as Tune wants it: a URI or an absolute path."""
        return self.storage if "://" in self.storage else str(Path(self.storage).expanduser().resolve())


def start_command(files: list[str], options: TrainOptions) -> str:
    """Returns the command that starts these experiments."""
    name = ["--name", options.name] if options.name else []
    checkpoint = ["--checkpoint", options.checkpoint] if options.checkpoint else []
    return _joined([*_words(files, options), *name, *checkpoint])


def resume_command(files: list[str], options: TrainOptions, folder: str) -> str:
    """Returns the exact command that continues the run in this folder, whatever others there are.

    Of several experiments, finished ones are skipped then and those that had not started are started.
    """
    return _joined([*_words(files, options), "--name", folder, "--resume"])


def _joined(words: list[str]) -> str:
    return shlex.join(without_password(word) for word in words)  # it is printed, and written into stores


def _words(files: list[str], options: TrainOptions) -> list[str]:
    words = ["rllib", "train", *files]
    for setting in options.overrides.settings:
        words += ["--set", setting]
    for stop in options.overrides.stop:
        words += ["--stop", stop]
    if options.overrides.seed is not None:
        words += ["--seed", str(options.overrides.seed)]
    if options.overrides.seeds:
        words += ["--seeds", ",".join(map(str, options.overrides.seeds))]
    if options.address:
        words += ["--address", options.address]
    if options.storage != "results":
        words += ["--storage", options.storage]
    if options.wandb:
        words += ["--wandb", options.wandb]
    return words
