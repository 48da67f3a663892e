"""What an item of a STAC catalogue offers: the asset with its colours, and the ground it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pystac
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely import GEOSException, Polygon, box, make_valid
from shapely.geometry import shape as shape_of
from shapely.geometry.base import BaseGeometry

from geodiff.errors import DataError
from geodiff.geo.provenance import plain

RASTERS = ("tiff", "jp2")
"""Words in media types that GDAL reads as imagery."""

PREVIEWS = {"thumbnail", "overview", "metadata"}
"""Roles of assets that are not the imagery itself."""

COLOURS = ("red", "green", "blue")

ALIKE = 0.5
"""Share of the smaller of two outlines of one item that must be common to both."""

Told = tuple[str, tuple[int, int], tuple[float, ...]]
"""CRS, shape (height, width) and the six numbers of the transform of a raster."""


def assets_of(item: pystac.Item, asset: str | None) -> list[str]:
    """Names of the assets that hold the item's colours, or of those that ``asset`` names.

    Raises DataError where the item lacks one, or says of one not where it is.
    """
    wanted = asset.split(",") if asset else list(choose(item.assets))
    missing = [name for name in wanted if name not in item.assets]
    if missing or not wanted:
        what = f"no asset {missing[0]!r}" if missing else "no asset that is an image in colour"
        others = plain(", ".join(item.assets)) or "none"
        raise DataError(
            f"the item {plain(item.id)} has {what}; it has {others}: say which with --asset NAME "
            "or --asset RED,GREEN,BLUE"
        )
    bare = [name for name in wanted if not item.assets[name].href.strip()]
    if bare:
        raise DataError(
            f"the item {plain(item.id)} gives no address (href) for its asset {bare[0]!r}: name "
            "another one with --asset, or tell its owner"
        )
    return wanted


def choose(assets: dict[str, pystac.Asset]) -> Sequence[str]:
    """The asset with three colours; else the one with the role data; else red, green and blue."""
    images = {
        name: asset
        for name, asset in assets.items()
        if any(word in str(asset.media_type) for word in RASTERS) and not PREVIEWS & roles(asset)
    }
    coloured = [name for name, asset in images.items() if colours(asset)]
    data = [name for name, asset in images.items() if "data" in roles(asset)]
    if coloured:
        return [next((name for name in coloured if name in data), coloured[0])]
    if all(colour in images for colour in COLOURS):
        return COLOURS
    plain_names = [name for name in ("visual", "image", "rgb") if name in images]
    return (plain_names or data or list(images))[:1]


def roles(asset: pystac.Asset) -> set[str]:
    """What an asset is for; nothing where that is no list of words."""
    listed: Any = asset.roles
    return set(map(str, listed)) if isinstance(listed, list) else set()


def colours(asset: pystac.Asset) -> tuple[int, int, int] | None:
    """Band numbers, from 1, of red, green and blue, from ``bands`` or ``eo:bands``; else None."""
    described: Any = asset.extra_fields.get("bands") or asset.extra_fields.get("eo:bands")
    names = [
        str(b.get("eo:common_name") or b.get("common_name") or b.get("name")).lower()
        if isinstance(b, dict)
        else ""
        for b in (described if isinstance(described, list) else [])
    ]
    if not all(colour in names for colour in COLOURS):
        return None
    red, green, blue = (names.index(colour) + 1 for colour in COLOURS)
    return red, green, blue


def outline(item: pystac.Item, asset: pystac.Asset) -> tuple[BaseGeometry | None, bool]:
    """The ground that an item shows, in WGS84 degrees, and whether its projection was believed.

    That of its raster, from the projection extension's transform and shape, unless these lie
    elsewhere than the item's geometry or make no sense; then the geometry, else the bbox. None
    where it has neither.
    """
    told, fields = _geometry(item), {**item.properties, **asset.extra_fields}
    exact = _from_projection(fields)
    if exact is None:
        return told, _makes_sense(fields)
    if told is None:
        return exact, True
    common = exact.intersection(told).area
    if common < ALIKE * min(exact.area, told.area):
        return told, False
    return exact, True


def told_raster(item: pystac.Item, asset: pystac.Asset) -> Told | None:
    """What the projection extension says of a raster; None where it does not place it."""
    fields = {**item.properties, **asset.extra_fields}
    if _from_projection(fields) is None:
        return None
    height, width = (int(side) for side in fields["proj:shape"])
    return _crs(fields), (height, width), tuple(map(float, fields["proj:transform"][:6]))


def _geometry(item: pystac.Item) -> BaseGeometry | None:
    try:
        if item.geometry is not None:
            found = make_valid(shape_of(item.geometry))
            if found.area > 0:
                return found
        if item.bbox is not None:
            corners = item.bbox if len(item.bbox) == 4 else [*item.bbox[:2], *item.bbox[3:5]]
            return box(*corners)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, GEOSException):
        return None
    return None


def _from_projection(fields: dict[str, Any]) -> BaseGeometry | None:
    """What the projection extension says; None where a field is missing or makes no sense."""
    try:
        return ground(_crs(fields), fields["proj:shape"], Affine(*fields["proj:transform"][:6]))
    except (KeyError, TypeError, ValueError, ProjError, GEOSException):
        return None


def _makes_sense(fields: dict[str, Any]) -> bool:
    """Whether what the projection extension says can be read, as far as it says anything."""
    try:
        if named := _crs(fields):
            CRS.from_user_input(named)
        height, width = fields.get("proj:shape") or (1, 1)
        Affine(*(fields.get("proj:transform") or range(6))[:6])
        return float(height) > 0 and float(width) > 0
    except (TypeError, ValueError, KeyError, ProjError):
        return False


def _crs(fields: dict[str, Any]) -> str:
    """The CRS that the projection extension names, of whichever version; empty without one."""
    number = fields.get("proj:epsg")
    names = fields.get("proj:code"), f"EPSG:{number}" if number else "", fields.get("proj:wkt2")
    return str(next(filter(None, names), ""))


def ground(crs: Any, shape: Sequence[int], affine: Affine) -> BaseGeometry | None:
    """Outline of a raster of ``shape`` (height, width) in WGS84 degrees, with bent edges.

    None where that is no area. Raises ValueError, TypeError or ProjError for a CRS that is none.
    """
    height, width = shape
    to_degrees = Transformer.from_crs(CRS.from_user_input(crs), "EPSG:4326", always_xy=True)
    steps = np.linspace(0, 1, 9)[:-1]
    ones, zeros = np.ones_like(steps), np.zeros_like(steps)
    cols = np.concatenate([steps, ones, 1 - steps, zeros]) * width
    rows = np.concatenate([zeros, steps, ones, 1 - steps]) * height
    x = affine.a * cols + affine.b * rows + affine.c
    y = affine.d * cols + affine.e * rows + affine.f
    ring = np.column_stack(to_degrees.transform(x, y))
    found = Polygon(ring) if np.isfinite(ring).all() else Polygon()
    return found if found.is_valid and found.area > 0 else None
