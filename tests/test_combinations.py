"""Any backbone, reward and loss with any environment that it reads: an iteration trains all of it, and it plays on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rllib_rnd.auxiliary import AUXILIARY_LOSSES
from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.modules import BACKBONES
from tests.conftest import small_config
from tests.test_algorithm import weights

pytestmark = pytest.mark.usefixtures("ray_session")

CATCH = "rllib_rnd/Catch-v0"  # images of 40 x 40
VIT = {"patch_size": 10, "dim": 16, "depth": 1, "num_heads": 2, "head_dim": 8, "mlp_dim": 16}
MEMORY = {"hidden_sizes": [8], "memory_size": 8, "max_seq_len": 8}
SMALL: dict[str, dict[str, Any]] = {
    "nature_cnn": {"hidden_sizes": [16], "noisy": True},
    "openai_cnn": {},
    "michalnand_a": {"hidden_sizes": [16]},
    "michalnand_b": {"hidden_sizes": [16]},
    "michalnand_c": {"hidden_sizes": [16]},
    "michalnand_d": {"hidden_sizes": [16]},
    "vit": VIT,
    "vit_explorative": VIT,
    "self_attention": {"variant": "CWRCA", "feature_dim": 16},
    "fnn": {"hidden_sizes": [16]},
    "mlp": {"hidden_sizes": [16]},
    "gru": MEMORY,
    "lstm": MEMORY,
    "iam": MEMORY,
}
# openai_cnn reads 44 pixels or more, and attention wants more than one position.
IMAGES = {"openai_cnn": {"size": 11}, "iam": {"size": 11}}
CASES = [(name, CATCH, IMAGES.get(name, {})) for name in SMALL]
CASES += [(name, "rllib_rnd/DeepSea-v0", {"size": 5}) for name in ("fnn", "mlp", "gru", "lstm", "iam")]


def test_every_backbone_is_tried() -> None:
    assert sorted(SMALL) == BACKBONES.names()


@pytest.mark.parametrize(("name", "env", "env_config"), CASES, ids=[f"{n}-{e[10:14]}" for n, e, _ in CASES])
def test_an_iteration_trains_policy_and_critics(name: str, env: str, env_config: dict[str, Any]) -> None:
    config = small_config(env=env, backbone={"type": name, **SMALL[name]}, lr=1e-2)
    algorithm = config.environment(env, env_config=env_config).build_algo()
    learner = algorithm.local_learner()
    batch = learner.prepare(algorithm.env_runner.sample().to_torch())
    _, first = learner.ppo_update.ppo_loss(batch, batch.sequences, torch.tensor(float(len(batch.sequences))))
    # As acted, so trained: PPO's ratio is 1 at the first minibatch.
    assert float(first["approx_kl"]) == pytest.approx(0.0, abs=1e-6) and float(first["clip_fraction"]) == 0.0
    before = weights(algorithm)
    result = algorithm.train()["learners"]["default_policy"]
    assert np.isfinite(result["total_loss"]) and result["nonfinite_updates"] == 0
    after = weights(algorithm)
    learned = ("backbone.", "policy_head.", "critics.")
    trained = {n for n, p in learner.trained_module.named_parameters() if p.requires_grad and n.startswith(learned)}
    same = {n for n in trained if np.array_equal(before[n], after[n])}
    assert not {n for n in same if not n.endswith("attention.operator.key.bias")}, "which a softmax ignores"
    # And the runner got them.
    runner = algorithm.env_runner.module.state_dict()
    assert all(np.array_equal(runner[n].numpy(), after[n]) for n in trained)
    algorithm.stop()


# What reads images alone is tried on them alone; its own tests see it refuse vectors.
REWARDS = [(name, CATCH) for name in INTRINSIC_REWARDS.names()]
REWARDS += [(name, "rllib_rnd/DeepSea-v0") for name in INTRINSIC_REWARDS.names() if name != "modified_rnd"]


@pytest.mark.parametrize(("name", "env"), REWARDS, ids=[f"{name}-{env[10:14]}" for name, env in REWARDS])
def test_every_reward_pays_and_learns_beside_a_memory(name: str, env: str) -> None:
    backbone = {"type": "gru", **MEMORY}
    config = small_config(env=env, backbone=backbone, intrinsic_reward=[{"type": "rnd", "feature_dim": 8}, name])
    algorithm = config.build_algo()
    for _ in range(2):
        result = algorithm.train()["learners"]["default_policy"]
    assert result["nonfinite_updates"] == 0 and np.isfinite(result["total_loss"])
    assert result["intrinsic_reward_max_1"] >= 0.0 and np.isfinite(result["explained_variance_intrinsic_1"])
    algorithm.stop()


@pytest.mark.parametrize("name", ["nature_cnn", "vit_explorative", "self_attention", "iam"])
@pytest.mark.parametrize("loss", AUXILIARY_LOSSES.names())
def test_every_loss_trains_a_backbone_with_projected_gradients(loss: str, name: str) -> None:
    spec = {"type": loss, "project_gradient": True, "coeff": 0.01}
    config = small_config(env=CATCH, backbone={"type": name, **SMALL[name]}, auxiliary_loss=spec)
    algorithm = config.environment(CATCH, env_config=IMAGES.get(name, {})).build_algo()
    result = algorithm.train()["learners"]["default_policy"]
    assert result["nonfinite_updates"] == 0 and result["plugins"][f"{loss}_loss"] > 0.0
    assert -1.0 <= result["plugins"]["gradient_cosine"] <= 1.0 and 0.0 <= result["plugins"]["gradient_projected"] <= 1.0
    algorithm.stop()


def test_minibatches_too_small_for_batch_normalisation_are_refused() -> None:
    config = small_config(env=CATCH, auxiliary_loss={"type": "barlow_twins"}, num_minibatches=32)
    with pytest.raises(ConfigError, match=r"minibatches of 2 samples.*3 or more"):
        config.build_algo()
