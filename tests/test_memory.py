"""Memory predicted: counts by hand, growth with settings, what is refused and at which setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import rllib_rnd
from rllib_rnd import memory
from rllib_rnd.cli import app
from rllib_rnd.memory import Part, Prediction, Room, check_fits, predict, predicted, refusal, warnings
from rllib_rnd.sampling.play import make_play
from rllib_rnd.sampling.seeds import ResetSeeds
from rllib_rnd.training.footprint import Footprint, kept_for_backward
from tests.conftest import small_config

MIB, GIB = 2**20, 2**30
SPACES: tuple[gym.Space[Any], gym.Space[Any]] = (gym.spaces.Box(0, 1, (25,), np.uint8), gym.spaces.Discrete(2))
NETWORKS = Footprint(parameters=8 * MIB, trainable=4 * MIB, sent=2 * MIB, policy=1000, plugins=500, features=100)


def part(need: Prediction, name: str) -> int:
    return sum(p.bytes for p in (*need.parts, *need.on_gpu) if p.name == name)


def made(runners: int = 0, learners: int = 0, gpus: int = 0, **training: Any) -> Prediction:
    config = small_config(**training).env_runners(num_env_runners=runners)
    config.learners(num_learners=learners, num_gpus_per_learner=gpus)
    return predicted(config, NETWORKS, 10 * MIB, 25)


def test_what_a_pass_keeps_by_hand() -> None:
    """The input of each linear layer and the output of the ReLU, which is the second one's input: 3 + 4 floats."""
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(10, 3)
    kept = kept_for_backward(module, lambda: module(x).sum())
    assert kept == 10 * (3 + 4) * 4


def test_the_rollout_is_as_large_as_one_that_is_played() -> None:
    config = small_config("RND")
    need = predict(config, SPACES)
    play = make_play(config, 4, ResetSeeds(0), 1)
    policy = rllib_rnd.rollout.Rollout.empty(16, 4, (25,), num_streams=2)
    assert need.rollout == policy.num_bytes
    assert need.rollout >= play.rollout(None, 16).num_bytes


def test_predicting_draws_nothing() -> None:
    before = torch.random.get_rng_state()
    predict(small_config("RND"), SPACES)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_optimizer_has_two_moments_or_one() -> None:
    assert part(made(), "networks, gradients, optimizer") == (8 + 3 * 4) * MIB
    assert part(made(optimizer_type="rmsprop"), "networks, gradients, optimizer") == (8 + 2 * 4) * MIB


def test_passes_by_hand() -> None:
    """64 samples in 2 minibatches, kept once and as much again on the way back."""
    assert part(made(), "a pass of policy and critics") == 2 * 32 * 1000
    assert part(made(micro_batch_size=8), "a pass of policy and critics") == 2 * 8 * 1000
    assert part(made(), "losses of plug-ins") == 2 * 32 * 500
    assert part(made(num_minibatches=4), "losses of plug-ins") == 2 * 16 * 500


def test_the_object_store_holds_all_runners_rollouts() -> None:
    assert made().object_store == 0
    assert made(runners=3).object_store == (3 * 10 + 2 * 2) * MIB
    assert made(runners=3, overlap_sampling=True).object_store == (2 * 3 * 10 + 2 * 2) * MIB
    assert part(made(runners=3), "rollouts") == 30 * MIB  # joined by the learner
    assert part(made(runners=1), "rollouts") == 0  # read where it lies


def test_each_runner_is_a_process() -> None:
    one, three = made(runners=1), made(runners=3)
    assert part(three, "runner processes") == 3 * part(one, "runner processes")
    assert one.runner == three.runner > 300 * MIB
    assert made().runner == 0


def test_learners_share_the_rollouts() -> None:
    need = made(runners=2, learners=2)
    assert part(need, "rollouts") == 2 * 10 * MIB  # 10 each
    assert part(need, "learner processes") > 2 * 300 * MIB


def test_on_a_gpu_the_learner_leaves_the_memory() -> None:
    need = made(gpus=1)
    assert part(need, "CUDA") > 0
    assert sum(p.bytes for p in need.on_gpu) == need.gpu_total > 20 * MIB
    assert "networks, gradients, optimizer" not in {p.name for p in need.parts}
    assert made().gpu_total == 0


def room(memory: float | None = 100.0, shared: float | None = 100.0, gpu: float | None = None) -> Room:
    return Room(*(None if size is None else int(size * GIB) for size in (memory, shared, gpu)))


def of(store: float = 0.0, gpu: float = 0.0, **parts: float) -> Prediction:
    found = tuple(Part(name, int(size * GIB), f"setting_{name}") for name, size in parts.items())
    on_gpu = (Part("on gpu", int(gpu * GIB), "num_minibatches"),) if gpu else ()
    return Prediction(0, int(store * GIB), found, on_gpu, 0, 0)


@pytest.mark.parametrize(
    ("need", "there", "setting"),
    [
        (of(a=3, b=5), room(memory=10), None),
        (of(a=3, b=9), room(memory=10), None),  # the prediction is an upper bound
        (of(a=3, b=10), room(memory=10), "setting_b"),
        (of(a=3, b=10), room(memory=None, shared=None), None),
        (of(store=2, a=3), room(memory=6), "num_envs_per_env_runner"),  # the store has three tenths of the memory
        (of(store=2, a=3), room(shared=1), "num_envs_per_env_runner"),
        (of(a=1, gpu=90), room(gpu=40), "num_minibatches"),
        (of(a=1, gpu=90), room(gpu=80), None),
    ],
)
def test_what_cannot_fit_is_refused_at_its_setting(need: Prediction, there: Room, setting: str | None) -> None:
    error = refusal(need, there)
    assert (error.path if error is not None else None) == setting


def test_the_refusal_is_one_line_with_numbers() -> None:
    error = refusal(of(a=3, b=10), room(memory=10))
    assert str(error) == (
        "setting_b: training would take 13.0 GiB of memory, of which there are 10.0 GiB; most of it is b (10.0 GiB): "
        "reduce it."
    )
    assert "raise it" in str(refusal(of(gpu=90), room(gpu=40)))


def test_tight_is_said() -> None:
    assert warnings(of(a=5), room(memory=10)) == []
    assert warnings(of(a=8), room(memory=10)) == ["tight: up to 8.0 GiB of memory are needed, 10.0 GiB are there"]
    assert warnings(of(a=13), room(memory=10)) == []  # refused


def test_training_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a:\n  run: RND\n  env: rllib_rnd/DeepSea-v0\n  config:\n    num_envs_per_env_runner: 4000000\n")
    monkeypatch.setattr(Room, "here", staticmethod(lambda: room(memory=16)))
    monkeypatch.setattr("rllib_rnd.cli.train.ray_session", lambda *_: pytest.fail("Ray was started"))
    result = CliRunner().invoke(app, ["train", "file", str(path), "--storage", str(tmp_path)])
    assert result.exit_code == 2
    assert f"{path}:5: a.config.num_envs_per_env_runner: training would take" in result.output.replace("\n", "")
    assert not (tmp_path / "a").exists()


def test_small_trainings_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "predict", lambda *_: pytest.fail("counted"))
    assert check_fits(small_config(), lambda: room(memory=16)) == []


class Own(gym.Env):
    """Counts how often it is made."""

    made = 0

    def __init__(self, **_: object) -> None:
        type(self).made += 1


def test_a_users_own_environment_is_not_made_for_it() -> None:
    assert check_fits(small_config(env=f"{__name__}:Own"), lambda: room(memory=0.001)) == []
    assert Own.made == 0
