"""Trains on a cluster that loses nodes: starts its hosts, runs ``rllib train file``, prints what happened as JSON.

A program of its own: a process can belong to one Ray cluster at a time, and the tests' process has another.

    python -m tests.cluster.train_on_cluster FOLDER [NAMESPACE=ADDRESS ...]

With namespaces this process must be in the first of them, which becomes the head.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hosts import ClusterHosts, Hosts, NamespaceHosts

NUM_RUNNERS, NUM_ENVS, NUM_STEPS = 2, 2, 16
LOSES_AT = 40  # in its third rollout
_LIMIT_S = 420.0

EXPERIMENT: dict[str, Any] = {
    "lost_nodes": {
        "run": "RND",
        "env": "tests.cluster.lost_node:LostNode",
        "metrics": ["survived"],
        "stop": {"survived": 2, "iteration": 300},
        "config": {
            "num_env_runners": NUM_RUNNERS,
            "num_envs_per_env_runner": NUM_ENVS,
            "rollout_fragment_length": NUM_STEPS,
            "num_learners": 2,
            "num_epochs": 1,
            "num_minibatches": 2,
            "warmup_steps": NUM_STEPS,
            "intrinsic_reward": {"type": "rnd", "feature_dim": 16, "hidden_sizes": [16]},
            "evaluation_interval": 1,
            "evaluation_duration": 2,
            "evaluation_num_env_runners": 1,
            "evaluation_config": {"custom_resources_per_env_runner": {"evaluation": 1}},
            "custom_resources_for_main_process": {"main": 1},
            "custom_resources_per_learner": {"learner": 1},
            "custom_resources_per_env_runner": {"spot": 1},
            "callbacks": "tests.cluster.lost_node:Witness",
            "seed": 1,
        },
    }
}


def rows(folder: Path) -> list[dict[str, Any]]:
    """What the trial has told so far, a row per iteration."""
    path = folder / "rows.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def train(folder: Path, hosts: Hosts) -> dict[str, Any]:
    """Trains; adds a node once the run has gone on without a lost one."""
    hosts.add({"main": 1, "learner": 1}, cpus=3)
    hosts.add({"learner": 1, "evaluation": 1}, cpus=2)
    for _ in range(NUM_RUNNERS):
        hosts.add({"spot": 1}, cpus=1)
    experiment = json.loads(json.dumps(EXPERIMENT))
    experiment["lost_nodes"]["config"]["env_config"] = {"folder": str(folder), "at_step": LOSES_AT}
    (folder / "lost_nodes.yaml").write_text(yaml.safe_dump(experiment))
    refused = subprocess.run(
        [sys.executable, "-c", _KNOCK, hosts.address],
        env={**os.environ, "RAY_AUTH_TOKEN": "f" * 64},
        capture_output=True,
        text=True,
        check=False,
    )
    command = [str(Path(sys.executable).with_name("rllib")), "train", "file", str(folder / "lost_nodes.yaml")]
    command += ["--address", hosts.address, "--storage", str(folder / "results"), "--quiet"]
    with (folder / "output.txt").open("w") as output:
        training = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        until(lambda: training.poll() is not None or any(len(row["runners"]) < NUM_RUNNERS for row in rows(folder)))
        hosts.add({"spot": 1}, cpus=1)
        code = training.wait(timeout=_LIMIT_S)
    return {
        "code": code,
        "output": (folder / "output.txt").read_text(),
        "rows": rows(folder),
        "refused": refused.stderr,
    }


_KNOCK = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).check_alive([], timeout=10)
"""


def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition.

    Raises:
        TimeoutError: it does not come.
    """
    limit = time.monotonic() + _LIMIT_S
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError
        time.sleep(0.2)


def main() -> None:
    """Runs, on what hosts there are."""
    folder = Path(sys.argv[1])
    Path(os.environ["RAY_TMPDIR"]).mkdir(exist_ok=True)
    places = [place.split("=") for place in sys.argv[2:]]
    hosts: Hosts = NamespaceHosts([n for n, _ in places], [a for _, a in places]) if places else ClusterHosts()
    try:
        report = train(folder, hosts)
    finally:
        hosts.stop()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
