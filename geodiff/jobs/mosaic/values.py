"""What the fields of a request may be given as, and the one form in which they are kept."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from geodiff.errors import UsageError

Convert = Callable[[str, Any], Any]
"""(option as written on the command line, value) -> value; UsageError for one that is no such."""

SEEDS = 2**63 - 1
"""The largest seed: what every tool can hold that reads tags and JSON with 64-bit integers."""


LONGEST = 2**31
"""Pixels a side that no mosaic has."""


def settle(request: Any, kinds: Mapping[str, Convert]) -> None:
    """Convert the fields of a frozen dataclass in place; None stays where it is the default."""
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in kinds and (value is not None or field.default is not None):
            option = f"--{field.name.replace('_', '-')}"
            object.__setattr__(request, field.name, kinds[field.name](option, value))


def path(option: str, value: Any) -> str:
    """A path as text, from text or anything with ``__fspath__``."""
    try:
        return os.fsdecode(value)
    except TypeError as error:
        raise UsageError(f"{option} {value!r} is no path: give text or a pathlib.Path") from error


def whole(option: str, value: Any) -> int:
    """An integer, also of NumPy's types."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise UsageError(f"{option} {value!r} is not a whole number") from error


def seed(option: str, value: Any) -> int:
    """A whole number from 0 to SEEDS."""
    number = whole(option, value)
    if not 0 <= number <= SEEDS:
        raise UsageError(f"{option} {number} must be between 0 and {SEEDS} (2**63 - 1)")
    return number


def number(option: str, value: Any) -> float:
    """A float, from any kind of number."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{option} {value!r} is not a number") from error


def metres(option: str, value: Any) -> float:
    """A finite number above 0."""
    size = number(option, value)
    if not (math.isfinite(size) and size > 0):
        raise UsageError(f"{option} {size:g} must be a number of metres above 0")
    return size


def numbers(count: int, kind: Convert, what: str) -> Convert:
    """A tuple of ``count`` numbers, from any sequence or array; ``what`` names them."""

    def convert(option: str, value: Any) -> tuple[Any, ...]:
        try:
            given = tuple(value)
        except TypeError:
            given = ()
        if len(given) != count or isinstance(value, str):
            raise UsageError(f"{option} {value!r} is not {count} numbers: give {what}")
        return tuple(kind(option, part) for part in given)

    return convert


def crs(option: str, value: Any) -> str:
    """A CRS as text, from text, an EPSG number or an object with ``to_wkt``."""
    if isinstance(value, str):
        return value
    if hasattr(value, "to_wkt"):
        return str(value.to_wkt())
    try:
        return f"EPSG:{operator.index(value)}"
    except TypeError as error:
        raise UsageError(
            f"{option} {value!r} is no CRS: give text such as EPSG:32610, a number or WKT"
        ) from error


def text(option: str, value: Any) -> str:
    """The text of a value that stands for a word, such as a ``torch.device``."""
    return str(value)


def texts(option: str, value: Any) -> tuple[str, ...]:
    """A tuple of texts; one text stands for itself."""
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, Iterable) or not all(isinstance(part, str) for part in given):
        raise UsageError(f"{option} {value!r} is no sequence of texts")
    return tuple(given)


def side(option: str, value: Any) -> int:
    """A number of pixels, at least 1."""
    length = whole(option, value)
    if not 1 <= length < LONGEST:
        raise UsageError(f"{option} {length} must be pixels, 1 to {LONGEST - 1}")
    return length


SIZE = numbers(2, side, "width and height in pixels")
BOX = numbers(4, number, "west, south, east, north")
BANDS = numbers(3, whole, "red, green and blue band, from 1")
RANGE = numbers(2, number, "the values that become 0 and 255")
