"""Commit, versions and hardware of a run."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest
import ray
import torch

from rllib_rnd.tracking import provenance as module
from rllib_rnd.tracking.provenance import commit_of, counted, provenance


def git(folder: Path, *arguments: str) -> str:
    names = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env=os.environ | names, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "x.yaml").write_text("x: 1\n", encoding="utf-8")
    (tmp_path / ".gitignore").write_text("env/\n", encoding="utf-8")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_commit_and_whether_the_code_is_that_commit(repository: Path) -> None:
    file, commit = repository / "x.yaml", git(repository, "rev-parse", "HEAD")
    assert commit_of(file) == {"commit": commit, "dirty": "false"}
    (repository / "results").mkdir()
    (repository / "results" / "run.json").touch()  # what a run writes is no change of the code
    assert commit_of(file) == {"commit": commit, "dirty": "false"}
    (repository / "new.yaml").touch()  # it is of no commit
    assert commit_of(repository / "new.yaml") == {"commit": commit, "dirty": "true"}
    file.write_text("x: 2\n", encoding="utf-8")
    assert commit_of(file) == {"commit": commit, "dirty": "true"}


def test_what_a_repository_ignores_is_not_of_it(repository: Path, tmp_path: Path) -> None:
    (repository / "env").mkdir()
    (repository / "env" / "x.yaml").touch()
    assert commit_of(repository / "env" / "x.yaml") is None


def test_where_nothing_is_known_the_key_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = provenance(tmp_path / "x.yaml")  # in no repository: that of the package
    assert set(whole) >= {"python", "ray", "torch", "hardware", "cores"}
    assert (whole["python"], whole["ray"], whole["torch"]) == (
        platform.python_version(),
        ray.__version__,
        torch.__version__,
    )
    assert int(whole["cores"]) >= 1 and whole["hardware"]
    assert provenance(tmp_path, cluster_cores=96.0)["cores"] == "96"
    monkeypatch.setenv("PATH", "")  # no git
    module.hardware.cache_clear()
    assert set(whole) - set(provenance(tmp_path / "x.yaml")) <= {"commit", "dirty"}
    module.hardware.cache_clear()


def test_gpus_are_counted() -> None:
    assert counted(["A", "B", "A"]) == ["2 x A", "B"] and counted([]) == []
