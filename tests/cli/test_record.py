"""``rllib record``: the video of an episode, and that it shows what was played and what the learner computes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from rllib_rnd import checkpoints
from rllib_rnd.analysis.agent import Agent, reward_names
from rllib_rnd.analysis.figures.video import ContinuousPolicy, DiscretePolicy, Recording, decode_picture
from rllib_rnd.analysis.player import Player, PlayOptions
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.checkpoints import reading
from rllib_rnd.cli import app
from rllib_rnd.cli.record import output_path, recordings
from rllib_rnd.envs import make_env
from rllib_rnd.errors import ConfigError
from tests.conftest import small_config

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
pytestmark = pytest.mark.usefixtures("ray_session")

runner = CliRunner()
SIZE = 5  # of DeepSea: an episode has as many steps


def train(config: Any, path: Path) -> Path:
    algorithm = config.build_algo()
    try:
        algorithm.train()
        return Path(algorithm.save_to_path(path))
    finally:
        algorithm.stop()


@pytest.fixture(scope="module")
def deep_sea(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(small_config(), tmp_path_factory.mktemp("deep_sea") / "trained")


class Lives(gym.Env):
    """Two lives of three steps each; every step pays 1; the picture's red is the number of the observation."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012 - as gymnasium
    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gym.spaces.Discrete(2, start=10)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.t, self.seen = 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.seen = 0 if seed is not None else self.seen + 1
        self.t = 0 if seed is not None else self.t
        return self._obs(), {"room": self.t}

    def step(self, action: Any) -> Any:
        assert action in (10, 11)
        self.t, self.seen = self.t + 1, self.seen + 1
        done = self.t % 3 == 0
        return self._obs(), 1.0, done, False, {"room": self.t, "game_goes_on": done and self.t < 6}

    def _obs(self) -> np.ndarray:
        return np.array([self.t, self.seen, 1.0], dtype=np.float32)

    def render(self) -> Any:
        return np.full((10, 20, 3), (self.seen, 0, 0), dtype=np.uint8)


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    gym.register("Lives-v0", entry_point=lambda **kwargs: Lives(**kwargs))  # type: ignore[arg-type]
    yield train(small_config(env="Lives-v0"), tmp_path_factory.mktemp("lives") / "trained")
    del gym.registry["Lives-v0"]


def read(path: Path) -> tuple[dict[str, Any], list[bytes]]:
    reader = imageio_ffmpeg.read_frames(str(path))
    return next(reader), list(reader)


def invoke(*arguments: object) -> Any:
    return runner.invoke(app, ["record", *map(str, arguments)])


def by_hand(module: Any, frames_tp1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Raw and normalised RND rewards of the newest frames ``[T, ...]`` that the steps led to."""
    (reward,) = module.rewards()
    moments = reward.obs_moments
    x = (torch.as_tensor(frames_tp1).double() - moments.mean) / (moments.var.sqrt() + 1e-8)
    x = x.float().clamp(-5.0, 5.0)
    x = x[:, None] if x.ndim == 3 else x
    with torch.no_grad():
        raw = (reward.predictor(x) - reward.target(x)).square().mean(dim=1).numpy()
    return raw, raw / float(reward.reward_filter.std)


def assert_rewards(recording: Recording, module: Any, frames_tp1: np.ndarray) -> None:
    """The plots show the rewards of the steps that led to the observations; there is none at the first."""
    shown = [panel.lines["rnd"] for panel in recording.panels[2:]]
    for trace, expected in zip(shown, by_hand(module, frames_tp1), strict=True):
        assert np.isnan(trace[0])
        np.testing.assert_allclose(trace[1:], expected, rtol=2e-4)


# --- the command ------------------------------------------------------------------------------------------------


def test_the_command_writes_a_video(deep_sea: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "x.mp4"
    result = invoke(deep_sea, "--episodes", 2, "--out", out, "--height", 240)
    assert result.exit_code == 0, result.output
    meta, frames = read(out)
    assert meta["fps"] == 15 and meta["size"][1] == 240
    assert len(frames) == 2 * (SIZE + 1 + 15)  # the last observation is shown too, and stays for a second
    for text in (
        "gives no pictures",
        "episode 1: return",
        "episode 2: return",
        f", {SIZE} agent steps",
        f"{out}: 42 frames at 15 per second, {meta['size'][0]} x 240",
    ):
        assert text in result.output.replace("\n", ""), result.output


def test_the_same_seed_gives_the_same_frames(deep_sea: Path, tmp_path: Path) -> None:
    def frames(name: str, *options: object) -> list[bytes]:
        result = invoke(deep_sea, "--out", tmp_path / name, "--height", 240, *options)
        assert result.exit_code == 0, result.output
        return read(tmp_path / name)[1]

    first = frames("a.mp4", "--seed", 3)
    assert first == frames("b.mp4", "--seed", 3)
    assert first != frames("a.mp4", "--seed", 4)  # over the old one
    deterministic = frames("c.mp4", "--seed", 3, "--deterministic")
    assert len(deterministic) == SIZE + 1 + 15


def test_the_name_is_that_of_the_checkpoint(deep_sea: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(deep_sea, "--max-steps", 2, "--fps", 30, "--height", 240)
    assert result.exit_code == 0, result.output
    meta, frames = read(tmp_path / "trained.mp4")
    assert meta["fps"] == 30 and len(frames) == 3 + 30
    assert "2 agent steps (cut there by --max-steps)" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "x.avi"], "allowed is a file name that ends in .mp4"),
        (["--out", "/proc/x/y.mp4"], "cannot be written: No such file or directory; there is no such folder"),
        (["--episodes", 0], "--episodes"),
        (["--max-steps", 0], "--max-steps"),
        (["--fps", 0], "--fps"),
        (["--height", 100], "--height"),
        (["--seed", -1], "--seed"),
    ],
)
def test_mistakes_exit_2(deep_sea: Path, options: list[object], message: str) -> None:
    result = invoke(deep_sea, *options)
    assert result.exit_code == 2
    assert message in result.output and "Traceback" not in result.output


def test_a_bad_checkpoint_exits_2(tmp_path: Path) -> None:
    result = invoke(tmp_path / "nowhere")
    assert result.exit_code == 2 and "there is no such folder" in result.output


def test_a_missing_package_exits_2(deep_sea: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    result = invoke(deep_sea)
    assert result.exit_code == 2 and 'pip install "rllib_rnd[video]"' in result.output.replace("\n", "")


def test_other_algorithms_modules_are_refused(deep_sea: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "load_module", lambda folder: object())
    with pytest.raises(ConfigError, match="this package's algorithms"):
        Agent.load(deep_sea, "record")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").mkdir()
    with pytest.raises(
        ConfigError, match="cannot be written: Is a directory; that is a folder, not a file; name a file"
    ):
        output_path(str(tmp_path / "x.mp4"), "run")
    assert output_path(None, str(tmp_path)) == Path(f"{tmp_path.name}.mp4")


def test_reward_names_are_short_and_different() -> None:
    specs = [{"type": "rnd"}, {"type": "my.package:Counts"}, {"type": "rnd"}]
    assert reward_names(specs) == ["rnd 1", "Counts", "rnd 3"]


# --- what is shown ----------------------------------------------------------------------------------------------


def play_one(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Player, Tape, Recording]:
    player, tapes = Player(Agent.load(checkpoint, "record"), PlayOptions(**options)), []
    play = player.play

    def keep(seed: int) -> Tape:
        tapes.append(play(seed))
        return tapes[-1]

    monkeypatch.setattr(player, "play", keep)
    (recording,) = recordings(player, 1)
    return player, tapes[0], recording


def test_the_rewards_are_the_modules_and_its_statistics_stay(deep_sea: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = checkpoints.load_module(deep_sea).state_dict()
    player, tape, recording = play_one(deep_sea, monkeypatch)
    after = player.agent.module.state_dict()
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name], after[name]), name

    env = make_env("rllib_rnd/DeepSea-v0", {"size": SIZE})
    played = [env.reset()[0]]
    steps = [env.step(int(action)) for action in tape.action]
    played += [step[0] for step in steps]
    assert_rewards(recording, player.agent.module, np.stack(played[1:]))
    assert tape.reward == [step[1] for step in steps]
    with torch.no_grad():
        logits, values, _ = player.agent.module.policy_and_values(torch.as_tensor(np.stack(played)))
    np.testing.assert_allclose(recording.panels[0].lines[""], values[:, 0], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(recording.panels[1].lines["rnd"], values[:, 1], rtol=1e-4, atol=1e-7)
    assert isinstance(recording.policy, DiscretePolicy)
    np.testing.assert_allclose(recording.policy.probabilities, torch.softmax(logits, dim=1), rtol=1e-5)
    assert recording.policy.chosen.tolist() == [*map(int, tape.action), -1]
    for t, obs in enumerate(played):
        assert (recording.frames(t) == obs).all()
    assert recording.pictures is None


def test_stacked_frames_rooms_and_action_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_config = {"frame_size": 36, "stack_order": "newest_first"}
    config = small_config(env="ALE/MontezumaRevenge-v5", warmup_steps=2, num_epochs=1)
    config.environment(env_config=env_config).env_runners(num_envs_per_env_runner=2, rollout_fragment_length=4)
    player, tape, recording = play_one(train(config, tmp_path / "c"), monkeypatch, seed=5, max_steps=8)

    env = make_env("ALE/MontezumaRevenge-v5", env_config, render_mode="rgb_array")
    obs = [env.reset(seed=5)[0]]
    screens: list[Any] = [env.render()]
    for action in tape.action:
        obs.append(env.step(int(action))[0])
        screens.append(env.render())
    assert_rewards(recording, player.agent.module, np.stack([o[0] for o in obs[1:]]))
    assert recording.pictures is not None and player.fps == 15
    for t in range(9):
        np.testing.assert_array_equal(recording.frames(t), obs[t][::-1])  # oldest first, as time goes
        np.testing.assert_array_equal(decode_picture(recording.pictures[t]), screens[t])
    assert recording.facts["room"] == ["1  (1 visited)"] * 9
    assert isinstance(recording.policy, DiscretePolicy)
    assert recording.policy.names[:3] == ["NOOP", "FIRE", "UP"] and len(recording.policy.names) == 18
    assert recording.facts["action"][0] == recording.policy.names[int(tape.action[0])]
    assert not tape.finished


def test_all_lives_of_a_game_are_one_episode(lives: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    player, tape, recording = play_one(lives, monkeypatch)
    assert player.fps == 7
    assert tape.finished and sum(tape.reward) == 6.0 and tape.valid.sum() == 6
    assert recording.steps.tolist() == [0, 1, 2, 3, 3, 4, 5, 6]  # the second 3: the next life begins
    assert tape.rooms_visited == list(range(7))
    assert recording.facts["return"][3:5] == ["3  (+1)", "3"]
    assert [a == "-" for a in recording.facts["action"]] == [False, False, False, True, False, False, False, True]
    assert {a for a in recording.facts["action"] if a != "-"} <= {"10", "11"}
    assert recording.pictures is not None
    assert [int(decode_picture(p)[0, 0, 0]) for p in recording.pictures] == list(range(8))
    raw = recording.panels[2].lines["rnd"]
    assert np.flatnonzero(np.isnan(raw)).tolist() == [0, 4]
    frames = np.stack([recording.frames(t)[0] for t in range(8)])
    np.testing.assert_allclose(
        raw[[1, 2, 3, 5, 6, 7]], by_hand(player.agent.module, frames)[0][[1, 2, 3, 5, 6, 7]], rtol=2e-4
    )


def test_continuous_actions_and_no_intrinsic_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config("IntrinsicPPO", env="rllib_rnd/PointMaze-v0", intrinsic_reward=[])
    player, tape, recording = play_one(train(config, tmp_path / "c"), monkeypatch, max_steps=6)
    policy = recording.policy
    assert isinstance(policy, ContinuousPolicy)
    np.testing.assert_array_equal(policy.action[:-1], np.stack(tape.action))
    assert np.isnan(policy.action[-1]).all()
    np.testing.assert_allclose(policy.std, np.exp(player.agent.module.log_std.detach().numpy())[None].repeat(7, axis=0))
    assert [panel.title for panel in recording.panels] == ["extrinsic value", "return so far"]
    sent = np.array([text.split() for text in recording.facts["action"][:-1]], dtype=float)
    np.testing.assert_allclose(sent, np.clip(np.stack(tape.action), -1, 1), atol=0.006)
    assert player.fps == 20


class Pairs(gym.Env):
    """Three steps of two choices that do not begin at 0, of which it refuses all others."""

    observation_space = gym.spaces.Discrete(4)
    action_space = gym.spaces.MultiDiscrete([2, 3], start=[5, -1])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return 0, {}

    def step(self, action: np.ndarray) -> tuple[int, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.t += 1
        return self.t, 1.0, self.t == 3, False, {}


def test_several_choices_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config("IntrinsicPPO", env="tests.cli.test_record:Pairs", intrinsic_reward={"type": "icm"})
    _, tape, recording = play_one(train(config, tmp_path / "c"), monkeypatch)
    policy = recording.policy
    assert isinstance(policy, DiscretePolicy) and policy.names == ["0: 5", "0: 6", "1: -1", "1: 0", "1: 1"]
    np.testing.assert_allclose(policy.probabilities[:, :2].sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(policy.probabilities[:, 2:].sum(1), 1.0, rtol=1e-5)
    taken = np.stack(tape.action)
    assert policy.chosen.tolist() == [*[[first, 2 + second] for first, second in taken], [-1, -1]]
    sent = [[int(part) for part in text.split()] for text in recording.facts["action"][:-1]]
    assert sent == [[first + 5, second - 1] for first, second in taken] and recording.facts["action"][-1] == "-"
