"""Freed memory stays with the process: the second use of a large block faults no page in."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from rllib_rnd.training.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    b"x" * 2**26  # 16384 pages of 4 KiB
use()
before = faults()
for _ in range(2):
    use()
print(faults() - before)
"""


def page_faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_freed_blocks_are_kept() -> None:
    assert page_faults("keep") < 20
    assert page_faults("default") > 50  # 32,768, or 64 where the kernel gives huge pages unasked
