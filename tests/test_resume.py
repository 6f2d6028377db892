"""N + M iterations are N iterations, a save in mid-episode, a new algorithm, M iterations: bit for bit.

For all that is registered: what joins a registry is tried here by itself.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from rllib_rnd.auxiliary import AUXILIARY_LOSSES
from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.modules import BACKBONES
from tests.conftest import small_config
from tests.resuming import assert_goes_on
from tests.test_combinations import IMAGES, MEMORY, SMALL

pytestmark = pytest.mark.usefixtures("ray_session")

CATCH = "rllib_rnd/Catch-v0"
#: Options that make plug-ins small, where they have them.
TINY = {"feature_dim": 8, "model_size": 8, "capacity": 16, "rnd_feature_dim": 8, "hidden_sizes": (8,)}
# Three rewards train side by side, each with a critic of its own: that costs little more than one.
REWARDS = [INTRINSIC_REWARDS.names()[i : i + 3] for i in range(0, len(INTRINSIC_REWARDS.names()), 3)]


def tiny(registry: Any, name: str) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(dict(registry.items())[name].Options)}
    return {"type": name, **{option: value for option, value in TINY.items() if option in known}}


def config(env: str = CATCH, env_config: dict[str, Any] | None = None, **training: Any) -> Any:
    """Two environments, 16 steps: an episode of Catch takes 9, so each save is in the middle of one."""
    settings: dict[str, Any] = {"num_epochs": 1, "intrinsic_reward": None, "warmup_steps": 0} | training
    made = small_config(env=env, **settings).environment(env, env_config=env_config or {})
    return made.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=16)


@pytest.mark.parametrize("names", REWARDS, ids="-".join)
def test_every_intrinsic_reward_goes_on(names: list[str], tmp_path: Path) -> None:
    rewards = [tiny(INTRINSIC_REWARDS, name) for name in names]
    result = assert_goes_on(config(intrinsic_reward=rewards, warmup_steps=8), tmp_path)
    assert result["learners"]["default_policy"]["nonfinite_updates"] == 0


@pytest.mark.parametrize("name", AUXILIARY_LOSSES.names())
def test_every_auxiliary_loss_goes_on(name: str, tmp_path: Path) -> None:
    assert_goes_on(config(auxiliary_loss=tiny(AUXILIARY_LOSSES, name)), tmp_path)


# Backbones with a memory, and those that draw while they train.
DRAWING = {"nature_cnn": {}, "vit": {"dropout": 0.2, "embedding_dropout": 0.1}}
WITH_STATE = [name for name in BACKBONES.names() if "max_seq_len" in SMALL[name] or name in DRAWING]


@pytest.mark.parametrize("name", WITH_STATE)
def test_every_memory_and_all_noise_goes_on(name: str, tmp_path: Path) -> None:
    backbone = {"type": name, **SMALL[name], **DRAWING.get(name, {})}
    assert_goes_on(config(env_config=IMAGES.get(name), backbone=backbone), tmp_path)


def test_all_memories_are_tried() -> None:
    has_memory = {name for name, backbone in BACKBONES.items() if hasattr(backbone.Options, "max_seq_len")}
    assert has_memory and has_memory <= set(WITH_STATE) and MEMORY["max_seq_len"] < 16
