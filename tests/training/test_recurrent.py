"""A policy with a memory from the runner to the learner, through checkpoints, evaluation and the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_rnd import RND
from rllib_rnd.cli.evaluate import EvaluateOptions, evaluate
from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.distributed import standardize
from rllib_rnd.rollout import Rollout, select_and_join
from rllib_rnd.training.learner import IntrinsicPPOLearner
from tests.conftest import small_config
from tests.test_algorithm import assert_same, weights
from tests.training.test_learner import assert_micro_batches_change_nothing

pytestmark = pytest.mark.usefixtures("ray_session")

GRU: dict[str, Any] = {"type": "gru", "hidden_sizes": [8], "memory_size": 5, "max_seq_len": 8}
IAM: dict[str, Any] = {"type": "iam", "hidden_sizes": [8], "memory_size": 5, "max_seq_len": 4, "cell": "lstm"}


@pytest.fixture
def pair() -> Iterator[tuple[IntrinsicPPOLearner, Any]]:
    """A built algorithm with a memory: its local learner and its runner."""
    algorithm = small_config(backbone=GRU).build_algo()
    yield algorithm.local_learner(), algorithm.env_runner
    algorithm.stop()


def test_a_rollout_is_what_the_policy_says_of_its_sequences(pair: tuple[IntrinsicPPOLearner, Any]) -> None:
    learner, runner = pair
    for _ in range(2):  # the second begins in the middle of episodes, with the memory of the first
        rollout = runner.sample().to_torch()
        assert rollout.memory.shape == (2, 4, 5) and rollout.sequence_length == 8
        sequences = rollout.sequences()
        assert sequences.shape == (8, 8)
        index = sequences.T.flatten()
        inputs, values, _ = learner.trained_module.policy_and_values(
            rollout.obs(index), *rollout.sequence_starts(sequences)
        )
        logp = torch.log_softmax(inputs, dim=1).gather(1, rollout.action.flatten()[index][:, None])[:, 0]
        torch.testing.assert_close(logp, rollout.logp.flatten()[index], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(values, rollout.value[:-1].flatten(0, 1)[index], atol=1e-5, rtol=1e-4)
    assert rollout.memory[0].any(), "the memory goes on where the last rollout ended"
    assert rollout.is_first[1:].any(), "episodes began inside the sequences"


def test_sequences_hold_one_environments_steps_in_order() -> None:
    arrays = Rollout.empty(6, 3, (), memory_size=1, sequence_length=3)
    arrays.memory[:] = np.arange(6).reshape(2, 3, 1)
    arrays.is_first[4, 2] = True
    rollout = arrays.to_torch()
    sequences = rollout.sequences()
    assert sequences.tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8], [9, 12, 15], [10, 13, 16], [11, 14, 17]]
    memory, is_first = rollout.sequence_starts(sequences[[5, 1]])
    assert memory.tolist() == [[5.0], [1.0]]
    assert is_first.tolist() == [[False, False], [True, False], [False, False]]  # step 4 of environment 2
    joined = select_and_join([rollout, rollout], 1, 5)
    assert joined.memory[:, :, 0].tolist() == [[1.0, 2.0, 0.0, 1.0], [4.0, 5.0, 3.0, 4.0]]


def test_the_first_minibatch_has_ratio_one_and_no_reset_step(pair: tuple[IntrinsicPPOLearner, Any]) -> None:
    learner, runner = pair
    runner.sample()
    batch = learner.prepare(runner.sample().to_torch())
    some = batch.sequences[[1, 4, 6]]
    index = learner.ppo_update.samples(batch, some)
    valid = batch.rollout.valid.flatten()
    assert valid[index].all() and len(index) == int(valid[some].sum()) < some.numel()
    _, metrics = learner.ppo_update.ppo_loss(batch, some, torch.tensor(float(len(index))))
    assert float(metrics["approx_kl"]) == pytest.approx(0.0, abs=1e-6)
    assert float(metrics["clip_fraction"]) == 0.0
    assert float(metrics["entropy"]) > 0.5  # over samples, not over padded steps: near log 2


def test_micro_batches_give_the_gradients_of_the_whole_minibatch() -> None:
    assert_micro_batches_change_nothing(20, backbone=GRU)  # two sequences of eight


def test_advantages_are_standardised_over_each_minibatch(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = small_config("IntrinsicPPO", normalize_advantages="minibatch", backbone=GRU).build_algo()
    learner = algorithm.local_learner()
    update = learner.ppo_update
    batch = learner.prepare(algorithm.env_runner.sample().to_torch())
    some, seen, ppo_loss = batch.sequences[:3], [], update.ppo_loss

    def watched(batch: Any, sequences: Any, count: Any) -> Any:
        seen.append(batch.advantage)
        return ppo_loss(batch, sequences, count)

    monkeypatch.setattr(update, "ppo_loss", watched)
    update.step(batch, some)
    index = update.samples(batch, some)
    assert seen[0][index].mean().abs() < 1e-5
    torch.testing.assert_close(seen[0][index], standardize(batch.advantage, index)[index])
    assert not torch.allclose(seen[0][index], batch.advantage[index])
    algorithm.stop()


@pytest.mark.parametrize("backbone", [GRU, IAM], ids=["gru", "iam"])
def test_a_resumed_run_is_the_uninterrupted_one(backbone: dict[str, Any], tmp_path: Path) -> None:
    algorithm = small_config(backbone=backbone).build_algo()
    algorithm.train()
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    expected = [algorithm.train()["learners"]["default_policy"]["total_loss"] for _ in range(2)]
    expected_weights = weights(algorithm)
    algorithm.stop()
    restored = RND.from_checkpoint(path)
    assert restored.env_runner.play.position.memory.any()
    got = [restored.train()["learners"]["default_policy"]["total_loss"] for _ in range(2)]
    assert got == expected
    assert_same(weights(restored), expected_weights)
    restored.stop()


@pytest.mark.parametrize("learners", [0, 2])
def test_remote_runners_and_learners_train_with_a_memory(learners: int) -> None:
    config = small_config(backbone=IAM, num_minibatches=3).env_runners(num_env_runners=2, num_envs_per_env_runner=3)
    algorithm = config.learners(num_learners=learners).build_algo()
    before = weights(algorithm)
    for _ in range(2):
        result = algorithm.train()
    assert np.isfinite(result["learners"]["default_policy"]["total_loss"])
    changed = [name for name, value in weights(algorithm).items() if not np.array_equal(value, before[name])]
    assert any("memory.cell" in name for name in changed)
    algorithm.stop()


def test_rllibs_evaluation_carries_the_memory() -> None:
    """Its stock episodes: the memory that an episode keeps is that of its own observations, step by step."""
    algorithm = small_config(backbone=GRU).evaluation(evaluation_interval=1, evaluation_duration=2).build_algo()
    assert algorithm.train()["evaluation"]["env_runners"]["num_episodes"] >= 2
    runner = algorithm.eval_env_runner_group.local_env_runner
    (episode, *_) = runner.sample(num_episodes=2)
    obs = torch.from_numpy(np.stack(episode.get_observations()[:-1]))
    is_first = torch.zeros((len(obs), 1), dtype=torch.bool)
    with torch.no_grad():
        inputs, _, memory = runner.module.policy_and_values(obs, None, is_first)
    outputs = episode.get_extra_model_outputs("action_dist_inputs")
    np.testing.assert_allclose(np.stack(list(outputs)), inputs.numpy(), atol=1e-5)
    stored = episode.get_extra_model_outputs("state_out")["memory"]
    np.testing.assert_allclose(np.asarray(stored)[-1], memory[0].numpy(), atol=1e-5)
    algorithm.stop()


def test_evaluate_plays_a_policy_with_a_memory(tmp_path: Path) -> None:
    algorithm = small_config(backbone=IAM).build_algo()
    algorithm.train()
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    result = evaluate(str(path), EvaluateOptions(episodes=6, num_envs=4))
    assert [e.length for e in result.episodes] == [5] * 6


def test_a_memory_accelerates_like_the_rest() -> None:
    algorithm = small_config(backbone=GRU, autocast="bfloat16").build_algo()
    assert np.isfinite(algorithm.train()["learners"]["default_policy"]["total_loss"])
    assert algorithm.env_runner.sample().memory.dtype == np.float32
    algorithm.stop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": {**GRU, "max_seq_len": 6}}, "max_seq_len: 6 does not divide.*16.*1, 2, 4, 8, 16. Nearest: 4"),
        ({"backbone": GRU, "num_minibatches": 9}, "num_minibatches: 9.*8 sequences of 8 steps"),
        ({"heads": {"policy_hiden": "relu"}}, "Did you mean 'policy_hidden'"),
        ({"normalize_advantages": "mini_batch"}, "Did you mean 'minibatch'"),
        ({"optimizer_type": "adams"}, "Did you mean 'adam'"),
    ],
)
def test_bad_settings_are_config_errors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_config(**change).build_algo()
