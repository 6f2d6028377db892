"""Each check of a checkpoint, on made-up contents; and how contents are read: no code of them runs."""

from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.diagnosis import checkpoint as checks
from rllib_rnd.analysis.diagnosis.checkpoint import CHECKS, Saved, learner_arrays, read_saved
from rllib_rnd.checkpoints.manifest import Manifest, installed_versions, seal

MANIFEST = Manifest(4, "rllib_rnd.presets:RND", 7, 700, "2026-01-02T03:04:05", installed_versions(), {})
FILTER = "module_state.intrinsic_rewards.0.reward_filter.moments"
FRAMES = "module_state.intrinsic_rewards.0.obs_moments"
ARRAYS = {
    "module_state.backbone.weight": np.ones((3, 3)),
    "state.optimizer.state.0.exp_avg": np.zeros(3),
    f"{FILTER}.var": np.full((), 0.5),
    f"{FILTER}.count": np.full((), 10.0),
    f"{FRAMES}.var": np.ones(4),
    f"{FRAMES}.count": np.full((), 10.0),
}
WELL = Saved(Path("/s/a/t/checkpoint_000001"), (), MANIFEST, ARRAYS, "", 7, None)
OTHER = dataclasses.replace(MANIFEST, versions={"ray": "2.59.0"})


def with_arrays(**arrays: Any) -> dict[str, Any]:
    return {"arrays": ARRAYS | {name.replace("__", "."): np.asarray(a) for name, a in arrays.items()}}


BAD: dict[str, list[tuple[dict[str, Any], str, str]]] = {
    "origin": [({"manifest": None, "iteration": None}, "warning", "folder")],
    "files": [({"wrong": ("state.pkl is missing",)}, "problem", "cannot be used")],
    "versions": [({"manifest": OTHER}, "warning", "pip install ray==2.59.0"), ({"manifest": None}, "note", "")],
    "readable": [({"unreadable": "EOFError: "}, "problem", "another"), ({"arrays": {}}, "problem", "another")],
    "finite": [
        (with_arrays(module_state__backbone__weight=[np.nan]), "problem", "older checkpoint"),
        (with_arrays(state__optimizer__state__0__exp_avg=[np.inf]), "problem", "older checkpoint"),
        ({"arrays": ARRAYS | {f"{FILTER}.mean": np.array(np.nan)}}, "problem", "older checkpoint"),
        ({"arrays": {}}, "note", ""),
    ],
    "statistics": [
        ({"arrays": ARRAYS | {f"{FRAMES}.count": np.zeros(())}}, "warning", "warmup_steps"),
        ({"arrays": ARRAYS | {f"{FILTER}.var": np.zeros(())}}, "warning", "the same everywhere"),
        ({"arrays": ARRAYS | {f"{FRAMES}.var": np.zeros(4)}}, "warning", "always the same"),
        ({"arrays": {}}, "note", ""),
    ],
}


def test_every_check_has_its_cases() -> None:
    assert {check.__name__ for check in CHECKS} == set(BAD)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_well(check: Any) -> None:
    assert check(WELL).level == "ok"


@pytest.mark.parametrize(
    ("name", "changes", "level", "advice"), [(name, *case) for name, cases in BAD.items() for case in cases]
)
def test_not_well(name: str, changes: dict[str, Any], level: str, advice: str) -> None:
    finding = getattr(checks, name)(dataclasses.replace(WELL, **changes))
    assert finding.level == level
    assert advice in finding.what_to_do


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.optimizer.exp_avg", "optimizer"), ("a.obs_moments.mean", "statistics"), ("a.backbone.weight", "weights")],
)
def test_what_is_not_finite_has_a_name(name: str, kind: str) -> None:
    finding = checks.finite(dataclasses.replace(WELL, arrays={name: np.array([np.nan])}))
    assert f"not finite: {kind}" in finding.detail


class _Command:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/doctor_was_here",)


def write(folder: Path) -> None:
    inside = folder / "learner_group" / "learner"
    inside.mkdir(parents=True)
    content = {"optimizer": {"lr": 0.1, "moments": [np.full(3, 2.0)]}, "metrics_logger": {"x": np.array([np.nan])}}
    (inside / "state.pkl").write_bytes(pickle.dumps(content | {"evil": _Command()}))
    (inside / "module_state.pkl").write_bytes(
        pickle.dumps({"weight": np.ones((2, 2), np.float32), "n": np.ones(2, int)})
    )


def test_numbers_are_read_and_nothing_is_run(tmp_path: Path) -> None:
    write(tmp_path)
    found = dict(learner_arrays(tmp_path))
    assert set(found) == {"state.optimizer.moments.0", "module_state.weight"}
    assert found["state.optimizer.moments.0"].tolist() == [2.0, 2.0, 2.0]
    assert not Path("/tmp/doctor_was_here").exists()


@pytest.mark.parametrize("version", ["format_3", "format_4"])
def test_a_real_checkpoint_of_the_middle_of_an_episode_is_well(version: str) -> None:
    saved = read_saved(Path(__file__).parents[2] / "checkpoints" / "data" / version)
    found = [check(saved) for check in CHECKS if check is not checks.versions]  # the installed ones change
    assert [finding.level for finding in found] == ["ok"] * len(found), found


@pytest.mark.parametrize("damage", ["none", "cut", "flipped", "deleted"])
def test_a_damaged_checkpoint_is_a_finding(tmp_path: Path, damage: str) -> None:
    write(tmp_path)
    seal(tmp_path, 4, "rllib_rnd.presets:RND", 7, 700)
    state = tmp_path / "learner_group" / "learner" / "state.pkl"
    content = state.read_bytes()
    if damage == "cut":
        state.write_bytes(content[:-20])
    elif damage == "flipped":
        state.write_bytes(content[:-3] + b"\0" + content[-2:])
    elif damage == "deleted":
        state.unlink()
    finding = checks.files(read_saved(tmp_path))
    assert finding.level == ("ok" if damage == "none" else "problem")
    assert damage == "none" or "learner_group/learner/state.pkl" in finding.detail
