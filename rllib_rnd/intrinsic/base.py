"""The intrinsic reward contract. One file per reward, all with the same four methods."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from rllib_rnd.intrinsic.reward_filter import RewardFilter
from rllib_rnd.modules.backbone import Backbone
from rllib_rnd.modules.environment_rows import EnvironmentRows
from rllib_rnd.modules.running_moments import RunningMoments
from rllib_rnd.options import Registry, option
from rllib_rnd.plugin import LossTerms, Plugin, Spaces
from rllib_rnd.rollout import Rollout


@dataclass(frozen=True)
class IntrinsicOptions:
    """Options that every intrinsic reward has."""

    gamma: float = option(0.99, "discount of this reward's value stream and of its scale; RND: 0.99", low=0.0, high=1.0)
    coeff: float = option(1.0, "weight of this stream's advantage in the policy loss; RND: 1 (extrinsic: 2)", low=0.0)
    episodic: bool = option(False, "stop returns at episode ends; RND: False, so a game over costs only what it hides")
    reward_on: Literal["next", "current"] = option(
        "next", "which observation step t is rewarded for: obs_{t+1} (RND) or obs_t"
    )
    normalize_reward: bool = option(True, "divide by the running std of the discounted past sum of rewards; RND: True")
    reward_momentum: float = option(
        1.0,
        "weight that earlier rollouts keep in that std at each new one; RND: 1, all count alike; DEIR: 0.9",
        above=0.0,
        high=1.0,
    )
    clip_reward: float | None = option(None, "limit of the reward's size after normalisation; null: none", low=0.0)


class Visits(NamedTuple):
    """Observations of a rollout in the order of time.

    Attributes:
        frames: ``[B, *frame_shape]``, their newest frames.
        counted: ``[B]`` bool, those that no other rollout counts.
        paid: ``[B]`` bool, those of them that a step is rewarded for, in the order of valid steps.
    """

    frames: Tensor
    counted: Tensor
    paid: Tensor


class Traced(NamedTuple):
    """A reward as a function of the one observation that it is paid for, through which gradients flow.

    Attributes:
        read: what ``reward`` reads of raw observations, as floats. One number for each of theirs: in the same shape, as
            ``[B, C, H, W]``, or flat ``[B, D]``.
        reward: of that, the raw rewards ``[B]`` that ``compute`` would pay.
        networks: whose convolutions may be looked into.
        stack: it reads whole observations ``[B, *obs_shape]``; False: newest frames ``[B, *frame_shape]`` only.
    """

    read: Callable[[Tensor], Tensor]
    reward: Callable[[Tensor], Tensor]
    networks: Sequence[nn.Module]
    stack: bool = False


IntrinsicOptionsT = TypeVar("IntrinsicOptionsT", bound=IntrinsicOptions, covariant=True)


class IntrinsicReward(Plugin[IntrinsicOptionsT], EnvironmentRows, abc.ABC):
    """Base of all intrinsic rewards.

    For one rollout the learner calls, in this order:

    1. ``compute(rollout)``: raw rewards, and features that stay fixed for the whole update, computed once;
    2. ``normalize(r_t, valid)``: scaled rewards for the value streams;
    3. ``terms(...)`` for each minibatch of every epoch;
    4. ``update_statistics(rollout)`` last, so the rewards of a rollout and the training on it see the same
       input statistics, and the next rollout sees newer ones. (Before the first rollout, it is called with
       random play.)

    All running statistics are buffers: saved, restored and moved with the module, and summed over learners
    inside ``update_statistics`` and ``normalize``, which all learners must therefore call equally often.
    They must not be overwritten by DDP (``broadcast_buffers=False``), which would copy those of rank 0.
    What a reward remembers of single environments (an episode's memory) is registered with `register_rows`:
    ``compute`` calls `fit_rows` first, forgets rows with `renew_rows` where ``rollout.is_first``, and leaves
    them as they are after the rollout's last step.

    ``terms`` returns sums and counts rather than means: masks leave different learners different numbers of
    samples, and only the ratio of the totals is the loss of the whole batch.

    Subclasses set ``name``, ``Options`` and the two documentation strings.

    Args:
        spaces: of observations and actions.
        options: an instance of ``Options``.
    """

    Options: ClassVar[type[IntrinsicOptions]] = IntrinsicOptions

    def __init__(self, spaces: Spaces, options: IntrinsicOptionsT) -> None:
        super().__init__(spaces, options)
        self.reward_filter = RewardFilter(options.gamma, options.reward_momentum)

    @abc.abstractmethod
    def update_statistics(self, rollout: Rollout) -> None:
        """Adds the observations that ``compute`` reads to the input statistics (over all learners). Called last.

        Each is added once: `Rollout.valid` tells those that steps lead to, `Rollout.new_obs` all of them.
        """

    @abc.abstractmethod
    def compute(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes a rollout's rewards without gradient.

        Returns:
            ``[T, N]`` float32 raw rewards (0 on reset steps), and named features ``[T * N, ...]`` in the
            order of flat indices ``t * N + n``, for ``terms``.
        """

    def terms(
        self, rollout: Rollout, features: dict[str, Tensor], index: Tensor, generator: torch.Generator
    ) -> LossTerms:
        """Computes the training losses of this reward's networks on one minibatch.

        Args:
            rollout: the rollout on the learner's device.
            features: what ``compute`` returned for it.
            index: ``[B]`` flat indices ``t * N + n`` of valid samples: there is no reset step among them.
            generator: the only source of randomness.

        Returns:
            Per name the sum (with a graph, even over no sample) and the count (no graph); nothing by default.
        """
        return {}

    @property
    def needs_warmup(self) -> bool:
        """Whether input is normalised by running moments per element, which mean nothing before any random play."""
        return any(isinstance(part, RunningMoments) and part.mean.dim() > 0 for part in self.modules())

    def rewarded_frames(self, rollout: Rollout) -> Tensor:
        """Newest frames of the observations that steps are rewarded for (``reward_on``): ``[T * N, *frame_shape]``."""
        return rollout.newest_frames(offset=int(self.options.reward_on == "next"))

    def visited(self, rollout: Rollout) -> Visits:
        """All that a rollout visits, for rewards that remember states: reset observations are visits as well.

        Each is counted in one rollout only, that which rewards it or goes on from it.
        """
        if self.options.reward_on == "current":
            counted = ~rollout.broken[:-1]
            return Visits(rollout.newest_frames(), counted.flatten(), rollout.valid.flatten())
        paid = torch.cat([torch.zeros_like(rollout.valid[:1]), rollout.valid])
        return Visits(rollout.all_newest_frames(), rollout.new_obs.flatten(), paid.flatten())

    def use_backbone(self, backbone: Backbone) -> None:
        """Called once, after construction, with the policy's backbone, for rewards on its features (does nothing).

        It must not be kept as a submodule, which would list its parameters twice; a frozen copy may.
        """

    def start_from(self, backbone: Backbone) -> None:
        """Called when the backbone has got new weights all at once, by pre-training (does nothing)."""

    def traced(self) -> Traced | None:
        """The reward as a differentiable function of the observation it is paid for, for `rllib explain`.

        None (the default): it depends on more than that observation, or not smoothly. It is then only measured.
        """
        return None

    @torch.no_grad()
    def normalize(self, r_t: Tensor, valid: Tensor, update: bool = True) -> Tensor:
        """Scales raw rewards for the value stream and clips them, as the options say.

        The scale includes the rollout itself. It is tracked, for the metrics, even where it is not applied.

        Args:
            r_t: ``[T, N]`` raw rewards in time order, following on the previous call's.
            valid: ``[T, N]`` bool; reset steps get reward 0 and leave the statistics alone.
            update: move the statistics forward first.

        Returns:
            ``[T, N]``.
        """
        if update:
            self.reward_filter.update(r_t, valid)
        if self.options.normalize_reward:
            r_t = self.reward_filter(r_t)
        if self.options.clip_reward is not None:
            r_t = r_t.clamp(-self.options.clip_reward, self.options.clip_reward)
        return torch.where(valid, r_t, torch.zeros_like(r_t))


INTRINSIC_REWARDS: Registry[IntrinsicReward] = Registry("intrinsic reward", IntrinsicReward)
