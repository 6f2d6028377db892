"""The configurations: IntrinsicPPOConfig and its presets, with every setting checked when an algorithm is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.annotations import override
from ray.util import log_once

from rllib_rnd.auxiliary.base import AUXILIARY_LOSSES
from rllib_rnd.envs import frame_stack
from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.backbone import parse_backbone
from rllib_rnd.modules.heads import HeadStyle, head_style
from rllib_rnd.options import Limits, check_value, parse_options, plugin_path
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from rllib_rnd.training.learner import IntrinsicPPOLearner
from rllib_rnd.training.pretraining import PretrainingOptions

# Our own settings: type, and the limits of `check_value`. One table for Python, YAML and Tune.
OWN_SETTINGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "extrinsic_coeff": (float, {"low": 0.0}),
    "extrinsic_reward": (str, {"choices": ["raw", "sign", "positive_sign", "clip", "none"]}),
    "num_minibatches": (int, {"low": 1}),
    "normalize_advantages": (str, {"choices": ["none", "rollout", "minibatch"]}),
    "warmup_steps": (int, {"low": 0}),
    "max_nonfinite_updates": (int, {"low": 1}),
    "torch_threads": (int | None, {"low": 1}),
    "keep_freed_memory": (bool, {}),
    "micro_batch_size": (int | None, {"low": 1}),
    "autocast": (str, {"choices": ["none", "bfloat16"]}),
    "overlap_sampling": (bool, {}),
    "optimizer_type": (str, {"choices": ["adam", "rmsprop"]}),
    "optimizer_epsilon": (float, {"low": 0.0}),
    "freeze_backbone": (bool, {}),
}
# RLlib's settings that this algorithm uses, with the limits RLlib itself does not check.
LIMITED_SETTINGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gamma": (float, {"low": 0.0, "high": 1.0}),
    "lambda_": (float, {"low": 0.0, "high": 1.0}),
    "vf_loss_coeff": (float, {"low": 0.0}),
    "vf_clip_param": (float | None, {"low": 0.0}),
    "grad_clip": (float | None, {"low": 0.0}),
    "num_epochs": (int, {"low": 1}),
    "minibatch_size": (int | None, {"low": 1}),
    "num_envs_per_env_runner": (int, {"low": 1}),
    "num_env_runners": (int, {"low": 0}),
    "num_learners": (int, {"low": 0}),
    "sample_timeout_s": (float | None, {"low": 0.0}),
}


class IntrinsicPPOConfig(PPOConfig):
    """Configuration of `IntrinsicPPO`; defaults are the RND lineage's with the intrinsic part off."""

    def __init__(self, algo_class: type | None = None) -> None:
        from rllib_rnd.algorithm import IntrinsicPPO  # which imports this module

        super().__init__(algo_class=algo_class or IntrinsicPPO)
        self.env_runner_cls = RolloutEnvRunner
        self.num_env_runners = 0
        self.num_envs_per_env_runner = 8
        self.rollout_fragment_length = 128
        # RLlib's 60 s are less than a long rollout of many environments takes on a small machine.
        self.sample_timeout_s = 600.0
        self.lr = 1e-4
        self.gamma = 0.999
        self.lambda_ = 0.95
        self.clip_param = 0.1
        self.entropy_coeff = 0.001
        self.vf_loss_coeff = 1.0
        self.vf_clip_param = None
        self.grad_clip: float | None = None
        self.num_epochs = 4
        self.minibatch_size: int | None = None
        self.use_kl_loss = False
        # Ours.
        self.num_minibatches = 4
        self.extrinsic_coeff = 2.0
        self.extrinsic_reward = "raw"
        self.normalize_advantages = "none"
        self.backbone: Any = {"type": "auto"}
        self.heads: Any = {}
        self.intrinsic_reward: Any = None
        self.auxiliary_loss: Any = None
        self.pretraining: Any = None
        self.freeze_backbone = False
        self.warmup_steps = 0
        self.max_nonfinite_updates = 20
        self.torch_threads: int | None = None
        self.keep_freed_memory = True
        self.micro_batch_size: int | None = None
        self.autocast = "none"
        self.overlap_sampling = False
        self.optimizer_type = "adam"
        self.optimizer_epsilon = 1e-8
        # RLlib's default for runners, onnxrt, needs a package of its own.
        self.torch_compile_learner_dynamo_backend = "inductor"
        self.torch_compile_worker_dynamo_backend = "inductor"

    @override(PPOConfig)
    def training(
        self,
        *,
        extrinsic_coeff: float = NotProvided,
        extrinsic_reward: str = NotProvided,
        num_minibatches: int = NotProvided,
        normalize_advantages: str = NotProvided,
        backbone: Mapping[str, Any] | str = NotProvided,
        heads: Mapping[str, Any] = NotProvided,
        intrinsic_reward: Any = NotProvided,
        auxiliary_loss: Any = NotProvided,
        pretraining: Mapping[str, Any] | None = NotProvided,
        freeze_backbone: bool = NotProvided,
        warmup_steps: int = NotProvided,
        max_nonfinite_updates: int = NotProvided,
        torch_threads: int | None = NotProvided,
        keep_freed_memory: bool = NotProvided,
        micro_batch_size: int | None = NotProvided,
        autocast: str = NotProvided,
        overlap_sampling: bool = NotProvided,
        optimizer_type: str = NotProvided,
        optimizer_epsilon: float = NotProvided,
        **kwargs: Any,
    ) -> IntrinsicPPOConfig:
        """Sets training settings; PPO's own (lr, gamma, lambda_, clip_param, ...) are accepted as well.

        Args:
            extrinsic_coeff: weight of the extrinsic advantage (RND: 2; each intrinsic reward has its own ``coeff``).
            extrinsic_reward: what the learner trains on: "raw", "sign", "positive_sign" (1 for gains,
                else 0), "clip" (to [-1, 1]) or "none" (zero).
                Reported returns are always raw.
            num_minibatches: minibatches per epoch (RND: 4); ``minibatch_size`` (samples), if set, decides instead.
            normalize_advantages: standardise the mixed advantage over the "rollout" or each "minibatch"; RND: "none".
            backbone: ``{type: name, **options}``; "auto" picks by observation space.
            heads: changes to how policy and critics stand on the backbone, see `HeadOptions`.
            intrinsic_reward: None, one mapping ``{type: rnd, ...}`` or a list of them (one value stream each).
            auxiliary_loss: None, one mapping or a list.
            pretraining: None, or options of `PretrainingOptions`: the auxiliary losses train the backbone on random
                play before the first update, one rollout per iteration.
            freeze_backbone: train all but the backbone; auxiliary losses then act in pre-training only.
            warmup_steps: vector steps of random play, in separate environments, for the first statistics.
            max_nonfinite_updates: skipped non-finite updates in a row after which training stops.
            torch_threads: threads of the learner; None takes all cores (shared between learners).
            keep_freed_memory: on the CPU, keep freed blocks for the next step instead of returning them to the kernel.
            micro_batch_size: samples per forward and backward pass of policy and critics; gradients are summed over a
                minibatch. None: 1,024 on the CPU, the whole minibatch on a GPU.
            autocast: "bfloat16" runs policy and critics in that precision; rewards and losses stay float32.
            overlap_sampling: remote runners play the next rollout while the learner trains on the last one. The acting
                policy is then one update older; the stored log-probabilities are its own, so ratios stay right.
            optimizer_type: "adam", or "rmsprop" (alpha 0.99) for the settings of A2C.
            optimizer_epsilon: the optimizer's epsilon.
            **kwargs: PPO's and RLlib's own training settings.
        """
        super().training(**kwargs)
        given = {k: v for k, v in locals().items() if k in vars(self) and v is not NotProvided}
        for name, value in given.items():
            setattr(self, name, value)
        return self

    def intrinsic_reward_specs(self) -> list[dict[str, Any]]:
        """The intrinsic rewards as a list of mappings, one per intrinsic value stream."""
        return _as_list(self.intrinsic_reward)

    def auxiliary_loss_specs(self) -> list[dict[str, Any]]:
        """The auxiliary losses as a list of mappings."""
        return _as_list(self.auxiliary_loss)

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
        return int(getattr(parse_backbone(self.backbone_spec(), "backbone")[1], "max_seq_len", 1))

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
        for name, (hint, limits) in (OWN_SETTINGS | LIMITED_SETTINGS).items():
            setattr(self, name, check_value(getattr(self, name), hint, name, Limits(**limits)))
        for name in ("lr", "clip_param", "entropy_coeff"):
            _check_schedule(name, getattr(self, name))
        if self.rollout_fragment_length != "auto":
            check_value(self.rollout_fragment_length, int, "rollout_fragment_length", Limits(low=1))
        sequence_length = self.sequence_length()
        head_style(HeadStyle(), self.heads)
        rewards, losses = self.intrinsic_reward_specs(), self.auxiliary_loss_specs()
        for i, spec in enumerate(rewards):
            INTRINSIC_REWARDS.parse(spec, plugin_path("intrinsic_reward", i, len(rewards)))
        for i, spec in enumerate(losses):
            AUXILIARY_LOSSES.parse(spec, plugin_path("auxiliary_loss", i, len(losses)))
        self._check_pretraining()
        learners, envs = (
            max(1, self.num_learners),
            self.num_envs_per_env_runner * max(1, self.num_env_runners),
        )
        if learners > envs:
            raise ConfigError(f"num_learners: {learners} learners cannot share {envs} environments; allowed is {envs}.")
        if not self.in_evaluation:  # which trains on nothing: RLlib sets its fragments to single steps
            self._check_samples(self.samples_per_iteration() // learners, sequence_length)
        # RLlib would advise, once, to go back to the old API stack, which this package refuses: use up that once.
        log_once(f"{self.algo_class.__name__}_on_new_api_stack")
        super().validate()

    def _check_pretraining(self) -> None:
        if self.pretraining_options() is not None and not self.auxiliary_loss_specs():
            raise ConfigError(
                "pretraining: there is no auxiliary_loss to train with; allowed is one, for example {type: byol}, or "
                "pretraining: null."
            )
        if self.freeze_backbone and self.auxiliary_loss_specs() and self.pretraining is None:
            raise ConfigError(
                "freeze_backbone: true leaves auxiliary_loss nothing to train; allowed is pretraining beside it, "
                "auxiliary_loss: null, or freeze_backbone: false."
            )

    def _check_samples(self, samples: int, sequence_length: int) -> None:
        """Fits RLlib's batch size to the ``samples`` per iteration and learner, and sequences into rollouts."""
        steps = self.get_rollout_fragment_length()
        if steps % sequence_length:
            allowed = [length for length in range(1, steps + 1) if steps % length == 0]
            nearest = min(allowed, key=lambda length: abs(length - sequence_length))
            raise ConfigError(
                f"backbone.max_seq_len: {sequence_length} does not divide rollout_fragment_length {steps}; allowed are "
                f"{', '.join(map(str, allowed))}. Nearest: {nearest}."
            )
        if self.minibatch_size is not None and self.minibatch_size > samples:
            raise ConfigError(
                f"minibatch_size: {self.minibatch_size} is more than an iteration's {samples} samples per learner; "
                f"allowed is {samples} or less, or null for num_minibatches."
            )
        if self.minibatches_per_epoch() > samples // sequence_length:
            parts = "samples" if sequence_length == 1 else f"sequences of {sequence_length} steps"
            raise ConfigError(
                f"num_minibatches: {self.minibatches_per_epoch()} is more than an iteration's "
                f"{samples // sequence_length} {parts}."
            )
        self.train_batch_size_per_learner = samples

    def _refuse_unsupported(self) -> None:
        if self.overlap_sampling and self.num_env_runners == 0 and not self.in_evaluation:
            raise ConfigError(
                "overlap_sampling: True needs runners of their own, and num_env_runners is 0; allowed is False, or "
                "num_env_runners of 1 or more."
            )
        if self.torch_compile_learner and self.torch_compile_learner_what_to_compile != "forward_train":
            raise ConfigError(
                "torch_compile_learner_what_to_compile: "
                f"{self.torch_compile_learner_what_to_compile!r} is not supported; allowed is 'forward_train'."
            )
        if not (self.enable_rl_module_and_learner and self.enable_env_runner_and_connector_v2):
            raise ConfigError("enable_rl_module_and_learner: RLlib's old API stack is not supported; leave it True.")
        if self.is_multi_agent:
            raise ConfigError("multi_agent: multi-agent environments are not supported; use a single-agent one.")
        if self.input_ not in (None, "sampler"):
            raise ConfigError(f"input_: offline data ({self.input_!r}) is not supported; allowed is 'sampler'.")
        if self.use_kl_loss:
            raise ConfigError("use_kl_loss: True is not supported (the lineage has no KL term); allowed is False.")
        if self.torch_skip_nan_gradients:
            raise ConfigError(
                "torch_skip_nan_gradients: True is not supported; non-finite updates are always skipped "
                "(see max_nonfinite_updates)."
            )


def _as_list(spec: Any) -> list[dict[str, Any]]:
    if spec is None:
        return []
    specs = spec if isinstance(spec, (list, tuple)) else [spec]
    return [{"type": s} if isinstance(s, str) else dict(s) if isinstance(s, Mapping) else s for s in specs]


def _check_schedule(name: str, value: Any) -> None:
    """Checks a number >= 0 or a schedule ``[[agent_step, value], ...]`` that starts at step 0."""
    if not isinstance(value, (list, tuple)):
        check_value(value, float, name, Limits(low=0.0))
        return
    steps = [point[0] for point in value if isinstance(point, (list, tuple)) and len(point) == 2]
    if len(steps) != len(value) or len(value) < 2 or steps[0] != 0 or steps != sorted(set(steps)):
        raise ConfigError(
            f"{name}: {value!r} is no schedule; allowed is a number or [[0, value], [agent_step, value], ...] "
            "with rising agent steps."
        )
    for i, point in enumerate(value):
        check_value(point[1], float, f"{name}[{i}]", Limits(low=0.0))


class RNDConfig(IntrinsicPPOConfig):
    """IntrinsicPPO with Random Network Distillation (Burda et al. 2018, arXiv 1810.12894)."""

    def __init__(self, algo_class: type | None = None) -> None:
        from rllib_rnd.algorithm import RND

        super().__init__(algo_class=algo_class or RND)
        self.intrinsic_reward = {"type": "rnd"}
        self.warmup_steps = 6400


class SNDConfig(IntrinsicPPOConfig):
    """IntrinsicPPO with Self-supervised Network Distillation, SND-V (Pecháč et al. 2023, arXiv 2302.11563).

    PPO as published there: extrinsic discount 0.998, minibatches of 512 samples, gradients clipped at 0.5.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        from rllib_rnd.algorithm import SND

        super().__init__(algo_class=algo_class or SND)
        self.intrinsic_reward = {"type": "snd_v"}
        self.gamma = 0.998
        self.minibatch_size = 512
        self.grad_clip = 0.5
