"""The five SND rewards: who learns from what, what is new, what is shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rllib_rnd.functional import contrastive_mse_loss, info_nce_loss, snd_barlow_loss, st_dim_loss, vicreg_loss
from rllib_rnd.intrinsic.snd.networks import draw_pairs
from tests.intrinsic.rollouts import image_space, random_rollout
from tests.intrinsic.snd.snd_checks import AUGMENTED, NAMES, N, make, mean, samples_of, terms, train


def without_augmentation(name: str, **options: Any) -> Any:
    reward = make(name, **options)
    if name in AUGMENTED:
        reward.augment = lambda x, generator: x
    return reward


def test_snd_v_is_the_contrastive_loss_of_drawn_pairs() -> None:
    reward, data = without_augmentation("snd_v", pairs=10), random_rollout()
    index, generator = samples_of(reward, data)
    drawn, z = draw_pairs(len(index), 10, generator), reward.target(reward.inputs(data, index))
    wanted = contrastive_mse_loss(z[drawn.first], z[drawn.second], drawn.label)
    torch.testing.assert_close(mean(terms(reward, data)["snd_target_loss"]), wanted)


@pytest.mark.parametrize("regulariser", ["magnitude", "square", "norm"])
def test_snd_v_regularisers(regulariser: str) -> None:
    options: dict[str, Any] = {"regulariser": regulariser, "regularisation_coeff": 0.01}
    data = random_rollout()
    plain, with_it = (without_augmentation("snd_v", **o) for o in ({"regulariser": "none"}, options))
    for reward in (plain, with_it):
        reward.target.head[0].bias.data.fill_(20.0)  # mean squares of about 400 each
    difference = mean(terms(with_it, data)["snd_target_loss"]) - mean(terms(plain, data)["snd_target_loss"])
    assert difference > 1.0


def test_infonce_is_that_of_two_views_and_holds_features_to_a_mean_square_of_one() -> None:
    reward, data = without_augmentation("snd_infonce"), random_rollout()
    index, _ = samples_of(reward, data)
    for bias in (0.0, 20.0):
        reward.target.head[0].bias.data.fill_(bias)
        z = reward.target(reward.inputs(data, index))
        wanted = info_nce_loss(z, z) + torch.relu(2 * z.square().mean() - 2.0)
        torch.testing.assert_close(mean(terms(reward, data)["snd_target_loss"]), wanted)
    assert wanted > 700.0  # 2 * 20^2 and a little


def test_barlow_is_the_loss_per_feature() -> None:
    reward, data = without_augmentation("snd_barlow"), random_rollout()
    index, _ = samples_of(reward, data)
    z = reward.target(reward.inputs(data, index))
    torch.testing.assert_close(mean(terms(reward, data)["snd_target_loss"]), snd_barlow_loss(z, z) / 16)


def test_vic_and_std_are_those_of_following_states() -> None:
    data = random_rollout((36, 36))
    vic, std = (make(name, image_space(36, 36)) for name in ("snd_vic", "snd_std"))
    index, _ = samples_of(vic, data)
    now, following = vic.frames(data.newest_frame(index)), vic.frames(data.newest_frame(index, 1))
    wanted = vicreg_loss(vic.target(now), vic.target(following))
    torch.testing.assert_close(mean(terms(vic, data)["snd_target_loss"]), wanted)

    z_t, local_t = std.target.with_local(now)
    z_tp1, local_tp1 = std.target.with_local(following)
    assert local_t.shape[1:] == (64, 5, 5)
    local_query = torch.einsum("dc,bchw->bdhw", std.local_query.weight, local_tp1)
    wanted = st_dim_loss(std.global_query(z_tp1), local_query, local_t, torch.cat([z_t, z_tp1]))
    torch.testing.assert_close(mean(terms(std, data)["snd_target_loss"]), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["snd_std", "snd_vic"])
def test_which_observation_is_rewarded_does_not_change_what_the_target_learns(name: str) -> None:
    data = random_rollout()
    options: dict[str, Any] = {"inverse_coeff": 0.5} if name == "snd_vic" else {}
    rewards = [make(name, reward_on=on, **options) for on in ("current", "next")]
    now, following = (terms(reward, data) for reward in rewards)
    for term in rewards[0].loss_names():
        torch.testing.assert_close(mean(now[term]), mean(following[term]))
    assert not torch.allclose(mean(now["snd_predictor_loss"]), mean(following["snd_predictor_loss"]))


def test_pairs_of_following_states_never_cross_an_episode() -> None:
    """The state after an episode's last step is its true end, and the reset step is no sample."""
    data = random_rollout()
    data.frames[4, 1] = float("nan")  # the next episode's first observation
    reward = make("snd_vic", normalize_input="none")
    before_reset = torch.tensor([n + N * t for t in range(3) for n in range(N)])
    named = terms(reward, data, index=before_reset)
    assert all(torch.isfinite(mean(term)) for term in named.values())


def test_inverse_model_has_the_layers_of_the_source() -> None:
    inverse = make("snd_vic", inverse_coeff=0.5, feature_dim=512).inverse
    layers = [m for m in inverse.modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [(1024, 512), (512, 256), (256, 4)]
    for layer in layers:
        gram = layer.weight @ layer.weight.T
        torch.testing.assert_close(gram, 2.0 * torch.eye(len(gram)), rtol=1e-4, atol=1e-4)


def test_inverse_model_predicts_the_action_between() -> None:
    reward, data = make("snd_vic", inverse_coeff=0.5), random_rollout()
    index, _ = samples_of(reward, data)
    features = [reward.target(reward.frames(data.newest_frame(index, offset))) for offset in (0, 1)]
    wanted = 0.5 * reward.inverse.loss(*features, data.action.flatten()[index]).mean()
    torch.testing.assert_close(mean(terms(reward, data)["snd_inverse_loss"]), wanted)


@pytest.mark.parametrize(
    ("name", "passes"),
    [("snd_v", [20, 17]), ("snd_infonce", [20, 17]), ("snd_barlow", [20, 17]), ("snd_std", [34]), ("snd_vic", [34])],
)
def test_the_target_sees_no_frame_twice(name: str, passes: list[int]) -> None:
    """Without augmentation the pass that is learned from also gives what is distilled."""
    options: dict[str, Any] = {"pairs": 10} if name in AUGMENTED else {}
    reward, data = make(name, **options), random_rollout()
    features, seen = reward.compute(data)[1], []
    reward.target.local.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    terms(reward, data, features=features)
    assert seen == passes


@pytest.mark.parametrize("name", [*NAMES, "vinv"])
def test_target_learns_from_itself_and_predictor_from_the_target_only(name: str) -> None:
    options: dict[str, Any] = {"inverse_coeff": 0.5} if name == "vinv" else {}
    kind, space = "snd_vic" if name == "vinv" else name, image_space(36, 36)
    reward, data = make(kind, space, **options), random_rollout((36, 36))
    named = terms(reward, data)
    predictor = dict(reward.predictor.named_parameters(prefix="predictor"))
    own = {n: p for n, p in reward.named_parameters() if n not in predictor}
    assert set(own) >= set(dict(reward.target.named_parameters(prefix="target")))

    mean(named["snd_predictor_loss"]).backward()
    assert all(p.grad is None for p in own.values())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in predictor.values())
    for parameter in predictor.values():
        parameter.grad = None

    torch.stack([mean(named[n]) for n in reward.loss_names()]).sum().backward()
    assert all(p.grad is None for p in predictor.values())
    for parameter, value in own.items():
        # A bias of the last layer shifts all features alike, which most of the losses cannot see.
        if parameter != "target.head.1.bias" and parameter != "target.head.3.bias":
            assert value.grad is not None and value.grad.abs().sum() > 0, parameter


@pytest.mark.parametrize("name", NAMES)
def test_target_learns_and_predictor_follows_it(name: str) -> None:
    reward, data = make(name), random_rollout((5,), 12, 6)
    reward.update_statistics(data)
    before = reward.compute(data)[1]["target"]
    history = train(reward, data, 150)
    first, last = (sum(h["snd_target_loss"] for h in part) for part in (history[:10], history[-10:]))
    assert last < first
    features = reward.compute(data)[1]["target"]
    assert (features - before).square().mean() > 0.1 * features.var(0).mean()
    assert history[-1]["snd_predictor_loss"] < 0.3 * features.var(0).mean()


@pytest.mark.parametrize("name", NAMES)
def test_a_visited_state_loses_its_bonus_and_a_new_one_keeps_it(name: str) -> None:
    """Half of all steps show one frame; afterwards it is compared with frames never seen."""
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(17, 8, 5)).astype(np.float32)
    frames[::2] = [2.0, -2.0, 2.0, -2.0, 2.0]
    visited = random_rollout((5,), 16, 8, frames=frames)
    new = random_rollout((5,), 16, 8, frames=rng.normal(size=frames.shape).astype(np.float32))
    reward = make(name, normalize_input="none", feature_dim=8)

    def relative() -> float:
        """Its bonus in units of that of new frames; the scale of both is that of the target's features, which grow."""
        return float(reward.compute(visited)[0][1, 0] / reward.compute(new)[0][new.valid].mean())

    assert relative() > 0.5
    train(reward, visited, 250)
    assert relative() < 0.1
