"""Boxes on the map: what is wrong with one, its UTM zone, and its outline in another CRS."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from odc.geo import CRS
from pyproj import Transformer
from pyproj.exceptions import CRSError, ProjError

from geodiff.errors import UsageError

Box = tuple[float, float, float, float]  # left, bottom, right, top
DEGREES = "EPSG:4326"
"""CRS of a box that comes without one: WGS84 longitude and latitude."""

# Points per edge when a box is bent into another CRS. The outline of a box of 1000 km sinks by
# about 20 km between its corners; 2000 chords follow it to within 6 mm.
_EDGE_POINTS = 2000
_NAMELESS = ("", "unknown", "unnamed", "undefined")  # what writers call a CRS without a name
_LONGEST_NAME = 80
_LARGEST_TYPO = 1000  # a longitude up to here is a slip; beyond, the numbers are metres or feet


def parse_crs(crs: str | int | CRS) -> CRS:
    """A geographic or projected CRS; UsageError if it is unknown or of another kind."""
    try:
        parsed = CRS(crs)
    except (CRSError, TypeError) as error:
        raise UsageError(
            f"unknown CRS {crs!r}: give an authority code such as EPSG:32610, or WKT"
        ) from error
    if not (parsed.proj.is_geographic or parsed.proj.is_projected):
        raise UsageError(
            f"the CRS {crs!r} ({parsed.proj.type_name}) is no map: "
            "give a geographic or projected one"
        )
    return parsed


def crs_name(crs: CRS | None) -> str:
    """A short name for messages: the authority's code, else the CRS's own name, else its PROJ form.

    A PROJ string drops what it cannot say, and may be cut: good for people, not for machines. None
    is "pixel coordinates".
    """
    if crs is None:
        return "pixel coordinates"
    authority = crs.proj.to_authority(min_confidence=100)
    if authority:
        return ":".join(authority)
    name = " ".join(crs.proj.name.split())
    if name.lower() not in _NAMELESS:
        return name[:_LONGEST_NAME]
    with warnings.catch_warnings():  # pyproj warns that the string says less than the CRS
        warnings.simplefilter("ignore", UserWarning)
        form = " ".join(word for word in crs.proj.to_proj4().split() if word != "+type=crs")
    return form[:_LONGEST_NAME] or f"a nameless {crs.proj.type_name}"


def unit_name(crs: CRS) -> str:
    """The unit of the CRS's coordinates, in the plural: metres, US survey feet, degrees."""
    unit = str(crs.proj.axis_info[0].unit_name)
    if unit.endswith("foot"):
        return unit.removesuffix("foot") + "feet"
    return unit if unit.endswith("s") else f"{unit}s"


def check_box(bbox: Sequence[float], crs: CRS) -> Box:
    """``bbox`` as four floats (left, bottom, right, top) in ``crs``; UsageError if it is none."""
    try:
        left, bottom, right, top = (float(number) for number in bbox)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the box {bbox!r} is not four numbers: give west, south, east, north"
        ) from error
    box = left, bottom, right, top
    if not all(math.isfinite(number) for number in box):
        raise UsageError(f"the box {_show(box)} has a number that is not finite")
    if crs.proj.is_geographic:
        _check_degrees(box, crs)
    elif max(abs(left), abs(right)) <= 180 and max(abs(bottom), abs(top)) <= 90:
        raise UsageError(
            f"the box {_show(box)} looks like degrees, but its CRS {crs_name(crs)} is in "
            f"{unit_name(crs)}: leave out the box's CRS or give EPSG:4326"
        )
    if left == right or bottom == top:
        raise UsageError(f"the box {_show(box)} is empty: west = east or south = north")
    if left > right or bottom > top:
        raise UsageError(f"the box {_show(box)} is reversed: give west, south, east, north")
    return box


def _check_degrees(box: Box, crs: CRS) -> None:
    left, bottom, right, top = box
    if max(abs(left), abs(right)) > _LARGEST_TYPO or max(abs(bottom), abs(top)) > 360:
        raise UsageError(
            f"the box {_show(box)} looks like metres, but its CRS {crs_name(crs)} is in degrees: "
            "give the box's own CRS (--bbox-crs)"
        )
    if max(abs(bottom), abs(top)) > 90:
        raise UsageError(
            f"the box {_show(box)} has a latitude outside -90..90: "
            "give longitude first (west, south, east, north)"
        )
    if (left < 180 < right or left < -180 < right) and max(abs(left), abs(right)) <= 360:
        west, east = (left, right - 360) if right > 180 else (left + 360, right)
        raise UsageError(
            f"the box {_show(box)} crosses the antimeridian, which is not supported: "
            f"{_halves((west, bottom, east, top))}"
        )
    if max(abs(left), abs(right)) > 180:
        raise UsageError(f"the box {_show(box)} has a longitude outside -180..180")
    if left > right:
        raise UsageError(
            f"the box {_show(box)} has west > east: it is reversed, or it crosses the "
            f"antimeridian, which is not supported; then {_halves(box)}"
        )


def _halves(box: Box) -> str:
    """What to do about a box from ``left`` eastwards over 180 degrees to ``right``."""
    left, bottom, right, top = (f"{number:.10g}" for number in box)
    return (
        f"give two boxes, {left},{bottom},180,{top} and -180,{bottom},{right},{top}, "
        "and make a mosaic of each"
    )


def utm_crs(box: Box, crs: CRS) -> CRS:
    """UTM zone (WGS84, EPSG:326xx or 327xx) of the centre of ``box``, which is in ``crs``.

    Plain six-degree zones, without the exceptions for Norway and Svalbard. Raises UsageError
    beyond 84 degrees north and 80 degrees south, where UTM is not defined.
    """
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    to_degrees = Transformer.from_crs(crs.proj, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(x, y)
    if not (math.isfinite(lon) and math.isfinite(lat)):
        raise UsageError(
            f"the box {_show(box)} is outside the area that its CRS {crs_name(crs)} can show: "
            "check the numbers and the CRS"
        )
    if not -80 <= lat <= 84:
        raise UsageError(
            f"UTM is not defined at latitude {lat:.4g}: give an output CRS, such as EPSG:3413 "
            "(north) or EPSG:3031 (south)"
        )
    zone = min(int((lon + 180) // 6) + 1, 60)
    return CRS(f"EPSG:{(32600 if lat >= 0 else 32700) + zone}")


def project_box(box: Box, crs: CRS, to: CRS) -> Box:
    """Bounds in ``to`` of the area inside ``box``, whose edges bend when they are reprojected.

    Raises UsageError where a part of the outline cannot be shown in ``to``.
    """
    if crs == to:
        return box
    transformer = Transformer.from_crs(crs.proj, to.proj, always_xy=True)
    failure = f"the box {_show(box)} cannot be shown in {crs_name(to)}: "
    try:
        bounds = transformer.transform_bounds(*box, densify_pts=_EDGE_POINTS)
    except ProjError as error:
        raise UsageError(f"{failure}{error}") from error
    if bounds[0] > bounds[2]:
        raise UsageError(
            f"{failure}it crosses the antimeridian: give two boxes, one on each side of 180 "
            "degrees, or another output CRS"
        )
    if not _holds(box, crs, transformer, bounds):
        raise UsageError(f"{failure}give a smaller box or another CRS")
    return bounds


def _holds(box: Box, crs: CRS, transformer: Transformer, bounds: Box) -> bool:
    """Whether points of ``box`` lie in ``bounds`` and come back to themselves.

    Far outside its area of use a projection returns infinities, or places that are elsewhere.
    """
    left, bottom, right, top = box
    across, up = np.linspace(left, right, _EDGE_POINTS), np.linspace(bottom, top, _EDGE_POINTS)
    inner_x, inner_y = np.meshgrid(across[:: _EDGE_POINTS // 50], up[:: _EDGE_POINTS // 50])
    ends = np.ones_like(across)
    x = np.concatenate([across, across, ends * left, ends * right, inner_x.ravel()])
    y = np.concatenate([ends * bottom, ends * top, up, up, inner_y.ravel()])
    there_x, there_y = transformer.transform(x, y)
    back_x, back_y = transformer.transform(there_x, there_y, direction="INVERSE")
    if not np.isfinite(there_x + there_y + back_x + back_y).all():
        return False
    slack = 1e-3 * max(bounds[2] - bounds[0], bounds[3] - bounds[1])
    if min(there_x.min() - bounds[0], there_y.min() - bounds[1]) < -slack:
        return False
    if max(there_x.max() - bounds[2], there_y.max() - bounds[3]) > slack:
        return False
    off_x, off_y = np.abs(back_x - x), np.abs(back_y - y)
    if crs.proj.is_geographic:  # 180 is -180, and at a pole every longitude is the same place
        off_x = np.minimum(off_x, np.abs(off_x - 360)) * np.cos(np.radians(y))
    return bool(max(off_x.max(), off_y.max()) <= 1e-3 * max(right - left, top - bottom))


def _show(box: Box) -> str:
    return "(" + ", ".join(f"{number:.10g}" for number in box) + ")"
