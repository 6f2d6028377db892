"""Trees of plain data: as JSON and arrays, and back, exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from rllib_rnd.checkpoints.tree import Decoder, Encoder

DTYPES = (
    "?",
    "i1",
    "u2",
    ">i4",
    "u8",
    "<f2",
    "f4",
    ">f8",
    "c8",
    "g",
    "U3",
    "S2",
    "M8[s]",
    "m8[D]",
    "i4,f8",
    "f8,(2,)u1",
)
NUMBERS = ("float16", "float32", "float64", "int8", "uint64", "bool_", "complex64")


def some_array(random: np.random.Generator) -> np.ndarray:
    """Random bits of any type, of 0 to 3 axes, some of them empty; in any order in memory."""
    dtype, shape = np.dtype(str(random.choice(DTYPES))), tuple(random.integers(0, 4, size=random.integers(0, 4)))
    if dtype.kind == "U":
        return random.choice(np.array(["", "a", "\u00e9\0b", "\U0001f600"], dtype), size=shape)
    if dtype.kind == "b":
        return np.asarray(random.integers(0, 2, size=shape), dtype=bool)
    bits = random.integers(0, 256, size=(*shape, dtype.itemsize), dtype=np.uint8)
    array = bits.view(dtype)[..., 0] if bits.size else np.zeros(shape, dtype)
    return np.asarray(array.T if random.integers(2) else array[::-1] if array.ndim else array)


def some_leaf(random: np.random.Generator) -> Any:
    """A number, a text, bytes, an array."""
    big = int.from_bytes(random.bytes(int(random.choice([1, 7, 8, 9, 4000]))), "little", signed=True)
    wild = float(np.frombuffer(random.bytes(8))[0])  # any bits, NaN and subnormal numbers among them
    text = "".join(chr(random.choice([36, 47, 0x41, 0xE9, 0x2028, 0xD800, 0x1F600])) for _ in range(random.integers(4)))
    number = getattr(np, str(random.choice(NUMBERS)))(random.integers(0, 2) or random.random())
    data = random.bytes(int(random.choice([0, 3, 256, 257])))
    leaves = [None, True, False, big, wild, float("inf"), -0.0, complex(wild, 1.0), text, data, bytearray(data), number]
    return [*leaves, some_array(random)][random.integers(len(leaves) + 1)]


def some_key(random: np.random.Generator) -> Any:
    """A key of a dict; most are texts."""
    keys = ["a", "b", "a/b", "$", "$tuple", "", 0, 1, -3, None, False, 1.5, b"k", ("a", 1), frozenset({2}), np.int64(7)]
    return keys[random.integers(len(keys))] if random.random() < 0.3 else keys[random.integers(3)]


def some_tree(random: np.random.Generator, depth: int = 0) -> Any:
    """Lists, tuples, sets and dicts of leaves and each other."""
    kind = random.integers(6 if depth < 4 else 2)
    if kind < 2:
        return some_leaf(random)
    size = range(random.integers(4))
    if kind == 2:
        return [some_tree(random, depth + 1) for _ in size]
    if kind == 3:
        return tuple(some_tree(random, depth + 1) for _ in size)
    if kind == 4:
        return {some_key(random) for _ in size}
    return {some_key(random): some_tree(random, depth + 1) for _ in size}


def there_and_back(value: object, folder: Path) -> tuple[Any, dict[str, object]]:
    encoder = Encoder()
    text = json.dumps(encoder.encode(value), allow_nan=False)
    path = folder / "arrays.safetensors"
    if encoder.arrays:
        save_file(encoder.arrays, path)
    arrays = load_file(path) if encoder.arrays else {}
    return Decoder(arrays.__getitem__, encoder.objects.__getitem__).decode(json.loads(text)), encoder.objects


def assert_alike(found: Any, value: Any) -> None:
    """The same types, shapes and bits all the way down, keys in their order."""
    assert type(found) is type(value)
    if isinstance(value, (np.ndarray, np.generic)):
        assert found.dtype == value.dtype and found.shape == value.shape
        assert np.asarray(found).tobytes() == np.asarray(value).tobytes()  # NaN by its bits
    elif isinstance(value, torch.Tensor):
        assert found.dtype == value.dtype and found.shape == value.shape and torch.equal(found, value)
    elif isinstance(value, dict):
        assert list(found) == list(value)
        for a, b in zip(found, value, strict=True):
            assert_alike(a, b)
        for key in value:
            assert_alike(found[key], value[key])
    elif isinstance(value, (list, tuple)):
        assert len(found) == len(value)
        for a, b in zip(found, value, strict=True):
            assert_alike(a, b)
    elif isinstance(value, (float, complex)):
        assert repr(found) == repr(value)  # -0.0, nan
    else:
        assert found == value


@pytest.mark.parametrize("seed", range(20))
def test_any_tree_of_plain_data_comes_back_exactly(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(40):
        value = some_tree(random)
        found, objects = there_and_back(value, tmp_path)
        assert not objects
        assert_alike(found, value)


@pytest.mark.parametrize(
    "value",
    [
        np.array(3.5, dtype=np.float32),
        np.zeros((0, 4), dtype=np.int16),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(10)[::3],
        np.array([(1, 2.5)], dtype=[("a", "<i4"), ("b", ">f8")]),
        np.array(["2026-01-02", "NaT"], dtype="datetime64[D]"),
        np.datetime64("2026-01-02"),
        np.str_("x"),
        np.longdouble("1.1"),
        np.random.default_rng(3).bit_generator.state,  # whole numbers of 128 bits
        {1: "int", "1": "text", False: "bool"} | {(1, "a"): np.ones(2)},
        {"a/b": np.zeros(1), "a": {"b": np.ones(1)}},
        {"$array": "x"},
        b"x" * 10_000,
        torch.tensor(2.0),
        torch.zeros(0, 3, dtype=torch.int32),
        torch.tensor([1.5, float("nan")]).nan_to_num(7.0).to(torch.bfloat16),
        torch.arange(6).reshape(2, 3).T,
        [float("nan"), float("inf"), -float("inf"), -0.0],
    ],
    ids=repr,
)
def test_the_odd_ones_come_back_too(tmp_path: Path, value: Any) -> None:
    found, objects = there_and_back(value, tmp_path)
    assert not objects
    assert_alike(found, value)


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0)])
def test_the_order_in_memory_is_kept(tmp_path: Path, axes: tuple[int, ...]) -> None:
    """As of channels-last networks, whose moments lie in memory like their weights."""
    value = np.arange(120.0).reshape(2, 3, 4, 5).transpose(np.argsort(axes))
    tensor = torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)
    (array, found), _ = there_and_back([value, tensor], tmp_path)
    assert array.strides == value.strides and found.stride() == tensor.stride()
    assert load_file(tmp_path / "arrays.safetensors")["/0"].shape == value.shape  # others read what is meant


def test_what_comes_back_may_be_written_to(tmp_path: Path) -> None:
    found, _ = there_and_back({"a": np.zeros(2), "b": torch.zeros(2), "c": np.zeros(1, "<U3")}, tmp_path)
    found["a"][0], found["b"][0], found["c"][0] = 1.0, 1.0, "abc"


class Own:
    pass


def test_what_is_not_plain_is_named_by_its_place(tmp_path: Path) -> None:
    own, generator = Own(), np.random.default_rng(0)
    value = {"env": [{"state": own}], "sums": {"x": np.array([own, None], dtype=object)}, 3: generator, "kind": Own}
    found, objects = there_and_back(value, tmp_path)
    assert set(objects) == {"/env/0/state", "/sums/x", "/3", "/kind"}
    assert found["env"][0]["state"] is own and found[3] is generator and found["kind"] is Own


def test_objects_are_asked_for_where_they_stand_only() -> None:
    encoder = Encoder()
    tree = encoder.encode({"a": Own(), "b": 1})

    def refuse(place: str) -> object:
        raise AssertionError(place)

    assert isinstance(tree, dict)
    assert Decoder(refuse, refuse).decode(tree["b"]) == 1  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="/a"):
        Decoder(refuse, refuse).decode(tree)  # type: ignore[arg-type]
