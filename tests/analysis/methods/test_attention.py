"""Attention: sums, equality with the module's own weights, places, rollouts, differences, distances."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.maps import METHODS, Map, Method
from rllib_rnd.analysis.methods.attention import (
    attention_weights,
    distance,
    layers_of,
    received,
    rollout,
    with_rollouts,
)
from rllib_rnd.analysis.methods.attention_maps import WINDOW, in_words, over_time, tiled
from rllib_rnd.analysis.methods.feature_maps import CHUNK
from rllib_rnd.analysis.states import States
from rllib_rnd.modules import BACKBONES, Backbone, StatelessBackbone
from tests.analysis.attentive_agents import IAM, IMAGE, VECTOR, VIT, agent_with, states_for

# Every backbone of the registry that has attention, in all its forms; test_no_backbone_is_forgotten adds the rest.
ATTENTIVE: dict[str, tuple[dict[str, Any], gym.spaces.Box]] = {
    **{
        v: ({"type": "self_attention", "variant": v, "feature_dim": 8}, IMAGE) for v in ("SWA", "CWRA", "CWCA", "CWRCA")
    },
    "vit": ({"type": "vit", **VIT}, IMAGE),
    "two passes": ({"type": "vit_explorative", **VIT}, IMAGE),
    "one pass": ({"type": "vit_explorative", **VIT, "passes": "one"}, IMAGE),
    "michalnand_d": ({"type": "michalnand_d", "hidden_sizes": [8]}, IMAGE),
    "iam, image": ({"type": "iam", **IAM}, IMAGE),
    "iam, lstm": ({"type": "iam", **IAM, "cell": "lstm"}, IMAGE),
    "iam, vector": ({"type": "iam", **IAM}, VECTOR),
    "iam, grid": ({"type": "iam", **IAM}, gym.spaces.Box(0, 1, (4, 5, 3), np.uint8)),
}
# Height and width of the picture of attention; one row of a vector.
PLACES = {
    **dict.fromkeys(("SWA", "CWRA", "CWCA", "CWRCA"), (10, 8)),
    **dict.fromkeys(("vit", "two passes", "one pass"), (11, 9)),
    "michalnand_d": (5, 4),
    **dict.fromkeys(("iam, image", "iam, lstm"), (2, 1)),
    "iam, vector": (1, 5),
    "iam, grid": (4, 5),
}
EVERY = pytest.mark.parametrize("name", ATTENTIVE)


def method(name: str) -> Method:
    return METHODS.resolve(name)()


def maps_of(name: str, agent: Agent, states: States) -> dict[str, Map]:
    return method(name).maps(agent, states, [])


def test_no_backbone_is_forgotten() -> None:
    """A backbone that is added with attention has to come into the table above."""
    without = (Backbone.attention_weights, StatelessBackbone.attention_weights, StatelessBackbone.attention_of)
    attentive = {
        name
        for name, cls in BACKBONES.items()
        for method_name in ("attention_weights", "attention_of")
        if getattr(cls, method_name, without[0]) not in without
    }
    assert attentive == {spec["type"] for spec, _ in ATTENTIVE.values()}


@EVERY
def test_weights_are_the_modules_own_and_sum_to_one(name: str) -> None:
    agent = agent_with(*ATTENTIVE[name])
    states, backbone = states_for(agent), agent.module.backbone
    weights = attention_weights(agent, states)
    assert weights
    state = torch.from_numpy(states.memory) if backbone.state_size else None
    with torch.no_grad():
        own = backbone.attention_weights(torch.from_numpy(states.obs), state, torch.from_numpy(states.is_first)[None])
    for key, found in weights.items():
        assert torch.equal(found, own[key])
        torch.testing.assert_close(found.sum(dim=-1), torch.ones(found.shape[:-1]))


@EVERY
def test_maps_hold_one_attention_and_do_not_depend_on_their_batch(name: str) -> None:
    agent = agent_with(*ATTENTIVE[name])
    states = states_for(agent, CHUNK + 2)
    assert method("attention").missing(agent) is None
    maps = maps_of("attention", agent, states)
    for key, found in maps.items():
        assert found.values.shape == (CHUNK + 2, *PLACES[name]), key
        total = found.values.sum(axis=(1, 2))
        if found.signed:
            assert (np.abs(total) < 1.0).all() and found.values.min() < 0.0 < found.values.max()
        elif "vit" in ATTENTIVE[name][0]["type"]:
            assert (total < 1.0).all() and (total > 0.2).all()  # the rest is the token's
        else:
            np.testing.assert_allclose(total, 1.0, rtol=1e-5)
    alone = maps_of("attention", agent, states.select([CHUNK + 1]))
    for key, found in maps.items():
        np.testing.assert_allclose(alone[key].values[0], found.values[-1], atol=1e-5)


def test_memory_counts_and_is_forgotten_where_an_episode_begins() -> None:
    agent = agent_with(*ATTENTIVE["iam, vector"])
    states = states_for(agent, 3)
    same = states.select([0, 0, 1])
    other = States(**{**vars(same), "memory": np.stack([states.memory[0], states.memory[1], states.memory[1]])})
    other = States(**{**vars(other), "is_first": np.array([False, False, True])})
    found = maps_of("attention", agent, other)["attention-d_set"].values
    assert np.abs(found[0] - found[1]).max() > 1e-4
    empty = States(**{**vars(other), "memory": np.zeros_like(other.memory)})
    np.testing.assert_allclose(maps_of("attention", agent, empty)["attention-d_set"].values[2], found[2], atol=1e-6)


# --- places -----------------------------------------------------------------------------------------------------


def by_hand(variant: str, axis: str, weights: np.ndarray) -> np.ndarray:
    """What each place of the 10 x 8 map receives from all queries, summed one by one, as shares of everything."""
    out = np.zeros((len(weights), 10, 8))
    lines, positions = weights.shape[1], weights.shape[2]
    for line in range(lines):
        for query in range(positions):
            for key in range(positions):
                w = weights[:, line, query, key]
                if variant == "SWA":
                    out[:, key, :] += w[:, None] / 8
                elif axis == "rows":
                    out[:, key, line] += w
                else:
                    out[:, line, key] += w
    return out / (lines * positions)


@pytest.mark.parametrize("variant", ["SWA", "CWRA", "CWCA", "CWRCA"])
def test_rows_and_columns_lie_where_they_are(variant: str) -> None:
    agent = agent_with(*ATTENTIVE[variant])
    states = states_for(agent)
    weights = attention_weights(agent, states)
    maps = maps_of("attention", agent, states)
    assert set(maps) == {f"attention-{axis}" for axis in weights}
    for axis, found in weights.items():
        expected = by_hand(variant, axis, found.numpy())
        np.testing.assert_allclose(maps[f"attention-{axis}"].values, expected, rtol=1e-4)


def test_matrices_are_tiles_of_one_sheet() -> None:
    agent = agent_with(*ATTENTIVE["CWCA"])
    states = states_for(agent)
    weights = attention_weights(agent, states)["columns"].numpy()  # 10 matrices of 8 x 8: 3 rows of 4
    sheet = maps_of("attention_matrix", agent, states)["attention_matrix-columns"]
    assert not sheet.on_frame and sheet.values.shape == (3, 3 * 9 - 1, 4 * 9 - 1)
    for i in range(10):
        y, x = i // 4 * 9, i % 4 * 9
        np.testing.assert_array_equal(sheet.values[:, y : y + 8, x : x + 8], weights[:, i])
    assert sheet.values[:, 8].max() == 0.0


@pytest.mark.parametrize("name", ["vit", "two passes", "one pass"])
def test_a_tokens_row_without_itself_lies_on_the_patches(name: str) -> None:
    agent = agent_with(*ATTENTIVE[name])
    states = states_for(agent)
    maps, heads = maps_of("attention", agent, states), maps_of("attention_heads", agent, states)
    for key, weights in attention_weights(agent, states).items():
        row = weights[:, :, 0, 1:].numpy().reshape(3, 2, 11, 9)
        np.testing.assert_allclose(maps[f"attention-{key}"].values, row.mean(axis=1), rtol=1e-5)
        np.testing.assert_array_equal(heads[f"attention_heads-{key}"].values[:, :, :9], row[:, 0])
        np.testing.assert_array_equal(heads[f"attention_heads-{key}"].values[:, :, 10:], row[:, 1])


@pytest.mark.parametrize("name", ["two passes", "one pass"])
def test_the_difference_is_exploration_minus_exploitation(name: str) -> None:
    agent = agent_with(*ATTENTIVE[name])
    states = states_for(agent)
    for of, keys in (("attention", ["rollout", "blocks.0", "blocks.1", "blocks.2"]), ("attention_heads", ["blocks.1"])):
        maps = maps_of(of, agent, states)
        for key in keys:
            difference = maps[f"{of}-difference-{key}"]
            assert difference.signed
            expected = maps[f"{of}-explore.{key}"].values - maps[f"{of}-exploit.{key}"].values
            np.testing.assert_array_equal(difference.values, expected)
            assert np.abs(expected).max() > 1e-5


def test_swapped_tokens_turn_the_difference_around() -> None:
    agent = agent_with(*ATTENTIVE["two passes"])
    states = states_for(agent)
    before = maps_of("attention", agent, states)["attention-difference-rollout"].values
    with torch.no_grad():
        tokens = agent.module.backbone.get_parameter("tokens")
        tokens.copy_(tokens.flip(0).clone())
    after = maps_of("attention", agent, states)["attention-difference-rollout"].values
    np.testing.assert_allclose(after, -before, atol=1e-6)


def test_a_users_own_backbone_is_laid_out_by_its_numbers() -> None:
    agent = agent_with({"type": "mlp"})
    queries = torch.zeros(1, 2, 100, 100)
    queries[:, :, :, 1 + 5] = 1.0  # 99 = 11 x 9 patches after a token
    assert received(agent, queries, "x")[0, 0].nonzero().tolist() == [[0, 5]]
    places = torch.zeros(1, 2, 20)
    places[:, :, 4] = 1.0  # 5 x 4 places, no token
    assert received(agent, places, "x")[0, 1].nonzero().tolist() == [[1, 0]]
    assert received(agent, torch.ones(1, 1, 83), "x").shape == (1, 1, 1, 83)  # nobody knows where


# --- rollout ----------------------------------------------------------------------------------------------------


def test_rollout_of_two_layers_by_hand() -> None:
    # Two positions, two heads. Means over heads: layer 1 [[1, 0], [.5, .5]], layer 2 [[.2, .8], [0, 1]].
    first = torch.tensor([[[[1.0, 0.0], [0.4, 0.6]], [[1.0, 0.0], [0.6, 0.4]]]])
    second = torch.tensor([[[[0.4, 0.6], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]]])
    # With the identity, halved: A1 = [[1, 0], [.25, .75]], A2 = [[.6, .4], [0, 1]]; A2 A1 = [[.7, .3], [.25, .75]].
    torch.testing.assert_close(rollout([first, second]), torch.tensor([[[0.7, 0.3], [0.25, 0.75]]]))


def test_rollout_takes_layers_in_their_order() -> None:
    layers = {f"blocks.{i}": torch.rand(1, 1, 3, 3).softmax(dim=-1) for i in (10, 2, 9)}
    assert layers_of(layers) == {"blocks": ["blocks.2", "blocks.9", "blocks.10"]}
    expected = rollout([layers["blocks.2"], layers["blocks.9"], layers["blocks.10"]])
    torch.testing.assert_close(with_rollouts(layers)["rollout"][:, 0], expected)
    torch.testing.assert_close(expected.sum(dim=-1), torch.ones(1, 3))
    assert "rollout" not in with_rollouts({"blocks.0": layers["blocks.2"]})


def test_a_rollout_of_the_token_is_what_reaches_it() -> None:
    agent = agent_with(*ATTENTIVE["vit"])
    states = states_for(agent)
    a = [w.mean(dim=1) / 2 + torch.eye(100) / 2 for w in attention_weights(agent, states).values()]
    expected = (a[2] @ a[1] @ a[0])[:, 0, 1:].reshape(3, 11, 9)
    np.testing.assert_allclose(maps_of("attention", agent, states)["attention-rollout"].values, expected, rtol=1e-4)


# --- over time --------------------------------------------------------------------------------------------------


def test_a_strip_over_time_ends_with_the_state_itself_and_stays_within_its_episode() -> None:
    agent = agent_with(*ATTENTIVE["iam, vector"])
    count = WINDOW + 8
    states = states_for(agent, count)
    states = States(**{**vars(states), "episode": (np.arange(count) >= WINDOW + 3).astype(np.int64)})
    weights = over_time(agent, states)["d_set"]
    assert weights.shape == (count, 5)
    strips = maps_of("attention_over_time", agent, states)["attention_over_time-d_set"]
    assert strips.values.shape == (count, 5, WINDOW) and not strips.on_frame
    np.testing.assert_array_equal(strips.values[WINDOW + 1], weights[2 : WINDOW + 2].T)
    last = strips.values[-1]  # the fifth state of the second episode
    np.testing.assert_array_equal(last[:, -5:], weights[-5:].T)
    np.testing.assert_allclose(last[:, :-5], 0.2)  # even: nothing is known of what was before
    some = states.select([0, 1, 5, 6])  # steps that were left out do not make the others move closer
    (gaps,) = (found.values[-1] for found in METHODS.resolve("attention_over_time")().maps(agent, some, []).values())
    np.testing.assert_allclose(gaps[:, [-7, -6, -2, -1]], weights[[0, 1, 5, 6]].T, atol=1e-6)
    np.testing.assert_allclose(gaps[:, -5:-2], 0.2)


# --- what it does not apply to ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "spec", "reason"),
    [
        ("attention", {"type": "nature_cnn", "hidden_sizes": [8]}, "nature_cnn has no attention"),
        ("attention", {"type": "self_attention", "variant": "NA"}, "variant NA"),
        ("attention", {"type": "self_attention", "norm_softmax": False}, "norm_softmax: false"),
        ("attention", {"type": "iam", **IAM, "d_set": "linear"}, "not linear"),
        ("attention_heads", {"type": "self_attention"}, "single head"),
        ("attention_matrix", {"type": "iam", **IAM}, "no queries"),
        ("attention_values", {"type": "vit", **VIT}, "not vit"),
        ("attention_values", {"type": "self_attention", "variant": "NA"}, "variant NA"),
        ("attention_over_time", {"type": "vit", **VIT}, "no memory"),
    ],
)
def test_a_method_says_why_it_does_not_apply(of: str, spec: dict[str, Any], reason: str) -> None:
    assert reason in str(method(of).missing(agent_with(spec)))


@EVERY
def test_methods_that_apply_give_maps_with_names_of_their_own(name: str) -> None:
    agent = agent_with(*ATTENTIVE[name])
    states = states_for(agent, 2)
    names: list[str] = []
    for of in ("attention", "attention_heads", "attention_matrix", "attention_values", "attention_over_time"):
        if method(of).missing(agent) is None:
            maps = maps_of(of, agent, states)
            assert maps and all(len(found.values) == 2 for found in maps.values())
            names += maps
    assert len(set(names)) == len(names)


def test_names_in_words() -> None:
    assert in_words("explore.blocks.0") == "exploration token, block 1"
    assert in_words("exploit.rollout") == "exploitation token, rollout"
    assert in_words("blocks.2") == "block 3" and in_words("columns") == "columns"


def test_tiles_of_one_picture_are_that_picture() -> None:
    picture = torch.rand(2, 1, 3, 4)
    assert torch.equal(tiled(picture), picture[:, 0])


# --- values -----------------------------------------------------------------------------------------------------


def test_values_are_the_operators_output_summed_and_scaled_as_in_the_study() -> None:
    agent = agent_with(*ATTENTIVE["CWCA"])
    states, outputs = states_for(agent), []
    agent.module.backbone.get_submodule("attention.operator").register_forward_hook(
        lambda _module, _args, output: outputs.append(output)
    )
    maps = maps_of("attention_values", agent, states)
    y: Tensor = outputs[0].detach()
    assert y.shape == (3, 16, 10, 8)
    np.testing.assert_allclose(maps["attention_values"].values, y.sum(dim=1), atol=1e-5)
    large = nn.functional.interpolate(y.sum(dim=1, keepdim=True), (44, 36), mode="bilinear", align_corners=False)[:, 0]
    low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    np.testing.assert_allclose(maps["attention_values-study"].values, (large - low) / (high - low), atol=1e-4)


def test_values_without_softmax_can_be_seen_too() -> None:
    agent = agent_with({"type": "self_attention", "variant": "SWA", "norm_softmax": False})
    assert method("attention_values").missing(agent) is None
    assert not maps_of("attention_values", agent, states_for(agent))["attention_values"].constant.any()


def test_a_constant_map_is_not_blown_up() -> None:
    agent = agent_with(*ATTENTIVE["CWCA"])
    with torch.no_grad():
        for name, parameter in agent.module.backbone.named_parameters():
            if name == "attention.operator.value.weight":
                parameter.zero_()
    maps = maps_of("attention_values", agent, states_for(agent))
    assert maps["attention_values"].constant.all()
    assert (maps["attention_values-study"].values == 0.0).all()


# --- distance ---------------------------------------------------------------------------------------------------


def test_distances_by_hand() -> None:
    p = np.array([[[1.0, 0.0]], [[1.0, 0.0]], [[2.0, 2.0]], [[1.0, 0.0]]])
    q = np.array([[[1.0, 0.0]], [[0.0, 3.0]], [[0.1, 0.1]], [[0.5, 0.5]]])
    np.testing.assert_allclose(distance(p, q), [0.0, 1.0, 0.0, 0.5], atol=1e-12)
    # m = [.75, .25]: KL(p|m) = log2(4/3), KL(q|m) = log2(2/3) / 2 + log2(2) / 2.
    last = math.sqrt((math.log2(4 / 3) + math.log2(2 / 3) / 2 + 0.5) / 2)
    np.testing.assert_allclose(distance(p, q, "jensen_shannon"), [0.0, 1.0, 0.0, last], atol=1e-9)
    np.testing.assert_allclose(distance(q, p, "jensen_shannon"), distance(p, q, "jensen_shannon"))


@pytest.mark.parametrize(
    ("p", "message"), [(np.ones((1, 3)), "shapes"), (-np.ones((1, 2)), "negative"), (np.zeros((1, 2)), "sum above 0")]
)
def test_distances_of_what_is_no_attention_are_refused(p: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distance(p, np.ones((1, 2)))
