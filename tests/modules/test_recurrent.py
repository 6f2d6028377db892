"""Memory: sequences equal steps, nothing leaks over an episode's end, gradients flow back through time."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules import build_backbone
from rllib_rnd.modules.backbone import Backbone
from rllib_rnd.modules.recurrent import Memory

VECTOR = gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)
IMAGE = gym.spaces.Box(0, 255, (2, 44, 36), np.uint8)
SMALL: dict[str, Any] = {"hidden_sizes": [12], "memory_size": 6, "max_seq_len": 4}
SPECS: list[dict[str, Any]] = [
    {"type": "gru", **SMALL},
    {"type": "lstm", **SMALL},
    {"type": "gru", **SMALL, "hidden_sizes": []},
    {"type": "iam", **SMALL, "d_set": "static"},
    {"type": "iam", **SMALL, "d_set": "static", "d_set_indices": [0, 1]},
    {"type": "iam", **SMALL, "d_set": "linear", "d_set_size": 3},
    {"type": "iam", **SMALL, "d_set": "attention", "attention_size": 7},
    {"type": "iam", **SMALL, "d_set": "attention", "num_heads": 2, "cell": "lstm"},
]
CASES = [(spec, space) for spec in SPECS for space in (VECTOR, IMAGE)]
NAMES = [f"{s['type']}-{s.get('d_set', s['hidden_sizes'])}-{len(space.shape)}d" for s, space in CASES]
both = pytest.mark.parametrize(("spec", "space"), CASES, ids=NAMES)


def sample(space: gym.spaces.Box, batch: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    if space.dtype == np.uint8:
        return torch.from_numpy(rng.integers(0, 256, (batch, *space.shape), dtype=np.uint8))
    return torch.from_numpy(rng.normal(size=(batch, *space.shape)).astype(np.float32))


def sequence(spec: dict[str, Any], space: gym.spaces.Box, steps: int = 4, envs: int = 3) -> Any:
    """A backbone, observations ``[L * N, ...]``, a start state, and flags with an episode's begin at (2, 1)."""
    torch.manual_seed(0)
    backbone = build_backbone(spec, space)
    state = torch.randn(envs, backbone.state_size)
    is_first = torch.zeros((steps, envs), dtype=torch.bool)
    is_first[2, 1] = True
    return backbone, sample(space, steps * envs), state, is_first


@both
def test_a_sequence_equals_its_steps(spec: dict[str, Any], space: gym.spaces.Box) -> None:
    backbone, obs, state, is_first = sequence(spec, space)
    whole = backbone(obs, state, is_first)
    assert whole.policy.shape == (12, backbone.feature_dim) and whole.state.shape == state.shape
    steps = []
    for t in range(4):
        output = backbone(obs[3 * t : 3 * t + 3], state, is_first[t : t + 1])
        steps.append(output.policy)
        state = output.state
    torch.testing.assert_close(whole.policy, torch.cat(steps), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(whole.state, state, atol=1e-5, rtol=1e-4)


@both
def test_nothing_leaks_over_an_episodes_end(spec: dict[str, Any], space: gym.spaces.Box) -> None:
    backbone, obs, state, is_first = sequence(spec, space)
    before = backbone(obs, state, is_first)
    other = obs.clone()
    other[[1, 4]] = obs[[4, 1]]  # environment 1, the two steps before its new episode
    after = backbone(other, state + 1.0, is_first)
    # Features of environment 1 from step 2 on are the same to the bit, as is its last state; those before differ.
    assert torch.equal(before.policy[[7, 10]], after.policy[[7, 10]])
    assert torch.equal(before.state[1], after.state[1])
    assert not torch.allclose(before.policy[[1, 4]], after.policy[[1, 4]])
    # Where no episode begins the start state matters to the end.
    assert not torch.allclose(before.state[0], after.state[0])


@both
def test_environments_do_not_mix(spec: dict[str, Any], space: gym.spaces.Box) -> None:
    backbone, obs, state, is_first = sequence(spec, space)
    whole = backbone(obs, state, is_first).policy.view(4, 3, -1)
    alone = backbone(obs[1::3], state[1:2], is_first[:, 1:2]).policy
    torch.testing.assert_close(whole[:, 1], alone, atol=1e-5, rtol=1e-4)


@both
def test_gradients_of_the_last_step_reach_every_parameter_and_the_first_observation(
    spec: dict[str, Any], space: gym.spaces.Box
) -> None:
    floats = gym.spaces.Box(0.0, 1.0, space.shape, np.float32)
    backbone, obs, state, is_first = sequence(spec, floats)
    obs.requires_grad_()
    backbone(obs, state, is_first).policy[9:].square().sum().backward()  # step 3
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert obs.grad is not None
    per_step = obs.grad.flatten(1).abs().sum(dim=1).view(4, 3)
    assert (per_step[:, [0, 2]] > 0).all(), "through time, to the first step"
    assert (per_step[:2, 1] == 0).all() and (per_step[2:, 1] > 0).all(), "but not into the episode before"


@both
def test_a_single_step_needs_neither_state_nor_flags(spec: dict[str, Any], space: gym.spaces.Box) -> None:
    backbone, obs, state, _ = sequence(spec, space)
    first = torch.ones((1, 3), dtype=torch.bool)
    torch.testing.assert_close(backbone(obs[:3]).policy, backbone(obs[:3], state, first).policy)


def test_the_attention_is_trained_through_time() -> None:
    """The memory's part in the scores gets a gradient only from the second step on: before it the memory is empty."""
    spec = {"type": "iam", **SMALL, "d_set": "attention"}
    backbone, obs, _, _ = sequence(spec, IMAGE)
    from_memory: Any = backbone.get_submodule("d_set.memory").weight
    begin = torch.zeros((1, 3), dtype=torch.bool)
    (grad,) = torch.autograd.grad(backbone(obs[:3], None, begin).policy.sum(), from_memory)
    assert not grad.any()
    flags = torch.zeros((4, 3), dtype=torch.bool)
    (grad,) = torch.autograd.grad(backbone(obs, None, flags).policy[9:].sum(), from_memory)
    assert grad.any()


def test_gru_and_lstm_are_the_textbooks() -> None:
    """Cho et al. 2014 in torch's form: h' = (1 - z) n + z h; LSTM: c' = f c + i g, h' = o tanh(c')."""
    torch.manual_seed(0)
    x, state = torch.randn(2, 3), torch.randn(2, 4)
    memory = Memory("gru", 3, 4)
    w_i, w_h = memory.cell.weight_ih.chunk(3), memory.cell.weight_hh.chunk(3)
    r = torch.sigmoid(x @ w_i[0].T + state @ w_h[0].T)
    z = torch.sigmoid(x @ w_i[1].T + state @ w_h[1].T)
    n = torch.tanh(x @ w_i[2].T + r * (state @ w_h[2].T))
    torch.testing.assert_close(memory.step(x, state), (1 - z) * n + z * state)

    memory, state = Memory("lstm", 3, 2), torch.randn(2, 4)
    h, c = state.chunk(2, dim=1)
    w_i, w_h = memory.cell.weight_ih.chunk(4), memory.cell.weight_hh.chunk(4)
    i, f, g, o = (x @ a.T + h @ b.T for a, b in zip(w_i, w_h, strict=True))
    c = torch.sigmoid(f + 1.0) * c + torch.sigmoid(i) * torch.tanh(g)  # forget bias 1
    expected = torch.cat([torch.sigmoid(o) * torch.tanh(c), c], dim=1)
    torch.testing.assert_close(memory.step(x, state), expected)
    torch.testing.assert_close(memory.output(expected), expected[:, :2])


def count(backbone: Backbone, part: str) -> int:
    return sum(p.numel() for p in backbone.get_submodule(part).parameters())


def test_sizes_are_those_of_the_reproductions() -> None:
    warehouse = gym.spaces.Box(0, 1, (73,), np.uint8)
    assert count(build_backbone("fnn", warehouse), "") == 73 * 512 + 512 + 512 * 256 + 256 + 256 * 64 + 64 == 185_664
    assert count(build_backbone("gru", warehouse), "") == 3 * (64 * 73 + 64 * 64 + 2 * 64) == 26_688
    items = [0, *range(49, 73)]
    iam = build_backbone({"type": "iam", "d_set": "static", "d_set_indices": items}, warehouse)
    assert count(iam, "memory") == 17_472 and count(iam, "encoder") == 185_664 and iam.feature_dim == 128
    atari = build_backbone({"type": "iam", "hidden_sizes": [64, 64, 64]}, gym.spaces.Box(0, 255, (4, 84, 84), np.uint8))
    # 49 positions of 64 features; [d, alpha] is 64 + 49 wide; scores: 64 -> 128 with bias, 64 -> 128, 128 -> 1.
    assert count(atari, "memory") == 3 * (64 * 113 + 64 * 64 + 2 * 64)
    assert count(atari, "d_set") == 64 * 128 + 128 + 64 * 128 + 128 + 1


def test_attention_is_the_formula_and_its_weights_are_told() -> None:
    backbone, obs, state, is_first = sequence({"type": "iam", **SMALL, "attention_size": 5}, IMAGE)
    alpha = backbone.attention_weights(obs, state, is_first)["d_set"]
    assert alpha.shape == (12, 1, 2)  # 44 x 36 pixels leave 2 x 1 positions
    torch.testing.assert_close(alpha.sum(dim=-1), torch.ones(12, 1))
    d_set: Any = backbone.get_submodule("d_set")
    entries = backbone.encoder.entries(obs[:3])
    e = torch.stack(
        [
            d_set.scores[0](torch.tanh(d_set.values(entries[:, i]) + d_set.memory(state)))[:, 0]
            for i in range(entries.shape[1])
        ],
        dim=1,
    )
    expected = torch.softmax(e, dim=1)
    torch.testing.assert_close(alpha[:3, 0], expected)
    read = d_set.read(d_set.prepare(entries), state)
    d = (expected[:, :, None] * entries).sum(dim=1)
    torch.testing.assert_close(read, torch.cat([d, expected], dim=1))


def test_attention_over_variables_weighs_each_by_its_own_score() -> None:
    backbone, obs, state, is_first = sequence({"type": "iam", **SMALL, "num_heads": 2}, VECTOR)
    alpha = backbone.attention_weights(obs, state, is_first)["d_set"]
    assert alpha.shape == (12, 2, 5)
    d_set: Any = backbone.get_submodule("d_set")
    hidden = torch.tanh(d_set.values(obs[:3]) + d_set.memory(state)).chunk(2, dim=1)
    for head in range(2):
        expected = torch.softmax(d_set.scores[head](hidden[head]), dim=1)
        torch.testing.assert_close(alpha[:3, head], expected)
    read = d_set.read(d_set.prepare(backbone.encoder.entries(obs[:3])), state).view(3, 2, 6)
    torch.testing.assert_close(read[:, :, 0], (alpha[:3] * obs[:3, None]).sum(dim=2))
    torch.testing.assert_close(read[:, :, 1:], alpha[:3])


def test_a_static_d_set_shows_the_memory_its_entries_alone() -> None:
    spec = {"type": "iam", **SMALL, "d_set": "static", "d_set_indices": [1, 3]}
    backbone, obs, state, is_first = sequence(spec, VECTOR)
    after = backbone(obs, state, is_first).state
    hidden, seen = obs.clone(), obs.clone()
    hidden[:, [0, 2, 4]] += 1.0
    seen[:, 3] += 1.0
    assert torch.equal(backbone(hidden, state, is_first).state, after)
    assert not torch.allclose(backbone(seen, state, is_first).state, after)
    assert backbone.attention_weights(obs, state, is_first) == {}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "iam", "d_set": "statik"}, "Did you mean 'static'"),
        ({"type": "iam", "d_set": "static", "d_set_indices": [5]}, r"d_set_indices: \[5\].*0 to 4"),
        ({"type": "iam", "d_set": "static", "d_set_indices": []}, "d_set_indices.*one or more"),
        ({"type": "iam", "hidden_sizes": []}, "hidden_sizes"),
        ({"type": "gru", "max_seq_len": 0}, "max_seq_len.*1 or more"),
        ({"type": "lstm", "memory_sise": 3}, "Did you mean 'memory_size'"),
    ],
)
def test_bad_specs_are_config_errors(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_backbone(spec, VECTOR)


def test_attention_over_a_single_position_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"one entry.*44 pixels"):
        build_backbone("iam", gym.spaces.Box(0, 255, (40, 40), np.uint8))
    build_backbone("iam", gym.spaces.Box(0, 255, (44, 36), np.uint8))
