"""What runs in the processes of the training in `train_on_cluster`: an environment whose node dies, and a witness."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_rnd.sampling.answers import RunnerSample
from rllib_rnd.sampling.env_runner import RolloutEnvRunner

LENGTH = 8  # steps of an episode, each of which pays 1


def first_time(marker: Path) -> bool:
    """Whether nobody has called this with the same file before."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class LostNode(gym.Env[np.ndarray, np.int64]):
    """In the middle of the step ``at_step`` of a training environment its node dies, once in a run.

    Args:
        config: ``folder``, where a file marks that it has happened; ``at_step``.
    """

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config: dict[str, Any]) -> None:
        self._marker, self._at, self._steps = Path(config["folder"]) / "lost_while_sampling", config["at_step"], 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        if self._steps == self._at and "spot" in resources() and first_time(self._marker):
            os.kill(os.getppid(), signal.SIGKILL)  # the raylet of this process
            threading.Event().wait()  # this step never ends
        place = self._steps % LENGTH
        return np.full(3, place / LENGTH, np.float32), 1.0, place == 0, False, {}


def resources() -> dict[str, Any]:
    """What this process has been given."""
    return dict(ray.get_runtime_context().get_assigned_resources())


def node_of(_: object) -> str:
    """The node of the process that this is called in."""
    return str(ray.get_runtime_context().get_node_id())


def place_of(runner: RolloutEnvRunner) -> dict[str, Any]:
    """Where a runner is and how old its weights are."""
    return {"node": node_of(runner), "raylet": os.getppid(), "pid": os.getpid(), "weights": runner._weights_seq_no}


class Witness(RLlibCallback):
    """Writes a row per iteration: who is where, what was sampled, which weights runners play with.

    When a lost runner has come back it takes another node away, between the end of a rollout and its use.
    """

    def on_train_result(self, *, algorithm: Algorithm, metrics_logger: Any, result: dict[str, Any], **_: Any) -> None:
        folder = Path(algorithm.config.env_config["folder"])
        runners = algorithm.env_runner_group.foreach_env_runner(place_of, local_env_runner=False)
        learner = result["learners"]["default_policy"]
        row = {
            "iteration": algorithm.iteration,
            "main": node_of(None),
            "runners": runners,
            "learners": [r.get() for r in algorithm.learner_group.foreach_learner(node_of)],
            "evaluation": algorithm.eval_env_runner_group.foreach_env_runner(node_of, local_env_runner=False),
            "agent_steps": int(result["env_runners"]["num_env_steps_sampled_lifetime"]),
            "trained": int(learner["num_module_steps_trained_lifetime"]),
            "learner": {k: float(learner[k]) for k in ("policy_loss", "grad_norm", "intrinsic_reward_mean", "entropy")},
            "return": result["env_runners"].get("episode_return_mean"),
            "evaluation_return": result["evaluation"]["env_runners"].get("episode_return_mean"),
            "time_s": result["time_this_iter_s"],
        }
        with (folder / "rows.jsonl").open("a") as file:
            file.write(json.dumps(row, default=float) + "\n")
        second = folder / "lost_with_its_rollout"
        if (folder / "lost_while_sampling").exists() and len(runners) == algorithm.config.num_env_runners:
            if first_time(second):
                lose_after_sampling(algorithm.runners, runners[0])
        elif second.exists():
            self.survived = getattr(self, "survived", 0) + 1
        result["survived"] = getattr(self, "survived", 0)


def lose_after_sampling(runners: Any, victim: dict[str, Any]) -> None:
    """Has the next rollouts come in, and then one of their runners lose its node before anybody has fetched them."""
    collect: Callable[[], list[RunnerSample]] = runners.collect

    def once() -> list[RunnerSample]:
        runners.collect = collect
        samples = collect()
        os.kill(victim["raylet"], signal.SIGKILL)
        limit = time.monotonic() + 60.0
        while Path(f"/proc/{victim['pid']}").exists() and time.monotonic() < limit:
            time.sleep(0.05)
        return samples

    runners.collect = once
