"""Training, evaluation, ``rllib evaluate`` and ``rllib record`` send the environment the same, whatever its actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.player import Player, PlayOptions
from rllib_rnd.cli.evaluate import EvaluateOptions
from rllib_rnd.cli.evaluate import play as evaluate
from rllib_rnd.modules.actions import from_environment, to_environment
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("ray_session")

SPACES: dict[str, gym.Space] = {
    "discrete": spaces.Discrete(3),
    "start": spaces.Discrete(3, start=10),
    "multi": spaces.MultiDiscrete([2, 3]),
    "multi_start": spaces.MultiDiscrete([2, 3], start=[5, -4]),
    "box": spaces.Box(-1.0, 1.0, (2,)),
    "uneven": spaces.Box(np.array([0.0, -7.0], np.float32), np.array([0.5, 3.0], np.float32)),
    "half_open": spaces.Box(0.0, np.inf, (2,)),
    "unbounded": spaces.Box(-np.inf, np.inf, (2,)),
    "double": spaces.Box(-2.0, 2.0, (2,), np.float64),
}
BOXES = [name for name, space in SPACES.items() if isinstance(space, spaces.Box)]
#: Name of the space, normalize_actions, clip_actions, explore.
CASES = [
    *((name, True, False, True) for name in SPACES),
    *((name, False, True, True) for name in BOXES),
    *((name, False, False, True) for name in ("uneven", "double")),
    *((name, True, False, False) for name in ("start", "multi_start", "uneven")),
]
LENGTH = 6


class Spy(gym.Env):
    """Writes its actions down; observations follow from them; 6 steps."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    sent: list[Any] = []  # noqa: RUF012 - of all of them

    def __init__(self, kind: str, render_mode: str | None = None) -> None:
        self.action_space, self.t = SPACES[kind], 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.array([1.0, -1.0, 0.5], np.float32), {}

    def step(self, action: Any) -> Any:
        Spy.sent.append(np.array(action).tolist())
        self.t += 1
        obs = np.array([np.sin(9.0 * self.t), np.cos(5.0 * self.t), np.tanh(np.sum(action))], np.float32)
        return obs, 1.0, self.t == LENGTH, False, {}


@pytest.fixture(autouse=True)
def spy_id() -> Iterator[None]:
    gym.register("Spy-v0", entry_point=Spy)  # type: ignore[arg-type]
    yield
    del gym.registry["Spy-v0"]


def seen(play: Callable[[], object]) -> list[Any]:
    """The actions of the first episode."""
    Spy.sent.clear()
    play()
    return Spy.sent[:LENGTH]


def config(name: str, normalize: bool, clip: bool, explore: bool) -> Any:
    made = small_config("IntrinsicPPO", env="Spy-v0", backbone={"type": "mlp", "hidden_sizes": [8]})
    made.environment(env_config={"kind": name}, normalize_actions=normalize, clip_actions=clip)
    return made.env_runners(num_envs_per_env_runner=1, rollout_fragment_length=LENGTH, explore=explore)


@pytest.mark.parametrize(("name", "normalize", "clip", "explore"), CASES)
def test_all_ways_of_playing_send_the_same(name: str, normalize: bool, clip: bool, explore: bool) -> None:
    settings = config(name, normalize, clip, explore)
    trainer = RolloutEnvRunner(config=settings, worker_index=0)
    with torch.no_grad():
        for parameter in trainer.module.policy_head.parameters():
            parameter.copy_(torch.randn_like(parameter, generator=None) * 2.0)  # beyond every bound
    in_evaluation = settings.copy(copy_frozen=False)
    in_evaluation.in_evaluation = True
    evaluator = RolloutEnvRunner(config=in_evaluation, worker_index=0)
    evaluator.module.set_state(trainer.module.get_state())
    for runner in (trainer, evaluator):
        runner.policy.generator.manual_seed(5)
    options = EvaluateOptions(episodes=1, num_envs=1, deterministic=not explore)
    agent = Agent(Path(), settings, trainer.module)
    player = Player(agent, PlayOptions(seed=5, deterministic=not explore))
    ways = {
        "training": trainer.sample,
        "evaluation": lambda: evaluator.sample(num_episodes=1),
        "evaluate": lambda: evaluate(trainer.module, settings, options, seed=5),
        "record": lambda: player.play(5),
    }
    found = {way: seen(play) for way, play in ways.items()}
    assert found["training"] == found["evaluation"] == found["evaluate"] == found["record"]
    inside = [SPACES[name].contains(np.asarray(action, SPACES[name].dtype)) for action in found["training"]]
    assert all(inside) or not (normalize or clip)


@pytest.mark.parametrize(("name", "normalize"), sorted({case[:2] for case in CASES}))
def test_random_play_stores_what_a_policy_would_have_said(name: str, normalize: bool) -> None:
    space = SPACES[name]
    space.seed(0)
    sent = np.stack([np.asarray(space.sample()) for _ in range(50)])
    said = from_environment(space, normalize)(sent)
    if isinstance(space, spaces.Box) and normalize and space.is_bounded():
        assert said.min() >= -1.0 and said.max() <= 1.0 and said.max() - said.min() > 1.8
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        assert said.min() == 0
    if not isinstance(space, spaces.MultiDiscrete):
        np.testing.assert_allclose(to_environment(space, normalize, False)(said), sent, rtol=1e-5, atol=1e-5)
