"""The Dockerfile by a linter and against the repository; its check of what has been installed, run here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from deploy.check_image import main, pins, wrong_torch, wrong_versions

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text()


def test_hadolint_finds_nothing() -> None:
    linter = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert linter is not None, "hadolint comes with the extra dev"
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stdout, done.stdout


def test_what_it_copies_is_there_and_reaches_the_daemon() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (.+)$", TEXT, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in allowed, source


def test_every_image_has_the_pinned_versions_is_checked_and_has_a_user() -> None:
    stages = re.split(r"^FROM ", TEXT, flags=re.MULTILINE)[1:]
    final = {stage.split()[2]: stage for stage in stages if "\nCMD" in stage}
    assert set(final) == {"cpu", "cuda"}
    for build, stage in final.items():
        assert f"python check_image.py {build}" in stage
        assert "\nUSER 1000" in stage
    for line in re.findall(r"pip install .*", TEXT):
        assert "-c constraints.txt" in line


def test_no_secret_is_in_it() -> None:
    assert not re.search(r"(ARG|ENV)[^\n]*(KEY|SECRET|PASSWORD|TOKEN)", TEXT)
    assert "RAY_AUTH_MODE=token" in TEXT


def test_what_it_adds_is_of_the_same_ray() -> None:
    added = pins(ROOT / "deploy" / "requirements.txt")
    assert added["ray"] == metadata.version("ray") == pins(ROOT / "constraints.txt")["ray"]
    assert not set(added) & set(pins(ROOT / "constraints.txt")) - {"ray"}


@pytest.mark.parametrize(("folder", "found"), [("setuptools/_vendor", []), ("lib", ["zipp is 0.1, pinned is 4"])])
def test_what_setuptools_holds_for_itself_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, found: list[str]
) -> None:
    record = tmp_path / folder / "zipp-0.1.dist-info" / "METADATA"
    record.parent.mkdir(parents=True)
    record.write_text("Metadata-Version: 2.1\nName: zipp\nVersion: 0.1\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / folder)])
    assert wrong_versions({"zipp": "4"}) == found


@pytest.mark.pinned
def test_the_check_passes_what_is_installed_here(capsys: pytest.CaptureFixture[str]) -> None:
    build = "cpu" if torch.version.cuda is None else "cuda"
    assert main(build, str(ROOT / "constraints.txt")) == 0, capsys.readouterr().err


def test_the_check_finds_another_build_of_torch() -> None:
    assert wrong_torch("cpu", None) == [] == wrong_torch("cuda", "12.9")
    assert "asked for is cuda" in wrong_torch("cuda", None)[0]
    assert "asked for is cpu" in wrong_torch("cpu", "12.9")[0]


def test_the_check_finds_another_version(tmp_path: Path) -> None:
    path = tmp_path / "constraints.txt"
    path.write_text("# a comment\nNumPy==0.1\nray[default]==0.2\nnot_there==1\n")
    assert pins(path) == {"numpy": "0.1", "ray": "0.2", "not-there": "1"}
    assert [line.split()[0] for line in wrong_versions(pins(path))] == ["numpy", "ray"]
