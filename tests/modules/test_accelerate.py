"""Fast paths against the plain one: the same numbers, or numbers as near as the precision allows."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch

from rllib_rnd.errors import ConfigError
from rllib_rnd.modules.accelerate import accelerate, check_compiler, learner_compile_options, worker_compile_options
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("ray_session")

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


def networks(obs: torch.Tensor, memory: Any, is_first: Any, places: Any) -> tuple[torch.Tensor, torch.Tensor, Any]:
    weight = torch.linspace(-1.0, 1.0, 12).reshape(4, 3)
    return obs @ weight, obs @ weight.square(), memory


def test_bfloat16_runs_inside_and_float32_comes_out() -> None:
    obs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    plain, fast = networks(obs, None, None, None), accelerate(networks, CPU, "bfloat16")(obs, None, None, None)
    assert fast[2] is None
    for a, b in zip(plain[:2], fast[:2], strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.03, atol=0.03)  # 8 bits of mantissa
        assert not torch.equal(a, b), "nothing was done in low precision"


def test_off_is_the_function_itself() -> None:
    assert accelerate(networks, CPU) is networks


def test_a_missing_compiler_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match="no-such-compiler"):
        check_compiler(CPU, "inductor")
    check_compiler(CPU, "eager")


def test_a_missing_compiler_is_said_of_the_setting_that_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    learner, worker = small_config().framework(torch_compile_learner=True), small_config()
    worker.framework(torch_compile_worker=True)
    assert worker_compile_options(learner, CPU) is None and learner_compile_options(worker, CPU) is None
    with pytest.raises(ConfigError, match=r"^torch_compile_learner: True needs a C\+\+ compiler"):
        learner_compile_options(learner, CPU)
    with pytest.raises(ConfigError, match=r"^torch_compile_worker: True needs a C\+\+ compiler"):
        worker_compile_options(worker, CPU)


def losses(**training: Any) -> tuple[list[float], dict[str, Any]]:
    """Losses of three iterations and the weights of policy and critics after them."""
    config = small_config(lr=1e-2, **training.pop("settings", {}))
    config.framework(**training)
    algorithm = config.build_algo()
    found = [algorithm.train()["learners"]["default_policy"]["total_loss"] for _ in range(3)]
    state = algorithm.learner_group.get_weights()["default_policy"]
    algorithm.stop()
    return found, state


@needs_compiler
def test_compiled_networks_train_like_plain_ones() -> None:
    plain, weights = losses()
    compiled, compiled_weights = losses(torch_compile_learner=True, torch_compile_worker=True)
    assert compiled == pytest.approx(plain, rel=1e-3)
    assert compiled_weights.keys() == weights.keys()  # no "_orig_mod." in checkpoints


def test_bfloat16_trains_near_float32_and_keeps_float32_weights() -> None:
    plain, _ = losses()
    low, weights = losses(settings={"autocast": "bfloat16"})
    assert low[0] == pytest.approx(plain[0], rel=0.1, abs=0.05)
    assert low != plain
    trained = [value for name, value in weights.items() if name.endswith("weight")]
    assert trained and all(value.dtype == np.float32 for value in trained)


def test_a_whole_compiled_update_is_refused() -> None:
    config = small_config().framework(torch_compile_learner=True)
    config.torch_compile_learner_what_to_compile = "complete_update"
    with pytest.raises(ConfigError, match="forward_train"):
        config.validate()
