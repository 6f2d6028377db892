"""The families of environments: each ends its file, each name belongs to one, each mistake is told at its place."""

from __future__ import annotations

import ast
import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

import rllib_rnd.envs
from rllib_rnd.envs import backend_note, frame_stack, list_environments, make_env, make_vector_env
from rllib_rnd.envs.by_id import GYMNASIUM_FAMILY, OWN_FAMILY
from rllib_rnd.envs.family import EnvironmentFamily
from rllib_rnd.envs.registry import find_family, own_ids
from rllib_rnd.errors import ConfigError

FOLDER = Path(rllib_rnd.envs.__file__).parent
FAMILIES = list_environments()
# A name of each, to ask for things by.
NAMES = {
    "atari": "ALE/Pong-v5",
    "mario": "rllib_rnd/SuperMarioBros-1-1-v0",
    "doom": "rllib_rnd/DoomMyWayHome-v0",
    "deep_sea": "rllib_rnd/DeepSea-v0",
    "catch": "rllib_rnd/Catch-v0",
    "point_maze": "rllib_rnd/PointMaze-v0",
    "warehouse": "rllib_rnd/Warehouse-v0",
    "pixels": "rllib_rnd/Pixels-v0",
    "minigrid": "MiniGrid-Empty-5x5-v0",
}
EXTRAS = {"mario": "gym_super_mario_bros", "doom": "vizdoom", "minigrid": "minigrid"}


def family_of(module: str) -> EnvironmentFamily[Any]:
    return sys.modules[f"rllib_rnd.envs.{module}"].FAMILY


def need_extra(module: str) -> None:
    if module in EXTRAS:
        pytest.importorskip(EXTRAS[module])


def test_each_familys_file_ends_with_it_and_the_registry_has_all() -> None:
    found = set()
    for path in FOLDER.glob("*.py"):
        body = ast.parse(path.read_text()).body
        names = [n.targets[0].id for n in body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
        families = [name for name in names if name.endswith("FAMILY")]
        if families:
            last: Any = body[-1]
            assert isinstance(last, ast.Assign) and names[-1] in families, f"{path.name} goes on after its family"
            found |= {f"{path.stem}.{name}" for name in families}
    assert found == {f"{name}.FAMILY" for name in NAMES} | {"by_id.OWN_FAMILY", "by_id.GYMNASIUM_FAMILY"}
    assert FAMILIES[-2] is OWN_FAMILY and FAMILIES[-1] is GYMNASIUM_FAMILY, "the one that takes any name is last"
    assert {id(f) for f in FAMILIES[:-2]} == {id(family_of(name)) for name in NAMES}


def test_each_own_id_belongs_to_the_family_that_lists_it_and_to_no_other() -> None:
    ids = own_ids()
    assert len(ids) == len(set(ids)) and all(env_id.startswith("rllib_rnd/") for env_id in ids)
    for family in FAMILIES:
        for env_id in family.own_ids:
            assert [other.pattern for other in FAMILIES[:-1] if other.owns(env_id)] == [family.pattern]
            assert find_family(env_id) == (family, env_id)


@pytest.mark.parametrize(
    ("env_id", "module"),
    [
        *((env_id, module) for module, env_id in NAMES.items()),
        ("PongNoFrameskip-v4", "atari"),
        ("rllib_rnd/SuperMarioBros-9-9-v0", "mario"),  # to be told the nearest stage
        ("rllib_rnd/WarehouseMemory-v0", "warehouse"),
        ("MiniGrid-Emty-5x5-v0", "minigrid"),
    ],
)
def test_a_name_belongs_to_one_family(env_id: str, module: str) -> None:
    assert find_family(env_id) == (family_of(module), env_id)
    assert sum(family.owns(env_id) for family in FAMILIES[:-1]) == 1


@pytest.mark.parametrize(
    ("env_id", "family"),
    [
        ("package.module:Maze", OWN_FAMILY),
        ("package:Maze-v0", GYMNASIUM_FAMILY),
        ("CartPole-v1", GYMNASIUM_FAMILY),
        ("ALE/Breakout-v4", GYMNASIUM_FAMILY),
        ("rllib_rnd/DeepSea-v1", GYMNASIUM_FAMILY),
    ],
)
def test_names_of_others(env_id: str, family: EnvironmentFamily[Any]) -> None:
    assert find_family(env_id) == (family, env_id) and family.options_class is None and not family.own_ids


@pytest.mark.parametrize("name", NAMES)
def test_every_option_says_what_it_does(name: str) -> None:
    options_class = family_of(name).options_class
    assert options_class is not None and dataclasses.fields(options_class)
    for field in dataclasses.fields(options_class):
        assert field.metadata["help"].strip(), field.name


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused_at_its_place(name: str) -> None:
    need_extra(name)
    calls = [lambda e, c: make_vector_env(e, 1, c), make_env, *([frame_stack] if family_of(name).stack else [])]
    for call in calls:
        with pytest.raises(ConfigError, match="unknown key 'no_such_option'") as error:
            call(NAMES[name], {"no_such_option": 1})
        assert error.value.path == "env_config.no_such_option"


@pytest.mark.parametrize(
    ("env_id", "env_config", "path"),
    [
        ("ALE/Pong-v5", {"actions": ["LEFFT"]}, "env_config.actions"),
        ("ALE/Pong-v5", {"preset": "snd", "frame_size": 3}, "env_config.frame_size"),
        ("ALE/Pong-v5", {"backend": "ale", "fire_reset": True}, "env_config.backend"),
        ("ALE/Pongg-v5", {}, "env"),
        ("rllib_rnd/SuperMarioBros-9-9-v0", {}, "env"),
        ("rllib_rnd/Catch-v0", {"size": 1}, "env_config.size"),
        ("rllib_rnd/PointMaze-v0", {"layout": "medum"}, "env_config.layout"),
        ("rllib_rnd/PointMaze-v0", {"layout": ["###", "#S#", "###"]}, "env_config.layout"),
        ("rllib_rnd/Pixels-v0", {}, "env_config.id"),
        ("rllib_rnd/Pixels-v0", {"id": "CartPol-v1"}, "env_config.id"),
        ("rllib_rnd/Pixels-v0", {"id": "CartPole-v1", "kwargs": {"gravity": 1}}, "env_config.kwargs.gravity"),
        ("rllib_rnd/Pixels-v0", {"id": "CartPole-v1", "kwargs": {"render_mode": "human"}}, "env_config.kwargs"),
        ("rllib_rnd.envs.catch:CatchVectorEnv", {"size": 1}, "env_config.size"),
        ("rllib_rnd.envs.catch:CatchEnv", {"size": 1}, "env_config.size"),
        ("rllib_rnd.envs.catch:CatchEnvv", {}, "env"),
        ("rllib_rnd.envs.catch:CATCH", {}, "env"),
        ("CartPol-v1", {}, "env"),
        ("CartPole", {}, "env"),
        ("CartPole-v1", {"gravity": 1}, "env_config.gravity"),
        ("", {}, "env"),
    ],
)
def test_a_mistake_is_named_where_it_was_made(env_id: str, env_config: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_vector_env(env_id, 1, env_config)
    assert error.value.path == path


@pytest.mark.parametrize(
    ("env_config", "path"),
    [
        ({"actions": [0, 0]}, "env_config.actions"),
        ({"observation": "compact"}, "env_config.observation"),
        ({"backend": "envpool", "agent_view_size": 5}, "env_config.backend"),
    ],
)
def test_options_that_do_not_fit_together_are_refused_at_their_place(env_config: dict[str, Any], path: str) -> None:
    need_extra("minigrid")
    for call in (lambda name: make_vector_env(name, 1, env_config), lambda name: backend_note(name, env_config)):
        with pytest.raises(ConfigError) as error:
            call(NAMES["minigrid"])
        assert error.value.path == path


@pytest.mark.parametrize(("name", "package"), [("atari", "ale_py"), ("doom", "vizdoom"), ("minigrid", "minigrid")])
def test_a_missing_package_is_a_mistake_in_the_name(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from rllib_rnd.envs.atari_options import atari_games

    atari_games.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match="pip install") as error:
        make_vector_env(NAMES[name], 1)
    assert error.value.path == "env"


@pytest.mark.parametrize("name", ["atari", "catch", "point_maze", "warehouse", "pixels"])
def test_a_wrong_render_mode_is_no_option(name: str) -> None:
    with pytest.raises(ConfigError, match="'human' is not one of") as error:
        make_env(NAMES[name], {"id": "CartPole-v1"} if name == "pixels" else {}, render_mode="human")
    assert error.value.path == "render_mode"
