"""Checks of the machine and of what is installed: each reads the facts that were gathered once, and says one thing."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from rllib_rnd import machine
from rllib_rnd.analysis.diagnosis.finding import Finding
from rllib_rnd.machine import Gpu, in_words
from rllib_rnd.threads import usable_cores

_GIB = 2**30
# Families of environments: the package that each needs, and what installs it.
_ENVIRONMENTS = {
    "Atari": ("ale_py", ""),
    "envpool": ("envpool", "envpool"),
    "MiniGrid": ("minigrid", "minigrid"),
    "Mario": ("gym_super_mario_bros", "mario"),
    "Doom": ("vizdoom", "vizdoom"),
}
_ROM = "montezuma_revenge"


@dataclass(frozen=True)
class Torch:
    """How torch was built.

    Attributes:
        version: of it.
        cuda: version of CUDA that it was built for; None: for the CPU.
        sees_gpu: whether it can use one.
        instructions: of the CPU that it uses: ``AVX512``, ``AVX2``, ``DEFAULT``, ...
        onednn: whether it has that library.
    """

    version: str
    cuda: str | None
    sees_gpu: bool
    instructions: str
    onednn: bool


@dataclass(frozen=True)
class Facts:
    """What there is. Sizes in bytes; None: not known.

    Attributes:
        python: version.
        requirements: of this package, as its metadata names them.
        installed: versions by distribution.
        torch: see `Torch`.
        cores, usable, quota: of the machine; that this process may use; that a container may keep busy (None: all).
        gpus: that the driver tells of.
        memory, free_memory: all, and what is not in use.
        disk: (folder, free bytes) where results go.
        shared: (all, free) of ``/dev/shm``.
        open_files: limit of open files.
        token: (mode of ``~/.ray/auth_token`` or None without one, whether the environment names another).
        packages: modules that can be imported.
        rom: whether Atari's games are there.
        ffmpeg: whether videos can be written.
        ray: what Ray answered: "" well, else why not; None: it was not asked.
    """

    python: str
    requirements: Sequence[str]
    installed: Mapping[str, str]
    torch: Torch
    cores: int
    usable: int
    quota: float | None
    gpus: Sequence[Gpu]
    memory: int | None
    free_memory: int | None
    disk: tuple[str, int]
    shared: tuple[int, int] | None
    open_files: int
    token: tuple[int | None, bool]
    packages: frozenset[str] = field(default_factory=frozenset)
    rom: bool = True
    ffmpeg: bool = True
    ray: str | None = None


def gather(storage: str, ray: str | None = None) -> Facts:
    """Looks around.

    Args:
        storage: folder of results.
        ray: see `Facts`.
    """
    folder = Path(storage).expanduser().resolve()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    requirements = _requirements()
    modules = frozenset(m for m, _ in _ENVIRONMENTS.values() if importlib.util.find_spec(m) is not None)
    return Facts(
        python=platform.python_version(),
        requirements=requirements,
        installed=_installed(requirements),
        torch=_torch(),
        cores=os.cpu_count() or 1,
        usable=usable_cores(),
        quota=machine.cpu_quota(),
        gpus=machine.gpus(),
        memory=machine.memory_limit(),
        free_memory=machine.free_memory(),
        disk=(str(folder), shutil.disk_usage(there).free),
        shared=machine.shared_memory(),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        token=_token(),
        packages=modules,
        rom="ale_py" in modules and _has_rom(),
        ffmpeg=shutil.which("ffmpeg") is not None or importlib.util.find_spec("imageio_ffmpeg") is not None,
        ray=ray,
    )


def _requirements() -> list[str]:
    try:
        return [text for text in metadata.requires("rllib_rnd") or [] if "extra ==" not in text]
    except metadata.PackageNotFoundError:  # run from a checkout
        return []


def _installed(requirements: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in ("rllib_rnd", *(Requirement(text).name for text in requirements)):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _torch() -> Torch:
    import torch

    return Torch(
        torch.__version__,
        torch.version.cuda,
        torch.cuda.is_available(),
        torch.backends.cpu.get_cpu_capability(),
        torch.backends.mkldnn.is_available(),
    )


def _token() -> tuple[int | None, bool]:
    named = bool(os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"))
    try:
        return stat.S_IMODE((Path.home() / ".ray" / "auth_token").stat().st_mode), named
    except (OSError, RuntimeError):  # there is none, or no home
        return None, named


def _has_rom() -> bool:
    from ale_py import roms

    try:
        return roms.get_rom_path(_ROM) is not None
    except Exception:
        return False


# --- the checks ------------------------------------------------------------------------------------------------------


def python(facts: Facts) -> Finding:
    """Whether Python is new enough."""
    version = tuple(int(part) for part in facts.python.split(".")[:2])
    if version < (3, 11):
        return Finding("problem", "Python", facts.python, "Install Python 3.11 or newer.")
    return Finding("ok", "Python", facts.python)


def packages(facts: Facts) -> Finding:
    """Whether what is installed is what this package was made for."""
    if not facts.requirements:
        advice = "Install it, for its requirements to be known: pip install -e ."
        return Finding("note", "packages", "rllib_rnd is run from a checkout, not installed", advice)
    wrong, wanted = [], []
    for text in facts.requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        version = facts.installed.get(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version or 'is missing'} (wanted: {requirement.specifier})")
            wanted.append(f"'{requirement.name}{requirement.specifier}'")
    if wrong:
        return Finding("problem", "packages", ", ".join(wrong), f"pip install {' '.join(wanted)}")
    told = [f"{name} {facts.installed[name]}" for name in ("rllib_rnd", "ray", "torch") if name in facts.installed]
    return Finding("ok", "packages", f"{', '.join(told)}; all {len(facts.requirements)} requirements are met")


def torch_build(facts: Facts) -> Finding:
    """Whether torch was built for this machine."""
    built = facts.torch
    detail = f"torch {built.version}, {f'CUDA {built.cuda}' if built.cuda else 'CPU'}, {built.instructions}"
    if facts.gpus and not built.sees_gpu:
        advice = "Install torch for CUDA (pytorch.org), or a driver that is as new as it wants."
        return Finding("warning", "torch", f"{detail}; it cannot use the GPU that is here", advice)
    if not built.onednn or built.instructions in ("DEFAULT", "NO AVX"):
        advice = "Networks run several times slower so; take a build (or a machine) with AVX2 and oneDNN."
        return Finding("warning", "torch", f"{detail}{'' if built.onednn else ', without oneDNN'}", advice)
    return Finding("ok", "torch", f"{detail}, oneDNN")


def cores(facts: Facts) -> Finding:
    """Whether the cores that are counted may be used."""
    may = facts.usable if facts.quota is None else min(facts.usable, facts.quota)
    detail = f"{facts.cores} in the machine, {may:g} to use"
    if facts.quota is not None and facts.quota < facts.usable:
        advice = f"Ray and torch count {facts.usable}: set OMP_NUM_THREADS={max(1, int(facts.quota))}, or take more."
        return Finding("warning", "cores", f"{detail} (the container's limit)", advice)
    if may < 2:
        return Finding("note", "cores", detail, "Everything takes turns on one core; two or more are better.")
    return Finding("ok", "cores", detail)


def gpu(facts: Facts) -> Finding:
    """Whether a GPU is there, and free."""
    if not facts.gpus:
        return Finding("ok", "GPU", "none; num_gpus_per_learner stays 0")
    told = ", ".join(f"{g.name} ({in_words(g.free)} of {in_words(g.memory)} free)" for g in facts.gpus)
    if any(g.free < 0.5 * g.memory for g in facts.gpus):
        return Finding("warning", "GPU", told, "Something else uses it; nvidia-smi says what.")
    return Finding("ok", "GPU", told)


def memory(facts: Facts) -> Finding:
    """Whether there is memory to train in."""
    if facts.free_memory is None or facts.memory is None:
        advice = "`rllib check FILE` tells what a training takes; compare it with what this machine has."
        return Finding("note", "memory", "the system does not tell", advice)
    detail = f"{in_words(facts.free_memory)} of {in_words(facts.memory)} free"
    if facts.free_memory < _GIB:
        return Finding("problem", "memory", detail, "End what else runs: a small training takes 2 GiB.")
    if facts.free_memory < 3 * _GIB:
        return Finding("warning", "memory", detail, "Small trainings fit; `rllib check FILE` tells what one takes.")
    return Finding("ok", "memory", detail)


def disk(facts: Facts) -> Finding:
    """Whether there is room for results."""
    folder, free = facts.disk
    detail = f"{in_words(free)} free for {folder}"
    if free < _GIB // 2:
        return Finding("problem", "disk", detail, "Make room, or write elsewhere with --storage.")
    if free < 5 * _GIB:
        return Finding("warning", "disk", detail, "Long runs need more; checkpoint_config.num_to_keep keeps few.")
    return Finding("ok", "disk", detail)


def shared_memory(facts: Facts) -> Finding:
    """Whether Ray's object store has room."""
    if facts.shared is None:
        return Finding("note", "/dev/shm", "there is none", "Remote runners' rollouts go through files then.")
    detail = f"{in_words(facts.shared[1])} of {in_words(facts.shared[0])} free"
    if facts.shared[1] < _GIB // 4:
        advice = "Ray's store goes to slow files then: docker run --shm-size=2g, or remove what lies there."
        return Finding("problem", "/dev/shm", detail, advice)
    if facts.shared[1] < 2 * _GIB:
        return Finding("warning", "/dev/shm", detail, "Enough for few runners; docker run --shm-size=4g gives more.")
    return Finding("ok", "/dev/shm", detail)


def open_files(facts: Facts) -> Finding:
    """Whether processes may open as many files as Ray wants."""
    detail = f"at most {facts.open_files:,}"
    if 0 <= facts.open_files < 1024:  # -1: any number
        return Finding("problem", "open files", detail, "Ray needs more: ulimit -n 65536")
    if 0 <= facts.open_files < 4096:
        return Finding("note", "open files", detail, "Enough for a few processes; for many: ulimit -n 65536")
    return Finding("ok", "open files", detail if facts.open_files >= 0 else "any number")


def token(facts: Facts) -> Finding:
    """Whether Ray's secret is one."""
    mode, named = facts.token
    if named:
        return Finding("ok", "Ray's token", "named by the environment")
    if mode is None:
        return Finding("ok", "Ray's token", "none yet; Ray makes one when it starts")
    if mode & 0o077:
        advice = "chmod 600 ~/.ray/auth_token, and make a new one if others may have read it."
        return Finding("warning", "Ray's token", f"others may read ~/.ray/auth_token (mode {mode:o})", advice)
    return Finding("ok", "Ray's token", "~/.ray/auth_token, for this user alone")


def ray(facts: Facts) -> Finding:
    """Whether Ray starts, or answers."""
    if facts.ray is None:
        return Finding("ok", "Ray", "not asked (--ray starts one here, --address asks a cluster)")
    if facts.ray:
        return Finding("problem", "Ray", facts.ray, "Check the address and the token; `ray status` there tells more.")
    return Finding("ok", "Ray", "it answers")


def environments(facts: Facts) -> Finding:
    """Which families of environments can be played."""
    if "ale_py" in facts.packages and not facts.rom:
        advice = "pip install --force-reinstall ale-py brings the games."
        return Finding("problem", "environments", "Atari's games (ROMs) are missing", advice)
    missing = {name: extra for name, (module, extra) in _ENVIRONMENTS.items() if module not in facts.packages}
    here = ", ".join(name for name in _ENVIRONMENTS if name not in missing)
    if missing:
        extras = ",".join(extra for extra in missing.values() if extra)
        advice = f"If you want them: pip install 'rllib_rnd[{extras}]'" if extras else "pip install ale-py"
        return Finding("note", "environments", f"{here or 'none'}; without {', '.join(missing)}", advice)
    return Finding("ok", "environments", here)


def videos(facts: Facts) -> Finding:
    """Whether videos can be written."""
    if not facts.ffmpeg:
        return Finding("note", "videos", "no ffmpeg", "For `rllib record`: pip install 'rllib_rnd[video]'")
    return Finding("ok", "videos", "ffmpeg is there")


#: In the order in which they are told.
CHECKS: tuple[Callable[[Facts], Finding], ...] = (
    python,
    packages,
    torch_build,
    cores,
    gpu,
    memory,
    disk,
    shared_memory,
    open_files,
    token,
    ray,
    environments,
    videos,
)
