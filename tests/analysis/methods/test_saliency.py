"""Saliency: a planted patch is found by every method; Grad-CAM by hand; every backbone gives maps or says why not."""

from __future__ import annotations

from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rllib_rnd.analysis.agent import Agent
from rllib_rnd.analysis.controls import changed_pixels, deletion, similarity
from rllib_rnd.analysis.maps import METHODS, Map, Method
from rllib_rnd.analysis.methods import Occlusion
from rllib_rnd.analysis.methods.convolutions import activation_and_gradient, convolution_maps, layers_with_maps
from rllib_rnd.analysis.methods.gradcam import GradCAM, LayerMethod
from rllib_rnd.analysis.methods.gradcam_plus_plus import GradCAMPlusPlus, plus_plus
from rllib_rnd.analysis.methods.integrated_gradients import IntegratedGradients
from rllib_rnd.analysis.pixels import mean_frame, scaled, upscaled
from rllib_rnd.analysis.states import States
from rllib_rnd.analysis.targets import targets_of
from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.backbone import BACKBONES
from tests.analysis.agents import PICTURES, make_agent, one_thread, random_states
from tests.analysis.planted import planted_agent, planted_states, share_in_patch
from tests.intrinsic.every_reward import SMALL

__all__ = ["one_thread"]  # a fixture
pytestmark = pytest.mark.usefixtures("one_thread")

METHOD_CLASSES: list[type[Method]] = [GradCAM, GradCAMPlusPlus, IntegratedGradients, Occlusion]
VECTORS = gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)


@pytest.fixture(scope="module")
def planted() -> tuple[Agent, States]:
    agent = planted_agent()
    return agent, planted_states(agent)


@pytest.mark.parametrize("cls", METHOD_CLASSES, ids=lambda cls: cls.name)
def test_a_planted_patch_is_found_for_every_target(cls: type[Method], planted: tuple[Agent, States]) -> None:
    agent, states = planted
    targets = targets_of(agent)
    found = cls().maps(agent, states, targets)
    explained = targets if cls is Occlusion else [t for t in targets if t.differentiable]
    assert [m.target for m in found.values()] == [t.name for t in explained]
    assert len(explained) == (6 if cls is Occlusion else 5)
    by_name = {t.name: t for t in targets}
    bright = np.arange(len(states)) % 3 > 0
    for saliency in found.values():
        picture = upscaled(saliency.values, (44, 44))[bright]
        assert share_in_patch(picture).min() > 0.9, saliency.title
        assert saliency.target is not None
        curve = deletion(agent, states, saliency, by_name[saliency.target])
        assert curve.better, saliency.title
        assert min(curve.by_map) > 2 * max(curve.by_random)


def test_a_random_map_is_no_better_than_random(planted: tuple[Agent, States]) -> None:
    """A rule with 95 % intervals lets one of forty pass, at most."""
    agent, states = planted
    bright, passed = states.select(np.arange(len(states)) % 3 > 0), []
    for seed in range(8):
        noise = Map(np.random.default_rng(seed).random((len(bright), 44, 44)), "noise")
        passed.append(deletion(agent, bright, noise, targets_of(agent)[0], seed=seed).better)
    assert passed.count(True) <= 1


def test_one_state_alone_is_no_verdict(planted: tuple[Agent, States]) -> None:
    """No map of it could be better than random, and so none is said to be no better."""
    agent, states = planted
    noise = Map(np.random.default_rng(0).random((1, 44, 44)), "noise")
    curve = deletion(agent, states.select([1]), noise, targets_of(agent)[0])
    assert curve.better is None and curve.reason == "one state says nothing of others"


def test_a_map_of_elsewhere_and_a_constant_one_are_no_better(planted: tuple[Agent, States]) -> None:
    agent, states = planted
    corner = np.zeros((len(states), 11, 11))
    corner[:, 9:, :2] = 1.0
    elsewhere, flat = (deletion(agent, states, Map(v, "x"), targets_of(agent)[0]) for v in (corner, np.ones((9, 1, 1))))
    assert elsewhere.better is False and not any(elsewhere.reasons)
    assert flat.better is None and flat.reason == "the map is the same everywhere"
    corner[4:] = 1.0
    some = deletion(agent, states, Map(corner, "x"), targets_of(agent)[0])
    assert some.better is False and [bool(reason) for reason in some.reasons] == 4 * [False] + 5 * [True]
    assert some.by_map == pytest.approx(some.state_by_map[:4].mean(axis=0))


def one_hot_states(agent: Agent, count: int) -> States:
    space = agent.module.backbone.observation_space
    obs = np.eye(space.shape[0], dtype=space.dtype)[np.arange(count) % space.shape[0]]
    return States.of_observations(obs, agent)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_where_blanking_changes_hardly_anything_there_is_no_verdict(dtype: type) -> None:
    """A map that points at the one entry which is not 0 beats any other, whatever the network does with it."""
    space = gym.spaces.Box(0, 1, (60,), dtype)
    agent = make_agent(space, backbone="mlp", frame_stack=1)
    states = one_hot_states(agent, 24)
    for values in (states.obs[:, None].astype(np.float32), np.random.default_rng(0).random((24, 1, 60))):
        curve = deletion(agent, states, Map(values, "x"), targets_of(agent)[0])
        assert curve.better is None and curve.reason == "blanking changes fewer than 20 pixels"
        assert curve.wins_random == (0.5, 0.0, 1.0) and np.isfinite(curve.by_map).all()


@pytest.mark.parametrize("hot", [16, 30])
def test_a_map_of_what_is_there_alone_does_not_beat_random(hot: int) -> None:
    """Of 200 entries few are set: those of the map are compared with others that are, not with the many zeros."""
    space = gym.spaces.Box(0, 1, (200,), np.float32)
    agent = make_agent(space, backbone="mlp", frame_stack=1)
    rng = np.random.default_rng(0)
    obs = np.zeros((40, 200), np.float32)
    for row in obs:
        row[rng.choice(200, hot, replace=False)] = 1.0
    states = States.of_observations(obs, agent)
    changed = changed_pixels(agent, states, mean_frame(agent, states))
    assert (changed >= obs[:, None].astype(bool)).all()
    noise = obs + 0.5 * obs * rng.random(obs.shape)  # which of those that are set come first means nothing
    passed = []
    for seed in range(4):
        curve = deletion(agent, states, Map(noise[:, None], "set"), targets_of(agent)[1], seed=seed)
        passed.append(curve.better)
    assert passed == 4 * ([None] if hot < 20 else [False])


def test_intervals_are_shares(planted: tuple[Agent, States]) -> None:
    agent, states = planted
    patch = np.zeros((len(states), 11, 11))
    patch[:, 2, 7] = 1.0
    for shares in ((0.05, 0.1, 0.2), (0.9,)):
        curve = deletion(agent, states, Map(patch, "patch"), targets_of(agent)[0], shares)
        for mean, low, high in (curve.wins_random, curve.wins_moved):
            assert 0.0 <= low <= mean <= high <= 1.0


def test_a_deletion_curve_is_the_change_of_the_outputs(planted: tuple[Agent, States]) -> None:
    """By hand: all pixels of the patch blanked, and nothing else that matters."""
    agent, states = planted
    value = targets_of(agent)[1]
    patch = np.zeros((len(states), 11, 11))
    patch[:, 2, 7] = 1.0
    curve = deletion(agent, states, Map(patch, "patch"), value, shares=(0.2,))
    blank = states.obs.copy()
    blank[:] = mean_frame(agent, states)
    changed = np.abs(value.measure(agent, states, blank) - value.measure(agent, states, states.obs))
    assert curve.by_map[0] == pytest.approx(changed.mean(), rel=1e-6) == pytest.approx(curve.value.by_map[0], rel=1e-6)
    before, after = (agent.module.policy_and_values(torch.from_numpy(obs))[0] for obs in (states.obs, blank))
    p, q = before.detach().log_softmax(1), after.detach().log_softmax(1)
    assert curve.policy.by_map[0] == pytest.approx(float((p.exp() * (p - q)).sum(1).mean()), rel=1e-4)
    np.testing.assert_allclose(curve.state_by_map[:, 0], changed, rtol=1e-6)


def test_a_reward_is_to_fall_and_its_rise_is_no_success(planted: tuple[Agent, States]) -> None:
    """Blanking a dim patch makes it brighter: the reward rises, which other targets would count as a change."""
    agent, states = planted
    reward = next(t for t in targets_of(agent) if t.name.startswith("intrinsic_reward"))
    dim = states.select(np.arange(len(states)) % 3 == 0)
    noise = np.random.default_rng(2).integers(128, 256, dim.obs.shape, dtype=np.uint8)
    bright = States(**(vars(dim) | {"obs": noise}))
    dim_patch = np.zeros((len(dim), 11, 11))
    dim_patch[:, 2, 7] = 1.0
    bright.obs[:, 1, 8:12, 28:32] = 0
    curve = deletion(agent, bright, Map(dim_patch, "patch"), reward, shares=(0.05,))
    assert curve.by_map[0] < -0.3 and curve.wins_random[0] < 0.5
    value = deletion(agent, bright, Map(dim_patch, "patch"), targets_of(agent)[1], shares=(0.05,))
    assert value.by_map[0] > 0.3 and value.wins_random[0] > 0.5


def test_the_same_seed_draws_the_same_curve(planted: tuple[Agent, States]) -> None:
    agent, states = planted
    noise, action = Map(np.random.default_rng(0).random((len(states), 11, 11)), "noise"), targets_of(agent)[0]
    one, same, other = (deletion(agent, states, noise, action, seed=seed) for seed in (1, 1, 2))
    assert (one.by_random, one.wins_moved) == (same.by_random, same.wins_moved)
    assert one.by_random != other.by_random


def test_one_state_decides_nothing(planted: tuple[Agent, States]) -> None:
    agent, states = planted
    first = states.select([1])
    saliency = next(iter(Occlusion().maps(agent, first, targets_of(agent)[:1]).values()))
    curve = deletion(agent, first, saliency, targets_of(agent)[0])
    assert curve.by_map[0] > curve.by_random[0] and not curve.better


def test_similarity_is_a_rank_correlation() -> None:
    values = np.random.default_rng(0).random((3, 4, 5))
    base, warped, inverse = Map(values, "a"), Map(np.exp(9 * values), "b"), Map(-values, "c")
    np.testing.assert_allclose(similarity(base, warped), 1.0)
    np.testing.assert_allclose(similarity(base, inverse), -1.0)
    assert np.isnan(similarity(base, Map(np.ones((3, 4, 5)), "flat"))).all()
    assert np.abs(similarity(base, Map(np.random.default_rng(1).random((3, 8, 10)), "noise"))).max() < 0.6
    few = np.floor(values * 7.0)  # seven numbers
    assert np.isnan(similarity(base, Map(few, "few"))).all() and np.isnan(similarity(Map(few, "few"), base)).all()
    assert not np.isnan(similarity(base, Map(np.floor(values * 40.0), "many"))).any()


class TwoLayers(nn.Module):
    """A 1 x 1 convolution into two channels, and a linear readout of the four places of each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.readout = nn.Linear(8, 1, bias=False)
        with torch.no_grad():
            self.conv.weight[:] = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
            # Places row by row: the gradient of channel 0 is 1 2 3 -2, that of channel 1 is 0 0 1 0.
            self.readout.weight[:] = torch.tensor([[1.0, 2.0, 3.0, -2.0, 0.0, 0.0, 1.0, 0.0]])

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.conv(x).flatten(1))[:, 0]


def two_layers(method: LayerMethod) -> np.ndarray:
    net = TwoLayers()
    x = torch.tensor([[[[1.0, 0.0], [2.0, 1.0]]]], requires_grad=True)
    found = method.layer_map(net, net.conv, x)
    assert all(p.grad is None for p in net.parameters()) and x.grad is None
    return found.detach().numpy()


def test_gradcam_by_hand() -> None:
    # w = (1 + 2 + 3 - 2) / 4 = 1 and 1 / 4; A_0 = x, A_1 = 2 x: 1 x + 0.25 * 2 x = 1.5 x.
    np.testing.assert_allclose(two_layers(GradCAM())[0], [[1.5, 0.0], [3.0, 1.5]], rtol=1e-6)


def test_gradcam_plus_plus_by_hand() -> None:
    # Channel 0: sum A = 4; alpha = g^2 / (2 g^2 + 4 g^3) = 1/6, 1/10, 1/14 where g is 1, 2, 3; a negative g counts
    # for nothing.
    # w_0 = 1/6 * 1 + 1/10 * 2 + 1/14 * 3. Channel 1: sum A = 8; w_1 = 1 / (2 + 8).
    weights = [1 / 6 + 2 / 10 + 3 / 14, 1 / 10]
    x = np.array([[1.0, 0.0], [2.0, 1.0]])
    np.testing.assert_allclose(two_layers(GradCAMPlusPlus())[0], (weights[0] + 2 * weights[1]) * x, rtol=1e-5)


def test_gradcam_plus_plus_survives_any_size() -> None:
    activation, gradient = torch.rand(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    for factor in (1e-12, 1e6):
        assert plus_plus(activation, factor * gradient).isfinite().all()
    small = plus_plus(activation, 1e-9 * gradient)
    assert float(small.max()) > 0
    assert not plus_plus(activation, 0.0 * gradient).any()


def test_activation_and_gradient_of_a_layer_that_does_not_matter_are_zero() -> None:
    net = TwoLayers()
    x = torch.ones(1, 1, 2, 2, requires_grad=True)
    _, gradient = activation_and_gradient(lambda x: net.conv(x).sum() * 0.0 + x.sum(dim=(1, 2, 3)), net.conv, x)
    assert not gradient.any()


def test_integrated_gradients_add_up_to_the_target(planted: tuple[Agent, States]) -> None:
    """Completeness, also of a reward whose frames were normalised by moments without any spread."""
    agent = make_agent(backbone={"type": "nature_cnn", "hidden_sizes": [16]}, rewards=[{"type": "rnd", **SMALL["rnd"]}])
    states, targets = random_states(agent, 3), targets_of(agent)
    states.obs[:, 1, :20] = 7  # pixels that never change, as far as the moments know
    moments = agent.module.rewards()[0].obs_moments
    seen = np.concatenate([states.obs[:, 1]] * 2)
    moments.update(torch.from_numpy(seen))
    states.obs[0, 1, 5:8, 5:8] = 250  # but here is something new
    found = IntegratedGradients(steps=64).maps(agent, states, targets)
    blank = np.broadcast_to(mean_frame(agent, states), states.obs.shape)
    for target in targets[:3]:
        total = found["integrated_gradients-" + target.name.replace(": ", "-")].values.sum(axis=(1, 2))
        difference = target.measure(agent, states, states.obs) - target.measure(agent, states, blank)
        np.testing.assert_allclose(total, difference, rtol=0.1, atol=0.02 * np.abs(difference).max())
    reward = found["integrated_gradients-intrinsic_reward-rnd"].values
    wanted = targets[3].measure(agent, states, states.obs)
    path = targets[3].path(agent, scaled(agent, states.obs))
    assert path.nothing is not None
    nothing = path.value(path.nothing, states).detach().numpy()
    np.testing.assert_allclose(reward.sum(axis=(1, 2)), wanted - nothing, rtol=0.1, atol=0.02 * np.abs(wanted).max())
    assert np.abs(reward[0, 5:8, 5:8]).min() > 0, "what is new was missed"
    assert not reward[1:, :20].any(), "what never changes is not new"


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_backbone_gives_finite_maps_or_says_why_not(name: str) -> None:
    options: dict[str, Any] = (
        {"hidden_sizes": [16]} if "hidden_sizes" in BACKBONES.resolve(name).Options.__dataclass_fields__ else {}
    )
    if name.startswith("vit"):
        options = {"patch_size": 11, "dim": 16, "depth": 2, "num_heads": 2}
    agent = make_agent(backbone={"type": name, **options})
    states, targets = random_states(agent, 2), targets_of(agent)
    saved = {key: value.clone() for key, value in agent.module.state_dict().items()}
    for method_name, cls in METHODS.items():
        if cls not in METHOD_CLASSES:
            continue
        method = cls()
        reason = method.missing(agent)
        if reason is not None:
            assert method_name.startswith("gradcam") and name in ("vit", "vit_explorative", "mlp")
            assert "no convolution" in reason
            continue
        maps = method.maps(agent, states, targets)
        assert len(maps) == len(targets)
        for saliency in maps.values():
            assert saliency.values.shape[0] == 2 and np.isfinite(saliency.values).all()
            # Grad-CAM is empty where nothing speaks for the target, in some of so small networks.
            assert method_name.startswith("gradcam") or not saliency.constant.any(), saliency.title
    assert all(torch.equal(value, saved[key]) for key, value in agent.module.state_dict().items())
    assert all(p.grad is None for p in agent.module.parameters())


@pytest.mark.parametrize("reward", ["rnd", "snd_v", "modified_rnd"])
def test_a_reward_is_looked_into_whatever_the_backbone(reward: str) -> None:
    backbone = "nature_cnn" if reward == "modified_rnd" else "mlp"
    agent = make_agent(backbone={"type": backbone, "hidden_sizes": [16]}, rewards=[{"type": reward, **SMALL[reward]}])
    states = random_states(agent, 2)
    targets = [t for t in targets_of(agent) if t.name.startswith("intrinsic_reward")]
    for cls in METHOD_CLASSES:
        (saliency,) = cls().maps(agent, states, targets).values()
        assert not saliency.constant.any(), cls.name
    assert GradCAM().missing(agent) is None


def test_vectors_have_bars() -> None:
    agent = make_agent(VECTORS, backbone={"type": "gru", "memory_size": 8}, rewards=[{"type": "count"}], frame_stack=1)
    states, targets = random_states(agent, 3), targets_of(agent)
    assert "no convolution" in str(GradCAM().missing(agent))
    for cls in (IntegratedGradients, Occlusion):
        for saliency in cls().maps(agent, states, targets).values():
            assert saliency.values.shape == (3, 1, 5)
            assert "count" in str(saliency.target) or not saliency.constant.any()
    curve = deletion(agent, states, next(iter(Occlusion().maps(agent, states, targets).values())), targets[0])
    assert np.isfinite(curve.by_map).all()


def test_any_convolution_can_be_looked_into() -> None:
    agent = make_agent(backbone={"type": "self_attention", "feature_dim": 16})
    assert convolution_maps(agent) == ["conv1.1", "attention.operator", "attention", "conv2.1"]
    states, targets = random_states(agent, 2), targets_of(agent)
    early = GradCAM("conv1.1").maps(agent, states, targets)
    assert list(early) == ["gradcam-action-conv1.1", "gradcam-extrinsic_value-conv1.1"]
    late = GradCAM().maps(agent, states, targets)["gradcam-action"]
    assert early["gradcam-action-conv1.1"].values.shape[1] > late.values.shape[1]
    with pytest.raises(ConfigError, match=r"conv1\.2.*conv1\.1"):
        GradCAM("conv1.2").maps(agent, states, targets)


class TwoBranches(nn.Module):
    """A convolution that features come of, and one that nothing comes of."""

    def __init__(self, observation_space: gym.spaces.Box) -> None:
        super().__init__()
        self.used, self.unused = nn.Conv2d(2, 3, 8, 4), nn.Conv2d(2, 3, 8, 4)

    def forward(self, obs: Tensor) -> Tensor:
        x = obs.float() / 255.0
        self.unused(x)
        return cast("Tensor", self.used(x).relu().flatten(1))


@pytest.mark.parametrize("cls", [GradCAM, GradCAMPlusPlus])
def test_layers_that_are_no_feature_maps_can_be_looked_into_too(cls: type[LayerMethod]) -> None:
    rnd = {"type": "rnd", **SMALL["rnd"]}
    agent = make_agent(backbone="tests.analysis.methods.test_saliency:TwoBranches", rewards=[rnd])
    states, targets = random_states(agent, 2), targets_of(agent)
    names = layers_with_maps(agent)
    used, unused = (next(name for name in names if name.endswith(f".{part}")) for part in ("used", "unused"))
    assert convolution_maps(agent) == []
    found = cls(used).maps(agent, states, targets)
    assert list(found) == [
        *(f"{cls.name}-{of}-{used}" for of in ("action", "extrinsic_value", "intrinsic_value-rnd")),
        f"{cls.name}-intrinsic_reward-rnd",  # of its own network, which has no such layer
    ]
    assert not found[f"{cls.name}-action-{used}"].constant.any()
    nothing = cls(unused).maps(agent, states, targets[:1])[f"{cls.name}-action-{unused}"]
    assert not nothing.values.any()
    assert cls(used).missing(agent) is None and "no layer 'usde'" in str(cls("usde").missing(agent))


def test_untrained_networks_are_a_control() -> None:
    agent = make_agent(backbone={"type": "nature_cnn", "hidden_sizes": [16]}, rewards=[{"type": "rnd", **SMALL["rnd"]}])
    states, targets = random_states(agent, 3), targets_of(agent)
    twin = agent.untrained(5)
    for cls in METHOD_CLASSES[:3]:
        maps, control = (cls().maps(a, states, targets) for a in (agent, twin))
        assert maps.keys() == control.keys()
        assert all((maps[name].values != control[name].values).any() for name in maps)


def test_every_method_tells_what_it_shows() -> None:
    for name, cls in METHODS.items():
        assert cls.name == name
        for text in (cls.title, cls.source, cls.shows, cls.cannot):
            assert text and text == text.strip()


def test_pictures_are_the_smallest_that_all_backbones_read() -> None:
    assert PICTURES.shape == (2, 44, 44)
