"""Every study is a command with a hand-written README.md and a results.md that is made of its data and nothing else."""

from __future__ import annotations

import importlib
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted(p.name for p in (ROOT / "experiments").iterdir() if (p / "run.py").exists())
#: All that a results.md may hold: headings, tables, figures, folds, and where the data comes from.
GENERATED = re.compile(
    r"#{1,2} |\|.*\|$|!\[.*\]\(\w+\.png\)$|</?details>|Measured with `python .*` on |Seeds: \d|Cost: code: commit "
    r"|How to read this: \[README\.md\]\(README\.md\)\.$"
)


def run_module(study: str) -> Any:
    return importlib.import_module(f"experiments.{study}.run")


def test_every_folder_is_a_study() -> None:
    folders = {p.name for p in (ROOT / "experiments").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(STUDIES)
    assert len(STUDIES) >= 7


@pytest.mark.parametrize("study", STUDIES)
def test_it_tells_its_options(study: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    first = (run_module(study).__doc__ or "").split("\n")[0]
    monkeypatch.delitem(sys.modules, f"experiments.{study}.run")  # else runpy warns that it is there already
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["run", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"experiments.{study}.run", run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert first in told and "--report-only" in told


@pytest.mark.parametrize("study", STUDIES)
def test_results_are_those_of_the_data(study: str) -> None:
    folder = ROOT / "experiments" / study
    assert (folder / "results.md").read_text() == run_module(study).results(), (
        f"python -m experiments.{study}.run --report-only writes it anew"
    )


@pytest.mark.parametrize("study", STUDIES)
def test_results_hold_no_prose(study: str) -> None:
    lines = (ROOT / "experiments" / study / "results.md").read_text().splitlines()
    assert [line for line in lines if line and not GENERATED.match(line)] == []
    for found in ("Measured with", "Seeds:", "# "):
        assert any(line.startswith(found) for line in lines)


@pytest.mark.parametrize("study", STUDIES)
def test_its_pages_lead_somewhere_and_the_readme_to_results_and_command(study: str) -> None:
    folder = ROOT / "experiments" / study
    readme = (folder / "README.md").read_text()
    for page in (readme, (folder / "results.md").read_text()):
        for target in re.findall(r"\]\(([^)\s#]+)", page):
            assert (folder / target).exists(), target
    assert "](results.md)" in readme
    assert f"python -m experiments.{study}.run" in readme
    headings = re.findall(r"^## (.+)$", readme, re.MULTILINE)
    for part in ("How to read it", "Conclusions", "Limits"):
        assert part in headings
    assert any(heading.startswith("What differs from the source") for heading in headings)


@pytest.mark.parametrize("study", STUDIES)
def test_every_figure_of_the_folder_is_shown(study: str) -> None:
    folder = ROOT / "experiments" / study
    shown = set(re.findall(r"\]\((\w+\.png)\)", (folder / "results.md").read_text()))
    assert {path.name for path in folder.glob("*.png")} == shown
