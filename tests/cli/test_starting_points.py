"""``rllib init`` and ``rllib new``: what they write can be begun with."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from rllib_rnd.cli import app
from rllib_rnd.cli.starting_points import KINDS, Wanted, starter
from rllib_rnd.experiment.file import load_experiments
from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.modules import BACKBONES

runner = CliRunner()
DEEP_SEA, CATCH = "rllib_rnd/DeepSea-v0", "rllib_rnd/Catch-v0"
WANTED = [
    *(Wanted(DEEP_SEA, reward, "auto") for reward in ("none", *INTRINSIC_REWARDS.names())),
    *(Wanted(CATCH, "rnd", backbone) for backbone in BACKBONES.names()),
    Wanted("ALE/MontezumaRevenge-v5", "rnd", "vit"),
    Wanted("CartPole-v1", "none", "mlp"),
]


@pytest.mark.parametrize("wanted", WANTED, ids=lambda w: f"{w.env}-{w.reward}-{w.backbone}")
def test_every_option_in_a_starter_may_be_taken_as_it_stands(tmp_path: Path, wanted: Wanted) -> None:
    text, path = starter("mine", wanted), tmp_path / "mine.yaml"
    for number, variant in enumerate([text, re.sub(r"^( +)# ", r"\1", text, flags=re.MULTILINE)]):
        path.write_text(variant)
        (experiment,) = load_experiments(path)
        config = experiment.sample_config()
        assert config.env == wanted.env and config.num_envs_per_env_runner == 32
        assert (config.intrinsic_reward or {"type": "none"})["type"] == wanted.reward
        assert config.backbone["type"] == wanted.backbone
        if number and wanted.reward != "none":
            assert {"gamma", "coeff"} <= set(config.intrinsic_reward)
    assert max(map(len, text.splitlines())) <= 120


def test_a_starter_is_written_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["init", "mine", "--reward", "count", "--backbone", "gru"])
    assert result.exit_code == 0, result.output
    assert "mine: file, names, types and ranges are fine" in result.output
    assert "mine.yaml is written. Train: rllib train mine.yaml" in result.output
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text())["mine"]["config"]["backbone"] == {"type": "gru"}
    again = runner.invoke(app, ["init", "mine"])
    assert again.exit_code == 2 and "mine.yaml: is there already" in again.output


def test_a_starter_that_does_not_build_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["init", "mine", "--backbone", "nature_cnn"])
    assert result.exit_code == 2
    assert "mine.yaml:" in result.output and "'nature_cnn' reads images" in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["init", "a/b"], "names no folder of its own"),
        (["init", "mine", "--env", "ALE/Pongg-v5"], "Pong"),
        (["init", "mine", "--reward", "rdn"], "--reward: unknown intrinsic reward 'rdn'. Did you mean 'rnd'?"),
        (["init", "mine", "--backbone", "mpl"], "--backbone: unknown backbone 'mpl'. Did you mean 'mlp'?"),
        (["new", "rewards", "mine"], "Did you mean 'reward'?"),
        (["new", "reward", "My-Reward"], "lower-case letters, digits and underscores"),
        (["new", "reward", "math"], "'math' cannot be imported"),
        (["new", "reward", "torch"], "'torch' is an installed module"),
        (["new", "env", "rllib_rnd"], "'rllib_rnd' is an installed module"),
    ],
)
def test_other_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2 and said in " ".join(result.output.split()), result.output
    assert not list(tmp_path.iterdir())


def test_new_plugins_pass_their_tests_outside_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in KINDS:
        name = f"silver_{kind}"
        result = runner.invoke(app, ["new", kind, name])
        assert result.exit_code == 0, result.output
        assert f"{name}:Silver{kind.capitalize()}" in result.output
        text = (tmp_path / f"{name}.py").read_text() + (tmp_path / f"test_{name}.py").read_text()
        assert not re.search("my_|My[A-Z]|starters", text)
        again = runner.invoke(app, ["new", kind, name])
        assert again.exit_code == 2 and "is there already" in again.output
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore"]
    tested = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout
    assert "7 passed" in tested.stdout
