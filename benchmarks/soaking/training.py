"""The training that is soaked: a driver of ``rllib train`` that is started, ended and started again."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import ROOT
from benchmarks.soaking.processes import Processes, kill_all, title_of
from rllib_rnd.checkpoints import checkpoints_in, iteration_of

NAME = "soak"
SAMPLE_TIMEOUT_S = 45
#: Seconds in which what is below an ended driver must end; Ray's agents look for its end for 65.
ORPHANS_S = 90.0
EXPERIMENT = f"""\
# Made by benchmarks/soak.py: RND on DeepSea, small and fast, saved every few seconds.
{NAME}:
  run: RND
  env: rllib_rnd/DeepSea-v0
  max_failures: -1
  checkpoint_config: {{checkpoint_frequency: 10, num_to_keep: 4}}
  config:
    seed: 0
    env_config: {{size: 12}}
    callbacks: "benchmarks.soaking.watch:Watch"
    num_env_runners: 2
    num_learners: 1
    num_envs_per_env_runner: 64
    rollout_fragment_length: 64
    torch_threads: 1
    sample_timeout_s: {SAMPLE_TIMEOUT_S}
    lr: 1.0e-3
    gamma: 0.999
    num_epochs: 4
    num_minibatches: 4
    extrinsic_coeff: 2.0
    warmup_steps: 64
    backbone: {{type: mlp, hidden_sizes: [128, 128], activation: relu}}
    intrinsic_reward: {{type: rnd, gamma: 0.99, feature_dim: 64, hidden_sizes: [128], update_proportion: 1.0}}
"""


@dataclass(frozen=True)
class Saved:
    """A complete checkpoint: its folder and iteration."""

    folder: Path
    iteration: int


class Training:
    """The run in ``out``, and its driver if one lives.

    Args:
        out: folder of everything.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.storage = out / "results"
        self.folder = self.storage / NAME
        self.store = self.storage / "mlruns.db"
        self._driver: subprocess.Popen[bytes] | None = None
        self.processes: Processes | None = None
        self._former: list[tuple[float, Processes]] = []  # when it had ended, whose

    def start(self) -> None:
        """Starts a driver; with ``--resume`` if there is a run already."""
        self.out.mkdir(parents=True, exist_ok=True)
        if self.processes is not None:
            self._former.append((time.monotonic(), self.processes))
        file = self.out / "soak.yaml"
        file.write_text(EXPERIMENT)
        resume = ["--resume"] if (self.folder / "run.json").is_file() else []
        program = "from rllib_rnd.cli import main; main()"
        words = ["train", "file", str(file), "--storage", str(self.storage), "--name", NAME, "--quiet", *resume]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with (self.out / "driver.log").open("ab") as log:
            log.write(f"\n=== {time.strftime('%H:%M:%S')} {' '.join(resume) or 'start'}\n".encode())
            log.flush()
            self._driver = subprocess.Popen(
                [sys.executable, "-c", program, *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=self.out,
                start_new_session=True,
            )
        self.processes = Processes(self._driver.pid)
        (self.out / "driver.pid").write_text(str(self._driver.pid))

    @property
    def code(self) -> int | None:
        """The driver's exit code; None while it runs."""
        return None if self._driver is None else self._driver.poll()

    def send(self, number: signal.Signals) -> None:
        """Sends the driver a signal."""
        assert self._driver is not None
        self._driver.send_signal(number)

    def wait(self, patience_s: float, meanwhile: Callable[[], object]) -> int | None:
        """Waits for the driver's end; returns its exit code, None if it has not ended."""
        until = time.monotonic() + patience_s
        while self.code is None and time.monotonic() < until:
            meanwhile()
            time.sleep(0.25)
        return self.code

    def orphans(self) -> int:
        """How many processes of ended drivers live."""
        ended = [self.processes] if self.processes is not None and self.code is not None else []
        return sum(len(processes.left()) for processes in (*ended, *(former for _, former in self._former)))

    def outlived(self, patience_s: float = ORPHANS_S) -> list[str]:
        """What was below drivers that ended long ago and still lives; it is killed."""
        names: list[str] = []
        for ended, processes in self._former:
            if time.monotonic() > ended + patience_s:
                left = processes.left()
                names += [title_of(process) for process in left]
                kill_all(left)
        return names

    def kill(self) -> None:
        """Ends the driver at once, and all below it."""
        if self._driver is not None and self.processes is not None:
            self.processes.find()
            self._driver.kill()
            self._driver.wait()
            self.processes.wait_for_end(ORPHANS_S)
            kill_all(self.processes.left())

    def saved(self) -> list[Saved]:
        """The complete checkpoints, oldest first, each with its iteration."""
        found = []
        for folder in checkpoints_in(self.folder) if self.folder.is_dir() else []:
            try:
                iteration = iteration_of(folder)
            except OSError:  # deleted meanwhile, as an old one
                continue
            if iteration is not None:
                found.append(Saved(folder, iteration))
        return found

    def logged_iterations(self) -> list[float]:
        """The iterations that MLflow's store holds of this run, as they lie there.

        Raises:
            sqlite3.OperationalError: the store is locked for long.
        """
        query = (
            "select m.value from metrics m join runs r on r.run_uuid = m.run_uuid "
            "where m.key = 'iteration' and r.lifecycle_stage = 'active'"
        )
        return [float(value) for (value,) in self._ask(query)]

    def logged_runs(self) -> int:
        """How many runs MLflow's store holds; resumes go on with the first.

        Raises:
            sqlite3.OperationalError: as of `logged_iterations`.
        """
        return sum(int(count) for (count,) in self._ask("select count(*) from runs where lifecycle_stage = 'active'"))

    def _ask(self, query: str) -> list[tuple[float]]:
        if not self.store.is_file():
            return []
        connection = sqlite3.connect(f"{self.store.as_uri()}?mode=ro", uri=True, timeout=60.0)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()
