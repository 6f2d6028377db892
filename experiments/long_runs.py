"""Runs that take hours: several at a time, each in a process of its own, which goes on from its newest checkpoint.

A run has a folder of its own, outside the repository: what it is (``run.json``), a row per iteration (``rows.csv``),
its newest checkpoint, and what it printed (``log.txt``). It may be cut at any moment; what was done after the newest
checkpoint is done again. Runs that have come to their end are added to the study's CSV file, thinned out.

The cost of a run is the CPU time of its process, which also holds where runs share the machine with other work.
"""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from unittest import mock

import ray

from experiments.provenance import commit
from experiments.studies import EXAMPLES, Run, build
from rllib_rnd import IntrinsicPPO
from rllib_rnd.checkpoints.atomic import remove_leftovers
from rllib_rnd.checkpoints.finding import newest_valid
from rllib_rnd.experiment.yaml_file import load_yaml

#: Seconds between checkpoints.
CHECKPOINT_S = 300.0
#: Rows of a run that a study keeps, of its budget; one of a larger budget has more, at the same distances.
KEPT_ROWS = 100
KEY = ("variant", "seed")
_FIELDS = (
    *KEY,
    "agent_steps",
    "seconds",
    "cpu_s",
    "return_mean",
    "intrinsic_reward",
    "rooms",
    "budget",
    "settings",
    "done",
    "commit",
)


def key_of(run: Run) -> tuple[str, str]:
    """What tells a run from the others of its task, as it stands in a CSV file."""
    return run.variant, str(run.seed)


def settings_digest(run: Run) -> str:
    """A short name of all that a run was asked to do but for seed and budget: it changes when its example does."""
    (block,) = load_yaml(EXAMPLES / f"{run.example}.yaml")[0].values()
    asked = {name: value for name, value in block.items() if name != "stop"}
    text = json.dumps([asked, run.settings, run.env], sort_keys=True)
    return "s" + hashlib.sha256(text.encode()).hexdigest()[:7]


# --- one run, in its process ----------------------------------------------------------------------------------------


class Worker:
    """One run in this process.

    Args:
        folder: the run's.

    Attributes:
        run: what is trained.
        rows: of every iteration so far, those of earlier stretches first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        asked = json.loads((folder / "run.json").read_text())
        self._checkpoint_s = float(asked.pop("checkpoint_s"))
        self.run = Run(**{**asked, "settings": tuple(asked["settings"])})
        self._settings = settings_digest(self.run)
        self.rows: list[dict[str, str]] = []
        self._parent = os.getppid()
        self._told_to_stop = False

    def carry_out(self) -> bool:
        """Trains from the newest checkpoint until the budget is spent or somebody stops it; whether it is done."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        with _alone(self.folder), without_ray():
            algorithm = self._go_on()
            try:
                return self._train(algorithm)
            finally:
                algorithm.stop()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._told_to_stop = True

    @property
    def _stopping(self) -> bool:
        return self._told_to_stop or os.getppid() != self._parent

    def _go_on(self) -> IntrinsicPPO:
        """The algorithm as its newest checkpoint left it, and the rows until then."""
        algorithm = build(self.run)
        remove_leftovers(self.folder)
        checkpoint = newest_valid(self.folder, print)
        known = rows_in(self.folder / "rows.csv")
        if checkpoint is not None and known and known[-1]["settings"] == self._settings:
            algorithm.restore_from_path(str(checkpoint))
            steps = _agent_steps(algorithm)
            self.rows = [row for row in known if int(row["agent_steps"]) <= steps]
            print(f"goes on at {steps:,} agent steps", flush=True)
        elif known:
            print("starts anew: its settings have changed, or it has no checkpoint", flush=True)
        write_rows(self.folder / "rows.csv", self.rows)
        return algorithm

    def _train(self, algorithm: IntrinsicPPO) -> bool:
        seconds, cpu_s = (float(self.rows[-1][name]) if self.rows else 0.0 for name in ("seconds", "cpu_s"))
        saved = started = time.monotonic()
        steps = _agent_steps(algorithm)
        unsaved = False
        while steps < self.run.budget and not self._stopping:
            result = algorithm.train()
            runner, learner = result["env_runners"], result["learners"]["default_policy"]
            steps = int(runner["num_env_steps_sampled_lifetime"])
            mean_return = runner.get("episode_return_mean")
            row = {
                "variant": self.run.variant,
                "seed": self.run.seed,
                "agent_steps": steps,
                "seconds": round(seconds + time.monotonic() - started, 2),
                "cpu_s": round(cpu_s + time.process_time(), 2),  # the start of the process, too
                "return_mean": "" if mean_return is None else round(float(mean_return), 5),
                "intrinsic_reward": float(f"{float(learner.get('intrinsic_reward_mean', 0.0)):.5g}"),
                "rooms": runner.get("rooms_visited", ""),
                "budget": self.run.budget,
                "settings": self._settings,
                "done": int(steps >= self.run.budget),
                "commit": commit(),
            }
            self.rows.append({name: str(value) for name, value in row.items()})
            append_row(self.folder / "rows.csv", self.rows[-1])
            unsaved = True
            if time.monotonic() - saved >= self._checkpoint_s:
                self._save(algorithm)
                saved, unsaved = time.monotonic(), False
        if unsaved:
            self._save(algorithm)
        return steps >= self.run.budget

    def _save(self, algorithm: IntrinsicPPO) -> None:
        algorithm.save_to_path(self.folder / "checkpoint")


def _agent_steps(algorithm: IntrinsicPPO) -> int:
    return int(algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"), default=0))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process trains this run: one whose study was killed ends with its iteration."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def without_ray() -> Iterator[None]:
    """A run whose runner and learner are in this process starts no Ray.

    RLlib puts one configuration into Ray's store, for runners elsewhere, of which there are none. Ray's dozen of
    processes would take memory and time of every run, and their start fails where the machine is busy.
    """
    with mock.patch.object(ray, "put", lambda value: value):
        yield


# --- rows -----------------------------------------------------------------------------------------------------------


def rows_in(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; a last one that was cut is left out."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Replaces a CSV file as a whole."""
    new = path.with_suffix(".new")
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, _FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def append_row(path: Path, row: dict[str, str]) -> None:
    """Adds a row to a CSV file that has its columns."""
    with path.open("a", newline="") as file:
        csv.DictWriter(file, _FIELDS, lineterminator="\n").writerow(row)


def thinned(rows: Iterable[dict[str, str]], distance: float) -> list[dict[str, str]]:
    """The first row of each stretch of so many agent steps, and the last of all."""
    kept: list[dict[str, str]] = []
    last, stretch = None, -1
    for row in rows:
        last, own = row, int(int(row["agent_steps"]) // distance)
        if own > stretch:
            kept.append(row)
            stretch = own
    if last is not None and kept[-1] is not last:
        kept.append(last)
    return kept


def keep(path: Path, run: Run, rows: Sequence[dict[str, str]], distance: float) -> None:
    """Adds a run that is done to its study's file, in place of a shorter one that it has gone on from."""
    others = [row for row in rows_in(path) if (row["variant"], row["seed"]) != key_of(run)]
    write_rows(path, [*others, *thinned(rows, distance)])


def is_kept(path: Path, run: Run) -> bool:
    """Whether a study's file has a run with its whole budget and the settings that it would have now."""
    own = [row for row in rows_in(path) if (row["variant"], row["seed"]) == key_of(run)]
    return any(int(row["agent_steps"]) >= run.budget for row in own) and own[-1]["settings"] == settings_digest(run)


def describe(run: Run, folder: Path, checkpoint_s: float) -> None:
    """Writes what a worker is to do."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(dataclasses.asdict(run) | {"checkpoint_s": checkpoint_s}))


if __name__ == "__main__":
    Worker(Path(sys.argv[1])).carry_out()
