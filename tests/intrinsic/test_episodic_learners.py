"""Counts, scales and memories that several learners share: two real processes against one that sees everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from rllib_rnd.rollout import Rollout
from tests.intrinsic.episodic_checks import make, short_episodes
from tests.intrinsic.rollouts import vector_space

NAMES = ("count", "noveld", "ngu", "e3b", "re3")
SHARES = ((0, 2), (2, 5))  # environments of each learner: not equally many


def rollouts(noise: float = 0.0) -> list[Rollout]:
    made = [short_episodes(20, 5, seed=seed)[0] for seed in range(3)]
    generator = torch.Generator().manual_seed(0)
    for data in made:
        data.frames.add_(noise * torch.randn(data.frames.shape, generator=generator))
    return made


def options(name: str) -> dict[str, Any]:
    return {"capacity": 1024} if name == "re3" else {}


def play(name: str, start: int, stop: int) -> tuple[Any, torch.Tensor]:
    """A reward that saw two rollouts of the environments ``start .. stop - 1``, and what it pays for a third."""
    reward = make(name, vector_space(5), **options(name))
    noise = 0.0 if name in ("count", "noveld") else 0.3  # counts need repetitions, distances none
    shares = [data.select_envs(start, stop) for data in rollouts(noise)]
    for data in shares[:2]:
        r_t = reward.compute(data)[0]
        if name != "count":  # which sees the others' visits of the same rollout only afterwards
            reward.normalize(r_t, data.valid)
        reward.update_statistics(data)
    return reward, reward.compute(shares[2])[0]


def learner(rank: int, folder: str) -> None:
    """One of two learners; saves its state and rewards for the test to compare."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        saved = {}
        for name in NAMES:
            reward, r_t = play(name, *SHARES[rank])
            saved[name] = {"state": dict(reward.state_dict()), "rewards": r_t, "rows": rows_of(reward)}
        torch.save(saved, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def rows_of(reward: Any) -> list[str]:
    """Names of the buffers that hold a row per environment."""
    parts = [(path, part) for path, part in reward.named_modules() if hasattr(part, "row_names")]
    return [f"{path}.{name}".lstrip(".") for path, part in parts for name in part.row_names()]


@pytest.fixture(scope="module")
def learners(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("learners")
    mp.spawn(learner, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", NAMES)
def test_two_learners_agree_with_one_that_sees_everything(name: str, learners: list[dict[str, Any]]) -> None:
    alone, r_t = play(name, 0, 5)
    first, second = (saved[name] for saved in learners)
    for key, value in alone.state_dict().items():
        if key in first["rows"]:
            torch.testing.assert_close(torch.cat([first["state"][key], second["state"][key]]), value)
        elif key == "memory":  # of re3: the order is that of the learners
            for saved in (first, second):
                assert as_set(saved["state"][key]) == as_set(value)
        else:
            torch.testing.assert_close(first["state"][key], value)
            torch.testing.assert_close(second["state"][key], value)
    if name != "count":
        torch.testing.assert_close(torch.cat([first["rewards"], second["rewards"]], dim=1), r_t)


def as_set(rows: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in rows.mul(1e3).round().tolist()}


def test_counts_within_a_rollout_are_each_learners_own(learners: list[dict[str, Any]]) -> None:
    alone, r_t = play("count", 0, 5)
    together = torch.cat([saved["count"]["rewards"] for saved in learners], dim=1)
    assert bool((together >= r_t - 1e-9).all()) and bool((together > r_t).any())
    assert alone.counts.sum() == sum(int(data.new_obs.sum()) for data in rollouts()[:2])
