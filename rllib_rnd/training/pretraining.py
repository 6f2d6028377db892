"""Self-supervised pre-training of the backbone: auxiliary losses on random play, before the first policy update."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.distributed import all_reduce_sum
from rllib_rnd.options import option
from rllib_rnd.rollout import Rollout
from rllib_rnd.training.batch import have_samples
from rllib_rnd.training.nonfinite import NonFiniteUpdates
from rllib_rnd.training.plugin_losses import WeightedSum, auxiliary_terms, weighted_sum
from rllib_rnd.training.update import GuardedStep

# The draws of augmentations on the held-out rollout are the same every time, so that losses can be compared.
_HELD_OUT_SEED = 0


@dataclass(frozen=True)
class PretrainingOptions:
    """Options of ``pretraining``."""

    max_rollouts: int = option(100, "rollouts of random play that are trained on, at most", low=1)
    patience: int = option(
        5, "rollouts in a row without a better held-out loss after which it ends; 3 to 20 usual", low=1
    )
    min_improvement: float = option(
        0.01, "share of the best held-out loss by which a new one must be lower to count as better", low=0.0, high=1.0
    )
    num_epochs: int = option(4, "passes over each rollout; RND+BYOL: as in training", low=1)
    lr: float = option(1e-4, "learning rate of Adam; RND+BYOL: that of training", low=0.0)


class Pretraining:
    """Pre-training on one learner: what it has seen so far, its own optimizer and the best weights.

    After the pre-training of the RND+BYOL lineage, which goes on for ever: the auxiliary losses alone train backbone
    and their own heads on rollouts of random play. The first rollout is never trained on: the loss on it, with always
    the same augmentations, says when to stop. ``patience`` rollouts without a better one end it, and the weights of the
    best one are put back.

    A low loss does not prove good features (a collapsed BYOL has the lowest): watch the collapse metrics of the losses.

    With several learners all see the same losses and gradients, and so end together.

    Args:
        module: the module whose backbone is trained.
        options: the options.
        num_minibatches: per epoch.
        nonfinite: counts steps that are skipped because their gradient is not finite.

    Attributes:
        rollouts: trained on so far.
        best_loss: lowest held-out loss so far, None before the first.
    """

    def __init__(
        self, module: IntrinsicPPOModule, options: PretrainingOptions, num_minibatches: int, nonfinite: NonFiniteUpdates
    ) -> None:
        self.module, self.options, self.num_minibatches = module, options, num_minibatches
        self.rollouts, self._since_best = 0, 0
        self.best_loss: float | None = None
        self._held_out: Rollout | None = None
        self._best_weights: dict[str, Tensor] = {}
        trained = [p for part in self._parts() for p in part.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(trained, lr=options.lr)
        self._guarded = GuardedStep(self._optimizer, module.auxiliaries(), module.backbone, nonfinite)

    @property
    def finished(self) -> bool:
        """Whether the held-out loss has stopped falling, or all rollouts are used."""
        return self._since_best >= self.options.patience or self.rollouts >= self.options.max_rollouts

    def hold_out(self, rollout: Rollout) -> None:
        """Keeps the rollout that losses are measured on."""
        self._held_out = rollout

    def train_on(self, rollout: Rollout, generator: torch.Generator) -> dict[str, Tensor | float]:
        """Trains on one rollout and measures the held-out loss; at the end puts the best weights back.

        Args:
            rollout: random play.
            generator: of the order of samples and of augmentations.

        Returns:
            Metrics by name: ``pretraining_loss`` (held out, if finite), ``pretraining_rollouts``, and the losses in
            training.

        Raises:
            RuntimeError: no rollout was held out.
            NonFiniteTrainingError: too many steps in a row had a gradient that was not finite.
        """
        if self._held_out is None:
            raise RuntimeError("hold_out must come before train_on.")
        sums: dict[str, list[Tensor]] = {}
        for _ in range(self.options.num_epochs):
            for index in self._minibatches(rollout, generator):
                for name, value in self._step(rollout, index, generator).items():
                    sums.setdefault(name, []).append(value)
        self.rollouts += 1
        loss = self.held_out_loss()
        self._note(loss)
        if self.finished:
            self._end()
        means = {name: torch.stack(values).mean() for name, values in sums.items()}
        held_out = {"pretraining_loss": loss} if math.isfinite(loss) else {}
        return {**held_out, "pretraining_rollouts": float(self.rollouts), **means}

    def held_out_loss(self) -> float:
        """The weighted sum of all auxiliary losses on the held-out rollout; nothing learns from it.

        Batches are normalised by their own statistics, as in training; what that leaves behind is taken back. Those
        that are too small for any loss have no say; infinite if there is no other.
        """
        assert self._held_out is not None
        buffers = [b for part in self._parts() for b in part.buffers()]
        before = [b.clone() for b in buffers]
        generator = torch.Generator(device=self._held_out.frames.device).manual_seed(_HELD_OUT_SEED)
        total, batches = 0.0, 0
        with torch.no_grad():
            for index in self._minibatches(self._held_out, generator):
                losses = self._weighted(self._held_out, index, generator)
                if float(losses.samples) > 0:
                    total += float(all_reduce_sum(losses.total))
                    batches += 1
        for buffer, old in zip(buffers, before, strict=True):
            buffer.copy_(old)
        return total / batches if batches else math.inf

    def get_state(self) -> dict[str, Any]:
        """Everything but the held-out rollout: after a resume another one is played and held out."""
        return copy.deepcopy(
            {
                "rollouts": self.rollouts,
                "best_loss": self.best_loss,
                "since_best": self._since_best,
                "best_weights": self._best_weights,
                "optimizer": self._optimizer.state_dict(),
            }
        )

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores `get_state`."""
        state = copy.deepcopy(state)
        self.rollouts, self.best_loss, self._since_best = state["rollouts"], state["best_loss"], state["since_best"]
        self._best_weights = state["best_weights"]
        self._optimizer.load_state_dict(state["optimizer"])

    def _parts(self) -> list[nn.Module]:
        return [self.module.backbone, *self.module.auxiliaries()]

    def _minibatches(self, rollout: Rollout, generator: torch.Generator) -> Iterator[Tensor]:
        """Flat indices of valid samples in random order, in equal parts, of which those that are empty are left out."""
        index = rollout.valid.flatten().nonzero()[:, 0]
        order = torch.randperm(len(index), generator=generator, device=generator.device).to(index.device)
        parts = index[order].tensor_split(self.num_minibatches)
        having = have_samples((len(part) for part in parts), index.device)
        yield from (part for part, has_samples in zip(parts, having, strict=True) if has_samples)

    def _weighted(self, rollout: Rollout, index: Tensor, generator: torch.Generator) -> WeightedSum:
        """The losses on one minibatch. Without PPO's there is nothing that a projection could protect."""
        self.module.train()
        terms = auxiliary_terms(self.module.auxiliaries(), self.module.backbone, rollout, index, generator)
        return weighted_sum(terms, index.device)

    def _step(self, rollout: Rollout, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        self._guarded.begin()
        losses = self._weighted(rollout, index, generator)
        losses.total.backward()
        self._guarded.take(losses.parts)
        return losses.parts

    def _note(self, loss: float) -> None:
        best = self.best_loss
        if math.isfinite(loss) and (best is None or loss < best - self.options.min_improvement * abs(best)):
            self.best_loss, self._since_best = loss, 0
            self._best_weights = {
                f"{i}.{name}": tensor.detach().clone()
                for i, part in enumerate(self._parts())
                for name, tensor in part.state_dict().items()
            }
        else:
            self._since_best += 1

    def _end(self) -> None:
        """Puts the best weights back and lets go of everything that was for training."""
        if self._best_weights:  # none, if no held-out loss was finite
            for i, part in enumerate(self._parts()):
                prefix = f"{i}."
                mine = {n.removeprefix(prefix): t for n, t in self._best_weights.items() if n.startswith(prefix)}
                part.load_state_dict(mine)
        for reward in self.module.rewards():
            reward.start_from(self.module.backbone)
        self._guarded.zero_gradients()
        self._optimizer.state.clear()
        self._best_weights, self._held_out = {}, None
