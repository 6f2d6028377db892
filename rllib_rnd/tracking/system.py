"""How busy the machine is, under the names that MLflow's own sampler uses (which needs packages for each kind)."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

_PATIENCE_S = 5.0
_GPU_INTERVAL_S = 10.0  # nvidia-smi takes some tens of milliseconds


class SystemMetrics:
    """Reads use of cores, memory and GPUs of this machine."""

    def __init__(self) -> None:
        self._before = _processor_times()
        self._next_gpu = 0.0

    def read(self) -> dict[str, float]:
        """Returns the use since the last call; what the system does not tell is absent. GPUs at most every 10 s."""
        found = {**self._cores(), **_memory()}
        if time.monotonic() >= self._next_gpu:
            self._next_gpu = time.monotonic() + _GPU_INTERVAL_S
            found |= _gpus()
        return {f"system/{name}": value for name, value in found.items()}

    def _cores(self) -> dict[str, float]:
        before, now = self._before, _processor_times()
        if before is None or now is None or now[1] <= before[1]:
            return {}
        self._before = now
        return {"cpu_utilization_percentage": 100.0 * (now[0] - before[0]) / (now[1] - before[1])}


def _processor_times() -> tuple[float, float] | None:
    """(busy, all) clock ticks of all cores since the start of the machine."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except (OSError, IndexError):
        return None
    ticks = [float(field) for field in fields]
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)  # neither idle nor waiting for a disk


def _memory() -> dict[str, float]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kilobytes = {line.partition(":")[0]: float(line.split()[1]) for line in lines}
        total, free = kilobytes["MemTotal"], kilobytes["MemAvailable"]
    except (OSError, KeyError, IndexError, ValueError):
        return {}
    return {
        "system_memory_usage_megabytes": (total - free) / 1e3,
        "system_memory_usage_percentage": 100.0 * (1.0 - free / total),
    }


def _gpus() -> dict[str, float]:
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
        rows = [[float(field) for field in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    found = {}
    for number, (busy, megabytes) in enumerate(rows):
        found[f"gpu_{number}_utilization_percentage"] = busy
        found[f"gpu_{number}_memory_usage_megabytes"] = megabytes
    return found
