"""The learner: extrinsic reward transforms, non-finite updates, reset steps, and what one update touches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rllib_rnd.modules.distributed import standardize
from rllib_rnd.rollout import Rollout
from rllib_rnd.training.batch import extrinsic_reward
from rllib_rnd.training.learner import IntrinsicPPOLearner
from rllib_rnd.training.nonfinite import NonFiniteTrainingError
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("ray_session")

STEPS = {"num_env_steps_sampled_lifetime": 0}


@pytest.fixture
def pair() -> Any:
    """A built algorithm: its local learner, and a rollout of its runner."""
    algorithm = small_config(max_nonfinite_updates=3).build_algo()
    yield algorithm.local_learner(), algorithm.env_runner.sample()
    algorithm.stop()


def test_extrinsic_reward_transforms(pair: tuple[IntrinsicPPOLearner, Rollout]) -> None:
    _, rollout = pair
    rollout.reward[:] = np.linspace(-3, 3, rollout.reward.size).reshape(rollout.reward.shape)
    batch = rollout.to_torch()
    for name, expected in {
        "raw": batch.reward,
        "sign": batch.reward.sign(),
        "positive_sign": (batch.reward > 0).float(),
        "clip": batch.reward.clamp(-1, 1),
        "none": batch.reward * 0,
    }.items():
        assert torch.equal(extrinsic_reward(batch, name), expected * batch.valid)


def test_reset_steps_are_never_trained_on(pair: tuple[IntrinsicPPOLearner, Rollout]) -> None:
    learner, rollout = pair
    batch = learner.prepare(rollout.to_torch())
    assert not batch.rollout.valid.all()  # DeepSea 5 x 5 ends every 5 steps: there are reset steps here
    assert len(batch.sequences) == int(batch.rollout.valid.sum())
    assert bool(batch.rollout.valid.flatten()[batch.sequences].all())


def test_the_first_minibatch_has_ratio_one(pair: tuple[IntrinsicPPOLearner, Rollout]) -> None:
    learner, rollout = pair
    batch = learner.prepare(rollout.to_torch())
    _, metrics = learner.ppo_update.ppo_loss(batch, batch.sequences, torch.tensor(float(len(batch.sequences))))
    assert float(metrics["approx_kl"]) == pytest.approx(0.0, abs=1e-6)
    assert float(metrics["clip_fraction"]) == 0.0
    index = batch.sequences[:, 0]
    values = learner.trained_module.policy_and_values(batch.rollout.obs(index))[1]
    torch.testing.assert_close(values, batch.rollout.value[:-1].flatten(0, 1)[index], atol=1e-5, rtol=1e-4)


def test_gradients_reach_exactly_what_should_learn(pair: tuple[IntrinsicPPOLearner, Rollout]) -> None:
    learner, rollout = pair
    batch = learner.prepare(rollout.to_torch())
    learner.ppo_update.ppo_loss(batch, batch.sequences, torch.tensor(float(len(batch.sequences))))[0].backward()
    learner.ppo_update.plugin_loss(batch, batch.sequences[:, 0])[0].backward()
    for name, parameter in learner.trained_module.named_parameters():
        has_gradient = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert has_gradient != (".target." in name), name


def test_rnd_gradients_do_not_reach_the_policy(pair: tuple[IntrinsicPPOLearner, Rollout]) -> None:
    learner, rollout = pair
    batch = learner.prepare(rollout.to_torch())
    learner.ppo_update.plugin_loss(batch, batch.sequences[:, 0])[0].backward()
    module = learner.trained_module
    for part in (module.backbone, module.policy_head, module.critics):
        assert all(p.grad is None for p in part.parameters())


def test_micro_batches_give_the_gradients_of_the_whole_minibatch() -> None:
    assert_micro_batches_change_nothing(7)


def assert_micro_batches_change_nothing(size: int, **training: Any) -> None:
    """Compares the gradients and losses of one minibatch, which is the whole rollout."""
    results = []
    for micro_batch_size in (None, size):
        algorithm = small_config(micro_batch_size=micro_batch_size, **training).build_algo()
        learner = algorithm.local_learner()
        batch = learner.prepare(algorithm.env_runner.sample().to_torch())
        assert batch.sequences.numel() > 2 * size
        losses = learner.ppo_update.gradients(batch, batch.sequences)
        results.append(
            (losses, {n: p.grad for n, p in learner.trained_module.named_parameters() if p.grad is not None})
        )
        algorithm.stop()
    (losses, grads), (micro_losses, micro_grads) = results
    assert any(name.startswith("policy_head.") for name in grads)
    torch.testing.assert_close(micro_grads, grads, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(micro_losses, losses, atol=1e-6, rtol=1e-4)


def test_a_plugin_may_have_nothing_to_learn(
    pair: tuple[IntrinsicPPOLearner, Rollout], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, rollout = pair
    batch = learner.prepare(rollout.to_torch())
    (reward,) = learner.trained_module.rewards()
    monkeypatch.setattr(reward, "terms", lambda *_: {"count_error": (torch.tensor(6.0), torch.tensor(3.0))})
    metrics = learner.ppo_update.step(batch, batch.sequences)
    assert float(metrics["plugins/count_error"]) == 2.0
    assert float(metrics["grad_norm"]) > 0.0


@pytest.mark.parametrize("where", ["reward", "value", "logp"])
def test_a_nonfinite_update_is_skipped_counted_and_finally_stops_with_its_cause(
    pair: tuple[IntrinsicPPOLearner, Rollout], where: str
) -> None:
    learner, rollout = pair
    array = getattr(rollout, where)
    before = {k: v.clone() for k, v in learner.trained_module.state_dict().items() if "moments" not in k}
    array[...] = np.nan
    with pytest.raises(NonFiniteTrainingError, match="in a row"):
        for _ in range(3):
            learner.update_from_rollouts([rollout], STEPS)
    after = learner.trained_module.state_dict()
    for name, parameter in learner.trained_module.named_parameters():
        assert torch.equal(before[name], after[name]), name
        assert bool(torch.isfinite(parameter).all())


def test_one_bad_rollout_does_not_poison_what_follows(pair: tuple[IntrinsicPPOLearner, Rollout]) -> None:
    learner, rollout = pair
    good = rollout.reward.copy()
    rollout.reward[0, 0] = np.inf
    result = learner.update_from_rollouts([rollout], STEPS)
    assert float(result["default_policy"]["nonfinite_updates"]) == 1
    rollout.reward[:] = good
    learner.update_from_rollouts([rollout], STEPS)
    assert learner.nonfinite.in_a_row == 0
    for name, value in learner.trained_module.state_dict().items():
        assert bool(torch.isfinite(value).all()), name


def test_metrics_of_an_iteration_without_a_sample_are_the_last_ones(pair: tuple[IntrinsicPPOLearner, Rollout]) -> None:
    learner, rollout = pair
    first = numbers(learner.update_from_rollouts([rollout], STEPS))
    rollout.is_first[1:] = True
    second = numbers(learner.update_from_rollouts([rollout], STEPS))
    assert set(first) == set(second) and np.isfinite(list(second.values())).all()
    assert second["intrinsic_reward_mean"] == first["intrinsic_reward_mean"] > 0.0
    assert second["advantage_samples"] == 0.0 < first["advantage_samples"]


def numbers(result: Any) -> dict[str, float]:
    """What a learner reports, by name, without RLlib's own counters."""
    mine = {n: v for n, v in result["default_policy"].items() if not isinstance(v, dict) and not n.startswith("num_")}
    return {name: float(value) for name, value in mine.items()}


def test_standardize_takes_mean_and_deviation_of_the_samples_alone() -> None:
    values = torch.tensor([1.0, 100.0, 3.0, 5.0])
    out = standardize(values, torch.tensor([0, 2, 3]))[[0, 2, 3]]
    torch.testing.assert_close(out, torch.tensor([-1.2247, 0.0, 1.2247]), atol=1e-3, rtol=0.0)
