"""Feature maps: sums over channels as the layers gave them, places of patches, the study's scaling."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_rnd.analysis.maps import METHODS
from rllib_rnd.analysis.methods.feature_maps import CHUNK, captured, grid_of, min_max
from tests.analysis.attentive_agents import IAM, IMAGE, VECTOR, VIT, agent_with, states_for

FEATURE_MAPS = METHODS.resolve("feature_maps")()


def by_hooks(agent: Any, states: Any) -> dict[str, np.ndarray]:
    """Every named layer's output, taken without the code under test; a recurrent backbone one state after another."""
    backbone = agent.module.backbone
    found: dict[str, list[torch.Tensor]] = {name: [] for name in backbone.feature_maps()}
    for name, outputs in found.items():
        backbone.get_submodule(name).register_forward_hook(
            lambda _m, _a, y, outputs=outputs: outputs.append(y.detach())
        )
    for i in range(len(states)):
        memory = torch.from_numpy(states.memory[i : i + 1]) if backbone.state_size else None
        backbone(torch.from_numpy(states.obs[i : i + 1]), memory, torch.from_numpy(states.is_first[i : i + 1])[None])
    return {name: torch.cat(outputs).numpy() for name, outputs in found.items()}


def test_maps_of_self_attention_are_sums_over_channels() -> None:
    agent = agent_with({"type": "self_attention", "variant": "CWRA", "feature_dim": 8})
    states = states_for(agent, CHUNK + 1)
    maps = FEATURE_MAPS.maps(agent, states, [])
    layers = by_hooks(agent, states)
    assert list(maps) == [f"feature_maps-{name}" for name in ("conv1.1", "attention.operator", "attention", "conv2.1")]
    for name, output in layers.items():
        np.testing.assert_allclose(maps[f"feature_maps-{name}"].values, output.sum(axis=1), rtol=1e-4, atol=1e-4)
    signed = [found.signed for found in maps.values()]
    assert signed == [False, True, True, False]  # after their ReLU the convolutions are never negative
    f1, y, block, _ = (found.values for found in maps.values())
    np.testing.assert_allclose(f1 + y, block, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("passes", ["two", "one"])
def test_patches_lie_where_they_are_and_tokens_nowhere(passes: str) -> None:
    agent = agent_with({"type": "vit_explorative", **VIT, "passes": passes})
    states = states_for(agent, 2)
    maps, layers = FEATURE_MAPS.maps(agent, states, []), by_hooks(agent, states)
    tokens = ["explore.", "exploit."] if passes == "two" else [""]
    assert set(maps) == {
        "feature_maps-patch_embedding",
        *(f"feature_maps-{token}blocks.{i}" for token in tokens for i in (0, 1)),
    }
    for layer in ("blocks.0", "blocks.1"):
        output = layers[layer]  # two passes: exploration and exploitation of the first state, then of the second
        for place, token in enumerate(tokens):
            patches = output[place :: len(tokens), -99:]
            away = np.linalg.norm(patches - patches.mean(axis=1, keepdims=True), axis=2)
            found = maps[f"feature_maps-{token}{layer}"].values
            np.testing.assert_allclose(found, away.reshape(2, 11, 9), rtol=1e-4)


def test_a_bright_patch_is_seen_where_it_is() -> None:
    """LayerNorm makes the sums of all patches equal; the one patch that differs is found all the same."""
    agent = agent_with({"type": "vit", **VIT})
    states = states_for(agent, 1)
    states.obs[:] = 0
    states.obs[0, :, 8:12, 20:24] = np.random.default_rng(0).integers(0, 255, (2, 4, 4))
    found = FEATURE_MAPS.maps(agent, states, [])["feature_maps-patch_embedding"].values[0]
    assert np.unravel_index(found.argmax(), found.shape) == (2, 5)


@pytest.mark.parametrize(
    ("spec", "names", "shape"),
    [
        ({"type": "nature_cnn", "hidden_sizes": [8]}, ["convs.1", "convs.3", "convs.5"], (2, 1)),
        ({"type": "michalnand_d", "hidden_sizes": [8]}, ["convs.1", "blocks.0", "blocks.1"], (5, 4)),
        ({"type": "iam", **IAM}, ["encoder.convs.1", "encoder.convs.3", "encoder.convs.5"], (2, 1)),
        ({"type": "gru", "memory_size": 4}, ["encoder.convs.1", "encoder.convs.3", "encoder.convs.5"], (2, 1)),
    ],
)
def test_other_backbones(spec: dict[str, Any], names: list[str], shape: tuple[int, int]) -> None:
    agent = agent_with(spec)
    states = states_for(agent)
    assert FEATURE_MAPS.missing(agent) is None
    maps = FEATURE_MAPS.maps(agent, states, [])
    assert list(maps) == [f"feature_maps-{name}" for name in names]
    assert maps[f"feature_maps-{names[-1]}"].values.shape == (3, *shape)


@pytest.mark.parametrize("spec", [{"type": "mlp"}, {"type": "iam", **IAM}])
def test_vectors_have_no_places(spec: dict[str, Any]) -> None:
    assert "has places" in str(FEATURE_MAPS.missing(agent_with(spec, VECTOR)))


def test_hooks_are_taken_off_again() -> None:
    agent = agent_with({"type": "nature_cnn", "hidden_sizes": [8]})
    captured(agent, states_for(agent), ["convs.1"])
    assert not agent.module.backbone.get_submodule("convs.1")._forward_hooks


def test_grids_fit_the_picture() -> None:
    wide = agent_with({"type": "nature_cnn", "hidden_sizes": [8]}, gym.spaces.Box(0, 255, (40, 80), np.uint8))
    assert grid_of(wide, 32) == (4, 8, 0)
    assert grid_of(wide, 33) == (4, 8, 1)
    assert grid_of(wide, 47) is None
    assert grid_of(agent_with({"type": "mlp"}, VECTOR), 16) is None
    assert grid_of(agent_with({"type": "mlp"}, IMAGE), 0) is None


def test_pictures_of_the_study_go_from_least_to_largest_and_constant_ones_stay_dark() -> None:
    values = np.array([[[1.0, 3.0], [2.0, -1.0]], [[5.0, 5.0], [5.0, 5.0]]], dtype=np.float32)
    large = min_max(values, 6, 8)
    assert large.shape == (2, 6, 8) and large.dtype == np.float32
    assert large[0].min() == 0.0 and large[0].max() == 1.0
    assert large[0, 0, 7] == 1.0 and large[0, 5, 7] == 0.0
    assert (large[1] == 0.0).all()
