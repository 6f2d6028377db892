"""Labels of each family of environments against the environment's own state, and who sees what in played games."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.probing.features import MEMORY, layer_features
from rllib_rnd.analysis.probing.labels import LabelledEnv, labels_of_state
from rllib_rnd.analysis.probing.layers import check_names, read_layers, with_twins
from rllib_rnd.analysis.probing.options import ProbeOptions, Progress
from rllib_rnd.analysis.probing.probe_states import PlayPlan, observe
from rllib_rnd.analysis.probing.probes import gather
from rllib_rnd.envs import make_env
from rllib_rnd.errors import ConfigError
from rllib_rnd.module import IntrinsicPPOModule
from tests.conftest import small_config


def started(env_id: str, config: dict[str, Any], actions: list[Any]) -> tuple[gym.Env, dict[str, Any]]:
    env = make_env(env_id, config)
    info = env.reset(seed=0)[1]
    for action in actions:
        info = env.step(action)[4]
    return env, info


def test_warehouse_items_age() -> None:
    """An item's age is that of its site, grows by one a step, and is unknown where there is none."""
    env, info = started("rllib_rnd/Warehouse-v0", {"spawn_prob": 0.2}, [])
    own: Any = env.unwrapped
    before: dict[str, float] = {}
    grown = 0
    for _ in range(12):
        values, kinds = labels_of_state(env, info)
        waiting = own.vector._waiting[0]
        for site, waited in enumerate(waiting):
            age = values[f"age_{site}"]
            assert math.isnan(age) if waited < 0 else age == waited
            grown += age == before.get(f"age_{site}", math.nan) + 1
        assert values["oldest_age"] == waiting.max()
        assert divmod(int(own.vector._position[0]), 7) == (values["row"], values["column"])
        assert set(kinds.values()) == {"number"}
        before, info = values, env.step(0)[4]
    assert grown > 10


def test_positions_of_the_small_tasks() -> None:
    env, info = started("rllib_rnd/Catch-v0", {}, [2, 2])
    vector: Any = env.unwrapped.vector  # type: ignore[attr-defined]
    values, _ = labels_of_state(env, info)
    assert values == {"ball_row": 2.0, "ball_column": vector._ball[0], "paddle_column": vector._paddle[0]}

    env, info = started("rllib_rnd/DeepSea-v0", {"size": 5}, [1, 1, 0])
    vector = env.unwrapped.vector  # type: ignore[attr-defined]
    values, _ = labels_of_state(env, info)
    assert values == {"row": 3.0, "column": float(vector._column[0])}

    env, info = started("rllib_rnd/PointMaze-v0", {}, [np.array([1.0, 0.5], dtype=np.float32)] * 3)
    vector = env.unwrapped.vector  # type: ignore[attr-defined]
    values, _ = labels_of_state(env, info)
    assert [values["x"], values["y"]] == vector._place[0].tolist()
    assert [values["velocity_x"], values["velocity_y"]] == vector._velocity[0].tolist()


def test_minigrid_pose() -> None:
    pytest.importorskip("minigrid")
    env, info = started("MiniGrid-Empty-5x5-v0", {}, [2, 1, 2])
    task: Any = env.unwrapped.inner  # type: ignore[attr-defined]
    values, kinds = labels_of_state(env, info)
    assert (values["x"], values["y"], values["direction"]) == (*task.agent_pos, task.agent_dir) == (2, 2, 1)
    assert kinds["direction"] == "category" and kinds["x"] == "number"


def test_atari_reads_memory_and_info() -> None:
    env, info = started("ALE/MontezumaRevenge-v5", {}, [0, 3])
    own: Any = env.unwrapped
    values, kinds = labels_of_state(env, info)
    assert values["x"] == own.ale.getRAM()[42] and values["lives"] == own.ale.lives()
    assert values["room"] == info["room"] and kinds["room"] == "category"
    env, info = started("ALE/Breakout-v5", {}, [0])
    assert set(labels_of_state(env, info)[0]) == {"lives"}


class Told(gym.Env):
    """Tells all sorts of things."""

    observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return np.zeros(2, dtype=np.float32), {"depth": 3, "lit": True, "word": "x", "vector": np.ones(2)}

    def step(self, action: Any) -> Any:
        info = {"depth": 4.5, "lit": False, "position": -1, "game_goes_on": False}
        return np.zeros(2, dtype=np.float32), 0.0, False, False, info


def test_numbers_of_any_info_and_the_cut() -> None:
    env = LabelledEnv(Told(), max_steps=2)
    env.reset(seed=0)
    assert env.labels == {"depth": 3.0, "lit": 1.0}
    assert env.kinds == {"depth": "number", "lit": "category"}
    assert env.step(0)[3] is False
    assert env.labels["depth"] == 4.5 and math.isnan(env.labels["position"]) and env.kinds["position"] == "category"
    assert env.step(0)[3] is True


def agent_of(
    backbone: dict[str, Any],
    seed: int = 0,
    env: str = "rllib_rnd/Warehouse-v0",
    feature_dim: int = 6,
    **config: Any,
) -> Agent:
    """An agent that was never trained, without Ray."""
    import torch

    settings = small_config("IntrinsicPPO", env).environment(env, env_config=config)
    space = make_env(env, config)
    torch.manual_seed(seed)
    spec = {
        "backbone": backbone,
        "intrinsic_rewards": [{"type": "rnd", "feature_dim": feature_dim, "hidden_sizes": [8]}],
    }
    module = IntrinsicPPOModule(
        observation_space=space.observation_space,
        action_space=space.action_space,
        model_config={**spec, "auxiliary_losses": [], "frame_stack": 1},
    )
    settings.training(intrinsic_reward=spec["intrinsic_rewards"])
    return Agent(Path("none"), settings, module.eval())  # type: ignore[arg-type]


def test_agents_look_at_the_same_games() -> None:
    """Games are whole and in order, each agent's memory is what it alone would have, and a seed gives it all again."""
    gru, mlp = agent_of({"type": "gru", "memory_size": 5}), agent_of({"type": "mlp", "hidden_sizes": [4]})
    plan = PlayPlan(games=9, max_steps=12, states=10_000, seed=4)
    states = observe({"mlp": mlp, "gru": gru}, plan)
    assert [int((states.episode == game).sum()) for game in range(9)] == [12] * 9
    assert np.array_equal(states.step, np.tile(np.arange(12), 9))
    assert states.memory["mlp"].shape == (108, 0) and states.memory["gru"].shape == (108, 5)

    import torch

    memory = torch.zeros(1, 5)
    for t in range(12):
        assert np.allclose(states.memory["gru"][t], memory[0].detach(), atol=1e-5)
        obs = torch.from_numpy(states.obs[t : t + 1])
        memory = gru.module.backbone(obs, memory, torch.tensor([[t == 0]])).state  # type: ignore[assignment]
    again = observe({"mlp": mlp, "gru": gru}, plan)
    assert np.array_equal(again.obs, states.obs)
    for name, values in states.labels.values.items():
        assert np.array_equal(values, again.labels.values[name], equal_nan=True)
    with pytest.raises(ConfigError, match="same states"):
        observe({"a": mlp, "b": agent_of({"type": "mlp"}, env="rllib_rnd/Warehouse-v0", num_stacked=2)}, plan)


def test_layers_are_those_of_the_networks() -> None:
    import torch

    agent = agent_of({"type": "gru", "memory_size": 5, "hidden_sizes": [7]})
    random = np.random.default_rng(0)
    obs = random.integers(0, 2, (300, *agent.module.observation_space.shape), dtype=np.uint8)
    memory, first = random.normal(size=(300, 5)).astype(np.float32), random.random(300) < 0.1
    features, left_out = layer_features(agent, obs, memory, first)
    output = agent.module.backbone(torch.from_numpy(obs), torch.from_numpy(memory), torch.from_numpy(first)[None])
    assert np.allclose(features["policy"], output.policy.detach(), atol=1e-5)
    assert {"rnd target", "rnd predictor"} <= set(features) and features["rnd target"].shape == (300, 6)
    assert set(agent.module.backbone.feature_maps()) <= set(features) | set(left_out)
    assert left_out["extrinsic"] == "the same as policy" and (MEMORY in features or MEMORY in left_out)
    few, why = layer_features(agent, obs, memory, first, wanted=("extrinsic",))
    assert set(few) == {"extrinsic"} and why == {}, "it is asked for without the one that it is the same as"
    assert np.array_equal(few["extrinsic"], features["policy"])


def test_each_architecture_has_a_twin_without_training() -> None:
    mlp, same, gru = agent_of({"type": "mlp"}), agent_of({"type": "mlp"}, seed=1), agent_of({"type": "gru"})
    assert list(with_twins({"a": mlp, "b": same}, 0)) == ["a", "b", "untrained"]
    everyone = with_twins({"a": mlp, "b": same, "c": gru}, 0)
    assert list(everyone) == ["a", "b", "c", "untrained a", "untrained c"]
    twin = everyone["untrained c"]
    assert twin.module.backbone.state_size == gru.module.backbone.state_size and not twin.trained
    for name in ("pixels", "untrained", "untrained b"):
        with pytest.raises(ConfigError, match="name of a control"):
            with_twins({name: mlp}, 0)


def test_twins_that_differ_in_their_bonus_share_a_body() -> None:
    """The second one is read for its bonus's layers alone, and what never learns is no control of itself."""
    one, other = agent_of({"type": "mlp"}, seed=5), agent_of({"type": "mlp"}, seed=6, feature_dim=7)
    agents = with_twins({"a": one, "b": other}, 0)
    states = observe(agents, PlayPlan(games=6, max_steps=20, states=100))
    train = np.arange(len(states.obs)) < 80
    layers, left_out = read_layers(agents, states, ProbeOptions(), train, Progress())
    of = {name: {layer for owner, layer in layers if owner == name} for name in agents}
    assert {"policy", "rnd target", "rnd predictor"} <= of["a"] & of["b"] & of["untrained a"]
    assert of["untrained b"] == {"rnd target", "rnd predictor"}
    assert left_out["untrained b / policy"] == "of the same architecture as untrained a"
    again, left_out = read_layers({"a": one, "b": one}, states, ProbeOptions(), train, Progress())
    assert left_out["b / rnd target"] == "the same as a / rnd target" and ("b", "policy") not in again


class Slow(Told):
    """Tells something only late."""

    def __init__(self) -> None:
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.steps = 0
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        self.steps += 1
        info = {"late": 1.0} if self.steps > 15 else {}
        return np.zeros(2, dtype=np.float32), 0.0, False, self.steps > 40, info


def test_names_are_checked_after_a_few_steps_or_a_game() -> None:
    agent = agent_of({"type": "mlp", "hidden_sizes": [4]}, env=f"{__name__}:Slow")
    told: list[int] = []
    for variables in ((), ("depth",), ("late",), ("depth", "late")):
        check_names({"a": agent}, ProbeOptions(PlayPlan(max_steps=30), variables=variables, layers=("extrinsic",)))
    with pytest.raises(ConfigError, match="Did you mean 'late'"):
        check_names({"a": agent}, ProbeOptions(PlayPlan(max_steps=30), variables=("lat",)))
    with pytest.raises(ConfigError, match="Did you mean 'rnd target'"):
        check_names({"a": agent}, ProbeOptions(layers=("rnd targt",)))
    with pytest.raises(ConfigError, match="Did you mean 'policy'"):
        gather({"a": agent}, ProbeOptions(layers=("polcy",)), Progress(lambda *_: told.append(0), told.append))
    with pytest.raises(ConfigError, match="same states"):
        gather({"a": agent, "b": agent_of({"type": "mlp"})}, ProbeOptions(), Progress(advance=told.append))
    assert told == [], "games were played first"
