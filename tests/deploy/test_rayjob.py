"""deploy/kuberay/rayjob.yaml against KubeRay's and Kubernetes' schemas, and against what the training asks for."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rllib_rnd.cli.examples import experiment_paths
from rllib_rnd.cli.starting import requests
from rllib_rnd.experiment.file import Overrides, load_experiments
from rllib_rnd.resources import lacking
from tests.deploy.kuberay_schema import RAY_JOB

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "kuberay" / "rayjob.yaml"


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def groups(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return {"head": cluster["headGroupSpec"], **{group["groupName"]: group for group in cluster["workerGroupSpecs"]}}


def test_kuberay_knows_every_field(job: dict[str, Any]) -> None:
    jsonschema.validate(job, RAY_JOB)


@pytest.mark.parametrize(
    ("where", "name"),
    [((), "shutdownAfterJobFinished"), (("rayClusterSpec",), "authOption"), (("rayClusterSpec", "headGroupSpec"), "x")],
)
def test_a_field_that_it_does_not_know_is_refused(job: dict[str, Any], where: tuple[str, ...], name: str) -> None:
    wrong = copy.deepcopy(job)
    place = wrong["spec"]
    for key in where:
        place = place[key]
    place[name] = True
    with pytest.raises(jsonschema.ValidationError, match=name):
        jsonschema.validate(wrong, RAY_JOB)


def test_kubernetes_knows_every_pod(job: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    for name, group in groups(job).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **group["template"]}
        validate(pod, "1.33", strict=True)


def test_no_pod_runs_as_root_or_is_started_anew_as_another_node(job: dict[str, Any]) -> None:
    for group in groups(job).values():
        spec = group["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] != 0
        assert spec["restartPolicy"] == "Never"
        (container,) = spec["containers"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_only_runners_are_on_spot_nodes(job: dict[str, Any]) -> None:
    spot = {name for name, group in groups(job).items() if group["template"]["spec"].get("tolerations")}
    assert spot == {"runners"}
    assert groups(job)["head"]["rayStartParams"]["num-cpus"] == "0"


def test_it_saves_before_it_is_killed_and_goes_on_afterwards(job: dict[str, Any]) -> None:
    spec = job["spec"]
    assert spec["backoffLimit"] > 0 and spec["shutdownAfterJobFinishes"]
    assert shlex.split(spec["entrypoint"])[0] == "/opt/rllib_rnd/train.sh"  # which adds --resume
    for name in ("head", "learner"):
        assert groups(job)[name]["template"]["spec"]["terminationGracePeriodSeconds"] >= 60
    storage = shlex.split(spec["entrypoint"])[3]
    for group in groups(job).values():
        mounts = {
            mount["mountPath"]: mount["name"] for mount in group["template"]["spec"]["containers"][0]["volumeMounts"]
        }
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        assert "persistentVolumeClaim" in volumes[mounts[storage]]


def test_the_ray_of_the_image_is_the_one_it_names(job: dict[str, Any]) -> None:
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == metadata.version("ray")


def nodes(job: dict[str, Any]) -> Iterator[dict[str, float]]:
    """What each pod offers Ray when all have come."""
    for group in groups(job).values():
        start = group["rayStartParams"]
        cpus = group["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        given = json.loads(json.loads(start["resources"])) if "resources" in start else {}
        for _ in range(group.get("maxReplicas", 1)):
            yield {"CPU": float(start.get("num-cpus", cpus)), **given}


def test_what_the_training_asks_for_is_there(job: dict[str, Any]) -> None:
    words = shlex.split(job["spec"]["entrypoint"])
    changes = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    (path,) = experiment_paths([words[1]])
    (experiment,) = load_experiments(path, Overrides(changes, (), None, ()))
    ((config, bundles),) = requests(experiment)
    assert config.num_env_runners == 16
    assert bundles[0]["learner"] == 1
    assert all(bundle["runner"] == 1 for bundle in bundles[1:])
    assert lacking(bundles, list(nodes(job))) is None
    assert lacking(bundles, [node for node in nodes(job) if "learner" not in node]) is not None
