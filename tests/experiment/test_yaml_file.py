"""YAML with places: numbers, lines, duplicate keys, dotted paths."""

from pathlib import Path

import pytest

from rllib_rnd.errors import dotted, parse_dotted
from rllib_rnd.experiment.yaml_file import ExperimentError, load_yaml, parse_scalar


def write(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_value_has_its_line(tmp_path: Path) -> None:
    _, places = load_yaml(write(tmp_path, "a:\n  b: 1\n  c:\n    - 1\n    - {d: 2}\n"))
    path = tmp_path / "x.yaml"
    assert places.of(("a", "b")) == f"{path}:2"
    assert places.of(("a", "c", 1, "d")) == f"{path}:5"
    assert places.of(("a", "c", 1, "missing")) == f"{path}:5"  # the nearest parent that is there


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.5E+3", 1500.0),
        ("-2e6", -2e6),
        ("1e4x", "1e4x"),
        ("null", None),
        ("[1, 2e0]", [1, 2.0]),
    ],
)
def test_scientific_notation_is_a_number(text: str, value: object) -> None:
    # PyYAML alone reads 1e-4, without a point, as a string.
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"x\.yaml:3: a\.lr: written twice; the first is in line 2"):
        load_yaml(write(tmp_path, "a:\n  lr: 1\n  lr: 2\n"))


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    data, _ = load_yaml(write(tmp_path, "base: &b {lr: 1, gamma: 2}\nx:\n  <<: *b\n  gamma: 3\n"))
    assert data["x"] == {"lr": 1, "gamma": 3}


def test_broken_yaml_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"x\.yaml:2: not valid YAML"):
        load_yaml(write(tmp_path, "a: 1\nb: 2: 3\n"))


def test_objects_are_not_constructed(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="not valid YAML"):
        load_yaml(write(tmp_path, "a: !!python/object/apply:os.getcwd []\n"))


def test_dotted_paths_go_both_ways() -> None:
    path = ("config", "intrinsic_reward", 0, "gamma")
    assert dotted(path) == "config.intrinsic_reward[0].gamma"
    assert parse_dotted(dotted(path)) == path
