"""How many directions features use: their spread per dimension, the eigenvalues of their covariance, effective rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spectrum:
    """Of features ``[B, D]``.

    Attributes:
        spread: ``[D]`` standard deviation of every feature over the samples, largest first.
        eigenvalues: ``[D]`` of the covariance, largest first; all but ``B - 1`` of them are 0.
    """

    spread: np.ndarray
    eigenvalues: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """``[D]`` share of the variance along each eigenvector; zeros where nothing varies."""
        total = float(self.eigenvalues.sum())
        return self.eigenvalues / total if total > 0.0 else np.zeros_like(self.eigenvalues)

    @property
    def effective_rank(self) -> float:
        """Exponential of the entropy of the shares: 1 to D, and 0 where nothing varies.

        Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality", definition 1, of the
        covariance matrix, whose singular values are its eigenvalues.
        """
        shares = self.shares[self.shares > 0.0]
        return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0

    @property
    def participation_ratio(self) -> float:
        """``1 / sum(shares^2)``: counts large eigenvalues only, so never above the effective rank; 0 if none varies."""
        squares = float(np.square(self.shares).sum())
        return 1.0 / squares if squares > 0.0 else 0.0

    def numbers(self) -> dict[str, float]:
        """What a report says of it."""
        return {
            "dimensions": float(len(self.spread)),
            "mean spread": float(self.spread.mean()),
            "effective rank": self.effective_rank,
            "participation ratio": self.participation_ratio,
        }


def spectrum(features: np.ndarray) -> Spectrum:
    """The spectrum of features ``[B, D]``, B at least 1."""
    centred = np.asarray(features, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    # Singular values of the features rather than eigenvalues of their product: exact zeros stay near zero.
    singular = np.linalg.svd(centred, compute_uv=False)
    eigenvalues = np.zeros(centred.shape[1])
    eigenvalues[: len(singular)] = np.square(singular) / len(centred)
    noise = eigenvalues.max(initial=0.0) * (np.finfo(np.float64).eps * max(centred.shape)) ** 2
    eigenvalues[eigenvalues <= noise] = 0.0
    return Spectrum(np.sort(centred.std(axis=0))[::-1], eigenvalues)
