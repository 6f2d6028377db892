"""The docs show what was measured: tables that benchmarks write into pages are changed by nothing else.

In a file of its own, which costs nothing: so it is among the tests of every change.
"""

from __future__ import annotations

from types import ModuleType

import pytest

from benchmarks import faults
from benchmarks.soaking import publish as soak


@pytest.mark.parametrize("benchmark", [faults, soak], ids=["faults", "soak"])
def test_the_page_shows_what_was_measured(benchmark: ModuleType) -> None:
    page = benchmark.PAGE.read_text()
    assert benchmark.rewritten(page, benchmark.kept()) == page
