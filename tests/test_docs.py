"""The docs must say what the code does: every option, default and metric, and no link that leads nowhere."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from typer.main import get_command

from rllib_rnd.analysis.methods import METHODS
from rllib_rnd.cli import app
from rllib_rnd.errors import ConfigError
from rllib_rnd.experiment.file import load_experiments
from rllib_rnd.modules.backbone import BACKBONES, build_backbone
from rllib_rnd.presets import settings_table
from rllib_rnd.tracking.metrics import METRICS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def section(page: str, heading: str) -> str:
    """The text under one heading, up to the next heading of its level or above."""
    text = (ROOT / "docs" / page).read_text()
    level = heading.split(" ")[0]
    start = text.index(f"{heading}\n")
    end = re.search(rf"^#{{1,{len(level)}}} ", text[start + len(heading) :], re.MULTILINE)
    return text[start : start + len(heading) + end.start()] if end else text[start:]


def test_the_table_of_methods_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", section("insight.md", "## Methods"), re.MULTILINE)
    assert rows == [(name, method.shows, method.cannot) for name, method in METHODS.items()]


def test_the_options_of_explain_are_those_of_the_command() -> None:
    command: Any = get_command(app)
    known = [option for option in command.commands["explain"].params if option.opts[0].startswith("--")]
    rows = re.findall(r"^\| (`--.*?`) \|", section("insight.md", "## Options"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(--[\w-]+)", row)}
    assert named == {name for option in known for name in (*option.opts, *option.secondary_opts)}


def test_backbone_table_names_every_backbone() -> None:
    text = section("configuration.md", "### Backbones")
    for name in BACKBONES.names():
        assert f"`{name}`" in text or name in ("michalnand_b", "michalnand_c"), f"{name} is not in the table"


def test_the_backbone_of_the_configuration_page_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = section("configuration.md", "### Backbones")
    (code,), (spec,) = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "yaml"))
    (tmp_path / "my_nets.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    space = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    backbone = build_backbone(yaml.safe_load(spec)["backbone"], space)
    features = backbone(torch.zeros((3, 4, 84, 84), dtype=torch.uint8))
    assert backbone.feature_dim == 512 and features.policy.shape == (3, 512)


def test_the_table_of_settings_is_that_of_the_code() -> None:
    text = section("configuration.md", "## Algorithm").split("### ")[0]
    rows = [f"| `{key}` | {default} | {allowed} | {meaning} |" for key, default, allowed, meaning in settings_table()]
    assert re.findall(r"^\| `.*$", text, re.MULTILINE) == rows


def test_every_metric_is_explained_where_it_stands() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", text, re.MULTILINE))
    assert rows == {m.name: m.paths[0].replace("learners/default_policy/", ".../") for m in METRICS}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_named_files_exist(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"tuned_examples/[\w/]+\.yaml", text):
        assert (ROOT / name).is_file(), f"{page.name} names {name}"


def test_the_yaml_example_of_the_configuration_page_is_accepted(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    example = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0]
    path = tmp_path / "example.yaml"
    path.write_text(example)
    (experiment,) = load_experiments(path)
    assert experiment.name == "deep_sea_rnd"
    assert experiment.stop["env_runners/num_env_steps_sampled_lifetime"] == 1_000_000


def test_the_python_example_of_the_configuration_page_is_accepted(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    path = tmp_path / "example.py"
    path.write_text(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0])
    (experiment,) = load_experiments(path)
    assert experiment.algorithm_name == "RND"


def test_the_sweep_expressions_of_the_configuration_page_are_accepted(tmp_path: Path) -> None:
    text = section("configuration.md", "## Sweeps")
    values, search = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    indented = "".join(f"    {line}\n" for line in values.splitlines())
    sections = "".join(f"  {line}\n" for line in search.splitlines())
    path = tmp_path / "sweep.yaml"
    path.write_text(f"sweep:\n  run: RND\n  env: CartPole-v1\n{sections}  config:\n{indented}")
    (experiment,) = load_experiments(path)
    assert experiment.space.grids == 2
    assert experiment.space.sampled
    assert experiment.num_samples == 8


def error_lines() -> list[str]:
    pages = section("configuration.md", "## What errors look like"), (ROOT / "README.md").read_text()
    return [line for page in pages for line in re.findall(r"^rllib: (.*)$", page, re.MULTILINE)]


@pytest.mark.parametrize("line", error_lines())
def test_errors_look_as_the_docs_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    config = {
        "clip_parm": "0.2",
        "gamma": "1.5",
        "lr": "fast",
        "lr.args": "{tune: loguniform, args: [0, 1]}",
    }
    path = line.split(": ")[1].removeprefix("montezuma.config.")
    monkeypatch.chdir(tmp_path)
    text = "montezuma:\n  run: RND\n  env: CartPole-v1\n  stop: {agent_steps: 1}\n  config:\n"
    Path("X.yaml").write_text(f"{text}    {path.split('.')[0]}: {config[path]}\n")
    with pytest.raises(ConfigError) as caught:
        load_experiments("X.yaml")
    assert str(caught.value) == line


def test_the_yaml_example_of_the_rnd_page_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(re.findall(r"```yaml\n(.*?)```", section("rnd.md", "## Use it"), re.DOTALL)[0])
    (experiment,) = load_experiments(path)
    assert experiment.sample_config().samples_per_iteration() == 8 * 16 * 128


@pytest.mark.usefixtures("ray_session")
def test_the_python_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    try:
        lines = capsys.readouterr().out.strip().splitlines()[-10:]
        returns, rewards = zip(*((float(word) for word in line.split()) for line in lines), strict=True)
        assert len(lines) == 10
        assert all(-0.01 <= r <= 0.99 for r in returns)  # what DeepSea can pay
        assert all(r > 0 for r in rewards)
        assert (Path(names["path"]) / "rllib_checkpoint.json").is_file()
    finally:
        names["algorithm"].stop()
        shutil.rmtree(names["path"], ignore_errors=True)
