"""Finding experiment files: paths, globs, examples by name."""

from pathlib import Path

import pytest

from rllib_rnd.cli import examples
from rllib_rnd.errors import ConfigError


def test_globs_paths_and_names_without_repetition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.yaml", "a.yaml", "c.py"):
        (tmp_path / name).write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert examples.experiment_paths(["*.yaml", "b.yaml", "c.py"]) == [Path("a.yaml"), Path("b.yaml"), Path("c.py")]
    (example,) = examples.experiment_paths(["tuned_examples/sweeps/deep_sea_rnd.yaml"])
    assert example == examples.examples_path() / "sweeps" / "deep_sea_rnd.yaml"
    assert examples.experiment_paths(["sweeps/deep_sea_rnd"]) == [example]


def test_an_installed_package_keeps_its_examples_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "rllib_rnd" / "cli" / "examples.py"
    inside = tmp_path / "rllib_rnd" / "tuned_examples"
    inside.mkdir(parents=True)
    monkeypatch.setattr(examples, "__file__", str(module))
    assert examples.examples_path() == inside
    inside.rmdir()
    with pytest.raises(ConfigError, match="not installed"):
        examples.examples_path()


def test_every_example_has_a_description() -> None:
    assert all(examples.description(path) for path in examples.example_files())
