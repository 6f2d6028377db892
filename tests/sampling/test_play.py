"""Play: steps and rollouts are one thing, position and seeds go on, failures have a name."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from rllib_rnd.envs.registry import FrameStack
from rllib_rnd.errors import ConfigError
from rllib_rnd.functional.distributions import Categorical
from rllib_rnd.sampling.intake import EnvironmentFailedError
from rllib_rnd.sampling.play import Play, make_play
from rllib_rnd.sampling.policy import Policy
from rllib_rnd.sampling.seeds import ResetSeeds

N, LENGTH = 2, 3


class Counter(VectorEnv):
    """Observations ``[seed, step]``, written into the same array every time; episodes of three steps."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - as gymnasium

    def __init__(self, fails_in: str = "", error: Exception | None = None) -> None:
        self.num_envs = N
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.single_action_space = gym.spaces.Discrete(2, start=5)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (N, 2), np.float32)
        self.action_space = gym.spaces.MultiDiscrete([2] * N, start=[5] * N)
        self.fails_in, self.error = fails_in, error or OSError("no emulator")
        self.seeds: list[Any] = []
        self.actions: list[list[int]] = []
        self.obs = np.zeros((N, 2), np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if self.fails_in == "reset":
            raise self.error
        self.seeds.append(seed)
        self.obs[:] = [seed or 0, 0]
        return self.obs, {"room": np.zeros(N, dtype=np.int64)}

    def step(self, actions: np.ndarray) -> Any:
        if self.fails_in == "step":
            raise self.error
        self.actions.append(actions.tolist())
        resets = self.obs[:, 1] == LENGTH
        self.obs[:, 1] = np.where(resets, 0, self.obs[:, 1] + 1)
        done = self.obs[:, 1] == LENGTH
        infos = {"room": self.obs[:, 1].astype(np.int64)}
        return self.obs, np.where(resets, 0.0, actions), done, np.zeros(N, dtype=bool), infos


class CloneableCounter(Counter):
    """One that can be saved."""

    can_clone_state = True

    def clone_state(self) -> np.ndarray:
        return self.obs

    def restore_state(self, state: np.ndarray) -> None:
        self.obs[:] = state


def counting_policy(seed: int = 0) -> Policy:
    """Its memory counts steps since the episode began; the value is that number."""

    def forward(obs: Tensor, memory: Tensor | None, is_first: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        assert memory is not None and is_first is not None
        steps = torch.where(is_first[0][:, None], 0.0, memory)
        return torch.zeros((len(obs), 2)), steps, steps + 1.0

    generator = torch.Generator().manual_seed(seed)
    return Policy(forward, Categorical(2), generator, memory_size=1, sequence_length=4)


def play(env: Counter | None = None, seeds: ResetSeeds | None = None) -> Play:
    return Play(
        "Counter",
        env or Counter(),
        FrameStack(),
        lambda action: action + 5,
        lambda action: action - 5,
        seeds or ResetSeeds(7),
    )


def test_a_rollout_is_the_steps_even_if_the_environment_reuses_its_arrays() -> None:
    game, twin = play(), play()
    rollout = game.rollout(counting_policy(), 8)
    for t, step in enumerate(itertools.islice(twin.steps(counting_policy()), 8)):
        assert step.decision is not None
        assert rollout.action[t].tolist() == step.action.tolist()
        assert rollout.reward[t].tolist() == step.reward.tolist()
        assert rollout.logp[t].tolist() == step.decision.logp.tolist() == pytest.approx([np.log(0.5)] * N)
    # Three steps and a reset step, twice; the bootstrap observation begins the third episode.
    assert rollout.frames[:, 0, 1].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert rollout.is_first[:, 0].tolist() == [t in (0, 4, 8) for t in range(9)]
    assert rollout.value[:, 0, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert rollout.memory[:, 0, 0].tolist() == [0, 4]  # before the steps 0 and 4; step 4 begins an episode
    assert game.env.actions == (rollout.action + 5).tolist()
    assert [e.raw_return for e in game.tracker.take_finished()] == rollout.reward.reshape(2, 4, N).sum(
        1
    ).ravel().tolist()


def test_the_next_rollout_goes_on_where_the_last_one_ended() -> None:
    policy, game = counting_policy(), play()
    whole = play().rollout(counting_policy(), 10)
    parts = [game.rollout(policy, 4), game.rollout(policy, 6)]
    assert np.concatenate([p.action for p in parts]).tolist() == whole.action.tolist()
    assert parts[1].value[:, 0, 0].tolist() == whole.value[4:, 0, 0].tolist()
    assert game.env.seeds == [7]


def test_without_a_policy_actions_are_the_environments_own_and_nothing_is_judged() -> None:
    game = play()
    game.env.action_space.seed(0)
    rollout = game.rollout(None, 30)
    assert np.unique(rollout.action).tolist() == [0, 1]  # as a policy's
    assert game.env.actions == (rollout.action + 5).tolist()
    assert not (rollout.logp.any() or rollout.value.any()) and rollout.memory.shape == (30, N, 0)


def test_seeds_of_resets_are_shared_and_never_used_twice() -> None:
    seeds = ResetSeeds(7)
    games = [play(seeds=seeds), play(seeds=seeds)]
    for game in (*games, games[0]):
        game.reset()
    used = [*games[0].env.seeds, *games[1].env.seeds]
    assert used[0] == 7 and len(set(used)) == 3 == seeds.used
    games[1].reset(seed=3)  # asked for by number: not one of them
    assert games[1].env.seeds[-1] == 3 and seeds.used == 3
    assert ResetSeeds(None).next is None


def test_what_can_be_saved_goes_on_and_what_cannot_begins_anew() -> None:
    for env_class, goes_on in ((CloneableCounter, True), (Counter, False)):
        policy, game = counting_policy(), play(env_class())
        game.rollout(policy, 5)
        state, drawn = game.state(), policy.generator.get_state()
        expected = game.rollout(policy, 5)
        again = play(env_class())
        why = again.restore(state)
        assert why is None if goes_on else why == "Counter has no method clone_state"
        policy.generator.set_state(drawn)
        got = again.rollout(policy, 5)
        assert got.action.tolist() == expected.action.tolist()
        assert (got.frames.tolist() == expected.frames.tolist()) == goes_on
        assert (again.env.seeds == [7]) == goes_on  # else another seed: not the first episodes once more


def test_a_state_of_another_number_of_environments_begins_new_episodes_with_new_seeds() -> None:
    first, game = play(CloneableCounter()), play(CloneableCounter())
    first.reset()
    assert game.restore({**first.state(), "num_envs": N + 1, "resets": 9}) is None
    game.reset()
    assert game.env.seeds[-1] not in [ResetSeeds(7, used).next for used in range(9)]


def test_a_state_that_is_not_taken_back_says_why_and_begins_new_episodes() -> None:
    first, game = play(CloneableCounter()), play(CloneableCounter())
    first.reset()
    state = first.state()
    game.env.restore_state = lambda saved: saved.gone
    assert "AttributeError" in str(game.restore(state))
    assert game.env.seeds == [7] and game.rollout(None, 2).is_first[0].all()
    assert game.env.seeds[-1] != 7


@pytest.mark.parametrize("where", ["reset", "step"])
def test_errors_of_the_environment_have_its_name(where: str) -> None:
    with pytest.raises(
        EnvironmentFailedError,
        match=rf"'Counter' failed in {where}\(\): OSError: no emulator \(.*test_play.py:\d+, in {where}\)",
    ):
        play(Counter(where)).rollout(None, 3)
    with pytest.raises(ConfigError, match="size: 3"):  # a user's mistake stays one
        play(Counter(where, ConfigError("size", "3 is odd"))).rollout(None, 3)


def test_observations_that_are_not_as_the_space_says_are_refused() -> None:
    env = Counter()
    env.obs = np.zeros((N, 3), np.float32)[:, :1]
    env.reset = lambda **kwargs: (env.obs, {})  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=r"env: Counter.reset\(\) .* shape \(2, 1\) .* shape \(2, 2\) of float32"):
        play(env).rollout(None, 3)


def test_there_is_no_position_before_anything_is_played() -> None:
    game = play()
    with pytest.raises(RuntimeError, match="comes first"):
        _ = game.position
    game.reset()
    assert game.position.is_first.all() and not game.position.done.any()


def test_it_is_made_of_a_configuration() -> None:
    settings = {"env": "ALE/MontezumaRevenge-v5", "env_config": {"frame_size": 36, "stack_order": "newest_first"}}
    game = make_play(SimpleNamespace(**settings, normalize_actions=True, clip_actions=False), 2, ResetSeeds(0))
    rollout = game.rollout(None, 3)
    assert (rollout.frames.shape, rollout.newest_first) == ((3 + 4, 2, 36, 36), True)
    assert (rollout.frames[6] == game.position.obs[:, 0]).all() and (rollout.frames[3] == rollout.frames[0]).all()
    game.close()
