"""Training over several raylets: the machines of a cluster, here as processes of one machine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from rllib_rnd import RNDConfig

NUM_RUNNERS, NUM_ENVS, NUM_STEPS = 2, 4, 32


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without runner slots and two workers with one runner slot each."""
    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(NUM_RUNNERS):
            cluster.add_node(num_cpus=1, resources={"runner_slot": 1})
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def node_ids(algorithm: Any) -> list[str]:
    return algorithm.env_runner_group.foreach_env_runner(
        lambda _: ray.get_runtime_context().get_node_id(), local_env_runner=False
    )


def test_trains_with_runners_on_different_nodes(cluster: Cluster) -> None:
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
    try:
        nodes = node_ids(algorithm)
        assert len(set(nodes)) == NUM_RUNNERS, f"the runners share a node: {nodes}"
        assert cluster.head_node.node_id not in nodes
        algorithm.train()
        result = algorithm.train()
    finally:
        algorithm.stop()

    runners, learner = result["env_runners"], result["learners"]["default_policy"]
    steps = 2 * NUM_RUNNERS * NUM_ENVS * NUM_STEPS
    # Reset steps are no samples, so a few are missing; another runner's whole share is not.
    assert 0.8 * steps < runners["num_env_steps_sampled_lifetime"] <= steps
    assert runners["num_episodes"] > 0
    assert 8 <= runners["episode_len_mean"] <= 500
    # CartPole pays 1 per step.
    assert runners["episode_return_mean"] == pytest.approx(runners["episode_len_mean"])
    for name in ("policy_loss", "vf_loss", "rnd_predictor_loss", "intrinsic_reward_mean"):
        assert math.isfinite(learner[name]), name
    assert learner["intrinsic_reward_mean"] > 0
    assert 0 < learner["entropy"] <= math.log(2) + 1e-6
    assert learner["nonfinite_updates"] == 0
