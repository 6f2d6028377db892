"""What every intrinsic reward inherits: options, registry, normalisation."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic import INTRINSIC_REWARDS, IntrinsicOptions, IntrinsicReward
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout


class Constant(IntrinsicReward[IntrinsicOptions]):
    """Rewards every step with 1."""

    name = "constant"

    def update_statistics(self, rollout: Rollout) -> None:
        return None

    def compute(self, rollout: Rollout) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return torch.ones(rollout.num_steps, rollout.num_envs), {}


def make(**options: Any) -> Constant:
    space = gym.spaces.Box(-1, 1, (2,), np.float32)
    return Constant(Spaces(space, gym.spaces.Discrete(2)), IntrinsicOptions(**options))


RAW = torch.tensor([[1.0, 4.0], [2.0, 0.0], [-8.0, 1.0]])
VALID = torch.tensor([[True, True], [True, False], [True, True]])


def test_defaults_are_those_of_rnd() -> None:
    options = IntrinsicOptions()
    assert (options.gamma, options.coeff, options.episodic) == (0.99, 1.0, False)
    assert (options.reward_on, options.normalize_reward, options.clip_reward) == ("next", True, None)


def test_normalize_divides_by_the_std_including_this_rollout() -> None:
    reward = make(gamma=0.0)  # the filtered reward is the reward itself
    out = reward.normalize(RAW, VALID)
    std = RAW[VALID].std(unbiased=False)
    torch.testing.assert_close(out, torch.where(VALID, RAW / std, torch.zeros_like(RAW)))
    assert float(reward.reward_filter.std) == pytest.approx(float(std))


def test_normalize_without_update_leaves_the_statistics() -> None:
    reward = make()
    reward.normalize(RAW, VALID)
    before = {k: v.clone() for k, v in reward.state_dict().items()}
    first, second = (reward.normalize(RAW, VALID, update=False) for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(before[k], v) for k, v in reward.state_dict().items())


def test_clip_is_applied_after_normalisation() -> None:
    std = float(RAW[VALID].std(unbiased=False))
    out = make(gamma=0.0, clip_reward=0.5).normalize(RAW, VALID)
    torch.testing.assert_close(out, torch.where(VALID, (RAW / std).clamp(-0.5, 0.5), torch.zeros_like(RAW)))
    assert out.max() == 0.5 and out.min() == -0.5


def test_normalisation_can_be_off_and_its_scale_is_still_tracked() -> None:
    reward = make(normalize_reward=False)
    out = reward.normalize(RAW, VALID)
    assert out.tolist() == [[1.0, 4.0], [2.0, 0.0], [-8.0, 1.0]]
    assert float(reward.reward_filter.moments.count) == 5.0


def test_masked_rewards_are_zero_even_if_not_finite() -> None:
    raw = RAW.clone()
    raw[1, 1] = float("nan")
    reward = make()
    assert torch.isfinite(reward.normalize(raw, VALID)).all()
    assert torch.isfinite(reward.reward_filter.std)


def test_statistics_are_part_of_the_state_dict() -> None:
    reward, restored = make(), make()
    reward.normalize(RAW, VALID)
    restored.load_state_dict(reward.state_dict())
    assert torch.equal(restored.normalize(RAW, VALID), reward.normalize(RAW, VALID))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 1.5}, "intrinsic_reward.gamma: 1.5 is out of range; allowed is 0.0 to 1.0"),
        ({"coeff": -1}, "intrinsic_reward.coeff"),
        ({"reward_on": "nxt"}, "Did you mean 'next'"),
        ({"update_propotion": 0.5}, "Did you mean 'update_proportion'"),
        ({"update_proportion": 2.0}, "update_proportion"),
        ({"episodic": 1}, "episodic"),
        ({"conv_layout": "michal"}, "conv_layout"),
    ],
)
def test_bad_options_are_config_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        INTRINSIC_REWARDS.parse({"type": "rnd", **options}, "intrinsic_reward")


def test_unknown_type_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'rnd'"):
        INTRINSIC_REWARDS.parse({"type": "rdn"}, "intrinsic_reward")
