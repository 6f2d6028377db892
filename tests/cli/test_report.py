"""``rllib report``: one page of runs or of scores, and one line for what cannot be reported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rllib_rnd.analysis.results.groups import Variant
from rllib_rnd.analysis.results.references import from_file
from rllib_rnd.analysis.results.runs import load_runs
from rllib_rnd.cli import report
from rllib_rnd.cli.app import app
from rllib_rnd.errors import ConfigError
from tests.analysis.results.made_up import write_folder

pytest.importorskip("matplotlib")


def invoke(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["report", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiments a (three seeds), b (three seeds), and c on another task with twice the steps."""
    folder = tmp_path_factory.mktemp("results")
    write_folder(folder, "a", {0: 0.9, 1: 1.0, 2: 0.95})
    write_folder(folder, "b", {0: 0.1, 1: 0.0, 2: 0.2})
    write_folder(folder, "long_b", {0: 0.9}, rows=24)
    return folder


def test_runs_become_a_page(storage: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.html"
    code, told = invoke(storage / "a", storage / "b", "--out", out, "--threshold", 0.8, "--baseline", "b")
    assert code == 0, told
    assert "return_mean of 0.8: a reaches it with 3 of 3 seeds, b with 0 of 3." in told
    assert "Probability of improvement of a over b: 1.00 [1.00, 1.00]." in told
    assert "written to" in told
    text = out.read_text()
    assert "a reaches it with 3 of 3 seeds" in text and 'href="report_files/numbers.json"' in text
    data = json.loads((out.parent / "report_files" / "numbers.json").read_text())
    assert data["sections"]["tasks"]["tables"]["tasks"]["rows"][0]["winner"] == "a"


def test_an_experiment_of_the_storage_cut_to_the_shortest(storage: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    code, told = invoke("--experiment", "long_b", "--storage", storage, "--out", out)
    assert code == 0 and "1 seed each, 24,000 agent steps" in told
    code, told = invoke(storage / "a", storage / "long_b", "--out", out, "--truncate-to-shortest")
    assert code == 0, told
    assert (
        "all runs of rllib_rnd/DeepSea-v0 are cut to 12,000 agent steps" in told and "cut to 12,000" in out.read_text()
    )


def test_scores_of_others_become_a_page(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("task,kind,variant,score\nx,k,a,1\nx,k,b,2\ny,l,a,3\ny,l,b,2\nz,l,a,3\nz,l,b,2\n")
    code, told = invoke(table, "--group", "kind", "--out", tmp_path / "r.html")
    assert code == 0 and "a wins 2 of 3 tasks (b 1)." in told
    groups = (tmp_path / "r_files" / "tables" / "wins_by_group.csv").read_text().splitlines()
    assert groups == ["group,tasks,a,b", "k,1,0 (0.0%),1 (100.0%)", "l,2,2 (100.0%),0 (0.0%)"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "nothing to report on"),
        (["a", "--out", "r.txt"], "--out r.txt: suffix '.txt'; allowed is a name that ends in .html."),
        (["nowhere"], "nowhere"),
        (["a", "--metric", "return_meen"], "no run here has logged 'return_meen'. Did you mean 'return_mean'?"),
        (["a", "--baseline", "b"], "--baseline: unknown variant 'b'"),
        (["a", "--baseline", "a"], "nothing to compare it with"),
        (["a", "long_b"], "--truncate-to-shortest"),
        (["a", "--experiment", "b"], "--experiment: unknown experiment 'b'"),
        (["a", "--references", "none.csv"], "--references none.csv: cannot be read"),
        (["a", "--group", "kind"], "--group: is about a table of scores"),
    ],
)
def test_what_cannot_be_reported_is_one_line(
    words: list[str], error: str, storage: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "long_b"):
        (tmp_path / name).symlink_to(storage / name)
    code, told = invoke(*words)
    assert code == 2 and error in told and not list(tmp_path.glob("*.html")), told


def test_a_run_without_a_checkpoint_does_not_take_the_map_from_the_others(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = load_runs([str(storage / "a")])
    runs = [dataclasses.replace(run, metrics={**run.metrics, "positions_visited": np.ones(12)}) for run in runs]
    mapped: list[str] = []

    def found(source: str) -> Path:
        if source == runs[1].source:
            raise ConfigError(f"checkpoint {source}", "holds no complete checkpoint")
        return Path(source)

    monkeypatch.setattr(report, "find_checkpoint", found)
    monkeypatch.setattr(report, "run_names", lambda paths: [str(path) for path in paths])
    monkeypatch.setattr(report, "checkpoint_config", lambda _: None)
    monkeypatch.setattr(report, "load_run", lambda _, name: mapped.append(name))
    monkeypatch.setattr(report, "kinds_of", lambda _: ())
    assert report.drawn_maps({"task": [Variant("a", tuple(runs), {})]}) == []
    assert mapped == [runs[0].name, runs[2].name]


def test_a_long_table_has_no_other_statistic_and_a_spreadsheets_references_are_read(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("task,variant,score\nx,a,1\nx,b,2\n")
    code, told = invoke(table, "--statistic", "last", "--out", tmp_path / "r.html")
    assert code == 2 and "--statistic last: it chooses columns of a wide table" in told
    references = tmp_path / "references.csv"
    references.write_text("task,random,human\nx,0,1\n", encoding="utf-8-sig")
    assert from_file(references) == {"x": {"random": 0.0, "human": 1.0}}
