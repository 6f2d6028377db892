"""Models A to D of the second lineage: sizes of their maps, and the attention of D against plain formulas."""

from __future__ import annotations

import math

import pytest
import torch

from rllib_rnd.modules.michalnand import AttentionBlock, MichalnandD
from tests.modules.test_backbone import image_space, sample
from tests.modules.test_cnn import build


@pytest.mark.parametrize(
    ("name", "side", "shape"),
    [
        ("michalnand_a", 96, (64, 12, 12)),
        ("michalnand_a", 84, (64, 11, 11)),
        ("michalnand_b", 96, (128, 12, 12)),
        ("michalnand_b", 84, (128, 11, 11)),
        ("michalnand_c", 96, (128, 12, 12)),
        ("michalnand_c", 84, (128, 11, 11)),
        ("michalnand_d", 96, (128, 12, 12)),
        ("michalnand_d", 84, (128, 10, 10)),
        ("michalnand_d", 36, (128, 4, 4)),
    ],
)
def test_maps_have_the_sizes_of_the_diagrams(name: str, side: int, shape: tuple[int, int, int]) -> None:
    space = image_space(4, side, side)
    backbone = build(name, space, hidden_sizes=[5])
    assert backbone.map_shape == shape
    assert backbone.get_submodule("convs")(sample(space, 2).float()).shape == (2, *shape)
    assert backbone(sample(space, 2)).policy.shape == (2, 5)


def tokens_backbone(position: bool = True) -> MichalnandD:
    backbone = build("michalnand_d", image_space(4, 40, 40), position=position)
    assert isinstance(backbone, MichalnandD)
    return backbone


def test_a_block_is_attention_then_a_residual_layer() -> None:
    """One query by hand: tokens (1, 0) and (0, 2), identity for q and k, v doubles, the convolution swaps."""
    block = AttentionBlock(2)
    with torch.no_grad():
        for layer in (block.query, block.key):
            layer.weight.copy_(torch.eye(2))
        block.value.weight.copy_(2.0 * torch.eye(2))
        block.conv.weight.copy_(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
    x = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    # Scores: the first token has 1 with itself, 0 with the other; the second 0 and 4. Divided by sqrt(2).
    first, second = (math.exp(s / math.sqrt(2)) / (math.exp(s / math.sqrt(2)) + 1.0) for s in (1.0, 4.0))
    weights = torch.tensor([[first, 1.0 - first], [1.0 - second, second]])
    torch.testing.assert_close(block.weights(x), weights.reshape(1, 1, 2, 2))
    # Attended values (2 w_1, 4 w_2); swapped (4 w_2, -2 w_1); the negative one is cut off; added to the token.
    expected = torch.tensor([[1.0 + 4.0 * (1.0 - first), 0.0], [4.0 * second, 2.0]])
    torch.testing.assert_close(block(x), expected.unsqueeze(0))


def test_attention_weights_are_those_of_the_forward_pass() -> None:
    backbone, obs = tokens_backbone(), sample(image_space(4, 40, 40), 3)
    found = backbone.attention_weights(obs)
    assert list(found) == ["blocks.0", "blocks.1"]
    x = backbone.tokens(obs)
    for name, weights in found.items():
        block = backbone.get_submodule(name)
        assert isinstance(block, AttentionBlock)
        assert weights.shape == (3, 1, 25, 25) and (weights >= 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 1, 25))
        x = x + torch.relu(block.conv(weights[:, 0] @ block.value(x)))
    torch.testing.assert_close(backbone.get_submodule("fc")(x.flatten(1)), backbone(obs).policy, atol=1e-5, rtol=1e-4)


def test_the_other_models_have_no_attention() -> None:
    space = image_space(4, 36, 36)
    for name in ("michalnand_a", "michalnand_b", "michalnand_c"):
        assert build(name, space, hidden_sizes=[5]).attention_weights(sample(space, 2)) == {}


def test_tokens_are_the_patches_row_by_row() -> None:
    space = image_space(4, 36, 36)
    backbone = build("michalnand_d", space, position=False)
    assert isinstance(backbone, MichalnandD)
    obs = torch.zeros((1, 4, 36, 36), dtype=torch.uint8)
    obs[0, :, 8:16, 24:32] = 255  # row 1, column 3 of 4 x 4
    obs[0, :, 32:, :] = 255  # what is left over below
    lit = backbone.tokens(obs)[0].abs().sum(1).nonzero().flatten()
    assert lit.tolist() == [7]


def test_without_positions_attention_treats_tokens_as_a_set() -> None:
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0))
    obs = sample(image_space(4, 40, 40), 2)
    rows = obs.unflatten(3, (5, 8)).unflatten(2, (5, 8)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # [B, 25, 4, 8, 8]
    shuffled = rows[:, order].unflatten(1, (5, 5)).permute(0, 3, 1, 4, 2, 5).reshape(obs.shape)
    for position in (False, True):
        backbone = tokens_backbone(position)
        assert (backbone.position is not None) == position
        same = torch.allclose(backbone.maps(shuffled), backbone.maps(obs)[:, order], atol=1e-4)
        assert same != position


def test_positions_start_small_and_different() -> None:
    position = tokens_backbone().position
    assert position is not None and position.shape == (25, 128)
    assert 0.018 < position.std().item() < 0.022
    assert (position.std(dim=0) > 0).all()
