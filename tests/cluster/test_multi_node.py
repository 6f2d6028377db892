"""Training over several raylets: the machines of a cluster, here as processes of one machine."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.train_on_cluster import NUM_ENVS, NUM_ITERATIONS, NUM_RUNNERS, NUM_STEPS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What training on three raylets reported."""
    # A folder of its own, so that no other Ray of this machine is met there; sockets need short paths.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.cluster.train_on_cluster"],
            cwd=ROOT,
            env={**os.environ, "RAY_TMPDIR": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_runners_are_on_different_nodes(report: dict[str, Any]) -> None:
    assert len(report["nodes"]) == len(set(report["nodes"])) == NUM_RUNNERS
    assert report["head"] not in report["nodes"]


def test_every_runner_delivers_its_share(report: dict[str, Any]) -> None:
    runners = report["runners"]
    steps = NUM_ITERATIONS * NUM_RUNNERS * NUM_ENVS * NUM_STEPS
    # Reset steps are no samples, so a few are missing; a missing runner's whole share would be half.
    assert 0.8 * steps < runners["num_env_steps_sampled_lifetime"] <= steps
    assert runners["num_episodes"] > 0
    assert 8 <= runners["episode_len_mean"] <= 500
    # CartPole pays 1 per step.
    assert runners["episode_return_mean"] == pytest.approx(runners["episode_len_mean"])


def test_the_learner_learns_from_them(report: dict[str, Any]) -> None:
    learner = report["learner"]
    for name in ("policy_loss", "vf_loss", "grad_norm"):
        assert math.isfinite(learner[name]), name
    assert math.isfinite(report["plugins"]["rnd_predictor_loss"])
    assert learner["grad_norm"] > 0
    assert learner["intrinsic_reward_mean"] > 0
    assert 0 < learner["entropy"] <= math.log(2) + 1e-6
    assert learner["nonfinite_updates"] == 0
