"""One cell of each study's table is run again: which there are, what their intervals are, and what fails."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import quick
from experiments.quick import CELLS, Cell, first_enough, interval_of

EXPERIMENTS = Path(quick.__file__).parent


def test_every_study_has_a_cell_of_stored_numbers() -> None:
    assert set(CELLS) == {path.parent.name for path in EXPERIMENTS.glob("*/run.py")}
    for study, make in CELLS.items():
        stored = make().stored()
        assert stored and np.isfinite(stored).all(), study
        low, high = interval_of(stored, make().in_steps)
        assert low <= np.median(stored) <= high


def test_the_interval_is_that_of_a_further_run() -> None:
    """Of 1, 2, 3: 4.303 (t with two degrees of freedom) times 1 times the root of 4/3; of steps it is one of ratios."""
    width = 4.302653 * math.sqrt(4 / 3)
    assert interval_of([1.0, 2.0, 3.0]) == pytest.approx((2 - width, 2 + width))
    low, high = interval_of([100.0, 1000.0, 10_000.0], in_steps=True)
    assert (math.log10(low), math.log10(high)) == pytest.approx((3 - width, 3 + width))


def test_of_one_run_or_of_equal_ones_it_has_a_width_too() -> None:
    assert interval_of([8.0]) == pytest.approx((6.0, 10.0))
    assert interval_of([0.5, 0.5, 0.5]) == pytest.approx((0.49, 0.51))


def test_a_run_counts_from_when_it_is_good_enough() -> None:
    rows = [{"agent_steps": str(s), "return_mean": r} for s, r in ((1, ""), (2, "0.1"), (3, "0.9"), (4, "0.2"))]
    assert first_enough(rows, 0.8) == 3.0
    assert first_enough(rows, 0.95) == 4.0


@pytest.mark.parametrize(("now", "code", "told"), [(2.0, 0, "yes"), (9.0, 1, "NO")])
def test_it_fails_where_a_cell_leaves_its_interval(
    now: float, code: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = Cell("the cell", lambda: [1.0, 2.0, 3.0], lambda: now)
    monkeypatch.setattr(quick, "CELLS", {"study": lambda: cell})
    monkeypatch.setattr(sys, "argv", ["quick"])
    assert quick.main() == code
    assert f"| study | the cell | 3 | -2.968 to 6.968 | {now:g} | 0 | {told} |" in capsys.readouterr().out


def test_cells_that_train_nothing_stay_where_they_are() -> None:
    for study in ("self_attention", "reference_returns"):
        inside, row = quick.check(study, CELLS[study]())
        assert inside, row
