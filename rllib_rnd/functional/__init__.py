"""Pure functions on torch tensors: no state, no framework, shapes checked first."""

from rllib_rnd.functional.barlow import barlow_twins_loss, cross_correlation
from rllib_rnd.functional.byol import byol_loss, byol_tau, collapse_std
from rllib_rnd.functional.contrastive import contrastive_mse_loss, magnitude_penalty
from rllib_rnd.functional.discounted_filter import discounted_filter
from rllib_rnd.functional.gae import generalized_advantage_estimation
from rllib_rnd.functional.gru import gru_sequence
from rllib_rnd.functional.infonce import global_local_loss, info_nce_loss, local_local_loss, st_dim_loss
from rllib_rnd.functional.moments import batch_moments, combine_moments, drift
from rllib_rnd.functional.ppo import (
    approx_kl,
    clip_fraction,
    clipped_surrogate_loss,
    explained_variance,
    masked_mean,
    ppo_sums,
    value_loss,
)
from rllib_rnd.functional.snd_barlow import snd_barlow_loss
from rllib_rnd.functional.vicreg import VICRegTerms, vicreg_loss, vicreg_terms

__all__ = [
    "VICRegTerms",
    "approx_kl",
    "barlow_twins_loss",
    "batch_moments",
    "byol_loss",
    "byol_tau",
    "clip_fraction",
    "clipped_surrogate_loss",
    "collapse_std",
    "combine_moments",
    "contrastive_mse_loss",
    "cross_correlation",
    "discounted_filter",
    "drift",
    "explained_variance",
    "generalized_advantage_estimation",
    "global_local_loss",
    "gru_sequence",
    "info_nce_loss",
    "local_local_loss",
    "magnitude_penalty",
    "masked_mean",
    "ppo_sums",
    "snd_barlow_loss",
    "st_dim_loss",
    "value_loss",
    "vicreg_loss",
    "vicreg_terms",
]
