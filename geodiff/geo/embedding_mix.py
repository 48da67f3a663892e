"""Arithmetic on embedding grids of one lattice and encoder, whose results are unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from geodiff.errors import UsageError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.geo.slerp import slerp

_SAME_PLACE = 1e-3  # cells that lie this close (in image pixels) coincide
_NOTHING = 1e-3  # a weighted sum of unit vectors shorter than this has no direction


def mix(one: EmbeddingGrid, other: EmbeddingGrid, weight: npt.ArrayLike = 0.5) -> EmbeddingGrid:
    """The cells that both grids have, turned from ``one`` (weight 0) towards ``other`` (weight 1).

    ``weight``: 0..1, a number or an array (row, col) over the common cells. Each vector is the
    ``slerp`` of the two: on the shortest arc of the sphere between them, exact at both ends. A cell
    is valid where both are. Lattice and gsd are those of ``one``. Raises UsageError for other
    weights, and as ``common`` does.
    """
    first, second = common([one, other])
    t = np.asarray(weight, np.float64)
    if not ((t >= 0) & (t <= 1)).all():
        raise UsageError(f"the weight of a mix must be between 0 and 1, got {t.min()} to {t.max()}")
    if t.ndim and t.shape != first.valid.shape:
        raise UsageError(f"weights {t.shape} do not fit the common cells {first.valid.shape}")
    return _joined([first, second], slerp(first.values, second.values, t))


def combine(grids: Sequence[EmbeddingGrid], weights: Sequence[float]) -> EmbeddingGrid:
    """The weighted sum of the vectors in the cells that all grids have, scaled to length 1.

    ``weights`` may be negative: ``combine([a, b, c], [1, 1, -1])`` is a + b - c. A cell is valid
    where all are, unless its vectors cancel each other out. Raises UsageError unless there is one
    finite number for each grid, and as ``common`` does.
    """
    factors = np.asarray(weights, np.float64)
    if not grids or factors.shape != (len(grids),) or not np.isfinite(factors).all():
        raise UsageError(f"{len(grids)} grids need as many finite weights, got {weights!r}")
    parts = common(grids)
    total = sum(f * part.values.astype(np.float64) for f, part in zip(factors, parts, strict=True))
    length = np.linalg.norm(total, axis=-1, keepdims=True)
    clear = length > _NOTHING * max(float(np.abs(factors).sum()), np.finfo(np.float64).tiny)
    return _joined(parts, np.divide(total, length, where=clear, out=np.full_like(total, np.nan)))


def common(grids: Sequence[EmbeddingGrid]) -> list[EmbeddingGrid]:
    """The cells that all of ``grids`` have, of each of them, by rows and columns of the first.

    Cells are the same where they lie at the same place, however their lattices count. Raises
    UsageError, saying what differs, unless encoder, features, cell size, CRS and lattice are one,
    and, without a CRS, metres per pixel; or if no cell is common.
    """
    first = grids[0]
    shifts = [_shift(first, grid) for grid in grids]
    window = first.grid.window
    for grid, (down, right) in zip(grids, shifts, strict=True):
        there = grid.grid.window
        moved = replace(there, row=there.row - down, col=there.col - right)
        shared = window.intersect(moved)
        if shared is None:
            places = " and ".join(
                ", ".join(f"{edge:.10g}" for edge in part.grid.geobox.boundingbox.bbox)
                for part in (first, grid)
            )
            raise UsageError(
                f"the grids have no cell in common: they reach over {places} (west, south, east, "
                f"north in {first.grid.crs_name}): give grids that overlap"
            )
        window = shared
    return [
        grid.crop(replace(window, row=window.row + down, col=window.col + right))
        for grid, (down, right) in zip(grids, shifts, strict=True)
    ]


def _shift(one: EmbeddingGrid, other: EmbeddingGrid) -> tuple[int, int]:
    """What ``other`` counts more than ``one`` for the same cell, in rows and columns."""
    facts = [
        ("encoder", one.encoder, other.encoder),
        ("features", one.values.shape[2], other.values.shape[2]),
        ("pixels a cell", one.cell, other.cell),
        ("CRS", one.grid.crs_name, other.grid.crs_name),
    ]
    for what, mine, theirs in facts:
        if mine != theirs:
            raise UsageError(
                f"the grids differ in {what}: {mine} and {theirs}; embed or imagine both alike"
            )
    if one.grid.crs != other.grid.crs:
        raise UsageError(f"both grids are in a CRS named {one.grid.crs_name}, but not in the same")
    if one.grid.crs is None and abs(other.gsd / one.gsd - 1) > 1e-6:
        raise UsageError(f"the grids differ in metres per pixel: {one.gsd:g} and {other.gsd:g}")
    found = offset(one.grid, other.grid, one.cell)
    if found is None:
        mine, theirs = (tuple(grid.grid.geobox.affine)[:6] for grid in (one, other))
        raise UsageError(
            f"the cells of the grids do not coincide, their transforms are {mine} and {theirs}: "
            "embed or imagine both on one lattice (--bbox with the same --crs and --res, or --like)"
        )
    corner, there = one.grid, other.grid
    return there.row - corner.row - found[0], there.col - corner.col - found[1]


def offset(one: PixelGrid, other: PixelGrid, cell: int) -> tuple[int, int] | None:
    """How many cells ``other``'s corner lies below and to the right of ``one``'s, by their places.

    None where the cells of the two, of ``cell`` pixels and in one CRS, do not coincide.
    """
    mine, theirs = one.geobox.affine, other.geobox.affine
    height, width = np.maximum(one.geobox.shape, other.geobox.shape)
    spread = abs(theirs.e / mine.e - 1) * height, abs(theirs.a / mine.a - 1) * width
    places = (theirs.f - mine.f) / mine.e, (theirs.c - mine.c) / mine.a
    down, right = (round(place) for place in places)
    off = abs(places[0] - down), abs(places[1] - right)
    return (down, right) if max(*spread, *off) * cell < _SAME_PLACE else None


def _joined(parts: list[EmbeddingGrid], values: npt.NDArray[np.float64]) -> EmbeddingGrid:
    """The first part with other vectors: valid where all parts are; all sources, one a line."""
    sources = dict.fromkeys(name for part in parts for name in part.source.splitlines())
    valid = np.all([part.valid for part in parts], axis=0) & np.isfinite(values).all(axis=-1)
    first = parts[0]
    pixels = first.pixels
    for part in parts[1:]:
        if part.pixels is None:
            continue
        down, right = (first.grid.row - part.grid.row, first.grid.col - part.grid.col)
        moved = replace(
            part.pixels, row=part.pixels.row + down * part.cell,
            col=part.pixels.col + right * part.cell,
        )  # fmt: skip
        pixels = moved if pixels is None else pixels.intersect(moved)
        if pixels is None:
            break
    source = "\n".join(sources)
    vectors = values.astype(np.float32)
    return replace(first, values=vectors, valid=valid, source=source, pixels=pixels)
