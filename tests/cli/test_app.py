"""Commands and options: names, help, errors in one line with exit code 2."""

import contextlib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rllib_rnd.cli import app
from rllib_rnd.cli.folders import RunRecord, claim
from rllib_rnd.cli.listing import KINDS

runner = CliRunner()


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["trian"], "train"),
        (["train", "fil"], "file"),
        (["train", "file", "deep_sea_rnd", "--storag", "x"], "--storage"),
        (["evaluat", "x"], "evaluate"),
        (["list", "backbone"], "backbones"),
        (["train", "file", "deep_sea_rdn"], "deep_sea_rnd"),
        (["train", "file", "deep_sea_rnd", "--set", "intrinsic_reward.gama=1"], "gamma"),
        (["train", "file", "deep_sea_rnd", "--stop", "agent_step=1"], "agent_steps"),
        (["check", "tuned_examples/cartpole_pop.yaml"], "cartpole_ppo"),
    ],
)
def test_a_typing_error_exits_2_and_names_what_was_meant(arguments: list[str], nearest: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert nearest in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "file", "no/such/*.yaml"], "matches no file"),
        (["train", "file", "deep_sea_rnd", "--resume", "--checkpoint", "x"], "exclude each other"),
        (["train", "file", "deep_sea_rnd", "--checkpoint", "/no/such/folder"], "there is no such folder"),
        (["evaluate", "/no/such/folder"], "there is no such folder"),
        (["evaluate", ".", "--seeds", "a"], "allowed is whole numbers"),
        (["evaluate", ".", "--episodes", "0"], "--episodes"),
    ],
)
def test_other_mistakes_exit_2(arguments: list[str], message: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_resume_of_a_run_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    claim(str(tmp_path), "other", RunRecord("other", "rllib train file other.yaml", "1"))
    result = runner.invoke(app, ["train", "file", "deep_sea_rnd", "--resume", "--storage", str(tmp_path)])
    assert result.exit_code == 2
    assert f"no run of 'deep_sea_rnd' in {tmp_path} (runs there: other)" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("algorithms", ["IntrinsicPPO", "RND", "SND", "PPO"]),
        ("backbones", ["nature_cnn", "mlp", "hidden_sizes", "1,407,027 parameters", "iam", "vit_explorative"]),
        ("rewards", ["rnd", "update_proportion", "cost: one hash per step"]),
        ("losses", ["byol", "barlow_twins", "project_gradient", "cost: backbone forward"]),
        ("environments", ["rllib_rnd/DeepSea-v0", "sticky_action_prob"]),
        ("examples", ["montezuma_rnd_quick.yaml", "sweeps/deep_sea_rnd.yaml"]),
    ],
)
def test_lists(kind: str, expected: list[str]) -> None:
    result = runner.invoke(app, ["list", kind])
    assert result.exit_code == 0
    for word in expected:
        assert word in result.output


@pytest.mark.parametrize("columns", [80, 200])
def test_lists_fit_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = runner.invoke(app, ["list"])
    assert max(map(len, result.output.splitlines())) <= columns


def test_list_without_a_kind_shows_all() -> None:
    result = runner.invoke(app, ["list"])
    assert result.exit_code == 0
    assert all(kind in result.output for kind in KINDS)


def test_help_says_that_the_command_is_not_rays() -> None:
    result = runner.invoke(app, ["--help"])
    assert "Not part of Ray" in " ".join(result.output.split())


@pytest.mark.usefixtures("ray_session")
def test_what_only_building_finds_has_its_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rllib_rnd.cli.check.ray_session", lambda **_: contextlib.nullcontext())
    path = tmp_path / "x.yaml"
    path.write_text(
        "a:\n  run: RND\n  env: rllib_rnd/DeepSea-v0\n"
        "  config:\n    backbone:\n      type: mlp\n      hidden_sizes: []\n"
    )
    result = runner.invoke(app, ["check", str(path)])
    assert result.exit_code == 2
    assert f"{path}:7: a.config.backbone.hidden_sizes: [] is empty" in result.output.replace("\n", "")
