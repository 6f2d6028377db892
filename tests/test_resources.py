"""Processes that no node can hold are refused, from the command line and from Python; nothing waits in silence."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.tune.search.variant_generator import generate_variants
from ray.util import placement_group, remove_placement_group
from typer.testing import CliRunner

from rllib_rnd.cli import app
from rllib_rnd.cli.starting import check_resources, cpus_needed
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import load_experiments
from rllib_rnd.resources import describe, describe_free, describe_nodes, lacking, nodes, trials_wait
from tests.conftest import small_config

TWO_NODES = [{"CPU": 4.0, "memory": 9e9, "node:a": 1.0}, {"CPU": 2.0, "GPU": 1.0}]


@pytest.mark.parametrize(
    ("bundles", "missing"),
    [
        ([], None),
        ([{"CPU": 4}, {"CPU": 2, "GPU": 1}], None),
        ([{"CPU": 0, "GPU": 0, "tpu": 0}], None),
        ([{"CPU": 5}], ("CPU", 5)),  # no node alone has them
        ([{"CPU": 1}] * 7, ("CPU", 7)),
        ([{"GPU": 1}, {"GPU": 1}], ("GPU", 2)),
        ([{"CPU": 1}, {"CPU": 1, "tpu": 0.5}], ("tpu", 0.5)),
    ],
)
def test_what_nodes_can_never_give(bundles: list[dict[str, float]], missing: tuple[str, float] | None) -> None:
    assert lacking(bundles, TWO_NODES) == missing


def test_words() -> None:
    assert describe_nodes(TWO_NODES) == "2 nodes with 6 CPUs and 1 GPU"
    assert describe_nodes([{"CPU": 1.0}]) == "1 node with 1 CPU and no GPU"
    assert describe([("CPU", 2), ("GPU", 0.5), ("tpu", 1)]) == "2 CPUs, 0.5 GPU and 1 tpu"


GROUP = "718e5b0c2f3a4d5e6f7081920a0b01000000"


def test_rays_own_names_are_no_resources() -> None:
    own = ["memory", "node:10.0.0.1", "node:__internal_head__", "accelerator_type:H100", "object_store_memory"]
    own += [f"{name}_group_{n}{GROUP}" for name in ("bundle", "CPU", "GPU", "my_tpu") for n in ("", "0_", "12_")]
    free = dict.fromkeys(own, 999.999)
    assert describe_free(free, [{"CPU": 2.0, **free}]) == "no CPU"
    assert describe_free(free | {"GPU": 1.0}, [{"CPU": 2.0, "GPU": 1.0, "tpu": 1.0}]) == "no CPU, 1 GPU and no tpu"
    assert describe_free({"CPU": 2.0, "user_group_a": 1.0}, []) == "2 CPUs and 1 user_group_a"


@pytest.mark.usefixtures("ray_session")
def test_a_trial_waits_only_where_there_is_no_room_and_none_is_placed() -> None:
    placed, following = placement_group([{"CPU": 8}]), placement_group([{"CPU": 8}])
    try:
        assert placed.wait(120)
        assert not trials_wait([{"CPU": 8}])  # the first is placed; this one's turn comes
        foreign = {f"a{GROUP[:-8]}ffffffff": {"state": "CREATED"}}
        mine = {f"b{GROUP[:-8]}{ray.get_runtime_context().get_job_id()}": {"state": "PENDING"}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rllib_rnd.resources.placement_group_table", lambda: foreign | mine)
            assert trials_wait([{"CPU": 1}])
            patch.setattr("rllib_rnd.resources.free_nodes", lambda: [{"CPU": 8.0}])
            assert not trials_wait([{"CPU": 8}])  # it is only being placed
            patch.setattr("rllib_rnd.resources.placement_group_table", lambda: foreign)
            patch.setattr("rllib_rnd.resources.free_nodes", lambda: [])
            assert not trials_wait([{"CPU": 1}])
        assert describe_free(ray.available_resources(), nodes()) == "no CPU"
    finally:
        remove_placement_group(following)
        remove_placement_group(placed)


# Every setting that asks Ray for something, at a value that no machine has.
TOO_MUCH: list[tuple[str, Any]] = [
    ("num_gpus_per_learner", 1),
    ("num_gpus_per_env_runner", 1),
    ("custom_resources_per_env_runner", {"tpu": 1}),
    ("custom_resources_for_main_process", {"tpu": 1}),
]


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(("key", "value"), TOO_MUCH, ids=[key for key, _ in TOO_MUCH])
def test_training_on_this_machine_refuses_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: object
) -> None:
    monkeypatch.setattr("rllib_rnd.cli.train.ray_session", lambda *_: contextlib.nullcontext())
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    path = tmp_path / "x.yaml"
    path.write_text(
        "a:\n  run: RND\n  env: rllib_rnd/DeepSea-v0\n  config:\n    num_env_runners: 1\n"
        f"    {key}: {str(value).replace(chr(39), '')}\n"
    )
    result = CliRunner().invoke(app, ["train", "file", str(path), "--storage", str(tmp_path / "results")])
    assert result.exit_code == 2, result.output
    said = " ".join(result.output.split())
    assert f"{path}:6: a.config.{key}: the processes need" in said and "and no GPU, so they would never start" in said


RND = "a: {run: RND, env: rllib_rnd/DeepSea-v0, config: {%s}}"


@pytest.mark.parametrize(
    ("config", "cpus"),
    [
        ("num_env_runners: 3", 4),
        ("num_env_runners: {grid_search: [1, 16]}", 17),
        ("num_env_runners: {grid_search: [16, 1, 2]}", 17),
        ("num_env_runners: {tune: randint, args: [1, 5]}", 5),
        ("num_env_runners: {grid_search: [1, 4]}, num_cpus_per_env_runner: {tune: choice, args: [1, 2]}", 9),
        ("num_env_runners: {grid_search: [0, 4]}, num_cpus_per_env_runner: {tune: choice, args: [1, 2]}", 9),
        ("num_cpus_per_env_runner: {tune: choice, args: [1, 2]}, num_env_runners: {grid_search: [0, 4]}", 9),
        ("num_env_runners: {grid_search: [4, 0]}, num_minibatches: {tune: choice, args: [4, 2]}", 5),
        ("num_env_runners: {grid_search: [0, 4]}, lr: {grid_search: [1.0e-4, 1.0e-3]}", 5),
    ],
)
def test_ray_gets_room_for_every_trial(tmp_path: Path, config: str, cpus: float) -> None:
    """Whatever the trials draw, none of them waits for CPUs that the session was not started with."""
    (tmp_path / "x.yaml").write_text(RND % config, encoding="utf-8")
    experiment = load_experiments(tmp_path / "x.yaml")[0]
    assert cpus_needed(experiment) == cpus
    if experiment.space.sampled:
        return
    for _, values in generate_variants(experiment.space.space):
        trial = experiment.algorithm_class.default_resource_request(experiment.trial_config(values))
        assert lacking(trial.bundles, [{"CPU": cpus}]) is None


@pytest.mark.parametrize("order", ["[0, 1]", "[1, 0]"])
@pytest.mark.parametrize("key", ["num_gpus_per_learner", "num_gpus_per_env_runner"])
def test_what_a_later_trial_asks_for_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, order: str
) -> None:
    monkeypatch.setattr("rllib_rnd.cli.starting.nodes", lambda: [{"CPU": 8.0}])
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    path = tmp_path / "x.yaml"
    path.write_text(RND % f"num_env_runners: 1, {key}: {{grid_search: {order}}}", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"x.yaml:1: a.config.{key}: the processes need .*no GPU, so they would"):
        check_resources(load_experiments(path)[0])


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"num_env_runners": 50}, "num_env_runners"),
        ({"num_env_runners": 1, "custom_resources_per_env_runner": {"tpu": 1}}, "custom_resources_per_env_runner"),
    ],
)
def test_python_refuses_runners_that_would_never_start(settings: dict[str, Any], key: str) -> None:
    config = small_config()
    config.env_runners(**settings)
    with pytest.raises(ConfigError, match=rf"^{key}: the processes need .*Ray has 1 node with 8 CPUs.*num_cpus"):
        config.build_algo()
