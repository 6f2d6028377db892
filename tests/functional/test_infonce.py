"""InfoNCE, the two objectives of ST-DIM and the unnormalised Barlow form, by hand and at their limits."""

from __future__ import annotations

import math

import pytest
import torch

from rllib_rnd.functional import (
    global_local_loss,
    info_nce_loss,
    local_local_loss,
    snd_barlow_loss,
    st_dim_loss,
)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


# Two samples, one channel, two places (1 x 2).
QUERY = torch.tensor([[1.0], [2.0]])
LOCAL = torch.tensor([1.0, 0.0, 3.0, 0.0]).view(2, 1, 1, 2)
# Place 0: logits [[1, 3], [2, 6]], the right ones on the diagonal; place 1: all 0.
GLOBAL_LOSS = (softplus(2.0) + softplus(-4.0) + 2 * math.log(2.0)) / 4
GLOBAL_NORM = math.sqrt(50.0) / 2

LOCAL_QUERY = torch.tensor([1.0, 1.0, 2.0, -1.0]).view(2, 1, 1, 2)
LOCAL_T = torch.tensor([1.0, 1.0, 3.0, -1.0]).view(2, 1, 1, 2)
# Place 0 as above; place 1: logits [[1, -1], [-1, 1]].
LOCAL_LOSS = (softplus(2.0) + softplus(-4.0) + 2 * softplus(-2.0)) / 4
LOCAL_NORM = (math.sqrt(50.0) + 2.0) / 2


def test_dot_products_by_hand() -> None:
    z = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert info_nce_loss(z, z, "none").item() == pytest.approx(softplus(-4.0), rel=1e-4)
    assert info_nce_loss(z, z, "none", temperature=4.0).item() == pytest.approx(softplus(-1.0))


def test_cosines_by_hand() -> None:
    za, zb = torch.tensor([[5.0, 0.0], [0.0, 0.1]]), torch.tensor([[3.0, 0.0], [0.0, 7.0]])
    assert info_nce_loss(za, zb, "l2", temperature=0.5).item() == pytest.approx(softplus(-2.0))


def test_batch_normalised_features_by_hand() -> None:
    """Both standardise to 1, -1: similarities [[1, -1], [-1, 1]] in every feature."""
    za = torch.tensor([[30.0, -1.0], [10.0, -3.0]])
    zb = torch.tensor([[7.0, 5.0], [3.0, 1.0]])
    assert info_nce_loss(za, zb, eps=0.0).item() == pytest.approx(softplus(-2.0), rel=1e-5)


def test_which_is_whose_view_matters() -> None:
    z = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    assert info_nce_loss(z, z) < info_nce_loss(z, z.roll(1, 0))
    assert info_nce_loss(z, z, "l2", 0.1) < info_nce_loss(z, z.roll(1, 0), "l2", 0.1)


@pytest.mark.parametrize("normalization", ["batch", "l2", "none"])
def test_features_that_tell_nothing_cost_the_log_of_the_batch(normalization) -> None:
    z = torch.ones(5, 3, requires_grad=True)
    loss = info_nce_loss(z, z, normalization)
    assert loss.item() == pytest.approx(math.log(5))
    loss.backward()
    assert z.grad is not None and torch.isfinite(z.grad).all()


def test_batch_normalisation_makes_scale_and_shift_free() -> None:
    za, zb = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(info_nce_loss(za, zb), info_nce_loss(100 * za + 7, zb), rtol=1e-4, atol=1e-4)


def test_global_local_by_hand() -> None:
    loss, norm = global_local_loss(QUERY, LOCAL)
    assert loss.item() == pytest.approx(GLOBAL_LOSS)
    assert norm.item() == pytest.approx(GLOBAL_NORM)


def test_local_local_by_hand() -> None:
    loss, norm = local_local_loss(LOCAL_QUERY, LOCAL_T)
    assert loss.item() == pytest.approx(LOCAL_LOSS)
    assert norm.item() == pytest.approx(LOCAL_NORM)


def test_places_and_channels_are_not_mixed_up() -> None:
    """Against loops over places and samples."""
    generator = torch.Generator().manual_seed(0)
    query, local_query = torch.randn(4, 3, generator=generator), torch.randn(4, 3, 2, 5, generator=generator)
    local = torch.randn(4, 3, 2, 5, generator=generator).to(memory_format=torch.channels_last)
    for got, queries in (
        (global_local_loss(query, local), query[:, :, None, None].expand(-1, -1, 2, 5)),
        (local_local_loss(local_query, local), local_query),
    ):
        losses, norms = [], []
        for y in range(2):
            for x in range(5):
                logits = queries[:, :, y, x] @ local[:, :, y, x].T
                losses.append(torch.nn.functional.cross_entropy(logits, torch.arange(4)))
                norms.append(logits.square().sum().sqrt())
        torch.testing.assert_close(got[0], torch.stack(losses).mean())
        torch.testing.assert_close(got[1], torch.stack(norms).mean())


def test_st_dim_adds_both_and_its_regularisers() -> None:
    features = torch.tensor([[1.0, 3.0], [2.0, 8.0], [5.0, 5.0]])  # std within a row: 1, 3, 0
    query = torch.tensor([[1.0], [2.0]])
    local = torch.tensor([1.0, 1.0, 3.0, -1.0]).view(2, 1, 1, 2)
    first, first_norm = global_local_loss(query, local)
    wanted = first.item() + LOCAL_LOSS + 0.1 * (first_norm.item() + LOCAL_NORM) - 0.01 * 4 / 3
    assert st_dim_loss(query, LOCAL_QUERY, local, features, 0.1, 0.01).item() == pytest.approx(wanted)


def test_st_dim_trains_every_input() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 2), (3, 2, 2, 2), (3, 2, 2, 2), (6, 4))
    leaves = [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]
    st_dim_loss(leaves[0], leaves[1], leaves[2], leaves[3]).backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in leaves)


def test_barlow_by_hand() -> None:
    za, zb = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    # C = [[0.5, 0.5], [0, 2]]
    assert snd_barlow_loss(za, zb).item() == pytest.approx(0.25 + 1.0 + 0.005 * 0.25)
    assert snd_barlow_loss(za, zb, 1.0).item() == pytest.approx(1.5)


def test_barlow_is_zero_for_orthogonal_features_of_unit_mean_square_only() -> None:
    z = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    assert snd_barlow_loss(z, z).item() == 0.0
    assert snd_barlow_loss(2 * z, 2 * z).item() == pytest.approx(2 * (4 - 1) ** 2)  # it is not normalised


def test_wrong_shapes_and_values_are_errors() -> None:
    with pytest.raises(ValueError, match="zb: expected shape"):
        info_nce_loss(torch.zeros(2, 3), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="positive temperature"):
        info_nce_loss(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0.0)
    with pytest.raises(ValueError, match="'cosine' is not one of"):
        info_nce_loss(torch.zeros(2, 3), torch.zeros(2, 3), "cosine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="local: expected shape"):
        global_local_loss(torch.zeros(2, 3), torch.zeros(2, 4, 1, 1))
    with pytest.raises(ValueError, match="local: expected shape"):
        local_local_loss(torch.zeros(2, 3, 1, 1), torch.zeros(2, 3, 1, 2))
    with pytest.raises(ValueError, match="zb: expected shape"):
        snd_barlow_loss(torch.zeros(2, 3), torch.zeros(2, 4))
