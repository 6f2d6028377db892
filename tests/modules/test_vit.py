"""ViT and ViT with explorative attention: what each token reaches, what attention computes, and what it costs."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rllib_rnd.errors import ConfigError
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules import build_backbone
from rllib_rnd.modules.vit import EXPLOIT, EXPLORE, patchify

SMALL = {"patch_size": 6, "dim": 16, "depth": 3, "num_heads": 2, "head_dim": 8, "mlp_dim": 32}
VIT = {"type": "vit", **SMALL}
TWO = {"type": "vit_explorative", **SMALL}
ONE = {**TWO, "passes": "one"}
ALL = [pytest.param(VIT, id="vit"), pytest.param(TWO, id="two"), pytest.param(ONE, id="one")]
EXPLORATIVE = ALL[1:]


def image_space(*shape: int) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, shape, np.uint8)


SPACE = image_space(2, 24, 18)  # 4 x 3 patches of 72 numbers


def sample(batch: int = 4, space: gym.spaces.Box = SPACE) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch, *space.shape), dtype=np.uint8))


def build(spec: dict[str, Any], space: gym.spaces.Box = SPACE, **options: Any) -> Any:
    torch.manual_seed(0)
    return build_backbone({**spec, **options}, space)


def redraw_token(backbone: Any, token: int) -> None:
    with torch.no_grad():
        backbone.tokens[token] = torch.randn(backbone.tokens.shape[1])


# --- sizes and shapes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "tokens"), [("vit", 1), ("vit_explorative", 2)])
def test_parameters_at_the_published_size(name: str, tokens: int) -> None:
    # Patches of 6 * 6 * 4 = 144 numbers, (84 / 6)^2 = 196 of them; 8 heads of 32 are 256.
    #   patch embedding   LayerNorm(144) 288 + Linear(144, 256) 37,120 + LayerNorm(256) 512      =    37,920
    #   positions         197 * 256                                                              =    50,432
    #   one block         LayerNorm 512 + qkv 256 * 768 = 196,608 + output 65,792
    #                     + LayerNorm 512 + MLP 263,168 + 262,400                                =   788,992
    #   three blocks                                                                             = 2,366,976
    #   final LayerNorm                                                                          =       512
    #   one token         256;  sum with one 2,456,096, with two 2,456,352
    backbone = build_backbone(name, image_space(4, 84, 84))
    assert sum(p.numel() for p in backbone.parameters()) == 2_455_840 + tokens * 256
    assert backbone.feature_dim == 256 and backbone.get_parameter("positions").shape == (197, 256)


@pytest.mark.parametrize("shape", [(4, 84, 84), (24, 24), (36, 24, 3), (3, 24, 36), (2, 12, 18, 3)])
@pytest.mark.parametrize("spec", ALL)
def test_features_of_any_image_that_patches_tile(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    space = image_space(*shape)
    backbone = build(spec, space)
    output = backbone(sample(3, space))
    for features in output[:3]:
        assert features.shape == (3, 16) and features.dtype == torch.float32
    assert output.state is None
    assert torch.equal(backbone.representation(sample(3, space)), output.policy)


@pytest.mark.parametrize("spec", ALL)
def test_a_sample_does_not_depend_on_its_batch(spec: dict[str, Any]) -> None:
    backbone, obs = build(spec), sample()
    whole = backbone(obs)
    for i in range(len(obs)):
        for batched, single in zip(whole[:3], backbone(obs[i : i + 1])[:3], strict=True):
            torch.testing.assert_close(batched[i : i + 1], single, atol=1e-5, rtol=1e-5)


def test_the_class_token_feeds_all_heads() -> None:
    output = build(VIT)(sample())
    assert output.policy is output.extrinsic and output.policy is output.intrinsic


def test_patches_are_cut_row_by_row_with_all_channels() -> None:
    image = torch.randn(2, 3, 8, 12)
    patches = patchify(image, 4)
    assert patches.shape == (2, 6, 48)
    for row in range(2):
        for column in range(3):
            window = image[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert torch.equal(patches[:, 3 * row + column], window.permute(0, 2, 3, 1).flatten(1))


def test_bytes_are_scaled_and_left_alone() -> None:
    backbone, obs = build(VIT), sample()
    before = obs.clone()
    torch.testing.assert_close(backbone(obs).policy, backbone(obs.float() / 255.0).policy)
    assert torch.equal(obs, before)


@pytest.mark.parametrize("spec", ALL)
def test_named_feature_maps_hold_one_vector_per_patch(spec: dict[str, Any]) -> None:
    backbone, rows = build(spec), []
    for name in backbone.feature_maps():
        backbone.get_submodule(name).register_forward_hook(lambda *args: rows.append(args[2].shape[1]))
    backbone(sample())
    tokens = 2 if spec is ONE else 1
    assert backbone.feature_maps() == ["patch_embedding", "blocks.0", "blocks.1"]
    assert rows == [12, 12 + tokens, 12 + tokens]


# --- the two tokens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ALL)
def test_every_parameter_both_tokens_and_all_positions_learn(spec: dict[str, Any]) -> None:
    backbone = build(spec)
    features = backbone(sample()).policy
    # Weighted: the final LayerNorm makes the plain sum and the sum of squares constants.
    (features * torch.randn(features.shape)).sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad.abs().max() > 1e-4, name
    assert (backbone.tokens.grad.abs().amax(1) > 1e-4).all()
    assert backbone.positions.shape == (13, 16) and (backbone.positions.grad.abs().amax(1) > 1e-4).all()


@pytest.mark.parametrize("spec", EXPLORATIVE)
def test_each_token_reaches_its_own_feature_and_the_policy_only(spec: dict[str, Any]) -> None:
    backbone, obs = build(spec), sample()
    before = backbone(obs)
    redraw_token(backbone, EXPLORE)
    after = backbone(obs)
    assert torch.equal(after.extrinsic, before.extrinsic)
    assert not torch.allclose(after.intrinsic, before.intrinsic) and not torch.allclose(after.policy, before.policy)
    redraw_token(backbone, EXPLOIT)
    last = backbone(obs)
    assert torch.equal(last.intrinsic, after.intrinsic)
    assert not torch.allclose(last.extrinsic, after.extrinsic) and not torch.allclose(last.policy, after.policy)


@pytest.mark.parametrize("spec", EXPLORATIVE)
def test_swapped_tokens_swap_the_features_and_leave_the_policy(spec: dict[str, Any]) -> None:
    backbone, obs = build(spec), sample()
    before = backbone(obs)
    with torch.no_grad():
        backbone.tokens.copy_(backbone.tokens.flip(0))
    after = backbone(obs)
    torch.testing.assert_close(after.policy, before.policy)
    torch.testing.assert_close(after.extrinsic, before.intrinsic)
    torch.testing.assert_close(after.intrinsic, before.extrinsic)
    assert not torch.allclose(before.extrinsic, before.intrinsic)


@pytest.mark.parametrize("spec", EXPLORATIVE)
def test_the_policy_reads_the_sum_or_the_mean(spec: dict[str, Any]) -> None:
    total, mean = build(spec)(sample()), build(spec, aggregate="mean")(sample())
    assert torch.equal(total.policy, total.intrinsic + total.extrinsic)
    assert torch.equal(mean.policy, total.policy / 2)
    assert torch.equal(mean.extrinsic, total.extrinsic) and torch.equal(mean.intrinsic, total.intrinsic)


def plain_vit(backbone: Any, token: int) -> Any:
    """A ``vit`` with the weights of a ``vit_explorative`` and one of its tokens."""
    vit = build(VIT)
    vit.load_state_dict({**backbone.state_dict(), "tokens": backbone.tokens[token : token + 1]})
    return vit


def test_two_passes_are_two_runs_of_a_plain_vit() -> None:
    backbone, obs = build(TWO), sample()
    output = backbone(obs)
    torch.testing.assert_close(output.intrinsic, plain_vit(backbone, EXPLORE)(obs).policy)
    torch.testing.assert_close(output.extrinsic, plain_vit(backbone, EXPLOIT)(obs).policy)


def test_one_pass_equals_two_with_one_block_only() -> None:
    for depth in (1, 2):
        one, two = build(ONE, depth=depth)(sample()), build(TWO, depth=depth)(sample())
        for a, b in zip(one[:3], two[:3], strict=True):
            assert torch.allclose(a, b, atol=1e-5) == (depth == 1)


def test_in_one_pass_patches_see_no_token() -> None:
    backbone, obs = build(ONE), sample()

    def layers() -> list[Tensor]:
        x, outputs = backbone.sequences(obs), []
        for block in backbone.blocks:
            x = block(x, None, backbone.mask)
            outputs.append(x)
        return outputs

    before = layers()
    redraw_token(backbone, EXPLORE)
    for old, new in zip(before, layers(), strict=True):
        assert torch.equal(new[:, 2:], old[:, 2:])
        assert torch.equal(new[:, EXPLOIT], old[:, EXPLOIT])
        assert not torch.allclose(new[:, EXPLORE], old[:, EXPLORE])


def test_in_two_passes_patches_see_their_token() -> None:
    first = build(TWO)
    before = first.blocks[0](first.sequences(sample()))
    redraw_token(first, EXPLORE)
    after = first.blocks[0](first.sequences(sample()))
    assert not torch.allclose(after[:4, 1:], before[:4, 1:]) and torch.equal(after[4:], before[4:])


@pytest.mark.parametrize("spec", EXPLORATIVE)
def test_both_tokens_stand_at_position_0(spec: dict[str, Any]) -> None:
    backbone, obs = build(spec), sample()
    with torch.no_grad():
        backbone.tokens[EXPLORE] = backbone.tokens[EXPLOIT]
    output = backbone(obs)
    torch.testing.assert_close(output.intrinsic, output.extrinsic)


# --- attention -------------------------------------------------------------------------------------------------------


def attention_by_hand(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k / sqrt(d)) v for one head, row by row: three ``[N, d]`` -> ``[N, d]``."""
    rows = []
    for q in query:
        scores = torch.stack([(q * k).sum() / math.sqrt(len(q)) for k in key])
        exponents = (scores - scores.max()).exp()
        rows.append(sum(e * v for e, v in zip(exponents / exponents.sum(), value, strict=True)))
    return torch.stack(rows)  # type: ignore[arg-type]


def test_attention_is_the_formula() -> None:
    attention, x = build(VIT).blocks[0].attention, torch.randn(2, 5, 16)
    key_weight, value_weight = attention.key_value.weight.chunk(2)
    for batch in range(2):
        heads = []
        for head in range(2):
            part = slice(8 * head, 8 * head + 8)
            query, key, value = (x[batch] @ w[part].T for w in (attention.query.weight, key_weight, value_weight))
            heads.append(attention_by_hand(query, key, value))
        expected = torch.cat(heads, dim=1) @ attention.out.weight.T + attention.out.bias
        torch.testing.assert_close(attention(x)[batch], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(attention(x, 2)[batch], expected[:2], atol=1e-5, rtol=1e-5)


def test_a_block_is_torch_s_own_pre_norm_encoder_layer() -> None:
    block, x = build(VIT).blocks[0], torch.randn(2, 5, 16)
    layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, nn.functional.gelu, batch_first=True, norm_first=True)
    own = dict(block.named_parameters())
    names = {
        "norm1": "norm", "norm2": "mlp.0", "linear1": "mlp.1", "linear2": "mlp.4", "self_attn.out_proj": "attention.out"
    }  # fmt: skip
    state = {f"{theirs}.{p}": own[f"{ours}.{p}"] for theirs, ours in names.items() for p in ("weight", "bias")}
    state["self_attn.in_proj_weight"] = torch.cat([own["attention.query.weight"], own["attention.key_value.weight"]])
    state["self_attn.in_proj_bias"] = torch.zeros(48)
    layer.load_state_dict(state)
    torch.testing.assert_close(block(x), layer(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("spec", ALL)
def test_attention_weights_are_those_of_the_forward_pass(spec: dict[str, Any]) -> None:
    backbone, obs, calls = build(spec), sample(), []
    for block in backbone.blocks:
        block.attention.register_forward_hook(lambda module, args, output: calls.append((module, args[0], output)))
    backbone(obs)
    seen, weights = list(calls), backbone.attention_weights(obs)
    tokens = ["explore.", "exploit."] if "explorative" in spec["type"] else [""]
    assert set(weights) == {f"{token}blocks.{i}" for token in tokens for i in range(3)}
    for named in weights.values():
        assert named.shape == (4, 2, 13, 13) and bool((named >= 0).all())
        torch.testing.assert_close(named.sum(3), torch.ones(4, 2, 13))
    for t, token in enumerate(tokens):
        for i, (module, x, output) in enumerate(seen):
            if spec is ONE:  # one token's rows and columns of the sequence that holds both
                keep = [t, *range(2, 14)]
                x, output = x[:, keep], output[:, [t] if i == 2 else keep]
            else:
                x, output = x.chunk(len(tokens))[t], output.chunk(len(tokens))[t]
            heads = weights[f"{token}blocks.{i}"] @ module.project(x)[2]
            again = module.out(heads.transpose(1, 2).flatten(2))
            torch.testing.assert_close(again[:, : output.shape[1]], output, atol=1e-5, rtol=1e-5)


# --- dropout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["dropout", "embedding_dropout"])
@pytest.mark.parametrize("spec", ALL)
def test_dropout_acts_in_training_mode_only(spec: dict[str, Any], option: str) -> None:
    backbone, plain, obs = build({**spec, option: 0.5}), build(spec), sample()
    backbone.train()
    assert not torch.allclose(backbone(obs).policy, backbone(obs).policy)
    backbone.eval()
    assert torch.equal(backbone(obs).policy, plain(obs).policy)


def test_dropout_is_on_attention_weights_and_all_block_outputs() -> None:
    block, x, called = build(VIT, dropout=0.5).blocks[0], torch.randn(2, 5, 16), []
    assert not torch.allclose(block.attention(x), block.attention(x))
    layers = [layer for layer in block.modules() if isinstance(layer, nn.Dropout)]
    for layer in layers:
        layer.register_forward_hook(lambda layer, args, output: called.append((layer, output)))
    block(x)
    # After attention, after GELU, after the MLP.
    assert [layer for layer, _ in called] == layers and len(layers) == 3
    assert all(0.2 < (output == 0).float().mean() < 0.8 for _, output in called)


# --- under the heads -------------------------------------------------------------------------------------------------


def policy_and_critics(spec: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = {"backbone": spec, "intrinsic_rewards": [{"type": "rnd"}], "auxiliary_losses": [], "frame_stack": 4}
    return IntrinsicPPOModule(
        observation_space=image_space(4, 48, 36),
        action_space=gym.spaces.Discrete(5),
        inference_only=True,
        model_config=config,
    )


@pytest.mark.parametrize("spec", EXPLORATIVE)
def test_each_value_depends_on_its_own_token_only(spec: dict[str, Any]) -> None:
    module = policy_and_critics(spec)
    obs = sample(3, module.observation_space)
    outputs, values, _ = module.policy_and_values(obs)
    for stream, token in ((0, EXPLOIT), (1, EXPLORE)):
        (grad,) = torch.autograd.grad(values[:, stream].sum(), module.backbone.tokens, retain_graph=True)
        assert grad[token].any() and not grad[1 - token].any()
    redraw_token(module.backbone, EXPLORE)
    new_outputs, new_values, _ = module.policy_and_values(obs)
    assert torch.equal(new_values[:, 0], values[:, 0])
    assert (new_values[:, 1] != values[:, 1]).all() and (new_outputs != outputs).any(1).all()


@pytest.mark.parametrize("spec", ALL)
def test_without_dropout_the_ratio_starts_at_1(spec: dict[str, Any]) -> None:
    module = policy_and_critics(spec)
    obs = sample(6, module.observation_space)
    action = torch.arange(6) % 5
    with torch.no_grad():  # as a runner acts
        old, _ = module.distribution.logp_and_entropy(module.eval().policy_and_values(obs)[0], action)
    new, _ = module.distribution.logp_and_entropy(module.train().policy_and_values(obs)[0], action)
    assert torch.equal((new - old).exp(), torch.ones(6))


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "space", "message"),
    [
        ({"patch_size": 5}, image_space(4, 84, 84), r"^patch_size: 5 .*84 x 84.*4, 6, 7.*Nearest: 6"),
        ({"patch_size": 16}, image_space(64, 40, 3), r"16 does not divide.*1, 2, 4, 8\. Nearest: 8"),
        ({"patch_size": 0}, SPACE, "patch_size.*1 or more"),
        ({"num_heads": 0}, SPACE, "num_heads.*1 or more"),
        ({"depth": 0}, SPACE, "depth.*1 or more"),
        ({"dropout": 1.0}, SPACE, r"dropout.*0\.0 to 0\.9"),
        ({"heads": 4}, SPACE, "heads"),
        ({"passes": "three"}, SPACE, "passes"),
        ({"aggregate": "max"}, SPACE, "aggregate"),
        ({}, gym.spaces.Box(-1, 1, (4,), np.float32), "^type: 'vit_explorative' reads images.*mlp"),
    ],
)
def test_bad_options_are_config_errors(options: dict[str, Any], space: gym.spaces.Box, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_backbone({"type": "vit_explorative", **options}, space)
