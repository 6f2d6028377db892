"""A small training whose environments take orders, for faults on the side of environments and runners."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.core import COMPONENT_RL_MODULE

from rllib_rnd.rollout import Rollout
from rllib_rnd.sampling.crew import weights_of
from tests.conftest import small_config
from tests.faults.faulty import Orders
from tests.faults.outcome import Outcome
from tests.faults.own_ray import own_ray

#: Steps of a rollout and environments of a runner here.
T, N = 16, 2
#: Seconds that a rollout of milliseconds may take where one hangs.
LIMIT_S = 4.0
#: Seconds that a process may take to start, on a machine that does other things.
PATIENCE_S = 400.0


@contextlib.contextmanager
def limit(algorithm: Any, name: str, seconds: float) -> Iterator[None]:
    """A setting of a training that runs, for the iteration that hangs: others wait longer for busy machines."""
    configs = [algorithm.config, algorithm.evaluation_config]
    configs += [] if algorithm.config.num_env_runners else [algorithm.env_runner.config]
    before = [vars(config)[name] for config in configs]
    for config in configs:
        vars(config)[name] = seconds
    try:
        yield
    finally:
        for config, value in zip(configs, before, strict=True):
            vars(config)[name] = value


class Training:
    """A small training whose environments take orders.

    Args:
        folder: for orders.
        remote: env runners, 0: plays in this process.
        env: what plays, of `tests.faults.faulty`.
        settings: of `training()`.
    """

    def __init__(self, folder: Path, remote: int = 2, env: str = "Faulty", **settings: Any) -> None:
        self.orders, self.evaluation_orders = Orders(folder / "orders"), Orders(folder / "evaluation")
        config = small_config(env=f"tests.faults.faulty:{env}", **settings)
        config.environment(env_config={"folder": str(self.orders.folder)})
        config.env_runners(num_env_runners=remote, num_envs_per_env_runner=N, rollout_fragment_length=T)
        config.fault_tolerance(restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0.0)
        config.fault_tolerance(num_consecutive_env_runner_failures_tolerance=2)
        self.config, self.remote = config, remote
        self.batches: list[list[Rollout]] = []
        self.said: list[str] = []
        self.results: dict[str, Any] = {}

    def evaluate_too(self, remote: int, parallel: bool = False, duration: int | str = 4) -> None:
        """Has each iteration end with an evaluation of 4 episodes, or evaluates while it trains."""
        self.config.evaluation(
            evaluation_interval=1,
            evaluation_num_env_runners=remote,
            evaluation_duration=duration,
            evaluation_parallel_to_training=parallel,
            evaluation_config={"env_config": {"folder": str(self.evaluation_orders.folder)}},
        )

    def build(self) -> Training:
        """Starts it."""
        self.algorithm = self.config.build_algo()
        collect = self.algorithm.runners.collect

        def recorded() -> Any:
            samples = collect()
            self.batches.append([copied(sample.rollout) for sample in samples])
            return samples

        self.algorithm.runners.collect = recorded
        return self

    @property
    def crew(self) -> Any:
        """The runners of training."""
        return self.algorithm.runners.crew

    def train(self) -> dict[str, Any]:
        """One iteration; returns its metrics of runners."""
        with self._listening():
            self.results = self.algorithm.train()
        # The rows of environments that go on, as of the intrinsic return, follow them.
        assert not any("starts anew" in line for line in self.said)
        found: dict[str, Any] = self.results["env_runners"]
        return found

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        said = self.said
        said.clear()

        class Listener(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                said.append(record.getMessage())

        listener, log = Listener(), logging.getLogger("rllib_rnd")
        log.addHandler(listener)
        try:
            yield
        finally:
            log.removeHandler(listener)

    def settle(self) -> None:
        """Waits until all runners are in service, and trains an iteration with them."""
        groups = {self.algorithm.env_runner_group: self.crew}
        if self.algorithm.eval_env_runner_group is not None:
            groups[self.algorithm.eval_env_runner_group] = self.algorithm.evaluation_crew
        until = time.monotonic() + PATIENCE_S
        for group, crew in groups.items():
            while group.num_healthy_remote_env_runners() < group.num_remote_env_runners():
                assert time.monotonic() < until, "the runners do not come back"
                with self._listening():
                    crew.restore()
        self.train()
        assert len(self.batches[-1]) == max(1, self.remote)

    def check(self) -> None:
        """Counters are right, batches hold whole samples, each once, and all play with the learner's weights."""
        counted = sum(int((~rollout.is_first[1:]).sum()) for batch in self.batches for rollout in batch)
        assert self.results["env_runners"]["num_env_steps_sampled_lifetime"] == counted
        assert self.results["training_iteration"] == len(self.batches)
        seen: set[tuple[float, float]] = set()
        for batch in self.batches:
            for rollout in batch:
                for name in ("frames", "reward", "value", "logp", "memory"):
                    assert np.isfinite(getattr(rollout, name)).all()
                frames = rollout.frames.astype(np.float64)
                whole = ~(rollout.broken[1:] | rollout.broken[:-1])
                steps = (frames[1:, :, 1] - frames[:-1, :, 1]) * 8192
                assert (steps[whole] == 1.0).all() and (frames[1:, :, 0] == frames[:-1, :, 0])[whole].all()
                samples = {(float(a), float(b)) for a, b in frames[:-1][~rollout.broken[:-1]][:, :2]}
                assert len(samples) == (~rollout.broken[:-1]).sum() and not samples & seen
                seen |= samples
        weights = weights_of(self.algorithm.learner_group)
        for theirs in self.algorithm.runners.foreach(_weights):
            assert theirs.keys() == weights[COMPONENT_RL_MODULE]["default_policy"].keys()
            for name, tensor in theirs.items():
                np.testing.assert_array_equal(tensor, weights[COMPONENT_RL_MODULE]["default_policy"][name])

    def limit(self, name: str, seconds: float) -> contextlib.AbstractContextManager[None]:
        """See `limit`."""
        return limit(self.algorithm, name, seconds)

    def went_on(self, started: float, runners: int) -> Outcome:
        """So many runners' rollouts were learned from: what was said, how long it took, what is missing; all come back.

        Args:
            started: when the fault was placed, of `time.monotonic`.
            runners: that played in the newest iteration.
        """
        seconds = time.monotonic() - started
        seen, missing = self.said[0], max(1, self.remote) - runners
        assert len(self.batches[-1]) == runners
        self.check()
        restarts = self.crew.restarts
        self.settle()
        self.check()
        assert self.crew.restarts >= restarts
        return Outcome(seen, seconds, f"{missing} of {self.remote} rollouts of one iteration")

    def stop(self) -> None:
        """Ends it."""
        self.algorithm.stop()


def copied(rollout: Rollout) -> Any:
    """A rollout's arrays: those of a remote runner are Ray's to take back."""
    names = ("frames", "is_first", "broken", "reward", "value", "logp", "memory")
    return type("Copy", (), {name: np.array(getattr(rollout, name)) for name in names})


def _weights(runner: Any) -> dict[str, np.ndarray]:
    state = runner.get_state(components=[COMPONENT_RL_MODULE], inference_only=True)[COMPONENT_RL_MODULE]
    return {name: torch.as_tensor(value).numpy() for name, value in state.items()}


def alone(
    fault: Callable[[Training], Outcome],
    settled: bool = True,
    evaluation: int = 0,
    parallel: bool = False,
    duration: int | str = 4,
    **built: Any,
) -> Outcome:
    """A fault of a training that is there for it alone.

    Args:
        fault: places it, and tells what came of it.
        settled: not before an iteration has been trained.
        evaluation: runners of it; 0: none.
        parallel, duration: of `Training.evaluate_too`.
        built: of `Training`.
    """
    with own_ray(), tempfile.TemporaryDirectory() as folder:
        training = Training(Path(folder), **built)
        if evaluation:
            training.evaluate_too(evaluation, parallel, duration)
        training.build()
        try:
            if settled:
                training.settle()
            return fault(training)
        finally:
            training.stop()
