"""Embeddings on a grid of cells, and the smooth field of unit vectors between the cell centres."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pyproj import Transformer

from geodiff.errors import DataError, UsageError
from geodiff.geo import embedding_file
from geodiff.geo.grid import PixelGrid, Positions
from geodiff.geo.slerp import arc_weights, between_centres, slerp
from geodiff.window import Window

if TYPE_CHECKING:
    import xarray

__all__ = ["EmbeddingGrid", "slerp"]

Vectors = npt.NDArray[np.float32]

_POINTS = 16384  # points whose neighbours are gathered at once
_SAME_PLACE = 1e-3  # grids whose pixels lie this close (in pixels) share a lattice


@dataclass(frozen=True, eq=False)
class EmbeddingGrid:
    """One unit vector per cell of a grid.

    ``values``: float32 (row, col, feature), NaN where not ``valid``: bool (row, col). ``grid``: one
    pixel is one cell. ``cell``: image pixels per cell side. ``gsd``: metres per image pixel.
    ``encoder``: fingerprint of what made the vectors. ``source``: file name or URL of the raster
    they were made from, if any. The arrays are copied and read-only; grids with the same content
    are equal. Raises UsageError if shapes disagree, or a valid vector's length is off 1 by more
    than 1e-5.
    """

    values: Vectors
    valid: npt.NDArray[np.bool_]
    grid: PixelGrid
    cell: int
    gsd: float
    encoder: str
    source: str = ""

    def __post_init__(self) -> None:
        values, valid = np.array(self.values, np.float32), np.array(self.valid, np.bool_)
        shape = self.grid.window.shape
        if values.ndim != 3 or values.shape[:2] != shape or valid.shape != shape:
            raise UsageError(
                f"embeddings {values.shape} with validity {valid.shape} do not fit a grid of "
                f"{shape[0]} x {shape[1]} cells: give (row, col, feature) and (row, col)"
            )
        if self.cell < 1 or not (np.isfinite(self.gsd) and self.gsd > 0):
            raise UsageError(
                f"an embedding grid with {self.cell} px a cell and {self.gsd} m a pixel makes no "
                "sense: give numbers above 0"
            )
        length = np.linalg.norm(values[valid].astype(np.float64), axis=-1)
        if not (np.abs(length - 1) <= 1e-5).all():
            raise UsageError(
                f"embeddings must be unit vectors, got lengths {length.min():.6g} to "
                f"{length.max():.6g}: normalise them"
            )
        values[~valid] = np.nan
        values.flags.writeable = valid.flags.writeable = False
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "valid", valid)

    @property
    def facts(self) -> dict[str, str]:
        """What the vectors and the transform do not tell, as tags."""
        return embedding_file.tags(self.grid, self.cell, self.gsd, self.encoder, self.source)

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex: equal for grids with equal vectors, place and facts, in any process."""
        return embedding_file.digest(self.values, self.valid, self.grid, self.facts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EmbeddingGrid) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def field(self, rows: npt.ArrayLike, cols: npt.ArrayLike) -> Vectors:
        """Unit vectors float32 (len(rows), len(cols), feature) where ``rows`` and ``cols`` cross.

        Positions are fractions of a cell from the grid's top-left corner: 0.5 is the centre of the
        first cell. Slerp (Shoemake 1985) along columns, then along rows, between the four nearest
        centres; constant beyond the outermost ones; exact at centres. Raises UsageError if a cell
        is invalid (see ``filled``).
        """
        self._require_filled()
        low, t_low = between_centres(rows, self.valid.shape[0])
        left, t_left = between_centres(cols, self.valid.shape[1])
        out = np.empty((len(low), len(left), self.values.shape[2]), np.float32)
        for first in np.unique(low):
            second = min(first + 1, self.valid.shape[0] - 1)
            ends = [self._along(row, left, t_left) for row in (first, second)]
            cosine = (ends[0] * ends[1]).sum(axis=-1)
            for index in np.flatnonzero(low == first):
                near, far = arc_weights(cosine, t_low[index])
                out[index] = near[:, None] * ends[0] + far[:, None] * ends[1]
        return out

    def at(self, points: npt.ArrayLike) -> Vectors:
        """``field`` at scattered points: (..., 2) of (row, col) -> float32 (..., feature)."""
        self._require_filled()
        where = np.asarray(points, np.float64)
        if where.ndim < 1 or where.shape[-1] != 2:
            raise UsageError(f"points have the shape {where.shape}: give (..., 2), row and col")
        flat = where.reshape(-1, 2)
        out = np.empty((len(flat), self.values.shape[2]), np.float32)
        for start in range(0, len(flat), _POINTS):
            part = slice(start, start + _POINTS)
            low, t_low = between_centres(flat[part, 0], self.valid.shape[0])
            left, t_left = between_centres(flat[part, 1], self.valid.shape[1])
            second = np.minimum(low + 1, self.valid.shape[0] - 1)
            ends = [self._along(row, left, t_left) for row in (low, second)]
            out[part] = slerp(ends[0], ends[1], t_low)
        return out.reshape(*where.shape[:-1], -1)

    def field_on(self, grid: PixelGrid, window: Window, factor: int) -> Vectors:
        """Unit vectors float32 (height, width, feature) at the centres of latents of ``grid``.

        ``window`` counts latents of ``factor`` x ``factor`` pixels on the grid's lattice, which may
        have another resolution or CRS than this grid's. A vector depends on the latent's position
        alone, never on ``window``. Raises UsageError if just one of the grids has a CRS, or a cell
        is invalid; DataError where this grid's CRS cannot show a place.
        """
        if (grid.crs is None) != (self.grid.crs is None):
            raise UsageError(
                f"the mosaic's grid is in {grid.crs_name}, the embeddings' in "
                f"{self.grid.crs_name}: both need a CRS, or neither"
            )
        rows = (np.arange(window.row, window.bottom, dtype=np.float64) + 0.5) * factor
        cols = (np.arange(window.col, window.right, dtype=np.float64) + 0.5) * factor
        if grid.crs is None or self.grid.crs is None or grid.crs == self.grid.crs:
            return self.field(*self._cells_of(grid, rows, cols))
        across = Transformer.from_crs(grid.crs.proj, self.grid.crs.proj, always_xy=True)
        return self._field_across(grid, rows, cols, across)

    def filled(self) -> EmbeddingGrid:
        """Invalid cells take the vector of the nearest valid one; of several, the first by rows.

        Raises DataError if no cell is valid.
        """
        if self.valid.all():
            return self
        if not self.valid.any():
            raise DataError(
                "no cell of the embedding grid is valid: its source has no valid pixels there"
            )
        from geodiff.geo.holes import fill

        filled = fill(self.values, self.valid)
        return replace(self, values=filled, valid=np.ones_like(self.valid))

    def to_xarray(self) -> xarray.DataArray:
        """DataArray (feature, y, x) with cell-centre coordinates, ``spatial_ref`` and the facts."""
        import rioxarray  # noqa: F401  (registers .rio)
        import xarray

        affine, (height, width) = self.grid.geobox.affine, self.valid.shape
        array = xarray.DataArray(
            np.moveaxis(self.values, 2, 0),
            dims=("feature", "y", "x"),
            coords={
                "y": affine.f + (np.arange(height) + 0.5) * affine.e,
                "x": affine.c + (np.arange(width) + 0.5) * affine.a,
            },
            name="embedding",
            attrs=self.facts,
        )
        if self.grid.crs is not None:
            array = array.rio.write_crs(str(self.grid.crs))
        referenced: xarray.DataArray = array.rio.write_transform(affine).rio.write_nodata(np.nan)
        return referenced

    def save(self, path: str | Path) -> None:
        """Write a GeoTIFF, one float32 band a feature, NaN where invalid; replaces ``path``.

        Raises OutputError if it cannot be written; then nothing is left under that name.
        """
        embedding_file.write(path, self.values, self.grid, self.facts)

    @classmethod
    def open(cls, path: str | Path) -> EmbeddingGrid:
        """The grid that ``save`` wrote to ``path``, equal to the bit; DataError if it is none."""
        parts = embedding_file.read(path)
        try:
            return cls(*parts)
        except UsageError as error:
            raise DataError(f"{path} holds no usable embedding grid: {error}") from error

    def _require_filled(self) -> None:
        if not self.valid.all():
            raise UsageError(
                f"{(~self.valid).sum()} of {self.valid.size} cells of the embedding grid are "
                "invalid: call filled() first"
            )

    def _along(
        self, row: np.intp | npt.NDArray[np.intp], left: npt.NDArray[np.intp], t: Positions
    ) -> Positions:
        """Vectors at ``t`` between the cells ``left`` and the ones to their right, in ``row``."""
        right = np.minimum(left + 1, self.valid.shape[1] - 1)
        return slerp(self.values[row, left], self.values[row, right], t)

    def _cells_of(
        self, grid: PixelGrid, rows: Positions, cols: Positions
    ) -> tuple[Positions, Positions]:
        """Lattice positions of ``grid``, in the same CRS, in cells from this grid's corner."""
        mine, theirs, corner = self.grid.geobox.affine, grid.geobox.affine, self.grid.window
        # On a shared lattice whole numbers give the place without rounding.
        at_x, at_y = grid.xy(corner.row * self.cell, corner.col * self.cell)
        off = max(abs(at_x - mine.c) / theirs.a, abs(at_y - mine.f) / abs(theirs.e))
        spread = max(
            abs(mine.a / (theirs.a * self.cell) - 1) * corner.width * self.cell,
            abs(mine.e / (theirs.e * self.cell) - 1) * corner.height * self.cell,
        )
        if max(off, spread) < _SAME_PLACE:
            return rows / self.cell - corner.row, cols / self.cell - corner.col
        x, y = grid.xys(rows, cols)
        return (y - mine.f) / mine.e, (x - mine.c) / mine.a

    def _field_across(
        self, grid: PixelGrid, rows: Positions, cols: Positions, across: Transformer
    ) -> Vectors:
        """``field_on`` between two CRSs, some rows of latents at a time."""
        mine = self.grid.geobox.affine
        out = np.empty((len(rows), len(cols), self.values.shape[2]), np.float32)
        step = max(1, _POINTS // len(cols))
        for start in range(0, len(rows), step):
            row, col = np.meshgrid(rows[start : start + step], cols, indexing="ij")
            x, y = across.transform(*grid.xys(row, col))
            if not np.isfinite(x + y).all():
                raise DataError(
                    f"a part of the mosaic's grid in {grid.crs_name} cannot be shown in "
                    f"{self.grid.crs_name}, the CRS of the embeddings: choose another CRS"
                )
            cells = np.stack([(y - mine.f) / mine.e, (x - mine.c) / mine.a], axis=-1)
            out[start : start + step] = self.at(cells)
        return out
