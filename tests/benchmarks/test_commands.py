"""Every benchmark is a command, and another checkout's package can take part in a race."""

from __future__ import annotations

import importlib
import runpy
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks.end_to_end import other_checkout, times
from benchmarks.harness import Contender

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(p.stem for p in (ROOT / "benchmarks").glob("*.py") if '__name__ == "__main__"' in p.read_text())


def test_all_but_the_shared_modules_are_commands() -> None:
    modules = {p.stem for p in (ROOT / "benchmarks").glob("*.py")}
    assert modules - set(COMMANDS) == {"__init__", "harness", "scaling_model"}


@pytest.mark.parametrize("name", COMMANDS)
def test_it_tells_its_options(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = f"benchmarks.{name}"
    first = (importlib.import_module(module).__doc__ or "").split("\n")[0]
    monkeypatch.delitem(sys.modules, module)  # else runpy warns that it is there already
    monkeypatch.setenv("COLUMNS", "200")  # argparse wraps at words' hyphens
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert first in capsys.readouterr().out


def test_the_package_of_another_checkout_is_the_one_that_runs(tmp_path: Path) -> None:
    (tmp_path / "rllib_rnd").mkdir()
    (tmp_path / "rllib_rnd" / "__init__.py").write_text("SECONDS = 7.0\n")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "_speed.py").write_text("from rllib_rnd import SECONDS\n")
    program = """
        import json, os, sys
        from _speed import SECONDS
        for _ in sys.stdin:
            numbers = {"seconds": SECONDS, "envs": int(sys.argv[2]), "here": os.path.exists("rllib_rnd")}
            print(json.dumps(numbers), flush=True)
    """
    (tmp_path / "benchmarks" / "product.py").write_text(textwrap.dedent(program))
    contender = other_checkout(tmp_path, ["--envs", "3"])
    contender.start()
    try:
        assert contender.turn() == {"seconds": 7.0, "envs": 3, "here": True}
    finally:
        contender.stop()
    assert contender.name == f"rllib_rnd at {tmp_path.name}"


def test_a_folder_without_a_contender_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--against: .* has no benchmarks/product.py; allowed is the root of"):
        other_checkout(tmp_path, [])


def test_ratios_are_medians_of_the_rounds_ratios() -> None:
    """Rounds of a machine that slows down: the ratio of the medians would be 10 / 4."""
    theirs = Contender("theirs", [], rounds=[{"seconds": s} for s in (2.0, 10.0, 12.0)])
    own = Contender("own", [], rounds=[{"seconds": s} for s in (1.0, 4.0, 6.0)])
    assert times(theirs, own) == 2.0
    assert times(own, own) == 1.0
