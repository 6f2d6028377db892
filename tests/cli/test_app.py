"""Commands and options: names, help, errors in one line with exit code 2."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rllib_rnd.cli import app
from rllib_rnd.cli.folders import RunRecord, claim
from rllib_rnd.cli.listing import KINDS, names_of

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
        ("settings", ["lr", "intrinsic_reward", "lambda", "one intrinsic reward or several"]),
        ("backbones", ["nature_cnn", "mlp", "about 1.0 M parameters", "iam", "vit_explorative"]),
        ("rewards", ["rnd", "Burda et al. 2018", "one hash per step"]),
        ("losses", ["byol", "barlow_twins", "Grill et al. 2020", "backbone forward"]),
        ("environments", ["rllib_rnd/DeepSea-v0", "ALE/<Game>-v5"]),
        ("examples", ["montezuma_rnd_quick.yaml", "sweeps/deep_sea_rnd.yaml"]),
    ],
)
def test_lists(kind: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # a file has lines of any length
    result = runner.invoke(app, ["list", kind])
    assert result.exit_code == 0
    for word in expected:
        assert word in result.output


@pytest.mark.parametrize("kind", ["rewards", "backbones", "losses", "environments", "settings", "examples"])
def test_what_can_be_named_is_a_line_each(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    names = [line.split()[0] for line in runner.invoke(app, ["list", kind]).output.splitlines()]
    more = ["auto"] if kind == "backbones" else []
    if kind == "examples":
        names = [name.removesuffix(".yaml") for name in names]
    if kind != "environments":  # a family's line begins with its pattern
        assert names == [*more, *names_of(kind)]
    assert len(set(names)) == len(names) > 1


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("algorithms", "SND", ["SND-V"]),
        ("settings", "lambda", ["0.95", "0.0 to 1.0", "GAE"]),
        ("settings", "warmup_steps", ["0; RND: 6400", "random play"]),
        ("backbones", "mlp", ["hidden_sizes", "source: Schulman"]),
        ("rewards", "rnd", ["update_proportion  0.25  (0.0 to 1.0)", "share of samples", "cost: two forward passes"]),
        ("losses", "byol", ["project_gradient", "projector_hidden"]),
        ("environments", "ALE/Pong-v5", ["sticky_action_prob"]),
        ("environments", "rllib_rnd/DeepSea-v0", ["mapping_seed"]),
        ("examples", "deep_sea_rnd", ["run: RND", "agent_steps"]),
    ],
)
def test_one_of_them_is_shown_with_its_options(kind: str, name: str, expected: list[str]) -> None:
    result = runner.invoke(app, ["list", kind, name])
    assert result.exit_code == 0, result.output
    for words in expected:
        assert words in " ".join(result.output.split()) or words in result.output


@pytest.mark.parametrize(
    ("kind", "name", "nearest"),
    [
        ("algorithms", "RNDD", "RND"),
        ("settings", "lamda", "lambda"),
        ("backbones", "nature_cn", "nature_cnn"),
        ("rewards", "rdn", "rnd"),
        ("losses", "bylo", "byol"),
        ("environments", "ALE/Pongg-v5", "Pong"),
        ("examples", "deep_sea_rdn", "deep_sea_rnd"),
    ],
)
def test_a_name_that_is_not_there_gets_the_nearest(kind: str, name: str, nearest: str) -> None:
    result = runner.invoke(app, ["list", kind, name])
    assert result.exit_code == 2
    assert f"list {kind}" in result.output and nearest in result.output


@pytest.mark.parametrize("columns", [80, 200])
def test_lists_fit_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    result = runner.invoke(app, ["list"])
    assert max(map(len, result.output.splitlines())) <= columns
    monkeypatch.delenv("COLUMNS")
    for kind in ("settings", "environments"):  # nothing is cut
        there = " ".join(runner.invoke(app, ["list", kind]).output.split()).replace(";", "").replace(".", "")
        assert there in " ".join(result.output.split()).replace(";", "").replace(".", "")


def test_list_without_a_kind_shows_all() -> None:
    result = runner.invoke(app, ["list"])
    assert result.exit_code == 0
    assert all(kind in result.output for kind in KINDS)


def test_help_says_that_the_command_is_not_rays() -> None:
    result = runner.invoke(app, ["--help"])
    assert "Not part of Ray" in " ".join(result.output.split())


def test_help_cuts_no_command_short() -> None:
    result = runner.invoke(app, ["--help"], env={"COLUMNS": "80"})
    listed = " ".join(result.output.partition("Commands:")[2].split())
    assert "..." not in listed
    for command in app.registered_commands:
        about = " ".join((command.callback.__doc__ or "").split()) if command.callback else ""
        assert about.split(". ")[0].rstrip(".") in listed


def test_what_only_building_finds_has_its_line_too(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "a:\n  run: RND\n  env: rllib_rnd/DeepSea-v0\n"
        "  config:\n    backbone:\n      type: mlp\n      hidden_sizes: []\n"
    )
    result = runner.invoke(app, ["check", str(path)])
    assert result.exit_code == 2
    assert f"{path}:7: a.config.backbone.hidden_sizes: [] is empty" in result.output.replace("\n", "")
