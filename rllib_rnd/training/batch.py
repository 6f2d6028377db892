"""From a rollout to what minibatches are drawn from: rewards of all streams, their GAE, one mixed advantage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from rllib_rnd.functional.gae import generalized_advantage_estimation
from rllib_rnd.functional.ppo import explained_variance
from rllib_rnd.intrinsic.base import IntrinsicReward
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules.distributed import all_reduce_sum, standardize
from rllib_rnd.options import numbered
from rllib_rnd.rollout import Rollout
from rllib_rnd.training.nonfinite import NonFiniteRewardError, not_finite, unchanged_if_nonfinite
from rllib_rnd.training.plugin_losses import compute_finite_rewards


@dataclass(frozen=True)
class AdvantageSettings:
    """How rewards become advantages. Each intrinsic reward has a discount and a weight of its own.

    Attributes:
        gamma: discount of the extrinsic stream.
        lambda_: of generalized advantage estimation, for all streams.
        extrinsic_coeff: weight of the extrinsic advantage.
        extrinsic_reward: what the learner trains on, see `extrinsic_reward`.
        standardize: whether the mixed advantage is standardised over the rollout.
        bootstrap_truncated: whether episodic returns go on with a value after a truncation; else it ends them.
    """

    gamma: float
    lambda_: float
    extrinsic_coeff: float = 1.0
    extrinsic_reward: str = "raw"
    standardize: bool = False
    bootstrap_truncated: bool = True


@dataclass
class TrainingBatch:
    """A rollout with everything the minibatches need, on the device; B = T * N flat samples.

    Attributes:
        rollout: the arrays of this learner's environments.
        sequences: ``[Q, L]`` flat indices, what minibatches are drawn from: valid samples (L = 1), or with a recurrent
            policy whole sequences, reset steps included.
        advantage: ``[B]`` mixed over the streams.
        value_target: ``[B, S]``.
        features: per intrinsic reward, tensors computed once per rollout.
    """

    rollout: Rollout
    sequences: Tensor
    advantage: Tensor
    value_target: Tensor
    features: list[dict[str, Tensor]]


@torch.no_grad()
def prepare_training(
    module: IntrinsicPPOModule, rollout: Rollout, settings: AdvantageSettings
) -> tuple[TrainingBatch, dict[str, Tensor]]:
    """Intrinsic rewards, the GAE of every stream and the mixed advantage of one rollout.

    Args:
        module: whose intrinsic rewards are paid; their scales move forward.
        rollout: on the learner's device.
        settings: see `AdvantageSettings`.

    Returns:
        The batch, and metrics by name, ``[]`` each.

    Raises:
        ConfigError: an intrinsic reward fails, or returns something else than rewards.
        NonFiniteRewardError: its rewards, or what is made of all rewards and values, are not finite; nothing has moved
            forward.
    """
    with unchanged_if_nonfinite(module.rewards()):
        return _prepared(module, rollout, settings)


def _prepared(
    module: IntrinsicPPOModule, rollout: Rollout, settings: AdvantageSettings
) -> tuple[TrainingBatch, dict[str, Tensor]]:
    valid, device = rollout.valid, rollout.reward.device
    rewards = [extrinsic_reward(rollout, settings.extrinsic_reward)]
    gammas, episodic, coeffs = [settings.gamma], [True], [settings.extrinsic_coeff]
    features, metrics = [], {"advantage_samples": valid.sum()}
    computed = compute_finite_rewards(module.rewards(), rollout)
    for i, (reward, (raw, cached)) in enumerate(zip(module.rewards(), computed, strict=True)):
        normalized = reward.normalize(raw, valid)
        rewards.append(normalized * valid)
        features.append(cached)
        gammas.append(reward.options.gamma)
        episodic.append(reward.options.episodic)
        coeffs.append(reward.options.coeff)
        metrics |= _reward_metrics(i, reward, raw[valid], normalized[valid])
    advantage, target = generalized_advantage_estimation(
        torch.stack(rewards, dim=-1),
        rollout.value,
        rollout.terminated if settings.bootstrap_truncated else rollout.terminated | rollout.truncated,
        rollout.truncated,
        rollout.is_first[1:],
        torch.tensor(gammas, device=device),
        settings.lambda_,
        torch.tensor(episodic, device=device),
    )
    metrics |= _value_metrics(rollout.value[:-1], target, valid)
    mixed = (advantage * torch.tensor(coeffs, device=device)).sum(dim=-1).flatten()
    index = torch.nonzero(valid.flatten())[:, 0]
    if settings.standardize:
        mixed = standardize(mixed, index)
    bad = not_finite([("the advantages", mixed), ("the value targets", target)], "another learner's advantages")
    if bad:  # of rewards that are finite and far too large
        raise NonFiniteRewardError(bad)
    sequences = rollout.sequences() if module.is_stateful() else index[:, None]
    return TrainingBatch(rollout, sequences, mixed, target.flatten(0, 1), features), metrics


def have_samples(counts: Iterable[int], device: torch.device) -> list[bool]:
    """Which minibatches have a sample on any learner, of all learners' numbers of samples.

    Without one there is nothing to learn: a step would move weights by what an optimizer remembers alone.
    """
    totals = all_reduce_sum(torch.tensor([float(count) for count in counts], device=device))
    return (totals > 0).tolist()


def extrinsic_reward(rollout: Rollout, transform: str) -> Tensor:
    """What the learner trains on, ``[T, N]``.

    The reward "raw", its "sign", "positive_sign" (1 where it is above 0, else 0), "clip"ped to [-1, 1], or "none" (0).
    """
    transforms = {
        "raw": lambda r: r,
        "sign": torch.sign,
        "positive_sign": lambda r: r.sign().clamp(min=0.0),
        "clip": lambda r: r.clamp(-1.0, 1.0),
        "none": torch.zeros_like,
    }
    # Not `valid`: what was gained around a broken observation is still gained by the steps before it.
    return transforms[transform](rollout.reward) * ~rollout.is_first[1:]


def _reward_metrics(i: int, reward: IntrinsicReward, raw: Tensor, normalized: Tensor) -> dict[str, Tensor]:
    named = {"intrinsic_return_std": reward.reward_filter.std}
    if len(raw):  # else there is no reward to tell of
        named |= {
            "intrinsic_reward_mean": raw.mean(),
            "intrinsic_reward_max": raw.max(),
            "intrinsic_reward_normalized_mean": normalized.mean(),
        }
    return {numbered(name, i): value for name, value in named.items()}


def _value_metrics(value: Tensor, target: Tensor, valid: Tensor) -> dict[str, Tensor]:
    named = {"explained_variance_extrinsic": explained_variance(value[..., 0], target[..., 0], valid)}
    for i in range(1, value.shape[-1]):
        name = numbered("explained_variance_intrinsic", i - 1)
        named[name] = explained_variance(value[..., i], target[..., i], valid)
    return named
