"""``rllib plot``: one figure of curves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rllib_rnd.cli import app
from tests.analysis.results.made_runs import write_experiment

pytest.importorskip("matplotlib")
runner = CliRunner()


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    write_experiment(tmp_path, "rnd", {seed: [0.0, 1.0 + seed, 2.0] for seed in range(3)}, {"intrinsic_reward": "rnd"})
    write_experiment(tmp_path, "ppo", {0: [0.0, 0.0, 1.0]})
    return tmp_path


def drawn(storage: Path, *options: str) -> tuple[str, str]:
    """What is said, and the text of the figure."""
    out = storage / "new folder" / "figure.svg"
    done = runner.invoke(app, ["plot", str(storage), "--out", str(out), *options], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output, out.read_text()


def test_a_line_and_a_band_per_variant(storage: Path) -> None:
    said, figure = drawn(storage)
    assert said.splitlines()[-1] == f"written to {storage / 'new folder' / 'figure.svg'}"
    assert "a line per run, no band: fewer than 3 seeds of ppo" in said
    assert "mean and standard error over seeds" in said
    for text in ("rnd (3 seeds)", "ppo (1 seed)", "agent steps", "return_mean", "rllib_rnd/Catch-v0"):
        assert f">{text}<" in figure
    assert figure == drawn(storage)[1]  # the same runs, the same file


def test_another_axis_another_metric_another_grouping(storage: Path) -> None:
    said, figure = drawn(storage, "--x", "hours", "--metric", "return_max", "--by", "intrinsic_reward.type")
    assert ">hours<" in figure
    assert ">return_max<" in figure
    assert ">type=none (1 seed)<" in figure
    assert "type=rnd" in figure
    assert "type=none" in said


def test_what_is_not_drawn_is_said(storage: Path) -> None:
    trial = next(path for path in (storage / "ppo").iterdir() if path.is_dir())
    text = (trial / "result.json").read_text()
    (trial / "result.json").write_text(text.replace("episode_return_max", "another"))
    said, figure = drawn(storage, "--metric", "return_max")
    assert "ppo" not in figure
    assert "no line: no return_max against agent steps of ppo" in said
    shutil.rmtree(storage / "rnd")
    said, _ = drawn(storage)
    assert "band: fewer than 3 seeds of ppo" in said
    assert "line and band" not in said


def test_frames(tmp_path: Path) -> None:
    write_experiment(tmp_path, "pong", {0: [0.0, 1.0]}, {"env": "ALE/Pong-v5"})
    assert ">frames<" in drawn(tmp_path, "--x", "frames")[1]


def test_a_name_for_the_figure(storage: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    before = Path.cwd()
    os.chdir(here)
    try:
        done = runner.invoke(app, ["plot", str(storage / "rnd")])
    finally:
        os.chdir(before)
    assert done.exit_code == 0, done.output
    picture = here / "rllib_rnd_Catch-v0_return_mean.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert done.output.splitlines()[-1] == f"written to {picture.name}"
