"""What the rewards on transitions share: an encoder of whole observations, its statistics, and pairs of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from rllib_rnd.intrinsic.base import IntrinsicOptions, IntrinsicReward
from rllib_rnd.intrinsic.feature_watch import FeatureWatch
from rllib_rnd.intrinsic.networks import ObservationEncoder
from rllib_rnd.modules.image import NATURE_CONVS, ConvSpec
from rllib_rnd.modules.repeats import of_each
from rllib_rnd.options import option
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout


@dataclass(frozen=True)
class TransitionOptions(IntrinsicOptions):
    """Options of every reward on transitions."""

    reward_on: Literal["next"] = option("next", "fixed: step t is rewarded for the transition from obs_t to obs_{t+1}")
    feature_dim: int = option(256, "D, size of the features", low=1)
    hidden_sizes: tuple[int, ...] = option((128,), "vectors: linear layers of the encoder before the features", low=1)
    model_size: int = option(256, "width of the hidden layer of each model on the features", low=1)


TransitionOptionsT = TypeVar("TransitionOptionsT", bound=TransitionOptions, covariant=True)


class TransitionReward(IntrinsicReward[TransitionOptionsT]):
    """Base of the rewards that look at ``(obs_t, a_t, obs_{t+1})`` in the features of one encoder.

    The encoder reads whole observations, frame stack included: one frame does not tell how things move.

    Attributes:
        encoder: raw observations -> ``[B, D]``.
        metrics: after an update: ``<name>_feature_std`` and ``<name>_feature_drift``, as of `FeatureWatch`.
    """

    Options: ClassVar[type[TransitionOptions]] = TransitionOptions
    convs: ClassVar[Sequence[ConvSpec]] = NATURE_CONVS
    activation: ClassVar[type[nn.Module]] = nn.ReLU

    def __init__(self, spaces: Spaces, options: TransitionOptionsT) -> None:
        super().__init__(spaces, options)
        self.encoder = ObservationEncoder(
            spaces.observation, options.feature_dim, options.hidden_sizes, self.convs, self.activation
        )
        self.watch = FeatureWatch(self.name)

    def encode(self, rollout: Rollout) -> Tensor:
        """Features of ``obs_0 .. obs_T``, ``[(T + 1) * N, D]``; those of ``obs_{t+1}`` begin at row N."""
        phi = encode_rollout(self.encoder, rollout)
        self.watch.keep(rollout, phi)
        return phi

    @torch.no_grad()
    def update_statistics(self, rollout: Rollout) -> None:
        """Sets the metrics; adds every observation once to the encoder's moments, if it has any (float vectors)."""
        self.metrics = self.watch.compare(lambda index: encode(self.encoder, rollout, index))
        if self.encoder.moments is not None:
            # In one piece, since learners with different numbers of environments must sum equally often.
            index = torch.arange((rollout.num_steps + 1) * rollout.num_envs, device=rollout.frames.device)
            self.encoder.update_moments(rollout.obs(index), rollout.new_obs.flatten())

    def transitions(self, rollout: Rollout, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``phi_t`` and ``phi_{t+1}`` ``[B, D]`` with gradient, and ``a_t [B, ...]``, of flat indices ``[B]``.

        ``obs_{t+1}`` of an episode's last step is its true last observation.
        """
        both = torch.cat([index, index + rollout.num_envs])
        phi_t, phi_tp1 = encode(self.encoder, rollout, both).chunk(2)
        return phi_t, phi_tp1, rollout.action.flatten(0, 1)[index]


def encode(encoder: ObservationEncoder, rollout: Rollout, index: Tensor) -> Tensor:
    """Features of the observations of flat indices ``[B]``: ``[B, D]``, of vectors each different one once."""
    if encoder.layout is not None:
        return encoder(rollout.obs(index))
    return of_each(rollout, index, lambda rows: encoder(rollout.obs(rows)))


@torch.no_grad()
def encode_rollout(encoder: ObservationEncoder, rollout: Rollout) -> Tensor:
    """Features of ``obs_0 .. obs_T``: ``[(T + 1) * N, D]``; those of ``obs_{t+1}`` begin at row N."""
    chunks = rollout.index_chunks(num_steps=rollout.num_steps + 1)
    return torch.cat([encode(encoder, rollout, index) for index in chunks])
