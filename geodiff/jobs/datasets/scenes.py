"""One raster or STAC item as a scene that patches are cut from: pixels, lattice, footprints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from shapely import Polygon

from geodiff.errors import DataError, UsageError
from geodiff.geo.bands import check_type, choose_bands, is_masked
from geodiff.geo.boxes import DEGREES, crs_name, project_box, utm_crs
from geodiff.geo.boxes import parse_crs as crs_of
from geodiff.geo.grid import PixelGrid, dataset_grid
from geodiff.geo.placement import Placement
from geodiff.geo.raster import Reference
from geodiff.geo.signing import check_driver, sign
from geodiff.geo.source import open_raster
from geodiff.window import Window

Pixels = tuple[NDArray[np.uint8], NDArray[np.bool_]]
Box = tuple[float, float, float, float]

WHOLE = 2**28
"""Pixels up to which a raster is resampled in one piece; larger ones are read by blocks."""

TRUE = 0.02
"""Most by which a CRS unit may differ from a metre on the ground for a raster to keep its CRS."""


@dataclass(frozen=True)
class Source:
    """What is cut: a file, or an item of a STAC search (``hrefs`` of its pixels, not signed).

    ``clip`` is a box in WGS84 degrees, ``bands`` the item's own red, green and blue.
    Without ``any_href`` a raster on the web that may lead to other files is refused.
    """

    name: str
    hrefs: tuple[str, ...]
    path: Path | None = None
    datetime: str | None = None
    bands: tuple[int, int, int] | None = None
    clip: Box | None = None
    any_href: bool = True

    @property
    def title(self) -> str:
        """The address for people and for the table of patches."""
        return self.hrefs[0]


@dataclass(frozen=True)
class Cut:
    """How sources are read: pixels a patch, metres per pixel and the like, as in PrepareConfig."""

    patch: int
    gsd: float | None
    res: float | None
    block: float | None
    bands: tuple[int, int, int] | None
    scale: tuple[float, float] | None


@dataclass(frozen=True)
class Scene:
    """Pixels in ``window``, counted from the raster's corner, or on the world's lattice.

    ``read`` gives uint8 (3, row, col) and validity of a part; ``affine`` and ``crs`` place position
    (0, 0). ``side`` is that of a place in pixels, where places are blocks of the lattice.
    """

    window: Window
    read: Callable[[Window], Pixels]
    gsd: float
    affine: Affine
    crs: CRS | None
    side: int | None = None

    @property
    def crs_name(self) -> str | None:
        """A short name of the CRS; None without one."""
        return None if self.crs is None else crs_name(self.crs)

    def lattice(self, row: int, col: int) -> tuple[int, int] | None:
        """Nearest position on the lattice that hangs on the CRS origin; None without a CRS."""
        if self.crs is None:
            return None
        a, e = self.affine.a, self.affine.e
        return round(row + self.affine.f / e), round(col + self.affine.c / a)

    def footprint(self, row: int, col: int, size: int) -> Polygon | None:
        """Outline of a patch in EPSG:4326, or None without a CRS."""
        if self.crs is None:
            return None
        place = self.affine
        left, top = place.c + place.a * col, place.f + place.e * row
        right, bottom = left + place.a * size, top + place.e * size
        xs, ys = [left, right, right, left], [top, top, bottom, bottom]
        lon, lat = self._to_lonlat.transform(xs, ys)
        return Polygon(zip(lon, lat, strict=True))

    @cached_property
    def _to_lonlat(self) -> Transformer:
        assert self.crs is not None
        return Transformer.from_crs(self.crs.proj, "EPSG:4326", always_xy=True)

    def corners(self, patch: int, stride: int) -> Iterator[tuple[int, list[int]]]:
        """Rows of patches, each with its columns, in reading order.

        Blocks of the lattice start their own patches; none reaches from one block into another.
        """
        for row in self._starts(self.window.row, self.window.height, patch, stride):
            yield row, list(self._starts(self.window.col, self.window.width, patch, stride))

    def _starts(self, first: int, length: int, patch: int, stride: int) -> Iterator[int]:
        if self.side is None:
            yield from range(first, first + length - patch + 1, stride)
            return
        for block in range(first // self.side * self.side, first + length, self.side):
            for start in range(block, block + self.side - patch + 1, stride):
                if first <= start and start + patch <= first + length:
                    yield start


def open_scene(source: Source, cut: Cut) -> Scene:
    """Look into a source. Raises DataError where it cannot be used, UsageError without its gsd."""
    if cut.block is not None:
        return _lattice_scene(source, cut, cut.block)
    with open_raster(source.hrefs[0]) as dataset:
        grid = dataset_grid(dataset) if dataset.crs else None
        if grid is not None and dataset.crs.is_geographic:
            raise DataError(
                f"{source.title} is in degrees; reproject the training raster to a projected CRS, "
                "or give --block METRES to cut it in UTM"
            )
        gsd = cut.gsd if grid is None else grid.gsd
        if gsd is None:
            raise UsageError(f"{source.title} has no CRS: give its metres per pixel with --gsd")
        reference = _reference(dataset, source, cut)
        shape, affine = dataset.shape, dataset.transform
    window, crs = Window(0, 0, *shape), reference.placement.crs
    if cut.res is None:
        own = PixelGrid(GeoBox(shape, affine, crs), 0, 0)
        return Scene(window, lambda part: reference.read(own, part), gsd, affine, crs)
    if shape[0] * shape[1] > WHOLE:
        raise DataError(
            f"{source.title} has {shape[1]} x {shape[0]} px, too many to resample in one piece: "
            "give --block METRES to cut it by blocks"
        )
    image, valid = _resampled(reference, gsd / cut.res)
    wider, taller = shape[1] / valid.shape[1], shape[0] / valid.shape[0]
    affine = Affine(affine.a * wider, 0.0, affine.c, 0.0, affine.e * taller, affine.f)

    def read(part: Window) -> Pixels:
        rows, cols = part.within(Window(0, 0, *valid.shape))
        return image[:, rows, cols], valid[rows, cols]

    return Scene(Window(0, 0, *valid.shape), read, cut.res, affine, crs)


def _reference(dataset: rasterio.DatasetReader, source: Source, cut: Cut) -> Reference:
    """How the open raster is read; unlike `Reference.open` it may be empty of valid pixels."""
    if not source.any_href:
        check_driver(source.name, source.title, dataset.driver)
    single = (1, 1, 1) if len(source.hrefs) == 3 else None
    bands = choose_bands(dataset, cut.bands or single or source.bands)
    check_type(dataset, bands, cut.scale)
    masked = is_masked(dataset, bands)
    return Reference(dataset.name, bands, cut.scale, masked, Placement.of(dataset))


def _resampled(reference: Reference, zoom: float) -> Pixels:
    """The whole raster ``zoom`` times as large, averaged where it shrinks, else cubic."""
    with open_raster(reference.path) as dataset:
        shape = (max(1, round(dataset.height * zoom)), max(1, round(dataset.width * zoom)))
        method = Resampling.average if zoom < 1 else Resampling.cubic
        bands = reference.bands
        image = dataset.read(bands, out_shape=(3, *shape), resampling=method)
        valid = np.ones(shape, bool)
        if reference.masked:
            valid = dataset.read_masks(bands, out_shape=(3, *shape)).max(axis=0) > 0
    if reference.scale is not None:
        low, high = reference.scale
        valid &= np.isfinite(image).all(axis=0)
        image = np.clip(np.nan_to_num(image, nan=low).astype(np.float64), low, high)
        image = np.rint((image - low) * (255 / (high - low))).astype(np.uint8)
    return image, valid


def _lattice_scene(source: Source, cut: Cut, block: float) -> Scene:
    """The source on the lattice that hangs on the origin of its CRS, or of its UTM zone."""
    references = []
    with ExitStack() as opened:
        for href in source.hrefs:
            dataset = opened.enter_context(open_raster(sign(href)))
            references.append(_reference(dataset, source, cut))
            if len(references) == 1:
                grid = dataset_grid(dataset)
    place, own = references[0].placement, grid.gsd
    if place.crs is None or own is None:
        raise UsageError(f"{source.title} has no CRS: --block is for rasters that have one")
    true = place.crs.projected and abs(own / place.pixel - 1) < TRUE
    bounds = grid.geobox.boundingbox.bbox
    crs = place.crs if true else utm_crs(bounds, place.crs)
    # Files carry 0.5999999999999955 for 0.6.
    res = cut.res or (round(place.pixel, 6) if true else float(f"{own:.2g}"))
    lattice = PixelGrid(GeoBox((1, 1), Affine(res, 0.0, 0.0, 0.0, -res, 0.0), crs), 0, 0)
    window: Window | None = place.extent_on(lattice)
    if source.clip is not None and window is not None:
        left, bottom, right, top = project_box(source.clip, crs_of(DEGREES), crs)
        rows = math.floor(-top / res), math.ceil(-bottom / res)
        cols = math.floor(left / res), math.ceil(right / res)
        box = Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0])
        window = window.intersect(box)

    def read(part: Window) -> Pixels:
        # Signed again for every part: signatures last under an hour.
        hrefs = [sign(href) for href in source.hrefs]
        parts = [
            Reference(href, r.bands, r.scale, r.masked, r.placement).read(lattice, part)
            for href, r in zip(hrefs, references, strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        image = np.stack([pixels[0] for pixels, _ in parts])
        return image, np.logical_and.reduce([valid for _, valid in parts])

    side = max(1, round(block / (cut.patch * res))) * cut.patch
    # Beyond the box nothing is cut: a window of one pixel holds no patch.
    affine = lattice.geobox.affine
    return Scene(window or Window(0, 0, 1, 1), read, res, affine, crs, side)
