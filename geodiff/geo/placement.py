"""Where one raster lies on the lattice of a pixel grid, in the same CRS or in another."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo import CRS
from pyproj import Transformer
from rasterio._err import CPLE_BaseError
from rasterio.io import DatasetReader
from rasterio.warp import transform

from geodiff.errors import DataError
from geodiff.geo.grid import PixelGrid
from geodiff.geo.source import dataset_crs, open_raster, probe
from geodiff.window import Window

Positions = npt.NDArray[np.float64]

# A raster within this of the lattice (in pixels, over its whole extent) lies on it.
_ON_LATTICE = 1e-3


@dataclass(frozen=True)
class Placement:
    """CRS (None for pixel coordinates), transform and size in pixels of a raster.

    Unlike a ``PixelGrid`` it may be rotated or south-up.
    """

    crs: CRS | None
    affine: Affine
    height: int
    width: int

    @property
    def pixel(self) -> float:
        """Length of a pixel's upper edge, in units of the CRS."""
        return math.hypot(self.affine.a, self.affine.d)

    @classmethod
    def of(cls, dataset: DatasetReader) -> Placement:
        """Placement of an open raster; DataError if only ground control points place it."""
        if dataset.transform.is_identity and dataset.gcps[0]:
            raise DataError(
                f"{dataset.name} is placed by ground control points only: warp it first with "
                f"gdalwarp -t_srs EPSG:... {dataset.name} out.tif"
            )
        return cls(dataset_crs(dataset), dataset.transform, dataset.height, dataset.width)

    def check(self, path: str, grid: PixelGrid) -> None:
        """Raises DataError if the raster at ``path`` or ``grid`` lacks a CRS to be placed by."""
        if self.crs is None and grid.crs is not None:
            raise DataError(
                f"{path} has no CRS, so it cannot be placed on a grid in {grid.crs_name}: keep its "
                "own grid (--like) or give it a CRS (gdal_edit.py -a_srs EPSG:...)"
            )
        if self.crs is not None and grid.crs is None:
            raise DataError(
                f"the grid has no CRS, so {path} (with one) cannot be placed on it: give a grid "
                "with a CRS"
            )
        if self.crs is None and self.offset_on(grid) is None:
            raise DataError(
                f"{path} has no CRS and another pixel grid than the one asked for: without a CRS "
                "only its own grid (--like) or a crop of it can be used"
            )

    def offset_on(self, grid: PixelGrid) -> tuple[int, int] | None:
        """Lattice position (row, col) of the raster's first pixel; None off the lattice."""
        theirs, mine, anchor = grid.geobox.affine, self.affine, grid.anchor
        if self.crs != grid.crs or mine.b or mine.d or not theirs.e * mine.e > 0:
            return None
        row = anchor.row + (mine.f - anchor.y) / theirs.e
        col = anchor.col + (mine.c - anchor.x) / theirs.a
        drift = max(
            abs(row - round(row)) + abs(mine.e / theirs.e - 1) * self.height,
            abs(col - round(col)) + abs(mine.a / theirs.a - 1) * self.width,
        )
        return (round(row), round(col)) if drift < _ON_LATTICE else None

    def positions(
        self, grid: PixelGrid, row: Positions, col: Positions
    ) -> tuple[Positions, Positions]:
        """The raster's fractional (row, col) at lattice positions; not finite where none is."""
        x, y = _between(grid.crs, self.crs, *grid.xys(row, col))
        inverse = ~self.affine
        with np.errstate(invalid="ignore"):  # 0 times infinity
            return (
                inverse.d * x + inverse.e * y + inverse.f,
                inverse.a * x + inverse.b * y + inverse.c,
            )

    def affine_at(self, row: int, col: int) -> Affine:
        """The raster's transform, counted from its pixel (row, col)."""
        mine = self.affine
        x = mine.a * col + mine.b * row + mine.c
        y = mine.d * col + mine.e * row + mine.f
        return Affine(mine.a, mine.b, x, mine.d, mine.e, y)

    def extent_on(self, grid: PixelGrid) -> Window | None:
        """Lattice window that covers the raster; None where a part of it has no place there."""
        steps = np.linspace(0, 1, 33)
        row, col = np.meshgrid(steps * self.height, steps * self.width, indexing="ij")
        rows, cols = self._on(grid, row, col)
        if not (np.isfinite(rows) & np.isfinite(cols)).all():
            return None
        top, left = math.floor(rows.min()), math.floor(cols.min())
        return Window(
            top,
            left,
            max(math.ceil(rows.max()) - top, 1),
            max(math.ceil(cols.max()) - left, 1),
        )

    def shrink(self, grid: PixelGrid, block: Window | None = None) -> tuple[float, float] | None:
        """Raster pixels per grid pixel, going down and across the grid.

        At the raster's centre, or in a ``block`` of the lattice, as near its middle as there is a
        place on the raster; None where there is none.
        """
        if block is None:
            row, col = self._on(grid, np.array([self.height / 2]), np.array([self.width / 2]))
        else:
            rows, cols = _points(block, 33)
            down, across = self.positions(grid, rows, cols)
            inside = (down >= 0) & (down <= self.height) & (across >= 0) & (across <= self.width)
            if not inside.any():
                return None
            away = np.hypot(rows - block.row - block.height / 2, cols - block.col - block.width / 2)
            best = np.unravel_index(np.where(inside, away, np.inf).argmin(), away.shape)
            row, col = rows[best].reshape(1), cols[best].reshape(1)
        rows, cols = self.positions(
            grid, row + np.array([0.0, 1.0, 0.0]), col + np.array([0.0, 0.0, 1.0])
        )
        ratios = np.hypot(rows[1:] - rows[0], cols[1:] - cols[0])
        if not (np.isfinite(ratios).all() and ratios.min() > 0):
            return None
        return float(ratios[0]), float(ratios[1])

    def source_window(self, grid: PixelGrid, block: Window, margin: int) -> Window | None:
        """Pixels of the raster, clipped to it, that ``block`` of the lattice needs; None if none.

        ``margin`` is in the raster's pixels; a fiftieth of the block comes on top, for the bending
        between the 17 x 17 points that are looked at.
        """
        rows, cols = self.positions(grid, *_points(block, 17))
        known = np.isfinite(rows) & np.isfinite(cols)
        if not known.any():
            return None
        rows, cols = rows[known], cols[known]
        extra = margin + 0.02 * max(np.ptp(rows), np.ptp(cols))
        # Clipped before rounding: far outside a projection's area the numbers grow without bound.
        top, bottom = np.clip([rows.min() - extra, rows.max() + extra], 0, self.height)
        left, right = np.clip([cols.min() - extra, cols.max() + extra], 0, self.width)
        top, left = math.floor(top), math.floor(left)
        height, width = math.ceil(bottom) - top, math.ceil(right) - left
        return Window(top, left, height, width) if height > 0 and width > 0 else None

    def _on(self, grid: PixelGrid, row: Positions, col: Positions) -> tuple[Positions, Positions]:
        """Lattice positions of the raster's own (row, col): the inverse of ``positions``."""
        mine, theirs, anchor = self.affine, grid.geobox.affine, grid.anchor
        x = mine.a * col + mine.b * row + mine.c
        y = mine.d * col + mine.e * row + mine.f
        x, y = _between(self.crs, grid.crs, x, y)
        return anchor.row + (y - anchor.y) / theirs.e, anchor.col + (x - anchor.x) / theirs.a


def raster_placement(path: str | Path) -> Placement:
    """Placement of the raster at ``path``; DataError as ``raster_grid``, but it may be rotated."""
    with open_raster(path) as dataset:
        probe(dataset)
        return Placement.of(dataset)


def _points(block: Window, side: int) -> tuple[Positions, Positions]:
    """Rows and columns of ``side`` x ``side`` points on and between the edges of a window."""
    steps = np.linspace(0, 1, side)
    rows, cols = block.row + steps * block.height, block.col + steps * block.width
    return np.meshgrid(rows, cols, indexing="ij")


def _between(
    source: CRS | None, target: CRS | None, x: Positions, y: Positions
) -> tuple[Positions, Positions]:
    # rasterio's PROJ, not pyproj's: the warp that follows must agree on the datum shift.
    if source is None or target is None or source == target:
        return x, y
    flat, moved = np.stack([x.ravel(), y.ravel()]), np.full((2, x.size), np.inf)
    try:
        moved[:] = transform(str(source), str(target), *flat)
    except CPLE_BaseError:  # for one point without an image all are refused: pyproj tells which
        guess = Transformer.from_crs(source.proj, target.proj, always_xy=True).transform(*flat)
        known = np.isfinite(guess).all(axis=0)
        with suppress(CPLE_BaseError):
            moved[:, known] = transform(str(source), str(target), *flat[:, known])
    return moved[0].reshape(x.shape), moved[1].reshape(y.shape)
