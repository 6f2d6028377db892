"""Files are data: YAML is loaded safely, import paths are followed only where a class or function is expected."""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import load_experiments
from rllib_rnd.experiment.yaml_file import _Loader
from rllib_rnd.presets import RNDConfig
from rllib_rnd.rllib_settings import usable_names

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("rllib_rnd", "benchmarks", "experiments") for path in (ROOT / room).rglob("*.py"))

#: Settings that name a class or function, which is imported when the file is read.
NAMES_CODE = {"backbone", "callbacks", "custom_evaluation_function", "env", "env_runner_cls", "intrinsic_reward"}
NAMES_CODE |= {"auxiliary_loss", "learner_class", "rl_module_spec"}


def calls(module: str) -> Iterator[tuple[Path, ast.Call]]:
    """Every call of a function of a module, in the whole package."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id == module:
                    yield path, node


def test_yaml_is_loaded_safely_everywhere() -> None:
    found = [(path, call) for path, call in calls("yaml") if "load" in ast.unparse(call.func)]
    assert len(found) >= 4
    for path, call in found:
        name = ast.unparse(call.func)
        if name == "yaml.load":
            loader = {k.arg: ast.unparse(k.value) for k in call.keywords}["Loader"]
            assert (path.name, loader) == ("yaml_file.py", "_Loader")
        else:
            assert name in ("yaml.safe_load", "yaml.safe_load_all"), f"{path}: {ast.unparse(call)}"
    assert issubclass(_Loader, yaml.SafeLoader)
    assert not any("python" in str(tag) for tag in _Loader.yaml_constructors)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {marker}']",
        "!!python/object/new:subprocess.Popen [['touch', '{marker}']]",
        "!!python/name:os.system",
    ],
)
def test_an_object_of_python_in_a_file_is_refused(tmp_path: Path, value: str) -> None:
    marker, file = tmp_path / "marker", tmp_path / "x.yaml"
    value = value.format(marker=marker)
    file.write_text(f"x:\n  run: RND\n  env: CartPole-v1\n  stop: {{iteration: 1}}\n  config:\n    lr: {value}\n")
    with pytest.raises(ConfigError, match=r"x\.yaml"):
        load_experiments(file)
    assert not marker.exists()


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears when the module ``planted_module`` is imported."""
    found = tmp_path / "marker"
    (tmp_path / "planted_module.py").write_text(f"open({str(found)!r}, 'w')\nThing = object()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return found


def test_a_text_is_imported_only_where_code_is_expected(marker: Path, tmp_path: Path) -> None:
    imported = set()
    for name in usable_names(RNDConfig()):
        file = tmp_path / "x.yaml"
        env = "" if name == "env" else "  env: CartPole-v1\n"
        file.write_text(
            f"x:\n  run: RND\n{env}  stop: {{iteration: 1}}\n  config:\n    {name}: 'planted_module:Thing'\n"
        )
        with contextlib.suppress(ConfigError):
            load_experiments(file)
        if marker.exists():
            imported.add(name)
            marker.unlink()
            del sys.modules["planted_module"]
    assert {name for name in imported if not name.startswith("callbacks_on_")} <= NAMES_CODE
    assert {"env", "callbacks"} <= imported


def test_options_of_an_environment_are_not_imported(marker: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "x:\n  run: RND\n  env: CartPole-v1\n  stop: {iteration: 1}\n"
        "  config:\n    env_config: {render_mode: 'planted_module:Thing'}\n"
    )
    load_experiments(file)
    assert not marker.exists()


def test_an_import_path_that_leads_to_no_class_is_refused(tmp_path: Path) -> None:
    for setting in ("intrinsic_reward: {type: 'os:getcwd'}", "backbone: 'os:getcwd'", "callbacks: 'os:getcwd'"):
        file = tmp_path / "x.yaml"
        file.write_text(f"x:\n  run: RND\n  env: CartPole-v1\n  stop: {{iteration: 1}}\n  config:\n    {setting}\n")
        with pytest.raises(ConfigError, match="getcwd"):
            load_experiments(file)
