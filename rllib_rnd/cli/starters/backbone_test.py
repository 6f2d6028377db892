"""Tests of my_backbone."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from rllib_rnd.cli.check import check_files
from rllib_rnd.cli.starters.backbone import MyBackbone
from rllib_rnd.experiment.overrides import Overrides


def test_each_observation_gets_its_features() -> None:
    """They differ where observations differ, and do not depend on the others in a batch."""
    backbone = MyBackbone(gym.spaces.Box(0, 1, (3, 4), np.float32), width=8)
    obs = torch.rand(5, 3, 4)
    features = backbone(obs)
    assert features.shape == (5, 8)
    assert not torch.equal(features[0], features[1])
    torch.testing.assert_close(backbone(obs[2:3]), features[2:3])


def test_it_trains(tmp_path: Path) -> None:
    """What ``rllib check`` does."""
    file = tmp_path / "my_backbone.yaml"
    file.write_text(
        "my_backbone_run:\n"
        "  run: RND\n"
        "  env: rllib_rnd/DeepSea-v0\n"
        "  stop: {agent_steps: 100000}\n"
        "  config: {backbone: {type: 'rllib_rnd.cli.starters.backbone:MyBackbone', width: 16}}\n"
    )
    assert check_files([file], Overrides()) == 0
