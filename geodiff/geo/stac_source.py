"""The items of a STAC search as one raster that lies on the lattice, read where it is needed."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from geodiff.geo.grid import PixelGrid
from geodiff.geo.provenance import is_remote
from geodiff.geo.raster import Pixels
from geodiff.geo.search import Found
from geodiff.geo.stac_order import covered, ground_of, meeting
from geodiff.geo.stac_pixels import Look, Reading, look, read_item
from geodiff.window import Window

log = logging.getLogger(__name__)

BLOCK = 512
"""Side in pixels of the blocks of the lattice that are read at once, for every request the same."""

HELD = 32
"""Blocks that are kept: 33 MB."""

SLIVER = BLOCK / 8
"""Pixels of a block that an image has to add to be read: outlines of one ground differ by less."""


@dataclass(frozen=True)
class Region:
    """The part of the lattice on which all items are known."""

    window: Window

    def extent_on(self, grid: PixelGrid) -> Window:
        """The same: ``grid`` is of the lattice."""
        return self.window


@dataclass(frozen=True)
class StacSource:
    """Images laid over each other, read like one raster; see ``Reference``.

    A pixel takes the first of ``items`` that is valid there, whole (never one band of this and one
    of that). ``path`` is what they are called in messages. Holds no open file and no signature, so
    it may be sent to another process.
    """

    path: str
    items: tuple[Found, ...]
    placement: Region
    how: Reading = field(default_factory=Reading)
    known: dict[tuple[Found, Reading], Look] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    held: dict[GeoBox, Pixels] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without pixels."""
        return {**self.__dict__, "held": {}}

    @property
    def identity(self) -> str:
        """Tells two sources apart: items, dates, addresses, order, and how they are read."""
        facts = [(i.collection, i.name, i.datetime, i.updated, i.hrefs) for i in self.items]
        digest = hashlib.sha256(repr((facts, self.how.bands, self.how.scale)).encode()).hexdigest()
        return f"{self.path}: {len(self.items)} items, {digest[:16]}"

    @property
    def files(self) -> tuple[str, ...]:
        """Files of this computer that are read."""
        hrefs = (href for item in self.items for href in item.hrefs)
        return tuple(href for href in hrefs if not is_remote(href))

    def derived_from(self, grid: PixelGrid) -> tuple[str, ...]:
        """Addresses of the items that shape a mosaic on ``grid``.

        Those that meet it or lie beside it; all where it has gaps, which are filled from around.
        """
        gaps = covered(self.items, grid) < 1
        near = self.items if gaps else meeting(self.items, grid.crop(grid.window.pad(BLOCK)))
        return tuple(item.link for item in near)

    def read(self, grid: PixelGrid, window: Window | None = None) -> Pixels:
        """Image uint8 (3, height, width) and validity bool (height, width) of a part of ``grid``.

        ``window`` counts in the grid's lattice; nothing is valid beyond ``placement``. Pixels are
        copied where an item lies on the lattice, else warped, and depend on their lattice position
        alone. Raises DataError, in one line, where an item cannot be read.
        """
        target = grid.window if window is None else window
        image = np.zeros((3, *target.shape), np.uint8)
        valid = np.zeros(target.shape, np.bool_)
        inside = target.intersect(self.placement.window)
        for part in () if inside is None else inside.tiles(BLOCK):
            block = part.snap(BLOCK)
            pixels, good = self._held(grid.crop(block))
            (rows, cols), (to_rows, to_cols) = part.within(block), part.within(target)
            valid[to_rows, to_cols] = good[rows, cols]
            image[:, to_rows, to_cols] = pixels[:, rows, cols]
        return image, valid

    def coverage(self, grid: PixelGrid) -> float:
        """Share (0..1) of the grid's pixels that the items say to show; reads no pixel."""
        share = covered(self.items, grid)
        log.info("source: covers %.1f %% of the grid", 100 * share)
        return share

    def probe(self) -> None:
        """Look into the first item. Raises DataError where it cannot be read or used."""
        self._look(self.items[0])

    def _look(self, item: Found) -> Look:
        """How an item is read; remembered."""
        key = item, self.how
        if key not in self.known:
            self.known[key] = look(item, self.how)
        return self.known[key]

    def _held(self, place: PixelGrid) -> Pixels:
        """Pixels and validity of one block; those read last are kept, as charts overlap."""
        if (found := self.held.pop(place.geobox, None)) is None:
            found = self._block(place)
        while len(self.held) >= HELD:
            del self.held[next(iter(self.held))]
        self.held[place.geobox] = found
        return found

    def _block(self, place: PixelGrid) -> Pixels:
        """Pixels and validity of one block, from as few items as will do."""
        image = np.zeros((3, *place.window.shape), np.uint8)
        valid = np.zeros(place.window.shape, np.bool_)
        ground = bare = ground_of(place)
        pixel = ground.area / valid.size
        for item in self.items:
            if bare.intersection(item.footprint).area < SLIVER * pixel:
                continue
            look = self._look(item)
            pixels, good = read_item(item, look, self.how, place)
            fresh = good & ~valid
            image[:, fresh], valid[fresh] = pixels[:, fresh], True
            if valid.all():
                break
            shown = ground.intersection(item.footprint)
            # What lies wholly under an image without holes need not be fetched.
            if not look.masked and good.sum() > shown.area / pixel - 2 * BLOCK:
                bare = bare.difference(item.footprint)
        return image, valid
