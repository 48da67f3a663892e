"""What a mosaic goes by, opened once and asked for the embeddings of one chart after the other."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from odc.geo.geobox import GeoBox

from geodiff.errors import DataError
from geodiff.geo.embeddings import EmbeddingGrid, Vectors
from geodiff.geo.grid import PixelGrid
from geodiff.geo.holes import Cells, Mask, nearest, span_of
from geodiff.geo.imagery import Imagery
from geodiff.geo.saved import SavedEmbeddings
from geodiff.jobs.embed import STRIP, embed_steps, least_valid, well_covered
from geodiff.jobs.imagine import imagine
from geodiff.models.bundle import Model
from geodiff.models.prior_condition import Condition
from geodiff.steps import Step, drain
from geodiff.window import Window

Embeddings = Generator[Step, None, EmbeddingGrid]

REMEMBERED = 100_000
"""Blocks of cells whose validity is kept: some 20 MB."""


class Guide(Protocol):
    """Embeddings for any part of the lattice, a pure function of the part."""

    def embeddings(self, grid: PixelGrid, part: Window) -> Embeddings:
        """A grid without holes over ``part``, a window of pixels of ``grid``'s lattice."""


@dataclass(frozen=True)
class PriorGuide:
    """The model's own prior, laid out by ``seed``."""

    model: Model
    seed: int
    condition: Condition | None = None  # what it is asked for
    gsd: float | None = None  # metres per pixel of a grid without CRS

    def embeddings(self, grid: PixelGrid, part: Window) -> Embeddings:
        """Sampled from the prior, with a cell more on every side: the field ends at no border."""
        yield from ()
        cells = part.zoom_out(self.model.cell).pad(1)
        return imagine(self.model, grid.crop(part), self.seed, cells, self.gsd, self.condition)


@dataclass(frozen=True)
class HeldGuide:
    """A grid in memory; where it has no cell its nearest valid one counts."""

    held: EmbeddingGrid  # without holes

    def embeddings(self, grid: PixelGrid, part: Window) -> Embeddings:
        """The whole grid: its field clamps beyond its border."""
        yield from ()
        return self.held


@dataclass(frozen=True)
class SavedGuide:
    """A grid in a file, read where it is needed; the field is that of the whole grid to the bit."""

    saved: SavedEmbeddings

    def embeddings(self, grid: PixelGrid, part: Window) -> Embeddings:
        """The cells under ``part``."""
        yield from ()
        return self.saved.under(grid, part)


@dataclass(frozen=True)
class RasterGuide:
    """A reference raster, embedded where it is needed."""

    model: Model
    reference: Imagery
    seen: dict[GeoBox, Mask] = field(default_factory=dict, compare=False, repr=False)

    def embeddings(self, grid: PixelGrid, part: Window) -> Embeddings:
        """Embedded cells of ``part``; a hole takes the nearest valid cell, wherever that lies.

        Which one that is depends on the hole's place alone, so charts and boxes agree. Raises
        DataError where there is none for a long way (see ``nearest``).
        """
        own = yield from embed_steps(self.model, self.reference, grid.crop(part), empty=True)
        if own.valid.all():
            return own
        cell, extent = self.model.cell, self.reference.placement.extent_on(grid)
        found = nearest(
            own.grid.window,
            own.valid,
            lambda cells: self.validity(grid.crop(cells.zoom_in(cell))),
            self.block,
            None if extent is None else extent.zoom_out(cell),
        )
        if found is None:
            raise DataError(
                f"{self.reference.path} has no valid cell of {cell} px near the part of the mosaic "
                "it does not cover: choose a smaller box or another source"
            )
        holes, sources = found
        values = np.array(own.values)
        values[tuple((holes - corner_of(own)).T)] = self.vectors(grid, own, sources)
        return replace(own, values=values, valid=np.ones_like(own.valid))

    @property
    def block(self) -> int:
        """Cells a side of the blocks that are looked at, or embedded, at once."""
        return max(1, STRIP // self.model.cell)

    def validity(self, place: PixelGrid) -> Mask:
        """Which cells of ``place``, whole cells, can be embedded; remembered."""
        if place.geobox not in self.seen:
            if len(self.seen) >= REMEMBERED:
                self.seen.clear()
            mask = self.reference.read(place)[1]
            least = least_valid(self.reference, place, self.model.cell)
            self.seen[place.geobox] = well_covered(mask, self.model.cell, least)
        return self.seen[place.geobox]

    def vectors(self, grid: PixelGrid, own: EmbeddingGrid, cells: Cells) -> Vectors:
        """The vectors of valid cells (n, 2) of the lattice, in ``own`` or beyond: (n, feature)."""
        places = cells - corner_of(own)
        inside = ((places >= 0) & (places < own.valid.shape)).all(axis=1)
        vectors = np.empty((len(cells), own.values.shape[2]), np.float32)
        vectors[inside] = own.values[tuple(places[inside].T)]
        for window, chosen in in_blocks(cells, np.flatnonzero(~inside), self.block):
            there = grid.crop(window.zoom_in(self.model.cell))
            near = drain(embed_steps(self.model, self.reference, there, empty=True))
            vectors[chosen] = near.values[tuple((cells[chosen] - corner_of(near)).T)]
        return vectors


def corner_of(grid: EmbeddingGrid) -> Cells:
    """Lattice position (row, col) of the first cell."""
    return np.array([grid.grid.row, grid.grid.col])


def in_blocks(cells: Cells, chosen: Cells, size: int) -> Iterator[tuple[Window, Cells]]:
    """The ``chosen`` of some cells by blocks of the lattice: what they span in it, and which."""
    blocks, number = np.unique(cells[chosen] // size, axis=0, return_inverse=True)
    for index in range(len(blocks)):
        members = chosen[number.ravel() == index]
        yield span_of(cells[members]), members
