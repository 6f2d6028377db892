"""Tapes in files: what comes out is what went in; what is none is refused; another agent's view of the same episode."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.replay import replay
from rllib_rnd.analysis.tape import Tape, intrinsic_rewards
from rllib_rnd.analysis.tape_file import load_observations, load_tape, save_tape
from rllib_rnd.errors import ConfigError
from tests.analysis.playing import agent_in, play

ATARI = {"frame_size": 36, "max_frames": 40, "actions": ["NOOP", "LEFT", "RIGHT"]}
SMALL_RND = {"type": "rnd", "feature_dim": 4, "hidden_sizes": [4]}


@pytest.fixture(scope="module")
def montezuma() -> Agent:
    return agent_in("ALE/MontezumaRevenge-v5", ATARI, {"type": "mlp", "hidden_sizes": [4]})


@pytest.fixture(scope="module")
def deep_sea() -> Agent:
    return agent_in(env_config={"size": 5}, rewards=[SMALL_RND])


def assert_same(tape: Tape, other: Tape) -> None:
    for field in dataclasses.fields(Tape):
        ours, theirs = getattr(tape, field.name), getattr(other, field.name)
        if field.name in ("frames", "memory", "dist_inputs", "value", "pictures", "action"):
            assert [np.asarray(x).dtype for x in ours] == [np.asarray(x).dtype for x in theirs], field.name
            assert all(map(np.array_equal, ours, theirs)) and len(ours) == len(theirs), field.name
        else:
            assert ours == theirs, field.name


def test_a_tape_comes_back_exactly_as_it_was(montezuma: Agent, tmp_path: Path) -> None:
    """Stacked frames, pictures, rooms and lives."""
    tape = play(montezuma, seed=3)
    assert len(tape.pictures) == 11 and tape.rooms[0] == 1 and tape.lives[-1] == 6 and tape.seed == 3
    for name in ("a.npz", "b.npz"):
        save_tape(tmp_path / name, tape, montezuma)
    assert_same(load_tape(tmp_path / "a.npz", montezuma), tape)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_tape_without_pictures_and_rooms_comes_back(deep_sea: Agent, tmp_path: Path) -> None:
    tape = play(deep_sea)
    tape.seed = None
    tape.positions[2] = None
    save_tape(tmp_path / "a.npz", tape, deep_sea)
    loaded = load_tape(tmp_path / "a.npz", deep_sea)
    assert_same(loaded, tape)
    assert not loaded.pictures and loaded.rooms == [None] * 6 and loaded.positions[1] is not None


def refusal(path: Path, agent: Agent) -> str:
    with pytest.raises(ConfigError) as caught:
        load_tape(path, agent)
    message = str(caught.value)
    assert message.startswith(f"--tape {path}: ") and "\n" not in message
    return message


def test_tapes_of_other_spaces_are_refused(montezuma: Agent, deep_sea: Agent, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_tape(path, play(deep_sea), deep_sea)
    assert "holds observations uint8 [25], 0 to 1 of rllib_rnd/DeepSea-v0" in refusal(path, montezuma)
    assert "those of ALE/MontezumaRevenge-v5: uint8 [4, 36, 36], 0 to 255." in refusal(path, montezuma)
    save_tape(path, play(montezuma), montezuma)
    other = agent_in("ALE/MontezumaRevenge-v5", {**ATARI, "actions": ["NOOP", "FIRE"]})
    assert "actions of Discrete(3) (ALE/MontezumaRevenge-v5); allowed is those of" in refusal(path, other)
    other = agent_in("ALE/MontezumaRevenge-v5", {**ATARI, "stack_order": "newest_first"})
    assert "stacks of 4 frames, the newest last; allowed is stacks of 4 frames, the newest first" in refusal(
        path, other
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": np.int64(2)}, "is a tape of format 2, which this version does not read; allowed is format 1."),
        ({"value": None}, "is no whole tape: without the array 'value'"),
        ({"frames": None}, "is no whole tape: without the array 'frames'"),
        ({"format": None}, "is no tape; allowed is a .npz file that `rllib explain` has written of an episode."),
        ({"reward": np.zeros(3)}, "its array 'frames' is uint8 [6, 25]; allowed is numbers [4, 25]."),
        ({"is_first": np.zeros(6)}, "its array 'is_first' is float64 [6]; allowed is bool [6]."),
        (
            {"value": np.zeros((6, 2, 2))},
            "its array 'value' is float64 [6, 2, 2]; allowed is a type of floats [6, any].",
        ),
        ({"rooms": np.zeros(2, dtype=np.int64)}, "its array 'rooms' is int64 [2]; allowed is int64 [6]."),
        ({"frames": np.zeros((6, 25), np.float32)}, "holds observations float32 [25], 0 to 1 of rllib_rnd/DeepSea-v0"),
        ({"env": np.array(["a", "b"])}, "its 'env' is an array [2]; allowed is one value."),
        ({"frames": np.array([None] * 6)}, "cannot be read (it is another kind of file, or holds objects)"),
    ],
)
def test_broken_tapes_are_refused(deep_sea: Agent, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.npz"
    save_tape(path, play(deep_sea), deep_sea)
    with np.load(path) as file:
        arrays = {**file, **change}
    with path.open("wb") as out:
        np.savez(out, **{name: array for name, array in arrays.items() if array is not None})
    assert message in refusal(path, deep_sea)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    cart_pole = agent_in("CartPole-v1")
    tape = play(cart_pole, max_steps=3)
    tape.frames[1] = np.full_like(tape.frames[1], np.nan)
    save_tape(tmp_path / "a.npz", tape, cart_pole)
    assert "its observations hold numbers that are none (NaN, infinite)" in refusal(tmp_path / "a.npz", cart_pole)


def test_what_is_no_file_of_arrays_is_refused(deep_sea: Agent, tmp_path: Path) -> None:
    assert "there is no such file; allowed is a file" in refusal(tmp_path / "none.npz", deep_sea)
    assert "is a folder" in refusal(tmp_path, deep_sea)
    for name, content in {"text.npz": b"a,b\n1,2\n", "empty.npz": b"", "cut.npz": b"PK\x03\x04cut"}.items():
        (tmp_path / name).write_bytes(content)
        assert "cannot be read (" in refusal(tmp_path / name, deep_sea)
    np.save(tmp_path / "a.npy", np.zeros(3))
    assert "is no tape" in refusal(tmp_path / "a.npy", deep_sea)


# --- observations -----------------------------------------------------------------------------------------------


def test_observations_of_many_files_in_the_order_of_their_numbers(montezuma: Agent, tmp_path: Path) -> None:
    """Bytes that were stored as floats count; a .npz file may hold several."""
    for i in (1, 2, 10):
        np.save(tmp_path / f"Game_obs_{i}.npy", np.full((1, 4, 36, 36), i, dtype=np.float32 if i == 2 else np.uint8))
    np.savez(tmp_path / "more.npz", obs=np.full((2, 4, 36, 36), 7, dtype=np.int64), room=np.zeros(2))
    obs, origins = load_observations([f"{tmp_path}/Game_obs_*.npy", str(tmp_path / "more.npz")], montezuma)
    assert obs.dtype == np.uint8 and obs.shape == (5, 4, 36, 36)
    assert obs[:, 0, 0, 0].tolist() == [1, 2, 10, 7, 7]
    assert origins[1:4] == [("Game_obs_2.npy", 0), ("Game_obs_10.npy", 0), ("more.npz", 0)]


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (np.zeros((4, 36, 36), np.uint8), "observations of shape [4, 36, 36]; allowed is uint8 [B, 4, 36, 36]"),
        (np.zeros((0, 4, 36, 36), np.uint8), "observations of shape [0, 4, 36, 36]; allowed is"),
        (np.zeros((1, 4, 84, 84), np.uint8), "observations of shape [1, 4, 84, 84]; allowed is"),
        (np.full((1, 4, 36, 36), 0.5), "observations float64 from 0.5 to 0.5 that are not all whole numbers"),
        (np.full((1, 4, 36, 36), 256), "observations int64 from 256 to 256 that are not"),
        (np.full((1, 4, 36, 36), np.nan), "observations hold numbers that are none (NaN, infinite)"),
        (np.full((1, 4, 36, 36), "a"), "observations of type <U1"),
    ],
)
def test_other_observations_are_refused(montezuma: Agent, tmp_path: Path, obs: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", obs)
    with pytest.raises(ConfigError, match=r"^--states .*a\.npy: ") as caught:
        load_observations([str(tmp_path / "a.npy")], montezuma)
    assert message in str(caught.value)


def test_missing_observations_are_refused(montezuma: Agent, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", observations=np.zeros(3))
    with pytest.raises(ConfigError, match=r"has no array 'obs' \(it has: observations\)"):
        load_observations([str(tmp_path / "a.npz")], montezuma)
    with pytest.raises(ConfigError, match=r"^--states .*/\*\.npy: no file is called so"):
        load_observations([f"{tmp_path}/*.npy"], montezuma)
    with pytest.raises(ConfigError, match="there is no such file"):
        load_observations([str(tmp_path / "none.npy")], montezuma)


# --- replay -----------------------------------------------------------------------------------------------------

BACKBONES: dict[str, dict[str, Any]] = {
    "feed-forward": {"type": "mlp", "hidden_sizes": [8]},
    "recurrent": {"type": "gru", "hidden_sizes": [8], "memory_size": 6},
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_players_own_view_comes_out_again(kind: str) -> None:
    """A stack of frames and, with a GRU, a memory that is rebuilt from the first observation on."""
    config = {**ATARI, "terminal_on_life_loss": True}
    agent = agent_in("ALE/MontezumaRevenge-v5", config, BACKBONES[kind], [SMALL_RND])
    tape = play(agent, seed=1)
    blank = dataclasses.replace(tape, memory=[], dist_inputs=[], value=[np.zeros(2, np.float32)] * 11, logp=[0.0] * 10)
    seen = replay(agent, blank)
    for name in ("memory", "dist_inputs", "value", "logp"):
        np.testing.assert_allclose(getattr(seen, name), getattr(tape, name), atol=1e-5, err_msg=name)
    assert np.ptp(np.stack(tape.value), axis=0).min() > 0
    assert not np.any(blank.value)  # the tape itself stays


def test_a_memory_begins_anew_with_every_life() -> None:
    agent = agent_in(env_config={"size": 3}, backbone=BACKBONES["recurrent"])
    tape = play(agent)
    joined = dataclasses.replace(tape, frames=tape.frames * 2, is_first=tape.is_first * 2, value=tape.value * 2)
    for name in ("action", "logp", "reward", "terminated", "truncated"):
        column = getattr(tape, name)
        setattr(joined, name, [*column, column[0], *column])  # between them the step that only resets
    seen = replay(agent, joined)
    np.testing.assert_allclose(seen.value[:4], tape.value, atol=1e-6)
    np.testing.assert_allclose(seen.value[4:], tape.value, atol=1e-6)
    assert np.abs(seen.memory[4] - seen.memory[0]).max() > 0.01


def test_another_agent_sees_the_same_episode_in_its_own_way(deep_sea: Agent, tmp_path: Path) -> None:
    tape = play(deep_sea)
    save_tape(tmp_path / "a.npz", tape, deep_sea)
    other = agent_in(env_config={"size": 5}, backbone=BACKBONES["recurrent"], rewards=[SMALL_RND, SMALL_RND], seed=1)
    seen = replay(other, load_tape(tmp_path / "a.npz", other))
    assert np.stack(seen.value).shape == (6, 3) and np.stack(seen.memory).shape == (6, 6)
    assert intrinsic_rewards(other.module, seen.rollout())[0].shape == (5, 2)
    for name in ("frames", "action", "reward", "positions"):
        assert all(map(np.array_equal, getattr(seen, name), getattr(tape, name)))
