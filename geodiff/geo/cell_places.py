"""Where the pixels of one grid lie among the cells of an embedding grid."""

from __future__ import annotations

import math

import numpy as np
from pyproj import Transformer

from geodiff.errors import DataError, UsageError
from geodiff.geo.grid import PixelGrid, Positions
from geodiff.geo.slerp import between_centres
from geodiff.window import Window

_SAME_PLACE = 1e-3  # grids whose pixels lie this close (in pixels) share a lattice
_SIDE = 65  # points a side at which the inside of a window is looked at


def shares_crs(cells: PixelGrid, grid: PixelGrid) -> bool:
    """Whether both are in one CRS, or both in none; UsageError if just one of them has a CRS."""
    if (grid.crs is None) != (cells.crs is None):
        raise UsageError(
            f"the mosaic's grid is in {grid.crs_name}, the embeddings' in {cells.crs_name}: both "
            "need a CRS, or neither"
        )
    return grid.crs is None or grid.crs == cells.crs


def on_lattice(cells: PixelGrid, cell: int, grid: PixelGrid) -> bool:
    """Whether cells of ``cell`` pixels, in the same CRS, are whole ones of the grid's lattice."""
    mine, theirs, corner = cells.geobox.affine, grid.geobox.affine, cells.window
    at_x, at_y = grid.xy(corner.row * cell, corner.col * cell)
    off = max(abs(at_x - mine.c) / theirs.a, abs(at_y - mine.f) / abs(theirs.e))
    spread = max(
        abs(mine.a / (theirs.a * cell) - 1) * corner.width * cell,
        abs(mine.e / (theirs.e * cell) - 1) * corner.height * cell,
    )
    return bool(max(off, spread) < _SAME_PLACE)


def cells_of(
    cells: PixelGrid, cell: int, grid: PixelGrid, rows: Positions, cols: Positions
) -> tuple[Positions, Positions]:
    """Lattice positions of ``grid``, in the same CRS, in cells from the corner of ``cells``.

    ``cell``: image pixels a cell.
    """
    if on_lattice(cells, cell, grid):  # there whole numbers give the place without rounding
        return rows / cell - cells.row, cols / cell - cells.col
    mine = cells.geobox.affine
    x, y = grid.xys(rows, cols)
    return (y - mine.f) / mine.e, (x - mine.c) / mine.a


def cells_across(
    cells: PixelGrid, grid: PixelGrid, across: Transformer, rows: Positions, cols: Positions
) -> Positions:
    """``cells_of`` between two CRSs: arrays of one shape -> (..., 2) of (row, col).

    Raises DataError where the CRS of the cells cannot show a place.
    """
    mine = cells.geobox.affine
    x, y = across.transform(*grid.xys(rows, cols))
    if not np.isfinite(x + y).all():
        raise DataError(
            f"a part of the mosaic's grid in {grid.crs_name} cannot be shown in "
            f"{cells.crs_name}, the CRS of the embeddings: choose another CRS"
        )
    return np.stack([(y - mine.f) / mine.e, (x - mine.c) / mine.a], axis=-1)


def transformer(cells: PixelGrid, grid: PixelGrid) -> Transformer:
    """From the CRS of ``grid`` to that of ``cells``."""
    assert grid.crs is not None
    assert cells.crs is not None
    return Transformer.from_crs(grid.crs.proj, cells.crs.proj, always_xy=True)


def cells_under(cells: PixelGrid, cell: int, grid: PixelGrid, part: Window) -> Window:
    """The cells, on the lattice of ``cells``, that places in ``part`` are interpolated from.

    ``part`` counts pixels of ``grid``. Beyond ``cells`` its outermost ones count. Raises UsageError
    and DataError as ``EmbeddingGrid.field_on`` does.
    """
    ends = np.array([[part.row, part.bottom], [part.col, part.right]], np.float64)
    if shares_crs(cells, grid):
        span, extra = cells_of(cells, cell, grid, *ends), 0
    else:
        where = cells_across(cells, grid, transformer(cells, grid), *_looked_at(part))
        span = where[:, 0], where[:, 1]
        extra = 1 + math.ceil(0.02 * float(np.ptp(where, axis=0).max()))
    found = []
    for positions, start, count in zip(
        span, (cells.row, cells.col), cells.window.shape, strict=True
    ):
        edges = np.array([positions.min() - extra, positions.max() + extra])
        before, _ = between_centres(edges, count)
        found.append((start + int(before[0]), min(int(before[1]) + 2, count) - int(before[0])))
    (row, height), (col, width) = found
    return Window(row, col, height, width)


def _looked_at(part: Window) -> tuple[Positions, Positions]:
    """Rows and columns of points on the border of ``part``, every few pixels, and inside it.

    A map takes its extremes at the border, but for poles.
    """
    sides = [
        np.linspace(start, end, max(_SIDE, (end - start) // 4 + 1))
        for start, end in ((part.row, part.bottom), (part.col, part.right))
    ]
    inner = np.meshgrid(*(np.linspace(side[0], side[-1], _SIDE) for side in sides), indexing="ij")
    rows, cols = sides
    return (
        np.concatenate([inner[0].ravel(), rows, rows, cols * 0 + part.row, cols * 0 + part.bottom]),
        np.concatenate([inner[1].ravel(), rows * 0 + part.col, rows * 0 + part.right, cols, cols]),
    )
