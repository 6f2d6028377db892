"""RLlib's learner: builds the update and hands it rollouts; schedules, metrics and state are RLlib's.

rollout -> intrinsic rewards -> GAE of every stream (`batch`) -> minibatches, losses, steps (`update`) -> statistics.
Sources: PPO (Schulman et al. 2017, arXiv 1707.06347), RND's combination of two return streams (Burda et al. 2018,
arXiv 1810.12894, section 2.3).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import COMPONENT_OPTIMIZER, DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ALL_MODULES, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from rllib_rnd.auxiliary.base import AuxiliaryLoss
from rllib_rnd.errors import at
from rllib_rnd.intrinsic.base import IntrinsicReward
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.accelerate import accelerate, learner_compile_options
from rllib_rnd.modules.compiler import Adam, RMSprop, compiler_left_out
from rllib_rnd.modules.distributed import bound_waits, broadcast_from_first, rank, world_size
from rllib_rnd.modules.environment_rows import saved_shapes
from rllib_rnd.modules.generators import State, seed_globals
from rllib_rnd.modules.layers import noisy_layers
from rllib_rnd.options import numbered, plugin_path
from rllib_rnd.own_code import own_classes
from rllib_rnd.plugin_contract import checked_metrics
from rllib_rnd.rollout import Rollout, select_and_join, shard_bounds
from rllib_rnd.threads import learner_threads, plan_threads
from rllib_rnd.training.allocator import keep_freed_memory
from rllib_rnd.training.batch import AdvantageSettings, TrainingBatch, prepare_training
from rllib_rnd.training.learners import note_without_warmup
from rllib_rnd.training.network import meet_where_ray_does
from rllib_rnd.training.nonfinite import (
    NonFiniteRewardError,
    NonFiniteUpdates,
    forget_ended_episodes,
    not_finite,
)
from rllib_rnd.training.plugin_losses import PLUGINS, check_minibatches, update_statistics
from rllib_rnd.training.pretraining import Pretraining
from rllib_rnd.training.standing import Standing
from rllib_rnd.training.update import PPOSettings, PPOUpdate
from rllib_rnd.training.work import CPU_MICRO_BATCH, forward_flops
from rllib_rnd.transport import unpack

#: Rollouts of all runners, in their order, or references to them.
Rollouts = Sequence[Rollout | ray.ObjectRef]


class IntrinsicPPOLearner(TorchLearner):
    """PPO over several return streams, with intrinsic rewards and auxiliary losses as plug-ins."""

    @override(TorchLearner)
    def __init__(self, *, config: AlgorithmConfig, **kwargs: object) -> None:
        if config.num_learners > 1:  # before RLlib has them meet
            meet_where_ray_does()
        with compiler_left_out():
            super().__init__(config=config, **kwargs)

    @override(TorchLearner)
    def build(self) -> None:
        """Builds module and optimizer, and the generators of minibatch order and masks."""
        # Under Ray a process is limited to one thread unless told otherwise.
        torch.set_num_threads(plan_threads(self.config).learner)
        bound_waits()
        with compiler_left_out():
            super().build()
        module, config = self.trained_module, self.config
        if self._device.type == "cpu":
            torch.set_num_threads(learner_threads(config, forward_flops(config, module)))
        minibatches = config.minibatches_per_epoch()
        samples = config.samples_per_iteration() // max(1, config.num_learners) // minibatches
        check_minibatches(module.rewards(), module.auxiliaries(), samples)
        networks = accelerate(
            module.policy_and_values, self._device, config.autocast, learner_compile_options(config, self._device)
        )
        if config.keep_freed_memory and self._device.type == "cpu":
            keep_freed_memory()
        self._generator = torch.Generator(device=self._device)
        self._standing = Standing(module, self._generator, config.seed, self._device)
        self._standing.seed_generator()
        self._reported: dict[str, float] = {}
        self.nonfinite = NonFiniteUpdates(config.max_nonfinite_updates, own=own_classes(module.modules()))
        options = config.pretraining_options()
        self.pretraining = None if options is None else Pretraining(module, options, minibatches, self.nonfinite)
        self._clip_param, self._entropy_coeff = (
            Scheduler(value, framework="torch", device=self._device)
            for value in (config.clip_param, config.entropy_coeff)
        )
        optimizer, settings = self.get_optimizer(DEFAULT_MODULE_ID), self._settings()
        self.ppo_update = PPOUpdate(module, networks, optimizer, self.nonfinite, self._generator, settings)
        self._standing.note_generators()

    def generator_states(self) -> State:
        """This learner's own generator and the global ones of its process."""
        return self._standing.own_generators()

    def _settings(self) -> PPOSettings:
        config, micro_batch_size = self.config, self.config.micro_batch_size
        if micro_batch_size is None and self._device.type == "cpu":
            micro_batch_size = CPU_MICRO_BATCH
        return PPOSettings(
            clip_param=float(self._clip_param.get_current_value()),
            entropy_coeff=float(self._entropy_coeff.get_current_value()),
            vf_loss_coeff=config.vf_loss_coeff,
            vf_clip_param=config.vf_clip_param,
            num_epochs=config.num_epochs,
            num_minibatches=config.minibatches_per_epoch(),
            micro_batch_size=micro_batch_size,
            standardize=config.normalize_advantages == "minibatch",
            grad_clip=config.grad_clip,
            freeze_backbone=config.freeze_backbone,
        )

    @property
    def trained_module(self) -> IntrinsicPPOModule:
        """The one module that is trained."""
        return self.module[DEFAULT_MODULE_ID]

    @override(TorchLearner)
    def _make_modules_ddp_if_necessary(self) -> None:
        """No DDP: gradients are summed in `GuardedStep`, statistics in `RunningMoments`."""
        self._broadcast_initial_parameters()

    def _broadcast_initial_parameters(self) -> None:
        for tensor in self._module[DEFAULT_MODULE_ID].state_dict().values():
            broadcast_from_first(tensor)

    @override(TorchLearner)
    def configure_optimizers_for_module(self, module_id: str, config: AlgorithmConfig = None) -> None:
        """One optimizer over policy, critics, predictor and auxiliary heads; frozen networks are left out."""
        module = self._module[module_id]
        frozen = [module.backbone, *module.auxiliaries()] if config.freeze_backbone else []
        left_out = {id(p) for part in frozen for p in part.parameters()}
        params = [p for p in module.parameters() if p.requires_grad and id(p) not in left_out]
        optimizer: torch.optim.Optimizer
        if config.optimizer_type == "rmsprop":
            optimizer = RMSprop(params, alpha=0.99, eps=config.optimizer_epsilon)
        else:
            optimizer = Adam(params, fused=True, eps=config.optimizer_epsilon)
        self.register_optimizer(module_id=module_id, optimizer=optimizer, params=params, lr_or_lr_schedule=config.lr)

    def update_statistics(self, rollouts: Rollouts) -> None:
        """Feeds rollouts of random play (or their references) to the statistics of the intrinsic rewards."""
        rollout = self.own_share(rollouts)
        if self._is_usable(rollout):
            with torch.no_grad():
                update_statistics(self.trained_module.rewards(), rollout)

    def note_without_warmup(self) -> str | None:
        """What is to be said if there is no random play for the statistics of the intrinsic rewards."""
        return note_without_warmup(self.trained_module.rewards())

    def hold_out(self, rollouts: Rollouts) -> bool:
        """Keeps a rollout of random play to measure pre-training on, if it is finite.

        Returns:
            Whether it was; the next one is to be held out else.
        """
        assert self.pretraining is not None
        rollout = self.own_share(rollouts)
        if not self._is_usable(rollout):
            return False
        self.pretraining.hold_out(rollout)
        return True

    def pretrain(self, rollouts: Rollouts) -> tuple[dict[str, Any], bool]:
        """Pre-trains on one rollout of random play. Returns metrics, and whether that was the last one."""
        assert self.pretraining is not None
        rollout = self.own_share(rollouts)
        if self._is_usable(rollout):
            self._log(self.pretraining.train_on(rollout, self._generator))
            self._log_plugins(auxiliary_loss=self.trained_module.auxiliaries())
        self._log({"nonfinite_updates": self.nonfinite.total})
        self._reported = {}  # what belongs to pre-training is not told of afterwards
        self._standing.note_generators()
        return self.metrics.reduce(), self.pretraining.finished

    def update_from_rollouts(
        self, rollouts: Rollouts, timesteps: dict[str, int], environments: Sequence[Hashable] = ()
    ) -> dict[str, Any]:
        """One iteration of learning.

        Args:
            rollouts: rollouts or their object references, the same list on every learner.
            timesteps: ``{NUM_ENV_STEPS_SAMPLED_LIFETIME: agent steps}`` for the schedules.
            environments: in whose order the rollouts are; one that was lost and has others in its place has another
                name. Empty: not known.

        Raises:
            NonFiniteTrainingError: ``max_nonfinite_updates`` updates in a row had non-finite losses or gradients.
        """
        self.before_gradient_based_update(timesteps=timesteps)
        before, self._reported = self._reported, {}
        self._weights_seq_no += 1
        # As numbers, once: reading a tensor in every minibatch would wait for the device each time.
        steps = timesteps[NUM_ENV_STEPS_SAMPLED_LIFETIME]
        self.ppo_update.clip_param = float(self._clip_param.update(timestep=steps))
        self.ppo_update.entropy_coeff = float(self._entropy_coeff.update(timestep=steps))
        if self.config.freeze_backbone:
            self.trained_module.backbone.requires_grad_(False)
        started = time.perf_counter()
        rollout = self.own_share(rollouts)
        self._log({"transfer_s": time.perf_counter() - started, "threads": torch.get_num_threads()})
        self._standing.follow(environments)
        if not (self._is_usable(rollout) and self._train_on(rollout)):
            forget_ended_episodes(self.trained_module.rewards(), rollout.is_first)
        self._resample_noise()
        self._standing.note_generators()
        self._standing.note_rows(*self._share)
        self._log({"nonfinite_updates": self.nonfinite.total})
        self._log_steps(rollout)
        # Without a sample some have no value: they keep the last one, where RLlib would report NaN.
        self._log({name: value for name, value in before.items() if name not in self._reported})
        self.after_gradient_based_update(timesteps=timesteps)
        return self.metrics.reduce()

    def _train_on(self, rollout: Rollout) -> bool:
        """Rewards, all epochs, statistics; nothing (False, and counted) if rewards or advantages are not finite."""
        try:
            batch = self.prepare(rollout)
        except NonFiniteRewardError as error:
            self.nonfinite.skipped(str(error))
            return False
        self._log(self.ppo_update.train_on(batch))
        with torch.no_grad():
            # Only now: reward and predictor of one rollout see the same statistics.
            update_statistics(self.trained_module.rewards(), rollout)
        self._log_plugins(intrinsic_reward=self.trained_module.rewards(), auxiliary_loss=self.ppo_update.auxiliaries)
        return True

    @override(TorchLearner)
    def compute_loss_for_module(self, **_: object) -> Tensor:
        """RLlib's entry for stock batches, which carry no unbroken time order.

        Raises:
            TypeError: always; `update_from_rollouts` is the way in.
        """
        raise TypeError("This learner trains on rollouts: call update_from_rollouts, not update.")

    # --- rollouts --------------------------------------------------------------------------------------------------

    def own_share(self, rollouts: Rollouts) -> Rollout:
        """This learner's environments, fetching only the rollouts they are in."""
        resolved = [unpack(ray.get(r) if isinstance(r, ray.ObjectRef) else r) for r in rollouts]
        num_envs = sum(rollout.num_envs for rollout in resolved)
        start, stop = shard_bounds(num_envs, world_size(), rank())
        self._share = (num_envs, start, stop)
        return select_and_join(resolved, start, stop, self._device)

    def prepare(self, rollout: Rollout) -> TrainingBatch:
        """Everything that minibatches are drawn from; the scales of the intrinsic rewards move forward.

        Raises:
            NonFiniteRewardError: rewards or advantages are not finite; nothing has moved.
        """
        config = self.config
        settings = AdvantageSettings(
            gamma=config.gamma,
            lambda_=config.lambda_,
            extrinsic_coeff=config.extrinsic_coeff,
            extrinsic_reward=config.extrinsic_reward,
            standardize=config.normalize_advantages == "rollout",
            bootstrap_truncated=config.bootstrap_truncated,
        )
        batch, metrics = prepare_training(self.trained_module, rollout, settings)
        self._log(metrics)
        return batch

    def _is_usable(self, rollout: Rollout) -> bool:
        """False (and counted) if the environment delivered a non-finite observation or reward."""
        parts = [("reward", rollout.reward), ("observation", rollout.frames), ("value", rollout.value)]
        parts += [("logp", rollout.logp), ("action", rollout.action), ("memory", rollout.memory)]
        bad = not_finite(parts, "another learner's rollout")
        if bad:
            self.nonfinite.skipped(bad)
        return not bad

    def _resample_noise(self) -> None:
        """New noise of noisy layers for the next rollout, the same on every learner and, with the weights, runner."""
        for layer in noisy_layers(self.trained_module):
            layer.resample(self._generator)
            for eps in (layer.eps_in, layer.eps_out):
                broadcast_from_first(eps)

    # --- metrics and state -------------------------------------------------------------------------------------------

    def _log(self, values: Mapping[str, Tensor | float]) -> None:
        for name, value in values.items():
            number = float(value)
            if math.isfinite(number):  # else the last value stays; that it was skipped is counted
                self._reported[name] = number
                self.metrics.log_value((DEFAULT_MODULE_ID, *name.split("/")), number, window=1)

    def _log_plugins(self, **kinds: Sequence[IntrinsicReward | AuxiliaryLoss]) -> None:
        """What plug-ins report, each with its number among its kind; kinds by the name of their setting.

        Raises:
            ConfigError: a plug-in reports what is no number.
        """
        for kind, plugins in kinds.items():
            for i, plugin in enumerate(plugins):
                with at(plugin_path(kind, i, len(plugins))):
                    metrics = checked_metrics(plugin, plugin.metrics)
                self._log({PLUGINS + numbered(name, i): value for name, value in metrics.items()})

    def _log_steps(self, rollout: Rollout) -> None:
        count = int(rollout.valid.sum()) * self.config.num_epochs
        for module_id in (DEFAULT_MODULE_ID, ALL_MODULES):
            self.metrics.log_value((module_id, "num_module_steps_trained"), count, reduce="sum")
            self.metrics.log_value((module_id, "num_module_steps_trained_lifetime"), count, reduce="lifetime_sum")
        self._log({"learning_rate": self._get_optimizer_lr(next(iter(self._optimizer_parameters)))})

    @override(TorchLearner)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: object,
    ) -> dict[str, Any]:
        """RLlib's learner state plus what a bitwise resume needs: all learners' generators and rows, and counters."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        # Not where weights alone are asked for, as in every iteration.
        if not self._check_component("intrinsic_ppo", components, not_components):
            return state
        state["intrinsic_ppo"] = {
            **self._standing.state(),
            "reported": dict(self._reported),
            "nonfinite_updates": self.nonfinite.total,
            "nonfinite_in_a_row": self.nonfinite.in_a_row,
            "pretraining": None if self.pretraining is None else self.pretraining.get_state(),
        }
        return state

    @override(TorchLearner)
    def set_state(self, state: dict[str, Any]) -> None:
        """Restores `get_state`, and leaves it as it is: RLlib's optimizers would go on in its arrays."""
        if COMPONENT_OPTIMIZER in state:
            state = {**state, COMPONENT_OPTIMIZER: copy.deepcopy(state[COMPONENT_OPTIMIZER])}
        super().set_state(state)
        own = state.get("intrinsic_ppo")
        if own is not None:
            num_envs = self.config.num_envs_per_env_runner * max(1, self.config.num_env_runners)
            self._standing.restore(own, num_envs)
            self._reported = dict(own["reported"])
            self.nonfinite.total = own["nonfinite_updates"]
            self.nonfinite.in_a_row = own["nonfinite_in_a_row"]
            if self.pretraining is not None and own.get("pretraining") is not None:
                self.pretraining.set_state(own["pretraining"])

    def apply_settings(self, agent_steps: int, reseed: bool = False) -> None:
        """After `set_state`: gives the optimizer, whose state holds those of the saved run, this run's settings.

        All else that is not state is read from the configuration when it is used, or when the learner is built.

        Args:
            agent_steps: of the run so far, for schedules.
            reseed: begin the generators anew, as with another seed.
        """
        optimizer = self.get_optimizer(DEFAULT_MODULE_ID)
        schedule = self._optimizer_lr_schedules[optimizer]
        self._set_optimizer_lr(optimizer, lr=schedule.update(timestep=agent_steps))
        for group in optimizer.param_groups:
            group["eps"] = self.config.optimizer_epsilon
        if reseed:
            self._standing.seed_generator()
            if self.config.seed is not None:
                seed_globals(self.config.seed)
            self._standing.note_generators()

    def forget_weights(self) -> None:
        """Takes the next weights it is given, though they may be older than its own."""
        self._weights_seq_no = 0

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all that a checkpoint holds of the module, by name."""
        return saved_shapes(self.trained_module)
