"""Pixel grids whose every pixel has a whole position on a lattice of the world or of one raster."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.io import DatasetReader

from geodiff.errors import DataError, UsageError
from geodiff.geo.boxes import DEGREES, check_box, crs_name, parse_crs, project_box, utm_crs
from geodiff.geo.source import dataset_crs, open_raster, probe
from geodiff.window import Window

log = logging.getLogger(__name__)

Positions = npt.NDArray[np.float64]

_MAX_SIDE = 2**31 - 1
# Edges this close to a pixel border (in pixels) lie on it: coordinates carry rounding noise.
_ON_BORDER = 1e-6


@dataclass(frozen=True)
class Anchor:
    """Where a lattice hangs: the top-left corner of pixel (row, col) is at (x, y) in CRS units."""

    row: int
    col: int
    x: float
    y: float


@dataclass(frozen=True)
class PixelGrid:
    """CRS, affine and size of a raster, and the lattice position of its top-left pixel.

    Rows grow southwards, columns eastwards. Without a CRS the grid is in pixel coordinates, whose
    y may grow downwards. ``anchor`` is the point from which every coordinate is computed as
    ``x + (col - anchor.col) * step``, so that grids of one lattice share their numbers exactly; by
    default it is the CRS origin where the affine fits that, else the grid's own corner. Raises
    UsageError if the affine is rotated or south-up.
    """

    geobox: GeoBox
    row: int
    col: int
    anchor: Anchor = field(default=None, compare=False, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        affine = self.geobox.affine
        if affine.b or affine.d or affine.a <= 0 or (affine.e >= 0 and self.crs is not None):
            raise UsageError(f"a pixel grid must be north-up, got the affine {tuple(affine)[:6]}")
        if self.anchor is None:
            fits_world = affine.c == self.col * affine.a and affine.f == self.row * affine.e
            own = Anchor(self.row, self.col, affine.c, affine.f)
            object.__setattr__(self, "anchor", Anchor(0, 0, 0.0, 0.0) if fits_world else own)

    @property
    def crs(self) -> CRS | None:
        """The CRS; None for pixel coordinates."""
        return self.geobox.crs

    @property
    def crs_name(self) -> str:
        """The CRS for messages, such as EPSG:32610."""
        return crs_name(self.crs)

    @property
    def window(self) -> Window:
        """The lattice positions that the grid covers."""
        height, width = self.geobox.shape
        return Window(self.row, self.col, height, width)

    def xy(self, row: float, col: float) -> tuple[float, float]:
        """CRS coordinates of a lattice position; whole numbers are top-left corners of pixels."""
        anchor, affine = self.anchor, self.geobox.affine
        x = anchor.x + (col - anchor.col) * affine.a
        return x, anchor.y + (row - anchor.row) * affine.e

    def xys(self, row: Positions, col: Positions) -> tuple[Positions, Positions]:
        """``xy`` of arrays of lattice positions."""
        anchor, affine = self.anchor, self.geobox.affine
        x = anchor.x + (col - anchor.col) * affine.a
        return x, anchor.y + (row - anchor.row) * affine.e

    def crop(self, window: Window) -> PixelGrid:
        """The grid of ``window`` of the same lattice, also beyond this grid; exact."""
        x, y = self.xy(window.row, window.col)
        affine = Affine(self.geobox.affine.a, 0.0, x, 0.0, self.geobox.affine.e, y)
        box = GeoBox(window.shape, affine, self.crs)
        return PixelGrid(box, window.row, window.col, self.anchor)

    def latents(self, factor: int) -> Window:
        """Window on the lattice of latents or cells (``factor`` pixels a side) that covers it."""
        return self.window.zoom_out(factor)

    def cell_grid(self, cell: int) -> PixelGrid:
        """The grid of the cells that cover this one: a pixel of it is ``cell`` x ``cell`` pixels.

        Its row and col are positions on the lattice of cells.
        """
        if cell < 1:
            raise UsageError(f"a cell needs at least one pixel a side, got {cell}")
        window, affine = self.latents(cell), self.geobox.affine
        anchor = Anchor(0, 0, *self.xy(0, 0))
        a, e = affine.a * cell, affine.e * cell
        corner = Affine(a, 0.0, anchor.x + window.col * a, 0.0, e, anchor.y + window.row * e)
        box = GeoBox(window.shape, corner, self.crs)
        return PixelGrid(box, window.row, window.col, anchor)

    def pixel_grid(self, cell: int) -> PixelGrid:
        """The pixels under a grid of cells: the inverse of ``cell_grid``, grown to whole cells."""
        if cell < 1:
            raise UsageError(f"a cell needs at least one pixel a side, got {cell}")
        affine, window = self.geobox.affine, self.window.zoom_in(cell)
        anchor = Anchor(0, 0, *self.xy(0, 0))
        a, e = affine.a / cell, affine.e / cell
        corner = Affine(a, 0.0, anchor.x + window.col * a, 0.0, e, anchor.y + window.row * e)
        return PixelGrid(GeoBox(window.shape, corner, self.crs), window.row, window.col, anchor)

    @property
    def gsd(self) -> float | None:
        """Ground sample distance at the centre: true metres a pixel; None without a CRS.

        The root of a pixel's area on the ellipsoid. A projection that is true to within 1 %
        (UTM, state plane) counts as true, so the figure is the same all over such a lattice; Web
        Mercator and degrees are converted at the grid's centre, and depend on it.
        """
        if self.crs is None:
            return None
        crs, geod, affine = self.crs.proj, self.crs.proj.get_geod(), self.geobox.affine
        unit = crs.axis_info[0].unit_conversion_factor if crs.is_projected else 1.0
        nominal = math.sqrt(affine.a * -affine.e) * unit
        if geod is None or crs.geodetic_crs is None:
            return nominal
        to_degrees = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        row, col = self.row + self.geobox.shape[0] / 2, self.col + self.geobox.shape[1] / 2
        if crs.is_geographic:  # a grid may reach beyond a pole
            far = self.anchor.row + np.sort((np.array([-89.9, 89.9]) - self.anchor.y) / affine.e)
            row = float(np.clip(row, *far)) if abs(affine.e) < 1 else row
        sides = []
        for down, right in ((0.0, 0.5), (0.5, 0.0)):
            from_ = to_degrees.transform(*self.xy(row - down, col - right))
            to = to_degrees.transform(*self.xy(row + down, col + right))
            sides.append(geod.inv(*from_, *to)[2])
        ground = math.sqrt(sides[0] * sides[1])
        if crs.is_projected and not abs(ground / nominal - 1) > 0.01:  # also where it is NaN
            return nominal
        return ground

    def bounds_lonlat(self) -> tuple[float, float, float, float] | None:
        """(west, south, east, north) in WGS84 degrees, with bent edges; None without a CRS.

        As in GeoJSON (RFC 7946, section 5.2), west > east where the antimeridian is crossed.
        """
        if self.crs is None or self.crs.proj.geodetic_crs is None:
            return None
        to_degrees = Transformer.from_crs(self.crs.proj, "EPSG:4326", always_xy=True)
        bounds = to_degrees.transform_bounds(*self.geobox.boundingbox.bbox, densify_pts=101)
        return tuple(bounds)  # type: ignore[return-value]


def box_grid(
    bbox: Sequence[float],
    bbox_crs: str | int | CRS | None = None,
    crs: str | int | CRS | None = None,
    res: float | None = None,
) -> PixelGrid:
    """The grid of whole pixels that covers ``bbox``, on the lattice that hangs on the CRS origin.

    ``bbox`` is west, south, east, north in ``bbox_crs`` (geographic or projected; None is WGS84
    degrees); the area it encloses lies wholly inside the grid, to 1e-6 of a pixel. ``crs`` is the
    output CRS; None takes the UTM zone (WGS84) of the box's centre. ``res`` is the pixel size in
    units of the output CRS: metres in UTM, degrees in a geographic CRS. Boxes that overlap share
    their pixels exactly. Raises UsageError for a box, CRS or resolution that makes no grid.
    """
    source = parse_crs(bbox_crs or DEGREES)
    box = check_box(bbox, source)
    target = utm_crs(box, source) if crs is None else parse_crs(crs)
    if res is None or not math.isfinite(res) or res <= 0:
        raise UsageError(
            f"the resolution is {res}: give a number above 0, in units of {crs_name(target)}"
        )
    left, bottom, right, top = project_box(box, source, target)
    if max(right - left, top - bottom) / res > _MAX_SIDE:
        raise UsageError(
            f"the box is {(right - left) / res:.3g} x {(top - bottom) / res:.3g} pixels at a "
            f"resolution of {res:g}, more than {_MAX_SIDE} a side: give a smaller box or larger res"
        )
    if res > max(right - left, top - bottom):
        raise UsageError(
            f"the resolution {res:g} is larger than the box ({right - left:g} x {top - bottom:g}); "
            f"it is in units of the output CRS {crs_name(target)}: give less, or another CRS"
        )
    row, last_row = _span(-top, -bottom, res)
    col, last_col = _span(left, right, res)
    affine = Affine(res, 0.0, col * res, 0.0, -res, -row * res)
    grid = PixelGrid(GeoBox((last_row - row, last_col - col), affine, target), row, col)
    log.debug("grid: box %s snapped to %s in %s, %g a pixel", box, grid.window, grid.crs_name, res)
    return grid


def _span(low: float, high: float, res: float) -> tuple[int, int]:
    """First position and end of the whole pixels that cover low .. high."""
    first = math.floor(low / res + _ON_BORDER)
    return first, max(math.ceil(high / res - _ON_BORDER), first + 1)


def raster_grid(path: str | Path) -> PixelGrid:
    """The raster's own grid: its CRS, transform (to the bit) and size; its corner is position 0, 0.

    A raster without a CRS gives a grid in pixel coordinates (``.crs`` is None). Raises DataError if
    the file is missing, truncated or empty, or its grid is rotated, south-up or known only by
    ground control points.
    """
    with open_raster(path) as dataset:
        probe(dataset)
        return dataset_grid(dataset)


def dataset_grid(dataset: DatasetReader) -> PixelGrid:
    """``raster_grid`` of a raster that is open; the same errors."""
    affine, name = dataset.transform, dataset.name
    if affine.is_identity and dataset.gcps[0]:
        raise DataError(
            f"{name} is placed by ground control points only: make it north-up with "
            f"gdalwarp -t_srs EPSG:... {name} out.tif"
        )
    if affine.is_identity and dataset.crs:
        raise DataError(
            f"{name} has a CRS but no geotransform: give it one (gdal_edit.py -a_ullr ...)"
        )
    if affine.b or affine.d or affine.a <= 0 or (affine.e >= 0 and dataset.crs):
        kind = "rotated" if affine.b or affine.d else "not north-up"
        raise DataError(
            f"the grid of {name} is {kind} (transform {tuple(affine)[:6]}): say which north-up "
            f"grid to take (--bbox or --like), or make it north-up with gdalwarp {name} out.tif"
        )
    return PixelGrid(GeoBox(dataset.shape, affine, dataset_crs(dataset)), 0, 0)
