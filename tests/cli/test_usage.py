"""A command that is called wrongly is answered in one line, with exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rllib_rnd.checkpoints import find_checkpoint
from rllib_rnd.cli import app
from rllib_rnd.cli.examples import experiment_paths
from rllib_rnd.errors import ConfigError

COMMANDS = [str(command.name or command.callback.__name__) for command in app.registered_commands if command.callback]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_there_is_not(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--nonsense"])
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.startswith("rllib: No such option: --nonsense") and done.stderr.count("\n") == 1
    assert f"`rllib {command} --help` shows what there is." in done.stderr or "`root " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'? `"),
        (["train", "x.yaml", "--seed", "x"], "Invalid value for '--seed': "),
        (["evaluate"], "Missing argument "),
        (["train", "x.yaml", "--set"], "requires an argument. `"),
    ],
)
def test_other_mistakes(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_help_is_shown_as_before() -> None:
    assert "Usage:" in CliRunner().invoke(app, ["--help"]).stdout
    assert CliRunner().invoke(app, ["train", "--help"]).exit_code == 0
    assert "Usage:" in CliRunner().invoke(app, []).output


def test_a_file_that_there_is_not_has_its_neighbour_named(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").touch()
    with pytest.raises(ConfigError, match=rf"no such file\. Did you mean '{tmp_path}/demo.yaml'\?"):
        experiment_paths([str(tmp_path / "demo.yml")])


@pytest.mark.parametrize(
    ("meant", "nearest"), [("mid", "results/mid"), ("results/mdi", "results/mid"), ("resutls", "results"), ("q", None)]
)
def test_a_folder_that_there_is_not_has_the_nearest_run_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meant: str, nearest: str | None
) -> None:
    (tmp_path / "results" / "mid").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no such folder") as caught:
        find_checkpoint(meant)
    assert caught.value.nearest == nearest
