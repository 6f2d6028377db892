"""One Ray instance for the whole suite, and small configurations that many tests share."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

import rllib_rnd


@contextlib.contextmanager
def _environment_as_before() -> Iterator[None]:
    """What the block, or the code that it calls, sets in the environment is gone afterwards."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True, scope="module")
def _environment_of_modules() -> Iterator[None]:
    with _environment_as_before():
        yield


@pytest.fixture(autouse=True)
def _environment_of_tests() -> Iterator[None]:
    with _environment_as_before():
        yield


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store with its tables and nothing in them; making one takes seconds, copying it none."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlruns.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(tmp_path: Path, empty_store: Path) -> str:
    """A new MLflow store."""
    return f"sqlite:///{shutil.copy(empty_store, tmp_path / 'mlruns.db')}"


@pytest.fixture(scope="session", autouse=False)
def ray_session() -> Iterator[None]:
    """A local Ray with more logical CPUs than cores: the actors of these tests are tiny."""
    if not ray.is_initialized():
        ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def small_config(algorithm: str = "RND", env: str = "rllib_rnd/DeepSea-v0", **training: Any) -> Any:
    """A configuration whose iteration takes a fraction of a second: DeepSea 5 x 5, 4 environments, 16 steps."""
    config_class = {"RND": rllib_rnd.RNDConfig, "IntrinsicPPO": rllib_rnd.IntrinsicPPOConfig}[algorithm]
    config = config_class().environment(env, env_config={"size": 5} if "DeepSea" in env else {})
    config.env_runners(num_envs_per_env_runner=4, rollout_fragment_length=16)
    config.fault_tolerance(restart_failed_env_runners=False)
    settings: dict[str, Any] = {"num_epochs": 2, "num_minibatches": 2, "torch_threads": 1}
    if algorithm == "RND":
        settings |= {
            "warmup_steps": 20,
            "intrinsic_reward": {"type": "rnd", "feature_dim": 16, "hidden_sizes": [16]},
        }
    return config.training(**(settings | training)).debugging(seed=3, log_level="ERROR")
