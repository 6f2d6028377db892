"""The losses of intrinsic rewards and auxiliary losses on a minibatch, as one number each and all together."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from ray.util import log_once
from torch import Tensor, nn

from rllib_rnd.auxiliary.base import AuxiliaryLoss
from rllib_rnd.errors import ConfigError, at
from rllib_rnd.intrinsic.base import IntrinsicReward
from rllib_rnd.modules.backbone import Backbone
from rllib_rnd.modules.distributed import all_reduce_sum, world_size
from rllib_rnd.options import numbered, plugin_path
from rllib_rnd.own_code import failures_of, method_of, name_of
from rllib_rnd.plugin import LossTerms
from rllib_rnd.plugin_contract import checked_reward, checked_terms
from rllib_rnd.rollout import Rollout
from rllib_rnd.training.nonfinite import NonFiniteRewardError, not_finite

logger = logging.getLogger(__name__)

#: What plug-ins report stands in a section of its own among a learner's metrics: their names are theirs.
PLUGINS = "plugins/"


class Term(NamedTuple):
    """One loss of a plug-in.

    Attributes:
        name: in the metrics; those of further plug-ins of a kind carry their number.
        total: ``[]`` sum over samples.
        samples: ``[]`` their number.
        weight: in the sum of all losses.
        project: number of the auxiliary loss, if its gradient is to be projected.
    """

    name: str
    total: Tensor
    samples: Tensor
    weight: float = 1.0
    project: int | None = None


def check_minibatches(rewards: Sequence[IntrinsicReward], losses: Sequence[AuxiliaryLoss], samples: int) -> None:
    """Refuses minibatches of ``samples`` per learner in which a loss has too few of them for what it compares.

    Raises:
        ConfigError: they are too small.
    """
    plugins: dict[str, Sequence[IntrinsicReward | AuxiliaryLoss]]
    plugins = {"intrinsic_reward": rewards, "auxiliary_loss": losses}
    for kind, members in plugins.items():
        for i, plugin in enumerate(members):
            if samples < plugin.min_batch_size:
                raise ConfigError(
                    plugin_path(kind, i, len(members)),
                    f"minibatches of {samples} samples per learner are too small for its loss, which compares samples "
                    "with each other",
                    f"{plugin.min_batch_size} or more: fewer num_minibatches, a larger minibatch_size, or more "
                    "environments",
                )


def compute_rewards(rewards: Sequence[IntrinsicReward], rollout: Rollout) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Raw rewards ``[T, N]`` and features of every intrinsic reward.

    Raises:
        ConfigError: a reward fails, or returns something else.
    """
    computed = []
    for i, reward in enumerate(rewards):
        with at(plugin_path("intrinsic_reward", i, len(rewards))):
            computed.append(checked_reward(reward, reward.compute, rollout))
    return computed


def compute_finite_rewards(
    rewards: Sequence[IntrinsicReward], rollout: Rollout
) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """As `compute_rewards`.

    Raises:
        ConfigError: as `compute_rewards`.
        NonFiniteRewardError: rewards are not finite, here or on another learner; their scales have not seen them.
    """
    computed = compute_rewards(rewards, rollout)
    parts = [(f"the rewards of {name_of(type(r))}", raw) for r, (raw, _) in zip(rewards, computed, strict=True)]
    bad = not_finite(parts, "another learner's intrinsic rewards") if rewards else ""
    if bad:
        raise NonFiniteRewardError(bad)
    return computed


def update_statistics(rewards: Sequence[IntrinsicReward], rollout: Rollout) -> None:
    """Shows a rollout to the input statistics of every intrinsic reward.

    Raises:
        ConfigError: one of them fails.
    """
    for i, reward in enumerate(rewards):
        with at(plugin_path("intrinsic_reward", i, len(rewards))), failures_of(reward, "update_statistics"):
            reward.update_statistics(rollout)


def reward_terms(
    rewards: Sequence[IntrinsicReward],
    rollout: Rollout,
    features: Sequence[dict[str, Tensor]],
    index: Tensor,
    generator: torch.Generator,
) -> list[Term]:
    """Losses of intrinsic rewards on valid samples, ``index [B]``; ``features`` are what each ``compute`` returned."""
    terms: list[Term] = []
    for i, reward in enumerate(rewards):
        call = functools.partial(reward.terms, rollout, features[i], index, generator)
        with at(plugin_path("intrinsic_reward", i, len(rewards))):
            named = checked_terms(reward, call, index.device)
        _tell_without_gradient(reward, named, [reward])
        terms += [Term(numbered(name, i), *term) for name, term in named.items()]
    return terms


def auxiliary_terms(
    losses: Sequence[AuxiliaryLoss], backbone: Backbone, rollout: Rollout, index: Tensor, generator: torch.Generator
) -> list[Term]:
    """Auxiliary losses on valid samples, ``index [B]``."""
    terms: list[Term] = []
    for i, loss in enumerate(losses):
        call, options = functools.partial(loss.terms, backbone, rollout, index, generator), loss.options
        with at(plugin_path("auxiliary_loss", i, len(losses))):
            named = checked_terms(loss, call, index.device)
        _tell_without_gradient(loss, named, [loss, backbone])
        project = i if options.project_gradient else None
        terms += [Term(numbered(name, i), *term, options.coeff, project) for name, term in named.items()]
    return terms


def _tell_without_gradient(plugin: nn.Module, named: LossTerms, trained: Sequence[nn.Module]) -> None:
    """Says once of a loss that it changes nothing, though there are weights that it is for."""
    idle = [name for name, (total, _) in named.items() if not total.requires_grad]
    if not idle or not torch.is_grad_enabled():
        return
    trainable = any(parameter.requires_grad for part in trained for parameter in part.parameters())
    if trainable and log_once(f"{name_of(type(plugin))} {idle} without gradient"):
        logger.warning(
            "%s returned %s without a gradient: nothing is learned from it (detach, no_grad).",
            method_of(plugin, "terms", with_line=True),
            ", ".join(map(repr, idle)),
        )


class WeightedSum(NamedTuple):
    """This learner's share of a weighted sum of losses.

    Attributes:
        plain: ``[]``, of those whose gradient is used as it is.
        projected: ``[]`` by number of auxiliary loss, of those whose gradient is to be projected.
        parts: each loss by its metric's name: its unweighted share without gradient, times learners, since RLlib
            reports the mean of metrics over learners.
        samples: ``[]``, samples of the loss that has most, over all learners; 0: there was nothing to learn from.
    """

    plain: Tensor
    projected: dict[int, Tensor]
    parts: dict[str, Tensor]
    samples: Tensor

    @property
    def total(self) -> Tensor:
        """``[]``, all together."""
        return self.plain + sum(self.projected.values())


def weighted_sum(terms: Iterable[Term], device: torch.device) -> WeightedSum:
    """Adds losses up, each divided by its samples over all learners."""
    plain, projected, parts = torch.zeros((), device=device), dict[int, Tensor](), dict[str, Tensor]()
    most = torch.zeros((), device=device)
    for term in terms:
        samples = all_reduce_sum(term.samples.detach().float())
        share = term.total / samples.clamp(min=1.0)
        if term.project is None:
            plain = plain + term.weight * share
        else:
            projected[term.project] = projected.get(term.project, 0.0) + term.weight * share
        parts[PLUGINS + term.name] = world_size() * share.detach()
        most = torch.maximum(most, samples)
    return WeightedSum(plain, projected, parts, most)
