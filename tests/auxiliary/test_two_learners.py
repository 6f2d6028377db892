"""Losses on two views in two real processes that talk through torch.distributed (gloo)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from rllib_rnd.auxiliary.barlow_twins import mean_over_learners
from rllib_rnd.functional import barlow_twins_loss, cross_correlation
from tests.auxiliary.two_view_checks import VECTORS, build, loss, observations

BYOL = {"type": "byol", "projector_hidden": 32, "projection_size": 8, "predictor_hidden": 16}
BARLOW = {"type": "barlow_twins", "projector_sizes": [16, 16]}
SIZES = (5, 3)  # samples of each learner


def embeddings() -> tuple[Tensor, Tensor, Tensor]:
    """Two views of all learners' samples, and the weight that embeds them."""
    generator = torch.Generator().manual_seed(0)
    x_1, x_2 = torch.randn(2, sum(SIZES), 4, generator=generator).double()
    return x_1, x_2, torch.randn(4, 3, generator=generator).double().requires_grad_()


def correlations(rank: int) -> dict[str, Tensor]:
    """This learner's share of Barlow Twins' loss and of its gradient, as the learner weights them."""
    x_1, x_2, weight = embeddings()
    own = slice(0, SIZES[0]) if rank == 0 else slice(SIZES[0], None)
    correlation = mean_over_learners(cross_correlation(x_1[own] @ weight, x_2[own] @ weight), SIZES[rank])
    share = barlow_twins_loss(correlation, 0.1) * SIZES[rank] / sum(SIZES)
    share.backward()
    assert weight.grad is not None
    return {"loss": share.detach(), "gradient": weight.grad}


def target(rank: int) -> dict[str, Any]:
    """BYOL's target after an update, with a batch of each learner's own."""
    backbone, byol = build(BYOL)
    loss(byol, backbone, observations(VECTORS, 8 + 4 * rank, seed=rank))
    byol.after_update(backbone)
    return {"target": byol.target.state_dict(), "own": byol.projector.state_dict()}


def short(rank: int, spec: dict[str, Any]) -> Tensor:
    """Samples counted where the first learner has too few and the second enough."""
    backbone, auxiliary = build(spec)
    return loss(auxiliary, backbone, observations(VECTORS, 1 + 10 * rank))[1]


def learner(rank: int, folder: str) -> None:
    """One of two learners; saves what the tests compare."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        skipped = {"byol": short(rank, BYOL), "barlow": short(rank, BARLOW)}
        torch.save({**correlations(rank), **target(rank), "skipped": skipped}, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def learners(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = Path(tmp_path_factory.mktemp("learners"))
    mp.spawn(learner, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_shares_add_up_to_the_loss_and_gradient_of_the_common_correlations(learners: list[dict[str, Any]]) -> None:
    x_1, x_2, weight = embeddings()
    parts = [cross_correlation(a @ weight, b @ weight) for a, b in zip(x_1.split(SIZES), x_2.split(SIZES), strict=True)]
    whole = barlow_twins_loss((5 * parts[0] + 3 * parts[1]) / 8, 0.1)
    whole.backward()
    torch.testing.assert_close(learners[0]["loss"] + learners[1]["loss"], whole.detach())
    torch.testing.assert_close(learners[0]["gradient"] + learners[1]["gradient"], weight.grad)
    # which is not the sum of two losses on their own
    alone = 5 / 8 * barlow_twins_loss(parts[0], 0.1) + 3 / 8 * barlow_twins_loss(parts[1], 0.1)
    assert abs(float((alone - whole).detach())) > 0.05


def test_there_is_one_target_with_the_mean_of_the_learners_statistics(learners: list[dict[str, Any]]) -> None:
    first, second = learners
    torch.testing.assert_close(first["target"], second["target"])
    for name in ("1.running_mean", "1.running_var"):
        own = first["own"][name], second["own"][name]
        assert not torch.allclose(*own)
        torch.testing.assert_close(first["target"][f"projector.{name}"], sum(own) / 2)


def test_batches_too_small_on_one_learner_are_skipped_by_all(learners: list[dict[str, Any]]) -> None:
    assert [saved["skipped"] for saved in learners] == [{"byol": 0.0, "barlow": 0.0}] * 2
