""".ci/audit: known vulnerabilities fail it, a database out of reach is said plainly."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("audit", str(ROOT / ".ci" / "audit"))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module, before = importlib.util.module_from_spec(spec), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


FINE = {"name": "a", "version": "1", "vulns": []}
BAD = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}, {"id": "X-2", "fix_versions": []}],
}
SKIPPED = {"name": "c", "version": "3", "skip_reason": "not found"}


def test_what_is_known_fails(audit: ModuleType) -> None:
    code, lines = audit.judge([FINE, BAD, SKIPPED])
    assert code == 1
    assert lines == ["b 2: CVE-1, mended in 2.1", "b 2: X-2, mended in no version yet"]


def test_nothing_known_passes_and_says_of_how_many(audit: ModuleType) -> None:
    assert audit.judge([FINE, FINE]) == (0, ["No vulnerability is known of 2 pinned packages."])
    assert audit.judge([FINE, SKIPPED])[1] == ["No vulnerability is known of 1 pinned packages; 1 are not in it."]


def test_a_database_out_of_reach_is_no_clean_bill(audit: ModuleType) -> None:
    code, (line,) = audit.judge([SKIPPED])
    assert code == 0 and line.startswith("NOT AUDITED")


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("echo 'ConnectionError: no route' >&2; exit 1", 0, "NOT AUDITED"),
        ("echo 'what is this' >&2; exit 1", 2, "pip-audit fails: what is this"),
        ("""echo '{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}'""", 0, "of 1 pinned"),
    ],
)
def test_what_the_tool_does_is_told(
    audit: ModuleType,
    script: str,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tool = tmp_path / "pip-audit"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert audit.main() == code
    said_here = capsys.readouterr()
    assert said in said_here.out + said_here.err


def test_every_package_is_pinned_to_one_version() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.strip()]
    assert len(lines) > 100
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
