"""Running statistics: equal to numpy on everything seen, however it was cut, masked or saved."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from rllib_rnd.modules import running_moments
from rllib_rnd.modules.running_moments import RunningMoments


def filled(x: np.ndarray, cuts: tuple[int, ...] = ()) -> RunningMoments:
    moments = RunningMoments(x.shape[1:])
    for part in np.split(x, cuts):
        moments.update(torch.from_numpy(part))
    return moments


@pytest.mark.parametrize("cuts", [(), (1,), (30, 31, 90)])
def test_equal_numpy_on_everything_seen(cuts: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(100.0, [1.0, 20.0], size=(100, 2))
    moments = filled(x, cuts)
    np.testing.assert_allclose(moments.mean, x.mean(0))
    np.testing.assert_allclose(moments.var, x.var(0))
    assert moments.count == 100


def test_masked_samples_do_not_count() -> None:
    x = torch.arange(10, dtype=torch.uint8).reshape(10, 1)
    moments = RunningMoments((1,))
    moments.update(x, x[:, 0] < 4)
    assert (moments.mean.item(), moments.count.item()) == (1.5, 4.0)


def test_large_batches_are_read_in_chunks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(1).integers(0, 256, size=(50, 4, 4), dtype=np.uint8)
    monkeypatch.setattr(running_moments, "_CHUNK_ELEMENTS", 7 * 16)
    moments = filled(x)
    np.testing.assert_allclose(moments.mean, x.mean(0))
    np.testing.assert_allclose(moments.var, x.var(0))


def test_normalize_is_the_identity_before_the_first_sample() -> None:
    x = torch.tensor([[-3.0, 0.5]])
    moments = RunningMoments((2,))
    torch.testing.assert_close(moments.normalize(x), x)
    moments.update(torch.zeros(0, 2))
    torch.testing.assert_close(moments.normalize(x), x)


def test_normalize_whitens_and_clips() -> None:
    x = np.random.default_rng(2).normal(7.0, 3.0, size=(1000, 2))
    moments = filled(x)
    white = moments.normalize(torch.from_numpy(x))
    assert white.dtype == torch.float32
    torch.testing.assert_close(white.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(white.std(0, unbiased=False), torch.ones(2), atol=1e-4, rtol=0)
    assert moments.normalize(torch.tensor([[1e9, -1e9]]), clip=5.0).tolist() == [[5.0, -5.0]]


def test_an_element_that_never_changed_gives_zero_and_its_first_change_the_clip() -> None:
    moments = filled(np.full((20, 2), 128, dtype=np.uint8))
    out = moments.normalize(torch.tensor([[128, 129]], dtype=torch.uint8), clip=5.0)
    assert out.tolist() == [[0.0, 5.0]]


def test_state_dict_round_trip_continues_identically() -> None:
    x = np.random.default_rng(3).normal(size=(40, 3))
    moments = filled(x[:20])
    restored = RunningMoments((3,))
    restored.load_state_dict(copy.deepcopy(moments.state_dict()))
    for m in (moments, restored):
        m.update(torch.from_numpy(x[20:]))
    assert all(torch.equal(a, b) for a, b in zip(moments.buffers(), restored.buffers(), strict=True))
    np.testing.assert_allclose(restored.var, x.var(0))


def test_statistics_are_buffers_without_gradient() -> None:
    moments = RunningMoments((2,))
    assert list(moments.parameters()) == []
    moments.update(torch.ones(3, 2, requires_grad=True))
    assert not any(b.requires_grad for b in moments.buffers())


def test_wrong_shapes_are_named() -> None:
    moments = RunningMoments((2,))
    with pytest.raises(ValueError, match="x: expected shape"):
        moments.update(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="mask: expected shape"):
        moments.update(torch.zeros(3, 2), torch.ones(2, dtype=torch.bool))
