"""Every backbone, reward and loss on every kind of observation and action: it trains, or is refused when built."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_rnd.auxiliary import AUXILIARY_LOSSES
from rllib_rnd.errors import ConfigError
from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.modules import BACKBONES
from rllib_rnd.plugin import Spaces
from rllib_rnd.sampling.play import Play, make_play
from rllib_rnd.sampling.policy import Policy
from rllib_rnd.sampling.seeds import ResetSeeds
from rllib_rnd.training.batch import AdvantageSettings, prepare_training
from rllib_rnd.training.nonfinite import NonFiniteUpdates
from rllib_rnd.training.update import PPOSettings, PPOUpdate
from tests.conftest import small_config
from tests.envs import test_plain
from tests.envs.test_plain import ACTIONS, Echo, box
from tests.test_combinations import SMALL

ENV, STEPS = "tests.test_spaces:Shown", 8
SIDE = 44  # pixels that every backbone's convolutions leave something of
IMAGES: dict[str, spaces.Space] = {
    "bytes": box(0, 255, "uint8", (SIDE, SIDE)),
    "bytes of 0 and 1": box(0, 1, "uint8", (2, SIDE, SIDE)),
    "bytes from 3 to 17": box(3, 17, "uint8", (SIDE, SIDE, 3)),
    "depths": box(0, 65535, "uint16", (SIDE, SIDE)),
    "signed": box(-300, 200, "int16", (SIDE, SIDE)),
    "masks": box(0, 1, "bool", (SIDE, SIDE)),
    "whole without bounds": box(-np.inf, np.inf, "int64", (SIDE, SIDE)),
    "floats of 0 to 1": box(0, 1, "float32", (SIDE, SIDE)),
    "halves of -1 to 1": box(-1, 1, "float16", (SIDE, SIDE)),
    "doubles of 0 to 255": box(0, 255, "float64", (SIDE, SIDE)),
    "floats without bounds": box(-np.inf, np.inf, "float32", (SIDE, SIDE)),
}
VECTORS: dict[str, spaces.Space] = {name: space for name, (space, _) in test_plain.OBSERVATIONS.items()}
OBSERVATIONS = {**VECTORS, **IMAGES}

VECTOR_BACKBONES = ("mlp", "fnn", "gru", "lstm", "iam")
_VIT = {**SMALL["vit"], "patch_size": 11}
BACKBONE_OPTIONS: dict[str, dict[str, Any]] = {**SMALL, "vit": _VIT, "vit_explorative": _VIT}
#: What makes rewards cheap, of those options that they have, and what makes them read actions.
SIZES: dict[str, Any] = {
    **dict.fromkeys(("feature_dim", "model_size", "memory_size", "rnd_feature_dim", "pairs"), 8),
    **{name: [8] for name in ("hidden_sizes", "rnd_hidden_sizes")},
    **{"capacity": 16, "buffer_size": 4, "table_bits": 6, "horizon": 2},
}
REWARD_OPTIONS: dict[str, dict[str, Any]] = {"snd_vic": {"inverse_coeff": 0.1}, "disagreement": {"encoder": "inverse"}}
IMAGES_ONLY = ("modified_rnd",)
LOSS_OPTIONS: dict[str, dict[str, Any]] = {
    "byol": {"projector_hidden": 8, "projection_size": 4, "predictor_hidden": 8},
    "barlow_twins": {"projector_sizes": [8, 8]},
}


#: What cannot work: observation, action, settings, and what is said before anything is played.
REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "text": ("text", "discrete", {}, r"env: observations Dict.*one array.*FilterObservation"),
    "nothing": ("nothing", "discrete", {}, r"env: the observation space Box.*\(0,\).*not supported"),
    "sequence": ("sequence", "discrete", {}, r"env: observations Sequence.*one array.*TransformObservation"),
    "whole box": ("float32", "whole box", {}, r"env: action space Box\(0, 9, \(2,\), int64\).*TransformAction"),
    "tuple": ("float32", "tuple", {}, r"env: action space Tuple.*MultiDiscrete\(\[n, m.*TransformAction"),
    "dict": ("float32", "dict", {}, r"env: action space Dict.*TransformAction"),
    "images": ("dict", "discrete", {"backbone": "nature_cnn"}, r"backbone\.type: 'nature_cnn' reads images.*'mlp'"),
    "one number": ("scalar", "discrete", {"backbone": {"type": "iam"}}, r"backbone\.d_set: .*only number.*'linear'"),
    "features": ("discrete", "discrete", {"intrinsic_reward": "modified_rnd"}, r"intrinsic_reward\.type:.*no images"),
    "shift": ("binary", "discrete", {"auxiliary_loss": "byol"}, r"auxiliary_loss\.augmentation:.*'none'"),
    "noise": (
        "bytes",
        "discrete",
        {"auxiliary_loss": {"type": "byol", "augmentation": "noise"}},
        r"augmentation:.*shift",
    ),
}
OBSERVATIONS |= {
    "text": spaces.Dict(a=box(0, 1, "float32"), mission=spaces.Text(4)),
    "nothing": box(0, 1, "float32", (0,)),
    "sequence": spaces.Sequence(spaces.Discrete(2)),
}
TAKEN = {name: space for name, (space, _) in ACTIONS.items()} | {
    "whole box": box(0, 9, "int64", (2,)),
    "tuple": spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3))),
    "dict": spaces.Dict(a=spaces.Discrete(2)),
}


class Shown(Echo):
    """`Echo` by the names of its spaces, with episodes of five steps."""

    def __init__(self, observation: str, action: str = "discrete") -> None:
        super().__init__(OBSERVATIONS[observation], TAKEN[action])

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, *_, info = super().step(action)
        return obs, 1.0, len(self.taken) % 5 == 0, False, info

    def render(self) -> None:
        """There is nothing to see."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclasses.dataclass
class Pair:
    """A runner's play and a learner's update without RLlib around them, which would cost a second each."""

    play: Play
    policy: Policy
    module: IntrinsicPPOModule
    update: PPOUpdate

    def train(self) -> dict[str, torch.Tensor]:
        """Random play and two iterations; the metrics of the last one."""
        rewards, metrics = self.module.rewards(), dict[str, torch.Tensor]()
        for reward in rewards:
            reward.update_statistics(self.play.rollout(None, 6).to_torch())
        for _ in range(2):
            self.module.eval()
            rollout = self.play.rollout(self.policy, STEPS).to_torch()
            batch, metrics = prepare_training(self.module, rollout, AdvantageSettings(0.99, 0.95))
            metrics |= self.update.train_on(batch)
            for reward in rewards:
                reward.update_statistics(rollout)
        return metrics


def build(observation: str, action: str = "discrete", **training: Any) -> Pair:
    """Raises:
    ConfigError: something of it does not fit, before anything is played.
    """
    config = small_config("IntrinsicPPO", env=ENV, num_epochs=1, num_minibatches=1, **training)
    config.environment(ENV, env_config={"observation": observation, "action": action})
    play = make_play(config, 2, ResetSeeds(0))
    module = IntrinsicPPOModule(
        observation_space=play.env.single_observation_space,
        action_space=play.env.single_action_space,
        model_config=config.model_config,
    )
    backbone, streams = module.backbone, 1 + len(module.rewards())
    policy = Policy(
        module.policy_and_values,
        module.distribution,
        torch.Generator().manual_seed(0),
        memory_size=backbone.state_size,
        sequence_length=backbone.max_seq_len,
        num_streams=streams,
    )
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer, generator = torch.optim.SGD(trained, lr=1e-4), torch.Generator().manual_seed(0)
    update = PPOUpdate(module, module.policy_and_values, optimizer, NonFiniteUpdates(1), generator, PPOSettings(0.1))
    return Pair(play, policy, module, update)


def small_reward(name: str) -> dict[str, Any]:
    cls, _ = INTRINSIC_REWARDS.parse(name)
    known = {field.name for field in dataclasses.fields(cls.Options)}
    sizes = {key: value for key, value in SIZES.items() if key in known}
    return {"type": name, **sizes, **REWARD_OPTIONS.get(name, {})}


def auxiliary_loss(observation: str, name: str) -> dict[str, Any]:
    if observation in IMAGES:
        augmentation = "shift"
    else:
        space, plain = test_plain.OBSERVATIONS[observation]
        augmentation = "noise" if np.dtype(plain[1] if plain else space.dtype).kind == "f" else "none"
    return {"type": name, "augmentation": augmentation, "coeff": 0.1, **LOSS_OPTIONS[name]}


@functools.cache
def cases() -> list[tuple[str, str, str, tuple[str, ...], str | None]]:
    """(observation, action, backbone, rewards, auxiliary loss or None), so few that every pair is among them that
    `test_every_pair_is_tried` asks for."""
    actions, losses, found = itertools.cycle(ACTIONS), itertools.cycle([*AUXILIARY_LOSSES.names(), None, None]), []
    on_vectors = [name for name in INTRINSIC_REWARDS.names() if name not in IMAGES_ONLY]
    for observation in VECTORS:
        rewards = deque(on_vectors)
        for backbone in VECTOR_BACKBONES:
            taken = tuple(rewards.popleft() for _ in range(min(4, len(rewards))))
            found.append((observation, next(actions), backbone, taken, next(losses)))
    images, others = itertools.cycle(IMAGES), itertools.cycle(INTRINSIC_REWARDS.names())
    for backbone in [*BACKBONES.names(), *BACKBONES.names()]:
        found.append((next(images), next(actions), backbone, (next(others), next(others)), next(losses)))
    return found


def test_every_pair_is_tried() -> None:
    tried = cases()
    vectors = {(obs, backbone) for obs, _, backbone, *_ in tried if obs in VECTORS}
    assert vectors == set(itertools.product(VECTORS, VECTOR_BACKBONES))
    paid = {(obs, reward) for obs, _, _, rewards, _ in tried for reward in rewards if obs in VECTORS}
    assert paid == set(itertools.product(VECTORS, set(INTRINSIC_REWARDS.names()) - set(IMAGES_ONLY)))
    acted = {(action, reward) for _, action, _, rewards, _ in tried for reward in rewards}
    assert acted >= set(itertools.product(ACTIONS, ("icm", "ride", "disagreement", "byol_explore", "ngu", "e3b")))
    assert {action for _, action, *_ in tried} == set(ACTIONS)
    assert {obs for obs, *_ in tried} == {*VECTORS, *IMAGES}
    assert {backbone for obs, _, backbone, *_ in tried if obs in IMAGES} == set(BACKBONES.names())
    assert {reward for obs, *_, rewards, _ in tried for reward in rewards if obs in IMAGES} == set(
        INTRINSIC_REWARDS.names()
    )
    assert {loss for *_, loss in tried} == {*AUXILIARY_LOSSES.names(), None}


@pytest.mark.parametrize("observation", [*VECTORS, *IMAGES])
def test_it_trains(observation: str) -> None:
    for obs, action, backbone, rewards, loss in cases():
        if obs != observation:
            continue
        options = BACKBONE_OPTIONS[backbone]
        if backbone == "iam" and obs == "scalar":
            options = {**options, "d_set": "linear", "d_set_size": 2}  # attention has nothing to choose from
        metrics = build(
            obs,
            action,
            backbone={"type": backbone, **options},
            intrinsic_reward=[small_reward(name) for name in rewards],
            auxiliary_loss=None if loss is None else auxiliary_loss(obs, loss),
        ).train()
        bad = [name for name, value in metrics.items() if not bool(torch.isfinite(value).all())]
        assert not bad and float(metrics["grad_norm"]) > 0.0, (obs, action, backbone, rewards, loss)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_before_anything_is_played(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shown, "reset", lambda *_, **__: pytest.fail("it was played"))
    observation, action, settings, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        build(observation, action, **settings)


@pytest.mark.parametrize(("observation", "warns"), [("whole without bounds", True), ("floats without bounds", True),
                                                    ("depths", False), ("float32", False)])  # fmt: skip
def test_what_is_not_scaled_for_want_of_bounds_is_told(
    observation: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    build(observation)
    assert ("no bounds to scale them by" in caplog.text) == warns


@pytest.mark.parametrize("action", ACTIONS)
def test_random_play_writes_down_what_a_policy_would_have_said(action: str) -> None:
    pair = build("float32", action)
    played, space = pair.play.rollout(None, 6), pair.play.env.single_action_space
    sent = [np.ravel(one) for one in pair.play.env.envs[0].unwrapped.taken]
    back = pair.play.to_env(played.action[:, 0])
    valid = played.valid[:, 0]
    np.testing.assert_allclose(
        np.stack([np.ravel(a) for a in back[valid]]), np.stack(sent[: valid.sum()]), rtol=1e-5, atol=1e-6
    )
    features = Spaces(pair.module.observation_space, space).action_features(torch.as_tensor(played.action[:, 0]))
    assert float(features.abs().max()) <= 1.0 + 1e-5


def test_rllibs_episodes_draw_from_the_same_distribution() -> None:
    module = build("float32", "choices").module
    inputs = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    theirs = module.get_exploration_action_dist_cls().from_logits(inputs)
    action, logp = module.distribution.sample(inputs, torch.Generator().manual_seed(1))
    torch.testing.assert_close(theirs.logp(action), logp)
    torch.testing.assert_close(theirs.entropy(), module.distribution.logp_and_entropy(inputs, action)[1])
    assert torch.equal(theirs.to_deterministic().sample(), module.distribution.mode(inputs))
    assert module.get_inference_action_dist_cls().from_logits(inputs).sample().shape == (5, 2)


@pytest.mark.parametrize(
    ("normalize", "clip", "expected"), [(True, True, [1.0, 1.0]), (False, True, [0.5, 1.0]), (False, False, [0.5, 3.5])]
)
def test_rewards_know_how_actions_reach_the_environment(normalize: bool, clip: bool, expected: list[float]) -> None:
    config = small_config("IntrinsicPPO", intrinsic_reward={"type": "icm"})
    config.environment(normalize_actions=normalize, clip_actions=clip)
    space = spaces.Box(np.array([-2.0, -4.0], np.float32), np.array([2.0, 4.0], np.float32))
    module = IntrinsicPPOModule(
        observation_space=box(0, 1, "float32"), action_space=space, model_config=config.model_config
    )
    (reward,) = module.rewards()
    found = reward.spaces.action_features(torch.tensor([[1.0, 14.0]]))
    torch.testing.assert_close(found, torch.tensor([expected]))
