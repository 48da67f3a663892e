"""What holds at a cell depends on its place alone: not on the box, nor on the CRS of the file."""

from __future__ import annotations

from typing import Any

import geopandas
import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import Polygon, box

from geodiff.errors import DataError
from geodiff.geo.cover import Cover
from geodiff.geo.grid import PixelGrid, box_grid
from geodiff.geo.vector import read_polygons
from geodiff.window import Window

UTM = "EPSG:32611"
CELL = 10  # pixels of 1 m
X, Y = 430_000, 3_772_000
HERE = (X, Y, X + 200, Y + 200)


def grid(bounds: tuple[float, float, float, float] = HERE, res: float = 1.0) -> PixelGrid:
    return box_grid(bounds, UTM, UTM, res)


def cover(shapes: dict[str, Any] | list[tuple[str, Any]], crs: str = UTM, **place: Any) -> Cover:
    """Polygons drawn in metres from the corner X, Y, in a file of ``crs``."""
    pairs = list(shapes.items()) if isinstance(shapes, dict) else shapes
    moved = [Polygon([(X + x, Y + y) for x, y in shape.exterior.coords]) for _, shape in pairs]
    table = geopandas.GeoDataFrame({"text": [text for text, _ in pairs]}, geometry=moved, crs=UTM)
    return Cover(read_polygons(table.to_crs(crs), "text"), grid(**place), CELL)


def numbers(found: Cover, cells: Window | None = None) -> np.ndarray[Any, Any]:
    """Number of the text at each cell, by default those of the grid."""
    cells = found.grid.latents(CELL) if cells is None else cells
    rows, cols = np.arange(cells.row, cells.bottom), np.arange(cells.col, cells.right)
    return found.winners(found.samples(rows, cols))


PLAN = {
    "town": box(0, 100, 200, 200),
    "wood": Polygon([(0, 0), (113, 3), (71, 100), (0, 100)]),
    "lake": box(60, 80, 94, 124),
}


def test_a_cell_goes_by_the_polygon_that_it_lies_in() -> None:
    found = numbers(cover(PLAN))
    assert found.shape == (20, 20)
    assert (found[:7] == 0).all()  # rows grow southwards: the town is on top
    assert (found[12:, :5] == 1).all()
    assert (found[8:12, 6:9] == 2).all()
    assert (found[10:, 12:] == -1).all()  # a gap


def test_a_cell_goes_by_what_holds_on_most_of_it() -> None:
    for width in (4.0, 6.0):  # metres of the ten of a cell
        found = numbers(cover({"a": box(0, 0, 50 + width, 200)}))
        assert (found[:, :5] == 0).all()
        assert (found[:, 5] == (0 if width > 5 else -1)).all()
        assert (found[:, 6:] == -1).all()
    many = cover([("a", box(0, 0, 3, 200)), ("b", box(3, 0, 7, 200)), ("a", box(7, 0, 10, 200))])
    assert (numbers(many)[:, 0] == 0).all()  # the same words add up


def test_words_go_before_none_in_a_tie_and_later_ones_before_others() -> None:
    tied = {"a": box(0, 0, 4, 200), "b": box(6, 0, 10, 200)}
    assert (numbers(cover(tied))[:, 0] == 1).all()
    nothing = {"a": box(0, 0, 4, 200), "b": box(4, 0, 6, 200)}  # two fifths have no words
    assert (numbers(cover(nothing))[:, 0] == 0).all()


def test_later_polygons_lie_on_top() -> None:
    pairs = [("wood", box(0, 0, 150, 150)), ("lake", box(50, 50, 200, 200))]
    first, second = cover(pairs), cover(pairs[::-1])
    both = slice(5, 15)
    assert (numbers(first)[both, both] == 1).all()
    assert (numbers(second)[both, both] == 1).all()  # the wood, number 1 here
    assert second.polygons.distinct[1] == "wood"


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:26911", "EPSG:2229"])
def test_the_crs_of_the_file_does_not_matter(crs: str) -> None:
    assert np.array_equal(numbers(cover(PLAN, crs)), numbers(cover(PLAN)))


def test_edges_are_straight_as_they_were_drawn() -> None:
    """A long edge along a parallel bends in UTM; the cells follow the parallel."""
    band = geopandas.GeoDataFrame({"text": ["a"]}, geometry=[box(-120, 34, -114, 35)], crs=4326)
    polygons = read_polygons(band, "text")
    for lon in (-119.9, -117.0, -114.1):
        place = box_grid((lon, 34.999, lon + 0.002, 35.001), None, UTM, 1.0)
        found = numbers(Cover(polygons, place, CELL))
        assert (found[:8] == -1).all()
        assert (found[-8:] == 0).all()


def test_any_window_of_any_grid_says_the_same() -> None:
    whole = cover(PLAN, "EPSG:4326")
    cells = whole.grid.latents(CELL)
    for part in (Window(cells.row + 3, cells.col + 4, 7, 9), Window(cells.row, cells.col, 1, 1)):
        assert np.array_equal(numbers(whole, part), numbers(whole)[part.within(cells)])
    east = cover(PLAN, "EPSG:4326", bounds=(X + 70.5, Y + 31.5, X + 260, Y + 240))
    beyond = east.grid.latents(CELL)
    common = cells.intersect(beyond)
    assert common is not None
    assert np.array_equal(
        numbers(whole)[common.within(cells)], numbers(east)[common.within(beyond)]
    )


def test_a_place_off_the_map_of_the_file_is_a_gap() -> None:
    far = box_grid((120.0, 34.0, 120.002, 34.002), None, None, 1.0)
    found = cover(PLAN)
    away = Cover(found.polygons, far, CELL)
    assert (numbers(away) == -1).all()


def test_a_pixel_is_measured_on_the_ground() -> None:
    down, across = cover(PLAN).pixel_metres(np.array([-Y * 1.0]), np.array([X * 1.0]))
    assert down[0] == pytest.approx(1, abs=1e-3)
    assert across[0] == pytest.approx(1, abs=1e-3)
    degrees = box_grid((-117.76, 34.09, -117.759, 34.091), None, "EPSG:4326", 1e-5)
    place = Cover(cover(PLAN).polygons, degrees, CELL)
    row, col = np.array([[degrees.row, 0.0]]), np.array([[degrees.col, 0.0]])
    down, across = place.pixel_metres(row, col)
    assert down.shape == (1, 2)
    assert down[0] == pytest.approx([1.109, 1.106], abs=1e-3)
    assert across[0] == pytest.approx([1.113 * np.cos(np.radians(34.09)), 1.113], abs=2e-3)


def test_polygons_have_to_meet_the_box() -> None:
    found = cover(PLAN, "EPSG:4326", bounds=(X + 900, Y, X + 1000, Y + 100))
    with pytest.raises(DataError, match=r"no polygon of .* reach over -117.7\d+, .* the box over"):
        found.check_inside()
    cover(PLAN, "EPSG:4326", bounds=(X + 199, Y + 199, X + 300, Y + 300)).check_inside()
    beside = cover(
        {"a": Polygon([(0, 0), (200, 0), (0, 200)])}, bounds=(X + 150, Y + 150, X + 190, Y + 190)
    )
    with pytest.raises(DataError, match="no polygon"):  # their bounds meet, they do not
        beside.check_inside()


def test_a_grid_without_crs_is_refused() -> None:
    pixels = PixelGrid(GeoBox((10, 10), Affine.identity(), None), 0, 0)
    with pytest.raises(DataError, match="the grid has no CRS"):
        Cover(cover(PLAN).polygons, pixels, CELL)
