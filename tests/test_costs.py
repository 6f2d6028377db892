"""What test files cost, and which fit into a budget."""

from __future__ import annotations

import subprocess
import sys

from tests.costs import ROOT, Costs, chosen, cpu_seconds, files_of, is_about, known_costs


def test_costs_are_of_files_that_are_there() -> None:
    missing = {name for name in known_costs() if not (ROOT / name).is_file()}
    assert not missing and all(cost >= 0 for cost in known_costs().values())


def test_what_has_changed_comes_first_then_the_cheapest() -> None:
    files = ["tests/intrinsic/test_rnd.py", "tests/intrinsic/test_icm.py", "tests/test_words.py"]
    costs = {"tests/intrinsic/test_rnd.py": 8.0, "tests/intrinsic/test_icm.py": 2.0, "tests/test_words.py": 1.0}
    assert chosen(files, costs, 10.0, set()) == [files[2], files[1]]
    assert chosen(files, costs, 10.0, {"rllib_rnd/intrinsic/rnd.py"}) == [files[0], files[2]]
    assert chosen(files, costs, 11.0, {"tests/intrinsic/test_rnd.py"}) == [files[0], files[2], files[1]]
    assert chosen(files, costs, 0.5, {"rllib_rnd/intrinsic/rnd.py"}) == []


def test_files_of_folders_and_of_names_are_known_without_importing_them() -> None:
    assert {"tests/test_costs.py", "tests/functional/test_gae.py"} <= files_of(["tests"])
    assert files_of(["tests/test_costs.py::test_time"]) == {"tests/test_costs.py"}


def test_a_budget_leaves_out_whole_files() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/faults", "--budget"]
    listed = [subprocess.run([*command, budget], cwd=ROOT, capture_output=True, text=True).stdout for budget in "09"]
    assert all("test_killed_driver.py" not in names for names in listed)  # 33 seconds
    assert "test_placing.py" not in listed[0] and "test_placing.py" in listed[1]


def test_a_file_is_about_its_mirror_and_what_it_imports() -> None:
    assert is_about("tests/intrinsic/test_rnd.py", {"rllib_rnd/intrinsic/rnd.py"})
    assert is_about("tests/test_threads.py", {"rllib_rnd/threads.py"})
    assert is_about("tests/sampling/test_overlap.py", {"rllib_rnd/sampling/env_runner.py"})  # imported
    assert not is_about("tests/test_words.py", {"rllib_rnd/intrinsic/rnd.py", "docs/rnd.md"})


def test_time_of_ended_processes_is_counted() -> None:
    before, costs = cpu_seconds(), Costs()
    costs.enter("a")
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    costs.enter("b")
    costs.enter("")
    assert cpu_seconds() - before >= 0.25
    assert costs.seconds["a"] >= 0.25 > costs.seconds["b"]
