"""Checkpoints of another format: refused in one sentence everywhere, whatever classes they name."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from rllib_rnd import RND
from rllib_rnd.checkpoints.format import CHECKPOINT_FORMAT, check_checkpoint
from rllib_rnd.cli import app
from rllib_rnd.errors import ConfigError

SENTENCE = f"its format is 1, of another version of rllib_rnd; allowed is {CHECKPOINT_FORMAT}: train anew"


class _Moved:
    """Pickled under the name of a module that is gone when it is read."""

    def __init__(self) -> None:
        self.size = 3


def pickled_with_a_class_that_is_gone(content: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("rllib_rnd.gone")
    module._Moved = _Moved  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rllib_rnd.gone", module)
        patch.setattr(_Moved, "__module__", "rllib_rnd.gone")
        data = pickle.dumps({**content, "moved": [_Moved()]})
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder with its record and one checkpoint, written before formats had numbers."""
    run = tmp_path / "results" / "deep_sea_rnd"
    checkpoint = run / "trial" / "checkpoint_000000"
    files: dict[str, dict[str, Any]] = {
        "algorithm_state.pkl": {"training_iteration": 1, "intrinsic_ppo": {"pretrained": True}},
        "class_and_ctor_args.pkl": {"class": RND, "ctor_args_and_kwargs": (({},), {})},
        "learner_group/learner/state.pkl": {},
    }
    for name, content in files.items():
        pickled_with_a_class_that_is_gone(content, checkpoint / name, monkeypatch)
    (checkpoint / "rllib_checkpoint.json").write_text('{"checkpoint_version": "2.1"}', encoding="utf-8")
    record = {"experiment": "deep_sea_rnd", "command": "rllib train file deep_sea_rnd.yaml", "start": "x"}
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return run


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "RUN"],
        ["record", "RUN", "--out", "OUT.mp4"],
        ["map", "RUN", "--out", "OUT.png"],
        ["train", "file", "tuned_examples/deep_sea_rnd.yaml", "--checkpoint", "RUN"],
        ["train", "file", "tuned_examples/deep_sea_rnd.yaml", "--storage", "STORAGE", "--resume"],
        ["train", "file", "SWEEP", "--storage", "STORAGE", "--resume"],
    ],
    ids=lambda command: " ".join(command[:1] + command[-1:]),
)
def test_commands_refuse_it_in_one_line(old_run: Path, tmp_path: Path, command: list[str]) -> None:
    sweep = tmp_path / "sweep.yaml"
    example = Path("tuned_examples/deep_sea_rnd.yaml").read_text(encoding="utf-8")
    sweep.write_text(example.replace("seed: 0", "seed: {grid_search: [0, 1]}"), encoding="utf-8")
    places = {"RUN": old_run, "STORAGE": old_run.parent, "SWEEP": sweep}
    words = [str(places.get(word, word.replace("OUT", str(tmp_path / "out")))) for word in command]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.output.splitlines() if line]
    assert line.startswith("rllib: checkpoint /") and SENTENCE in line


def test_python_refuses_it_likewise(old_run: Path) -> None:
    (checkpoint,) = old_run.glob("*/checkpoint_*")
    with pytest.raises(ConfigError, match=SENTENCE):
        RND.from_checkpoint(str(checkpoint))
    with pytest.raises(ConfigError, match=SENTENCE):
        RND.__new__(RND).restore_from_path(checkpoint)


@pytest.mark.parametrize("number", [1, CHECKPOINT_FORMAT + 1])
def test_a_state_of_another_number_is_refused_by_both(number: int) -> None:
    with pytest.raises(ConfigError, match=rf"checkpoint: its format is {number}, .* allowed is {CHECKPOINT_FORMAT}"):
        RND.__new__(RND).set_state({"intrinsic_ppo": {"format": number}})


def test_what_cannot_be_read_at_all_is_refused_and_other_algorithms_pass(tmp_path: Path) -> None:
    state = tmp_path / "algorithm_state.pkl"
    check_checkpoint(tmp_path)
    state.write_bytes(pickle.dumps({"training_iteration": 1}))  # RLlib's own
    check_checkpoint(tmp_path)
    state.write_bytes(b"no pickle")
    with pytest.raises(ConfigError, match=r"algorithm_state\.pkl cannot be read"):
        check_checkpoint(tmp_path)
