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
from ray.util.debug import _logged

import rllib_rnd
from rllib_rnd.ray_logs import nothing_of_processes
from tests.costs import (  # noqa: F401  (hooks of pytest)
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_ignore_collect,
    pytest_runtest_protocol,
    pytest_sessionfinish,
    pytest_testnodedown,
)
from tests.forked_workers import fork_server, forked_python, forked_workers


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores, for many tests wait for processes; no more than four, for each has a Ray of its own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores + 1)


# Ray's workers find the tests' classes, wherever the test stands that has started Ray.
_ROOT = str(Path(__file__).resolve().parents[1])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))


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


#: Of the Ray that all tests share, as long as there is one: the address, which no other has.
_SHARED = pytest.StashKey[str]()


def _address() -> str | None:
    """Of the Ray that runs in this process."""
    return ray.get_runtime_context().gcs_address if ray.is_initialized() else None


def _start_shared(session: pytest.Session, server: str) -> None:
    ray.shutdown()  # one that a test has started by the way, with the CPUs that there are
    with forked_workers(server):
        ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, configure_logging=False)
    session.stash[_SHARED] = str(_address())


def _shared_ray_runs(request: pytest.FixtureRequest) -> None:
    """A command that a test runs in this process ends the shared Ray with its own: it is started again when needed."""
    server: str = request.getfixturevalue("ray_session")
    if _address() != request.session.stash[_SHARED]:
        _start_shared(request.session, server)


@pytest.fixture(autouse=True, scope="module")
def _ray_of_modules(request: pytest.FixtureRequest) -> Iterator[None]:
    """The shared Ray runs before what a module builds on it, and one that it has started by the way ends with it.

    Those after it would take such a one for the shared one. One in which a test has failed ends too: what it has left
    there, actors that its traceback holds, takes the CPUs that the next module waits for.
    """
    failed = request.session.testsfailed
    mine = [item for item in request.session.items if item.getparent(pytest.Module) is request.node]
    if any("ray_session" in item.fixturenames for item in mine if isinstance(item, pytest.Function)):
        _shared_ray_runs(request)
    yield
    if _address() != request.session.stash.get(_SHARED, None) or request.session.testsfailed > failed:
        ray.shutdown()


@pytest.fixture(autouse=True)
def _ray_of_tests(request: pytest.FixtureRequest) -> None:
    if "ray_session" in request.fixturenames:
        _shared_ray_runs(request)


@pytest.fixture(autouse=True)
def _environment_of_tests() -> Iterator[None]:
    with _environment_as_before():
        yield


@pytest.fixture(autouse=True)
def _what_is_said_once_is_said_anew() -> None:
    """Else only the first test of a process would see a warning that a process gives once."""
    _logged.clear()


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


@pytest.fixture(scope="session")
def process_server() -> Iterator[str]:
    """The address of the server that forks Ray's workers, and the processes of `quick_python`."""
    with fork_server() as server:
        yield server


@pytest.fixture(scope="session")
def quick_python(process_server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has imported torch and RLlib, see `forked_python`."""
    return forked_python(process_server, tmp_path_factory.mktemp("python") / "python")


@pytest.fixture(scope="session", autouse=False)
def ray_session(request: pytest.FixtureRequest, process_server: str) -> Iterator[str]:
    """A local Ray with more logical CPUs than cores: the actors of these tests are tiny, and forked.

    Yields the address of the server that forks them.
    """
    # Ray tells of a killed process when some later test reads the output.
    with nothing_of_processes():
        _start_shared(request.session, process_server)
        yield process_server
        ray.shutdown()
        del request.session.stash[_SHARED]


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
