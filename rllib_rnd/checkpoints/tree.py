"""Nested plain data as JSON, with its arrays beside it in one safetensors file: read back exactly, and nothing runs.

Plain is: None, bool, int, float, str, bytes, complex, lists, tuples, sets, dicts with keys that are plain, numpy's
arrays and scalars, torch's tensors. What is none of these is a named leaf, which the caller keeps elsewhere.

In JSON an object whose only key begins with ``$`` stands for what JSON has no word for: ``{"$tuple": [1, 2]}``. Arrays
are ``{"$array": NAME}``; those of types that safetensors lacks (text, dates, records) are stored as their bytes.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np
import torch

#: What `json` can write.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# Types whose arrays safetensors holds as they are, in this machine's byte order.
_NATIVE = {np.dtype(f"{kind}{8 * size}") for kind in ("int", "uint") for size in (1, 2, 4, 8)}
_NATIVE |= {np.dtype(name) for name in ("bool", "float16", "float32", "float64")}
# Longer ones lie beside arrays.
_LONG_BYTES = 256
# Whole numbers that every reader of JSON takes.
_SAFE_INT = 2**63


class Encoder:
    """Takes trees apart.

    Attributes:
        arrays: by name, for the safetensors file.
        objects: what is not plain, by its place in the tree.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.objects: dict[str, object] = {}

    def encode(self, value: object, place: str = "") -> Json:
        """A tree as JSON.

        Args:
            value: the tree.
            place: its name, under which arrays and objects are found.
        """
        kind = type(value)
        if value is None or kind in (bool, str):
            return value  # type: ignore[return-value]
        if kind in _WRITERS:
            return _WRITERS[kind](self, value, place)
        if isinstance(value, np.generic):
            return self._scalar(value, place)
        if isinstance(value, torch.Tensor) and kind in (torch.Tensor, torch.nn.Parameter) and not value.is_sparse:
            return self._tensor(value, place)
        return self._put_aside(value, place)

    def _put_aside(self, value: object, place: str) -> Json:
        name = _unused(place, self.objects)
        self.objects[name] = value
        return {"$object": name}

    def _int(self, value: int, _place: str) -> Json:
        return value if -_SAFE_INT <= value < _SAFE_INT else {"$int": hex(value)}

    def _float(self, value: float, _place: str) -> Json:
        return value if math.isfinite(value) else {"$float": str(value)}

    def _complex(self, value: complex, place: str) -> Json:
        return {"$complex": [self._float(value.real, place), self._float(value.imag, place)]}

    def _list(self, value: list[object], place: str) -> list[Json]:
        return [self.encode(item, f"{place}/{i}") for i, item in enumerate(value)]

    def _tuple(self, value: tuple[object, ...], place: str) -> Json:
        return {"$tuple": self._list(list(value), place)}

    def _set(self, value: set[object], place: str) -> Json:
        return {"$set": self._list(_sorted(value), place)}

    def _frozenset(self, value: frozenset[object], place: str) -> Json:
        return {"$frozenset": self._list(_sorted(value), place)}

    def _dict(self, value: dict[object, object], place: str) -> Json:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {str(key): self.encode(item, f"{place}/{key}") for key, item in value.items()}
        pairs: list[Json] = []
        for i, (key, item) in enumerate(value.items()):
            name = key if isinstance(key, str | int) else i
            pairs.append([self.encode(key, f"{place}/{i}.key"), self.encode(item, f"{place}/{name}")])
        return {"$dict": pairs}

    def _bytes(self, value: bytes, place: str) -> Json:
        if len(value) <= _LONG_BYTES:
            return {"$bytes": base64.b64encode(value).decode("ascii")}
        return {"$long_bytes": self._add(np.frombuffer(value, np.uint8), place)}

    def _bytearray(self, value: bytearray, place: str) -> Json:
        return {"$bytearray": self._bytes(bytes(value), place)}

    def _array(self, value: np.ndarray, place: str) -> Json:
        if value.dtype.hasobject:
            return self._put_aside(value, place)
        if value.dtype in _NATIVE and value.dtype.isnative:
            axes = _axes_in_memory(value)
            name = self._add(value, place)
            return {"$array": name} if axes is None else {"$ordered": {"array": name, "axes": list(axes)}}
        data = np.frombuffer(value.tobytes(), np.uint8)
        kept = {"name": self._add(data, place), "shape": list(value.shape), "dtype": _described(value.dtype)}
        return {"$array_bytes": kept}  # type: ignore[dict-item]

    def _scalar(self, value: np.generic, place: str) -> Json:
        if value.dtype.hasobject:
            return self._put_aside(value, place)
        if value.dtype.kind in "bui" or value.dtype in (np.dtype("e"), np.dtype("f"), np.dtype("d")):
            return {"$scalar": [value.dtype.name, self.encode(value.item(), place)]}
        return {"$array_scalar": self._array(np.array(value), place)}

    def _tensor(self, value: torch.Tensor, place: str) -> Json:
        plain = value.detach().cpu()
        name = str(plain.dtype).removeprefix("torch.")
        try:
            array = plain.numpy()
        except TypeError:  # of types that numpy lacks, as bfloat16
            array = plain.contiguous().flatten().view(torch.uint8).numpy()
        return {"$tensor": {"array": self._array(array, place), "dtype": name, "shape": list(plain.shape)}}

    def _add(self, array: np.ndarray, place: str) -> str:
        name = _unused(place, self.arrays)
        self.arrays[name] = np.asarray(array, order="C")
        return name


_WRITERS: dict[type, Callable[[Encoder, Any, str], Json]] = {
    int: Encoder._int,
    float: Encoder._float,
    complex: Encoder._complex,
    list: Encoder._list,
    tuple: Encoder._tuple,
    set: Encoder._set,
    frozenset: Encoder._frozenset,
    dict: Encoder._dict,
    bytes: Encoder._bytes,
    bytearray: Encoder._bytearray,
    np.ndarray: Encoder._array,
}


def _axes_in_memory(value: np.ndarray) -> tuple[int, ...] | None:
    """The order of an array's axes in memory, slowest first; None if it is the usual one, or there are gaps.

    It decides the order in which optimizers add: without it a convolution's moments would lead to other last digits.
    """
    if value.flags.c_contiguous:
        return None
    axes = tuple(sorted(range(value.ndim), key=lambda axis: -value.strides[axis]))
    return axes if value.transpose(axes).flags.c_contiguous else None


def _unused(place: str, taken: Mapping[str, object]) -> str:
    """A name for a place; keys of different types, or with a slash, may read alike."""
    name, number = place or "value", 1
    while name in taken:
        number += 1
        name = f"{place}#{number}"
    return name


def _sorted(values: set[object] | frozenset[object]) -> list[object]:
    """Members in an order that is the same in every process, where they have one."""
    try:
        return sorted(values)  # type: ignore[type-var]
    except TypeError:
        return list(values)


def _described(dtype: np.dtype) -> Json:
    description = np.lib.format.dtype_to_descr(dtype)
    return description if isinstance(description, str) else Encoder().encode(description)


class Decoder:
    """Puts trees together.

    Args:
        array: gives the array of a name.
        load_object: gives what was not plain, by its place in the tree. It is asked only where such a thing stands.
    """

    def __init__(self, array: Callable[[str], np.ndarray], load_object: Callable[[str], object]) -> None:
        self._array, self._object = array, load_object

    def decode(self, value: Json) -> object:
        """The tree that `Encoder.encode` took apart; arrays are new, and may be written to.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        if isinstance(value, list):
            return self.items(value)
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, content),) = value.items()
            if name.startswith("$"):
                return _READERS[name](self, content)
        return {key: self.decode(item) for key, item in value.items()}

    def items(self, values: list[Json]) -> list[Any]:
        """The members of a list."""
        return [self.decode(value) for value in values]

    def _from_bytes(self, kept: Mapping[str, Any]) -> np.ndarray:
        dtype = np.lib.format.descr_to_dtype(cast(Any, self.decode(kept["dtype"])))
        return np.frombuffer(self._array(kept["name"]).tobytes(), dtype).reshape(kept["shape"]).copy()

    def _ordered(self, kept: Mapping[str, Any]) -> np.ndarray:
        array, axes = self._array(kept["array"]), kept["axes"]
        return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))

    def _scalar(self, kept: tuple[str, Json]) -> np.generic:
        dtype = np.dtype(kept[0])
        return dtype.type(self.decode(kept[1]))  # type: ignore[no-any-return]

    def _tensor(self, kept: Mapping[str, Any]) -> torch.Tensor:
        tensor = torch.from_numpy(np.asarray(self.decode(kept["array"])))
        dtype: torch.dtype = getattr(torch, kept["dtype"])
        return tensor if tensor.dtype == dtype else tensor.view(dtype).reshape(kept["shape"])


_READERS: dict[str, Callable[[Decoder, Any], object]] = {
    "$int": lambda _, text: int(text, 16),
    "$float": lambda _, text: float(text),
    "$complex": lambda decoder, parts: complex(*decoder.items(parts)),
    "$tuple": lambda decoder, items: tuple(decoder.items(items)),
    "$set": lambda decoder, items: set(decoder.items(items)),
    "$frozenset": lambda decoder, items: frozenset(decoder.items(items)),
    "$dict": lambda decoder, pairs: {decoder.decode(key): decoder.decode(item) for key, item in pairs},
    "$bytes": lambda _, text: base64.b64decode(text, validate=True),
    "$long_bytes": lambda decoder, name: decoder._array(name).tobytes(),
    "$bytearray": lambda decoder, content: bytearray(cast(bytes, decoder.decode(content))),
    "$array": lambda decoder, name: decoder._array(name),
    "$ordered": Decoder._ordered,
    "$array_bytes": Decoder._from_bytes,
    "$scalar": Decoder._scalar,
    "$array_scalar": lambda decoder, content: cast(np.ndarray, decoder.decode(content))[()],
    "$tensor": Decoder._tensor,
    "$object": lambda decoder, place: decoder._object(place),
}
