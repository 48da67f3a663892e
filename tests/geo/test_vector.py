"""Polygons are read from any vector file, mended and counted; what cannot be used is one line."""

from __future__ import annotations

import pickle
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from geodiff.errors import DataError, GeodiffError, UsageError
from geodiff.geo.vector import LabelledPolygons, read_polygons

SQUARES = [box(0, 0, 10, 10), box(20, 0, 30, 10), box(40, 0, 50, 10)]
BOWTIE = Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
UTM = "EPSG:32611"


def frame(shapes: list[Any] | None = None, crs: str | None = UTM, **columns: Any) -> Any:
    """A table of shapes in metres, by default three squares with a text each."""
    shapes = SQUARES if shapes is None else shapes
    texts = columns or {"text": [f"text {number}" for number in range(len(shapes))]}
    return geopandas.GeoDataFrame(texts, geometry=shapes, crs=crs)


def write(table: Any, path: Path, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a layer without CRS
        table.to_file(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "shp", "parquet", "feather", "fgb"])
def test_every_format_says_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plan.{suffix}"
    table = frame(crs="EPSG:4326")
    if suffix in ("parquet", "feather"):
        getattr(table, f"to_{suffix}")(path)
    else:
        write(table, path)
    found = read_polygons(path, "text")
    order = np.argsort(found.texts) if suffix == "fgb" else [0, 1, 2]  # FlatGeobuf sorts by place
    assert [found.texts[number] for number in order] == ["text 0", "text 1", "text 2"]
    assert shapely.equals(found.geometries[order], table.geometry.to_numpy()).all()
    assert found.name == f"plan.{suffix}"
    assert found.crs.proj.to_epsg() == 4326
    assert found.notes == ()


def test_equal_is_what_paints_the_same(tmp_path: Path) -> None:
    table = frame()
    held = read_polygons(table, "text")
    filed = read_polygons(write(table, tmp_path / "a.gpkg"), "text")
    assert held == filed
    assert hash(held) == hash(filed)
    assert pickle.loads(pickle.dumps(filed)) == filed
    assert read_polygons(write(table, tmp_path / "a.shp"), "text") == held  # turns its rings
    begun = [
        Polygon([*shape.exterior.coords[2:4], *shape.exterior.coords[:2]]) for shape in SQUARES
    ]
    assert read_polygons(frame([MultiPolygon([begun[0]]), *begun[1:]]), "text") == held
    again = pickle.loads(pickle.dumps(read_polygons(table, "text")))
    assert again.texts == held.texts
    for other in (
        frame([*SQUARES[:2], box(40, 0, 50, 11)]), frame(SQUARES[::-1]),
        frame(crs="EPSG:32612"), frame(text=["text 0", "text 1", "text two"]),
    ):  # fmt: skip
        assert read_polygons(other, "text") != held


def test_words_are_tidied_and_silent_polygons_counted() -> None:
    found = read_polygons(frame(text=["  a \n lake ", None, "a lake"]), "text")
    assert found.texts == ("a lake", "a lake")
    assert found.distinct == ("a lake",)
    assert found.bounds == (0, 0, 50, 10)
    assert found.notes == (
        "polygons in memory: 1 of 3 polygons have nothing in text and are left out",
    )
    with pytest.raises(DataError, match="all 3 polygons have nothing in text"):
        read_polygons(frame(text=[None, "", " "]), "text")


def test_invalid_polygons_are_mended() -> None:
    found = read_polygons(frame([BOWTIE, SQUARES[1]]), "text")
    assert shapely.is_valid(found.geometries).all()
    assert found.geometries[0].area == 50
    (note,) = found.notes
    assert "1 of 2 polygons is invalid" in note
    assert "shapely.make_valid" in note


def test_only_areas_count() -> None:
    mixed = GeometryCollection([Point(0, 0), box(0, 0, 10, 10), LineString([(0, 0), (9, 9)])])
    flat = Polygon([(0, 0), (5, 5), (9, 9)])
    shapes = [mixed, Point(1, 1), None, Polygon(), flat, shapely.force_3d(SQUARES[1], 7)]
    found = read_polygons(frame(shapes), "text")
    assert found.texts == ("text 0", "text 5")
    assert [shape.area for shape in found.geometries] == [100, 100]
    assert not shapely.has_z(found.geometries).any()
    assert "4 of 6 features are no polygons" in found.notes[0]


def test_what_is_cut_at_180_degrees_is_taken() -> None:
    halves = MultiPolygon([box(179, 0, 180, 1), box(-180, 0, -179, 1)])
    found = read_polygons(frame([halves, SQUARES[0]], "EPSG:4326"), "text")
    assert found.bounds == (-180, 0, 180, 10)


def test_a_shape_with_an_infinite_corner_is_no_polygon() -> None:
    wild = Polygon([(0, 0), (float("inf"), 1), (1, 1)])
    found = read_polygons(frame([wild, SQUARES[0]]), "text")
    assert found.texts == ("text 1",)


@pytest.mark.parametrize(
    ("table", "attribute", "kind", "message"),
    [
        (frame(), None, UsageError, "give --attribute NAME, .* has text"),
        (frame(), "words", UsageError, "--attribute words is not in polygons in memory: .* text"),
        (frame(), "geometry", UsageError, "--attribute geometry is not in"),
        (frame(text=[1, 2, 3]), "text", DataError, r"holds 1 \(int64\), no words"),
        (frame(text=["a", 2.5, "c"]), "text", DataError, r"holds 2.5 \(object\), no words"),
        (frame(id=[1, 2, 3], kind=["a", "b", "c"]), "id", DataError, "holds text; there is kind$"),
        (frame(id=[1, 2, 3]), "id", DataError, "holds text; there is none$"),
        (frame(crs=None), "text", DataError, "no CRS, so its polygons cannot be placed"),
        (frame(crs="EPSG:4978"), "text", DataError, "is no map"),
        (frame([]), "text", DataError, "is empty: it has no features"),
        (frame([Point(0, 0)]), "text", DataError, "no polygon with an area, only Point"),
        (frame([None]), "text", DataError, "no polygon with an area, only empty geometries"),
        (frame([box(4e5, 4e6, 4.1e5, 4.1e6)], "EPSG:4326"), "text", DataError, "no degrees, but"),
        (frame([box(-179, 0, 179, 1)], "EPSG:4326"), "text", DataError, "antimeridian"),
        (frame([box(179, 0, 181, 1)], "EPSG:4326"), "text", DataError, "antimeridian"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used(
    table: Any, attribute: str | None, kind: type[GeodiffError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        read_polygons(table, attribute)


def layers(tmp_path: Path) -> Path:
    path = write(frame(), tmp_path / "two.gpkg", layer="plan")
    return write(frame(SQUARES[:1]), path, layer="other")


def styled(tmp_path: Path) -> Path:
    """As QGIS leaves it: a table without geometries beside the layer."""
    path = write(frame(), tmp_path / "styled.gpkg", layer="plan")
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE layer_styles (id INTEGER PRIMARY KEY, name TEXT)")
        base.execute(
            "INSERT INTO gpkg_contents (table_name, data_type) VALUES ('layer_styles','attributes')"
        )
    base.close()
    return path


def test_layers_are_chosen(tmp_path: Path) -> None:
    path = layers(tmp_path)
    assert len(read_polygons(path, "text", "plan").texts) == 3
    assert len(read_polygons(path, "text", "other").texts) == 1
    with pytest.raises(UsageError, match="has 2 layers: give --layer, one of plan, other"):
        read_polygons(path, "text")
    with pytest.raises(UsageError, match=r"--layer third is not in two.gpkg: it has plan, other"):
        read_polygons(path, "text", "third")
    with pytest.raises(UsageError, match="names a part of a file"):
        read_polygons(frame(), "text", "plan")
    assert len(read_polygons(styled(tmp_path), "text").texts) == 3


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "no.gpkg", "no.gpkg does not exist"),
        (lambda folder: "", "does not exist"),
        (lambda folder: damaged(folder / "a.gpkg", b"no vector"), "a.gpkg cannot be read as a"),
        (lambda folder: damaged(folder / "a.gpkg", b""), "a.gpkg cannot be read as a vector"),
        (lambda folder: damaged(folder / "a.parquet", b"PAR1"), "a.parquet cannot be read as a"),
        (lambda folder: damaged(folder / "a.geojson", b'{"type": "Fea'), "cannot be read as a"),
        (lambda folder: damaged(folder / "a.csv", b"text,b\n1,2\n"), "a.csv has no geometries"),
        (lambda folder: folder, "cannot be read as a vector"),
        (lambda folder: write(frame(crs=None), folder / "a.gpkg"), "a.gpkg has no CRS"),
        (lambda folder: write(frame(crs=None), folder / "a.shp"), "a.shp has no CRS"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, make: Callable[[Path], str | Path], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_polygons(make(tmp_path), "text")


def test_polygons_are_equal_only_to_polygons() -> None:
    found = read_polygons(frame(), "text")
    assert found != "polygons"
    assert isinstance(found, LabelledPolygons)
