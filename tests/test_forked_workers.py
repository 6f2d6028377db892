"""Workers of the tests' Ray: copies of one process that has torch and RLlib, and none of this package."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_session")


class Worker:
    def tell(self) -> dict[str, Any]:
        import numpy as np

        parent = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().split(b"\0")
        return {
            "parent": [part.decode() for part in parent],
            "torch": "torch" in sys.modules and "ray.rllib" in sys.modules,
            "own": sorted(name for name in sys.modules if name.split(".")[0] == "rllib_rnd"),
            "drawn": (np.random.rand(), ray.ObjectRef.from_random().hex()),
            "raylet": int(os.environ["RAY_RAYLET_PID"]),
        }

    def end(self, number: int) -> None:
        os.kill(os.getpid(), number)


def start() -> Any:
    return ray.remote(num_cpus=0)(Worker).remote()


def test_they_are_copies_that_have_not_imported_this_package() -> None:
    one, other = ray.get([worker.tell.remote() for worker in (start(), start())])
    assert any(part.endswith("forked_workers.py") for part in one["parent"]) and "serve" in one["parent"]
    assert one["torch"] and not one["own"]
    assert not set(one["drawn"]) & set(other["drawn"])  # what is drawn at random is each one's own, Ray's ids too
    assert b"raylet" in Path(f"/proc/{one['raylet']}/cmdline").read_bytes()  # its environment is Ray's


def test_one_that_is_killed_is_told_of() -> None:
    worker = start()
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(worker.end.remote(signal.SIGKILL))


TELL = """
import os, sys
print(sys.argv, os.getcwd(), os.environ["SAID"], sys.executable, input())
print("torch" in sys.modules, "rllib_rnd" in sys.modules, __name__, file=sys.stderr)
sys.exit(3)
"""


def test_an_interpreter_runs_code_in_a_copy(quick_python: Path, tmp_path: Path) -> None:
    (tmp_path / "tell.py").write_text(TELL)
    for how in (["-c", TELL], ["-m", "tell"]):
        done = subprocess.run(
            [quick_python, *how, "a", "b"],
            cwd=tmp_path,
            env={**os.environ, "SAID": "x"},
            input="y\n",
            capture_output=True,
            text=True,
            check=False,
        )
        argv = ["-c" if how[0] == "-c" else str(tmp_path / "tell.py"), "a", "b"]
        assert done.stdout == f"{argv} {tmp_path} x {quick_python} y\n", done
        assert done.stderr == "True False __main__\n" and done.returncode == 3


def test_the_workers_of_a_ray_that_it_starts_are_copies_too(quick_python: Path) -> None:
    program = """
import ray
from tests.test_forked_workers import start
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
found = ray.get(start().tell.remote())
print("said", found["torch"], found["own"], found["parent"])
ray.shutdown()
"""
    done = subprocess.run([quick_python, "-c", program], capture_output=True, text=True, check=True)
    assert "said True []" in done.stdout and "forked_workers.py" in done.stdout


def test_an_interpreter_that_is_killed_takes_its_copy_with_it(quick_python: Path) -> None:
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(300)"
    with subprocess.Popen([quick_python, "-c", program], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert int(started.stdout.readline()) != started.pid
        started.kill()
        started.communicate(timeout=60)  # ends with the last process that could write to it
