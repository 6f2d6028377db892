"""MiniGrid as in its benchmark: agent steps per second with every intrinsic reward, sampling and learning apart.

    python -m benchmarks.minigrid --tasks doorkey multiroom --rounds 3
    python -m benchmarks.minigrid --against ../before     # the package of another checkout takes turns too

The settings are those of `tuned_examples/minigrid/doorkey_8x8_*.yaml` (layouts that change, views of 7 x 7, all 7
actions, a GRU, 4 epochs), on both tasks. An iteration is played and learned from in one process, without Ray. A
contender of its own reads every observation anew: a policy that is far from its beginning shows fewer that come again,
so its speed lies between the two.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Contender, arguments, commit_of, publish, race, serve

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ROOT / "tuned_examples" / "minigrid"
TASKS = {"doorkey": "MiniGrid-DoorKey-8x8-v0", "multiroom": "MiniGrid-MultiRoom-N7-S4-v0"}
REWARDS = ["ppo", "count", "rnd", "icm", "ride", "noveld", "ngu", "e3b"]
ANEW = "each observation anew"


class Training:
    """One reward's environments, networks and learner."""

    def __init__(self, task: str, reward: str, threads: int) -> None:
        # Here, since a contender may be told otherwise before.
        from rllib_rnd.experiment.file import load_experiments

        file = SETTINGS / f"doorkey_8x8_{reward}.yaml"
        config: Any = load_experiments(file)[0].sample_config().copy(copy_frozen=False)
        config.environment(TASKS[task]).training(torch_threads=threads)
        config.validate()
        self.runner = config.env_runner_cls(config=config, worker_index=0, num_workers=0, tune_trial_id=None)
        spaces = self.runner.env.single_observation_space, self.runner.env.single_action_space
        self.learner = config.build_learner(
            spaces={"__env__": spaces, "__env_single__": spaces, "default_policy": spaces}
        )
        self.samples = config.samples_per_iteration()

    def iterate(self) -> dict[str, float]:
        """One iteration; seconds of its parts."""
        started = time.perf_counter()
        rollout = self.runner.sample()
        played = time.perf_counter()
        self.learner.update_from_rollouts([rollout], {"num_env_steps_sampled_lifetime": 0})
        learned = time.perf_counter()
        self.runner.module.load_state_dict(self.learner.trained_module.state_dict(), strict=False)
        return {"sample_s": played - started, "learn_s": learned - played, "samples": float(self.samples)}


def read_anew() -> None:
    """Lets no observation be found again."""
    from rllib_rnd.modules import repeats

    nothing: Callable[[object], None] = lambda rollout: None  # noqa: E731
    repeats.find_repeats = nothing  # type: ignore[assignment]


def contend(task: str, rewards: list[str], threads: int, anew: bool) -> None:
    """Serves one iteration of every reward per round."""
    if anew:
        read_anew()
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    trainings = {name: Training(task, name, threads) for name in rewards}

    def iterate() -> dict[str, float]:
        """All rewards, one after another."""
        numbers = dict[str, float]()
        for name, training in trainings.items():
            torch.set_num_threads(threads)
            numbers |= {f"{name} {part}": value for part, value in training.iterate().items()}
        return numbers

    serve(iterate)


def contenders(task: str, rewards: list[str], threads: int, against: str) -> list[Contender]:
    """The package, the package without repeats, and another checkout's package if one is named."""
    flags = ["--serve", "--tasks", task, "--threads", str(threads), "--rewards", *rewards]
    found = [
        Contender("now", ["-m", "benchmarks.minigrid", *flags]),
        Contender(ANEW, ["-m", "benchmarks.minigrid", *flags, "--anew"]),
    ]
    if against:
        folder = Path(against).resolve()
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        name = f"before ({commit_of(folder) or folder.name})"
        # As a file: that checkout may not have it. Its folder is kept out of Python's path, where it would be taken for
        # the package of that name.
        found.append(Contender(name, ["-P", str(Path(__file__).resolve()), *flags], {"PYTHONPATH": path}, folder))
    return found


def rows_for(task: str, rewards: list[str], threads: int, rounds: int, against: str) -> list[dict[str, object]]:
    """One race on one task, a row per reward."""
    racing = contenders(task, rewards, threads, against)
    race(racing, rounds)
    rows = []
    for reward in rewards:
        row: dict[str, object] = {"reward": reward}
        for contender in racing:
            samples = contender.median(f"{reward} samples")
            sample_s, learn_s = (contender.median(f"{reward} {part}") for part in ("sample_s", "learn_s"))
            row[f"agent steps/s, {contender.name}"] = samples / (sample_s + learn_s)
            if contender.name == "now":
                row |= {"sampling/s": samples / sample_s, "learning/s": samples / learn_s}
        rows.append(row)
    return rows


if __name__ == "__main__":
    args = arguments(
        __doc__,
        tasks=list(TASKS),
        rewards=REWARDS,
        rounds=3,
        threads=2,
        against="",
        serve=False,
        anew=False,
    )
    if args.serve:
        contend(args.tasks[0], args.rewards, args.threads, args.anew)
        sys.exit()
    notes = (
        f"{args.threads} torch threads; medians of {args.rounds} rounds that took turns, after one that did not count. "
        f"Policies at their beginning; '{ANEW}' is the bound for one that shows nothing twice."
    )
    for name in args.tasks:
        table = rows_for(name, args.rewards, args.threads, args.rounds, args.against)
        publish(f"minigrid_{name}", f"MiniGrid, as in its benchmark: {TASKS[name]}", table, notes)
