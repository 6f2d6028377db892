"""Nothing is downloaded at run time, nothing listens beyond loopback unasked, every cluster demands a token."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = sorted((ROOT / "rllib_rnd").rglob("*.py"))

#: What fetches from elsewhere -> the files that may, since a user asks them to.
FETCHERS = {
    "urllib": set(),
    "requests": set(),
    "httpx": set(),
    "http.client": set(),
    "ftplib": set(),
    "torch.hub": set(),
    "torchvision": set(),
    "gdown": set(),
    "datasets": set(),
    "huggingface_hub": {"cli/publish.py"},
}
#: Functions that fetch, of whatever module.
FUNCTIONS = ("urlopen", "urlretrieve", "hf_hub_download", "snapshot_download", "load_state_dict_from_url")

#: How a Ray that others can join is started -> what demands the token there.
CLUSTERS = {
    "cluster.yaml": "RAY_AUTH_MODE=token",
    "deploy/slurm.sbatch": "export RAY_AUTH_MODE=token",
    "deploy/kuberay/rayjob.yaml": "authOptions:\n      mode: token",
    "Dockerfile": "RAY_AUTH_MODE=token",
}
RECIPES = [
    *(ROOT / "cluster.yaml", ROOT / "Dockerfile"),
    *(p for p in (ROOT / "deploy").rglob("*") if p.is_file() and p.parent.name != "__pycache__"),
]
#: What evaluates text as Python -> whose.
EVALUATES = {"cli/sources.py"}  # constants of the package's own source


def test_only_who_is_asked_to_fetches_anything() -> None:
    for path in PACKAGE:
        where = str(path.relative_to(ROOT / "rllib_rnd"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                for fetcher, allowed in FETCHERS.items():
                    assert not f"{name}.".startswith(f"{fetcher}.") or where in allowed, f"{where} imports {name}"
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called.split(".")[-1] not in FUNCTIONS and not called.startswith("torch.hub"), (
                    f"{where}: {called}"
                )


def test_no_shell_is_given_text() -> None:
    for path in PACKAGE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                own = called in ("eval", "exec") and str(path.relative_to(ROOT / "rllib_rnd")) in EVALUATES
                assert own or called not in ("os.system", "os.popen", "eval", "exec"), path
                assert not any(k.arg == "shell" for k in node.keywords), path


def test_a_run_of_this_machine_has_no_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from rllib_rnd.cli.runtime import ray_session

    given: dict[str, object] = {}
    monkeypatch.setattr(ray, "init", lambda **options: given.update(options))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with ray_session(1.0):
        pass
    assert given["include_dashboard"] is False
    assert not any("host" in name for name in given)


def test_nothing_is_told_to_listen_on_every_address() -> None:
    texts = [*PACKAGE, *RECIPES, ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert "0.0.0.0" not in text and not re.search(r"--(dashboard-)?host[= ]", text), path


@pytest.mark.parametrize("file", CLUSTERS)
def test_a_cluster_demands_a_token(file: str) -> None:
    assert CLUSTERS[file] in (ROOT / file).read_text()


def test_every_recipe_that_starts_ray_is_known() -> None:
    for path in RECIPES:
        name = str(path.relative_to(ROOT))
        if name not in CLUSTERS and path.suffix != ".md":
            assert not re.search(r"ray (start|symmetric-run|up)|kind: Ray", path.read_text()), name


def test_no_recipe_holds_a_token() -> None:
    for path in RECIPES:
        assert not re.search(r"(auth_token|TOKEN|KEY|PASSWORD)[=:] *['\"]?[A-Za-z0-9+/]{16,}", path.read_text()), path
