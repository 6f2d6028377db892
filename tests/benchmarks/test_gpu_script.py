"""``benchmarks/gpu.sh`` at its smallest, on whatever there is: a GPU or the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def gpu_script(**variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHON": sys.executable, **variables}
    return subprocess.run(["bash", "benchmarks/gpu.sh"], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_it_runs_through_and_leaves_its_tables(quick_python: Path, tmp_path: Path) -> None:
    done = gpu_script(QUICK="1", BENCHMARK_RESULTS=str(tmp_path), PYTHON=str(quick_python))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    tables = {path.stem.removesuffix("_gpu"): json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(tables) == {"environments", "learner", "acceleration", "backbones", "bonuses"}
    for name, table in tables.items():
        assert table["machine"]["matmul_gflops"] > 0
        for row in table["rows"]:
            rates = [value for key, value in row.items() if "/s" in key]
            assert rates and all(rate > 0 for rate in rates), (name, row)


def test_without_the_package_it_says_what_to_do(tmp_path: Path) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\nexit 1\n")
    interpreter.chmod(0o755)
    done = gpu_script(PYTHON=str(interpreter))
    assert done.returncode == 2
    assert "make setup" in done.stderr
