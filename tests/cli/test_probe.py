"""``rllib probe`` on a tiny checkpoint: tables, files, MLflow, and mistakes in one line."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rllib_rnd.analysis.figures.probe_chart import probe_figure
from rllib_rnd.analysis.probing.layers import is_reserved
from rllib_rnd.analysis.probing.results import BETTER, NO_BETTER, Probed, ProbeRow
from rllib_rnd.cli.app import app
from rllib_rnd.cli.probe import log_to_mlflow, print_probed, write_probed
from rllib_rnd.errors import ConfigError
from tests.analysis.probing.searches import search_in_process
from tests.conftest import small_config


@pytest.fixture(scope="module")
def checkpoint(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one iteration of DeepSea 5 x 5, where a run has its folders."""
    folder = tmp_path_factory.mktemp("storage") / "run" / "trial" / "checkpoint_000000"
    algorithm = small_config("RND").build_algo()
    algorithm.train()
    algorithm.save(str(folder))
    algorithm.stop()
    return folder


@pytest.fixture(scope="module")
def store(checkpoint: Path) -> str:
    """The MLflow store beside the run; made once, for its tables take seconds."""
    return f"sqlite:///{checkpoint.parents[2] / 'mlruns.db'}"


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command may not come to where it starts Ray."""
    monkeypatch.setattr("rllib_rnd.cli.probe.ray_session", lambda *_: pytest.fail("Ray was started"))


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command needs no Ray: searches run in this process."""

    @contextlib.contextmanager
    def running(cpus: float) -> Iterator[None]:
        assert cpus > 0
        yield

    monkeypatch.setattr("rllib_rnd.cli.probe.ray_session", running)
    search_in_process(monkeypatch)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["probe", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_checkpoint_is_probed(
    checkpoint: Path, store: str, without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the agent is can be read off DeepSea's features; the scores are in the files and in the run's MLflow."""
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    client = MlflowClient(tracking_uri=store)
    own = client.create_run("0", tags={"trial_folder": str(checkpoint.parent)}).info.run_id
    arguments = ("--quick", "--episodes", "40", "--layers", "policy,extrinsic")
    code, output = run(str(checkpoint), *arguments, "--out", str(tmp_path / "out"))
    assert code == 0, output
    with (tmp_path / "out" / "probe.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    document = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert [float(row["score"]) for row in rows] == [row["score"] for row in document["probes"]]
    assert document["fitted_on"]["games"] + document["measured_on"]["games"] == 40
    assert {row["agent"] for row in rows} == {document["probes"][0]["agent"], "untrained", "pixels"}
    assert {row["variable"] for row in rows} == {"row", "column"} and {row["model"] for row in rows} == {"linear"}
    found = {(r["agent"], r["layer"], r["variable"], r["labels"]): float(r["score"]) for r in rows}
    assert found["pixels", "pixels", "row", "true"] > 0.9
    controls = [score for key, score in found.items() if key[3] == "shuffled"]
    assert len(controls) == len(rows) / 2 and max(controls) < 0.3
    verdicts = {(r["agent"], r["variable"], r["labels"]): r["verdict"] for r in rows}
    assert verdicts["pixels", "row", "true"] == "better than shuffled"
    assert [row["verdict"] for row in rows] == [row["verdict"] for row in document["probes"]]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["probe.csv", "probe.json", "probe.png"]
    assert (tmp_path / "out" / "probe.png").stat().st_size > 5_000
    metrics = client.get_run(own).data.metrics
    assert metrics["probe/linear/pixels/row"] == found["pixels", "pixels", "row", "true"]
    assert len(metrics) == len(rows) and "metrics in MLflow" in output
    # What this process does next is as before: a training logs its trials, and MLflow has its usual patience.
    for name in ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        assert name not in os.environ


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--episodes", "3"], "--episodes: 3 games are too few to split"),
        (["--variables", ","], "--variables: ',' names nothing"),
        (["--baseline", "untraned"], "--baseline: 'untraned' is no folder"),
        (["--variables", "rwo"], "Did you mean 'row'"),
        (["--layers", "polcy"], "Did you mean 'policy'"),
        (["--episodes", "6", "--steps", "1"], "none can be probed"),
    ],
)
def test_mistakes_are_one_line_before_ray_is_started_and_leave_nothing(
    checkpoint: Path, no_ray: None, tmp_path: Path, arguments: list[str], said: str
) -> None:
    code, output = run(str(checkpoint), "--out", str(tmp_path / "deep" / "out"), *arguments)
    assert code == 2 and said in output and "Traceback" not in output
    assert len(output.strip().splitlines()) == 1, output
    assert list(tmp_path.iterdir()) == [], "a folder stays"


def test_a_missing_extra_is_told_before_games_are_played(
    checkpoint: Path, no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, output = run(str(checkpoint), "--out", str(tmp_path / "out"))
    assert code == 2 and 'pip install "rllib_rnd[plots]"' in output and len(output.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_names_are_checked_before_games_are_played(
    checkpoint: Path, no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rllib_rnd.analysis.probing.probes.observe", lambda *_: pytest.fail("games were played"))
    for name in ("--variables", "--layers"):
        assert run(str(checkpoint), "--out", str(tmp_path / "out"), name, "rwo")[0] == 2


@pytest.mark.parametrize("place", ["gather", "write_probed"])
def test_ctrl_c_leaves_no_folder_but_what_was_there(
    checkpoint: Path, no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("gather", "fit", "print_probed", "write_probed"):
        monkeypatch.setattr(f"rllib_rnd.cli.probe.{name}", interrupted if name == place else lambda *_: None)
    monkeypatch.setattr("rllib_rnd.cli.probe.ray_session", lambda *_: contextlib.nullcontext())
    (tmp_path / "mine").mkdir()
    code, output = run(str(checkpoint), "--out", str(tmp_path / "new"))
    assert code == 130 and "stopped by Ctrl-C" in output and not (tmp_path / "new").exists()
    code, _ = run(str(checkpoint), "--out", str(tmp_path / "mine"))
    assert code == 130 and (tmp_path / "mine").is_dir()


def made_up(score: float, verdict: str, agent: str = "a", labels: str = "true", model: str = "linear") -> ProbeRow:
    half = 0.1
    return ProbeRow(
        agent,
        "policy",
        "x",
        "number",
        model,
        labels,
        "r2",
        score,
        score - half,
        score + half,
        0.0,
        90,
        9,
        4,
        "",
        verdict,
    )


def test_a_score_that_is_no_better_than_shuffled_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the table, the files and the picture."""
    from matplotlib.patches import Rectangle

    rows = [
        made_up(0.8, BETTER),
        made_up(0.21, NO_BETTER, "b"),
        made_up(0.1, "", labels="shuffled"),
        made_up(0.13, "", "b", labels="shuffled"),
    ]
    found = Probed(rows, {}, 12, 6, 180, 90)
    print_probed(found, "Env")
    write_probed(found, "Env", tmp_path)
    shown = capsys.readouterr().out
    assert (
        "(*: no better than shuffled)" in shown and "*0.21" in shown and "*0.80" not in shown and "*0.10" not in shown
    )
    assert "0.13" not in shown, "controls of the others are in the files only"
    with (tmp_path / "probe.csv").open(encoding="utf-8", newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == [BETTER, NO_BETTER, "", ""]
    document = json.loads((tmp_path / "probe.json").read_text())
    assert [row["verdict"] for row in document["probes"]] == [BETTER, NO_BETTER, "", ""]
    figure = probe_figure(rows, "Env")
    hatched = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle) and patch.get_hatch()]
    assert [patch.get_xy() for patch in hatched] == [(-0.5, 0.5)], "the second row of the map"
    assert figure.get_supxlabel() == "hatched: no better than shuffled"
    assert probe_figure(rows[:1], "Env").get_supxlabel() == ""


def test_an_unknown_bound_is_empty_and_a_fault_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nan = float("nan")
    unknown = [replace(made_up(score, NO_BETTER), low=nan, high=nan) for score in (0.5, nan)]
    found = Probed(unknown, {}, 4, 2, 60, 30)
    print_probed(found, "Env")
    write_probed(found, "Env", tmp_path)
    probes = json.loads((tmp_path / "probe.json").read_text())["probes"]
    assert [row["low"] for row in probes] == [None, None] and [row["score"] for row in probes] == [0.5, None]
    empty = tmp_path / "empty"
    empty.mkdir()
    written: list[Path] = []
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match="the disk is full"):
        write_probed(found, "Env", empty)
    assert list(empty.iterdir()) == []


def test_a_run_that_is_called_like_a_control_gets_another_name() -> None:
    assert [is_reserved(name) for name in ("untrained", "untrained rnd", "pixels", "rnd", "untrained_rnd")] == [
        True, True, True, False, False
    ]  # fmt: skip


def test_no_store_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    line = log_to_mlflow(tmp_path / "run" / "trial" / "checkpoint_000000", Probed([], {}, 0, 0, 0, 0))
    assert line.startswith("no MLflow store beside the run") and "\n" not in line
    assert not (tmp_path / "mlruns.db").exists()


def test_a_run_is_found_by_its_folder_or_its_name(store: str, tmp_path: Path) -> None:
    """Stores of before name the folder that Ray staged the trial in."""
    from mlflow.tracking import MlflowClient

    from rllib_rnd.cli.probe import _run_of

    client = MlflowClient(tracking_uri=store)
    trial = tmp_path / "run" / "RND_x_00000"
    staged = client.create_run("0", tags={"trial_folder": f"/tmp/ray/session/run/{trial.name}"}).info.run_id
    client.create_run("0", tags={"trial_folder": "/tmp/ray/session/run/RND_x_00001"})
    found = _run_of(client, trial)
    assert found is not None and found.info.run_id == staged
    own = client.create_run("0", tags={"trial_folder": str(trial)}, start_time=0).info.run_id
    found = _run_of(client, trial)
    assert found is not None and found.info.run_id == own
    assert _run_of(client, tmp_path / "run" / "other") is None
