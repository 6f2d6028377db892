"""Each check of a machine has a case in which all is well, and one in which it is not and something is to be done."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from rllib_rnd.analysis.diagnosis import machine
from rllib_rnd.analysis.diagnosis.finding import LEVELS, worst
from rllib_rnd.analysis.diagnosis.machine import CHECKS, Facts, Torch, gather
from rllib_rnd.machine import Gpu

GIB = 2**30
WELL = Facts(
    python="3.12.1",
    requirements=["ray[rllib,tune]>=2.60,<2.61", "torch>=2.6,<2.14"],
    installed={"rllib_rnd": "0.1.0", "ray": "2.60.0", "torch": "2.13.0+cpu"},
    torch=Torch("2.13.0", None, False, "AVX2", True),
    cores=8,
    usable=8,
    quota=None,
    gpus=(),
    memory=32 * GIB,
    free_memory=20 * GIB,
    disk=("/results", 100 * GIB),
    shared=(16 * GIB, 16 * GIB),
    open_files=65536,
    token=(0o600, False),
    packages=frozenset({"ale_py", "envpool", "minigrid", "gym_super_mario_bros", "vizdoom"}),
    ray="",
)
BUSY = Gpu("A100", 80 * GIB, GIB)
BAD: dict[str, list[tuple[dict[str, Any], str, str]]] = {
    "python": [({"python": "3.10.4"}, "problem", "3.11")],
    "packages": [
        ({"installed": {"ray": "2.61.0", "torch": "2.13.0"}}, "problem", "'ray<2.61,>=2.60'"),
        ({"installed": {"ray": "2.60.1"}}, "problem", "'torch<2.14,>=2.6'"),
        ({"requirements": []}, "note", "pip install -e ."),
    ],
    "torch_build": [
        ({"gpus": (Gpu("A100", GIB, GIB),)}, "warning", "CUDA"),
        ({"torch": Torch("2.13.0", None, False, "DEFAULT", True)}, "warning", "AVX2"),
        ({"torch": Torch("2.13.0", None, False, "AVX2", False)}, "warning", "oneDNN"),
    ],
    "cores": [({"quota": 2.0}, "warning", "OMP_NUM_THREADS=2"), ({"usable": 1}, "note", "two or more")],
    "gpu": [({"gpus": (BUSY,)}, "warning", "nvidia-smi")],
    "memory": [
        ({"free_memory": GIB // 2}, "problem", "2 GiB"),
        ({"free_memory": 2 * GIB}, "warning", "rllib check"),
        ({"free_memory": None}, "note", ""),
    ],
    "disk": [
        ({"disk": ("/results", 1000)}, "problem", "--storage"),
        ({"disk": ("/results", 2 * GIB)}, "warning", "num_to_keep"),
    ],
    "shared_memory": [
        ({"shared": (64 * 2**20, 64 * 2**20)}, "problem", "--shm-size"),
        ({"shared": (GIB, GIB)}, "warning", "--shm-size"),
        ({"shared": None}, "note", "files"),
    ],
    "open_files": [({"open_files": 256}, "problem", "ulimit -n"), ({"open_files": 1024}, "note", "ulimit -n")],
    "token": [({"token": (0o644, False)}, "warning", "chmod 600")],
    "ray": [({"ray": "cannot reach the cluster at x:1"}, "problem", "address")],
    "environments": [
        ({"packages": WELL.packages - {"vizdoom"}}, "note", "rllib_rnd[doom]".replace("doom", "vizdoom")),
        ({"rom": False}, "problem", "ale-py"),
    ],
    "videos": [({"ffmpeg": False}, "note", "rllib_rnd[video]")],
}


def test_every_check_has_its_cases() -> None:
    assert {check.__name__ for check in CHECKS} == set(BAD)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_well(check: Any) -> None:
    finding = check(WELL)
    assert (finding.level, finding.what_to_do) == ("ok", "")
    assert finding.detail


@pytest.mark.parametrize(
    ("name", "changes", "level", "advice"), [(name, *case) for name, cases in BAD.items() for case in cases]
)
def test_not_well(name: str, changes: dict[str, Any], level: str, advice: str) -> None:
    finding = getattr(machine, name)(dataclasses.replace(WELL, **changes))
    assert finding.level == level
    assert advice in finding.what_to_do


def test_what_is_as_well() -> None:
    """Other ways of being well."""
    for changes in ({"quota": 8.0}, {"ray": None}, {"token": (None, False)}, {"token": (0o644, True)},
                    {"open_files": -1}, {"gpus": (Gpu("A100", GIB, GIB),), "torch": Torch("2", "12", True, "AVX2", True)}):  # fmt: skip  # noqa: E501
        assert worst(check(dataclasses.replace(WELL, **changes)) for check in CHECKS) == "ok"


def test_this_machine_is_read(tmp_path: Any) -> None:
    facts = gather(str(tmp_path / "not" / "yet"))
    assert facts.disk[0] == str(tmp_path / "not" / "yet")
    assert facts.disk[1] > 0
    assert facts.installed["ray"].startswith("2.60")
    assert facts.cores >= facts.usable >= 1
    assert facts.torch.version in machine.torch_build(facts).detail
    assert worst([]) == LEVELS[0]
