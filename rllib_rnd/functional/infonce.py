"""InfoNCE: which of the batch belongs to me? Of two views, and of the places in two following images (ST-DIM)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from rllib_rnd.functional.shapes import check_shape


def info_nce_loss(
    za: Tensor,
    zb: Tensor,
    normalization: Literal["batch", "l2", "none"] = "batch",
    temperature: float = 1.0,
    eps: float = 1e-5,
) -> Tensor:
    """Cross-entropy of finding ``zb_i`` among all ``zb`` by its similarity to ``za_i``, ``[]``.

    van den Oord et al. 2018 (arXiv:1807.03748), eq. 4. With ``batch``, the form of the SND experiments, every feature
    is standardised over the batch and similarity is the dot product divided by D (a correlation, -1 to 1 for vectors
    of unit variance); with ``l2`` it is the cosine; with ``none`` the dot product. Similarities are divided by the
    temperature.

    Args:
        za: ``[B, D]`` features of one view.
        zb: ``[B, D]`` of the other.
        normalization: of features.
        temperature: more than 0; the smaller, the more the nearest wrong answers count.
        eps: added to variances.

    Raises:
        ValueError: the shapes differ, there is no sample, the temperature is not positive, or the name is unknown.
    """
    check_shape("za", za, (None, None))
    check_shape("zb", zb, tuple(za.shape))
    if len(za) == 0 or temperature <= 0.0:
        raise ValueError(f"expected one sample or more and a positive temperature, got {len(za)} and {temperature}.")
    if normalization == "batch":
        similarity = _standardize(za, eps) @ _standardize(zb, eps).T / za.shape[1]
    elif normalization == "l2":
        similarity = nn.functional.normalize(za, dim=1) @ nn.functional.normalize(zb, dim=1).T
    elif normalization == "none":
        similarity = za @ zb.T
    else:
        raise ValueError(f"normalization: {normalization!r} is not one of batch, l2, none.")
    return _matching_loss((similarity / temperature)[None])


def global_local_loss(query: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
    """Finds a sample's local features, at every place, by its global ones.

    Anand et al. 2019, ST-DIM (arXiv:1906.08226), the global-local objective: the logits at place p are
    ``query_i . local_jp``, the class of i is i; averaged over places.

    Args:
        query: ``[B, C]``, W1 times the global features of ``s_{t+1}``.
        local: ``[B, C, H, W]`` features of ``s_t``.

    Returns:
        The loss, and the Euclidean norm of all logits of a place, mean over places, both ``[]``.

    Raises:
        ValueError: the shapes do not fit.
    """
    check_shape("query", query, (None, None))
    check_shape("local", local, (*query.shape, None, None))
    places = _places(local)
    # One product for all places: [B, C] x [C, P B] -> [P, B, B].
    logits = (query @ places.flatten(0, 1).T).view(len(query), len(places), len(query)).transpose(0, 1)
    return _matching_loss(logits), _matrix_norm(logits)


def local_local_loss(query: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
    """Finds a sample's local features by its own ones of the next step at the same place.

    Anand et al. 2019, ST-DIM (arXiv:1906.08226), the local-local objective; otherwise as `global_local_loss`.

    Args:
        query: ``[B, C, H, W]``, W2 times the local features of ``s_{t+1}``.
        local: ``[B, C, H, W]`` features of ``s_t``.

    Returns:
        The loss, and the Euclidean norm of all logits of a place, mean over places, both ``[]``.

    Raises:
        ValueError: the shapes differ.
    """
    check_shape("query", query, (None, None, None, None))
    check_shape("local", local, tuple(query.shape))
    logits = _places(query) @ _places(local).transpose(1, 2)
    return _matching_loss(logits), _matrix_norm(logits)


def st_dim_loss(
    global_query: Tensor,
    local_query: Tensor,
    local: Tensor,
    features: Tensor,
    norm_coeff: float = 1e-4,
    std_coeff: float = 1e-4,
) -> Tensor:
    """The loss of SND-STD: both objectives of ST-DIM, small logits, features that differ from each other, ``[]``.

    ``global_local + local_local + norm_coeff (norm_gl + norm_ll) - std_coeff mean_i std_k(features_ik)``: Pecháč et al.
    2023 (arXiv:2302.11563), SND-STD. The norms keep logits from growing without end, the deviation keeps a state's
    features from becoming all the same.

    Args:
        global_query: ``[B, C]``, W1 times the global features of ``s_{t+1}``.
        local_query: ``[B, C, H, W]``, W2 times the local features of ``s_{t+1}``.
        local: ``[B, C, H, W]`` local features of ``s_t``.
        features: ``[M, D]`` global features.
        norm_coeff, std_coeff: weights of the two regularisers.

    Raises:
        ValueError: the shapes do not fit.
    """
    check_shape("features", features, (None, None))
    global_loss, global_norm = global_local_loss(global_query, local)
    local_loss, local_norm = local_local_loss(local_query, local)
    spread = features.std(dim=1, unbiased=False).mean()
    return global_loss + local_loss + norm_coeff * (global_norm + local_norm) - std_coeff * spread


def _standardize(z: Tensor, eps: float) -> Tensor:
    z = z - z.mean(dim=0)
    return z * torch.rsqrt(z.square().mean(dim=0) + eps)


def _places(local: Tensor) -> Tensor:
    """``[B, C, H, W]`` -> ``[P, B, C]``."""
    return local.flatten(2).permute(2, 0, 1)


def _matching_loss(logits: Tensor) -> Tensor:
    """``[P, B, B]`` -> ``[]``, mean cross-entropy with the diagonal as classes."""
    return (logits.logsumexp(dim=2) - logits.diagonal(dim1=1, dim2=2)).mean()


def _matrix_norm(logits: Tensor) -> Tensor:
    """``[P, B, B]`` -> ``[]``."""
    return torch.linalg.vector_norm(logits, dim=(1, 2)).mean()
