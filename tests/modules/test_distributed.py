"""Statistics of two real processes that talk through torch.distributed (gloo)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from rllib_rnd.intrinsic.reward_filter import RewardFilter
from rllib_rnd.modules.distributed import all_reduce_sum, sum_gradients, world_size
from rllib_rnd.modules.running_moments import RunningMoments

SIZES = ((5, 0), (3, 8), (0, 0))  # samples of each rank in each update; also none at all


def data() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(1e4, 2.0, size=(sum(sizes), 2)) for sizes in SIZES]


def returns() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).random(size=(6, 5)))


def learner(rank: int, folder: str) -> None:
    """One of two learners; saves its statistics for the test to compare."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        moments = RunningMoments((2,))
        for x, sizes in zip(data(), SIZES, strict=True):
            share = x[: sizes[0]] if rank == 0 else x[sizes[0] :]
            moments.update(torch.from_numpy(share))
        own = returns()[:, :2] if rank == 0 else returns()[:, 2:]
        reward_filter = RewardFilter(0.9)
        reward_filter.update(own, torch.ones_like(own, dtype=torch.bool))
        total = all_reduce_sum(torch.tensor([float(rank + 1)]))
        saved = {"moments": moments.state_dict(), "filter": reward_filter.state_dict(), "total": total}
        torch.save(saved | {"world_size": world_size()}, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_one_process_sums_over_itself() -> None:
    x = torch.tensor([3.0])
    assert world_size() == 1
    assert all_reduce_sum(x) is x


def test_two_learners_agree_with_one_that_sees_everything(tmp_path: Path) -> None:
    mp.spawn(learner, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first["world_size"] == 2 and first["total"].item() == second["total"].item() == 3.0

    alone = RunningMoments((2,))
    for x in data():
        alone.update(torch.from_numpy(x))
    everything = RewardFilter(0.9)
    everything.update(returns(), torch.ones(6, 5, dtype=torch.bool))
    for saved in (first, second):
        torch.testing.assert_close(saved["moments"], dict(alone.state_dict()))
        for name in ("mean", "var", "count"):
            torch.testing.assert_close(saved["filter"][f"moments.{name}"], getattr(everything.moments, name))
    # The statistics are common, the sums are each learner's own.
    carry = torch.cat([first["filter"]["carry"], second["filter"]["carry"]])
    torch.testing.assert_close(carry, everything.carry)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_summed_gradients_lie_in_memory_as_their_weights(
    layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fused optimizer steps through both in that order, whatever their shapes say."""
    generator = torch.Generator().manual_seed(0)
    weight, gradient = torch.randn(2, 8, 4, 3, 3, generator=generator)
    wanted, found = (torch.nn.Parameter(weight.clone().to(memory_format=layout)) for _ in range(2))
    wanted.grad = (2.0 * gradient).to(memory_format=layout)
    found.grad = gradient.clone().to(memory_format=layout)
    # Another learner with the same gradient.
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, op: tensor.mul_(2.0))
    sum_gradients([found])
    assert found.grad is not None and found.grad.stride() == found.stride()
    for parameter in (wanted, found):
        torch.optim.Adam([parameter], lr=0.1, fused=True).step()
    torch.testing.assert_close(found, wanted)
