"""Tables as they are read: by people, as CSV, as LaTeX, as JSON, as Markdown."""

from __future__ import annotations

import json
import math

import pytest

from rllib_rnd.analysis.results.statistics import Estimate
from rllib_rnd.analysis.results.tables import (
    PlusMinus,
    Table,
    csv_text,
    json_of,
    latex_text,
    markdown_lines,
    number,
    shown,
)

TABLE = Table(
    "x",
    "Scores & more",
    ("task", "mean", "iqm", "n"),
    (
        ("a_b, 50%", PlusMinus(1234.5, 12.3), Estimate(0.5, 0.25, 0.75), 3),
        ("c", PlusMinus(1.0, math.nan), Estimate(0.123), None),
    ),
    best=frozenset({(0, 1)}),
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (3, "3"),
        (1234567, "1,234,567"),
        (0.123456, "0.1235"),
        (-1234.5, "-1,234"),
        (PlusMinus(0.98667, 0.006667), "0.9867 ± 0.0067"),
        (PlusMinus(1234.5, 12.3), "1,234 ± 12"),
        (PlusMinus(2.0, 0.0), "2 ± 0"),
        (PlusMinus(0.98, 1e-17), "0.98 ± 0"),
        (PlusMinus(2.0, math.nan), "2"),
        (Estimate(1.0, 1.0, 1.0), "1.00 [1.00, 1.00]"),
        (Estimate(0.99, 0.98, 0.9933), "0.990 [0.980, 0.993]"),
        (Estimate(1207.0, 1100.0, 1300.0), "1,207 [1,100, 1,300]"),
        (Estimate(0.5), "0.50"),
    ],
)
def test_cells_have_the_digits_that_count(cell: object, text: str) -> None:
    assert shown(cell) == text  # type: ignore[arg-type]


def test_csv_has_whole_numbers_in_columns_of_their_own() -> None:
    assert csv_text(TABLE).splitlines() == [
        "task,mean,mean_error,iqm,iqm_low,iqm_high,n",
        '"a_b, 50%",1234.5,12.3,0.5,0.25,0.75,3',
        "c,1.0,,0.123,,,",
    ]


def test_latex_is_escaped_and_the_best_is_bold() -> None:
    lines = latex_text(TABLE).splitlines()
    assert lines[1] == r"\begin{tabular}{lrrr}"
    assert lines[5] == r"a\_b, 50\% & \textbf{1,234 $\pm$ 12} & 0.50 [0.25, 0.75] & 3 \\"
    assert lines[6] == r"c & 1 & 0.12 & - \\" and lines[-1] == r"\end{tabular}"


def test_json_and_markdown() -> None:
    found = json_of(TABLE)
    assert json.loads(json.dumps(found, allow_nan=False))["rows"][1] == {
        "task": "c",
        "mean": {"mean": 1.0, "standard_error": None},
        "iqm": {"value": 0.123, "low": None, "high": None},
        "n": None,
    }
    assert markdown_lines(TABLE)[2] == "| a_b, 50% | **1,234 ± 12** | 0.50 [0.25, 0.75] | 3 |"
    assert number(1e6) == "1,000,000"
