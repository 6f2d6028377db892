"""``rllib map``: from a real run's checkpoint to picture, table and CSV; several runs; errors in one line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rllib_rnd.checkpoints.format import CHECKPOINT_FORMAT
from rllib_rnd.checkpoints.manifest import MANIFEST, seal
from rllib_rnd.cli import app
from rllib_rnd.cli.map import cell_grid, load_run, run_names
from tests.conftest import small_config

pytest.importorskip("matplotlib")
runner = CliRunner()

TRIAL = "RND_x_00000_0_2026-01-02_03-04-05"


def checkpoint_of(config: Any, storage: Path, name: str, iterations: int = 2) -> Path:
    """Trains and saves where Tune would; returns the run's folder."""
    algorithm = config.build_algo()
    for _ in range(iterations):
        algorithm.train()
    trial = storage / name / TRIAL
    trial.mkdir(parents=True)
    (trial / "result.json").write_text("", encoding="utf-8")
    algorithm.save_to_path(trial / "checkpoint_000000")
    algorithm.stop()
    return storage / name


@pytest.fixture(scope="module")
def runs(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A storage folder with runs of three environments; ``sea`` and ``longer`` have the same grid, ``wide`` not."""
    storage = tmp_path_factory.mktemp("storage")
    sea = checkpoint_of(small_config(), storage, "sea")
    checkpoint_of(small_config(), storage, "longer", iterations=4)
    wide = small_config().environment("rllib_rnd/DeepSea-v0", env_config={"size": 6})
    checkpoint_of(wide, storage, "wide", iterations=1)
    checkpoint_of(small_config(env="CartPole-v1"), storage, "nowhere", iterations=1)
    checkpoint_of(small_config(env="rllib_rnd/PointMaze-v0"), storage, "maze", iterations=1)
    shutil.copytree(sea, storage / "old")
    checkpoint = storage / "old" / TRIAL / "checkpoint_000000"
    content = json.loads((checkpoint / "algorithm.json").read_text(encoding="utf-8"))
    del content["state"]["intrinsic_ppo"]["places"]
    (checkpoint / "algorithm.json").write_text(json.dumps(content), encoding="utf-8")
    (checkpoint / MANIFEST).unlink()
    seal(checkpoint, CHECKPOINT_FORMAT, "rllib_rnd.presets:RND", 2, 112)
    yield storage


def rllib_map(*arguments: str | Path) -> Any:
    return runner.invoke(app, ["map", *map(str, arguments)])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_run_end_to_end(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = rllib_map(runs / "sea", "--csv", "numbers/sea.csv")
    assert result.exit_code == 0, result.output
    assert Path("sea_map.png").read_bytes().startswith(b"\x89PNG")
    words = result.output.split()
    assert "rllib_rnd/DeepSea-v0" in words and "sea_map.png" in words and "position" in words

    rows = rows_of(Path("numbers/sea.csv"))
    assert list(rows[0]) == ["kind", "id", "agent_steps_spent", "first_visit"]
    assert {row["kind"] for row in rows} == {"position"}
    cells = [int(row["id"]) for row in rows]
    assert cells == sorted(cells) and cells[0] == 0 and all(cell % 5 <= cell // 5 for cell in cells)
    # 4 environments, 32 vector steps, each episode 5 steps and one that resets: the last observation has no cell.
    steps = load_run(runs / "sea" / TRIAL / "checkpoint_000000", "sea").agent_steps
    assert f"{steps}" in words and 100 < steps <= 4 * 32
    assert sum(int(row["agent_steps_spent"]) for row in rows) <= 4 * 33
    assert {int(row["first_visit"]) for row in rows} <= set(range(1, steps + 1))


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_formats_and_what_may_be_named(runs: Path, tmp_path: Path, suffix: str, begins: bytes) -> None:
    out = tmp_path / "new" / f"a{suffix}"
    result = rllib_map(runs / "maze" / TRIAL / "checkpoint_000000", "--out", out)
    assert result.exit_code == 0, result.output
    assert out.read_bytes().startswith(begins)


def test_several_runs(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = rllib_map(runs / "sea", runs / "longer", "--csv", "both.csv")
    assert result.exit_code == 0, result.output
    assert Path("sea_and_1_more_map.png").is_file()
    rows = rows_of(Path("both.csv"))
    assert list(rows[0]) == ["run", "kind", "id", "agent_steps_spent", "first_visit"]
    assert {row["run"] for row in rows} == {"sea", "longer"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/no/such/folder"], "there is no such folder"),
        (["."], "holds no complete checkpoint"),
        (["sea", "--out", "map.jpg"], "suffix '.jpg'; allowed is one of .png, .svg, .pdf"),
        (["sea", "--out", "map"], "suffix ''; allowed"),
        (["nowhere"], "CartPole-v1 tells none: its info needs whole numbers of 0 or more under room or position"),
        (["old"], "The run is older"),
        (["sea", "maze"], "run maze: its environment is rllib_rnd/PointMaze-v0, that of sea is rllib_rnd/DeepSea-v0"),
        (["sea", "wide"], "run wide: its grid of cells is not that of sea"),
        (["sea", "longer", f"sea/{TRIAL}"], "is asked for twice"),
        (
            ["sea", "--out", "result.json/x.png"],
            "--out result.json/x.png: cannot be written: File exists; that is a file, not a folder",
        ),
        (
            ["sea", "--csv", "result.json/x.csv"],
            "--csv result.json/x.csv: cannot be written: File exists; that is a file, not a folder",
        ),
    ],
)
def test_errors_exit_2(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(runs / "sea" / TRIAL)
    named = [str(runs / word) if (runs / word.split("/")[0]).is_dir() and word != "." else word for word in arguments]
    result = rllib_map(*([str(tmp_path)] if named == ["."] else named))
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_names_are_as_short_as_they_can_be(tmp_path: Path) -> None:
    def trial(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "result.json").write_text("", encoding="utf-8")
        return folder

    a, b, other = trial("run/a"), trial("run/b"), trial("other/a")
    assert run_names([a / "c1"]) == ["run"]
    assert run_names([a / "c1", other / "c1"]) == ["run", "other"]
    assert run_names([a / "c1", b / "c1"]) == ["run/a", "run/b"]
    assert run_names([a / "c1", a / "c2"]) == ["run/a/c1", "run/a/c2"]
    assert run_names([tmp_path / "copied"]) == ["copied"]
    far = trial("elsewhere/run/a")
    assert run_names([a / "c1", far / "c1"]) == [str(a / "c1"), str(far / "c1")]


def test_where_the_grid_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    maze = cell_grid("rllib_rnd/PointMaze-v0", {"layout": "corridor"})
    assert maze is not None and maze.shape == (3, 18) and maze.num_cells() == 16
    sea = cell_grid("rllib_rnd/DeepSea-v0", {"size": 4})
    assert sea is not None and sea.shape == (4, 4) and sea.num_cells() == 10  # the diver is never right of the diagonal
    assert capsys.readouterr().out == ""
    assert cell_grid("CartPole-v1", {}) is None
    assert "only their timeline: CartPole-v1 has no attribute position_shape" in capsys.readouterr().out
    assert cell_grid("NoSuchGame-v0", {}) is None
    assert "only their timeline: env:" in capsys.readouterr().out
