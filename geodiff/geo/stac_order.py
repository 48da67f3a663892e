"""Which of several images of one ground is taken: the order in which found items are laid down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from geodiff.geo.grid import PixelGrid
from geodiff.geo.search import Found

SAMPLES = 256
"""Places a side of a mosaic at which it is asked what covers it."""


def arrange(found: Sequence[Found], order: str, grid: PixelGrid) -> tuple[Found, ...]:
    """The items in the order in which a pixel takes the first that is valid there.

    ``newest`` and ``oldest`` go by days, and by collection and id within one (and put items
    without a date last); ``same-year`` takes the items of one year alone, newest first: the year
    that covers most of ``grid``, and of equals the newest.
    """
    first = sorted(found, key=lambda item: (item.collection, item.name))
    if order == "oldest":
        return tuple(sorted(first, key=lambda item: (not day(item), day(item))))
    newest = sorted(first, key=day, reverse=True)
    if order == "newest":
        return tuple(newest)
    years = [list(items) for _, items in groupby(newest, key=lambda item: day(item)[:4])]
    shares = [covered(items, grid) for items in years]
    return tuple(years[shares.index(max(shares))])


def day(item: Found) -> str:
    """The date of an item, 2020-06-01; empty without one."""
    return (item.datetime or "")[:10]


def covered(items: Sequence[Found], grid: PixelGrid) -> float:
    """Share (0..1) of the grid on the ground that some item says to show, from samples."""
    rows, cols = (
        first + (np.arange(n := min(side, SAMPLES)) + 0.5) * side / n
        for first, side in zip((grid.row, grid.col), grid.window.shape, strict=True)
    )
    lon, lat = lonlat(grid, *np.meshgrid(rows, cols, indexing="ij"))
    ground = shapely.union_all([item.footprint for item in items])
    shapely.prepare(ground)
    return float(shapely.contains_xy(ground, lon, lat).mean())


def lonlat(
    grid: PixelGrid, rows: npt.NDArray[np.float64], cols: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """WGS84 degrees of lattice positions."""
    assert grid.crs is not None
    to_degrees = Transformer.from_crs(grid.crs.proj, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(*grid.xys(rows, cols))
    return lon, lat


def ground_of(grid: PixelGrid) -> BaseGeometry:
    """The grid's outline in WGS84 degrees, with bent edges."""
    steps = np.linspace(0, 1, 9)[:-1]
    ones, zeros = np.ones_like(steps), np.zeros_like(steps)
    height, width = grid.window.shape
    rows = grid.row + np.concatenate([zeros, steps, ones, 1 - steps]) * height
    cols = grid.col + np.concatenate([steps, ones, 1 - steps, zeros]) * width
    return shapely.Polygon(np.column_stack(lonlat(grid, rows, cols)))


def meeting(found: Sequence[Found], grid: PixelGrid) -> list[Found]:
    """The items whose ground meets the grid's; those that do not tell it are taken to."""
    ground = ground_of(grid)
    shapely.prepare(ground)
    return [
        item if item.footprint is not None else replace(item, footprint=ground)
        for item in found
        if item.footprint is None or ground.intersects(item.footprint)
    ]


def told(items: Sequence[Found], order: str) -> str:
    """Items and dates in words: ``3 items of 2018-06-01 to 2020-07-04 (2018: 1, 2020: 2)``."""
    days = sorted(filter(None, map(day, items)))
    years = Counter(one[:4] for one in days)
    what = f"{len(items)} item{'s' if len(items) != 1 else ''}"
    if days:
        what += f" of {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "")
    if len(years) > 1:
        what += f" ({', '.join(f'{year}: {count}' for year, count in sorted(years.items()))})"
    rule = {"newest": "newest first", "oldest": "oldest first", "same-year": "of one year"}[order]
    return f"{what}, {rule}"
