"""The guarded step by hand, alone and on two learners, and the update of PPO that takes it."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable
from itertools import chain, product, takewhile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from rllib_rnd.module import IntrinsicPPOModule
from rllib_rnd.rollout import Rollout
from rllib_rnd.training.batch import AdvantageSettings, TrainingBatch, prepare_training
from rllib_rnd.training.nonfinite import NonFiniteTrainingError, NonFiniteUpdates
from rllib_rnd.training.plugin_losses import Term, auxiliary_terms
from rllib_rnd.training.pretraining import Pretraining, PretrainingOptions
from rllib_rnd.training.update import GuardedStep, PPOSettings, PPOUpdate

STEPS, ENVS = 6, 2
BYOL = {"type": "byol", "augmentation": "noise", "projector_hidden": 8, "projection_size": 4, "predictor_hidden": 8}
RND = {"type": "rnd", "feature_dim": 4, "hidden_sizes": [8], "update_proportion": 1.0}
NAN = float("nan")


def guarded(values: list[float], optimizer: Any = torch.optim.SGD, **settings: Any) -> tuple[GuardedStep, nn.Parameter]:
    """A step of one parameter, with learning rate 1."""
    parameter = nn.Parameter(torch.tensor(values))
    backbone: Any = nn.Identity()
    return GuardedStep(optimizer([parameter], lr=1.0), [], backbone, NonFiniteUpdates(3), **settings), parameter


def test_a_step_by_hand_whole_and_clipped() -> None:
    """Gradient (3, 4): its norm is 5; clipped to 1 it is (0.6, 0.8), and clipped to 9 itself."""
    for clip, expected in ((None, [7.0, 6.0]), (1.0, [9.4, 9.2]), (9.0, [7.0, 6.0])):
        step, parameter = guarded([10.0, 10.0], grad_clip=clip)
        parameter.grad = torch.tensor([3.0, 4.0])
        assert float(step.take({})) == 5.0  # as it was before
        torch.testing.assert_close(parameter.detach(), torch.tensor(expected))
        step.zero_gradients()
        assert parameter.grad is None


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_leaves_weights_and_optimizer_alone(bad: float) -> None:
    step, parameter = guarded([10.0, 10.0], torch.optim.Adam, grad_clip=1.0)
    parameter.grad = torch.tensor([3.0, 4.0])
    step.take({})
    weights, state = parameter.detach().clone(), step.optimizer.state[parameter]
    moments = {name: value.clone() for name, value in state.items()}
    parameter.grad = torch.tensor([bad, 1.0])
    assert float(step.take({"fine": torch.tensor(1.0)})) == 0.0
    assert torch.equal(parameter, weights)
    assert {name: value.tolist() for name, value in step.optimizer.state[parameter].items()} == {
        name: value.tolist() for name, value in moments.items()
    }
    assert (step.nonfinite.total, step.nonfinite.in_a_row) == (1, 1)
    parameter.grad = torch.tensor([3.0, 4.0])
    step.take({})
    assert not torch.equal(parameter, weights) and (step.nonfinite.total, step.nonfinite.in_a_row) == (1, 0)


@pytest.mark.parametrize(
    ("losses", "cause"),
    [({"good": 1.0, "bad": NAN, "worse": math.inf}, "not finite: bad, worse"), ({"good": 1.0}, "the gradients")],
)
def test_too_many_in_a_row_end_it_and_name_the_cause(losses: dict[str, float], cause: str) -> None:
    step, parameter = guarded([1.0])
    for gradient in (NAN, NAN, 0.5, NAN, NAN):  # never three in a row
        parameter.grad = torch.tensor([gradient])
        step.take({})
    parameter.grad = torch.tensor([NAN])
    with pytest.raises(NonFiniteTrainingError, match=f"3 updates in a row.*{cause}"):
        step.take({name: torch.tensor(value) for name, value in losses.items()})
    assert parameter.tolist() == [0.5] and step.nonfinite.total == 5


def learner(rank: int, folder: str) -> None:
    """One of two learners, with gradients of its own; saves what a finite and a bad step make of them."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        a, b, backbone = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Identity()
        optimizer = torch.optim.SGD([a, b], lr=1.0)
        step = GuardedStep(optimizer, [], backbone, NonFiniteUpdates(3))  # type: ignore[arg-type]
        a.grad = torch.tensor([1.0, 2.0]) if rank == 0 else torch.tensor([2.0, 2.0])
        b.grad = None if rank == 0 else torch.tensor([12.0])
        norm, taken = step.take({}), [a.tolist(), b.tolist()]
        a.grad = torch.tensor([1.0, NAN]) if rank == 0 else torch.tensor([1.0, 1.0])
        step.take({})
        after = [a.tolist(), b.tolist()]
        torch.save({"norm": norm, "taken": taken, "after": after, "skipped": step.nonfinite.total}, f"{folder}/{rank}")
    finally:
        dist.destroy_process_group()


def test_two_learners_step_by_the_sum_of_their_gradients_and_skip_together(tmp_path: Path) -> None:
    """(1, 2) + (2, 2) = (3, 4), and none + 12 = 12: the norm of all three is 13."""
    mp.spawn(learner, args=(str(tmp_path),), nprocs=2)
    for saved in (torch.load(tmp_path / f"{rank}") for rank in range(2)):
        assert float(saved["norm"]) == 13.0
        assert saved["taken"] == saved["after"] == [[-3.0, -4.0], [-12.0]]
        assert saved["skipped"] == 1


def module_of(space: gym.spaces.Box, **config: Any) -> IntrinsicPPOModule:
    """Three actions and RND; what is configured besides."""
    return IntrinsicPPOModule(
        observation_space=space,
        action_space=gym.spaces.Discrete(3),
        inference_only=False,
        model_config={"intrinsic_rewards": [RND], "auxiliary_losses": [], "frame_stack": 1, **config},
    )


@pytest.fixture
def module() -> IntrinsicPPOModule:
    """Vectors of 4, three actions, RND and BYOL."""
    torch.manual_seed(0)
    space = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
    return module_of(space, backbone={"type": "fnn", "hidden_sizes": [8]}, auxiliary_losses=[BYOL])


def played(module: IntrinsicPPOModule) -> Rollout:
    """A rollout of noise, with the log-probabilities and values that the module gives it."""
    rng, space = np.random.default_rng(0), module.observation_space
    arrays = Rollout.empty(STEPS, ENVS, space.shape, space.dtype, num_streams=2)
    arrays.frames[:] = rng.uniform(space.low.min(), space.high.max(), arrays.frames.shape)
    arrays.action[:] = rng.integers(0, 3, (STEPS, ENVS))
    arrays.reward[:] = rng.normal(size=(STEPS, ENVS))
    rollout = arrays.to_torch()
    with torch.no_grad():
        inputs, values, _ = module.policy_and_values(rollout.frames.flatten(0, 1))
        rollout.value = values.view(STEPS + 1, ENVS, 2)
        actions = rollout.action.flatten()
        rollout.logp = module.distribution.logp_and_entropy(inputs[: len(actions)], actions)[0].view(STEPS, ENVS)
    return rollout


def update_of(module: IntrinsicPPOModule, nonfinite: NonFiniteUpdates | None = None, **settings: Any) -> PPOUpdate:
    parameters = [p for p in module.parameters() if p.requires_grad]
    return PPOUpdate(
        module,
        module.policy_and_values,
        torch.optim.Adam(parameters, lr=1e-3),
        nonfinite or NonFiniteUpdates(100),
        torch.Generator().manual_seed(0),
        PPOSettings(**{"clip_param": 0.2, **settings}),
    )


def batch_of(module: IntrinsicPPOModule) -> TrainingBatch:
    return prepare_training(module, played(module), AdvantageSettings(gamma=0.99, lambda_=0.95))[0]


@pytest.mark.parametrize("bootstrap_truncated", [True, False])
def test_a_time_limit_ends_episodic_returns_only_where_it_is_said_to(
    module: IntrinsicPPOModule, bootstrap_truncated: bool
) -> None:
    """Of the step that is cut: reward and discounted value, or the reward alone. RND's stream goes on in any case."""
    rollout = played(module)
    rollout.truncated[1], rollout.is_first[3] = True, True  # step 2 resets
    targets = {}
    for told in (True, bootstrap_truncated):
        settings = AdvantageSettings(gamma=0.9, lambda_=0.95, bootstrap_truncated=told)
        torch.manual_seed(0)
        batch, _ = prepare_training(copy.deepcopy(module), rollout, settings)
        targets[told] = batch.value_target.view(STEPS, ENVS, 2)
    followed = 0.9 * rollout.value[2, :, 0] if bootstrap_truncated else 0.0
    torch.testing.assert_close(targets[bootstrap_truncated][1, :, 0], rollout.reward[1] + followed)
    torch.testing.assert_close(targets[bootstrap_truncated][..., 1], targets[True][..., 1], rtol=0.0, atol=0.0)


@torch.no_grad()
def test_the_loss_of_ppo_by_hand(module: IntrinsicPPOModule) -> None:
    """Ratio 1 and advantage 3: -3. Two values 2 below their targets: 0.5 * (4 + 4) = 4, of which half counts."""
    batch, update = batch_of(module), update_of(module, vf_loss_coeff=0.5, entropy_coeff=0.1)
    batch.advantage = torch.full((STEPS * ENVS,), 3.0)
    batch.value_target = batch.rollout.value[:-1].flatten(0, 1) + 2.0
    inputs, _, _ = module.policy_and_values(batch.rollout.obs(batch.sequences[:, 0]))
    entropy = float(torch.distributions.Categorical(logits=inputs).entropy().mean())
    count = torch.tensor(float(len(batch.sequences)))
    loss, parts = update.ppo_loss(batch, batch.sequences, count)
    assert float(loss) == pytest.approx(-3.0 + 0.5 * 4.0 - 0.1 * entropy, abs=1e-5)
    assert float(parts["vf_loss_extrinsic"]) == pytest.approx(2.0, abs=1e-5)
    half, _ = update.ppo_loss(batch, batch.sequences, 2 * count)  # as one of two learners with equal shares
    assert float(half) == pytest.approx(float(loss) / 2)
    update.entropy_coeff = 0.3
    assert float(update.ppo_loss(batch, batch.sequences, count)[0]) == pytest.approx(float(loss) - 0.2 * entropy, 1e-5)


@torch.no_grad()
def test_the_ratio_is_clipped_by_the_present_clip_param(module: IntrinsicPPOModule) -> None:
    batch, update = batch_of(module), update_of(module, vf_loss_coeff=0.0)
    batch.advantage, batch.rollout.logp = torch.ones(STEPS * ENVS), batch.rollout.logp - math.log(1.5)
    count = torch.tensor(float(len(batch.sequences)))
    for clip, expected in ((0.2, -1.2), (0.6, -1.5)):
        update.clip_param = clip
        assert float(update.ppo_loss(batch, batch.sequences, count)[0]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("direction", "project", "expected"), [(-1.0, True, 1.0), (1.0, True, 2.0), (-1.0, False, 0.0), (0.5, False, 1.5)]
)
def test_a_loss_against_ppo_is_projected_where_asked_for(
    module: IntrinsicPPOModule, monkeypatch: pytest.MonkeyPatch, direction: float, project: bool, expected: float
) -> None:
    """A loss whose gradient on the backbone is PPO's times ``direction``: what both together are, in PPO's."""
    terms: list[Term] = []
    monkeypatch.setattr("rllib_rnd.training.update.auxiliary_terms", lambda *_: terms)
    batch, update = batch_of(module), update_of(module)
    shared = list(module.backbone.parameters())
    update.gradients(batch, batch.sequences)
    ppo = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in shared]
    assert sum(float(g.abs().sum()) for g in ppo) > 0.1
    total = sum((direction * g * p).sum() for g, p in zip(ppo, shared, strict=True))
    assert isinstance(total, Tensor)
    # As the mean over four samples, with weight a half.
    terms.append(Term("against", 8.0 * total, torch.tensor(4.0), weight=0.5, project=0 if project else None))
    metrics = update.gradients(batch, batch.sequences)
    for parameter, gradient in zip(shared, ppo, strict=True):
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, expected * gradient, atol=1e-6, rtol=1e-4)
    if project:
        assert float(metrics["plugins/gradient_cosine"]) == pytest.approx(direction)
        assert float(metrics["plugins/gradient_projected"]) == float(direction < 0)
    else:
        assert "plugins/gradient_cosine" not in metrics


@pytest.mark.parametrize("shared_output", ["linear", "conv"])
def test_a_projection_does_no_harm_to_ppo_where_it_reaches_and_nothing_elsewhere(
    monkeypatch: pytest.MonkeyPatch, shared_output: str
) -> None:
    """Two losses that pull against PPO, one projected, one as it is: the first never knows of the second."""
    torch.manual_seed(0)
    module = module_of(
        gym.spaces.Box(0, 255, (36, 36), np.uint8),
        backbone={"type": "nature_cnn", "hidden_sizes": [8, 6], "shared_output": shared_output},
    )
    terms: list[Term] = []
    monkeypatch.setattr("rllib_rnd.training.update.auxiliary_terms", lambda *_: terms)
    batch, update = batch_of(module), update_of(module)
    shared = list(module.backbone.parameters())

    def gradients(*these: Term) -> list[Tensor]:
        terms[:] = these
        update.gradients(batch, batch.sequences)
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in shared]

    ppo = gradients()
    module.backbone.zero_grad()
    module.backbone.representation(batch.rollout.obs(batch.sequences[:, 0])).sum().backward()
    reached = [p.grad is not None for p in shared]
    assert all(reached) == (shared_output == "linear")
    pulls = [torch.where(g > 0, -2.0 * g, 0.5 * g) for g in ppo]  # against PPO on the whole

    def projected() -> Term:
        parts = [(g * p).sum() for g, p, there in zip(pulls, shared, reached, strict=True) if there]
        return Term("projected", torch.stack(parts).sum(), torch.tensor(1.0), project=0)

    other = torch.stack([(-3.0 * g * p).sum() for g, p in zip(ppo, shared, strict=True)]).sum()
    alone, with_other = gradients(projected()), gradients(projected(), Term("other", other, torch.tensor(1.0)))
    dot = size = 0.0
    for found, both, before, wanted, there in zip(alone, with_other, ppo, pulls, reached, strict=True):
        assert order(found) == order(both) == order(before)  # a fused optimizer steps through them in memory's
        torch.testing.assert_close(both, found - 3.0 * before, atol=1e-6, rtol=1e-4)
        if there:
            dot += float((before * (found - before)).sum())
            size += float((before * wanted).sum())
        else:
            assert torch.equal(found, before)
    assert size < 0.0 and abs(dot) < 1e-5 * abs(size)


def order(tensor: Tensor) -> list[int]:
    """Strides of the axes that have any."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


def test_minibatches_without_a_sample_take_no_step_and_have_no_say_in_metrics(
    module: IntrinsicPPOModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, update = batch_of(module), update_of(module, num_epochs=2, num_minibatches=15)
    told: list[int] = []
    monkeypatch.setattr(module.auxiliaries()[0], "after_update", lambda _: told.append(1))
    found = update.train_on(batch)
    assert len(told) == 2 * STEPS * ENVS
    assert float(found["entropy"]) == pytest.approx(math.log(3), abs=0.1)  # not 12 fifteenths of it
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    batch.rollout.is_first[1:] = True
    empty = prepare_training(module, batch.rollout, AdvantageSettings(gamma=0.99, lambda_=0.95))[0]
    assert update.train_on(empty) == {}
    assert all(torch.equal(p, before[name]) for name, p in module.named_parameters())


def test_every_epoch_takes_each_sample_once_and_means_are_over_all_minibatches(
    module: IntrinsicPPOModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, update = batch_of(module), update_of(module, num_epochs=2, num_minibatches=3)
    seen: list[list[int]] = []

    def step(_: TrainingBatch, sequences: Tensor) -> dict[str, Tensor]:
        seen.append(sequences[:, 0].tolist())
        return {"number": torch.tensor(float(len(seen)))}

    monkeypatch.setattr(update, "step", step)
    assert float(update.train_on(batch)["number"]) == 3.5  # of 1 to 6
    samples = sorted(batch.sequences[:, 0].tolist())
    assert [len(minibatch) for minibatch in seen] == [4] * 6
    for epoch in (seen[:3], seen[3:]):
        assert sorted(chain.from_iterable(epoch)) == samples
    assert seen[:3] != seen[3:]


def trained_by_ppo(module: IntrinsicPPOModule, nonfinite: NonFiniteUpdates) -> Callable[[], object]:
    batch, update = batch_of(module), update_of(module, nonfinite)
    return lambda: update.step(batch, batch.sequences)


def pretrained(module: IntrinsicPPOModule, nonfinite: NonFiniteUpdates) -> Callable[[], object]:
    rollout, options = played(module), PretrainingOptions(num_epochs=1, lr=1e-3, patience=20)
    pretraining = Pretraining(module, options, 1, nonfinite)
    pretraining.hold_out(rollout)
    generator = torch.Generator().manual_seed(0)
    return lambda: pretraining.train_on(rollout, generator)


@pytest.mark.parametrize("finite", list(product([True, False], repeat=3)))
@pytest.mark.parametrize("user", [trained_by_ppo, pretrained])
def test_plugins_are_told_once_of_each_step_that_is_taken_and_of_no_other(
    user: Callable[[IntrinsicPPOModule, NonFiniteUpdates], Callable[[], object]],
    finite: tuple[bool, ...],
    module: IntrinsicPPOModule,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nonfinite, told, is_finite = NonFiniteUpdates(limit=4), Counter[str](), True

    def terms(*args: Any) -> list[Term]:
        return [t if is_finite else t._replace(total=t.total * NAN) for t in auxiliary_terms(*args)]

    for place in ("update", "pretraining"):
        monkeypatch.setattr(f"rllib_rnd.training.{place}.auxiliary_terms", terms)
    (reward,), (loss,) = module.rewards(), module.auxiliaries()
    monkeypatch.setattr(reward, "after_update", lambda _: told.update(["reward"]))
    monkeypatch.setattr(loss, "after_update", lambda _: told.update(["loss"]))
    step = user(module, nonfinite)
    for number, is_finite in enumerate(finite, start=1):
        before = {name: p.detach().clone() for name, p in module.named_parameters()}
        step()
        assert is_finite == any(not torch.equal(p, before[name]) for name, p in module.named_parameters())
        assert told["loss"] == sum(finite[:number])
    assert told["reward"] == (sum(finite) if user is trained_by_ppo else 0)
    assert nonfinite.total == finite.count(False)
    assert nonfinite.in_a_row == len(list(takewhile(lambda taken: not taken, reversed(finite))))
