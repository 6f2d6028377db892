"""The RLModule: one backbone, one policy head, one value head per return stream, and the learner-only plug-ins.

A recurrent backbone's memory is one tensor ``[N, F]``. RLlib's episodes (evaluation) carry it under the key
``memory``; rollouts keep what a sequence begins with.
"""

from __future__ import annotations

import logging
from typing import Any, cast

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.distribution import Distribution
from ray.rllib.core.distribution.torch.torch_distribution import TorchMultiCategorical
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.annotations import override
from torch import Tensor, nn

from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES, AuxiliaryLoss
from rllib_rnd.errors import at
from rllib_rnd.functional.distributions import ActionDistribution, DiagonalGaussian, MultiCategorical
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS, IntrinsicReward
from rllib_rnd.modules.actions import distribution_for_space
from rllib_rnd.modules.backbone import Backbone, build_backbone
from rllib_rnd.modules.heads import Critics, PolicyHead, head_style
from rllib_rnd.modules.image import is_image
from rllib_rnd.modules.observations import is_unscaled
from rllib_rnd.options import plugin_path
from rllib_rnd.own_code import failures_of
from rllib_rnd.plugin import Spaces
from rllib_rnd.plugin_contract import check_own_parameters

logger = logging.getLogger(__name__)

MEMORY = "memory"


class IntrinsicPPOModule(TorchRLModule, InferenceOnlyAPI, ValueFunctionAPI):
    """Policy and critics over a pluggable backbone, with intrinsic rewards and auxiliary losses beside them.

    ``model_config`` keys: ``backbone`` and ``heads`` (mappings), ``intrinsic_rewards`` and ``auxiliary_losses`` (lists
    of mappings), ``frame_stack`` (K), ``normalize_actions`` and ``clip_actions``. The plug-ins live on the learner only
    and are never sent to environment runners.
    """

    @override(RLModule)
    def setup(self) -> None:
        """Builds the networks.

        Raises:
            ConfigError: a plug-in is unknown, has wrong options or does not fit the spaces.
        """
        config = self.model_config
        with at("env"):
            spaces = Spaces(
                self.observation_space,
                self.action_space,
                config["frame_stack"],
                # RLlib's own defaults, where a module is built by hand.
                config.get("normalize_actions", True),
                config.get("clip_actions", False),
            )
            self.distribution: ActionDistribution = distribution_for_space(self.action_space)
        with at("backbone"):
            self.backbone: Backbone = build_backbone(config["backbone"], self.observation_space)
        # RLlib's evaluation asks for it, though with one step at a time it never cuts a sequence.
        config["max_seq_len"] = self.backbone.max_seq_len
        num_streams = 1 + len(config["intrinsic_rewards"])
        continuous = isinstance(self.distribution, DiagonalGaussian)
        num_outputs = self.distribution.num_inputs // (2 if continuous else 1)
        with at("heads"):
            style = head_style(self.backbone.heads, config.get("heads", {}))
        dim = self.backbone.feature_dim
        self.policy_head = PolicyHead(dim, num_outputs, style)
        # Continuous actions: standard deviations that do not depend on the observation (Schulman et al. 2017, 6.1).
        self.log_std = nn.Parameter(torch.zeros(num_outputs)) if continuous else None
        self.critics = Critics(dim, num_streams, style)
        if self.inference_only:
            return
        if is_unscaled(spaces.observation, is_image(spaces.observation.shape)):
            logger.warning(
                "env: observations %s have no bounds to scale them by, so policy and critics read them as they are. If "
                "they are large, give the space its bounds, or wrap the environment in "
                "gymnasium.wrappers.RescaleObservation.",
                spaces.observation,
            )
        self.intrinsic_rewards = nn.ModuleList()
        reward_specs, loss_specs = config["intrinsic_rewards"], config["auxiliary_losses"]
        for i, reward_spec in enumerate(reward_specs):
            with at(plugin_path("intrinsic_reward", i, len(reward_specs))):
                reward_class, reward_options = INTRINSIC_REWARDS.parse(reward_spec)
                with failures_of(reward_class, "__init__"):
                    reward = reward_class(spaces, reward_options)
                with failures_of(reward_class, "use_backbone"):
                    reward.use_backbone(self.backbone)
                check_own_parameters(reward, self.backbone)
            self.intrinsic_rewards.append(reward)
        self.auxiliary_losses = nn.ModuleList()
        for i, loss_spec in enumerate(loss_specs):
            with at(plugin_path("auxiliary_loss", i, len(loss_specs))):
                loss_class, loss_options = AUXILIARY_LOSSES.parse(loss_spec)
                with failures_of(loss_class, "__init__"):
                    loss = loss_class(self.backbone, spaces, loss_options)
                check_own_parameters(loss, self.backbone)
            self.auxiliary_losses.append(loss)

    def rewards(self) -> list[IntrinsicReward]:
        """The intrinsic rewards, in the order of their value streams (learners only)."""
        return cast("list[IntrinsicReward]", list(self.intrinsic_rewards))

    def auxiliaries(self) -> list[AuxiliaryLoss]:
        """The auxiliary losses (learners only)."""
        return cast("list[AuxiliaryLoss]", list(self.auxiliary_losses))

    def policy_and_values(
        self,
        obs: Tensor,
        state: Tensor | None = None,
        is_first: Tensor | None = None,
        places: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Maps raw observations to what the policy and the critics say of them.

        Args:
            obs: ``[B, ...]``; with a recurrent backbone B = L * N, in time-major order.
            state: ``[N, F]``, the memory before the first step; None is an empty one.
            is_first: ``[L, N]`` bool, steps that begin with an empty memory; None: one step, no such.
            places: ``[B]``, for backbones with ``reads_each_once``: ``obs`` holds ``[U, ...]`` different observations,
                of which sample b is row ``places[b]``. None: ``obs`` is whole.

        Returns:
            Inputs of the action distribution ``[B, P]``, values ``[B, S]``, and the memory after the last step
            ``[N, F]`` (None if the backbone has none).
        """
        if places is not None and self.backbone.state_size:
            features, places = self.backbone(obs, state, is_first, places), None
        else:
            features = self.backbone(obs, state, is_first)
        dist_inputs = self.policy_head(features.policy)
        if self.log_std is not None:
            dist_inputs = torch.cat([dist_inputs, self.log_std.expand_as(dist_inputs)], dim=1)
        values: Tensor = self.critics(features.extrinsic, features.intrinsic)
        if places is not None:
            dist_inputs, values = dist_inputs.index_select(0, places), values.index_select(0, places)
        return dist_inputs, values, features.state

    @override(RLModule)
    def get_initial_state(self) -> dict[str, Tensor]:
        """The memory of a new episode, for RLlib's episodes; empty for stateless backbones."""
        size = self.backbone.state_size
        return {MEMORY: torch.zeros(size)} if size else {}

    def _read(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
        """`policy_and_values` of RLlib's batches ``[N, ...]``, or with memory ``[N, L, ...]``, rows in their order."""
        obs = batch[Columns.OBS]
        if not self.is_stateful():
            return self.policy_and_values(obs)
        is_first = torch.zeros((obs.shape[1], len(obs)), dtype=torch.bool, device=obs.device)
        flat = obs.transpose(0, 1).flatten(0, 1)
        outputs, values, state = self.policy_and_values(flat, batch[Columns.STATE_IN][MEMORY], is_first)
        rows = (obs.shape[1], len(obs), -1)
        return outputs.view(rows).transpose(0, 1), values.view(rows).transpose(0, 1), state

    @override(TorchRLModule)
    def _forward(self, batch: dict[str, Any], **kwargs: object) -> dict[str, Any]:
        dist_inputs, _, state = self._read(batch)
        result: dict[str, Any] = {Columns.ACTION_DIST_INPUTS: dist_inputs}
        if state is not None:
            result[Columns.STATE_OUT] = {MEMORY: state}
        return result

    @override(TorchRLModule)
    def get_inference_action_dist_cls(self) -> type[Distribution]:
        """RLlib's own distribution over the same actions, for its episodes (evaluation)."""
        if isinstance(self.distribution, MultiCategorical):
            return TorchMultiCategorical.get_partial_dist_cls(input_lens=self.distribution.sizes)
        return super().get_inference_action_dist_cls()

    @override(ValueFunctionAPI)
    def compute_values(self, batch: dict[str, Any], embeddings: object = None) -> Tensor:
        """Extrinsic values ``[B]``, with memory ``[B, L]``."""
        return self._read(batch)[1][..., 0]

    @override(TorchRLModule)
    def get_state(self, *args: object, **kwargs: object) -> dict[str, Any]:
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
