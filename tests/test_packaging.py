"""What a stranger gets from `pip install`: everything, and no extra needed for the base."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "rllib_rnd", "tuned_examples")
LEFT_OUT = ("benchmarks", "experiments", "tests")  # packages too, but of the repository only


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel built from a copy of the sources, so that no build folder is left in the repository."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*SOURCES, *LEFT_OUT):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    options = ["-qq", "--no-deps", "--no-build-isolation", "-w", str(out)]
    command = [sys.executable, "-m", "pip", "wheel", *options, "."]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


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
                  "huggingface_hub", "pytest", "mypy", "ruff"}

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in EXTRAS:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Absent())
        import importlib, pkgutil
        import rllib_rnd
        for module in pkgutil.walk_packages(rllib_rnd.__path__, "rllib_rnd."):
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
