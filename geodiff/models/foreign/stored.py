"""A tensor that still lies in its file: its type, shape and place, checked before it is read."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

import torch

from geodiff.errors import DataError

DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
"""Types of tensors by the names that PyTorch gives their storages."""


AXES = 8
"""Axes of a tensor, at most."""


class Bytes(Protocol):
    """Where numbers lie."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read(self) -> bytearray:
        """All of them, in memory of their own. Raises DataError where the file is damaged."""


@dataclass(frozen=True)
class FileBytes:
    """A stretch of a file, with its check sum (CRC-32) where the file has one."""

    path: Path
    start: int
    size: int
    crc: int | None = None

    def read(self) -> bytearray:
        """Raises DataError where the file ends early or the check sum is another."""
        found = bytearray(self.size)
        with self.path.open("rb") as file:
            file.seek(self.start)
            count = file.readinto(found)
        if count != self.size:
            raise DataError(f"{self.path} is cut short: it ends inside its tensors")
        if self.crc is not None and zlib.crc32(found) != self.crc:
            raise DataError(f"{self.path} is damaged: the check sum of a tensor is wrong")
        return found


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor in a file. Shape, strides and offset are counted in elements.

    Raises DataError unless all of it lies inside ``place``, which has at least as many elements: a
    shape can then never ask for more memory than the file has bytes.
    """

    place: Bytes
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0

    def __post_init__(self) -> None:
        numbers = (*self.shape, *self.stride, self.offset)
        if any(type(n) is not int or not 0 <= n < 2**62 for n in numbers):
            raise DataError(f"a tensor claims the impossible shape {shown(numbers)}")
        if len(self.shape) != len(self.stride) or len(self.shape) > AXES:
            raise DataError(f"a tensor claims a shape of {len(self.shape)} axes")
        held = self.place.size // self.dtype.itemsize
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if self.count and (last >= held or self.count > held):
            raise DataError(
                f"a tensor claims the shape {shown(self.shape)}, but only {held} numbers are stored"
            )

    @property
    def count(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Memory that it takes when it is read."""
        return self.count * self.dtype.itemsize

    def read(self) -> torch.Tensor:
        """The tensor, contiguous, in memory of its own."""
        if not self.count:
            return torch.empty(self.shape, dtype=self.dtype)
        held = torch.frombuffer(self.place.read(), dtype=self.dtype)
        found = held.as_strided(self.shape, self.stride, self.offset)
        if self.nbytes == self.place.size:
            return found.contiguous()
        return found.clone(memory_format=torch.contiguous_format)  # lets go of the rest


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a tensor whose last axis runs fastest."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides)) if shape else ()


def shown(numbers: tuple[object, ...]) -> str:
    """A few numbers of a file in words; of whatever else is there only the type.

    Containers that hold each other many times over have endless words.
    """
    words = [str(n)[:24] if type(n) is int else type(n).__name__ for n in numbers[:8]]
    return f"({', '.join(words)}{', ...' if len(numbers) > 8 else ''})"
