"""What this machine gives to a process: memory, cores, shared memory, GPUs; in a container, what that may have.

Everything is read from files of the system, whose folder tests replace.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_S = 5.0  # a driver that hangs is no reason to wait
_ROOT = Path("/")


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in bytes.

    Attributes:
        name: of the model.
        memory: in all.
        free: of it.
    """

    name: str
    memory: int
    free: int


def memory_limit(root: Path = _ROOT) -> int | None:
    """Bytes of memory that all processes here may use: the machine's, or less in a container; None: unknown."""
    found = [*_memory_limits(root)]
    total = _meminfo(root).get("MemTotal")
    if total is not None:
        found.append(total)
    return min(found, default=None)


def free_memory(root: Path = _ROOT) -> int | None:
    """Bytes of memory that are not in use, within `memory_limit`; None: unknown."""
    found = [limit - used for limit, used in zip(_memory_limits(root), _memory_used(root), strict=True)]
    available = _meminfo(root).get("MemAvailable")
    if available is not None:
        found.append(available)
    return None if not found else max(0, min(found))


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Cores that a container may keep busy, ``docker run --cpus``; None: no such limit."""
    quotas: list[float] = []
    for group in _groups(root):
        words = _text(group / "cpu.max").split()  # version 2: "<quota> <period>" or "max <period>"
        words = words or [_text(group / "cpu.cfs_quota_us").strip(), _text(group / "cpu.cfs_period_us").strip()]
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def shared_memory(folder: str = "/dev/shm") -> tuple[int, int] | None:
    """(all, free) bytes of the file system that Ray's object store lies in; None: there is none."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.total, usage.free


@functools.cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs of NVIDIA's that a process may use here, as the driver tells them: without starting CUDA."""
    if shutil.which("nvidia-smi") is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return ()
    command = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(done.stdout)


def parse_gpus(table: str) -> tuple[Gpu, ...]:
    """Reads lines of ``name, MiB, MiB free``; a line of another form is left out."""
    found = []
    for line in table.splitlines():
        name, *numbers = (part.strip() for part in line.rsplit(",", 2))
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            found.append(Gpu(name, int(numbers[0]) * 2**20, int(numbers[1]) * 2**20))
    return tuple(found)


def _meminfo(root: Path) -> dict[str, int]:
    """Bytes by name."""
    found = {}
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * 1024
    return found


def _memory_limits(root: Path) -> Iterator[int]:
    for limit, _ in _memory_groups(root):
        yield limit


def _memory_used(root: Path) -> Iterator[int]:
    for _, used in _memory_groups(root):
        yield used


def _memory_groups(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, bytes in use) of each control group that has a limit."""
    for group in _groups(root):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            text = _text(group / limit).strip()
            if text.isdecimal() and int(text) < 2**60:  # version 1 writes a huge number for "none"
                now = _text(group / used).strip()
                yield int(text), int(now) if now.isdecimal() else 0


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's control groups, with those above them: each may limit."""
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        homes = [mount] if not kinds else [mount / kinds] if kinds in ("memory", "cpu", "cpu,cpuacct") else []
        for home in homes:
            below = home / path.lstrip("/")
            # Inside a container the path may be that of the host: then the mount itself is the container's group.
            yield from dict.fromkeys([below, *(p for p in below.parents if p.is_relative_to(home))])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def in_words(size: float) -> str:
    """A number of bytes for people: ``512 KiB``, ``28.4 MiB``, ``1.3 GiB``."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size / 1024:,.0f} KiB"
