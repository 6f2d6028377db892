"""The table of faults: how it is put together."""

from __future__ import annotations

import pytest

from benchmarks import faults


def row(name: str, lost: str = "nothing") -> faults.Row:
    return {"fault": name, "what you see": "a line", "seconds": 2.0, "lost": lost}


def test_new_rows_replace_old_ones_and_what_is_gone_goes() -> None:
    before, new = [row("a"), row("gone"), row("b")], [row("b", "an iteration"), row("c")]
    assert faults.merged(["c", "a", "b", "not measured"], before, new) == [row("c"), row("a"), row("b", "an iteration")]


def test_the_page_is_rewritten_between_its_marks() -> None:
    page = f"before\n{faults.BEGIN}\nold\n{faults.END}\nafter\n"
    found = faults.rewritten(page, [row("a")])
    assert found.startswith(f"before\n{faults.BEGIN}\n| fault | what you see | seconds | lost |")
    assert found.endswith(f"| a | a line | 2.00 | nothing |\n{faults.END}\nafter\n")
    assert faults.rewritten(found, [row("a")]) == found


def test_every_fault_is_in_the_table_once_it_was_measured() -> None:
    rows = faults.kept()
    assert not rows or [str(r["fault"]) for r in rows] == list(faults.all_faults())
    assert not [r for r in rows if str(r["what you see"]).startswith("NOT AS PROMISED")]


def test_a_fault_is_measured_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_LONGEST_S", 120.0)
    found = faults.measure("no such fault")
    assert found["what you see"] == "NOT AS PROMISED: KeyError: 'no such fault'"
