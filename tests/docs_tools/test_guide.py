"""The guide's commands are those of the program, and run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from typer.main import get_command

from docs_tools.guide import GUIDE, STEPS, Part, parts, play, shortened
from rllib_rnd.cli import app
from rllib_rnd.cli.examples import experiment_paths
from rllib_rnd.experiment.file import load_experiments

PARTS = [part for page in GUIDE for part in parts(page)]
COMMANDS = [part for part in PARTS if part.command.startswith("rllib ")]


def parsed(command: str) -> click.Context:
    """The innermost context of a command line, which is read and not run."""
    here: Any = get_command(app)
    context = click.Context(here, info_name="rllib")
    words = shlex.split(command)[1:]
    while isinstance(here, click.Group):
        name, here, words = here.resolve_command(context, words)
        assert here is not None, command
        context = here.make_context(name, words, parent=context, resilient_parsing=isinstance(here, click.Group))
        words = [*context._protected_args, *context.args] if isinstance(here, click.Group) else []
    return context


@pytest.mark.parametrize("part", COMMANDS, ids=lambda part: part.command)
def test_every_command_is_one_of_the_program(part: Part) -> None:
    for command in (part.command, shortened(part.command)):
        context = parsed(command)
        for path in context.params.get("paths") or [] if "train" in command else []:
            assert path in {part.file for part in PARTS} or experiment_paths([path])


def test_commands_that_are_not_run_say_why() -> None:
    left_out = [part for part in PARTS if part.left_out]
    assert left_out and all(part.left_out.startswith("not here, ") for part in left_out)
    strangers = [part.command for part in PARTS if part.command and not part.command.startswith(("rllib ", "python "))]
    assert set(strangers) <= {part.command for part in left_out}


def test_trainings_are_shortened() -> None:
    assert shortened("rllib train file x --stop agent_steps=99999 --seed 1").endswith(
        f"agent_steps={STEPS} --seed 1 --quiet"
    )
    assert f"agent_steps={STEPS}" in shortened("rllib train file x")
    assert f"agent_steps={STEPS * 3 // 2}" in shortened("rllib train file x --resume --stop agent_steps=4e9")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with every file that the guide shows."""
    for part in PARTS:
        if part.file:
            (tmp_path / part.file).write_text(part.text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path


@pytest.mark.parametrize("name", [part.file for part in PARTS if part.file.endswith(".yaml")])
def test_its_experiments_are_accepted(folder: Path, name: str) -> None:
    assert len(load_experiments(folder / name)) == 1


def test_the_first_run_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the first page does with one run, in processes of their own as a reader does; `make docs-run` runs all."""
    chosen = ("train", "evaluate", "map", "runs")

    def of_the_first_run(part: Part) -> bool:
        words = part.command.split()
        return part.page == "first_run.md" and words[1:2] in [[name] for name in chosen] and "--name" not in words

    play(tmp_path, of_the_first_run)
    told = capsys.readouterr().out.splitlines()
    assert [line.split(" s  rllib ")[1].split()[0] for line in told] == list(chosen)
    assert (tmp_path / "map.png").is_file() and (tmp_path / "results" / "deep_sea_rnd" / "run.json").is_file()
