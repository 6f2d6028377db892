"""An agent whose every output depends on one known patch of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.states import States
from rllib_rnd.intrinsic import IntrinsicOptions, IntrinsicReward, Traced
from rllib_rnd.modules.backbone import BackboneOptions, BackboneOutput, ImageBackbone
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout
from tests.analysis.agents import make_agent

SIDE, CELL = 44, 4
#: Rows and columns of the patch, one cell of the convolution, and its place among the cells.
ROWS, COLUMNS = slice(8, 12), slice(28, 32)
PLACE = (2, 7)
SPACE = gym.spaces.Box(0, 255, (2, SIDE, SIDE), np.uint8)


def cells() -> nn.Sequential:
    """A convolution whose first channel is how much brighter than 0.4 each cell of the newest frame is; one is idle."""
    conv = nn.Conv2d(2, 2, CELL, CELL)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 1] = 1.0 / CELL**2
        assert conv.bias is not None
        conv.bias[:] = torch.tensor([-0.4, 0.0])
    return nn.Sequential(conv, nn.ReLU())


class Planted(ImageBackbone[BackboneOptions]):
    """One feature: how bright the patch is."""

    feature_dim = 1

    def __init__(self, observation_space: gym.Space, options: BackboneOptions) -> None:
        super().__init__(observation_space, options)
        self.convs = cells()

    def features(self, obs: Tensor) -> BackboneOutput:
        """See `Backbone`."""
        return BackboneOutput.shared(self.convs(self.image(obs))[:, 0, PLACE[0], PLACE[1]][:, None])

    def feature_maps(self) -> list[str]:
        """See `Backbone`."""
        return ["convs.1"]


@dataclass(frozen=True)
class BrightnessOptions(IntrinsicOptions):
    """See `Brightness`."""

    smooth: bool = True


class Brightness(IntrinsicReward[BrightnessOptions]):
    """The patch's brightness in the newest frame; its gradient may be kept secret."""

    name = "brightness"
    Options = BrightnessOptions

    def __init__(self, spaces: Spaces, options: BrightnessOptions) -> None:
        super().__init__(spaces, options)
        self.network = cells()

    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """See `IntrinsicReward`."""
        frames = self.rewarded_frames(rollout).float() / 255.0
        return rollout.per_step(self._paid(torch.stack([frames, frames], dim=1)).detach()), {}

    def update_statistics(self, rollout: Rollout) -> None:
        """There are none."""

    def traced(self) -> Traced | None:
        """See `IntrinsicReward`."""
        if not self.options.smooth:
            return None
        return Traced(lambda frames: frames[:, None].expand(-1, 2, -1, -1) / 255.0, self._paid, (self.network,))

    def _paid(self, x: Tensor) -> Tensor:
        cell: Tensor = self.network(x)[:, 0, PLACE[0], PLACE[1]]
        return cell


def planted_agent() -> Agent:
    """Action 0 is the likelier and values are the higher the brighter the patch is; both kinds of reward."""
    here = "tests.analysis.planted"
    rewards: list[dict[str, Any]] = [{"type": f"{here}:Brightness", "smooth": smooth} for smooth in (True, False)]
    heads = {"policy_hidden": "none", "critic_hidden": "none"}
    agent = make_agent(SPACE, backbone=f"{here}:Planted", rewards=rewards, heads=heads)
    module = agent.module
    with torch.no_grad():
        module.policy_head[1].weight[:] = torch.tensor([[3.0], [0.0], [0.0], [0.0]])
        for critic in (module.critics.extrinsic, *module.critics.intrinsic):
            critic.weight.fill_(2.0)
    return agent


def planted_states(agent: Agent, count: int = 9) -> States:
    """Random pictures, dim but for the patch, which is bright in two of three: the policy chooses action 0."""
    obs = np.random.default_rng(0).integers(0, 80, (count, *SPACE.shape), dtype=np.uint8)
    obs[:, 1, ROWS, COLUMNS] = np.random.default_rng(1).integers(180, 256, (count, 4, 4), dtype=np.uint8)
    obs[::3, 1, ROWS, COLUMNS] //= 8
    states = States.of_observations(obs, agent)
    states.action[:] = 0
    return states


def share_in_patch(values: np.ndarray) -> np.ndarray:
    """``[B, 44, 44]`` -> how much of the sizes lies within two cells of the patch, ``[B]``."""
    size = np.abs(values)
    near = size[:, ROWS.start - 4 : ROWS.stop + 4, COLUMNS.start - 4 : COLUMNS.stop + 4]
    return near.sum(axis=(1, 2)) / np.maximum(size.sum(axis=(1, 2)), 1e-12)
