"""What a stranger gets from `pip install`: everything, and no extra needed for the base."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from email import message_from_string
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement

import rllib_rnd

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = ("benchmarks", "docs_tools", "experiments", "tests")  # packages too, but of the repository only


@pytest.fixture(scope="module")
def packaging() -> ModuleType:
    """``.ci/package``, by which CI builds, installs and runs what is packed."""
    loader = importlib.machinery.SourceFileLoader("package", str(ROOT / ".ci" / "package"))
    spec = importlib.util.spec_from_loader("package", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(packaging: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of a copy of the sources, and the wheel of the sdist."""
    sdist, wheel = packaging.build(packaging.copied(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("dist"))
    return sdist, wheel


@pytest.fixture(scope="module")
def wheel(built: tuple[Path, Path]) -> zipfile.ZipFile:
    return zipfile.ZipFile(built[1])


def test_the_sdist_brings_the_tested_versions_and_no_test(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"constraints.txt", "CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "setup.py"} <= names
    assert not [name for name in names if name.split("/")[0] in LEFT_OUT]


def test_the_version_stands_in_one_place(built: tuple[Path, Path], wheel: zipfile.ZipFile) -> None:
    fields = message_from_string(metadata(wheel, "METADATA"))
    assert fields["Version"] == rllib_rnd.__version__
    assert built[0].name == f"rllib_rnd-{rllib_rnd.__version__}.tar.gz"
    for name in ("setup.py", "pyproject.toml", "CITATION.cff", "README.md"):
        assert rllib_rnd.__version__ not in re.findall(r"version\W+([\w.]+)", (ROOT / name).read_text()), name


def test_the_citation_can_be_read() -> None:
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license"} <= set(found) and found["license"] == "MIT"


def test_what_differs_from_the_pinned_versions_is_told(packaging: ModuleType) -> None:
    pins = pinned()
    same = {"torch": f"{pins['torch']}+cpu", "PyYAML": pins["pyyaml"], "rllib_rnd": "1"}
    assert packaging.newer_than_pinned(same) == []
    told = packaging.newer_than_pinned({"numpy": "99.1", "never-heard-of": "1"})
    assert told == ["never-heard-of (not pinned) -> 1", f"numpy {pins['numpy']} -> 99.1"]


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = [n for n in wheel.namelist() if n.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(wheel: zipfile.ZipFile) -> list[Requirement]:
    fields = message_from_string(metadata(wheel, "METADATA"))
    return [Requirement(text) for text in fields.get_all("Requires-Dist") or []]


def test_wheel_holds_every_module_and_every_example(wheel: zipfile.ZipFile) -> None:
    packed = set(wheel.namelist())
    for module in (ROOT / "rllib_rnd").rglob("*.py"):
        assert str(module.relative_to(ROOT)) in packed
    examples = list((ROOT / "tuned_examples").rglob("*.yaml"))
    assert len(examples) >= 2
    for example in examples:
        assert str(Path("rllib_rnd") / example.relative_to(ROOT)) in packed
    for template in (ROOT / "rllib_rnd").rglob("*.jinja"):
        assert str(template.relative_to(ROOT)) in packed
    assert "rllib_rnd/py.typed" in packed
    assert not [name for name in packed if name.split("/")[0] in (*LEFT_OUT, "tuned_examples")]


def test_wheel_brings_the_console_script(wheel: zipfile.ZipFile) -> None:
    assert "rllib = rllib_rnd.cli:main" in metadata(wheel, "entry_points.txt")


def test_extras_are_those_of_the_readme(wheel: zipfile.ZipFile) -> None:
    declared = set(message_from_string(metadata(wheel, "METADATA")).get_all("Provides-Extra") or [])
    assert declared == {
        "minigrid",
        "envpool",
        "mario",
        "vizdoom",
        "classic-control",
        "video",
        "plots",
        "insight",
        "wandb",
        "onnx",
        "hub",
        "profile",
        "docs",
        "dev",
        "all",
    }
    readme = (ROOT / "README.md").read_text()
    for extra in declared:
        assert f"`{extra}`" in readme, f"README does not explain the extra {extra}"


def test_every_requirement_is_pinned_to_a_version_it_allows(wheel: zipfile.ZipFile) -> None:
    pins = pinned()
    assert pins["torch"] == "2.13.0"
    for requirement in requirements(wheel):
        version = pins.get(canonical(requirement.name))
        assert version is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} does not allow the pinned {version}"


def test_base_import_needs_no_extra(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Runs the installed files, with every package that only an extra brings made impossible to import."""
    wheel.extractall(tmp_path)
    code = """
        import sys

        EXTRAS = {"minigrid", "envpool", "gym", "nes_py", "gym_super_mario_bros", "vizdoom", "pygame", "imageio_ffmpeg",
                  "rliable", "matplotlib", "captum", "openTSNE", "wandb", "onnx", "onnxscript", "onnxruntime",
                  "huggingface_hub", "mkdocs", "nbclient", "ipykernel", "pytest", "mypy", "ruff"}

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in EXTRAS:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Absent())
        import importlib, pkgutil
        import rllib_rnd
        for module in pkgutil.walk_packages(rllib_rnd.__path__, "rllib_rnd."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        print(rllib_rnd.__file__)
    """
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    imported_from = done.stdout.strip().splitlines()[-1]
    assert imported_from.startswith(str(tmp_path)), f"another copy was imported: {imported_from}"
