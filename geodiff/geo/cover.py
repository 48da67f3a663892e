"""Which words of labelled polygons hold at a cell of the lattice, by the cell's place alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo import CRS
from pyproj import Transformer

from geodiff.errors import DataError
from geodiff.geo.boxes import crs_name
from geodiff.geo.grid import PixelGrid
from geodiff.geo.vector import LabelledPolygons

Numbers = NDArray[np.intp]
Floats = NDArray[np.float64]

SIDE = 5
"""Points along one side of a cell at which the polygons are looked at; odd, so that a straight
border leaves no tie."""


@dataclass(frozen=True, eq=False)
class Cover:
    """Polygons over the cells (``cell`` x ``cell`` pixels) of the lattice of ``grid``.

    Points of the lattice are brought into the CRS of the polygons, never the polygons into that of
    the lattice: edges stay as they were drawn, and what holds at a cell is a pure function of its
    place. Raises DataError for a grid without CRS.
    """

    polygons: LabelledPolygons
    grid: PixelGrid
    cell: int

    def __post_init__(self) -> None:
        if self.grid.crs is None:
            raise DataError(
                f"the grid has no CRS, so the polygons of {self.polygons.name} cannot be placed on "
                "it: give --bbox, or --like a raster with a CRS"
            )

    @property
    def crs(self) -> CRS:
        """The CRS of the lattice."""
        assert self.grid.crs is not None
        return self.grid.crs

    @cached_property
    def texts(self) -> Numbers:
        """The number of every polygon's text among the distinct ones: (polygon,)."""
        numbers = {text: number for number, text in enumerate(self.polygons.distinct)}
        return np.array([numbers[text] for text in self.polygons.texts], np.intp)

    @cached_property
    def tree(self) -> shapely.STRtree:
        """The polygons by their bounds."""
        shapely.prepare(self.polygons.geometries)
        return shapely.STRtree(self.polygons.geometries)

    @cached_property
    def into(self) -> Transformer:
        """From the CRS of the lattice to that of the polygons."""
        return Transformer.from_crs(self.crs.proj, self.polygons.crs.proj, always_xy=True)

    def at(self, rows: Floats, cols: Floats) -> Numbers:
        """The topmost polygon at lattice positions (in pixels) of any shape; -1 where none lies."""
        x, y = self.into.transform(*self.grid.xys(rows, cols))
        found = np.full(x.shape, -1, np.intp)
        finite = np.isfinite(x) & np.isfinite(y)
        if not finite.any():
            return found
        left, right, bottom, top = (
            edge(values[finite]) for values in (x, y) for edge in (np.min, np.max)
        )
        for number in np.sort(self.tree.query(shapely.box(left, bottom, right, top))):
            shape = self.polygons.geometries[number]
            west, south, east, north = shape.bounds
            near = (x >= west) & (x <= east) & (y >= south) & (y <= north)
            near[near] = shapely.intersects_xy(shape, x[near], y[near])
            found[near] = number
        return found

    def samples(self, rows: Numbers, cols: Numbers, shift: Floats | None = None) -> Numbers:
        """The topmost polygon at SIDE x SIDE points of the cells of ``rows`` and ``cols``.

        Positions on the lattice of cells, (row,) and (col,); ``shift`` (2, row, col) moves all the
        points of a cell by so many pixels down and across. Gives (row, col, point), -1 for none.
        """
        inside = (np.arange(SIDE) + 0.5) / SIDE
        down = ((rows[:, None] + inside) * self.cell)[:, None, :, None]
        across = ((cols[:, None] + inside) * self.cell)[None, :, None, :]
        down, across = np.broadcast_arrays(down, across)
        if shift is not None:
            down, across = (
                place + move[:, :, None, None]
                for place, move in zip((down, across), shift, strict=True)
            )
        return self.at(down, across).reshape(len(rows), len(cols), SIDE * SIDE)

    def winners(self, samples: Numbers) -> Numbers:
        """The number of the text that holds at most points of a cell, -1 for none: (row, col).

        ``samples`` (row, col, point) are numbers of polygons. In a tie words go before no words,
        and words whose first polygon comes later before others.
        """
        asked = np.where(samples < 0, -1, self.texts[samples])
        best = np.full(samples.shape[:2], -1, np.intp)
        most = np.zeros(samples.shape[:2], np.intp)
        for number in np.unique(asked):  # -1 first
            count = (asked == number).sum(axis=2)
            better = (count >= most) & (count > 0)
            best[better], most[better] = number, count[better]
        return best

    def pixel_metres(self, rows: Floats, cols: Floats) -> tuple[Floats, Floats]:
        """Ground metres of a pixel, downwards and across, at lattice positions; NaN off the map."""
        geographic, geod = self.crs.proj.geodetic_crs, self.crs.proj.get_geod()
        if geographic is None or geod is None:
            raise DataError(f"{crs_name(self.crs)} has no ellipsoid to measure metres on")
        degrees = Transformer.from_crs(self.crs.proj, geographic, always_xy=True)
        sides = []
        for down, across in ((0.5, 0.0), (0.0, 0.5)):
            ends = [
                degrees.transform(*self.grid.xys(rows + sign * down, cols + sign * across))
                for sign in (-1, 1)
            ]
            known = np.isfinite([*ends[0], *ends[1]]).all(axis=0)
            west, south, east, north = (
                np.where(known, values, 0.0) for end in ends for values in end
            )
            sides.append(np.where(known, geod.inv(west, south, east, north)[2], np.nan))
        return sides[0], sides[1]

    def check_inside(self) -> None:
        """Raises DataError where no polygon meets the grid, with the bounds of both."""
        outline = self.outline()
        if outline is None:
            raise DataError(
                f"the box has no place in {crs_name(self.polygons.crs)}, the CRS of the polygons "
                f"of {self.polygons.name}: check --bbox, or leave it out"
            )
        if len(self.tree.query(outline, predicate="intersects")):
            return
        told = [
            ", ".join(f"{edge:.10g}" for edge in bounds)
            for bounds in (self.polygons.bounds, outline.bounds)
        ]
        raise DataError(
            f"no polygon of {self.polygons.name} lies in the box: the polygons reach over "
            f"{told[0]}, the box over {told[1]} (west, south, east, north in "
            f"{crs_name(self.polygons.crs)}): check --bbox, or leave it out"
        )

    def outline(self) -> shapely.Geometry | None:
        """The grid's outline in the CRS of the polygons; None where a part has no place there."""
        height, width = self.grid.window.shape
        steps, ones = np.linspace(0, 1, 33), np.ones(33)
        rows = np.concatenate([0 * ones, steps, ones, 1 - steps]) * height + self.grid.row
        cols = np.concatenate([steps, ones, 1 - steps, 0 * ones]) * width + self.grid.col
        x, y = self.into.transform(*self.grid.xys(rows, cols))
        if not (np.isfinite(x) & np.isfinite(y)).all():
            return None
        return shapely.make_valid(shapely.Polygon(np.stack([x, y], axis=1)))
