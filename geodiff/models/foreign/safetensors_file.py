"""Checkpoints as safetensors: a header of JSON, checked, before the numbers."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

import torch

from geodiff.errors import DataError
from geodiff.models.foreign.stored import AXES, FileBytes, Stored, contiguous

LONGEST = 16 * 2**20
"""Bytes of a header, at most; that of a network of 2,000 tensors has half a million."""

TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def read_safetensors(path: Path) -> dict[str, Stored]:
    """The tensors of the file by name.

    Raises DataError unless the header is one JSON object without repeated keys whose tensors fill
    the rest of the file, in any order, without a gap or an overlap.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
        if length > min(LONGEST, size - 8):
            raise DataError(
                f"{path} claims a header of {length} bytes in a file of {size}: refused"
            )
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} has a header that is not usable: {str(error)[:200]}") from error
    if not isinstance(header, dict):
        raise DataError(f"{path} has a header that is no table of tensors")
    header.pop("__metadata__", None)
    found = {name: described(path, name, facts, 8 + length) for name, facts in header.items()}
    end = 8 + length
    for place in sorted((place for place, _ in found.values()), key=lambda p: (p.start, p.size)):
        if place.start != end:
            raise DataError(f"{path} has tensors that overlap or leave gaps: refused")
        end += place.size
    if end != size:
        raise DataError(f"{path} is {size} bytes long, but its header describes {end}: refused")
    return {name: tensor for name, (_, tensor) in found.items()}


def described(path: Path, name: str, facts: Any, data: int) -> tuple[FileBytes, Stored]:
    """Place and tensor of one entry of the header; ``data`` is where the numbers begin."""
    try:
        dtype, shape = TYPES[facts["dtype"]], tuple(facts["shape"])
        first, last = facts["data_offsets"]
        if len(shape) > AXES:
            raise ValueError(f"a shape of {len(shape)} axes")
        numbers = (*shape, first, last)
        if set(facts) != {"dtype", "shape", "data_offsets"} or first > last:
            raise ValueError("unknown entries, or an end before the beginning")
        if any(type(number) is not int or not 0 <= number < 2**62 for number in numbers):
            raise ValueError("a size that is no whole number")
        if prod(shape) * dtype.itemsize != last - first:
            raise ValueError(f"a shape of {prod(shape):.3g} elements in {last - first} bytes")
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise DataError(f"{path} describes {name[:80]!r} in a wrong way: {reason}") from error
    place = FileBytes(path, data + first, last - first)
    return place, Stored(place, dtype, shape, contiguous(shape))


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table whose keys are there once."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("it has a key twice")
    return table
