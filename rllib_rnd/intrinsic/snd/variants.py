"""The five SND rewards: what their targets learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from rllib_rnd.functional.contrastive import contrastive_mse_loss, magnitude_penalty
from rllib_rnd.functional.infonce import info_nce_loss, st_dim_loss
from rllib_rnd.functional.snd_barlow import snd_barlow_loss
from rllib_rnd.functional.vicreg import vicreg_loss
from rllib_rnd.intrinsic.base import INTRINSIC_REWARDS
from rllib_rnd.intrinsic.networks import InverseDynamics
from rllib_rnd.intrinsic.snd.augmentation_sets import AUGMENTATION_CHOICES, AUGMENTATION_HELP, AugmentationSet
from rllib_rnd.intrinsic.snd.base import SND, SNDOptions
from rllib_rnd.intrinsic.snd.networks import INFO_NCE_MAGNITUDE_LIMIT, MAGNITUDE_LIMIT, draw_pairs
from rllib_rnd.modules.layers import orthogonal_init
from rllib_rnd.options import option
from rllib_rnd.plugin import Spaces
from rllib_rnd.rollout import Rollout

# Of the source's inverse model (`vinv`).
_VINV_HIDDEN_SIZES = (512, 256)


@dataclass(frozen=True)
class AugmentedSNDOptions(SNDOptions):
    """Options of the variants that learn from augmented views."""

    pairs: int = option(64, "pairs of states that the target learns from, times update_proportion", low=1)
    augmentation: str = option("auto", AUGMENTATION_HELP + "v2, noise for vectors", choices=AUGMENTATION_CHOICES)


@dataclass(frozen=True)
class SNDVOptions(AugmentedSNDOptions):
    """Options of ``snd_v``."""

    keep_proportion: float = option(
        0.25, "share of the samples x features that is distilled; SND-V: 0.25", low=0.0, high=1.0
    )
    pairs: int = option(64, "pairs of states that the target learns from, times update_proportion; SND-V: 64", low=1)
    augmentation: str = option("auto", AUGMENTATION_HELP + "v2, noise for vectors", choices=AUGMENTATION_CHOICES)
    regulariser: Literal["magnitude", "square", "norm", "none"] = option(
        "magnitude", "against large features: magnitude (paper, only above 200), square or norm (2022)"
    )
    regularisation_coeff: float = option(1.0, "weight of that; magnitude: 1", low=0.0)


@dataclass(frozen=True)
class SNDInfoNCEOptions(AugmentedSNDOptions):
    """Options of ``snd_infonce``."""

    keep_proportion: float = option(
        0.25, "share of the samples x features that is distilled; SND-V: 0.25", low=0.0, high=1.0
    )
    pairs: int = option(256, "states that the target sees two views of, times update_proportion", low=2)
    augmentation: str = option("auto", AUGMENTATION_HELP + "v2, noise for vectors", choices=AUGMENTATION_CHOICES)
    normalization: Literal["batch", "l2", "none"] = option(
        "batch", "of features: over the batch (SND), to unit length, or none"
    )
    temperature: float = option(1.0, "similarities are divided by it; SND: 1 with batch, usual 0.1 with l2", low=1e-3)


@dataclass(frozen=True)
class SNDSTDOptions(SNDOptions):
    """Options of ``snd_std``."""

    reward_scale: float = option(1.0, "eta; 1, Venture and Coinrun 0.25, Private Eye and Solaris 0.5", low=0.0)
    encoder: Literal["narrow", "wide", "strided"] = option("wide", "images: as snd_v; SND-STD: wide")
    activation: Literal["elu", "relu"] = option("relu", "of the encoders; SND-STD: relu")
    target_gain: float = option(0.5, "factor of the target's orthogonal weights; SND-STD: 0.5", low=0.0)
    predictor_gain: float = option(0.5, "factor of the predictor's orthogonal weights; SND-STD: 0.5", low=0.0)
    norm_coeff: float = option(1e-4, "weight of the norm of the logits; SND-STD: 1e-4", low=0.0)
    std_coeff: float = option(1e-4, "weight of the std within a state's features; SND-STD: 1e-4", low=0.0)


@dataclass(frozen=True)
class SNDVICOptions(SNDOptions):
    """Options of ``snd_vic``."""

    reward_scale: float = option(0.25, "eta; Atari 0.25, Procgen 0.5", low=0.0)
    encoder: Literal["narrow", "wide", "strided"] = option("wide", "images: as snd_v; SND-VIC: wide")
    activation: Literal["elu", "relu"] = option("relu", "of the encoders; SND-VIC: relu")
    target_gain: float = option(0.5, "factor of the target's orthogonal weights; SND-VIC: 0.5", low=0.0)
    invariance_coeff: float = option(1.0, "lambda; SND-VIC: 1", low=0.0)
    variance_coeff: float = option(1.0, "mu; SND-VIC: 1", low=0.0)
    covariance_coeff: float = option(0.04, "nu; SND-VIC: 1/25", low=0.0)
    inverse_coeff: float = option(
        0.0, "weight of predicting the action between two states (vinv, Procgen: 0.5)", low=0.0
    )


@dataclass(frozen=True)
class SNDBarlowOptions(AugmentedSNDOptions):
    """Options of ``snd_barlow``."""

    encoder: Literal["narrow", "wide", "strided"] = option("wide", "images: as snd_v; the source: wide")
    activation: Literal["elu", "relu"] = option("relu", "of the encoders; the source: relu")
    target_gain: float = option(0.5, "factor of the target's orthogonal weights; the source: 0.5", low=0.0)
    pairs: int = option(512, "states that the target sees two views of, times update_proportion; 512", low=2)
    augmentation: str = option(
        "auto", AUGMENTATION_HELP + "noise_blur, noise for vectors", choices=AUGMENTATION_CHOICES
    )
    off_diagonal_coeff: float = option(0.005, "weight of the correlations between features; 0.005", low=0.0)


AugmentedSNDOptionsT = TypeVar("AugmentedSNDOptionsT", bound=AugmentedSNDOptions, covariant=True)


class AugmentedSND(SND[AugmentedSNDOptionsT]):
    """Base of the variants that learn from augmented views; ``augmentation_set`` is what ``auto`` is for images."""

    augmentation_set = "v2"

    def __init__(self, spaces: Spaces, options: AugmentedSNDOptionsT) -> None:
        super().__init__(spaces, options)
        self.augment = AugmentationSet(options.augmentation, self.frames.layout is not None, self.augmentation_set)

    @property
    def num_pairs(self) -> int:
        """P, pairs that one minibatch trains on: ``update_proportion`` thins them out as it does the samples."""
        return max(2, round(self.options.pairs * self.options.update_proportion))

    def two_views(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The target's features of two augmentations of each of P states, ``[P, D]`` each."""
        x = x[: self.num_pairs]
        za, zb = self.target(self.augment(torch.cat([x, x]), generator)).chunk(2)
        return za, zb

    @torch.no_grad()
    def plain_features(self, x: Tensor) -> Tensor:
        """The target's features without augmentation, for the predictor."""
        return self.target(x)


@INTRINSIC_REWARDS.register
class SNDV(AugmentedSND[SNDVOptions]):
    """SND-V: augmented views of one state at distance 0, states from different times at distance 1.

    Raises:
        ConfigError: as `SND`, or augmentations of images for vectors.
    """

    name = "snd_v"
    Options = SNDVOptions
    source = "Pecháč et al. 2023 (arXiv:2302.11563), SND-V"
    cost = "about three times RND's; with the policy's own 1.1 to 1.6 times in all"

    def representation(
        self, rollout: Rollout, index: Tensor, x: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The contrastive loss of P pairs, drawn from the samples with replacement."""
        drawn = draw_pairs(len(x), self.num_pairs, generator)
        both = torch.cat([drawn.first, drawn.second]).to(x.device)
        za, zb = self.target(self.augment(x[both], generator)).chunk(2)
        label = drawn.label.to(x.device)
        options = self.options
        loss = contrastive_mse_loss(za, zb, label, options.regulariser, options.regularisation_coeff, MAGNITUDE_LIMIT)
        return {"snd_target_loss": loss}, self.plain_features(x)


@INTRINSIC_REWARDS.register
class SNDInfoNCE(AugmentedSND[SNDInfoNCEOptions]):
    """SND with InfoNCE: of all states of a batch, which one is this another view of?

    Standardised over the batch, features have no scale of their own. They would grow without end and the reward, which
    inherits it, with them: their mean square is held to 1.

    Raises:
        ConfigError: as `SNDV`.
    """

    name = "snd_infonce"
    Options = SNDInfoNCEOptions
    source = "michalnand/reinforcement_learning_agents (nce); van den Oord et al. 2018 (arXiv:1807.03748)"
    cost = "about four times RND's: four times the pairs of snd_v"

    def representation(
        self, rollout: Rollout, index: Tensor, x: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """InfoNCE of two views of P states."""
        za, zb = self.two_views(x, generator)
        loss = info_nce_loss(za, zb, self.options.normalization, self.options.temperature)
        loss = loss + magnitude_penalty(za, zb, "magnitude", limit=INFO_NCE_MAGNITUDE_LIMIT)
        return {"snd_target_loss": loss}, self.plain_features(x)


@INTRINSIC_REWARDS.register
class SNDBarlow(AugmentedSND[SNDBarlowOptions]):
    """SND with Barlow Twins: features of two views agree, and no two features say the same.

    The sum over features is divided by their number: one optimiser step does not feel the factor, a gradient clip that
    is shared with the policy does.

    Raises:
        ConfigError: as `SNDV`.
    """

    name = "snd_barlow"
    Options = SNDBarlowOptions
    source = "Iskandor/SND (bt); Zbontar et al. 2021 (arXiv:2103.03230)"
    cost = "about ten times RND's: the wide encoder, and two views of every sample"
    augmentation_set = "noise_blur"

    def representation(
        self, rollout: Rollout, index: Tensor, x: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Barlow Twins of two views of P states."""
        za, zb = self.two_views(x, generator)
        loss = snd_barlow_loss(za, zb, self.options.off_diagonal_coeff) / za.shape[1]
        return {"snd_target_loss": loss}, self.plain_features(x)


@INTRINSIC_REWARDS.register
class SNDSTD(SND[SNDSTDOptions]):
    """SND-STD: a state's features, at every place, are found by those of the next state (ST-DIM).

    Nothing is augmented, so the pass that the target learns from also yields what the predictor distils. Vectors have
    one place, their last hidden layer.

    Attributes:
        global_query, local_query: W1 and W2 of ST-DIM, linear.

    Raises:
        ConfigError: as `SND`.
    """

    name = "snd_std"
    Options = SNDSTDOptions
    source = "Pecháč et al. 2023 (arXiv:2302.11563), SND-STD; Anand et al. 2019 (arXiv:1906.08226)"
    cost = "about ten times RND's; logits of places x samples x samples"

    def __init__(self, spaces: Spaces, options: SNDSTDOptions) -> None:
        super().__init__(spaces, options)
        channels = self.target.local_channels
        self.global_query = orthogonal_init(nn.Linear(options.feature_dim, channels), 1.0)
        self.local_query = orthogonal_init(nn.Linear(channels, channels), 1.0)

    def representation(
        self, rollout: Rollout, index: Tensor, x: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """ST-DIM of ``s_t`` and ``s_{t+1}`` of every sample."""
        features, local = self.target.with_local(torch.cat([x, self.inputs(rollout, index, other=True)]))
        rewarded, other = features.chunk(2)
        rewarded_local, other_local = local.chunk(2)
        is_next = self.options.reward_on == "next"
        global_tp1 = rewarded if is_next else other
        local_t, local_tp1 = (other_local, rewarded_local) if is_next else (rewarded_local, other_local)
        loss = st_dim_loss(
            self.global_query(global_tp1),
            self.local_query(local_tp1.movedim(1, -1)).movedim(-1, 1),
            local_t,
            features,
            self.options.norm_coeff,
            self.options.std_coeff,
        )
        return {"snd_target_loss": loss}, rewarded.detach()


@INTRINSIC_REWARDS.register
class SNDVIC(SND[SNDVICOptions]):
    """SND-VIC: following states have like features, which vary and are not correlated (VICReg).

    Nothing is augmented, so the pass that the target learns from also yields what the predictor distils. With
    ``inverse_coeff`` the action between the two states is predicted from both as well (the source's ``vinv``).

    Raises:
        ConfigError: as `SND`; with ``inverse_coeff``, an action space that there is no policy for.
    """

    name = "snd_vic"
    Options = SNDVICOptions
    source = "Pecháč et al. 2023 (arXiv:2302.11563), SND-VIC; Bardes et al. 2022 (arXiv:2105.04906)"
    cost = "about nine times RND's"

    def __init__(self, spaces: Spaces, options: SNDVICOptions) -> None:
        super().__init__(spaces, options)
        self.inverse: InverseDynamics | None = None
        if options.inverse_coeff > 0:
            self.inverse = InverseDynamics(options.feature_dim, spaces.action_features, _VINV_HIDDEN_SIZES, gain=2**0.5)

    def loss_names(self) -> list[str]:
        """Names of what `representation` returns."""
        return [*super().loss_names(), *(["snd_inverse_loss"] if self.inverse is not None else [])]

    def representation(
        self, rollout: Rollout, index: Tensor, x: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """VICReg of ``s_t`` and ``s_{t+1}`` of every sample, and the inverse model's loss."""
        options = self.options
        rewarded, other = self.target(torch.cat([x, self.inputs(rollout, index, other=True)])).chunk(2)
        coeffs = (options.invariance_coeff, options.variance_coeff, options.covariance_coeff)
        losses = {"snd_target_loss": vicreg_loss(rewarded, other, *coeffs)}
        if self.inverse is not None:
            phi_t, phi_tp1 = (other, rewarded) if options.reward_on == "next" else (rewarded, other)
            error = self.inverse.loss(phi_t, phi_tp1, rollout.action.flatten(0, 1)[index]).mean()
            losses["snd_inverse_loss"] = options.inverse_coeff * error
        return losses, rewarded.detach()
