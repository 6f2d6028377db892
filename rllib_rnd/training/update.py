"""The update: minibatches -> losses of PPO and of plug-ins -> summed gradients -> one guarded step each.

Source: PPO (Schulman et al. 2017, arXiv 1707.06347). All numbers that several learners must agree on (counts,
statistics, gradients) are summed explicitly: wrapping the module in DDP would overwrite the running statistics of all
ranks but the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rllib_rnd.auxiliary.base import AuxiliaryLoss
from rllib_rnd.auxiliary.gradient_projection import backward_projected
from rllib_rnd.functional.ppo import ppo_sums
from rllib_rnd.intrinsic.base import IntrinsicReward
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.accelerate import PolicyAndValues
from rllib_rnd.modules.backbone import Backbone
from rllib_rnd.modules.distributed import all_reduce_sum, standardize, sum_gradients, world_size
from rllib_rnd.modules.repeats import different
from rllib_rnd.options import numbered
from rllib_rnd.own_code import failures_of
from rllib_rnd.training.batch import TrainingBatch, have_samples
from rllib_rnd.training.nonfinite import NonFiniteUpdates, StepStatistics
from rllib_rnd.training.plugin_losses import PLUGINS, WeightedSum, auxiliary_terms, reward_terms, weighted_sum


class GuardedStep:
    """Steps of an optimizer that are taken only if the gradient is finite.

    The gradient is summed over all learners before it is looked at, so that they step together or skip together.

    Args:
        optimizer: with the parameters that are trained; their gradients are shares of the sum over learners.
        plugins: told of every step that is taken.
        backbone: what they are told.
        nonfinite: counts the steps that are skipped.
        grad_clip: largest norm of the gradient, or None.
        module: all networks that the losses go through; None: backbone and plug-ins.

    Attributes:
        statistics: what the losses move besides; put back where a step is skipped.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        plugins: Sequence[IntrinsicReward | AuxiliaryLoss],
        backbone: Backbone,
        nonfinite: NonFiniteUpdates,
        grad_clip: float | None = None,
        module: nn.Module | None = None,
    ) -> None:
        self.optimizer, self.plugins, self.backbone = optimizer, list(plugins), backbone
        self.nonfinite, self.grad_clip = nonfinite, grad_clip
        self.statistics = StepStatistics([backbone, *self.plugins] if module is None else [module])
        self.parameters: list[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]

    def zero_gradients(self) -> None:
        """Forgets the gradients of the previous step."""
        self.optimizer.zero_grad(set_to_none=True)

    def begin(self) -> None:
        """Begins a step: comes before the losses."""
        self.zero_gradients()
        self.statistics.keep()

    def take(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Sums gradients over learners, checks once that all is finite, clips, steps.

        Args:
            losses: ``[]`` by name, to say which of them were not finite.

        Returns:
            The norm of the gradient before clipping, ``[]``; 0 if the step was skipped.

        Raises:
            NonFiniteTrainingError: it was skipped, like too many before it in a row.
        """
        sum_gradients(self.parameters)
        params = [p for p in self.parameters if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
        # One device sync for the whole step. RLlib's own flag `torch_skip_nan_gradients` does the opposite of its
        # documentation (it steps with the bad gradients), so it plays no part here.
        if not bool(torch.isfinite(norm)):
            self.statistics.put_back()
            self.zero_gradients()
            bad = [name for name, value in losses.items() if not bool(torch.isfinite(value))]
            self.nonfinite.skipped(", ".join(bad) or "the gradients")
            return torch.zeros_like(norm)
        if self.grad_clip is not None:
            nn.utils.clip_grads_with_norm_(params, self.grad_clip, norm)
        self.optimizer.step()
        for plugin in self.plugins:
            with failures_of(plugin, "after_update"):
                plugin.after_update(self.backbone)
        self.nonfinite.applied()
        return norm


@dataclass(frozen=True)
class PPOSettings:
    """What a `PPOUpdate` does.

    Attributes:
        clip_param: eps of the clipped surrogate, until a schedule says otherwise.
        entropy_coeff: weight of the entropy, likewise.
        vf_loss_coeff: weight of the critics' loss.
        vf_clip_param: largest trusted change of a value, or None.
        num_epochs: passes over each rollout.
        num_minibatches: per epoch, the same on every learner.
        micro_batch_size: samples per forward and backward pass of policy and critics; None: a whole minibatch.
        standardize: whether advantages are standardised over each minibatch.
        grad_clip: largest norm of the gradient, or None.
        freeze_backbone: leave the backbone as it is, and auxiliary losses out, which would not reach it.
    """

    clip_param: float
    entropy_coeff: float = 0.0
    vf_loss_coeff: float = 1.0
    vf_clip_param: float | None = None
    num_epochs: int = 1
    num_minibatches: int = 1
    micro_batch_size: int | None = None
    standardize: bool = False
    grad_clip: float | None = None
    freeze_backbone: bool = False


class PPOUpdate:
    """PPO over several return streams on one learner, with the losses of its plug-ins.

    Args:
        module: what is trained.
        networks: its ``policy_and_values``, possibly accelerated.
        optimizer: of all that is trained.
        nonfinite: counts the steps that are skipped.
        generator: of the order of samples and of the plug-ins' masks and augmentations.
        settings: see `PPOSettings`.

    Attributes:
        auxiliaries: the auxiliary losses that train; none with a frozen backbone.
        clip_param, entropy_coeff: their present values, which follow schedules.
    """

    def __init__(
        self,
        module: IntrinsicPPOModule,
        networks: PolicyAndValues,
        optimizer: torch.optim.Optimizer,
        nonfinite: NonFiniteUpdates,
        generator: torch.Generator,
        settings: PPOSettings,
    ) -> None:
        self.module, self.networks, self.generator, self.settings = module, networks, generator, settings
        self.clip_param, self.entropy_coeff = settings.clip_param, settings.entropy_coeff
        self.auxiliaries: list[AuxiliaryLoss] = [] if settings.freeze_backbone else module.auxiliaries()
        plugins: list[IntrinsicReward | AuxiliaryLoss] = [*module.rewards(), *self.auxiliaries]
        self._guarded = GuardedStep(optimizer, plugins, module.backbone, nonfinite, settings.grad_clip, module)

    def train_on(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """All epochs over one rollout. Returns means over the minibatches that have samples, ``[]`` each, of what is
        finite.

        Raises:
            NonFiniteTrainingError: too many steps in a row had a gradient that was not finite.
        """
        values: dict[str, list[Tensor]] = defaultdict(list)
        skipped = self._guarded.nonfinite.total
        for _ in range(self.settings.num_epochs):
            order = torch.randperm(len(batch.sequences), generator=self.generator, device=batch.sequences.device)
            parts = [batch.sequences[chunk] for chunk in order.tensor_split(self.settings.num_minibatches)]
            counts = [len(self.samples(batch, sequences)) for sequences in parts]
            for sequences, has_samples in zip(parts, have_samples(counts, order.device), strict=True):
                for name, value in self.step(batch, sequences).items() if has_samples else ():
                    values[name].append(value)
        means = {name: torch.stack(found) for name, found in values.items()}
        if self._guarded.nonfinite.total > skipped:  # else there is nothing to leave out
            means = {name: found[found.isfinite()] for name, found in means.items()}
        return {name: found.mean() for name, found in means.items() if len(found)}

    def step(self, batch: TrainingBatch, sequences: Tensor) -> dict[str, Tensor]:
        """One step of the optimizer on one minibatch, ``sequences [Q, L]``. Returns metrics, ``[]`` each."""
        metrics = self.gradients(batch, sequences)
        metrics["grad_norm"] = self._guarded.take(metrics)
        return metrics

    def gradients(self, batch: TrainingBatch, sequences: Tensor) -> dict[str, Tensor]:
        """Gives the parameters this learner's share of one minibatch's gradient, and returns its losses, ``[]`` each.

        Gradients of policy and critics are summed over micro-batches.
        """
        module, settings = self.module, self.settings
        module.train()
        if settings.freeze_backbone:
            module.backbone.eval()
        index = self.samples(batch, sequences)
        if settings.standardize:
            batch = replace(batch, advantage=standardize(batch.advantage, index))
        self._guarded.begin()
        count = all_reduce_sum(torch.tensor(float(len(index)), device=index.device)).clamp(min=1.0)
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=index.device))
        micro_size = max(1, (settings.micro_batch_size or sequences.numel()) // sequences.shape[1])
        for micro in sequences.split(micro_size):
            loss, parts = self.ppo_loss(batch, micro, count)
            loss.backward()
            for name, value in parts.items():
                sums[name] += value
        losses = self.plugin_loss(batch, index)
        shared = [p for p in module.backbone.parameters() if p.requires_grad]
        of_ppo = [p.grad for p in shared]  # before any plug-in adds to it
        for i, loss in losses.projected.items():
            found = backward_projected(loss, shared, of_ppo)
            losses.parts.update({PLUGINS + numbered(name, i): value for name, value in found.items()})
        if losses.plain.requires_grad:  # not with plug-ins that have nothing to learn, such as counts
            losses.plain.backward()
        total = sums["total_loss"] + world_size() * losses.total.detach()
        return {**sums, **losses.parts, "total_loss": total}

    def samples(self, batch: TrainingBatch, sequences: Tensor) -> Tensor:
        """``[B]`` flat indices of the valid samples in sequences ``[Q, L]``, in time-major order."""
        index = sequences.T.flatten()
        # Sequences of a stateless policy hold valid samples only.
        return index[batch.rollout.valid.flatten()[index]] if self.module.is_stateful() else index

    def ppo_loss(self, batch: TrainingBatch, sequences: Tensor, count: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The share of ``sequences`` in a minibatch's PPO loss, and its parts for the metrics.

        Args:
            batch: what the iteration trains on.
            sequences: ``[Q, L]`` flat indices.
            count: samples of the whole minibatch over all learners, by which sums are divided.

        RLlib reports the mean of metrics over learners, so the parts are shares times learners.
        """
        rollout, settings = batch.rollout, self.settings
        index, dist_inputs, values = self._evaluate(batch, sequences)
        action = rollout.action.flatten(0, 1)[index]
        logp, entropy = self.module.distribution.logp_and_entropy(dist_inputs, action)
        sums = ppo_sums(
            logp,
            entropy,
            values,
            rollout.logp.flatten()[index],
            rollout.value[:-1].flatten(0, 1)[index],
            batch.advantage[index],
            batch.value_target[index],
            self.clip_param,
            settings.vf_clip_param,
        )
        parts = {name: value / count for name, value in sums.items()}
        total = parts["policy_loss"] + settings.vf_loss_coeff * parts["vf_loss"] - self.entropy_coeff * parts["entropy"]
        parts["total_loss"] = total
        return total, {name: world_size() * value.detach() for name, value in parts.items()}

    def plugin_loss(self, batch: TrainingBatch, index: Tensor) -> WeightedSum:
        """The losses of intrinsic rewards and auxiliary losses on the samples ``index [B]``.

        They see the whole minibatch at once: some are statistics of a batch, and what the predictor trains on is
        small anyway.
        """
        module, rollout = self.module, batch.rollout
        terms = reward_terms(module.rewards(), rollout, batch.features, index, self.generator)
        terms += auxiliary_terms(self.auxiliaries, module.backbone, rollout, index, self.generator)
        return weighted_sum(terms, index.device)

    def _evaluate(self, batch: TrainingBatch, sequences: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Flat indices ``[B]`` of the samples in sequences, as of `samples`, with the inputs of their action
        distribution ``[B, P]`` and their values ``[B, S]``."""
        rollout, index = batch.rollout, sequences.T.flatten()
        found = different(rollout, index) if self.module.backbone.reads_each_once else None
        rows, places = (index, None) if found is None else found
        if not self.module.is_stateful():
            dist_inputs, values, _ = self.networks(rollout.obs(rows), None, None, places)
            return index, dist_inputs, values
        dist_inputs, values, _ = self.networks(rollout.obs(rows), *rollout.sequence_starts(sequences), places)
        valid = rollout.valid.flatten()[index]
        return index[valid], dist_inputs[valid], values[valid]
