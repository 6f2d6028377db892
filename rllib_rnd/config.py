"""IntrinsicPPOConfig: what can be set, checked when the algorithm is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.annotations import override
from ray.util import log_once

from rllib_rnd.config_checks import check_own_class, check_together, unknown_setting_error
from rllib_rnd.envs import frame_stack
from rllib_rnd.envs.makers import EnvSpecifier, portable
from rllib_rnd.errors import at
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.backbone import parse_backbone
from rllib_rnd.options import parse_options, plugin_specs
from rllib_rnd.own_code import check_functions
from rllib_rnd.rllib_settings import check_evaluation_config, check_names, check_rllib_settings, check_written
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from rllib_rnd.settings import OWN, SETTINGS, attribute_name, defaults, documented, parameters_of
from rllib_rnd.training.learner import IntrinsicPPOLearner
from rllib_rnd.training.pretraining import PretrainingOptions


class IntrinsicPPOConfig(PPOConfig):
    """Configuration of `IntrinsicPPO`; defaults are the RND lineage's with the intrinsic part off."""

    env: EnvSpecifier | None
    #: What it builds if nothing else is said; `algorithm` names its class here, which itself needs this one.
    builds: ClassVar[type[Algorithm]]

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or self.builds)
        self.env_runner_cls = RolloutEnvRunner
        self.use_kl_loss = False
        for name, value in defaults().items():
            setattr(self, name, value)
        # In every iteration RLlib would ask all runners for the states of connectors, which there are none of.
        self._dont_auto_sync_env_runner_states = True
        # RLlib's default for runners, onnxrt, needs a package of its own.
        self.torch_compile_learner_dynamo_backend = "inductor"
        self.torch_compile_worker_dynamo_backend = "inductor"

    @documented
    @override(PPOConfig)
    def training(self, **given: Any) -> IntrinsicPPOConfig:
        """Sets training settings: this package's, and PPO's own (lr, gamma, lambda_, clip_param, ...).

        Raises:
            ConfigError: no setting of that name; the nearest one is named.
        """
        known = {*OWN, *parameters_of(PPOConfig, "training")}
        for name in given:
            if name not in known:
                raise unknown_setting_error("training setting", name, known, {**vars(self), **given})
        check_written(name for name, value in given.items() if value is not NotProvided)
        super().training(**{name: value for name, value in given.items() if name not in OWN})
        for name, value in given.items():
            if name in OWN and value is not NotProvided:
                setattr(self, name, value)
        return self

    @override(AlgorithmConfig)
    def evaluation(self, *, evaluation_config: object = NotProvided, **given: object) -> IntrinsicPPOConfig:
        """RLlib's: sets evaluation settings. A configuration object stays one, and is not taken apart."""
        if isinstance(evaluation_config, AlgorithmConfig):
            self.evaluation_config = evaluation_config
        elif evaluation_config is not NotProvided:
            given["evaluation_config"] = evaluation_config
        super().evaluation(**given)
        return self

    def intrinsic_reward_specs(self) -> list[dict[str, Any]]:
        """The intrinsic rewards as a list of mappings, one per intrinsic value stream."""
        return [spec for _, spec in plugin_specs("intrinsic_reward", self.intrinsic_reward)]

    def auxiliary_loss_specs(self) -> list[dict[str, Any]]:
        """The auxiliary losses as a list of mappings."""
        return [spec for _, spec in plugin_specs("auxiliary_loss", self.auxiliary_loss)]

    def pretraining_options(self) -> PretrainingOptions | None:
        """How to pre-train, if at all.

        Raises:
            ConfigError: unknown option, or a value out of range.
        """
        return None if self.pretraining is None else parse_options(PretrainingOptions, self.pretraining, "pretraining")

    def backbone_spec(self) -> dict[str, Any]:
        """The backbone as a mapping."""
        return {"type": self.backbone} if isinstance(self.backbone, str) else dict(self.backbone)

    def sequence_length(self) -> int:
        """L, steps of the sequences that a recurrent policy is trained on; 1 for stateless backbones.

        Raises:
            ConfigError: unknown backbone, or wrong options.
        """
        if self.backbone_spec().get("type") == "auto":
            return 1
        with at("backbone"):
            _, options = parse_backbone(self.backbone_spec())
        return int(getattr(options, "max_seq_len", 1))

    def samples_per_iteration(self) -> int:
        """Agent steps per training iteration (all runners)."""
        return self.get_rollout_fragment_length() * self.num_envs_per_env_runner * max(1, self.num_env_runners)

    def minibatches_per_epoch(self) -> int:
        """Minibatches per epoch, the same number on every learner."""
        if self.minibatch_size is None:
            return self.num_minibatches
        return max(1, math.ceil(self.samples_per_iteration() / self.minibatch_size))

    @override(AlgorithmConfig)
    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """T, agent steps per environment and iteration."""
        return 128 if self.rollout_fragment_length == "auto" else int(self.rollout_fragment_length)

    @override(AlgorithmConfig)
    def validate_train_batch_size_vs_rollout_fragment_length(self) -> None:
        """The batch is what the runners deliver; there is nothing to compare."""

    @override(AlgorithmConfig)
    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The dual-critic module."""
        return RLModuleSpec(module_class=IntrinsicPPOModule)

    @override(AlgorithmConfig)
    def get_default_learner_class(self) -> type:
        """The learner over rollouts."""
        return IntrinsicPPOLearner

    @property
    @override(PPOConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            "backbone": self.backbone_spec(),
            "heads": dict(self.heads),
            "intrinsic_rewards": self.intrinsic_reward_specs(),
            "auxiliary_losses": self.auxiliary_loss_specs(),
            "frame_stack": frame_stack(self.env, dict(self.env_config)).size if self.env else 1,
            "normalize_actions": self.normalize_actions,
            "clip_actions": self.clip_actions,
        }

    @property
    def train_batch_size_per_learner(self) -> int:
        """Agent steps per iteration and learner; setting another number is refused."""
        return self.samples_per_iteration() // max(1, self.num_learners)

    @train_batch_size_per_learner.setter
    def train_batch_size_per_learner(self, value: int | None) -> None:
        self._train_batch_size_per_learner = value

    @override(PPOConfig)
    def update_from_dict(self, config_dict: Mapping[str, Any]) -> IntrinsicPPOConfig:
        """RLlib's: sets settings by name, which may be those of experiment files.

        Raises:
            ConfigError: an unknown name; the nearest one is named.
        """
        given = dict(config_dict.items())  # of a mapping, or of a configuration object
        check_names(given, self)
        super().update_from_dict({attribute_name(name): value for name, value in given.items()})
        return self

    @override(AlgorithmConfig)
    def get_evaluation_config_object(self) -> AlgorithmConfig | None:
        """RLlib's, less what only training reads."""
        config = super().get_evaluation_config_object()
        if config is not None:
            config.minibatch_size = None  # RLlib compares it with the samples of an iteration
        return config

    @override(PPOConfig)
    def validate(self) -> None:
        """Checks everything at build time.

        Raises:
            ConfigError: naming the field, the value and what is allowed.
        """
        with at("evaluation_config" if self.in_evaluation else ""):
            self._check_own()
        # RLlib would advise, once, to go back to the old API stack, which this package refuses: use up that once.
        log_once(f"{self.algo_class.__name__}_on_new_api_stack")
        super().validate()
        if not self.in_evaluation:
            with at("evaluation_config"):
                check_evaluation_config(self)
            if self.evaluation_interval:
                self.get_evaluation_config_object().validate()

    @override(PPOConfig)
    def build_algo(self, *args: object, **kwargs: object) -> Algorithm:
        """RLlib's: builds the algorithm.

        Raises:
            ConfigError: as of `validate`.
        """
        for name, setting in SETTINGS.items():  # now: RLlib takes -1 for its mark of what is gone, and drops it
            setting.check(getattr(self, name))
        return super().build_algo(*args, **kwargs)

    def _check_own(self) -> None:
        for name, setting in SETTINGS.items():
            setattr(self, name, setting.check(getattr(self, name)))
        if self.env is not None:
            self.env = portable(self.env)
        self.env_runner_cls = self.env_runner_cls or RolloutEnvRunner  # None is RLlib's default
        check_rllib_settings(self, IntrinsicPPOConfig())
        check_functions(vars(self))
        for name, base in _REPLACEABLE.items():
            check_own_class(name, getattr(self, name), base)
        check_together(self)


#: Classes of which a user's own one may take the place, if it is derived from them.
_REPLACEABLE: dict[str, type] = {
    "env_runner_cls": RolloutEnvRunner,
    "_learner_class": IntrinsicPPOLearner,
    "_rl_module_spec": IntrinsicPPOModule,
}
