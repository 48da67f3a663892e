"""A tensor that still lies in its file: its type, shape and place, checked before it is read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile, ZipFile

import torch

from geodiff.errors import DataError

DTYPES = {
    "double": torch.float64,
    "float": torch.float32,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "long": torch.int64,
    "int": torch.int32,
    "short": torch.int16,
    "char": torch.int8,
    "byte": torch.uint8,
    "bool": torch.bool,
}
"""Types of tensors by the names that PyTorch gives their storages."""


DAMAGED = (
    BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error,
)  # fmt: skip
"""What archives that are damaged, or made by others, make their reader raise."""


class Bytes(Protocol):
    """Where numbers lie."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read(self) -> bytes:
        """All of them. Raises DataError where the file is damaged."""


@dataclass(frozen=True)
class FileBytes:
    """A stretch of a file."""

    path: Path
    start: int
    size: int

    def read(self) -> bytes:
        """Raises DataError where the file ends early."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            found = file.read(self.size)
        if len(found) != self.size:
            raise DataError(f"{self.path} is cut short: it ends inside its tensors")
        return found


@dataclass(frozen=True)
class ZipBytes:
    """An entry of an archive whose directory has been checked."""

    path: Path
    entry: str
    size: int

    def read(self) -> bytes:
        """Raises DataError where the entry is damaged (its check sum is compared)."""
        try:
            with ZipFile(self.path) as archive, archive.open(self.entry) as file:
                found = file.read(self.size + 1)
        except DAMAGED as error:
            raise DataError(f"{self.path} is damaged: {self.entry}: {error}") from error
        if len(found) != self.size:
            raise DataError(f"{self.path} is damaged: {self.entry} is not {self.size} bytes long")
        return found


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor in a file. Shape, strides and offset are counted in elements.

    Raises DataError unless all of it lies inside ``place`` and no element is used twice: a shape
    can then never ask for more memory than the file has bytes.
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
        if len(self.shape) != len(self.stride) or len(self.shape) > 8:
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

    def read(self) -> torch.Tensor:
        """The tensor, contiguous, in memory of its own."""
        if not self.count:
            return torch.empty(self.shape, dtype=self.dtype)
        flat = torch.frombuffer(bytearray(self.place.read()), dtype=self.dtype)
        return flat.as_strided(self.shape, self.stride, self.offset).clone(
            memory_format=torch.contiguous_format
        )


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a tensor whose last axis runs fastest."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides)) if shape else ()


def shown(numbers: tuple[object, ...]) -> str:
    """A few numbers of a file in words, however many and however long they are."""
    words = [str(number)[:24] for number in numbers[:8]]
    return f"({', '.join(words)}{', ...' if len(numbers) > 8 else ''})"
