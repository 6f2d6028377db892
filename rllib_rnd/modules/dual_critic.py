"""The RLModule: one backbone, one policy head, one value head per return stream, and the learner-only plug-ins.

Heads as in the RND lineage (Burda et al. 2018, arXiv 1810.12894; widths of the PyTorch lineage): the policy is
FC E ReLU -> logits, or the means of continuous actions; the critics share one residual layer y = x + relu(FC(x)),
then one linear value per stream.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.annotations import override
from torch import Tensor, nn

from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES, AuxiliaryLoss
from rllib_rnd.functional.distributions import ActionDistribution, DiagonalGaussian
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS, IntrinsicReward
from rllib_rnd.modules.actions import distribution_for_space
from rllib_rnd.modules.backbone import BACKBONES, Backbone, backbone_for_space, orthogonal_init


class ResidualCritics(nn.Module):
    """Value heads of S return streams over one shared residual layer.

    The layer is applied to the extrinsic and to the intrinsic features separately, so that a backbone with two
    different read-outs (explorative attention) keeps them apart; when both are one tensor it is applied once.
    """

    def __init__(self, feature_dim: int, num_streams: int) -> None:
        super().__init__()
        self.extra = orthogonal_init(nn.Linear(feature_dim, feature_dim), gain=0.1)
        self.extrinsic = orthogonal_init(nn.Linear(feature_dim, 1), gain=0.01)
        self.intrinsic = nn.ModuleList(
            orthogonal_init(nn.Linear(feature_dim, 1), gain=0.01) for _ in range(num_streams - 1)
        )

    def forward(self, extrinsic: Tensor, intrinsic: Tensor) -> Tensor:
        """Maps two ``[B, D]`` features to ``[B, S]`` values, stream 0 extrinsic."""
        hidden_extrinsic = extrinsic + torch.relu(self.extra(extrinsic))
        values = [self.extrinsic(hidden_extrinsic)]
        if len(self.intrinsic):
            shared = intrinsic is extrinsic
            hidden = hidden_extrinsic if shared else intrinsic + torch.relu(self.extra(intrinsic))
            values += [head(hidden) for head in self.intrinsic]
        return torch.cat(values, dim=1)


class DualCriticModule(TorchRLModule, InferenceOnlyAPI, ValueFunctionAPI):
    """Policy and critics over a pluggable backbone, with intrinsic rewards and auxiliary losses beside them.

    ``model_config`` keys: ``backbone`` (mapping), ``intrinsic_rewards`` and ``auxiliary_losses`` (lists of
    mappings), ``frame_stack`` (K). The plug-ins live on the learner only and are never sent to environment runners.
    """

    @override(RLModule)
    def setup(self) -> None:
        """Builds the networks.

        Raises:
            ConfigError: a plug-in is unknown, has wrong options or does not fit the spaces.
        """
        config = self.model_config
        spec = config["backbone"]
        if spec["type"] == "auto":
            spec = {**spec, "type": backbone_for_space(self.observation_space)}
        backbone_class, options = BACKBONES.parse(spec, "backbone")
        self.backbone: Backbone = backbone_class(self.observation_space, options)
        num_streams = 1 + len(config["intrinsic_rewards"])
        self.distribution: ActionDistribution = distribution_for_space(self.action_space)
        continuous = isinstance(self.distribution, DiagonalGaussian)
        num_outputs = self.distribution.num_inputs // (2 if continuous else 1)
        dim = self.backbone.feature_dim
        self.policy_head = nn.Sequential(
            orthogonal_init(nn.Linear(dim, dim), gain=0.01),
            nn.ReLU(),
            orthogonal_init(nn.Linear(dim, num_outputs), gain=0.01),
        )
        # Continuous actions: standard deviations that do not depend on the observation (Schulman et al. 2017, 6.1).
        self.log_std = nn.Parameter(torch.zeros(num_outputs)) if continuous else None
        self.critics = ResidualCritics(dim, num_streams)
        if self.inference_only:
            return
        self.intrinsic_rewards = nn.ModuleList()
        for i, reward_spec in enumerate(config["intrinsic_rewards"]):
            reward_class, reward_options = INTRINSIC_REWARDS.parse(reward_spec, f"intrinsic_reward[{i}]")
            self.intrinsic_rewards.append(
                reward_class(self.observation_space, self.action_space, config["frame_stack"], reward_options)
            )
        self.auxiliary_losses = nn.ModuleList()
        for i, loss_spec in enumerate(config["auxiliary_losses"]):
            loss_class, loss_options = AUXILIARY_LOSSES.parse(loss_spec, f"auxiliary_loss[{i}]")
            self.auxiliary_losses.append(loss_class(self.backbone, self.observation_space, loss_options))

    def rewards(self) -> list[IntrinsicReward]:
        """The intrinsic rewards, in the order of their value streams (learners only)."""
        return cast("list[IntrinsicReward]", list(self.intrinsic_rewards))

    def auxiliaries(self) -> list[AuxiliaryLoss]:
        """The auxiliary losses (learners only)."""
        return cast("list[AuxiliaryLoss]", list(self.auxiliary_losses))

    def policy_and_values(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Maps raw observations ``[B, ...]`` to inputs of the action distribution ``[B, P]`` and values ``[B, S]``."""
        features = self.backbone(obs, None)
        dist_inputs = self.policy_head(features.policy)
        if self.log_std is not None:
            dist_inputs = torch.cat([dist_inputs, self.log_std.expand_as(dist_inputs)], dim=1)
        return dist_inputs, self.critics(features.extrinsic, features.intrinsic)

    @override(TorchRLModule)
    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.policy_and_values(batch[Columns.OBS])[0]}

    @override(ValueFunctionAPI)
    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Extrinsic values ``[B]``."""
        return self.policy_and_values(batch[Columns.OBS])[1][:, 0]

    @override(TorchRLModule)
    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's module state, arrays by name, in the precision that the module works in.

        RLlib's own version rounds float64, here the running statistics, to float32.
        """
        names, own = super().get_state(*args, **kwargs), self.state_dict()
        return {name: own[name].cpu().numpy().copy() for name in names}

    @override(TorchRLModule)
    def set_state(self, state: dict[str, Any]) -> None:
        """Loads `get_state`, likewise without RLlib's detour through float32.

        Raises:
            ValueError: an inference-only module is handed a state that lacks some of its tensors.
        """
        own = self.state_dict()
        tensors = {n: torch.tensor(value, dtype=own[n].dtype) for n, value in state.items() if n in own}
        missing, _ = self.load_state_dict(tensors, strict=False)
        if self.inference_only and missing:
            raise ValueError(f"state: these tensors are missing: {missing}.")

    @override(InferenceOnlyAPI)
    def get_non_inference_attributes(self) -> list[str]:
        """Names of the parts that only learners hold."""
        return ["intrinsic_rewards", "auxiliary_losses"]
