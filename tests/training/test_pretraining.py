"""Self-supervised pre-training: what it trains, when it ends, what it leaves, and the frozen backbone after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.training.nonfinite import NonFiniteTrainingError, NonFiniteUpdates
from rllib_rnd.training.pretraining import Pretraining, PretrainingOptions
from tests.conftest import small_config
from tests.test_algorithm import weights

CATCH = "rllib_rnd/Catch-v0"
BYOL = {"type": "byol", "projector_hidden": 16, "projection_size": 8, "predictor_hidden": 16}
BARLOW = {"type": "barlow_twins", "projector_sizes": [16, 16]}

pytestmark = pytest.mark.usefixtures("ray_session")


def config(**training: Any) -> Any:
    settings: dict[str, Any] = {
        "backbone": {"type": "nature_cnn", "hidden_sizes": [16]},
        "auxiliary_loss": BARLOW,
        "pretraining": {"max_rollouts": 3, "num_epochs": 1, "lr": 1e-3},
        "num_minibatches": 1,
    }
    return small_config(env=CATCH, **(settings | training))


def metrics(algorithm: Any) -> dict[str, Any]:
    return algorithm.train()["learners"]["default_policy"]


def test_random_play_trains_the_backbone_and_its_losses_alone_and_then_the_policy() -> None:
    algorithm = config(auxiliary_loss=[BYOL, BARLOW]).build_algo()
    start = weights(algorithm)
    whole = [algorithm.train() for _ in range(3)]
    assert [r["env_runners"]["num_env_steps_sampled_lifetime"] for r in whole] == [0, 0, 0]
    results = [r["learners"]["default_policy"] for r in whole]
    assert [r["pretraining_rollouts"] for r in results] == [1, 2, 3]
    for r in results:
        assert np.isfinite(r["pretraining_loss"]) and "policy_loss" not in r
        assert {"byol_loss", "barlow_twins_loss_1", "byol_projection_std"} <= set(r["plugins"])
    module, after = algorithm.learner_module(), weights(algorithm)
    for name, _ in module.named_parameters():
        moved = not np.array_equal(start[name], after[name])
        assert moved == name.startswith(("backbone.", "auxiliary_losses.")), name
    runner = algorithm.env_runner.module.state_dict()
    assert all(np.array_equal(runner[n].numpy(), after[n]) for n in runner if n.startswith("backbone."))
    result = algorithm.train()
    assert np.isfinite(result["learners"]["default_policy"]["policy_loss"])
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] > 0
    assert any(not np.array_equal(w, after[n]) for n, w in weights(algorithm).items() if n.startswith("policy_head."))
    algorithm.stop()


def make(nonfinite: NonFiniteUpdates | None = None, **options: Any) -> tuple[Pretraining, Any, Any]:
    """A learner's pre-training with its held-out rollout, and another rollout."""
    algorithm = config().build_algo()
    runner = algorithm.env_runner
    held_out, other = (runner.random_play(32).to_torch() for _ in range(2))
    runner.end_random_play()
    settings = {"num_epochs": 2, "lr": 1e-3, **options}
    nonfinite = nonfinite or NonFiniteUpdates(limit=3)
    pretraining = Pretraining(algorithm.learner_module(), PretrainingOptions(**settings), 2, nonfinite)
    pretraining.hold_out(held_out)
    algorithm.stop()
    return pretraining, held_out, other


def test_the_held_out_loss_falls_and_asking_for_it_changes_nothing() -> None:
    pretraining, _, other = make()
    before = {n: t.clone() for n, t in pretraining.module.state_dict().items()}
    first = pretraining.held_out_loss()
    assert first == pretraining.held_out_loss()
    after = pretraining.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    generator = torch.Generator().manual_seed(0)
    losses = [pretraining.train_on(other, generator)["pretraining_loss"] for _ in range(8)]
    assert losses[-1] < 0.8 * first
    assert pretraining.best_loss == min(losses)


def test_it_ends_after_patience_rollouts_without_a_better_loss_with_the_best_weights() -> None:
    pretraining, _, other = make(patience=2, min_improvement=0.1, num_epochs=1)
    given = iter([5.0, 4.0, 3.7, 3.9, 1.0])  # 3.7 is less than 10 % better than 4
    pretraining.held_out_loss = lambda: next(given)  # type: ignore[method-assign]
    generator, backbone = torch.Generator().manual_seed(0), pretraining.module.backbone
    snapshots = []
    while not pretraining.finished:
        pretraining.train_on(other, generator)
        snapshots.append({n: t.clone() for n, t in backbone.state_dict().items()})
    assert pretraining.rollouts == 4 and pretraining.best_loss == 4.0
    now = backbone.state_dict()
    assert all(torch.equal(now[name], snapshots[1][name]) for name in now)
    assert any(not torch.equal(now[name], snapshots[2][name]) for name in now)
    state = pretraining.get_state()  # nothing heavy is carried through the training that follows
    assert state["best_weights"] == {} and state["optimizer"]["state"] == {}
    with pytest.raises(RuntimeError, match="hold_out"):
        pretraining.train_on(other, generator)


def test_what_is_not_finite_is_never_learned_from_and_never_the_best() -> None:
    pretraining, _, other = make(patience=2, num_epochs=1)
    given = iter([float("nan"), 5.0, float("nan"), float("inf")])
    pretraining.held_out_loss = lambda: next(given)  # type: ignore[method-assign]
    generator = torch.Generator().manual_seed(0)
    seen = [(pretraining.train_on(other, generator), pretraining.best_loss)[1] for _ in range(4)]
    assert seen == [None, 5.0, 5.0, 5.0] and pretraining.finished

    nonfinite = NonFiniteUpdates(limit=3)
    pretraining, _, other = make(nonfinite, num_epochs=1)
    before = {n: t.clone() for n, t in pretraining.module.backbone.named_parameters()}
    (loss,) = pretraining.module.auxiliaries()
    original = loss.terms
    loss.terms = lambda *a: {n: (s * float("nan"), c) for n, (s, c) in original(*a).items()}  # type: ignore[method-assign]
    pretraining.train_on(other, generator)  # two steps
    assert nonfinite.total == 2
    assert all(torch.equal(before[n], p) for n, p in pretraining.module.backbone.named_parameters())
    with pytest.raises(NonFiniteTrainingError, match="barlow_twins_loss"):
        pretraining.train_on(other, generator)


def test_a_moving_average_of_the_backbone_starts_from_what_was_pretrained() -> None:
    reward = {"type": "modified_rnd", "tau": 0.99, "feature_dim": 16}
    algorithm = config(intrinsic_reward=reward, pretraining={"max_rollouts": 1, "num_epochs": 1}).build_algo()
    module = algorithm.learner_module()
    drawn = [p.clone() for p in module.backbone.parameters()]
    metrics(algorithm)
    (average,) = (r.average for r in module.rewards())
    assert any(not torch.equal(p, old) for p, old in zip(average.parameters(), drawn, strict=True))
    pairs = zip(average.state_dict().values(), module.backbone.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs) and not any(p.requires_grad for p in average.parameters())
    algorithm.stop()


def test_it_ends_at_the_most_rollouts_and_needs_one_held_out() -> None:
    pretraining, _, other = make(max_rollouts=1)
    pretraining.train_on(other, torch.Generator())
    assert pretraining.finished
    with pytest.raises(RuntimeError, match="hold_out"):
        pretraining.train_on(other, torch.Generator())


def test_its_state_is_all_that_decides_how_it_goes_on() -> None:
    pretraining, held_out, other = make(patience=9)
    generator = torch.Generator().manual_seed(0)
    pretraining.train_on(other, generator)
    state, weights_then, drawn = pretraining.get_state(), pretraining.module.state_dict(), generator.get_state()
    weights_then = {n: t.clone() for n, t in weights_then.items()}
    expected = [pretraining.train_on(other, generator)["pretraining_loss"] for _ in range(2)]
    restored, _, _ = make(patience=9)
    restored.module.load_state_dict(weights_then)
    restored.hold_out(held_out)
    restored.set_state(state)
    generator.set_state(drawn)
    assert [restored.train_on(other, generator)["pretraining_loss"] for _ in range(2)] == expected
    assert restored.rollouts == 3 and restored.best_loss == pretraining.best_loss


def test_a_checkpoint_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    algorithm = config().build_algo()
    metrics(algorithm)
    algorithm.save_to_path(str(tmp_path / "middle"))
    best = algorithm.local_learner().pretraining.best_loss
    algorithm.stop()
    resumed = config().build_algo()
    resumed.restore_from_path(str(tmp_path / "middle"))
    assert resumed.local_learner().pretraining.best_loss == best
    assert [metrics(resumed)["pretraining_rollouts"] for _ in range(2)] == [2, 3]
    assert "policy_loss" in metrics(resumed)
    learner = resumed.local_learner()
    assert set(learner.get_state(components="rl_module")) & {"rl_module", "intrinsic_ppo"} == {"rl_module"}
    resumed.save_to_path(str(tmp_path / "after"))
    resumed.stop()
    again = config().build_algo()
    again.restore_from_path(str(tmp_path / "after"))
    assert "policy_loss" in metrics(again)
    again.stop()


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_frozen_backbone_stays_bit_for_bit_while_everything_else_learns(pretrained: bool) -> None:
    pretraining = {"max_rollouts": 1, "num_epochs": 1}
    extra = {"auxiliary_loss": BYOL, "pretraining": pretraining} if pretrained else {}
    settings = {"auxiliary_loss": None, "pretraining": None, "freeze_backbone": True, "lr": 1e-2, **extra}
    algorithm = config(**settings).build_algo()
    start = weights(algorithm)
    if pretrained:
        assert "pretraining_loss" in metrics(algorithm)
    before = weights(algorithm)
    for _ in range(2):
        result = metrics(algorithm)
    assert not np.isfinite(result["plugins"].get("byol_loss", np.nan))  # RLlib keeps the names of what once was
    after = weights(algorithm)
    backbone = [n for n in after if n.startswith("backbone.")]
    assert all(np.array_equal(before[n], after[n]) for n in after if n.startswith(("backbone.", "auxiliary_losses.")))
    assert pretrained == any(not np.array_equal(start[n], before[n]) for n in backbone)
    learned = ("policy_head.", "critics.", "intrinsic_rewards.0.predictor.")
    parameters = [n for n, _ in algorithm.learner_module().named_parameters() if n.startswith(learned)]
    assert len(parameters) > 8 and not [n for n in parameters if np.array_equal(before[n], after[n])]
    assert all(p.grad is None for p in algorithm.learner_module().backbone.parameters())
    algorithm.stop()


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"auxiliary_loss": None}, r"pretraining: there is no auxiliary_loss.*byol"),
        ({"pretraining": {"patiense": 3}}, r"pretraining\.patiense: unknown key 'patiense'.*'patience'"),
        ({"pretraining": {"patience": 0}}, r"pretraining\.patience: 0 is out of range; allowed is 1 or more"),
        ({"pretraining": True}, r"pretraining: true has the wrong type; allowed is a mapping or null"),
        ({"pretraining": None, "freeze_backbone": True}, r"freeze_backbone: true leaves auxiliary_loss nothing"),
        ({"freeze_backbone": "yes"}, r"freeze_backbone: 'yes' has the wrong type"),
    ],
)
def test_bad_settings_are_refused(training: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**training).build_algo()


def test_two_learners_end_together_with_equal_weights() -> None:
    algorithm = config(num_minibatches=1, pretraining={"max_rollouts": 2, "num_epochs": 1}).learners(num_learners=2)
    algorithm = algorithm.build_algo()
    rollouts = [metrics(algorithm)["pretraining_rollouts"] for _ in range(2)]
    assert rollouts == [1, 2]
    states = algorithm.learner_group.foreach_learner(
        lambda learner: {n: p.detach().numpy().copy() for n, p in learner.trained_module.backbone.named_parameters()}
    )
    first, second = (state.get() for state in states)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert "policy_loss" in metrics(algorithm)
    algorithm.stop()
