"""The auxiliary loss contract, through a loss as a user would write it."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.auxiliary import AUXILIARY_LOSSES, AuxiliaryLoss, AuxiliaryOptions
from rllib_rnd.errors import ConfigError
from rllib_rnd.modules import build_backbone
from rllib_rnd.options import option
from rllib_rnd.plugin import LossTerms, Spaces, count_samples


@dataclasses.dataclass(frozen=True)
class NormOptions(AuxiliaryOptions):
    """Options of the example."""

    power: int = option(2, "exponent", low=1)


class FeatureNorm(AuxiliaryLoss[NormOptions]):
    """Keeps features small."""

    name = "feature_norm"
    Options = NormOptions

    def terms(self, backbone: Any, rollout: Any, index: Any, generator: Any) -> LossTerms:
        features = backbone(rollout.obs(index)).policy.abs() ** self.options.power
        return {"feature_norm": (features.mean(1).sum(), count_samples(index))}


class Observations:
    """As much of a rollout as the example reads."""

    def obs(self, index: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(index), 4)


def test_a_registered_loss_is_parsed_and_trains_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AUXILIARY_LOSSES, "_classes", {"feature_norm": FeatureNorm})
    cls, options = AUXILIARY_LOSSES.parse({"type": "feature_norm", "power": 3}, "auxiliary_loss")
    assert cls is FeatureNorm and (options.coeff, options.power) == (1.0, 3)
    space = gym.spaces.Box(-1, 1, (4,), np.float32)
    backbone = build_backbone("mlp", space)
    auxiliary = cls(backbone, Spaces(space, gym.spaces.Discrete(2)), options)
    rollout: Any = Observations()
    total, count = auxiliary.terms(backbone, rollout, torch.arange(2), torch.Generator())["feature_norm"]
    (total / count).backward()
    assert count == 2.0
    assert all(p.grad is not None for p in backbone.parameters())
    assert list(auxiliary.parameters()) == []
    before = [p.clone() for p in backbone.parameters()]
    auxiliary.after_update(backbone)
    assert all(torch.equal(a, b) for a, b in zip(before, backbone.parameters(), strict=True))


def test_bad_coefficients_are_config_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AUXILIARY_LOSSES, "_classes", {"feature_norm": FeatureNorm})
    with pytest.raises(ConfigError, match="coeff: -1"):
        AUXILIARY_LOSSES.parse({"type": "feature_norm", "coeff": -1}, "auxiliary_loss")
