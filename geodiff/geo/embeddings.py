"""Embeddings on a grid of cells, and the smooth field of unit vectors between the cell centres."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from geodiff.errors import DataError, UsageError
from geodiff.geo import embedding_file, embedding_formats
from geodiff.geo.cell_places import cells_across, cells_of, on_lattice, shares_crs, transformer
from geodiff.geo.grid import PixelGrid, Positions
from geodiff.geo.slerp import arc_weights, between_centres, slerp
from geodiff.window import Window

if TYPE_CHECKING:
    import xarray

__all__ = ["EmbeddingGrid", "slerp"]

Vectors = npt.NDArray[np.float32]

_POINTS = 16384  # points whose neighbours are gathered at once


@dataclass(frozen=True, eq=False)
class EmbeddingGrid:
    """One unit vector per cell of a grid.

    ``values``: float32 (row, col, feature), NaN where not ``valid``: bool (row, col). ``grid``: one
    pixel is one cell. ``cell``: image pixels per cell side. ``gsd``: metres per image pixel.
    ``encoder``: fingerprint of what made the vectors. ``source``: file name or URL of their raster,
    if any; a mix has several, one a line. ``pixels``: the part of the lattice of pixels that the
    grid was made for, which a mosaic takes; None is all under the cells. ``whole``: the grid that
    this is a part of, None for all of it; a part gives the bits of the whole wherever its cells
    suffice. Arrays are copied and read-only; grids with the same content are equal. Raises
    UsageError if shapes disagree, or a valid vector's length is off 1 by more than 1e-5.
    """

    values: Vectors
    valid: npt.NDArray[np.bool_]
    grid: PixelGrid
    cell: int
    gsd: float
    encoder: str
    source: str = ""
    pixels: Window | None = None
    whole: PixelGrid | None = None

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
        under = self.grid.window.zoom_in(self.cell)
        if self.pixels is not None and self.pixels.intersect(under) != self.pixels:
            raise UsageError(f"{self.pixels} is not inside the cells, which cover {under}")
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
    def frame(self) -> PixelGrid:
        """The grid from whose corner positions are counted, and beyond which they are clamped."""
        return self.grid if self.whole is None else self.whole

    @property
    def facts(self) -> dict[str, str]:
        """What the vectors and the transform do not tell, as tags."""
        facts = self.grid, self.cell, self.gsd, self.encoder, self.source, self.pixels
        return embedding_file.tags(*facts)

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

        Positions are fractions of a cell from the top-left corner of ``frame``: 0.5 is the centre
        of its first cell. Slerp (Shoemake 1985) along columns, then along rows, between the four
        nearest centres; constant beyond the outermost ones; exact at centres. Raises UsageError if
        a cell is invalid (see ``filled``), or if a part lacks one that is needed.
        """
        self._require_filled()
        (low, high, t_low), (left, right, t_left) = self._between(rows, 0), self._between(cols, 1)
        out = np.empty((len(low), len(left), self.values.shape[2]), np.float32)
        for first, second in np.unique(np.stack([low, high], axis=1), axis=0):
            ends = [self._along(row, left, right, t_left) for row in (first, second)]
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
            low, high, t_low = self._between(flat[part, 0], 0)
            left, right, t_left = self._between(flat[part, 1], 1)
            ends = [self._along(row, left, right, t_left) for row in (low, high)]
            out[part] = slerp(ends[0], ends[1], t_low)
        return out.reshape(*where.shape[:-1], -1)

    def field_on(self, grid: PixelGrid, window: Window, factor: int) -> Vectors:
        """Unit vectors float32 (height, width, feature) at the centres of latents of ``grid``.

        ``window`` counts latents of ``factor`` x ``factor`` pixels on the grid's lattice, which may
        have another resolution or CRS than this grid's. A vector depends on the latent's position
        alone, never on ``window``. Raises UsageError if just one of the grids has a CRS, or a cell
        is invalid; DataError where this grid's CRS cannot show a place.
        """
        rows = (np.arange(window.row, window.bottom, dtype=np.float64) + 0.5) * factor
        cols = (np.arange(window.col, window.right, dtype=np.float64) + 0.5) * factor
        if shares_crs(self.frame, grid):
            return self.field(*cells_of(self.frame, self.cell, grid, rows, cols))
        across = transformer(self.frame, grid)
        out = np.empty((*window.shape, self.values.shape[2]), np.float32)
        step = max(1, _POINTS // window.width)
        for start in range(0, window.height, step):
            row, col = np.meshgrid(rows[start : start + step], cols, indexing="ij")
            cells = cells_across(self.frame, grid, across, row, col)
            out[start : start + step] = self.at(cells)
        return out

    def on_cells(self, grid: PixelGrid, cells: Window) -> Vectors | None:
        """What the field asks of whole cells of ``grid``'s lattice: float32 (row, col, feature).

        None where this grid's cells are others. Raises UsageError as ``field_on`` does.
        """
        mine = shares_crs(self.frame, grid) and on_lattice(self.frame, self.cell, grid)
        return self.field_on(grid, cells, self.cell) if mine else None

    def crop(self, cells: Window) -> EmbeddingGrid:
        """The part in ``cells``, positions on the lattice of cells; ValueError if not inside."""
        rows, cols = cells.within(self.grid.window)
        pixels = self.pixels and self.pixels.intersect(cells.zoom_in(self.cell))
        values, valid, grid = self.values[rows, cols], self.valid[rows, cols], self.grid.crop(cells)
        return replace(self, values=values, valid=valid, grid=grid, pixels=pixels, whole=None)

    def mix(self, other: EmbeddingGrid, weight: npt.ArrayLike = 0.5) -> EmbeddingGrid:
        """This grid turned towards ``other``, see ``embedding_mix.mix``."""
        from geodiff.geo.embedding_mix import mix

        return mix(self, other, weight)

    def filled(self) -> EmbeddingGrid:
        """Invalid cells take the vector of the nearest valid one; of several, the first by rows.

        Raises DataError if no cell is valid.
        """
        from geodiff.geo.holes import fill

        if self.valid.all():
            return self
        if not self.valid.any():
            raise DataError("no cell of the embedding grid is valid: its source is empty there")
        values = fill(self.values, self.valid)
        return replace(self, values=values, valid=np.ones_like(self.valid))

    def to_xarray(self) -> xarray.DataArray:
        """DataArray (feature, y, x) with cell-centre coordinates, ``spatial_ref`` and the facts."""
        from geodiff.geo.embedding_zarr import to_xarray

        return to_xarray(self.values, self.grid, self.facts)

    def save(self, path: str | Path) -> None:
        """Write a file that ``open`` reads; replaces ``path``, whose suffix tells the format.

        GeoTIFF (.tif, .tiff): one float32 band a feature, NaN where invalid. Zarr (.zarr): the
        array of ``to_xarray``. GeoParquet (.parquet): a row for each valid cell. Raises UsageError
        for another suffix, OutputError if it cannot be written; then nothing new is there.
        """
        embedding_formats.write(path, self.values, self.grid, self.facts)

    @classmethod
    def open(cls, path: str | Path) -> EmbeddingGrid:
        """The grid that ``save`` wrote to ``path``, equal to the bit; DataError if it is none.

        Raises UsageError for a suffix that tells no format.
        """
        parts = embedding_formats.read(path)
        try:
            return cls(*parts)
        except UsageError as error:
            raise DataError(f"{path} holds no usable embedding grid: {error}") from error

    def _require_filled(self) -> None:
        if not self.valid.all():
            holes = f"{(~self.valid).sum()} of {self.valid.size} cells of the embedding grid"
            raise UsageError(f"{holes} are invalid: call filled() first")

    def _between(
        self, positions: npt.ArrayLike, axis: int
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Positions]:
        """Indices of the cells before and behind each position, and how far it is between them."""
        count, held = self.frame.window.shape[axis], self.valid.shape[axis]
        before, t = between_centres(positions, count)
        first = (self.grid.row - self.frame.row, self.grid.col - self.frame.col)[axis]
        low, high = before - first, np.minimum(before + 1, count - 1) - first
        if len(low) and not (low.min() >= 0 and high.max() < held):
            raise UsageError(
                f"cells {before.min()} to {before.max() + 1} of an embedding grid are asked for, "
                f"this part of it has {first} to {first + held - 1}: read a larger part"
            )
        return low, high, t

    def _along(
        self,
        row: np.intp | npt.NDArray[np.intp],
        left: npt.NDArray[np.intp],
        right: npt.NDArray[np.intp],
        t: Positions,
    ) -> Positions:
        """Vectors at ``t`` between the cells ``left`` and ``right`` of ``row``."""
        return slerp(self.values[row, left], self.values[row, right], t)
