"""Starts a Ray cluster of three raylets, trains RND on it and prints what happened as one line of JSON.

A program of its own: a process can belong to one Ray cluster at a time, and the tests' process has another.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster

from rllib_rnd import RNDConfig

NUM_RUNNERS, NUM_ENVS, NUM_STEPS, NUM_ITERATIONS = 2, 4, 32, 2


def train() -> tuple[list[str], dict[str, Any]]:
    """Returns the runners' node ids and the last result."""
    config = (
        RNDConfig()
        .environment("CartPole-v1")
        .env_runners(
            num_env_runners=NUM_RUNNERS,
            num_envs_per_env_runner=NUM_ENVS,
            rollout_fragment_length=NUM_STEPS,
            custom_resources_per_env_runner={"runner_slot": 1},
        )
        .training(num_epochs=1, num_minibatches=2, warmup_steps=NUM_STEPS)
        .debugging(seed=1)
    )
    algorithm = config.build_algo()
    nodes = algorithm.env_runner_group.foreach_env_runner(
        lambda _: ray.get_runtime_context().get_node_id(), local_env_runner=False
    )
    for _ in range(NUM_ITERATIONS):
        result = algorithm.train()
    algorithm.stop()
    return nodes, result


def main() -> None:
    """A head without runner slots, and one worker with one slot per runner."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(NUM_RUNNERS):
        cluster.add_node(num_cpus=1, resources={"runner_slot": 1})
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        nodes, result = train()
    finally:
        head = cluster.head_node.node_id
        ray.shutdown()
        cluster.shutdown()
    numbers = {
        section: {k: v for k, v in values.items() if np.isscalar(v)}
        for section, values in {
            "runners": result["env_runners"],
            "learner": result["learners"]["default_policy"],
            "plugins": result["learners"]["default_policy"]["plugins"],
        }.items()
    }
    print(json.dumps({"head": head, "nodes": nodes, **numbers}, default=float))


if __name__ == "__main__":
    main()
