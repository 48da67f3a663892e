"""A saved grid is the grid: every format gives back every bit, or one line about what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pyogrio
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from pyproj import CRS as ProjCRS

from geodiff.errors import DataError, OutputError, UsageError
from geodiff.geo import embedding_formats
from geodiff.geo.embedding_formats import check_grid_target, format_of
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.window import Window
from tests.geo.test_embeddings import BOX, embedding, file_size_limit

SUFFIXES = ("tif", "zarr", "parquet")
OTHERS = ("zarr", "parquet")
LOCAL = "+proj=tmerc +lat_0=48 +lon_0=11.2 +k=0.9999 +x_0=3 +datum=WGS84"

pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")


def gappy(pixels: PixelGrid) -> EmbeddingGrid:
    """Cells of 16 px; one in the second row, and the whole last column, are invalid."""
    made = embedding(pixels, cell=16, gsd=0.1 + 0.2)
    holes = made.valid.copy()
    holes[1, 2] = holes[:, -1] = False
    return replace(made, valid=holes, encoder="vit-é 1", source="scène 1.tif\nb.tif")


@pytest.fixture
def grid() -> EmbeddingGrid:
    return gappy(box_grid(BOX, res=0.6))


def files(path: Path) -> dict[str, bytes]:
    """Content of a file, or of all files in a folder."""
    parts = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    return {str(part.relative_to(path.parent)): part.read_bytes() for part in parts}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["world", "noisy", "cropped", "plain", "degrees", "local"])
def test_every_format_gives_back_every_bit(
    tmp_path: Path, noisy_rgb: Path, kind: str, suffix: str
) -> None:
    noisy = raster_grid(noisy_rgb)
    pixels = {
        "world": box_grid(BOX, res=0.6),
        "noisy": noisy,
        "cropped": noisy.crop(Window(130, -70, 60, 200)),
        "plain": PixelGrid(GeoBox((96, 128), Affine.identity(), None), 0, 0),
        "degrees": box_grid(BOX, res=6e-6, crs="EPSG:4326"),
        "local": box_grid(BOX, res=0.6, crs=CRS(LOCAL)),
    }[kind]
    made = replace(gappy(pixels), pixels=pixels.window)
    made.save(tmp_path / f"e.{suffix}")
    opened = EmbeddingGrid.open(str(tmp_path / f"e.{suffix}"))
    assert opened.values.tobytes() == made.values.tobytes()
    np.testing.assert_array_equal(opened.valid, made.valid)
    assert tuple(opened.grid.geobox.affine) == tuple(made.grid.geobox.affine)
    assert opened.grid == made.grid
    assert opened.facts == made.facts
    assert opened.pixels == pixels.window
    assert opened == made or (kind, suffix) == ("local", "tif")  # GDAL words such a CRS anew
    assert [path.name for path in tmp_path.glob("*e.*")] == [f"e.{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_grid_without_any_valid_cell_is_kept_too(
    tmp_path: Path, grid: EmbeddingGrid, suffix: str
) -> None:
    empty = replace(grid, valid=np.zeros_like(grid.valid))
    empty.save(tmp_path / f"e.{suffix}")
    assert EmbeddingGrid.open(tmp_path / f"e.{suffix}") == empty


def test_chunks_and_row_groups_join(tmp_path: Path) -> None:
    long = embedding(box_grid(BOX, res=0.6), cell=2)  # more than 64 cells a side, 16384 in all
    assert long.valid.size > 16384
    for suffix in OTHERS:
        long.save(tmp_path / f"e.{suffix}")
        assert EmbeddingGrid.open(tmp_path / f"e.{suffix}") == long


def test_the_suffix_tells_the_format() -> None:
    assert [format_of(f"a.{s}") for s in SUFFIXES] == ["GeoTIFF", "Zarr", "GeoParquet"]
    assert format_of("B.PARQUET") == "GeoParquet"
    assert format_of("grid.zarr/") == "Zarr"
    assert format_of("https://example.org/g.tif?sig=a.zarr") == "GeoTIFF"


@pytest.mark.parametrize("name", ["e.npy", "e", "e.parquet.zip"])
def test_another_suffix_is_refused(tmp_path: Path, grid: EmbeddingGrid, name: str) -> None:
    for act in (grid.save, EmbeddingGrid.open):
        with pytest.raises(UsageError, match=r"does not end in \.tif, \.tiff, \.zarr, \.parquet"):
            act(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", OTHERS)
def test_a_missing_file_is_one_line(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DataError, match="does not exist"):
        EmbeddingGrid.open(tmp_path / f"e.{suffix}")
    (tmp_path / f"e.{suffix}").write_bytes(b"") if suffix == "zarr" else (
        tmp_path / f"e.{suffix}"
    ).mkdir()
    with pytest.raises(DataError, match="directory"):
        EmbeddingGrid.open(tmp_path / f"e.{suffix}")


@pytest.mark.parametrize("suffix", OTHERS)
def test_a_truncated_file_is_one_line(tmp_path: Path, grid: EmbeddingGrid, suffix: str) -> None:
    grid.save(tmp_path / f"e.{suffix}")
    for name, content in files(tmp_path / f"e.{suffix}").items():
        if suffix == "zarr" and "/embedding/" not in name:
            continue  # not needed: the array tells all
        for length in {0, 1, len(content) // 3, len(content) // 2, len(content) - 1}:
            (tmp_path / name).write_bytes(content[:length])
            with pytest.raises(DataError, match=r"cannot be read|lacks") as caught:
                EmbeddingGrid.open(tmp_path / f"e.{suffix}")
            assert "\n" not in str(caught.value)
            assert f"e.{suffix}" in str(caught.value)
        (tmp_path / name).write_bytes(content)
    assert EmbeddingGrid.open(tmp_path / f"e.{suffix}") == grid


@pytest.mark.parametrize("suffix", OTHERS)
def test_one_wrong_bit_in_a_vector_is_noticed(
    tmp_path: Path, grid: EmbeddingGrid, suffix: str
) -> None:
    path = tmp_path / f"e.{suffix}"
    grid.save(path)
    inside = path if suffix == "parquet" else path / "embedding" / "0.0.0"
    content = bytearray(inside.read_bytes())
    content[len(content) // 3] ^= 1  # far from head and foot
    inside.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as"):
        EmbeddingGrid.open(path)


def test_a_lost_chunk_is_no_hole(tmp_path: Path, grid: EmbeddingGrid) -> None:
    grid.save(tmp_path / "e.zarr")
    (tmp_path / "e.zarr" / "embedding" / "0.0.0").unlink()
    with pytest.raises(DataError, match="lacks 1 of 1 chunks: copy it again"):
        EmbeddingGrid.open(tmp_path / "e.zarr")


@pytest.mark.parametrize("suffix", OTHERS)
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, grid: EmbeddingGrid, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"e.{suffix}"
    for old in (None, grid.crop(grid.grid.crop(grid.grid.window).window)):
        if old is not None:
            old.save(path)
        before = files(path) if path.exists() else {}
        with (
            file_size_limit(3000),
            pytest.raises(OutputError, match=r"cannot write .*free on that disk") as caught,
        ):
            embedding(box_grid(BOX, res=0.6), cell=4).save(path)
        assert "\n" not in str(caught.value)
        assert (files(path) if path.exists() else {}) == before
        assert [part.name for part in tmp_path.iterdir()] == ([path.name] if before else [])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", OTHERS)
def test_saving_again_replaces_all_of_it(tmp_path: Path, grid: EmbeddingGrid, suffix: str) -> None:
    path = tmp_path / f"e.{suffix}"
    embedding(box_grid(BOX, res=0.6), cell=2).save(path)
    grid.save(path)
    grid.save(tmp_path / f"f.{suffix}")
    other = files(tmp_path / f"f.{suffix}")
    assert {name.replace("f.", "e.", 1): data for name, data in other.items()} == files(path)
    assert EmbeddingGrid.open(path) == grid


def test_a_store_that_cannot_be_placed_leaves_the_old_one(
    tmp_path: Path, grid: EmbeddingGrid
) -> None:
    grid.save(tmp_path / "e.zarr")
    (tmp_path / "part.zarr").mkdir()
    (tmp_path / "inside").mkdir()
    missing = tmp_path / "inside" / "missing.zarr"
    with pytest.raises(OSError, match="No such file"):
        embedding_formats._put(missing, tmp_path / "e.zarr")
    assert EmbeddingGrid.open(tmp_path / "e.zarr") == grid


def test_a_folder_is_replaced_only_if_it_is_a_store(tmp_path: Path, grid: EmbeddingGrid) -> None:
    folder = tmp_path / "photos.zarr"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"dear")
    for act in (lambda: grid.save(folder), lambda: check_grid_target(folder, True)):
        with pytest.raises(OutputError, match="is a directory, but no Zarr"):
            act()
    assert files(folder) == {"photos.zarr/holiday.jpg": b"dear"}
    (tmp_path / "e.parquet").mkdir()
    with pytest.raises(OutputError, match="is a directory"):
        grid.save(tmp_path / "e.parquet")


def test_targets_are_checked_before_any_work(tmp_path: Path, grid: EmbeddingGrid) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"e.{suffix}"
        check_grid_target(path, False)
        grid.save(path)
        with pytest.raises(OutputError, match="exists: give --overwrite"):
            check_grid_target(path, False)
        check_grid_target(path, True)
        with pytest.raises(UsageError, match="is a source"):
            check_grid_target(path, True, (str(path),))
    inside = tmp_path / "e.zarr" / "a.tif"
    with pytest.raises(UsageError, match="holds a source"):
        check_grid_target(tmp_path / "e.zarr", True, (str(inside),))
    with pytest.raises(OutputError, match="does not exist: make it first"):
        check_grid_target(tmp_path / "no" / "e.zarr", True)


def test_geopandas_opens_a_polygon_for_each_valid_cell(tmp_path: Path, grid: EmbeddingGrid) -> None:
    grid.save(tmp_path / "e.parquet")
    frame = geopandas.read_parquet(tmp_path / "e.parquet")
    assert frame.crs.to_epsg() == 32632
    assert len(frame) == grid.valid.sum()
    assert frame.attrs["GEODIFF_ENCODER"] == "vit-é 1"
    affine, corner = grid.grid.geobox.affine, grid.grid
    for _, line in frame.iterrows():
        row, col = line["row"] - corner.row, line["col"] - corner.col
        np.testing.assert_array_equal(line["embedding"], grid.values[row, col])
        left, top = affine.c + col * affine.a, affine.f + row * affine.e
        assert line["geometry"].bounds == (
            left, affine.f + (row + 1) * affine.e, affine.c + (col + 1) * affine.a, top
        )  # fmt: skip
    assert frame.geometry.is_valid.all()
    assert frame.geometry.exterior.is_ccw.all()
    frame.drop(columns="embedding").to_file(tmp_path / "e.gpkg")
    assert pyogrio.read_info(tmp_path / "e.gpkg")["features"] == grid.valid.sum()


def test_rows_left_out_in_geopandas_are_holes(tmp_path: Path, grid: EmbeddingGrid) -> None:
    grid.save(tmp_path / "e.parquet")
    frame = geopandas.read_parquet(tmp_path / "e.parquet")
    frame.sample(frac=0.5, random_state=0).to_parquet(tmp_path / "half.parquet")
    half = EmbeddingGrid.open(tmp_path / "half.parquet")
    assert half.grid == grid.grid
    assert half.valid.sum() == round(grid.valid.sum() / 2)
    np.testing.assert_array_equal(half.values[half.valid], grid.values[half.valid])
    frame["embedding"] = [None, *frame["embedding"][1:]]
    frame.to_parquet(tmp_path / "less.parquet")
    assert EmbeddingGrid.open(tmp_path / "less.parquet").valid.sum() == grid.valid.sum() - 1


def test_the_metadata_is_that_of_geoparquet(tmp_path: Path, noisy_rgb: Path) -> None:
    for pixels in (
        raster_grid(noisy_rgb), PixelGrid(GeoBox((96, 128), Affine.identity(), None), 0, 0),
    ):  # fmt: skip
        gappy(pixels).save(tmp_path / "e.parquet")
        schema = pyarrow.parquet.read_schema(tmp_path / "e.parquet")
        geo = json.loads(schema.metadata[b"geo"])
        assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
        column = geo["columns"]["geometry"]
        assert (column["encoding"], column["geometry_types"]) == ("WKB", ["Polygon"])
        left, low, right, high = column["bbox"]
        assert (right - left, high - low) == pytest.approx(
            (128 * pixels.geobox.affine.a, 96 * abs(pixels.geobox.affine.e))
        )
        known = column["crs"] and ProjCRS.from_json_dict(column["crs"])
        assert known == (pixels.crs and pixels.crs.proj)
        assert schema.field("geometry").type == pyarrow.binary()
        frame = geopandas.read_parquet(tmp_path / "e.parquet")
        assert (frame.crs is None) == (pixels.crs is None)


Change = Callable[[pandas.DataFrame], pandas.DataFrame]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns=["row", "embedding"]), "lacks the columns row, embedding"),
        (lambda f: pandas.concat([f, f.iloc[3:5]]), r"row -?\d+, col \d+ is there twice \(and 1"),
        (lambda f: f.assign(row=f["row"] + 1), r"lies outside of its grid \(and"),
        (lambda f: f.assign(embedding=[v[:-1] for v in f["embedding"]]), "vectors of 6 to 6"),
        (lambda f: f.assign(embedding=[2 * v for v in f["embedding"]]), "must be unit vectors"),
        (lambda f: f.assign(embedding="a"), "make no embedding grid of 7 features"),
        (lambda f: f.assign(col=f["col"] + 0.5), "make no embedding grid"),
        (lambda f: f.assign(col=[None, *f["col"][1:]]), "without row or col"),
        (lambda f: f.set_axis(f.index).pipe(stripped), "lacks the tags GEODIFF_ENCODER"),
        (lambda f: stripped(f, "GEODIFF_SHAPE"), "no usable GEODIFF_TRANSFORM"),
        (lambda f: stripped(f, "GEODIFF_GSD", "much"), "damaged GEODIFF tags"),
    ],
)
def test_rows_that_make_no_grid_are_refused(
    tmp_path: Path, grid: EmbeddingGrid, change: Change, message: str
) -> None:
    path = tmp_path / "e.parquet"
    grid.save(path)
    frame = geopandas.read_parquet(path)
    changed = change(frame)
    if not changed.attrs and "lacks the tags" not in message:
        changed.attrs = frame.attrs
    changed.to_parquet(path)
    with pytest.raises(DataError, match=message) as caught:
        EmbeddingGrid.open(path)
    assert "\n" not in str(caught.value)


def stripped(frame: pandas.DataFrame, name: str = "", text: str | None = None) -> pandas.DataFrame:
    """A copy without its attributes, or with one of them removed or replaced."""
    copy = frame.copy()
    copy.attrs = dict(frame.attrs) if name else {}
    if name:
        del copy.attrs[name]
    if text is not None:
        copy.attrs[name] = text
    return copy


def test_a_parquet_of_something_else_is_refused(tmp_path: Path) -> None:
    pandas.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="lacks the columns row, col, embedding"):
        EmbeddingGrid.open(tmp_path / "a.parquet")


@pytest.mark.parametrize("kind", ["noisy", "plain"])
def test_xarray_gdal_and_rasterio_open_the_store_in_its_place(
    tmp_path: Path, noisy_rgb: Path, kind: str
) -> None:
    noisy, plain = raster_grid(noisy_rgb), GeoBox((96, 128), Affine.identity(), None)
    made = gappy(noisy if kind == "noisy" else PixelGrid(plain, 0, 0))
    made.save(tmp_path / "e.zarr")
    with xarray.open_dataset(tmp_path / "e.zarr", engine="zarr", chunks=None) as data:
        array = data["embedding"]
        np.testing.assert_array_equal(array.values, np.moveaxis(made.values, 2, 0))
        assert array.rio.crs == (None if kind == "plain" else "EPSG:26911")
        assert array.rio.transform() == made.grid.geobox.affine
        names = [entry["name"] for entry in data.attrs["zarr_conventions"]]
        assert names == (["spatial:"] if kind == "plain" else ["spatial:", "proj:"])
        assert array.attrs["spatial:transform"] == list(made.grid.geobox.affine)[:6]
        assert array.attrs["spatial:shape"] == list(made.valid.shape)
        assert array.attrs.get("proj:code") == (None if kind == "plain" else "EPSG:26911")
        assert array.attrs["GEODIFF_ENCODER"] == "vit-é 1"
    if kind == "noisy":
        with rasterio.open(f'ZARR:"{tmp_path / "e.zarr"}":/embedding') as raster:
            assert raster.crs == "EPSG:26911"
            assert raster.transform.almost_equals(made.grid.geobox.affine, 1e-6)
            np.testing.assert_array_equal(raster.read(), np.moveaxis(made.values, 2, 0))


def test_a_crs_without_a_code_is_told_as_wkt(tmp_path: Path) -> None:
    made = gappy(box_grid(BOX, res=0.6, crs=CRS(LOCAL)))
    made.save(tmp_path / "e.zarr")
    with xarray.open_dataset(tmp_path / "e.zarr", engine="zarr", chunks=None) as data:
        assert "proj:code" not in data.attrs
        assert ProjCRS.from_wkt(data.attrs["proj:wkt2"]) == ProjCRS(LOCAL)


def test_a_store_changed_in_xarray_opens_or_says_what_is_missing(
    tmp_path: Path, grid: EmbeddingGrid
) -> None:
    grid.save(tmp_path / "e.zarr")
    with xarray.open_dataset(tmp_path / "e.zarr", engine="zarr", chunks=None) as data:
        data = data.load()
    changed = {
        "again": data.transpose("y", "x", "feature"),
        "part": data.isel(y=slice(1, 3)),
        "double": data.astype(np.float64),
        "other": data.rename(embedding="ndvi"),
        "bare": data.assign(embedding=data["embedding"].assign_attrs({"spatial:transform": 7})),
        "nowhere": data.assign(embedding=data["embedding"].assign_attrs({"proj:code": "EPSG:1"})),
        "nobody": data.assign(embedding=data["embedding"].drop_attrs()),
    }
    for name, what in changed.items():
        what.drop_encoding().to_zarr(tmp_path / f"{name}.zarr", zarr_format=3, consolidated=False)
    assert EmbeddingGrid.open(tmp_path / "again.zarr") == grid
    for name, message in {
        "part": r"has 2 x \d+ cells, but attributes of",
        "double": "holds float64 numbers",
        "other": "has no array embedding",
        "bare": "no usable attributes spatial:transform",
        "nowhere": "no usable attributes",
        "nobody": "lacks the tags GEODIFF_ENCODER",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            EmbeddingGrid.open(tmp_path / f"{name}.zarr")
        assert "\n" not in str(caught.value)
    shutil.rmtree(tmp_path / "again.zarr" / "embedding")
    with pytest.raises(DataError, match="has no array embedding"):
        EmbeddingGrid.open(tmp_path / "again.zarr")
