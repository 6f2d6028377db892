"""``load_policy``: a checkpoint and its export act alike, in loops of the user's own."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import rllib_rnd
from rllib_rnd.checkpoints import load_module
from rllib_rnd.envs import make_env
from rllib_rnd.errors import ConfigError
from rllib_rnd.export import policy as policy_module
from rllib_rnd.export.card import Training
from rllib_rnd.export.folder import export_policy
from rllib_rnd.functional.distributions import Categorical
from tests.export.checkpoints import make_checkpoint

ROOT = Path(__file__).resolve().parents[2]
ENV, OPTIONS = "rllib_rnd/DeepSea-v0", {"size": 6}
GRU = {"type": "gru", "memory_size": 4}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory over DeepSea."""
    return make_checkpoint(tmp_path_factory.mktemp("run") / "trial" / "checkpoint_000000", ENV, OPTIONS, GRU)


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "policy"
    export_policy(checkpoint, out, Training("IntrinsicPPO"), samples=5)
    return out


def shown(module: str, action: str, observation: str, folder: Path) -> tuple[Path, gym.Env]:
    """A checkpoint on one of the environments of `tests.test_spaces`, and the environment as its author made it."""
    from tests.test_spaces import Shown

    made = make_checkpoint(
        folder / "checkpoint",
        "tests.test_spaces:Shown",
        {"observation": observation, "action": action},
        {"type": module, "hidden_sizes": [4]},
    )
    return made, Shown(observation, action)


def test_the_loop_of_the_docs_plays_an_episode(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "export.md").read_text()
    (loop,) = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "while" in code]
    assert len([line for line in loop.splitlines() if line.strip()]) == 10
    named = re.sub(r'load_policy\("[^"]*"', f'load_policy("{checkpoint.parents[1]}"', loop)
    named = re.sub(r"make_env\(.*\)", f"make_env({ENV!r}, {OPTIONS})", named)
    assert str(checkpoint.parents[1]) in named and "DeepSea" in named
    exec(compile(named, "docs/export.md", "exec"), {})
    assert re.fullmatch(r"-?\d+\.\d+\n", capsys.readouterr().out)


def test_checkpoint_and_export_act_alike_one_by_one_and_side_by_side(checkpoint: Path, exported: Path) -> None:
    env: Any = make_env(ENV, OPTIONS)
    rng = np.random.default_rng(0)
    paths = (checkpoint, checkpoint.parent, exported)
    policies: list[Any] = [rllib_rnd.load_policy(path, deterministic=True) for path in paths]
    assert policies[0].observation_space == policies[2].observation_space == env.observation_space
    assert policies[0].action_space == policies[2].action_space == env.action_space
    module = load_module(checkpoint)
    obs = rng.integers(0, 2, (4, 3, *env.observation_space.shape)).astype(np.uint8)  # T steps of three environments
    memory: Any = None
    alone: list[Any] = [None, None, None]
    state = torch.zeros(3, 4)
    for t in range(4):
        actions, memories = zip(*(policy.act(obs[t], memory) for policy in policies), strict=True)
        first = torch.full((1, 3), t == 0)
        dist_inputs, _, state = module.policy_and_values(torch.from_numpy(obs[t]), state, first)
        for action, after in zip(actions, memories, strict=True):
            np.testing.assert_array_equal(action, dist_inputs.argmax(dim=1).numpy())
            np.testing.assert_allclose(after, state.detach().numpy(), atol=1e-6)
        for i in range(3):
            action, alone[i] = policies[2].act(obs[t, i], alone[i])
            assert action == actions[0][i] and action.shape == () and alone[i].shape == (4,)
        memory = memories[0]
        np.testing.assert_allclose(np.stack(alone), memory, atol=1e-6)


def test_an_episode_begins_where_it_is_told_to(exported: Path) -> None:
    policy: Any = rllib_rnd.load_policy(exported)
    obs = np.eye(36, dtype=np.uint8).reshape(-1, *policy.observation_space.shape)[:2]
    _, memory = policy.act(obs)
    _, afresh = policy.act(obs)
    _, second = policy.act(obs, memory, is_first=np.array([False, True]))
    np.testing.assert_allclose(second[1], afresh[1], atol=1e-6)
    assert not np.allclose(second[0], afresh[0], atol=1e-3)


def test_draws_are_the_distributions_and_repeat_with_their_seed(checkpoint: Path) -> None:
    policy: Any = rllib_rnd.load_policy(checkpoint, seed=3)
    obs = np.zeros((400, *policy.observation_space.shape), np.uint8)
    drawn, _ = policy.act(obs)
    best, _ = policy.act(obs, deterministic=True)
    assert len(np.unique(drawn)) == 2 and len(np.unique(best)) == 1
    again, _ = rllib_rnd.load_policy(checkpoint, seed=3).act(obs)
    np.testing.assert_array_equal(drawn, again)
    policy.seed(3)
    np.testing.assert_array_equal(policy.act(obs)[0], drawn)
    policy.seed(4)
    assert (policy.act(obs)[0] != drawn).any()
    module = load_module(checkpoint)
    dist_inputs, *_ = module.policy_and_values(torch.from_numpy(obs), None, torch.ones(1, 400, dtype=torch.bool))
    expected, _ = Categorical(2).sample(dist_inputs.detach(), torch.Generator().manual_seed(3))
    np.testing.assert_array_equal(drawn, expected.numpy())


@pytest.mark.parametrize(
    ("observation", "action"),
    [("dict", "binary"), ("tuple", "matrix"), ("discrete", "grid of choices"), ("float64", "scalar")],
)
def test_observations_and_actions_are_the_environments_own(observation: str, action: str, tmp_path: Path) -> None:
    made, env = shown("mlp", action, observation, tmp_path)
    paths = [made]
    if observation == "dict":
        export_policy(made, tmp_path / "out", Training("PPO"), samples=3)
        paths.append(tmp_path / "out")
    plain = make_env("tests.test_spaces:Shown", {"observation": observation, "action": action})
    for path in paths:
        policy: Any = rllib_rnd.load_policy(path, deterministic=True)
        assert policy.observation_space == env.observation_space and policy.action_space == env.action_space
        shows, _ = env.reset(seed=1)
        chosen, memory = policy.act(shows)
        assert memory is None and env.action_space.contains(np.asarray(chosen))
        env.step(chosen)  # which checks it
        flat, _ = plain.reset(seed=1)
        np.testing.assert_array_equal(policy.act(flat)[0], chosen)
        many, _ = policy.act([shows, shows])
        np.testing.assert_array_equal(many, np.stack([chosen, chosen]))
        sampled, _ = policy.act(shows, deterministic=False)
        assert env.action_space.contains(np.asarray(sampled))


BAD: dict[str, tuple[Any, Any, Any, str]] = {
    "shape": (np.zeros((5,), np.uint8), None, None, r"observation: shape \[5\] does not fit; allowed is uint8"),
    "two batch axes": (np.zeros((2, 2, 36), np.uint8), None, None, r"observation: shape \[2, 2, 36\]"),
    "none": (np.zeros((0, 36), np.uint8), None, None, r"observation: shape \[0, 36\]"),
    "scaled": (np.zeros(36, np.float32), None, None, "observation: numbers of type float32; allowed is uint8, raw"),
    "memory": (np.zeros(36, np.uint8), np.zeros(3), None, r"memory: shape \[1, 3\].*allowed is None, or .*: \[4\]"),
    "memory of one": (np.zeros((2, 36), np.uint8), np.zeros(4), None, r"memory: shape \[4\].*: \[2, 4\]"),
    "memory of text": (np.zeros(36, np.uint8), "x", None, "memory: holds no numbers .*; allowed is None, or what act"),
    "memory of nothing": (
        np.zeros(36, np.uint8),
        np.full(4, np.nan),
        None,
        "memory: holds numbers that are not finite",
    ),
    "starts": (np.zeros((2, 36), np.uint8), None, [True], r"memory: .*episode starts \[1\], with 2 observations"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_said_in_one_line(name: str, exported: Path) -> None:
    obs, memory, is_first, problem = BAD[name]
    policy: Any = rllib_rnd.load_policy(exported)
    if isinstance(obs, np.ndarray) and obs.shape[-1:] == (36,):
        obs = obs.reshape(*obs.shape[:-1], *policy.observation_space.shape)
        problem = problem.replace("36", ", ".join(map(str, policy.observation_space.shape)))
    with pytest.raises(ConfigError, match=problem) as caught:
        policy.act(obs, memory, is_first)
    assert "\n" not in str(caught.value)


def test_numbers_that_are_none_and_parts_that_lack_are_refused(tmp_path: Path) -> None:
    made, env = shown("mlp", "discrete", "dict", tmp_path)
    policy: Any = rllib_rnd.load_policy(made)
    shows, _ = env.reset(seed=1)
    with pytest.raises(ConfigError, match=r"observation: dict does not fit .*allowed is a dict of 'a'"):
        policy.act({"a": shows["a"]})
    with pytest.raises(ConfigError, match="observation: holds numbers that are not finite"):
        policy.act({**shows, "a": shows["a"] * np.nan})


def test_a_backbone_that_was_chosen_is_called_by_its_name(tmp_path: Path) -> None:
    made = make_checkpoint(tmp_path / "trial" / "checkpoint_000000", "CartPole-v1", {}, "auto")
    export_policy(made, tmp_path / "out", Training("IntrinsicPPO"), samples=2)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["network"]["backbone"]["type"] == "mlp"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "\n- mlp\n" in card and "auto" not in card


def test_weights_that_are_no_numbers_raise_instead_of_acting(checkpoint: Path) -> None:
    policy: Any = rllib_rnd.load_policy(checkpoint)
    broken = {"dist_inputs": np.array([[np.nan, 0.0]], np.float32), "action": np.array([0])}
    policy._engine = lambda _: broken
    with pytest.raises(RuntimeError, match="not finite"):
        policy.act(np.zeros(policy.observation_space.shape, np.uint8))


def test_without_the_environments_package_the_plain_spaces_do(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: Any) -> None:
        raise ConfigError("env", "needs an extra")

    monkeypatch.setattr(policy_module, "environment_spaces", missing)
    policy: Any = rllib_rnd.load_policy(checkpoint, deterministic=True)
    assert policy.action_space == gym.spaces.Discrete(2)
    assert policy.act(np.zeros(policy.observation_space.shape, np.uint8))[0] in (0, 1)


def change(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


BROKEN: dict[str, tuple[Any, str]] = {
    "nothing": (lambda folder: shutil.rmtree(folder), "checkpoint .*: there is no such folder"),
    "another's": (lambda folder: change(folder, made_by="x"), "checkpoint .*: holds no complete checkpoint"),
    "half a file": (lambda folder: (folder / "config.json").write_text("{"), "checkpoint .*: holds no complete"),
    "a later format": (lambda folder: change(folder, format=2), "policy .*: its format is 2.*another version"),
    "no action": (lambda folder: change(folder, action={}), "policy .*: its config.json is not complete"),
    "no networks": (lambda folder: (folder / "policy.pt2").unlink(), "neither policy.pt2 nor policy.onnx"),
    "cut short": (lambda folder: (folder / "policy.pt2").write_bytes(b"PK"), "policy .*pt2: cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_folder_that_is_not_whole_is_refused_in_one_line(name: str, exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    damage, problem = BROKEN[name]
    damage(folder)
    with pytest.raises(ConfigError, match=problem) as caught:
        rllib_rnd.load_policy(folder)
    assert "\n" not in str(caught.value)
