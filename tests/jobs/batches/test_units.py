"""What becomes a unit, what it is called, and which seed it has."""

from __future__ import annotations

from pathlib import Path

import geopandas
import pytest
from shapely.geometry import Point, box

from geodiff.errors import DataError
from geodiff.geo.search import Found
from geodiff.geo.stac_items import Unusable
from geodiff.geo.survey import Survey
from geodiff.jobs.batches.request import BatchRequest
from geodiff.jobs.batches.units import find_units, of_items, seed_of


def found(name: str, west: float, collection: str = "naip") -> Found:
    where = box(west, 10, west + 1, 11)
    return Found(name, ("https://a/b.tif",), None, None, collection, footprint=where)


def request(**options: object) -> BatchRequest:
    return BatchRequest("twins", stac="https://a", collection=("naip",), **options)


def test_items_outside_the_box_are_left_out_and_those_on_its_edge_are_cut() -> None:
    known = Survey((found("in", 0.5), found("edge", 2.5), found("out", 4)), ())
    units = of_items(request(bbox=(0, 9, 3, 12)), known)
    assert {unit.name: unit.clip for unit in units.units} == {"in": None, "edge": (0, 9, 3, 12)}
    assert units.notes == ("1 items that were found do not reach into the box: left out",)


def test_a_box_that_no_item_reaches_into_is_an_error() -> None:
    known = Survey((found("a", 0.5), found("b", 2.5)), ())
    with pytest.raises(DataError, match="none of 2 items that were found reaches into the box"):
        of_items(request(bbox=(50, 9, 53, 12)), known)
    units = of_items(request(bbox=(50, 9, 53, 12)), Survey(known.found, (Unusable("c", "no"),)))
    assert units.unusable  # the report names it


def test_more_variants_add_units_and_change_none() -> None:
    known = Survey((found("a", 0), found("../b", 1)), ())
    one, three = (of_items(request(variants=k, seed=7), known).units for k in (1, 3))
    assert set(one) < set(three)
    assert [unit.name for unit in three[:3]] == ["a", "a-v2", "a-v3"]
    assert [unit.seed for unit in three[:3]] == [unit.seed for unit in three[3:]]
    assert three[0].seed == 7
    assert len({unit.seed for unit in three}) == 3
    assert 0 <= seed_of(2**63 - 1, 2) < 2**63


def test_equal_ids_of_two_collections_are_two_units() -> None:
    known = Survey((found("a", 0), found("a", 0, "other"), found("A-v2", 0)), ())
    names = [unit.name for unit in of_items(request(variants=2), known).units]
    assert len({name.casefold() for name in names}) == 6


def cells(path: Path, crs: str = "EPSG:32610") -> Path:
    """Three squares of 100 m in a row, and a point."""
    left, bottom = 500_000.4, 4_100_000.4
    shapes = [box(left + 100 * n, bottom, left + 100 * n + 100, bottom + 100) for n in range(3)]
    names = ["one", "one", "../three", "dot"]
    frame = geopandas.GeoDataFrame(
        {"name": names, "geometry": [*shapes, Point(left, bottom)]}, crs="EPSG:32610"
    )
    frame.to_crs(crs).to_file(path)
    return path


def test_cells_are_the_polygons_of_a_file(tmp_path: Path) -> None:
    path = cells(tmp_path / "c.gpkg")
    units = find_units(BatchRequest("twins", cells=str(path)))
    assert [unit.name for unit in units.units] == ["cell-1", "cell-2", "cell-3"]
    assert units.units[1].cell == ((500_100.4, 4_100_000.4, 500_200.4, 4_100_100.4), "EPSG:32610")
    assert "1 of 4 features are no polygons" in units.notes[0]
    named = find_units(BatchRequest("twins", cells=str(path), cell_id="name")).units
    assert [unit.source for unit in named] == ["one", "one", "../three"]
    assert len({unit.name for unit in named}) == 3
    assert all("/" not in unit.name for unit in named)
    with pytest.raises(DataError, match=r"--cell-id id is not in c\.gpkg: it has name"):
        find_units(BatchRequest("twins", cells=str(path), cell_id="id"))


def test_a_box_chooses_cells(tmp_path: Path) -> None:
    path = cells(tmp_path / "c.geojson", "EPSG:4326")
    west = float(geopandas.read_file(path).total_bounds[0])
    near = find_units(BatchRequest("twins", cells=str(path), bbox=(west, 37, west + 1e-4, 38)))
    assert [unit.source for unit in near.units] == ["cell-1"]
    with pytest.raises(DataError, match=r"no cell of c\.geojson meets the box"):
        find_units(BatchRequest("twins", cells=str(path), bbox=(0, 0, 1, 1)))
    with pytest.raises(DataError, match="check --cells"):
        find_units(BatchRequest("twins", cells=str(tmp_path / "no.gpkg")))
