"""The evaluation loop: raw returns, every episode whole, a fixed share for each environment."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.checkpoints import load_module
from rllib_rnd.cli.checkpoints import find_checkpoint
from rllib_rnd.cli.evaluate import Episode, EvaluateOptions, Evaluation, inference_policy, play, write_json
from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.layers import noisy_layers
from tests.conftest import small_config


class Counting(gym.Env):
    """Episode e of an environment lasts ``3 + (e % 2)`` steps; the action is the reward; rooms are step numbers."""

    observation_space = gym.spaces.Box(0, 100, (1,), np.float32)
    action_space: gym.Space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.episode = -1

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._obs(), {"room": 0}

    def step(self, action: Any) -> Any:
        self.t += 1
        done = self.t == 3 + self.episode % 2
        return self._obs(), float(action), done, False, {"room": self.t}

    def _obs(self) -> np.ndarray:
        return np.array([self.t], dtype=np.float32)


class AlwaysOne:
    action_space: gym.Space = gym.spaces.Discrete(2)

    def get_initial_state(self) -> dict[str, Any]:
        return {}

    def forward_inference(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert batch["obs"].dtype == torch.float32
        return {"action_dist_inputs": torch.tensor([[-50.0, 50.0]]).repeat(len(batch["obs"]), 1)}


@pytest.fixture
def config() -> Iterator[Any]:
    # The tests are imported without a package, so the class is reached through a gymnasium id.
    make: Any = lambda **kwargs: Counting()  # noqa: E731
    gym.register("Counting-v0", entry_point=make)
    yield SimpleNamespace(env="Counting-v0", env_config={}, normalize_actions=True, clip_actions=False)
    del gym.registry["Counting-v0"]


@pytest.mark.parametrize("num_envs", [1, 2, 8])
def test_episodes_are_whole_and_shared_out(config: Any, num_envs: int) -> None:
    episodes = play(AlwaysOne(), config, EvaluateOptions(episodes=5, num_envs=num_envs), seed=0)
    assert len(episodes) == 5
    for episode in episodes:
        # Every action pays 1 and reset steps pay nothing, so return = length; rooms 0..length.
        assert episode.episode_return == episode.length
        assert episode.rooms == list(range(episode.length + 1))
    lengths = {1: [3, 4, 3, 4, 3], 2: [3, 4, 3, 3, 4], 8: [3] * 5}[num_envs]
    assert [e.length for e in episodes] == lengths


def test_summary() -> None:
    episodes = [Episode(0, 1.0, 10, [1, 2]), Episode(0, 3.0, 20, [2, 3, 4])]
    values = Evaluation("c", "e", False, episodes).summary()
    assert values["return_mean"] == 2.0 and values["return_std"] == 1.0 and values["episode_len_mean"] == 15.0
    assert values["rooms_per_episode_mean"] == 2.5 and values["rooms_visited"] == 4.0


class EvenOdds(AlwaysOne):
    def forward_inference(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"action_dist_inputs": torch.tensor([[0.0, 0.1]]).repeat(len(batch["obs"]), 1)}


def actions(module: Any, obs: np.ndarray, deterministic: bool, seed: int = 0) -> np.ndarray:
    policy = inference_policy(module, deterministic, seed)
    return policy.decide(obs, policy.empty_memory(len(obs)), np.zeros(len(obs), dtype=bool)).action


def test_actions_are_drawn_or_the_most_likely() -> None:
    obs = np.zeros((1000, 1), dtype=np.float32)
    assert (actions(EvenOdds(), obs, True) == 1).all()
    drawn = actions(EvenOdds(), obs, False)
    assert 0.4 < drawn.mean() < 0.65
    assert (drawn == actions(EvenOdds(), obs, False)).all()
    assert (drawn != actions(EvenOdds(), obs, False, seed=1)).any()


def test_continuous_actions_are_means_or_draws() -> None:
    inputs = torch.tensor([[0.5, -1.0, 0.0, 0.0]])
    module = SimpleNamespace(
        action_space=gym.spaces.Box(-1, 1, (2,)),
        forward_inference=lambda batch: {"action_dist_inputs": inputs},
        get_initial_state=dict,
    )
    assert actions(module, np.zeros((1, 3)), True).tolist() == [[0.5, -1.0]]
    drawn = actions(module, np.zeros((1, 3)), False)
    assert drawn.shape == (1, 2) and drawn.tolist() != [[0.5, -1.0]]


class CountingSteps(AlwaysOne):
    """A policy whose action is the parity of the steps that its memory, 5 at the start, has counted in an episode."""

    def get_initial_state(self) -> dict[str, Any]:
        return {"blank": np.zeros((2, 3), dtype=np.float32), "steps": np.full(1, 5, dtype=np.float32)}

    def forward_inference(self, batch: dict[str, Any]) -> dict[str, Any]:
        steps, blank = batch["state_in"]["steps"], batch["state_in"]["blank"]
        assert batch["obs"].shape == (len(steps), 1, 1), "an axis of one step"
        assert blank.shape == (len(steps), 2, 3) and not blank.any()
        odd = steps % 2
        return {
            "action_dist_inputs": torch.cat([1.0 - odd, odd], dim=1)[:, None],
            "state_out": {"blank": blank, "steps": steps + 1.0},
        }


def test_a_memory_is_carried_and_begins_anew_with_each_episode() -> None:
    policy, obs = inference_policy(CountingSteps(), True, 0), np.zeros((2, 1), dtype=np.float32)
    memory, seen = policy.empty_memory(2), []
    for is_first in ([True, True], [False, False], [False, True], [False, False]):
        decision = policy.decide(obs, memory, np.array(is_first))
        memory = decision.memory
        seen.append(decision.action.tolist())
    assert seen == [[1, 1], [0, 0], [1, 1], [0, 0]]


@pytest.mark.usefixtures("ray_session")
def test_noisy_layers_are_silent_in_evaluation_and_drawn_anew_in_training(tmp_path: Path) -> None:
    config = small_config(env="rllib_rnd/Catch-v0", backbone={"type": "nature_cnn", "hidden_sizes": [8], "noisy": True})
    algorithm = config.build_algo()
    noise = [noisy_layers(algorithm.env_runner.module)[0].eps_in.clone()]
    algorithm.train()
    noise.append(noisy_layers(algorithm.env_runner.module)[0].eps_in.clone())
    assert not torch.equal(*noise)
    assert torch.equal(noisy_layers(algorithm.learner_module())[0].eps_in, noise[1])
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    algorithm.stop()
    (layer,) = noisy_layers(load_module(find_checkpoint(path)))
    assert not layer.eps_in.any() and not layer.eps_out.any() and layer.weight_sigma.any()


def test_a_report_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    result = Evaluation("run", "CartPole-v1", True, [Episode(0, 1.0, 1, None)])
    with pytest.raises(ConfigError, match="cannot be written: Is a directory; that is a folder, not a file"):
        write_json(result, tmp_path)
