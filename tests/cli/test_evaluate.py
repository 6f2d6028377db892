"""The evaluation loop: raw returns, every episode whole, a fixed share for each environment."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.cli.checkpoints import find_checkpoint
from rllib_rnd.cli.evaluate import Episode, EvaluateOptions, Evaluation, Policy, load_module, play
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


def test_actions_are_drawn_or_the_most_likely() -> None:
    obs = np.zeros((1000, 1), dtype=np.float32)
    policy, is_first = Policy(EvenOdds(), 1000), np.zeros(1000, dtype=bool)
    assert (policy.act(obs, is_first, True, None) == 1).all()
    drawn = policy.act(obs, is_first, False, torch.Generator().manual_seed(0))
    again = policy.act(obs, is_first, False, torch.Generator().manual_seed(0))
    assert 0.4 < drawn.mean() < 0.65
    assert (drawn == again).all()


def test_continuous_actions_are_means_or_draws() -> None:
    inputs = torch.tensor([[0.5, -1.0, 0.0, 0.0]])
    module = SimpleNamespace(
        action_space=gym.spaces.Box(-1, 1, (2,)),
        forward_inference=lambda batch: {"action_dist_inputs": inputs},
        get_initial_state=dict,
    )
    generator, is_first, policy = torch.Generator().manual_seed(0), np.zeros(1, dtype=bool), Policy(module, 1)
    assert policy.act(np.zeros((1, 3)), is_first, True, generator).tolist() == [[0.5, -1.0]]
    drawn = policy.act(np.zeros((1, 3)), is_first, False, generator)
    assert drawn.shape == (1, 2) and drawn.tolist() != [[0.5, -1.0]]


class CountingSteps(AlwaysOne):
    """A policy whose action is the parity of the steps that its memory has counted in this episode."""

    def get_initial_state(self) -> dict[str, Any]:
        return {"steps": np.zeros(1, dtype=np.float32)}

    def forward_inference(self, batch: dict[str, Any]) -> dict[str, Any]:
        steps = batch["state_in"]["steps"]
        assert batch["obs"].shape == (len(steps), 1, 1), "an axis of one step"
        odd = steps % 2
        return {
            "action_dist_inputs": torch.cat([1.0 - odd, odd], dim=1)[:, None],
            "state_out": {"steps": steps + 1.0},
        }


def test_a_memory_is_carried_and_begins_anew_with_each_episode() -> None:
    policy, obs = Policy(CountingSteps(), 2), np.zeros((2, 1), dtype=np.float32)
    is_first = [[True, True], [False, False], [False, True], [False, False]]
    actions = [policy.act(obs, np.array(flags), True, None).tolist() for flags in is_first]
    assert actions == [[0, 0], [1, 1], [0, 0], [1, 1]]


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
