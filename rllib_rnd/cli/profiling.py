"""What ``rllib train --profile`` records of a trial: traces of one iteration, flame graphs, memory by phase.

All of it happens in the trial's process and in those that it leads. The first iterations are left alone, as they
allocate and compile what later ones find there; then one is traced by torch's profiler, in the first learner and the
first runner, and the next ones are watched by py-spy, whose pauses would be in the trace else. Memory is read from the
beginning.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ray.rllib.utils import force_list
from ray.tune import Callback

from rllib_rnd.algorithm import IntrinsicPPO
from rllib_rnd.cli.flames import Flames, Place, place_of_process, py_spy
from rllib_rnd.cli.phase_memory import PhaseMemory
from rllib_rnd.cli.tracing import Trace, take_trace, trace_learner, trace_runner
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import Experiment
from rllib_rnd.training.learner import IntrinsicPPOLearner

SUMMARY, FOLDER = "summary.txt", "profile"
#: The iteration that is traced, from 1.
TRACED = 3
_FLAMES_S = 10.0
_MOST_RUNNERS = 4  # that get a flame graph


def check_profile(experiments: Sequence[Experiment], storage: str) -> str | None:
    """Refuses ``--profile`` where nothing could be recorded.

    Returns:
        What is left out, or None.

    Raises:
        ConfigError: a sweep, an algorithm that is not of this package, or a storage that is no folder.
    """
    if "://" in storage:
        raise ConfigError("--profile", "needs --storage to be a folder")
    for experiment in experiments:
        if not experiment.single:
            raise ConfigError("--profile", f"records one trial, and {experiment.name} has several: choose one by --set")
        if not issubclass(experiment.algorithm_class, IntrinsicPPO):
            name = experiment.algorithm_class.__name__
            raise ConfigError("--profile", f"knows the parts of IntrinsicPPO and its presets; {name} is none of them")
    if py_spy() is None:
        return 'No flame graphs: py-spy is not installed. To have them: pip install "rllib_rnd[profile]"'
    return None


class TellProfile(Callback):
    """Says in the command's process where the profile is, once it is there.

    Args:
        folder: that it is written into.
        tell: says a line to the user.
    """

    def __init__(self, folder: Path, tell: Callable[[str], object]) -> None:
        self._summary, self._tell, self._told = folder / SUMMARY, tell, False

    def on_step_end(self, *_: object, **__: object) -> None:
        """Looks whether it is there."""
        if not self._told and self._summary.is_file():
            self._told = True
            self._tell(f"Profile: {self._summary} (training goes on; Ctrl-C stops it)")

    def on_experiment_end(self, *_: object, **__: object) -> None:
        """The last look."""
        self.on_step_end()
        if not self._told:
            self._tell(f"Nothing was profiled: the run has ended before the end of iteration {TRACED}.")


# --- in the trial's process -------------------------------------------------------------------------------------------


@dataclass
class Profile:
    """An ``on_algorithm_init`` callback by which a run is recorded.

    Attributes:
        folder: of all that is written.
        command: the process that shows the run.
        seconds: that flame graphs are of.
    """

    folder: str
    command: Place
    seconds: float = _FLAMES_S

    def __call__(self, algorithm: IntrinsicPPO, **_: object) -> None:
        """Begins, in the trial's process."""
        left = [c for c in force_list(algorithm.config.callbacks_on_algorithm_init) if not isinstance(c, Profile)]
        # Done once; in the configuration it would be in every checkpoint. (It is frozen: this goes around that.)
        algorithm.config.__dict__["callbacks_on_algorithm_init"] = left or None
        Recorder(algorithm, self)


def profile_of(folder: Path) -> Profile:
    """Returns the callback, made in the process that shows the run. Ray has to run."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that goes on; its summary would be told of at once
    return Profile(str(folder), place_of_process())


class Recorder:
    """Goes along with the iterations of an algorithm, and writes what it has seen.

    Args:
        algorithm: built, with nothing trained in this process.
        profile: what is asked for.
    """

    def __init__(self, algorithm: IntrinsicPPO, profile: Profile) -> None:
        self.algorithm, self.seconds = algorithm, profile.seconds
        self.folder = Path(profile.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pids = self._processes(profile.command)
        self.memory = PhaseMemory({name: pid for name, pid in self.pids.items() if name != "command"})
        self.traces: dict[str, Trace | None] = {}
        self.flames: Flames | None = None
        self.iteration, self.watched = 0, 0.0
        self._replaced: list[tuple[object, str]] = []
        self._replace(algorithm, "training_step", self._step)
        self._replace(algorithm, "cleanup", self._cleanup)
        runners = algorithm.runners
        for owner, method, phase in (
            (algorithm, "_warm_up", "random play"),
            (algorithm, "_pretrain", "pre-training"),
            (algorithm, "evaluate", "evaluation"),
            (algorithm, "save_to_path", "saving"),
            (runners, "collect", "sampling"),
            (runners, "sync_weights", "sending weights"),
        ):
            self._replace(owner, method, self._in_phase(phase, getattr(owner, method)))

    def _replace(self, owner: object, method: str, function: Callable[..., object]) -> None:
        setattr(owner, method, function)
        self._replaced.append((owner, method))

    def _in_phase(self, phase: str, function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def inside(*args: object, **kwargs: object) -> object:
            with self.memory.phase(phase):
                return function(*args, **kwargs)

        return inside

    def _processes(self, command: Place) -> dict[str, int]:
        """Those of this machine that are looked at, by name."""
        here = place_of_process()
        places = {"main process": here, "command": command}
        group = self.algorithm.learner_group
        if group.is_remote:
            found = [result.get() for result in group.foreach_learner(place_of_process)]
            places |= {f"learner {i + 1}": place for i, place in enumerate(found)}
        if self.algorithm.runners.remote:
            found = self.algorithm.runners.foreach(place_of_process)[:_MOST_RUNNERS]
            places |= {f"runner {i + 1}": place for i, place in enumerate(found)}
        return {name: place.pid for name, place in places.items() if place.node == here.node}

    def _step(self) -> None:
        """In place of the algorithm's: one iteration, or one rollout of pre-training."""
        training = self.algorithm.pretrained
        self.iteration += training
        tracing = training and self.iteration == TRACED
        if tracing:
            self._begin_traces()
        step = functools.partial(type(self.algorithm).training_step, self.algorithm)
        if self.iteration > TRACED:
            step()
        else:
            with self.memory.phase("learning"):
                step()
        if tracing:
            self._end_traces()
            program = py_spy()
            watched = {} if program is None else self.pids
            self.flames = Flames(program or "", watched, self.folder, self.seconds)
        elif self.flames is not None and self.flames.ended:
            self._write()

    def _begin_traces(self) -> None:
        runners = self.algorithm.runners
        self._runner = min(runners.crew.in_service) if runners.remote else 0
        runners.foreach(functools.partial(trace_runner, index=self._runner))
        self._on_first_learner(trace_learner)

    def _end_traces(self) -> None:
        self.memory.stop()
        found = self.algorithm.runners.foreach(take_trace)
        self.traces["runner"] = next((trace for trace in found if trace is not None), None)
        self.traces["learner"] = self._on_first_learner(take_trace)
        for name, trace in self.traces.items():
            if trace is not None:
                (self.folder / f"trace_{name}.json.gz").write_bytes(trace.events)

    def _on_first_learner(self, function: Callable[[IntrinsicPPOLearner], Trace | None]) -> Trace | None:
        found: list[Trace | None] = [r.get() for r in self.algorithm.learner_group.foreach_learner(function)]
        return found[0]

    def _cleanup(self) -> None:
        self.memory.stop()
        if self.flames is not None:
            self._write()
        type(self.algorithm).cleanup(self.algorithm)

    def _write(self) -> None:
        """Writes the summary, last of all, and leaves the algorithm alone."""
        assert self.flames is not None
        missing = self.flames.end()
        lines = [
            f"Iteration {TRACED}, {self.algorithm.config.samples_per_iteration():,} agent steps, seconds "
            "(the tracing included, which slows small operations down most)",
            *(f"  {name:18s}{seconds:8.3f}" for name, seconds in self.memory.seconds.items()),
            "",
            "Most memory of a process by phase, MB (RSS; what processes share counts in each)",
            *_memory_rows(self.memory),
        ]
        for name, trace in self.traces.items():
            lines += ["", f"The {name}'s operations by their own time", trace.table if trace else "  not recorded"]
        lines += ["", "Files, beside this one"]
        lines += [f"  trace_{name}.json.gz: for https://ui.perfetto.dev or chrome://tracing" for name in self.traces]
        lines += [
            f"  {path.name}: " + (f"missing ({missing[name]})" if name in missing else "for a web browser")
            for name, path in self.flames.files.items()
        ]
        path = self.folder / SUMMARY
        path.with_suffix(".part").write_text("\n".join(lines) + "\n", encoding="utf-8")
        path.with_suffix(".part").replace(path)
        self.flames = None
        for owner, method in self._replaced:
            owner.__dict__.pop(method, None)


def _memory_rows(memory: PhaseMemory) -> list[str]:
    names = list(memory.pids)
    rows = ["  " + " " * 18 + "".join(f"{name:>14s}" for name in names)]
    for phase, peaks in memory.peaks.items():
        rows.append(f"  {phase:18s}" + "".join(f"{peaks.get(name, 0) / 1e6:14,.0f}" for name in names))
    return rows
