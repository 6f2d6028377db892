"""One call of a learner or a runner as torch's profiler sees it, its parts by name."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from rllib_rnd.training.learner import IntrinsicPPOLearner

_ROWS = 15  # of a table of what takes longest


class Trace(NamedTuple):
    """One call as torch's profiler has seen it.

    Attributes:
        events: for chrome://tracing and Perfetto, JSON packed by gzip.
        table: the operations that took longest by themselves.
    """

    events: bytes
    table: str


#: A class, a method of it, and how its calls are called in the trace.
Label = tuple[type, str, str]


def _trace_next(owner: IntrinsicPPOLearner | RolloutEnvRunner, method: str, labels: Sequence[Label]) -> None:
    """Has the next call of a method traced; `take_trace` has the outcome."""
    call = getattr(owner, method)

    @functools.wraps(call)
    def traced(*args: object, **kwargs: object) -> object:
        delattr(owner, method)
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with _labelled(labels), torch.profiler.profile(activities=activities) as profiler:
            result = call(*args, **kwargs)
        owner.__dict__["_profiler"] = profiler
        return result

    setattr(owner, method, traced)


def take_trace(owner: IntrinsicPPOLearner | RolloutEnvRunner) -> Trace | None:
    """The trace of the last call that was to be traced, once; None where there was none."""
    profiler = owner.__dict__.pop("_profiler", None)
    return None if profiler is None else _exported(profiler)


def trace_learner(learner: IntrinsicPPOLearner) -> None:
    """Has a learner's next update traced."""
    update, labels = type(learner.ppo_update), list[Label]()
    labels += [(type(learner), "own_share", "fetch rollouts"), (type(learner), "prepare", "rewards and advantages")]
    labels += [(update, "step", "minibatch"), (update, "ppo_loss", "PPO's loss")]
    labels += [(update, "plugin_loss", "losses of plug-ins")]
    for reward in learner.trained_module.rewards():
        labels += [(type(reward), "compute", f"reward of {reward.name}")]
        labels += [(type(reward), "update_statistics", f"statistics of {reward.name}")]
    for loss in learner.trained_module.auxiliaries():
        labels += [(type(loss), "terms", f"loss of {loss.name}")]
    _trace_next(learner, "update_from_rollouts", labels)


def trace_runner(runner: RolloutEnvRunner, index: int) -> None:
    """Has the next rollout of the runner with this index traced."""
    if runner.worker_index == index:
        labels = [(type(runner.play.env), "step", "step of environments"), (type(runner.policy), "decide", "actions")]
        _trace_next(runner, "sample_all", labels)


@contextlib.contextmanager
def _labelled(labels: Sequence[Label]) -> Iterator[None]:
    """Calls of these methods have their labels in a trace."""
    with contextlib.ExitStack() as stack:
        for owner, name, label in dict.fromkeys(labels):
            stack.callback(_label(owner, name, label))
        yield


def _label(owner: type, name: str, label: str) -> Callable[[], None]:
    """Labels one; returns what takes the label away."""
    method, own = getattr(owner, name), name in vars(owner)

    @functools.wraps(method)
    def labelled(*args: object, **kwargs: object) -> object:
        with torch.profiler.record_function(label):
            return method(*args, **kwargs)

    setattr(owner, name, labelled)
    return lambda: setattr(owner, name, method) if own else delattr(owner, name)


def _exported(profiler: torch.profiler.profile) -> Trace:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json.gz"
        profiler.export_chrome_trace(str(path))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        table = profiler.key_averages().table(
            sort_by=f"self_{device}_time_total", row_limit=_ROWS, max_name_column_width=40
        )
        return Trace(path.read_bytes(), table)
