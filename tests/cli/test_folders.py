"""Whose folder is whose: a model of starts, deletions, moves and resumes, and many processes at once."""

from __future__ import annotations

import multiprocessing
import random
import shutil
from pathlib import Path

import pytest

from rllib_rnd.cli.folders import RECORD, RunRecord, claim, release, runs_in, runs_to_resume, update
from rllib_rnd.errors import ConfigError

# Names that a prefix or a number confuses.
NAMES = ("x", "x_2", "x_2_2", "x_3", "x y")


def start(storage: Path, experiments: tuple[str, ...], number: int, name: str | None = None) -> dict[str, str]:
    """Starts experiments as the command does; experiment -> folder."""
    folders = {}
    for experiment in experiments:
        base = experiment if name is None else name if len(experiments) == 1 else f"{name}_{experiment}"
        folders[experiment] = claim(str(storage), base, RunRecord(experiment, f"start {number}", str(number)))
    return folders


@pytest.mark.parametrize("seed", range(8))
def test_every_sequence_resumes_the_run_that_is_meant(tmp_path: Path, seed: int) -> None:
    """What a folder is known by is compared with a list of runs that a test keeps on its own."""
    draw = random.Random(seed)
    alive: list[tuple[str, str, int]] = []  # experiment, folder, number of its start; oldest first
    for number in range(25):
        action = draw.choice(["start", "start", "start both", "delete", "rename"])
        if action.startswith("start"):
            experiments = tuple(draw.sample(NAMES, 1 if action == "start" else 2))
            name = draw.choice([None, None, *NAMES])
            before = {path.name for path in tmp_path.iterdir()}
            folders = start(tmp_path, experiments, number, name)
            assert len({*folders.values()}) == len(folders) and not before & {*folders.values()}
            alive += [(experiment, folder, number) for experiment, folder in folders.items()]
        elif alive:
            run = alive[draw.randrange(len(alive))]
            if action == "delete":
                shutil.rmtree(tmp_path / run[1])
                alive.remove(run)
            else:
                moved = f"moved_{number}"
                (tmp_path / run[1]).rename(tmp_path / moved)
                alive[alive.index(run)] = (run[0], moved, run[2])
        assert list(runs_in(str(tmp_path))) == [folder for _, folder, _ in alive]
        for experiment, folder, _ in alive:  # the command that is printed names its run
            assert runs_to_resume(str(tmp_path), [experiment], folder) == [folder]
        for experiment in NAMES:
            mine = [folder for name, folder, _ in alive if name == experiment]
            if mine:
                assert runs_to_resume(str(tmp_path), [experiment], None) == [mine[-1]]
            else:
                with pytest.raises(ConfigError, match="no run of"):
                    runs_to_resume(str(tmp_path), [experiment], None)


@pytest.mark.parametrize("named", ["x", "x_2", "x_2_2"])
def test_a_file_of_several_goes_on_together(tmp_path: Path, named: str) -> None:
    """With experiments ``x``, ``x_2`` and ``x_2_2`` in one file, started twice, each is resumed once."""
    experiments = ("x", "x_2", "x_2_2")
    first, second = (start(tmp_path, experiments, number) for number in (1, 2))
    assert runs_to_resume(str(tmp_path), experiments, None) == list(second.values())
    for folders in (first, second):
        assert runs_to_resume(str(tmp_path), experiments, folders[named]) == list(folders.values())
    shutil.rmtree(tmp_path / first["x_2"])  # it starts anew then, beside the others of its start
    named_again = first[named] if named != "x_2" else first["x"]
    assert runs_to_resume(str(tmp_path), experiments, named_again) == [first["x"], None, first["x_2_2"]]


def test_two_files_with_the_same_name_are_two_runs(tmp_path: Path) -> None:
    folders = [claim(str(tmp_path), "x", RunRecord("x", "c", "1")) for _ in range(2)]
    assert folders == ["x", "x_2"]
    assert runs_to_resume(str(tmp_path), ["x", "x"], None) == folders


def _claim_some(storage: str, results: multiprocessing.Queue[list[str]], barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    results.put([claim(storage, "x", RunRecord("x", "c", "1")) for _ in range(20)])


def test_processes_at_once_never_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[list[str]] = context.Queue()
    barrier = context.Barrier(3)
    processes = [context.Process(target=_claim_some, args=(str(tmp_path), results, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    claimed = [name for _ in processes for name in results.get(timeout=60)]
    for process in processes:
        process.join()
    assert len(claimed) == len(set(claimed)) == 60
    assert set(runs_in(str(tmp_path))) == set(claimed)


def test_remote_stores_number_their_folders_too(tmp_path: Path) -> None:
    uri = tmp_path.as_uri()
    assert [claim(uri, "x", RunRecord("x", "c", "1")) for _ in range(3)] == ["x", "x_2", "x_3"]
    assert list(runs_in(str(tmp_path))) == ["x", "x_2", "x_3"]


def test_what_cannot_be_resumed_says_why(tmp_path: Path) -> None:
    start(tmp_path, ("cart_pole",), 1)
    (tmp_path / "strange").mkdir()
    with pytest.raises(ConfigError, match=r"no run 'cart_pol' .*runs there: cart_pole.* Nearest: 'cart_pole'"):
        runs_to_resume(str(tmp_path), ["cart_pole"], "cart_pol")
    with pytest.raises(ConfigError, match=r"is a run of experiment 'cart_pole', .*allowed is a run of 'other'"):
        runs_to_resume(str(tmp_path), ["other"], "cart_pole")
    for content in (None, "{", '{"a newer version": 1}'):
        if content is not None:
            (tmp_path / "strange" / RECORD).write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError, match=f"that folder has no {RECORD} that can be read"):
            runs_to_resume(str(tmp_path), ["cart_pole"], "strange")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--storage .*file: folder 'x' cannot be made there: .*; write elsewhere"):
        claim(str(tmp_path / "file"), "x", RunRecord("x", "c", "1"))


def test_a_folder_is_given_back_until_something_is_trained(tmp_path: Path) -> None:
    record = RunRecord("x", "c", "1", description={"lr": 1.0})
    for trained in (False, True):
        name = claim(str(tmp_path), "x", record)
        trial = tmp_path / name / "trial"
        trial.mkdir()
        (trial / "result.json").write_text("{}" if trained else "", encoding="utf-8")
        release(str(tmp_path), name)
        assert (tmp_path / name).exists() == trained
    key = update(str(tmp_path), "x", {"lr": 2.0}, {"commit": "b"})
    read = RunRecord.read(tmp_path / "x")
    assert read is not None and read.description == {"lr": 2.0} and read.created == record.created
    assert key and read.key == key and update(str(tmp_path), "x", {}, {"commit": "c"}) == key
    read = RunRecord.read(tmp_path / "x")
    assert read is not None and [resume["commit"] for resume in read.resumes] == ["b", "c"]
