"""Weights & Biases: the curated metrics of each trial, online or in files that are sent later.

The key is where wandb looks for it (``WANDB_API_KEY``, ``wandb login``); this package never reads, holds or writes it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback

from rllib_rnd.errors import ConfigError
from rllib_rnd.tracking.identity import RunIdentity
from rllib_rnd.tracking.metrics import curated, read
from rllib_rnd.tracking.mlflow_writer import reason_of
from rllib_rnd.tracking.parameters import number_of, parameters

if TYPE_CHECKING:
    from wandb import Run

_LOGGED = "logged.json"  # the newest iteration of each run, in its folder: what is not sent can not be asked for
_PATIENCE_S = 30.0
_EXIT_CODES = {"FINISHED": 0, "FAILED": 1, "KILLED": 255}  # the last is what wandb itself gives to Ctrl-C


@dataclass(frozen=True)
class WandbOptions:
    """Where runs are logged.

    Attributes:
        project: name of the wandb project.
        offline: into files alone, which ``wandb sync`` sends later.
    """

    project: str
    offline: bool


def wandb_options(project: str | None) -> WandbOptions | None:
    """Returns where to log, by the option or wandb's own environment variables; None if not asked for or disabled.

    Args:
        project: the option ``--wandb``; None leaves it to ``WANDB_PROJECT``.

    Raises:
        ConfigError: it is asked for, and the package or the key is missing.
    """
    name, mode = project or os.environ.get("WANDB_PROJECT"), os.environ.get("WANDB_MODE", "online").lower()
    if not name or mode == "disabled":
        return None
    where = "--wandb" if project else "WANDB_PROJECT"
    if "/" in name or not name.strip():
        raise ConfigError(where, f"{name!r} is no name of a project; an entity goes into WANDB_ENTITY")
    try:
        import wandb
    except ImportError:
        raise ConfigError(where, "needs a package: pip install 'rllib_rnd[wandb]'") from None
    logging.getLogger("wandb").setLevel(logging.CRITICAL)
    offline = mode in ("offline", "dryrun")
    problem = "" if offline else _login_problem()
    if problem:
        allowed = "a key in WANDB_API_KEY, `wandb login`, or WANDB_MODE=offline"
        raise ConfigError(where, f"wandb {wandb.__version__} {problem}", allowed)
    return WandbOptions(name, offline)


def _login_problem() -> str:
    """Why its server cannot be used; "" where it can."""
    import wandb

    try:
        return "" if wandb.login(prompt=False) else "has no key for its server"
    except Exception as error:  # a key that is not taken, a server that is away, a broken netrc
        return f"cannot log in ({reason_of(error)})"


class WandbLogger(LoggerCallback):
    """Logs every trial as one wandb run, its metrics against agent steps; those of a sweep are in one group.

    The id of a run follows from its key, so a run that goes on continues the same one, online and offline.
    A fault of wandb costs a printed line, never the training: what it does not take is kept and logged with the next
    result; where no run can be opened, training goes on without it.

    Args:
        options: where to.
        identity: whose run it is.
        folder: of the run, for wandb's files; None: where wandb puts them.
        make_config: turns a trial's ``config`` mapping into a configuration object.
        say: prints one line to the user.
        status: of a trial that ended without an error, by its last result: FINISHED, KILLED or FAILED.
    """

    def __init__(
        self,
        options: WandbOptions,
        identity: RunIdentity,
        folder: Path | None,
        make_config: Callable[[Mapping[str, Any]], Any],
        say: Callable[[str], None],
        status: Callable[[Mapping[str, Any]], str],
    ) -> None:
        self.options = options
        self.identity = identity
        self.folder = folder
        self._make_config: Callable[[Mapping[str, Any]], Any] | None = make_config
        self._say: Callable[[str], None] | None = say
        self._status: Callable[[Mapping[str, Any]], str] | None = status
        self._runs: dict[str, Run] = {}
        self._results: dict[str, Mapping[str, Any]] = {}
        self._configs: dict[str, Mapping[str, Any]] = {}
        self._logged = self._read_logged()
        self._kept: dict[str, list[tuple[str, int, dict[str, float]]]] = {}  # trial -> (key, iteration, metrics) to log
        self._refused: set[str] = set()  # trials whose newest results were not taken
        self._broken = False

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks; runs and terminals cannot be pickled.
        gone = dict.fromkeys(("_make_config", "_say", "_status"))
        return {**self.__dict__, **gone, "_runs": {}, "_results": {}, "_configs": {}, "_kept": {}, "_refused": set()}

    def _guarded(self, write: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            write()
        except Exception as error:  # any fault of wandb: the run matters more than its log
            self._broken = True
            self._tell(f"Weights & Biases does not work ({reason_of(error)}); training goes on without it.")

    def _tell(self, line: str) -> None:
        if self._say is not None:
            self._say(line)

    def log_trial_start(self, trial: Trial) -> None:
        """Opens the trial's run, or notes that a scheduler has changed its settings."""
        if trial.trial_id not in self._runs:
            self._guarded(lambda: self._begin(trial))
        elif trial.config is not self._configs.get(trial.trial_id):
            self._guarded(lambda: self._update(trial))

    def _begin(self, trial: Trial) -> None:
        import wandb

        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        # Neither the command line nor the environment, the folder's code, or what is printed: what is known of a run
        # is in its tags.
        settings = wandb.Settings(
            mode="offline" if self.options.offline else "online",
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_stats=self.options.offline,
            init_timeout=_PATIENCE_S,
        )
        run = wandb.init(
            project=self.options.project,
            id=self.identity.short_key(trial),
            name=self.identity.trial_name(trial),
            group=self.identity.name if self.identity.sweep else None,
            dir=None if self.folder is None else str(self.folder),
            config={**self._settings(trial), "run": dict(self.identity.tags) | {"trial_folder": str(trial.path or "")}},
            resume="allow",
            reinit="create_new",
            settings=settings,
        )
        run.define_metric("*", step_metric="agent_steps")
        self._runs[trial.trial_id], self._configs[trial.trial_id] = run, trial.config

    def _update(self, trial: Trial) -> None:
        self._configs[trial.trial_id] = trial.config
        self._runs[trial.trial_id].config.update(self._settings(trial), allow_val_change=True)

    def _settings(self, trial: Trial) -> dict[str, float | str]:
        texts = parameters(self._make_config(trial.config)) if self._make_config else {}
        return {name: text if (number := number_of(text)) is None else number for name, text in texts.items()}

    def on_trial_result(self, *, trial: Trial, result: dict[str, Any], **_: object) -> None:
        """Logs the curated metrics of one result; an iteration that was logged before is left out."""
        run, reached = self._runs.get(trial.trial_id), int(read(result, "iteration") or 0)
        key = self.identity.short_key(trial)
        kept = self._kept.setdefault(trial.trial_id, [])
        if run is None or reached <= max(self._logged.get(key, 0), kept[-1][1] if kept else 0):
            return
        self.log_trial_start(trial)
        self._results[trial.trial_id] = result
        kept.append((key, reached, curated(result)))
        if self._log_kept(trial.trial_id, run):
            self._write_logged()

    def _log_kept(self, trial_id: str, run: Run) -> bool:
        """Logs what a trial has still to log, in order; whether all of it was taken."""
        rows = self._kept.get(trial_id, [])
        try:
            while rows:
                key, reached, metrics = rows[0]
                run.log(metrics, step=reached)
                rows.pop(0)
                self._logged[key] = reached
        except Exception as error:  # any fault of wandb: the run matters more than its log
            if not self._refused:
                self._tell(f"Weights & Biases takes no results ({reason_of(error)}); they are kept and logged later.")
            self._refused.add(trial_id)
            return False
        if trial_id in self._refused:
            self._refused.discard(trial_id)
            if not self._refused:
                self._tell("Weights & Biases takes results again; all that were kept are logged.")
        return True

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Closes the trial's run."""
        status = self._status(self._results.get(trial.trial_id, {})) if self._status is not None else "FINISHED"
        self._finish(trial.trial_id, "FAILED" if failed else status)

    def _finish(self, trial_id: str, status: str) -> None:
        run = self._runs.pop(trial_id, None)
        if run is not None:
            if not self._log_kept(trial_id, run):
                self._tell(f"{len(self._kept[trial_id])} results are not in Weights & Biases; result.json has them.")
            self._guarded(lambda: run.finish(exit_code=_EXIT_CODES[status]))

    def close(self, status: str = "KILLED") -> None:
        """Closes the runs that are still open, after a hard stop."""
        for trial_id in sorted(self._runs):
            self._finish(trial_id, status)

    def sync_command(self) -> str:
        """The command that sends what was logged offline; "" where all has been sent."""
        if not self.options.offline or self.folder is None or not any(self.folder.glob("wandb/offline-run-*")):
            return ""
        return f"wandb sync {shlex.quote(str(self.folder))}/wandb/offline-run-*"

    def _read_logged(self) -> dict[str, int]:
        if self.folder is None:
            return {}
        try:
            found = json.loads((self.folder / "wandb" / _LOGGED).read_text(encoding="utf-8"))
            return {str(key): int(value) for key, value in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _write_logged(self) -> None:
        if self.folder is None:
            return
        path = self.folder / "wandb" / _LOGGED
        new = path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a disk that is full for a while: it is written with the next result
            new.write_text(json.dumps(self._logged), encoding="utf-8")
            os.replace(new, path)
