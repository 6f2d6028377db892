"""Pure functions on torch tensors: no state, no framework, shapes checked first."""

from rllib_rnd.functional.discounted_filter import discounted_filter
from rllib_rnd.functional.gae import generalized_advantage_estimation
from rllib_rnd.functional.moments import batch_moments, combine_moments
from rllib_rnd.functional.ppo import (
    approx_kl,
    clip_fraction,
    clipped_surrogate_loss,
    explained_variance,
    masked_mean,
    ppo_sums,
    value_loss,
)

__all__ = [
    "approx_kl",
    "batch_moments",
    "clip_fraction",
    "clipped_surrogate_loss",
    "combine_moments",
    "discounted_filter",
    "explained_variance",
    "generalized_advantage_estimation",
    "masked_mean",
    "ppo_sums",
    "value_loss",
]
