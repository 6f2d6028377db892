"""deploy/slurm.sbatch run on this machine: Slurm's variables set, its commands and Ray's played by small scripts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "slurm.sbatch"
SCRIPTS = [SCRIPT, ROOT / "deploy" / "train.sh"]

# srun runs its command once, on the first node; ray symmetric-run what stands behind --; scontrol notes its call.
_FAKES = {
    "srun": 'echo "srun $*" >> "$CALLS"; exec "$@"',
    "scontrol": 'echo "scontrol $*" >> "$CALLS"',
    "ray": """
echo "ray $*" >> "$CALLS"
[ "$1" = get-auth-token ] && { mkdir -p "$HOME/.ray"; echo secret > "$HOME/.ray/auth_token"; exit; }
while [ "$1" != -- ]; do shift; done; shift
"$@"
""",
    # Trains for ever, unless it is told not to; SIGTERM saves and ends with 143.
    "rllib": """
echo "rllib $*" >> "$CALLS"
while [ $# -gt 0 ]; do case $1 in --name) name=$2;; --storage) storage=$2;; esac; shift; done
mkdir -p "$storage/$name"; : > "$storage/$name/run.json"
trap 'echo saved >> "$CALLS"; exit 143' TERM
: > "$READY"
case $ENDS in never) while :; do sleep 0.05; done;; *) exit "$ENDS";; esac
""",
}


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job of two nodes, in a repository of its own."""
    for name, text in _FAKES.items():
        path = tmp_path / ".venv" / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "CALLS": str(tmp_path / "calls"),
        "READY": str(tmp_path / "ready"),
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "16",
        "EXPERIMENT": "montezuma_rnd",
        "RUN": "first run",
        "STORAGE": str(tmp_path / "my results"),
        "OPTIONS": "--set num_env_runners=30 --quiet",
        "ENDS": "0",
    }


def start(environment: dict[str, str], **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(SCRIPT)], env=environment | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def calls(environment: dict[str, str]) -> list[str]:
    return Path(environment["CALLS"]).read_text().splitlines()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_it(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    checker = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert checker is not None, "shellcheck comes with the extra dev"
    done = subprocess.run([checker, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_sbatch_is_asked_for_what_it_needs() -> None:
    asked = [line.removeprefix("#SBATCH ") for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH ")]
    assert {"--requeue", "--open-mode=append", "--signal=B:TERM@120", "--ntasks-per-node=1", "--exclusive"} <= set(
        asked
    )


def test_a_run_begins_and_its_exit_code_is_the_jobs(slurm: dict[str, str]) -> None:
    job = start(slurm, ENDS="1")
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 1, output
    (rllib,) = [call for call in calls(slurm) if call.startswith("rllib ")]
    assert rllib.startswith(f"rllib train montezuma_rnd --name first run --storage {slurm['STORAGE']} --address ")
    assert rllib.endswith("--set num_env_runners=30 --quiet") and "--resume" not in rllib
    assert not any(call.startswith("scontrol") for call in calls(slurm))


def test_ray_takes_the_options_that_it_is_given(slurm: dict[str, str]) -> None:
    start(slurm).communicate(timeout=60)
    (call,) = [call for call in calls(slurm) if call.startswith("ray symmetric-run")]
    options = call.split(" -- ")[0].split()[2:]
    left = curate_and_validate_ray_start_args(list(options))  # what goes on to `ray start`
    assert left == ["--num-cpus=16", "--disable-usage-stats"]
    assert options[options.index("--min-nodes") + 1] == "2"
    host, _, port = options[options.index("--address") + 1].partition(":")
    assert host and not host.startswith("127.")
    assert 20000 <= int(port) < 32768  # no worker's port, and none that the kernel hands out


def test_the_token_is_made_once(slurm: dict[str, str]) -> None:
    for _ in range(2):
        start(slurm).communicate(timeout=60)
    assert sum(call == "ray get-auth-token --generate" for call in calls(slurm)) == 1


def test_sigterm_saves_and_queues_the_job_again_which_then_goes_on(slurm: dict[str, str]) -> None:
    job = start(slurm, ENDS="never")
    limit = time.monotonic() + 60
    while not Path(slurm["READY"]).exists() and time.monotonic() < limit:
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)  # what --signal=B:TERM@120 does: to the batch shell alone
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 0, output
    assert calls(slurm)[-2:] == ["saved", "scontrol requeue 4711"]
    job = start(slurm)
    job.communicate(timeout=60)
    assert job.returncode == 0
    rllib = [call for call in calls(slurm) if call.startswith("rllib ")]
    assert len(rllib) == 2 and " --resume " in rllib[1] and " --resume " not in rllib[0]


def test_a_ray_that_does_not_start_is_a_failure(slurm: dict[str, str], tmp_path: Path) -> None:
    ray = tmp_path / ".venv" / "bin" / "ray"
    ray.write_text("#!/bin/bash\nexit 0\n")  # as `ray symmetric-run` does then
    job = start(slurm)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 1 and "Ray did not start" in output


def test_train_sh_says_how_it_is_called() -> None:
    done = subprocess.run([SCRIPTS[1], "only"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "train.sh EXPERIMENT NAME STORAGE" in done.stderr
