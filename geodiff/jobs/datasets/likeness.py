"""Which patches show the same picture: exactly, or nearly, as after another compression."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SIDE = 16
"""Cells a side of the grey thumbnail by which pictures are compared."""

SAME = 0.99
"""Correlation of two thumbnails from which pictures count as the same."""

FINE = 0.98
"""Correlation of their pixels; that of two pieces of open water is about 0."""

CLOSE = 5.0
"""Mean difference of their pixels, of 255: repeating patterns such as rows of crops differ more."""

SHADE = 6.0
"""Most by which their mean brightness may differ, of 255."""

BITS = 3
"""Most of the 64 brighter-than-left signs that may differ: four groups of 16 then share one."""


Key = tuple[int, int]
"""Where a picture is: number of the part, and in the part."""


@dataclass(frozen=True)
class Likeness:
    """What a picture is recognised by.

    ``digest`` is of all pixels; ``signs`` are 64 bits: in a 8 x 8 thumbnail, whether a cell is
    brighter than the one to its left; ``thumbnail`` is int8 (SIDE * SIDE,), grey, mean 0, scaled to
    its own range; ``shade`` its mean brightness.
    """

    digest: str
    signs: int
    thumbnail: NDArray[np.int8]
    shade: float


def likeness(patch: NDArray[np.uint8]) -> Likeness:
    """The likeness of uint8 (height, width, 3), at least 16 pixels a side."""
    digest = hashlib.blake2b(patch.tobytes(), digest_size=16).hexdigest()
    grey = patch.mean(axis=-1, dtype=np.float32)
    small = shrink(grey, SIDE, SIDE)
    offset = small - small.mean()
    reach = max(float(np.abs(offset).max()), 1e-6)
    thumbnail = np.rint(127 * offset / reach).astype(np.int8).ravel()
    signs = np.packbits(np.diff(shrink(grey, 8, 9), axis=1) > 0).tobytes()
    return Likeness(digest, int.from_bytes(signs, "big"), thumbnail, float(small.mean()))


def shrink(image: NDArray[np.float32], rows: int, cols: int) -> NDArray[np.float32]:
    """Means of (height, width) over ``rows`` x ``cols`` cells of about equal size."""
    tops, lefts = (
        np.arange(n) * side // n for n, side in zip((rows, cols), image.shape, strict=True)
    )
    heights, widths = np.diff([*tops, image.shape[0]]), np.diff([*lefts, image.shape[1]])
    sums = np.add.reduceat(np.add.reduceat(image, tops, axis=0), lefts, axis=1)
    means: NDArray[np.float32] = (sums / np.outer(heights, widths)).astype(np.float32)
    return means


@dataclass
class Seen:
    """Pictures met so far; ``add`` says how a new one relates to them.

    ``fetch`` gives the pixels of a picture by its key; it is called for those that look alike.
    """

    fetch: Callable[[Key], NDArray[np.uint8]]
    near: bool = True  # whether near duplicates count
    digests: set[str] = field(default_factory=set)
    groups: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    known: list[tuple[Likeness, Key]] = field(default_factory=list)

    def add(self, new: Likeness, key: Key) -> str | None:
        """None for a new picture, which is remembered; else "duplicate" or "near duplicate".

        Near means: all but `BITS` of the signs, thumbnails that correlate by `SAME`, brightness
        within `SHADE`, and pixels that are `CLOSE` and correlate by `FINE`. Featureless patches
        such as open water differ in their noise and stay, and so do fields of the same rows.
        """
        if new.digest in self.digests:
            return "duplicate"
        self.digests.add(new.digest)
        if not self.near:
            return None
        keys = [(part, new.signs >> 16 * part & 0xFFFF) for part in range(4)]
        for number in sorted({number for k in keys for number in self.groups.get(k, ())}):
            other, its_key = self.known[number]
            if same(new, other) and close(self.fetch(key), self.fetch(its_key)):
                return "near duplicate"
        for k in keys:
            self.groups.setdefault(k, []).append(len(self.known))
        self.known.append((new, key))
        return None


def same(one: Likeness, other: Likeness) -> bool:
    """Whether two pictures may be near duplicates, by all but their pixels."""
    if (one.signs ^ other.signs).bit_count() > BITS or abs(one.shade - other.shade) > SHADE:
        return False
    return correlation(one.thumbnail, other.thumbnail) >= SAME


def close(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether the pixels of two pictures are nearly the same."""
    difference = np.abs(one.astype(np.int16) - other).mean()
    return bool(difference <= CLOSE) and correlation(one, other) >= FINE


def correlation(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Pearson's correlation of two arrays of one shape; 0 where one is constant."""
    a, b = (values.astype(np.float32).ravel() for values in (one, other))
    a, b = a - a.mean(), b - b.mean()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else 0.0
