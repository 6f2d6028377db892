"""What is read off the source of plug-ins is what they say of themselves when they are imported."""

from pathlib import Path
from typing import Any

import pytest

from rllib_rnd import presets
from rllib_rnd.auxiliary import AUXILIARY_LOSSES
from rllib_rnd.cli import listing, sources
from rllib_rnd.intrinsic import INTRINSIC_REWARDS
from rllib_rnd.modules import BACKBONES
from rllib_rnd.options import Registry, options_table

REGISTRIES: dict[str, Registry[Any]] = {
    "rewards": INTRINSIC_REWARDS,
    "backbones": BACKBONES,
    "losses": AUXILIARY_LOSSES,
}


@pytest.mark.parametrize("kind", REGISTRIES)
def test_plugins_are_told_as_they_are(kind: str) -> None:
    read = sources.registered(*listing._REGISTRIES[kind])
    assert [each.name for each in read] == REGISTRIES[kind].names()
    for each, (name, cls) in zip(read, REGISTRIES[kind].items(), strict=True):
        assert (each.source, each.cost) == (cls.source, cls.cost), name
        assert each.description == (cls.__doc__ or "").split("\n")[0].replace("``", ""), name
        assert each.options is not None
        assert options_table(each.options) == options_table(cls.Options), name


def test_algorithms_are_told_as_they_are() -> None:
    assert [each.name for each in listing.own_algorithms()] == list(presets.ALGORITHMS)
    from ray.rllib.algorithms.registry import ALGORITHMS

    assert listing.rllib_algorithms() == sorted(ALGORITHMS)


def test_settings_are_told_as_they_are() -> None:
    assert listing.settings() == {row[0]: row[3] for row in presets.settings_table()}


def test_what_a_library_makes_is_a_stand_in_and_what_python_makes_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "rllib_rnd"
    package.mkdir()
    (package / "other.py").write_text("import math\nSIDES = tuple(2**n for n in range(3))\nHALF = math.pi / 2\n")
    (package / "mine.py").write_text(
        "from dataclasses import dataclass\nimport torch\nfrom rllib_rnd.options import option\n"
        "from rllib_rnd.other import HALF, SIDES\n"
        "KINDS = {'a': torch.relu, 'b': torch.nn.Tanh()}\nNOWHERE = torch.zeros(3) + 1\n"
        "@dataclass(frozen=True)\nclass Base:\n    angle: float = option(HALF, 'an angle')\n"
        "@dataclass(frozen=True)\nclass Options(Base):\n    side: int = option(1, 'a side', choices=SIDES)\n"
        "    kind: str = option('a', 'a kind', choices=tuple(KINDS))\n    space: torch.Tensor | None = None\n"
    )
    monkeypatch.setattr(sources, "_PACKAGE", package)
    options = sources.value("rllib_rnd.mine", "Options")
    assert isinstance(options, type)
    assert [row[:3] for row in options_table(options)] == [
        ("angle", "1.5708", "any number"),
        ("side", "1", "1, 2, 4"),
        ("kind", "a", "a, b"),
        ("space", "null", "Tensor, null"),
    ]
    assert isinstance(sources.value("rllib_rnd.mine", "NOWHERE"), type)
