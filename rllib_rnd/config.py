"""The configurations: IntrinsicPPOConfig and its presets, with every setting checked when an algorithm is built."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.annotations import override
from ray.util import log_once

from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES
from rllib_rnd.envs import frame_stack
from rllib_rnd.errors import ConfigError, at, unknown_name_error
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.backbone import parse_backbone
from rllib_rnd.modules.heads import HeadStyle, head_style
from rllib_rnd.options import as_yaml, parse_options
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from rllib_rnd.settings import OWN, SETTINGS, defaults
from rllib_rnd.training.learner import IntrinsicPPOLearner
from rllib_rnd.training.pretraining import PretrainingOptions


def _with_settings(training: Callable[..., Any]) -> Callable[..., Any]:
    """Shows this package's settings in the signature and the documentation of ``training``."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [inspect.Parameter(s.name, keyword, default=NotProvided, annotation=s.hint) for s in OWN.values()]
    parameters.append(inspect.Parameter("rllib", inspect.Parameter.VAR_KEYWORD))
    training.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    lines = [f"    {s.name}: {s.help}. Default: {as_yaml(s.default)}." for s in OWN.values()]
    lines.append("    **rllib: PPO's and RLlib's own training settings.")
    training.__doc__ = inspect.cleandoc(training.__doc__ or "") + "\n\nArgs:\n" + "\n".join(lines)
    return training


class IntrinsicPPOConfig(PPOConfig):
    """Configuration of `IntrinsicPPO`; defaults are the RND lineage's with the intrinsic part off."""

    def __init__(self, algo_class: type | None = None) -> None:
        from rllib_rnd.algorithm import IntrinsicPPO  # which imports this module

        super().__init__(algo_class=algo_class or IntrinsicPPO)
        self.env_runner_cls = RolloutEnvRunner
        self.use_kl_loss = False
        for name, value in defaults().items():
            setattr(self, name, value)
        # RLlib's default for runners, onnxrt, needs a package of its own.
        self.torch_compile_learner_dynamo_backend = "inductor"
        self.torch_compile_worker_dynamo_backend = "inductor"

    @_with_settings
    @override(PPOConfig)
    def training(self, **given: Any) -> IntrinsicPPOConfig:
        """Sets training settings: this package's, and PPO's own (lr, gamma, lambda_, clip_param, ...).

        Raises:
            ConfigError: no setting of that name; the nearest one is named.
        """
        known = {*OWN, *_parameters_of(PPOConfig.training)}
        for name in given:
            if name not in known:
                raise unknown_name_error("training setting", name, known, name)
        super().training(**{name: value for name, value in given.items() if name not in OWN})
        for name, value in given.items():
            if name in OWN and value is not NotProvided:
                setattr(self, name, value)
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
        }

    @override(PPOConfig)
    def validate(self) -> None:
        """Checks everything at build time.

        Raises:
            ConfigError: naming the field, the value and what is allowed.
        """
        self._refuse_unsupported()
        for name, setting in SETTINGS.items():
            setattr(self, name, setting.check(getattr(self, name)))
        sequence_length = self.sequence_length()
        with at("heads"):
            head_style(HeadStyle(), self.heads)
        for path, spec in plugin_specs("intrinsic_reward", self.intrinsic_reward):
            INTRINSIC_REWARDS.parse(spec, path)
        for path, spec in plugin_specs("auxiliary_loss", self.auxiliary_loss):
            AUXILIARY_LOSSES.parse(spec, path)
        self._check_pretraining()
        learners, envs = (
            max(1, self.num_learners),
            self.num_envs_per_env_runner * max(1, self.num_env_runners),
        )
        if learners > envs:
            raise ConfigError(
                "num_learners", f"{learners} learners cannot share {envs} environments", f"{envs} or less"
            )
        if not self.in_evaluation:  # which trains on nothing: RLlib sets its fragments to single steps
            self._check_samples(self.samples_per_iteration() // learners, sequence_length)
        # RLlib would advise, once, to go back to the old API stack, which this package refuses: use up that once.
        log_once(f"{self.algo_class.__name__}_on_new_api_stack")
        super().validate()

    def _check_pretraining(self) -> None:
        if self.pretraining_options() is not None and not self.auxiliary_loss_specs():
            raise ConfigError(
                "pretraining",
                "there is no auxiliary_loss to train with",
                "one, for example {type: byol}, or pretraining: null",
            )
        if self.freeze_backbone and self.auxiliary_loss_specs() and self.pretraining is None:
            raise ConfigError(
                "freeze_backbone",
                "true leaves auxiliary_loss nothing to train",
                "pretraining beside it, auxiliary_loss: null, or freeze_backbone: false",
            )

    def _check_samples(self, samples: int, sequence_length: int) -> None:
        """Fits RLlib's batch size to the ``samples`` per iteration and learner, and sequences into rollouts."""
        steps = self.get_rollout_fragment_length()
        if steps % sequence_length:
            allowed = [length for length in range(1, steps + 1) if steps % length == 0]
            nearest = min(allowed, key=lambda length: abs(length - sequence_length))
            raise ConfigError(
                "backbone.max_seq_len",
                f"{sequence_length} does not divide rollout_fragment_length {steps}",
                f"one of {', '.join(map(str, allowed))}",
                nearest,
            )
        if self.minibatch_size is not None and self.minibatch_size > samples:
            raise ConfigError(
                "minibatch_size",
                f"{self.minibatch_size} is more than an iteration's {samples} samples per learner",
                f"{samples} or less, or null for num_minibatches",
            )
        if self.minibatches_per_epoch() > samples // sequence_length:
            parts = "samples" if sequence_length == 1 else f"sequences of {sequence_length} steps"
            raise ConfigError(
                "num_minibatches",
                f"{self.minibatches_per_epoch()} is more than an iteration's {samples // sequence_length} {parts}",
            )
        self.train_batch_size_per_learner = samples

    def _refuse_unsupported(self) -> None:
        if self.overlap_sampling and self.num_env_runners == 0 and not self.in_evaluation:
            raise ConfigError(
                "overlap_sampling",
                "True needs runners of their own, and num_env_runners is 0",
                "False, or num_env_runners of 1 or more",
            )
        if self.torch_compile_learner and self.torch_compile_learner_what_to_compile != "forward_train":
            raise ConfigError(
                "torch_compile_learner_what_to_compile",
                f"{self.torch_compile_learner_what_to_compile!r} is not supported",
                "'forward_train'",
            )
        if not (self.enable_rl_module_and_learner and self.enable_env_runner_and_connector_v2):
            raise ConfigError("enable_rl_module_and_learner", "RLlib's old API stack is not supported", "True")
        if self.is_multi_agent:
            raise ConfigError("multi_agent", "multi-agent environments are not supported", "a single-agent one")
        if self.input_ not in (None, "sampler"):
            raise ConfigError("input", f"offline data ({self.input_!r}) is not supported", "'sampler'")
        if self.use_kl_loss:
            raise ConfigError("use_kl_loss", "True is not supported (the lineage has no KL term)", "False")
        if self.torch_skip_nan_gradients:
            raise ConfigError(
                "torch_skip_nan_gradients",
                "True is not supported (non-finite updates are always skipped, see max_nonfinite_updates)",
                "False",
            )


def plugin_specs(key: str, value: object) -> list[tuple[str, Any]]:
    """The specifications of several plug-ins with their paths: those of a list by number, a single one by its key."""
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return [(f"{key}[{i}]", _as_mapping(spec)) for i, spec in enumerate(value)]
    return [(key, _as_mapping(value))]


def _as_mapping(spec: object) -> object:
    return {"type": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else spec


def _parameters_of(method: Callable[..., Any]) -> set[str]:
    """Names of the keyword arguments of RLlib's ``training`` methods, whose ``**kwargs`` go to the base class."""
    classes = [c for c in PPOConfig.__mro__ if method.__name__ in vars(c)]
    return {name for c in classes for name in inspect.signature(vars(c)[method.__name__]).parameters}
