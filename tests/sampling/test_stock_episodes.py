"""RLlib's callbacks on episodes and its evaluation: called as documented, whole games, a share each, an end always."""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_rnd.cli.evaluate import EvaluateOptions, play
from rllib_rnd.sampling.env_runner import RolloutEnvRunner
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("ray_session")


class Game(gym.Env):
    """Two lives of two steps (``lives``), or no end at all; every step pays 1; position is the step."""

    observation_space = spaces.Box(0, 1e6, (1,), np.float32)
    action_space = spaces.Discrete(2, start=10)

    def __init__(self, lives: bool = True, interrupt_at: int = -1) -> None:
        self.lives, self.interrupt_at, self.t, self.over = lives, interrupt_at, 0, True

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t, self.over = 0 if self.over else self.t, False
        return np.array([self.t], np.float32), {"position": self.t}

    def step(self, action: Any) -> Any:
        assert action in (10, 11)
        self.t += 1
        if self.t == self.interrupt_at:
            raise KeyboardInterrupt
        self.over = self.lives and self.t == 4
        lost = self.lives and self.t % 2 == 0
        info = {"position": self.t, "game_goes_on": lost and not self.over}
        return np.array([self.t], np.float32), 1.0, lost, False, info


gym.register("tests/Game-v0", entry_point=Game)  # type: ignore[arg-type]


class Diary(RLlibCallback):
    """Writes down what it is called with."""

    entries: list[tuple[str, int, int]] = []  # noqa: RUF012 - of all of them

    def _write(self, event: str, episode: Any, env_runner: Any, env: Any, env_index: int, rl_module: Any) -> None:
        assert isinstance(episode, SingleAgentEpisode) and env is env_runner.env.unwrapped
        assert rl_module is env_runner.module
        Diary.entries.append((event, env_index, len(episode)))

    def on_episode_created(self, *, metrics_logger: Any, **kwargs: Any) -> None:
        self._write("created", **kwargs)

    def on_episode_start(self, *, metrics_logger: Any, episode: Any, **kwargs: Any) -> None:
        episode.custom_data["steps"] = 0
        self._write("start", episode, **kwargs)

    def on_episode_step(self, *, metrics_logger: Any, episode: Any, **kwargs: Any) -> None:
        episode.custom_data["steps"] += 1
        self._write("step", episode, **kwargs)

    def on_episode_end(self, *, metrics_logger: Any, episode: Any, prev_episode_chunks: Any, **kwargs: Any) -> None:
        assert episode.is_done and prev_episode_chunks == [] and episode.custom_data["steps"] == len(episode)
        assert [info["position"] for info in episode.get_infos()] == list(range(len(episode) + 1))
        metrics_logger.log_value("my_return", episode.get_return(), window=100)
        self._write("end", episode, **kwargs)


def config(**env_config: Any) -> Any:
    made = small_config("IntrinsicPPO", env="tests/Game-v0").environment(env_config=env_config)
    return made.env_runners(num_envs_per_env_runner=2, rollout_fragment_length=3)


def runner(settings: Any, in_evaluation: bool = False) -> RolloutEnvRunner:
    settings = settings.copy(copy_frozen=False)
    settings.in_evaluation = in_evaluation
    return RolloutEnvRunner(config=settings, worker_index=0)


GAME = [("start", 0), *(("step", t) for t in (1, 2, 3, 4)), ("end", 4)]


def test_training_calls_them_in_order_across_rollouts_and_lives() -> None:
    Diary.entries.clear()
    player = runner(config().callbacks(Diary))
    for _ in range(4):  # 12 steps: a game is four steps and two that only reset
        player.sample()
    for i in range(2):
        assert [(e, n) for e, env, n in Diary.entries if env == i] == [
            *[("created", 0), *GAME] * 2,
            ("created", 0),
            ("start", 0),
        ]
    assert player.get_metrics()["my_return"].peek() == 4.0


def test_functions_are_called_too() -> None:
    lengths: list[int] = []
    player = runner(config().callbacks(on_episode_end=lambda *, episode, **_: lengths.append(len(episode))))
    player.sample()
    player.sample()
    assert lengths == [4, 4]
    assert player._stock.take_finished() == []  # none are kept


def test_a_restored_game_goes_on_in_its_middle() -> None:
    lengths: list[int] = []
    settings = small_config("IntrinsicPPO").env_runners(num_envs_per_env_runner=2, rollout_fragment_length=3)
    settings.callbacks(on_episode_end=lambda *, episode, **_: lengths.append(len(episode)))
    first, second = runner(settings), runner(settings)
    first.sample()  # 3 of the 5 steps of an episode
    second.sample()
    second.restore_play(first.play_state())
    second.sample()
    assert lengths == [2, 2]


def test_whoever_wants_no_episodes_pays_for_none() -> None:
    assert runner(config()).play.watcher is None


@pytest.mark.parametrize("num_episodes", [1, 3, 5])
def test_evaluation_plays_whole_games_and_a_share_in_each_environment(num_episodes: int) -> None:
    Diary.entries.clear()
    player = runner(config().callbacks(Diary), in_evaluation=True)
    episodes = player.sample(num_episodes=num_episodes)
    assert [(e.get_return(), len(e), e.is_terminated) for e in episodes] == [(4.0, 4, True)] * num_episodes
    ends = [env for event, env, _ in Diary.entries if event == "end"]
    assert [ends.count(i) for i in range(2)] == [num_episodes - num_episodes // 2, num_episodes // 2]
    metrics = player.get_metrics()
    assert (metrics["num_episodes"].peek(), metrics["episode_return_mean"].peek()) == (num_episodes, 4.0)
    assert metrics["my_return"].peek() == 4.0


def test_evaluation_by_steps_hands_out_episodes_in_parts() -> None:
    settings = config().evaluation(evaluation_force_reset_envs_before_iteration=False)
    player = runner(settings, in_evaluation=True)
    samples = [player.sample(num_timesteps=6) for _ in range(4)]
    assert [sum(map(len, parts)) for parts in samples] == [6] * 4  # steps that only reset are none
    assert len({part.id_ for parts in samples for part in parts}) == 6
    assert player.get_metrics()["episode_len_mean"].peek() == 4.0


def test_evaluation_that_was_not_planned_has_environments_of_its_own() -> None:
    """Training goes on as if it had not been; ``evaluation_config`` counts; metrics are those of the evaluation."""
    settings = config().callbacks(Diary).evaluation(evaluation_config={"explore": False}, evaluation_duration=3)
    algorithm, twin = settings.build_algo(), config().build_algo()
    Diary.entries.clear()
    frames = [one.env_runner.sample().frames for one in (algorithm, twin)]
    result = algorithm.evaluate()["env_runners"]
    assert (result["num_episodes"], result["my_return"], algorithm.eval_env_runner.config.explore) == (3, 4.0, False)
    frames += [one.env_runner.sample().frames for one in (algorithm, twin)]
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[2], frames[3])
    assert algorithm.evaluate()["env_runners"]["num_episodes"] == 3
    with pytest.raises(ValueError, match="evaluation has runners of its own"):
        algorithm.env_runner.sample(num_episodes=1)
    for one in (algorithm, twin):
        one.stop()


def test_evaluation_by_steps_begins_anew_where_that_is_asked_for() -> None:
    """Which RLlib tells remote runners only; episodes of DeepSea begin in its first cell."""
    settings = small_config("IntrinsicPPO").env_runners(num_envs_per_env_runner=2)
    for forced, rows in ((True, {0}), (False, {0, 3})):  # else those that go on from the third row, and new ones
        player = runner(settings.evaluation(evaluation_force_reset_envs_before_iteration=forced), in_evaluation=True)
        player.sample(num_timesteps=6)
        parts = player.sample(num_timesteps=6)
        assert {int(part.get_observations(0).argmax()) // 5 for part in parts} == rows


def test_an_endless_episode_of_evaluation_is_cut_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    settings = config(lives=False).training(max_evaluation_steps=7)
    player = runner(settings, in_evaluation=True)
    with caplog.at_level(logging.WARNING):
        episodes = player.sample(num_episodes=3)
    assert [(len(e), e.is_truncated, e.is_terminated) for e in episodes] == [(7, True, False)] * 3
    assert player.get_metrics()["episodes_cut"].peek() == 3
    assert "max_evaluation_steps = 7" in caplog.text


def test_the_command_cuts_it_too_and_can_be_interrupted() -> None:
    module = runner(config()).module
    for options, limit in ((EvaluateOptions(3, num_envs=2, max_steps=5), 5), (EvaluateOptions(3, num_envs=2), 9)):
        episodes = play(module, config(lives=False).training(max_evaluation_steps=9), options, seed=0)
        assert [(e.length, e.episode_return, e.cut) for e in episodes] == [(limit, float(limit), True)] * 3
    with pytest.raises(KeyboardInterrupt):
        play(module, config(lives=False, interrupt_at=20), EvaluateOptions(1), seed=0)
