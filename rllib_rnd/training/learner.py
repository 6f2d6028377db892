"""The learner: rollout -> intrinsic rewards -> two-stream GAE -> minibatches -> losses -> one Adam step each.

Sources: PPO (Schulman et al. 2017, arXiv 1707.06347), RND's combination of two return streams (Burda et al. 2018,
arXiv 1810.12894, section 2.3). All numbers that several learners must agree on (counts, statistics, gradients)
are summed explicitly: wrapping the module in DDP would overwrite the running statistics of all ranks but the first.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ALL_MODULES, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from rllib_rnd.auxiliary.base import AuxiliaryLoss
from rllib_rnd.auxiliary.gradient_projection import backward_projected
from rllib_rnd.functional.ppo import ppo_sums
from rllib_rnd.intrinsic.base import IntrinsicReward
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.accelerate import accelerate, learner_compile_options
from rllib_rnd.modules.distributed import (
    all_reduce_sum,
    broadcast_from_first,
    rank,
    standardize,
    sum_gradients,
    world_size,
)
from rllib_rnd.modules.environment_rows import gather_rows, scatter_rows
from rllib_rnd.modules.layers import noisy_layers
from rllib_rnd.options import numbered
from rllib_rnd.rollout import Rollout, select_and_join, shard_bounds
from rllib_rnd.threads import plan_threads
from rllib_rnd.training.allocator import keep_freed_memory
from rllib_rnd.training.batch import TrainingBatch, prepare_training
from rllib_rnd.training.nonfinite import NonFiniteUpdates
from rllib_rnd.training.plugin_losses import PLUGINS, auxiliary_terms, check_minibatches, reward_terms, weighted_sum
from rllib_rnd.training.pretraining import Pretraining

# Samples per pass that keep a CPU's temporaries small enough for its caches and large enough for its cores.
_CPU_MICRO_BATCH = 1024


class IntrinsicPPOLearner(TorchLearner):
    """PPO over several return streams, with intrinsic rewards and auxiliary losses as plug-ins."""

    @override(TorchLearner)
    def build(self) -> None:
        """Builds module and optimizer, and the generators of minibatch order and masks."""
        # Under Ray a process is limited to one thread unless told otherwise.
        torch.set_num_threads(plan_threads(self.config).learner)
        super().build()
        module, learners = self.trained_module, max(1, self.config.num_learners)
        samples = self.config.samples_per_iteration() // learners // self.config.minibatches_per_epoch()
        check_minibatches(module.rewards(), module.auxiliaries(), samples)
        self._policy_and_values = accelerate(
            self.trained_module.policy_and_values,
            self._device,
            self.config.autocast,
            learner_compile_options(self.config, self._device),
        )
        if self.config.keep_freed_memory and self._device.type == "cpu":
            keep_freed_memory()
        self._generator = torch.Generator(device=self._device)
        if self.config.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(self.config.seed + 7919 * rank())
        self._micro_batch_size = self.config.micro_batch_size
        if self._micro_batch_size is None and self._device.type == "cpu":
            self._micro_batch_size = _CPU_MICRO_BATCH
        self._environment_rows: dict[str, Tensor] = {}
        self._nonfinite = NonFiniteUpdates(self.config.max_nonfinite_updates)
        options = self.config.pretraining_options()
        minibatches = self.config.minibatches_per_epoch()
        self._pretraining = (
            None if options is None else Pretraining(self.trained_module, options, minibatches, self._nonfinite)
        )
        self._schedules = {
            name: Scheduler(getattr(self.config, name), framework="torch", device=self._device)
            for name in ("entropy_coeff", "clip_param")
        }
        self._scheduled = {name: float(schedule.get_current_value()) for name, schedule in self._schedules.items()}

    @property
    def trained_module(self) -> IntrinsicPPOModule:
        """The one module that is trained."""
        return self.module[DEFAULT_MODULE_ID]

    @override(TorchLearner)
    def _make_modules_ddp_if_necessary(self) -> None:
        """No DDP: gradients are summed in `_apply`, statistics in `RunningMoments`."""
        self._broadcast_initial_parameters()

    def _broadcast_initial_parameters(self) -> None:
        for tensor in self._module[DEFAULT_MODULE_ID].state_dict().values():
            broadcast_from_first(tensor)

    @override(TorchLearner)
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One optimizer over policy, critics, predictor and auxiliary heads; frozen networks are left out."""
        module = self._module[module_id]
        frozen = [module.backbone, *module.auxiliaries()] if config.freeze_backbone else []
        left_out = {id(p) for part in frozen for p in part.parameters()}
        params = [p for p in module.parameters() if p.requires_grad and id(p) not in left_out]
        optimizer: torch.optim.Optimizer
        if config.optimizer_type == "rmsprop":
            optimizer = torch.optim.RMSprop(params, alpha=0.99, eps=config.optimizer_epsilon)
        else:
            optimizer = torch.optim.Adam(params, fused=True, eps=config.optimizer_epsilon)
        self.register_optimizer(module_id=module_id, optimizer=optimizer, params=params, lr_or_lr_schedule=config.lr)

    def update_statistics(self, rollouts: list[Any]) -> None:
        """Feeds rollouts of random play (or their references) to the statistics of the intrinsic rewards."""
        rollout = self._own_share(rollouts)
        with torch.no_grad():
            for reward in self.trained_module.rewards():
                reward.update_statistics(rollout)

    def hold_out(self, rollouts: list[Any]) -> None:
        """Keeps a rollout of random play to measure pre-training on."""
        assert self._pretraining is not None
        self._pretraining.hold_out(self._own_share(rollouts))

    def pretrain(self, rollouts: list[Any]) -> tuple[dict[str, Any], bool]:
        """Pre-trains on one rollout of random play. Returns metrics, and whether that was the last one."""
        assert self._pretraining is not None
        self._log(self._pretraining.train_on(self._own_share(rollouts), self._generator))
        self._log_plugins(enumerate(self.trained_module.auxiliaries()))
        return self.metrics.reduce(), self._pretraining.finished

    def update_from_rollouts(self, rollouts: list[Any], timesteps: dict[str, int]) -> dict[str, Any]:
        """One iteration of learning.

        Args:
            rollouts: rollouts or their object references, the same list on every learner.
            timesteps: ``{NUM_ENV_STEPS_SAMPLED_LIFETIME: agent steps}`` for the schedules.

        Raises:
            NonFiniteTrainingError: ``max_nonfinite_updates`` updates in a row had non-finite losses or gradients.
        """
        self.before_gradient_based_update(timesteps=timesteps)
        self._weights_seq_no += 1
        for name, schedule in self._schedules.items():
            # As numbers, once: reading a tensor in every minibatch would wait for the device each time.
            self._scheduled[name] = float(schedule.update(timestep=timesteps[NUM_ENV_STEPS_SAMPLED_LIFETIME]))
        if self.config.freeze_backbone:
            self.trained_module.backbone.requires_grad_(False)
        started = time.perf_counter()
        rollout = self._own_share(rollouts)
        self._log({"transfer_s": time.perf_counter() - started})
        if self._is_usable(rollout):
            batch = self._prepare(rollout)
            sums: dict[str, list[Tensor]] = defaultdict(list)
            for _ in range(self.config.num_epochs):
                order = torch.randperm(len(batch.sequences), generator=self._generator, device=self._device)
                for chunk in order.tensor_split(self.config.minibatches_per_epoch()):
                    for name, value in self._minibatch_step(batch, batch.sequences[chunk]).items():
                        sums[name].append(value)
            self._log({name: torch.stack(values).mean() for name, values in sums.items()})
            with torch.no_grad():
                # Only now: reward and predictor of one rollout see the same statistics.
                for reward in self.trained_module.rewards():
                    reward.update_statistics(rollout)
            self._log_plugins(self._plugins())
        self._resample_noise()
        # On every learner, because a checkpoint is written by the first one only.
        self._environment_rows = gather_rows(self.trained_module, *self._share)
        self._log({"nonfinite_updates": self._nonfinite.total})
        self._log_steps(rollout)
        self.after_gradient_based_update(timesteps=timesteps)
        return self.metrics.reduce()

    @override(TorchLearner)
    def compute_loss_for_module(self, **kwargs: Any) -> Tensor:
        """RLlib's entry for stock batches, which carry no unbroken time order.

        Raises:
            TypeError: always; `update_from_rollouts` is the way in.
        """
        raise TypeError("This learner trains on rollouts: call update_from_rollouts, not update.")

    # --- from rollouts to a training batch -------------------------------------------------------------------------

    def _own_share(self, rollouts: list[Any]) -> Rollout:
        """This learner's environments, fetching only the rollouts they are in."""
        resolved = [ray.get(r) if isinstance(r, ray.ObjectRef) else r for r in rollouts]
        num_envs = sum(rollout.num_envs for rollout in resolved)
        start, stop = shard_bounds(num_envs, world_size(), rank())
        self._share = (num_envs, start, stop)
        return select_and_join(resolved, start, stop, self._device)

    def _is_usable(self, rollout: Rollout) -> bool:
        """False (and counted) if the environment delivered a non-finite observation or reward."""
        parts = {"reward": rollout.reward, "observation": rollout.frames, "value": rollout.value}
        bad = [k for k, v in parts.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
        count = all_reduce_sum(torch.tensor(float(len(bad)), device=self._device))
        if count > 0:
            self._nonfinite.skipped(", ".join(bad) or "another learner's rollout")
            return False
        return True

    def _prepare(self, rollout: Rollout) -> TrainingBatch:
        """Everything that minibatches are drawn from."""
        batch, metrics = prepare_training(self.trained_module, rollout, self.config)
        self._log(metrics)
        return batch

    # --- one minibatch -----------------------------------------------------------------------------------------------

    def _minibatch_step(self, batch: TrainingBatch, sequences: Tensor) -> dict[str, Tensor]:
        """One step of the optimizer. Gradients of policy and critics are summed over micro-batches."""
        self.trained_module.train()
        if self.config.freeze_backbone:
            self.trained_module.backbone.eval()
        index = self._samples(batch, sequences)
        if self.config.normalize_advantages == "minibatch":
            batch = replace(batch, advantage=standardize(batch.advantage, index))
        for optimizer in self._optimizer_parameters:
            optimizer.zero_grad(set_to_none=True)
        count = all_reduce_sum(torch.tensor(float(len(index)), device=index.device)).clamp(min=1.0)
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=index.device))
        micro_size = max(1, (self._micro_batch_size or sequences.numel()) // sequences.shape[1])
        for micro in sequences.split(micro_size):
            loss, parts = self._ppo_loss(batch, micro, count)
            loss.backward()
            for name, value in parts.items():
                sums[name] += value
        loss, projected, parts = self._plugin_loss(batch, index)
        if loss.requires_grad:  # not with plug-ins that have nothing to learn, such as counts
            loss.backward()
        if projected.requires_grad:
            shared = [p for p in self.trained_module.backbone.parameters() if p.requires_grad]
            parts |= {PLUGINS + name: value for name, value in backward_projected(projected, shared).items()}
        metrics = {**sums, **parts}
        metrics["total_loss"] = sums["total_loss"] + world_size() * (loss.detach() + projected.detach())
        metrics["grad_norm"] = self._apply(metrics)
        return metrics

    def _samples(self, batch: TrainingBatch, sequences: Tensor) -> Tensor:
        """``[B]`` flat indices of the valid samples in sequences ``[Q, L]``, in time-major order."""
        index = sequences.T.flatten()
        # Sequences of a stateless policy hold valid samples only.
        return index[batch.rollout.valid.flatten()[index]] if self.trained_module.is_stateful() else index

    def _evaluate(self, batch: TrainingBatch, sequences: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Flat indices ``[B]`` of the samples in sequences, as of `_samples`, with the inputs of their action
        distribution ``[B, P]`` and their values ``[B, S]``."""
        rollout, index = batch.rollout, sequences.T.flatten()
        if not self.trained_module.is_stateful():
            dist_inputs, values, _ = self._policy_and_values(rollout.obs(index), None, None)
            return index, dist_inputs, values
        dist_inputs, values, _ = self._policy_and_values(rollout.obs(index), *rollout.sequence_starts(sequences))
        valid = rollout.valid.flatten()[index]
        return index[valid], dist_inputs[valid], values[valid]

    def _ppo_loss(self, batch: TrainingBatch, sequences: Tensor, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The share of ``sequences`` in a minibatch's PPO loss, and its parts for the metrics.

        Args:
            batch: what the iteration trains on.
            sequences: ``[Q, L]`` flat indices.
            count: samples of the whole minibatch over all learners, by which sums are divided.

        RLlib reports the mean of metrics over learners, so the parts are shares times learners.
        """
        rollout = batch.rollout
        index, dist_inputs, values = self._evaluate(batch, sequences)
        action = rollout.action.flatten(0, 1)[index]
        logp, entropy = self.trained_module.distribution.logp_and_entropy(dist_inputs, action)
        sums = ppo_sums(
            logp,
            entropy,
            values,
            rollout.logp.flatten()[index],
            rollout.value[:-1].flatten(0, 1)[index],
            batch.advantage[index],
            batch.value_target[index],
            self._scheduled["clip_param"],
            self.config.vf_clip_param,
        )
        parts = {name: value / count for name, value in sums.items()}
        entropy_coeff = self._scheduled["entropy_coeff"]
        total = parts["policy_loss"] + self.config.vf_loss_coeff * parts["vf_loss"] - entropy_coeff * parts["entropy"]
        parts["total_loss"] = total
        return total, {name: world_size() * value.detach() for name, value in parts.items()}

    def _plugin_loss(self, batch: TrainingBatch, index: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The losses of intrinsic rewards and auxiliary losses, those with projected gradients apart, and their parts.

        They see the whole minibatch at once: some are statistics of a batch, and what the predictor trains on is
        small anyway.
        """
        module, rollout = self.trained_module, batch.rollout
        terms = reward_terms(module.rewards(), rollout, batch.features, index, self._generator)
        terms += auxiliary_terms(self._auxiliaries(), module.backbone, rollout, index, self._generator)
        return weighted_sum(terms, index.device)

    def _auxiliaries(self) -> list[AuxiliaryLoss]:
        """The auxiliary losses; none with a frozen backbone, which they would not reach."""
        return [] if self.config.freeze_backbone else self.trained_module.auxiliaries()

    def _plugins(self) -> list[tuple[int, IntrinsicReward | AuxiliaryLoss]]:
        """Intrinsic rewards and auxiliary losses, each with its number among its kind."""
        return [*enumerate(self.trained_module.rewards()), *enumerate(self._auxiliaries())]

    def _apply(self, metrics: dict[str, Tensor]) -> Tensor:
        """Sums gradients over learners, clips, checks once that all is finite, steps. Returns the gradient norm."""
        sum_gradients(list(self._params.values()))
        params = [p for p in self._params.values() if p.grad is not None]
        grads = [p.grad for p in params]
        norm = torch.nn.utils.get_total_norm(grads)
        # One device sync for the whole step. RLlib's own flag `torch_skip_nan_gradients` does the opposite of its
        # documentation (it steps with the bad gradients), so it plays no part here.
        if not bool(torch.isfinite(norm)):
            bad = [name for name, value in metrics.items() if not bool(torch.isfinite(value))]
            self._nonfinite.skipped(", ".join(bad) or "the gradients")
            return torch.zeros_like(norm)
        if self.config.grad_clip is not None:
            torch.nn.utils.clip_grads_with_norm_(params, self.config.grad_clip, norm)
        for optimizer in self._optimizer_parameters:
            optimizer.step()
        for _, plugin in self._plugins():
            plugin.after_update(self.trained_module.backbone)
        self._nonfinite.in_a_row = 0
        return norm

    def _resample_noise(self) -> None:
        """New noise of noisy layers for the next rollout, the same on every learner and, with the weights, runner."""
        for layer in noisy_layers(self.trained_module):
            layer.resample(self._generator)
            for eps in (layer.eps_in, layer.eps_out):
                broadcast_from_first(eps)

    # --- metrics and state -------------------------------------------------------------------------------------------

    def _log(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            self.metrics.log_value((DEFAULT_MODULE_ID, *name.split("/")), float(value), window=1)

    def _log_plugins(self, plugins: Iterable[tuple[int, IntrinsicReward | AuxiliaryLoss]]) -> None:
        for i, plugin in plugins:
            self._log({PLUGINS + numbered(name, i): value for name, value in plugin.metrics.items()})

    def _log_steps(self, rollout: Rollout) -> None:
        count = int(rollout.valid.sum()) * self.config.num_epochs
        for module_id in (DEFAULT_MODULE_ID, ALL_MODULES):
            self.metrics.log_value((module_id, "num_module_steps_trained"), count, reduce="sum")
            self.metrics.log_value((module_id, "num_module_steps_trained_lifetime"), count, reduce="lifetime_sum")
        self._log({"learning_rate": self._get_optimizer_lr(next(iter(self._optimizer_parameters)))})

    @override(TorchLearner)
    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """RLlib's learner state plus what a bitwise resume needs: generator and non-finite counters."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        # Not where weights alone are asked for, as in every iteration.
        if not self._check_component("intrinsic_ppo", components, not_components):
            return state
        state["intrinsic_ppo"] = {
            "generator": self._generator.get_state().numpy(),
            "environment_rows": {name: rows.cpu().numpy() for name, rows in self._environment_rows.items()},
            "nonfinite_updates": self._nonfinite.total,
            "nonfinite_in_a_row": self._nonfinite.in_a_row,
            "pretraining": None if self._pretraining is None else self._pretraining.get_state(),
        }
        return state

    @override(TorchLearner)
    def set_state(self, state: dict[str, Any]) -> None:
        """Restores `get_state`."""
        super().set_state(state)
        own = state.get("intrinsic_ppo")
        if own is not None:
            if rank() == 0:  # the others go on with their own: two learners must not draw the same masks
                self._generator.set_state(torch.from_numpy(own["generator"].copy()))
            self._environment_rows = {n: torch.from_numpy(rows.copy()) for n, rows in own["environment_rows"].items()}
            scatter_rows(self.trained_module, self._environment_rows, world_size(), rank())
            self._nonfinite.total = own["nonfinite_updates"]
            self._nonfinite.in_a_row = own["nonfinite_in_a_row"]
            if self._pretraining is not None and own.get("pretraining") is not None:
                self._pretraining.set_state(own["pretraining"])
