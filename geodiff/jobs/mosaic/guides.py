"""What a mosaic goes by, opened once and asked for the embeddings of one chart after the other."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from geodiff.errors import DataError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.geo.raster import Reference
from geodiff.jobs.embed import embed_steps
from geodiff.jobs.imagine import imagine
from geodiff.models.bundle import Model
from geodiff.steps import Step
from geodiff.window import Window

Embeddings = Generator[Step, None, EmbeddingGrid]


class Guide(Protocol):
    """Embeddings for any part of the lattice, a pure function of the part."""

    def embeddings(self, grid: PixelGrid, part: Window) -> Embeddings:
        """A grid without holes over ``part``, a window of pixels of ``grid``'s lattice."""


@dataclass(frozen=True)
class PriorGuide:
    """The model's own prior, laid out by ``seed``."""

    model: Model
    seed: int

    def embeddings(self, grid: PixelGrid, part: Window) -> Embeddings:
        """Sampled from the prior."""
        yield from ()
        return imagine(self.model, grid.crop(part), self.seed)


@dataclass(frozen=True)
class SavedGuide:
    """A saved grid; where it has no cell its nearest valid one counts."""

    saved: EmbeddingGrid  # without holes

    def embeddings(self, grid: PixelGrid, part: Window) -> Embeddings:
        """The whole grid: its field clamps beyond its border."""
        yield from ()
        return self.saved


@dataclass(frozen=True)
class RasterGuide:
    """A reference raster, embedded where it is needed."""

    model: Model
    reference: Reference

    def embeddings(self, grid: PixelGrid, part: Window) -> Embeddings:
        """Embedded cells of ``part``; holes take the nearest valid cell.

        Where the whole part has none, the window of cells walks into the raster's extent and on to
        its middle until it sees some, so that the answer depends on the part's place alone. Raises
        DataError where even that finds none.
        """
        own = yield from self._embed(grid, part)
        if own.valid.any():
            return own.filled()
        extent = self.reference.placement.extent_on(grid)
        for there in walk(part, extent, self.model.cell):
            near = yield from self._embed(grid, there)
            if near.valid.any():
                return clamped(near, own)
        raise DataError(
            f"{self.reference.path} has no valid cell of {self.model.cell} px near the part of the "
            "mosaic it does not cover: choose a smaller box or another source"
        )

    def _embed(self, grid: PixelGrid, part: Window) -> Embeddings:
        return embed_steps(self.model, self.reference, grid.crop(part), empty=True)


def walk(part: Window, extent: Window, cell: int) -> Iterator[Window]:
    """``part`` moved by whole cells just into ``extent``, then in four steps to its middle."""
    down = _stops(part.row, part.height, extent.row, extent.height)
    across = _stops(part.col, part.width, extent.col, extent.width)
    near, middle = zip(down, across, strict=True)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        row, col = (
            start + round((n + share * (m - n) - start) / cell) * cell
            for start, n, m in zip((part.row, part.col), near, middle, strict=True)
        )
        yield Window(row, col, *part.shape)


def _stops(start: int, length: int, low: int, size: int) -> tuple[float, float]:
    """Along one axis: the start nearest to ``start`` inside low .. low + size, and the middle's."""
    middle = low + (size - length) / 2
    if length >= size:
        return middle, middle
    return min(max(start, low), low + size - length), middle


def clamped(near: EmbeddingGrid, wanted: EmbeddingGrid) -> EmbeddingGrid:
    """The cells of ``wanted``, each with the vector of the nearest valid cell of ``near``."""
    from shapely import STRtree, points

    rows, cols = np.indices(wanted.valid.shape).reshape(2, -1)
    corner, other = wanted.grid.window, near.grid.window
    known = np.argwhere(near.valid)
    places = np.stack([rows + corner.row - other.row, cols + corner.col - other.col], axis=-1)
    nearest = STRtree(points(known.astype(float))).nearest(points(places.astype(float)))
    values = near.values[tuple(known[nearest].T)].reshape(*wanted.valid.shape, -1)
    return replace(wanted, values=values, valid=np.ones_like(wanted.valid))
