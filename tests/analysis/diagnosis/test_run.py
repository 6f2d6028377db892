"""Each check of a run has a case in which all is well, and one in which it is not and something is to be done."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_rnd.analysis.diagnosis import run as checks
from rllib_rnd.analysis.diagnosis.finding import Finding
from rllib_rnd.analysis.diagnosis.run import CHECKS
from rllib_rnd.analysis.diagnosis.subject import Trained
from rllib_rnd.analysis.results.run import Run

N = 20
STEPS = np.arange(1.0, N + 1)


def made(state: str = "finished", **metrics: Any) -> Run:
    values = {
        "iteration": STEPS,
        "agent_steps": 100 * STEPS,
        "intrinsic_reward_mean": np.linspace(1.0, 0.2, N),
        "entropy": np.full(N, 1.5),
        "return_mean": np.linspace(0.0, 0.9, N),
        "return_max": np.ones(N),
        "total_loss": np.full(N, 0.1),
        "snd_feature_std": np.full(N, 0.8),
        "nonfinite_updates": np.zeros(N),
    }
    values |= {name: np.asarray(value, dtype=float) for name, value in metrics.items()}
    provenance = {"command": "rllib train file a.yaml", "created": "2026-01-02T03:04:05"}
    return Run("a", "/s/a", "a", "RND", 0, "Catch", None, {}, state, values, budget=2000, provenance=provenance)


WELL = Trained(
    made(),
    (Path("/s/a/t"),),
    Path("/s/a/t/checkpoint_000003"),
    {},
    {"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0+cpu"},
    {"python": "3.11.9", "ray": "2.60.1", "torch": "2.13.1"},
    2000,
    Path("/s/a"),
)
BROKEN = {Path("/s/a/t/checkpoint_000004"): "state.pkl is cut short"}
LAST_IS = np.r_[np.full(N - 1, 0.1), np.nan]
ROSE_AND_FELL = np.r_[np.linspace(0.0, 0.9, N // 2), np.linspace(0.9, 0.02, N - N // 2)]
BAD: dict[str, list[tuple[dict[str, Any], str, str]]] = {
    "state": [
        ({"run": made("crashed")}, "problem", "rllib train file a.yaml --name a --resume"),
        ({"run": made("failed")}, "problem", "--resume"),
        ({"run": made("unknown")}, "note", "no result"),
    ],
    "checkpoints": [
        ({"bad": BROKEN}, "warning", "passed over"),
        ({"bad": BROKEN, "valid": None}, "problem", "Train anew"),
        ({"valid": None}, "warning", "checkpoint_config"),
        ({"valid": None, "run": made("running")}, "note", "checkpoint_config"),
    ],
    "versions": [
        ({"installed": {"python": "3.11", "ray": "2.61.0", "torch": "2.13.0"}}, "warning", "pip install ray==2.60.0"),
        ({"installed": {"python": "3.12", "ray": "2.60.0", "torch": "2.13.0"}}, "warning", "Python"),
    ],
    "rows": [
        ({"run": made(iteration=np.r_[STEPS[:10], STEPS[10:] + 3])}, "warning", "hole"),
        ({"run": dataclasses.replace(made(), unreadable=2)}, "warning", "left out of curves"),
    ],
    "progress": [({"run": made(agent_steps=np.r_[STEPS[:15], np.full(5, 15.0)])}, "problem", "runners")],
    "numbers": [
        ({"run": made(total_loss=LAST_IS)}, "problem", "checkpoint before"),
        ({"run": made(grad_norm=np.r_[np.ones(N - 1), np.inf])}, "problem", "checkpoint before"),
        ({"run": made(nonfinite_updates=np.full(N, 5.0))}, "warning", "smaller lr"),
        ({"run": made(broken_observations=np.full(N, 2.0))}, "note", "NaN"),
    ],
    "returns": [
        ({"run": made(return_mean=ROSE_AND_FELL)}, "warning", "bootstrap_truncated"),
        ({"run": made(return_mean=ROSE_AND_FELL - 5.0, return_max=np.full(N, -4.0))}, "warning", "checkpoint"),
    ],
    "bonus": [
        ({"run": made(intrinsic_reward_mean=np.linspace(1.0, 1e-4, N) ** 2)}, "warning", "update_proportion"),
        ({"run": made(intrinsic_reward_mean=np.r_[np.ones(N - 1), 0.0])}, "warning", "update_proportion"),
        ({"run": made(intrinsic_reward_mean=np.logspace(0, 5, N))}, "warning", "grad_clip"),
        ({"run": made(intrinsic_reward_mean=LAST_IS)}, "problem", "clip_reward"),
    ],
    "features": [({"run": made(snd_feature_std=np.full(N, 1e-7))}, "warning", "vic")],
    "entropy": [({"run": made(entropy=np.full(N, 1e-5))}, "warning", "entropy_coeff")],
    "failures": [({"run": made(env_failures=np.full(N, 3.0))}, "note", "logs")],
    "mlflow": [({"logged": -1}, "warning", "elsewhere"), ({"logged": 1500}, "warning", "result.json")],
    "use": [({"valid": None}, "note", "")],
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


def test_what_is_as_well() -> None:
    few = made(iteration=[1.0], agent_steps=[100.0])
    assert checks.progress(dataclasses.replace(WELL, run=few)).level == "ok"
    negative = made(entropy=np.full(N, -2.0))  # of continuous actions
    assert checks.entropy(dataclasses.replace(WELL, run=negative)).level == "ok"
    assert checks.mlflow(dataclasses.replace(WELL, logged=None)).level == "ok"
    plain = made()
    del plain.metrics["intrinsic_reward_mean"], plain.metrics["snd_feature_std"]  # type: ignore[attr-defined]
    assert "none" in checks.bonus(dataclasses.replace(WELL, run=plain)).detail
    assert "none" in checks.features(dataclasses.replace(WELL, run=plain)).detail


def test_luck_that_ends_is_not_forgotten() -> None:
    """One episode of a hundred found something once; no episode has ended yet; it learns in spite of a bad moment."""
    once = made(return_mean=np.where(STEPS == 7, 0.01, 0.0))
    none = made(return_mean=np.full(N, np.nan), return_max=np.full(N, np.nan))
    moment = made(return_mean=np.r_[np.linspace(0.0, 0.9, N - 1), 0.5])
    for run in (once, none, moment):
        assert checks.returns(dataclasses.replace(WELL, run=run)).level == "ok"
    assert checks.returns(dataclasses.replace(WELL, run=none)).detail == "none yet"


def test_the_command_that_goes_on() -> None:
    assert checks.state(dataclasses.replace(WELL, run=made("stopped"))).what_to_do == WELL.resume
    named = dataclasses.replace(WELL.run, provenance={"command": "rllib train file a.yaml --name b --resume"})
    assert dataclasses.replace(WELL, run=named).resume == "rllib train file a.yaml --name b --resume"
    nothing = dataclasses.replace(WELL.run, provenance={}, state="crashed")
    assert "--checkpoint" in checks.state(dataclasses.replace(WELL, run=nothing)).what_to_do


@pytest.mark.parametrize("level", ["note", "warning", "problem"])
def test_a_finding_that_is_not_well_says_what_to_do(level: Any) -> None:
    Finding("ok", "disk", "enough")
    with pytest.raises(ValueError, match="disk: full: what is to be done"):
        Finding(level, "disk", "full")
