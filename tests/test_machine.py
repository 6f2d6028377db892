"""What a machine gives, read from files that are made up: version 2 and 1 of control groups, and none."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_rnd.machine import (
    Gpu,
    cpu_quota,
    free_memory,
    in_words,
    memory_limit,
    parse_gpus,
    shared_memory,
)

MEMINFO = "MemTotal:       8000 kB\nMemFree:        1000 kB\nMemAvailable:   5000 kB\nHugePages_Total: 0\n"
KIB = 1024


def made(root: Path, **files: str) -> Path:
    for name, content in {"proc/meminfo": MEMINFO, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_without_a_container(tmp_path: Path) -> None:
    made(tmp_path)
    assert memory_limit(tmp_path) == 8000 * KIB
    assert free_memory(tmp_path) == 5000 * KIB
    assert cpu_quota(tmp_path) is None


def test_a_container_in_version_2(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/a/b"
    made(
        tmp_path,
        **{
            "proc/self/cgroup": "0::/a/b\n",
            f"{group}/memory.max": f"{4000 * KIB}\n",
            f"{group}/memory.current": f"{3000 * KIB}\n",
            f"{group}/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/memory.max": "max\n",
            "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
        },
    )
    assert memory_limit(tmp_path) == 4000 * KIB
    assert free_memory(tmp_path) == 1000 * KIB
    assert cpu_quota(tmp_path) == 1.5


def test_inside_a_container_the_mount_is_its_group(tmp_path: Path) -> None:
    made(
        tmp_path,
        **{"proc/self/cgroup": "0::/docker/123\n", "sys/fs/cgroup/memory.max": "1024\n"},
    )
    assert memory_limit(tmp_path) == 1024


def test_a_container_in_version_1(tmp_path: Path) -> None:
    made(
        tmp_path,
        **{
            "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x\n3:freezer:/x\n",
            "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "2048\n",
            "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "4096\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert memory_limit(tmp_path) == 2048
    assert free_memory(tmp_path) == 0
    assert cpu_quota(tmp_path) == 3.0


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) is None
    assert free_memory(tmp_path) is None
    assert cpu_quota(tmp_path) is None
    assert shared_memory(str(tmp_path / "none")) is None


def test_gpus() -> None:
    table = "NVIDIA H100, 80GB, 81559, 80000\nTesla T4, 15360, 100\nbroken\nX, N/A, N/A\n"
    assert parse_gpus(table) == (
        Gpu("NVIDIA H100, 80GB", 81559 * 2**20, 80000 * 2**20),
        Gpu("Tesla T4", 15360 * 2**20, 100 * 2**20),
    )


@pytest.mark.parametrize(
    ("size", "words"), [(512 * KIB, "512 KiB"), (2.5 * 2**20, "2.5 MiB"), (3 * 2**30, "3.0 GiB"), (0, "0 KiB")]
)
def test_bytes_in_words(size: float, words: str) -> None:
    assert in_words(size) == words
