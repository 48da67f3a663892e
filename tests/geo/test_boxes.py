"""Boxes: names of CRSs and units that people can read, and advice at the antimeridian."""

from __future__ import annotations

import re

import pytest
from odc.geo import CRS
from pyproj import CRS as AnyCRS

from geodiff.errors import UsageError
from geodiff.geo.boxes import check_box, crs_name, unit_name
from geodiff.geo.grid import box_grid

DEGREES = CRS("EPSG:4326")
LOCAL = "+proj=tmerc +lat_0=48 +lon_0=11.25 +k=0.9999 +x_0=500 +y_0=0 +ellps=bessel +units=m"

FORM = f"+proj=tmerc {LOCAL.split(' ', 1)[1]} +no_defs"[:80]


def named(name: str) -> CRS:
    """The local CRS under a name of its own, as WKT without authority."""
    table = AnyCRS(LOCAL).to_json_dict() | {"name": name}
    return CRS(AnyCRS.from_json_dict(table).to_wkt())


@pytest.mark.parametrize(
    ("crs", "name"),
    [
        (CRS("EPSG:32611"), "EPSG:32611"),
        (CRS("ESRI:102003"), "ESRI:102003"),
        (CRS("OGC:CRS84"), "OGC:CRS84"),
        (named("Harbour\n grid"), "Harbour grid"),
        (named("unknown"), FORM),
        (CRS(LOCAL), FORM),
        (None, "pixel coordinates"),
    ],
)
def test_a_crs_is_named_by_authority_by_name_or_by_its_proj_form(
    crs: CRS | None, name: str
) -> None:
    assert crs_name(crs) == name


def test_long_names_are_cut() -> None:
    assert len(crs_name(named("a very long name " * 20))) <= 80


@pytest.mark.parametrize(
    ("crs", "unit"),
    [("EPSG:32611", "metres"), ("EPSG:2227", "US survey feet"), ("EPSG:4326", "degrees")],
)
def test_units_are_plural(crs: str, unit: str) -> None:
    assert unit_name(CRS(crs)) == unit


def test_a_box_in_the_wrong_unit_is_told_the_right_one() -> None:
    with pytest.raises(UsageError, match=r"its CRS EPSG:32611 is in metres: leave out"):
        check_box((11.5, 48.1, 11.6, 48.2), CRS("EPSG:32611"))
    with pytest.raises(UsageError, match=r"its CRS EPSG:2227 is in US survey feet: leave out"):
        check_box((11.5, 48.1, 11.6, 48.2), CRS("EPSG:2227"))
    with pytest.raises(UsageError, match=r"its CRS EPSG:4326 is in degrees: give"):
        check_box((430000, 3772000, 430100, 3772100), DEGREES)


@pytest.mark.parametrize(
    "box",
    [
        (179.99, -17.0, 180.01, -16.99),
        (-180.01, -17.0, -179.99, -16.99),
        (179.99, -17.0, -179.99, -16.99),
    ],
)
def test_a_box_across_the_antimeridian_gets_the_two_boxes_to_give(
    box: tuple[float, float, float, float],
) -> None:
    with pytest.raises(UsageError, match="antimeridian") as caught:
        check_box(box, DEGREES)
    words = re.search(r"give two boxes, (\S+) and (\S+), and", str(caught.value))
    assert words is not None
    west, east = (tuple(float(n) for n in group.split(",")) for group in words.groups())
    assert west == (179.99, -17, 180, -16.99)
    assert east == (-180, -17, -179.99, -16.99)
    for half in (west, east):
        assert check_box(half, DEGREES) == half
        assert box_grid(half, res=10).window.width > 100


def test_a_projection_cut_by_the_antimeridian_names_it_too() -> None:
    with pytest.raises(UsageError, match=r"antimeridian: give two boxes"):
        box_grid((3.2e6, -2e6, 3.5e6, -1.9e6), "EPSG:3832", "EPSG:4326", 0.001)
