"""States: what a tape holds, by index of time; parts of them; observations of which nothing else is known."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.analysis.states import States, states_between
from rllib_rnd.analysis.tape import Tape
from rllib_rnd.errors import ConfigError
from tests.analysis.agents import make_agent, one_thread, random_obs, random_states
from tests.analysis.playing import sizes_gathered

__all__ = ["one_thread"]  # a fixture
pytestmark = pytest.mark.usefixtures("one_thread")


def tape() -> Tape:
    """Five observations of two frames; a life ends with step 1, step 2 resets, frame t holds t."""
    tape = Tape(frame_stack=2, newest_first=False)
    is_first = [True, False, False, True, False]
    for t in range(5):
        tape.add_frames(np.full((2, 3, 3), t, np.uint8))
        tape.is_first.append(is_first[t])
        tape.memory.append(np.full(2, 0.1 * t, np.float32))
        tape.rooms.append(None if t == 1 else 7)
        tape.add_outlook(np.zeros(4, np.float32), np.zeros(1, np.float32))
    for t in range(4):
        tape.action.append(np.array(t + 1))
        tape.logp.append(0.0)
        tape.reward.append(0.0)
        tape.terminated.append(t == 1)
        tape.truncated.append(False)
    return tape


def test_state_t_is_observation_t_of_the_tape() -> None:
    states = States.of_tape(tape(), episode=3)
    assert len(states) == 4
    # The first observation of a tape is all of its frames; that of a life repeats its own.
    assert states.obs[:, :, 0, 0].tolist() == [[0, 0], [0, 1], [1, 2], [3, 3]]
    assert states.obs_tm1[:, :, 0, 0].tolist() == [[0, 0], [0, 0], [0, 1], [3, 3]]
    assert states.is_first.tolist() == [True, False, False, True]
    assert states.action.tolist() == [1, 2, 3, 4]
    assert states.action_tm1.tolist() == [0, 1, 2, 0]
    assert states.step.tolist() == [0, 1, 2, 2]  # the reset step is none of the agent's
    assert states.room.tolist() == [7, -1, 7, 7]
    assert states.episode.tolist() == [3, 3, 3, 3]
    np.testing.assert_allclose(states.memory[:, 0], [0.0, 0.1, 0.2, 0.3], atol=1e-6)


def test_states_of_a_part_are_those_of_the_whole() -> None:
    tape = Tape(frame_stack=3, newest_first=True)
    rng = np.random.default_rng(0)
    is_first = [True, False, False, False, True, False, False, True, False]
    for t, first in enumerate(is_first):
        tape.add_frames(rng.integers(0, 255, (3, 4, 4), dtype=np.uint8))
        tape.is_first.append(first)
        tape.memory.append(rng.random(2).astype(np.float32))
        tape.rooms.append(t)
        tape.add_outlook(np.zeros(3, np.float32), np.zeros(1, np.float32))
        if t < 8:
            tape.action.append(np.array(t))
            tape.logp.append(0.0)
            tape.reward.append(0.0)
            tape.terminated.append(is_first[t + 1])
            tape.truncated.append(False)
    whole = States.of_tape(tape, 4)
    for start in range(8):
        for stop in range(start + 1, 9):
            part = states_between(tape, start, stop, 4)
            for name, column in vars(whole.select(np.arange(start, stop))).items():
                np.testing.assert_array_equal(getattr(part, name), column, err_msg=f"{name} of {start} to {stop}")


@pytest.mark.parametrize("index", [[0], [3, 1, 1], [2, 0, 3], []])
def test_those_asked_for_are_gathered_and_no_others(index: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = States.of_tape(tape(), episode=3).select(index)
    gathered = sizes_gathered(monkeypatch)
    found = States.of_tape(tape(), 3, index)
    assert gathered == [len(index)] * 2  # the observations, and those before them
    for name, column in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), column, err_msg=name)
        assert getattr(found, name).dtype == column.dtype, name


def test_selected_and_joined() -> None:
    states = States.of_tape(tape())
    picked = states.select([3, 0])
    assert picked.action.tolist() == [4, 1] and len(picked) == 2
    assert states.select(states.is_first).action.tolist() == [1, 4]
    assert States.join([picked, states]).action.tolist() == [4, 1, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="nothing to join"):
        States.join([])


def test_columns_have_one_length() -> None:
    states = States.of_tape(tape())
    columns = dict(vars(states)) | {"room": states.room[:1]}
    with pytest.raises(ValueError, match="different lengths"):
        States(**columns)


def test_observations_alone_get_the_likeliest_action() -> None:
    agent = make_agent(backbone={"type": "nature_cnn", "hidden_sizes": [8]})
    obs = random_obs(agent.module.backbone.observation_space, 3)
    states = States.of_observations(obs, agent)
    logits = agent.module.policy_and_values(torch.from_numpy(obs))[0]
    assert states.action.tolist() == logits.argmax(dim=1).tolist()
    assert states.is_first.all() and states.episode.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(states.obs_tm1, obs)


def test_memory_of_observations_alone_is_empty() -> None:
    space = gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)
    agent = make_agent(space, backbone={"type": "gru", "memory_size": 8}, frame_stack=1)
    states = States.of_observations(random_obs(space, 2), agent)
    assert states.memory.shape == (2, 8) and not states.memory.any()


@pytest.mark.parametrize(
    ("obs", "problem"),
    [
        (np.zeros((2, 44, 44), np.uint8), r"shape \[2, 44, 44\]"),
        (np.zeros((0, 2, 44, 44), np.uint8), r"shape \[0, 2"),
        (np.zeros((1, 2, 44, 44), np.float32), "type float32"),
    ],
)
def test_other_observations_are_refused(obs: np.ndarray, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        States.of_observations(obs, make_agent(backbone={"type": "nature_cnn", "hidden_sizes": [8]}))


def test_numbers_that_are_none_are_refused() -> None:
    space = gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)
    agent = make_agent(space, backbone="mlp", frame_stack=1)
    with pytest.raises(ConfigError, match="NaN"):
        States.of_observations(np.full((1, 5), np.nan, np.float32), agent)


def test_random_states_fit_their_agent(tmp_path: Path) -> None:
    states = random_states(make_agent(backbone={"type": "nature_cnn", "hidden_sizes": [8]}), 3)
    assert states.obs.shape == (3, 2, 44, 44) and states.memory.shape == (3, 0)
