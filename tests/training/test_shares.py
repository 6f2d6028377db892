"""Rollouts that learners cannot fetch any more, and learners that are left with too little to share."""

from __future__ import annotations

from typing import Any

import pytest
import ray
import torch
from ray.exceptions import ObjectLostError

from rllib_rnd.training import learner as learner_module
from rllib_rnd.training import shares
from rllib_rnd.training.shares import fetched
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("ray_session")


class Owner:
    """What a runner is to its rollouts."""

    def put(self, value: Any) -> list[ray.ObjectRef]:
        return [ray.put(value)]


@pytest.fixture(scope="module")
def rollouts() -> list[Any]:
    algorithm = small_config().build_algo()
    found = [algorithm.runners.random_play(4)[0] for _ in range(3)]
    algorithm.stop()
    return found


def test_rollouts_come_in_their_order(rollouts: list[Any]) -> None:
    found = fetched([rollouts[0], ray.put(rollouts[1]), rollouts[2]])
    assert [r.frames.tolist() for r in found] == [r.frames.tolist() for r in rollouts]


def test_what_went_down_with_its_runner_is_left_out(rollouts: list[Any]) -> None:
    owner = ray.remote(num_cpus=0)(Owner).remote()
    (lost,) = ray.get(owner.put.remote(rollouts[0]))
    ray.kill(owner)
    with pytest.raises(ObjectLostError):  # as soon as Ray knows
        while True:
            ray.get(lost)
    (left,) = fetched([lost, rollouts[1]])
    assert left is rollouts[1]
    assert fetched([lost]) == []


def test_what_another_learner_cannot_fetch_is_left_out_too(
    rollouts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "all_reduce_sum", lambda lost: lost + torch.tensor([0.0, 1.0, 0.0]))
    assert fetched(rollouts) == [rollouts[0], rollouts[2]]


def test_learners_that_have_too_little_to_share_learn_nothing_and_go_on(
    rollouts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = small_config().build_algo()
    algorithm.train()
    learner = algorithm.local_learner()
    before = {name: tensor.clone() for name, tensor in algorithm.learner_module().state_dict().items()}
    steps = {"num_env_steps_sampled_lifetime": 64}
    result = learner.update_from_rollouts([], steps)
    with monkeypatch.context() as patch:
        patch.setattr(learner_module, "world_size", lambda: rollouts[0].num_envs + 1)
        learner.update_from_rollouts(rollouts[:1], steps)
    after = algorithm.learner_module().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert result["default_policy"]["policy_loss"] is not None  # the last one, not nothing
    algorithm.train()
    assert any(
        not torch.equal(before[name], tensor) for name, tensor in algorithm.learner_module().state_dict().items()
    )
    algorithm.stop()
