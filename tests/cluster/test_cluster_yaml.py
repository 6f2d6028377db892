"""cluster.yaml must be what Ray's cluster launcher accepts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[2]


def read_cluster_yaml() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def aws_variant() -> dict[str, Any]:
    """cluster.yaml with the commented AWS block in place of the local provider, as its comment says."""
    text = (ROOT / "cluster.yaml").read_text()
    block = text.split("The same on AWS")[1].split("\n# -----")[0].split("\n", 1)[1]
    aws = yaml.safe_load("\n".join(line.removeprefix("# ") for line in block.splitlines()))
    return {**read_cluster_yaml(), **aws}


def test_the_launcher_accepts_it() -> None:
    config = prepare_config(read_cluster_yaml())
    validate_config(config)
    assert config["max_workers"] == len(config["provider"]["worker_ips"])
    assert config["available_node_types"]["local.cluster.node"]["min_workers"] == config["max_workers"]


def test_the_launcher_accepts_the_aws_variant() -> None:
    config = prepare_config(aws_variant())
    validate_config(config)
    assert config["provider"]["type"] == "aws"
    assert config["available_node_types"]["worker"]["min_workers"] == 4


@pytest.mark.parametrize("place", [(), ("auth",)])
def test_the_launcher_refuses_an_unknown_key(place: tuple[str, ...]) -> None:
    config = copy.deepcopy(read_cluster_yaml())
    target = config
    for key in place:
        target = target[key]
    target["setup_comands"] = ["make setup"]
    with pytest.raises(jsonschema.ValidationError, match="setup_comands"):
        validate_config(prepare_config(config))


def test_nodes_run_the_pinned_setup_and_its_ray() -> None:
    config = read_cluster_yaml()
    assert any("make setup" in command for command in config["setup_commands"])
    makefile = (ROOT / "Makefile").read_text()
    assert "\nsetup:" in makefile and "-c constraints.txt" in makefile
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[key]:
            assert "~/rllib_rnd/.venv/bin/ray" in command, f"{key} runs another ray: {command}"
    for remote, local in config["file_mounts"].items():
        if remote.startswith("~/rllib_rnd/"):
            assert (ROOT / local).exists(), f"file_mounts copies {local}, which is not there"
            assert remote == f"~/rllib_rnd/{local}"
    mounted = set(config["file_mounts"].values())
    assert {"setup.py", "constraints.txt", "Makefile", "rllib_rnd", "tuned_examples"} <= mounted


def test_the_named_examples_exist() -> None:
    text = (ROOT / "cluster.yaml").read_text()
    named = {word for word in text.split() if word.startswith("tuned_examples/")}
    assert named
    for path in named:
        assert (ROOT / path).is_file(), f"cluster.yaml names {path}, which is not there"


def test_every_ray_demands_the_token_that_every_node_gets() -> None:
    config = read_cluster_yaml()
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [command for command in config[key] if "ray start" in command]
        assert starts and all("RAY_AUTH_MODE=token" in command for command in starts)


def test_the_dashboard_stays_on_loopback_and_is_installed() -> None:
    config = read_cluster_yaml()
    assert not any("--dashboard-host" in command for command in config["head_start_ray_commands"])
    assert any("deploy/requirements.txt" in command for command in config["setup_commands"])
    assert "deploy" in config["file_mounts"].values()
