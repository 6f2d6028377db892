"""Rows of single environments: who is still there keeps its own."""

from __future__ import annotations

import torch

from rllib_rnd.modules.environment_rows import EnvironmentRows, follow_environments, gather_rows, scatter_rows


class Carries(EnvironmentRows):
    def __init__(self) -> None:
        super().__init__()
        self.register_rows("carry", torch.tensor([7.0, 7.0]))


def module() -> tuple[torch.nn.Module, Carries]:
    part = Carries()
    part.fit_rows(4, torch.device("cpu"))
    part.carry.copy_(torch.arange(8.0).view(4, 2))
    return torch.nn.ModuleDict({"part": part}), part


def test_environments_keep_their_rows_when_others_leave_and_new_ones_begin_anew() -> None:
    whole, part = module()
    before = ["a", "b", "c", "d"]
    for now, expected in (
        (["c", "d"], [[4, 5], [6, 7]]),
        (["x", "y", "c", "d"], [[7, 7], [7, 7], [4, 5], [6, 7]]),
        (["d", "a"], [[6, 7], [0, 1]]),
    ):
        rows = follow_environments(whole, gather_rows(whole, 4, 0, 4), before, now)
        assert rows["part.carry"].tolist() == expected
    scatter_rows(whole, rows, 2, 1)
    assert part.carry.tolist() == [[0, 1]]


def test_rows_of_another_number_than_the_environments_before_are_left_alone() -> None:
    whole, _ = module()
    assert follow_environments(whole, gather_rows(whole, 4, 0, 4), ["a"], ["a", "b"]) == {}
