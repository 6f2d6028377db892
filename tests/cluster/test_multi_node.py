"""Training over several raylets, two of which die: hosts of one machine in network namespaces, else without."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.hosts import Network, network, token_environment
from tests.cluster.lost_node import LENGTH
from tests.cluster.train_on_cluster import NUM_ENVS, NUM_RUNNERS, NUM_STEPS

ROOT = Path(__file__).resolve().parents[2]
NUM_HOSTS = 5


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network | str]:
    """A namespace per host, or why there are none."""
    try:
        with network(NUM_HOSTS) as made:
            yield made
    except OSError as error:
        yield str(error)


@pytest.fixture(scope="module")
def report(hosts: Network | str) -> dict[str, Any]:
    """What the training reported."""
    # A folder of its own, so that no other Ray of this machine is met there; sockets need short paths.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-m", "tests.cluster.train_on_cluster", folder]
        if isinstance(hosts, Network):
            command += [f"{n}={a}" for n, a in zip(hosts.names, hosts.addresses, strict=True)]
            command = ["ip", "netns", "exec", hosts.names[0], *command]
        environment = {**os.environ, **token_environment(Path(folder) / "home"), "RAY_TMPDIR": f"{folder}/r"}
        environment["PYTHONPATH"] = str(ROOT)  # in Ray's processes too
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_hosts_have_networks_of_their_own(hosts: Network | str) -> None:
    if isinstance(hosts, str):
        pytest.skip(f"the raylets share a network: {hosts}")
    tell = ["readlink", "/proc/self/ns/net"]
    found = {subprocess.check_output(["ip", "netns", "exec", name, *tell]) for name in hosts.names}
    assert len(found) == NUM_HOSTS


def test_a_wrong_token_is_refused(report: dict[str, Any]) -> None:
    assert "InvalidToken" in report["refused"] or "auth" in report["refused"].lower()


def test_the_run_ends_well(report: dict[str, Any]) -> None:
    assert report["code"] == 0, report["output"][-3000:]


def test_every_process_is_where_its_resources_are(report: dict[str, Any]) -> None:
    row = report["rows"][0]
    runners = {runner["node"] for runner in row["runners"]}
    assert len(runners) == NUM_RUNNERS
    assert len(set(row["learners"])) == 2 and row["main"] in row["learners"]
    (evaluation,) = row["evaluation"]
    assert evaluation in row["learners"] and evaluation != row["main"]
    assert not runners & {row["main"], *row["learners"]}


def test_a_node_that_dies_in_the_middle_of_a_rollout_costs_that_rollout(report: dict[str, Any]) -> None:
    rows = report["rows"]
    lost = next(i for i, row in enumerate(rows) if len(row["runners"]) < NUM_RUNNERS)
    assert steps_of(rows, lost) == pytest.approx(NUM_ENVS * NUM_STEPS, rel=0.2)  # the other runner's
    assert rows[lost]["iteration"] == rows[lost - 1]["iteration"] + 1
    assert rows[lost]["trained"] > rows[lost - 1]["trained"]


def test_the_runner_comes_back_on_the_new_node(report: dict[str, Any]) -> None:
    rows = report["rows"]
    lost = next(i for i, row in enumerate(rows) if len(row["runners"]) < NUM_RUNNERS)
    back = next(i for i, row in enumerate(rows) if i > lost and len(row["runners"]) == NUM_RUNNERS)
    first = {runner["node"] for runner in rows[0]["runners"]}
    assert len({runner["node"] for runner in rows[back]["runners"]} - first) == 1
    assert steps_of(rows, back) == pytest.approx(NUM_RUNNERS * NUM_ENVS * NUM_STEPS, rel=0.2)


def test_rollouts_that_have_come_in_are_used_though_their_node_dies(report: dict[str, Any]) -> None:
    rows = report["rows"]
    lost = max(i for i, row in enumerate(rows) if len(row["runners"]) == NUM_RUNNERS) + 1
    assert steps_of(rows, lost) == pytest.approx(NUM_RUNNERS * NUM_ENVS * NUM_STEPS, rel=0.2)
    assert rows[lost]["trained"] - rows[lost - 1]["trained"] == steps_of(rows, lost)
    assert len(rows) > lost + 1


def test_runners_play_with_the_weights_of_the_last_update(report: dict[str, Any]) -> None:
    for row in report["rows"]:
        assert {runner["weights"] for runner in row["runners"]} == {row["iteration"]}


def test_what_is_reported_is_right_throughout(report: dict[str, Any]) -> None:
    for row in report["rows"]:
        assert all(math.isfinite(value) for value in row["learner"].values())
        assert row["learner"]["grad_norm"] > 0 and row["learner"]["intrinsic_reward_mean"] > 0
        assert 0 < row["learner"]["entropy"] <= math.log(2) + 1e-6
        assert row["return"] == row["evaluation_return"] == LENGTH


def steps_of(rows: list[dict[str, Any]], i: int) -> int:
    return int(rows[i]["agent_steps"] - rows[i - 1]["agent_steps"])
