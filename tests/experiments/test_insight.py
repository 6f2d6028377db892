"""The insight studies' own arithmetic, by hand, and reports of rows that were made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.insight import agents, axis, bonus, explorative, probes
from experiments.insight.agents import Sheet, catch_boards, covers, first_visits, interval, percentile, sea_boards
from experiments.studies import Row
from rllib_rnd.analysis.maps import Map
from rllib_rnd.envs.catch import CatchEnv
from rllib_rnd.envs.deep_sea import DeepSeaEnv


def test_the_variance_of_a_map_is_in_its_rows_its_columns_or_neither() -> None:
    horizontal = np.array([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]])
    crossed = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])
    both = horizontal + np.array([1.0, -1.0, 0.0])  # sums of squares 6 and 4
    rows, columns = axis.effects(np.stack([horizontal, horizontal * 0 + [[1.0, 2.0, 5.0]], crossed, both]))
    np.testing.assert_allclose(rows, [1.0, 0.0, 0.0, 0.6], atol=1e-12)
    np.testing.assert_allclose(columns, [0.0, 1.0, 0.0, 0.4], atol=1e-12)
    assert all(np.isnan(axis.effects(np.full((1, 2, 2), 7.0))).tolist())


@pytest.mark.parametrize("env", [CatchEnv(size=6, cell_size=2), DeepSeaEnv(size=6, cell_size=2)])
def test_boards_are_the_observations_of_the_game(env: CatchEnv | DeepSeaEnv) -> None:
    boards = (catch_boards if isinstance(env, CatchEnv) else sea_boards)(6, 2)[0]
    known, random = {board.tobytes() for board in boards}, np.random.default_rng(0)
    assert len(known) == len(boards)
    met = set()
    for episode in range(60):
        obs, done = env.reset(seed=episode)[0], False
        while not done:
            met.add(obs.tobytes())
            obs, _, done, _, _ = env.step(int(random.integers(2)))
    assert met <= known and len(met) > 20


def test_boards_say_where_things_are() -> None:
    boards, ball, paddle = catch_boards(4, 3)
    assert boards.shape == (32, 12, 12)
    for board, (row, column), (last, place) in zip(boards, ball, paddle, strict=True):
        assert board[3 * row : 3 * row + 3, 3 * column : 3 * column + 3].min() == 255
        assert last == 3 and board[9:, 3 * place : 3 * place + 3].min() == 255
        assert np.count_nonzero(board) == 18


def test_percentiles_of_places() -> None:
    values = np.array([[0.0, 1.0, 2.0, 3.0, 3.0]])
    where = np.eye(5, dtype=bool)
    found = [float(percentile(values, where[i : i + 1])[0]) for i in range(5)]
    assert found == [0.0, 0.25, 0.5, 0.875, 0.875]
    assert percentile(np.zeros((2, 5)), where[:2]).tolist() == [0.5, 0.5]
    assert percentile(values, where[:1] | where[2:3]).tolist() == [0.25]


def test_the_places_that_see_a_cell() -> None:
    """Places of 8 pixels, 4 apart: the cell of pixels 4 to 7 is in the first two."""
    assert covers(np.array([0, 1, 9]), 4, 9, 8, 4).nonzero()[1].tolist() == [0, 0, 1, 8]
    assert covers(np.array([3]), 3, 6, 6, 6).tolist() == [[False, True, False, False, False, False]]


def test_first_visits_leave_out_where_the_episode_begins() -> None:
    assert first_visits(np.array([1, 1, 2, 2, 1, 2, -1, 3]), window=2).tolist() == [2, 3, 7]
    assert not len(first_visits(np.array([1, 1, 1])))


def test_intervals() -> None:
    assert interval([0.5]) == "0.50"
    assert interval([np.nan]) == "-"
    # Student's t with four degrees of freedom: 2.776 * sqrt(2.5 / 5).
    assert interval([1.0, 2.0, 3.0, 4.0, 5.0]) == "3.00 ± 1.96"
    assert interval([0.0, 0.5, 1.0]) == "0.50 (0.00 to 1.00)", "an interval of so few would reach beyond [0, 1]"


def test_only_agents_that_have_learned_are_explorative_results() -> None:
    """DeepSea was cut at a return of 0.014, which is no trained agent's."""
    assert not explorative.knows("deep_sea", agents.Found(Path("x"), 39_744, 0.014))
    assert not explorative.knows("catch", agents.Found(Path("x"), 10)), "no episode has ended"
    assert explorative.knows("catch", agents.Found(Path("x"), 60_864, 0.97))


def test_an_agent_trained_on_is_measured_anew_and_the_report_takes_its_newest_rows() -> None:
    assert all("agent_steps" in study.KEY for study in (axis, explorative, bonus))
    frame = pd.DataFrame({"seed": [0, 0, 1], "agent_steps": [10, 20, 10], "commit": "58536e0", "game": "catch"})
    newest = agents.newest_rows(frame, ("seed",))
    assert newest.index.tolist() == [1, 2]
    assert agents.seeds_line(newest, "game") == [
        "Seeds: 0, 1 of catch; trained for 10 to 20 agent steps; code: commit 58536e0."
    ]


def test_the_nearest_checkpoint_is_taken_even_if_it_is_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [agents.Found(Path("a"), 200_000), agents.Found(Path("b"), 400_000)]
    monkeypatch.setattr(agents, "checkpoints", lambda *_: {Path("trial"): found})
    assert agents.nearest(Path("x"), "snd_v", "montezuma", 1_000_000) == found[1]
    assert "nearest to 1,000,000 agent steps is 400,000" in capsys.readouterr().out


def test_where_a_bonus_map_is() -> None:
    values = np.zeros((1, 84, 84))
    values[0, 0, 0], values[0, 50, 10] = -1.0, 3.0
    one = Map(values, "bonus", signed=True)
    assert bonus.share_in_counters(one) == pytest.approx(0.25)
    assert bonus.share_in_hottest(one) == pytest.approx(1.0)
    assert bonus.share_in_hottest(Map(np.ones((2, 10, 10)), "even")) == pytest.approx(0.1)


def test_a_sheet_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    sheet = Sheet(tmp_path / "sheet.csv", ("game", "seed"))
    sheet.add([{"game": "catch", "seed": 0, "x": 1.5}, {"game": "catch", "seed": 0, "x": 2.5}])
    again = Sheet(tmp_path / "sheet.csv", ("game", "seed"))
    assert again.has(game="catch", seed=0) and sheet.has(game="catch", seed=0)
    assert not again.has(game="catch", seed=1)
    assert pd.read_csv(tmp_path / "sheet.csv").x.tolist() == [1.5, 2.5]


def test_what_is_missing_is_told_with_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert agents.newest(tmp_path, "catch", "catch") == []
    assert agents.nearest(tmp_path, "rnd", "montezuma", 1_000) is None
    told = capsys.readouterr().out
    assert f"rllib train experiments/insight/catch.yaml --storage {tmp_path}" in told
    assert "rnd: no checkpoint in" in told and "montezuma.yaml" in told


def test_what_nobody_has_measured_has_no_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for study in (axis, explorative, bonus, probes):
        monkeypatch.setattr(study, "HERE", tmp_path)
        assert list(study.sections()) == []
        study.draw(None)
    assert not list(tmp_path.iterdir())


def test_the_tables_of_the_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorative, "HERE", tmp_path)
    sheet = Sheet(tmp_path / "explorative.csv", explorative.KEY)
    for seed in (0, 1):
        for trained in (1, 0):
            row: Row = {"game": "catch", "seed": seed, "trained": trained, "agent_steps": 10, "layer": "blocks.0"}
            row |= {"total_variation": 0.2 + 0.4 * trained, "jensen_shannon": 0.1, "between_states": 0.3}
            row |= {f"{token}_{thing}": "" for token in ("explore", "exploit") for thing in ("ball", "paddle", "diver")}
            sheet.add([{**row, "explore_ball": 0.9, "exploit_ball": 0.4 + 0.1 * seed, "commit": "58536e0"}])
    (section,) = explorative.sections()
    assert "| catch | blocks.0 | 2 | 0.60 (0.60 to 0.60) | 0.20 (0.20 to 0.20) | 0.40 (0.40 to 0.40)" in "\n".join(
        section
    )
    assert any(
        line.startswith("| catch | blocks.0 | ball | 0.90 (0.90 to 0.90) | 0.45 (0.40 to 0.50) | 0.45 (0.40 to 0.50)")
        for line in section
    )
    assert not any("paddle" in line for line in section)
    explorative.draw(None)
    assert (tmp_path / "explorative.png").exists()


def test_the_table_of_probes_shows_memories_and_the_untrained_twin() -> None:
    rows = [
        {"agent": agent, "layer": layer, "score": score, "variable": "oldest", "labels": "true", "model": "linear"}
        for agent, layer, score in (("iam", "policy", 0.2), ("iam", "memory", 0.25), ("untrained", "memory", 0.35))
    ]
    frame = pd.DataFrame(rows).assign(metric="r2", low=0.0, high=0.5)
    head, _, row = probes.policies(frame)
    assert head == "| linear probes | metric | iam: policy | iam: memory | untrained: memory | shuffled labels |"
    assert row == "| oldest | r2 | 0.20 [0.00, 0.50] | 0.25 [0.00, 0.50] | 0.35 [0.00, 0.50] | - |"
