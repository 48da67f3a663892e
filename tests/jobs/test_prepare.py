"""Preparing cuts equal patches, says where they lie, and keeps places on one side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Geod, Transformer
from rasterio.warp import transform_bounds

from geodiff.errors import DataError, OutputError, UsageError
from geodiff.jobs.dataset import PatchSet, write_set
from geodiff.jobs.prepare import PrepareConfig, prepare, split_of
from tests.jobs.rasters import UTM, read_raster, texture, write_raster

SMALL = PrepareConfig(patch=32, val_fraction=0.3)


def run(source: Path | list[Path], out: Path, config: PrepareConfig = SMALL) -> PatchSet:
    sources = source if isinstance(source, list) else [source]
    for _ in prepare([str(path) for path in sources], out, config):
        pass
    return PatchSet.open(out)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder with one raster of 96 x 70 px: three rows of two patches."""
    folder = tmp_path / "raw"
    folder.mkdir()
    write_raster(folder / "scene.tif", texture(96, 70))
    return folder


def test_patches_are_crops_of_the_raster(raw: Path, tmp_path: Path) -> None:
    steps = list(prepare([str(raw)], tmp_path / "set", SMALL))
    assert [(step.done, step.total) for step in steps] == [(1, 1)]
    patches = PatchSet.open(tmp_path / "set")
    assert patches.pixels.shape == (6, 32, 32, 3)
    assert patches.pixels.dtype == np.uint8
    image = np.moveaxis(read_raster(raw / "scene.tif"), 0, -1)
    for pixels, name in zip(patches.pixels, patches.table["name"], strict=True):
        row, col = map(int, name.split("_")[1:])
        assert np.array_equal(pixels, image[row : row + 32, col : col + 32])


def test_stride_makes_patches_overlap(raw: Path, tmp_path: Path) -> None:
    assert len(run(raw, tmp_path / "set", replace(SMALL, stride=16)).pixels) == 5 * 3


def test_footprint_is_where_the_patch_lies(raw: Path, tmp_path: Path) -> None:
    table = run(raw, tmp_path / "set").table
    assert table.crs == "EPSG:4326"
    for name, outline in zip(table["name"], table.geometry, strict=True):
        row, col = map(int, name.split("_")[1:])
        left, top = UTM.c + 0.6 * col, UTM.f - 0.6 * row
        right, bottom = left + 0.6 * 32, top - 0.6 * 32
        wanted = transform_bounds("EPSG:32610", "EPSG:4326", left, bottom, right, top)
        assert outline.bounds == pytest.approx(wanted, abs=1e-8)
        area = abs(Geod(ellps="WGS84").geometry_area_perimeter(outline)[0])
        assert area == pytest.approx((32 * 0.6) ** 2, rel=2e-3)
    again = gpd.read_parquet(tmp_path / "set" / "patches.parquet")
    assert bool((again.geometry == table.geometry).all())


def test_footprint_after_resampling(raw: Path, tmp_path: Path) -> None:
    patches = run(raw, tmp_path / "set", replace(SMALL, res=1.2, patch=16))
    assert patches.pixels.shape == (3 * 2, 16, 16, 3)
    assert patches.gsd == pytest.approx(1.2)
    area = abs(Geod(ellps="WGS84").geometry_area_perimeter(patches.table.geometry[0])[0])
    assert area == pytest.approx((16 * 1.2) ** 2, rel=2e-3)
    image = read_raster(raw / "scene.tif").astype(float)
    mean = image[:, :32, :32].reshape(3, 16, 2, 16, 2).mean((2, 4))
    assert np.abs(np.moveaxis(patches.pixels[0], -1, 0) - mean).max() <= 1


def test_nodata_is_left_out(tmp_path: Path) -> None:
    pixels = np.maximum(texture(64, 64), 1)
    pixels[:, 40, 50] = 0
    write_raster(tmp_path / "hole.tif", pixels, nodata=0)
    names = set(run(tmp_path / "hole.tif", tmp_path / "set").table["name"])
    assert names == {"hole_0_0", "hole_0_32", "hole_32_0"}


def test_near_infrared_that_is_called_alpha_is_no_mask(tmp_path: Path) -> None:
    pixels = np.concatenate([texture(32, 64), texture(32, 64, 5)[:1] // 3])
    write_raster(tmp_path / "naip.tif", pixels)
    with rasterio.open(tmp_path / "naip.tif") as dataset:
        assert dataset.colorinterp[3].name == "alpha"
    assert run(tmp_path / "naip.tif", tmp_path / "set").pixels.shape == (2, 32, 32, 3)


def test_duplicates_are_kept_once(raw: Path, tmp_path: Path) -> None:
    write_raster(raw / "twin.tif", texture(96, 70))
    assert len(run(raw, tmp_path / "set").pixels) == 6


def test_places_never_stand_on_both_sides(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for place in range(20):
        for year in (2016, 2018):
            seed = 10 * place + year
            write_raster(raw / f"p{place:02d}_{year}.tif", texture(32, 64, seed))
    table = run(raw, tmp_path / "set", replace(SMALL, place=r"(p\d+)_\d+")).table
    assert set(table["split"]) == {"train", "val"}
    assert len(set(table["place"])) == 20
    assert (table.groupby("place")["split"].nunique() == 1).all()


def test_split_is_stable_and_of_the_size_asked_for() -> None:
    names = [f"place {number}" for number in range(2000)]
    share = np.mean([split_of(name, 0.2) == "val" for name in names])
    assert share == pytest.approx(0.2, abs=0.03)
    larger = {name for name in names if split_of(name, 0.4) == "val"}
    assert {name for name in names if split_of(name, 0.2) == "val"} <= larger
    assert all(split_of(name, 0.0) == "train" for name in names)


def table_of(tmp_path: Path, text: str) -> PrepareConfig:
    (tmp_path / "table.csv").write_text(text)
    return replace(SMALL, split_table=str(tmp_path / "table.csv"))


def test_table_gives_split_label_and_place(raw: Path, tmp_path: Path) -> None:
    write_raster(raw / "other.tif", texture(32, 32, 3))
    text = "\ufeffname,split,label,location\nscene,val,harbour,L1\nother,train,field,L2\n"
    table = run(raw, tmp_path / "set", table_of(tmp_path, text)).table.set_index("source")
    scene = table.loc[str(raw / "scene.tif")].iloc[0]
    other = table.loc[str(raw / "other.tif")]
    assert (scene["split"], scene["label"], scene["place"]) == ("val", "harbour", "L1")
    assert (other["split"], other["label"], other["place"]) == ("train", "field", "L2")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("file,split\nscene,val\n", UsageError, "no column 'name'; its columns are file, split"),
        ("name,split\nscene.tif,val\n", DataError, "names none of the 2 files.*such as other"),
        (
            "name,split,location\nscene,val,here\nother,train,here\n",
            DataError,
            "place here is in more than one split",
        ),
    ],
)
def test_tables_that_make_no_sense(
    raw: Path, tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    write_raster(raw / "other.tif", texture(32, 32, 3))
    with pytest.raises(error, match=message):
        run(raw, tmp_path / "set", table_of(tmp_path, text))
    assert not (tmp_path / "set").exists()


def test_table_that_is_not_there(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the table"):
        run(raw, tmp_path / "set", replace(SMALL, split_table=str(tmp_path / "none.csv")))


def test_without_crs_the_distance_must_be_given(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "photo.png", texture(64, 64), crs=None)
    with pytest.raises(UsageError, match="has no CRS: give its metres per pixel with --gsd"):
        run(path, tmp_path / "set")
    patches = run(path, tmp_path / "set", replace(SMALL, gsd=0.3))
    assert patches.gsd == 0.3
    assert patches.table.geometry.isna().all()


def test_web_mercator_counts_in_ground_metres(tmp_path: Path) -> None:
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(85.5, 60.0)
    place = Affine(1.0, 0, x, 0, -1.0, y)
    path = write_raster(tmp_path / "mercator.tif", texture(32, 32), "EPSG:3857", place)
    assert run(path, tmp_path / "set").gsd == pytest.approx(0.5, rel=0.01)


def test_feet_count_in_metres(tmp_path: Path) -> None:
    place = Affine(2.0, 0, 6_000_000.0, 0, -2.0, 2_100_000.0)
    path = write_raster(tmp_path / "feet.tif", texture(32, 32), "EPSG:2227", place)
    assert run(path, tmp_path / "set").gsd == pytest.approx(2 * 0.3048006, rel=1e-6)


def test_degrees_are_refused(tmp_path: Path) -> None:
    place = Affine(1e-5, 0, -120, 0, -1e-5, 37)
    path = write_raster(tmp_path / "degrees.tif", texture(32, 32), "EPSG:4326", place)
    with pytest.raises(DataError, match="is in degrees; reproject"):
        run(path, tmp_path / "set")


def test_rotated_rasters_are_refused(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "turned.tif", texture(32, 32), transform=Affine(0.5, 0.3, 5e5, 0.3, -0.5, 4e6)
    )
    with pytest.raises(DataError, match="rotated"):
        run(path, tmp_path / "set")


def test_sources_of_two_sizes_are_refused(raw: Path, tmp_path: Path) -> None:
    write_raster(raw / "near.tif", texture(32, 32, 1), transform=Affine(0.62, 0, 0, 0, -0.62, 0))
    assert len(run(raw, tmp_path / "set").pixels) == 7
    write_raster(raw / "far.tif", texture(32, 32, 2), transform=Affine(1, 0, 0, 0, -1, 0))
    with pytest.raises(DataError, match=r"0\.6 to 1 m per pixel: prepare each size"):
        run(raw, tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()
    patches = run(raw, tmp_path / "mixed", replace(SMALL, res=1.0))
    assert set(patches.table["gsd"]) == {1.0}


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (texture(32, 32)[:1], "1 bands of uint8; 3 bands of uint8"),
        (texture(32, 32).astype(np.uint16), "3 bands of uint16; 3 bands of uint8"),
    ],
)
def test_rasters_of_another_kind(tmp_path: Path, pixels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(write_raster(tmp_path / "odd.tif", pixels), tmp_path / "set")


def test_rasters_that_cannot_be_read(raw: Path, tmp_path: Path) -> None:
    (raw / "broken.tif").write_bytes(b"II*\0 no raster")
    with pytest.raises(DataError, match=r"broken\.tif cannot be opened"):
        run(raw, tmp_path / "set")
    assert len(run(raw, tmp_path / "set", replace(SMALL, exclude="^brok")).pixels) == 6


def test_nothing_to_prepare(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no raster found in"):
        run(tmp_path / "*.jp2", tmp_path / "set")
    with pytest.raises(DataError, match="no patch of 256 px came out of 1 files"):
        run(raw, tmp_path / "set", PrepareConfig())
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 15}, "patch 15 must be at least 16"),
        ({"stride": 0}, "stride at least 1"),
        ({"val_fraction": 1.0}, "must be in 0..1"),
        ({"gsd": 0.0}, r"gsd 0\.0 must be above 0"),
        ({"res": float("nan")}, "res nan must be above 0"),
        ({"place": "(a"}, "is no regular expression"),
        ({"place": "abc"}, "has no group"),
        ({"exclude": "["}, "is no regular expression"),
    ],
)
def test_configurations_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PrepareConfig(**changes)


@pytest.mark.parametrize("moment", ["patches.tmp.parquet", "pixels.npy", "patches.parquet"])
def test_killed_while_writing_leaves_nothing_that_opens_half(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    out = tmp_path / "set"
    run(raw, out)
    write_raster(raw / "new.tif", texture(64, 64, 9))
    real = {"replace": __import__("os").replace, "parquet": gpd.GeoDataFrame.to_parquet}

    def replacing(old: Path, new: Path) -> None:
        if Path(new).name == moment:
            raise KeyboardInterrupt
        real["replace"](old, new)

    def writing(self: gpd.GeoDataFrame, path: Path) -> None:
        if Path(path).name == moment:
            raise KeyboardInterrupt
        real["parquet"](self, path)

    with monkeypatch.context() as patch:
        patch.setattr("geodiff.jobs.dataset.os.replace", replacing)
        patch.setattr(gpd.GeoDataFrame, "to_parquet", writing)
        with pytest.raises(KeyboardInterrupt):
            run(raw, out)
    if moment == "patches.tmp.parquet":
        assert len(PatchSet.open(out).pixels) == 6  # the former set, whole
    else:
        with pytest.raises(DataError, match="is not a prepared dataset"):
            PatchSet.open(out)
    assert len(run(raw, out).pixels) == 10
    assert {path.name for path in out.iterdir()} == {"pixels.npy", "patches.parquet"}


def test_a_folder_that_cannot_be_written(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write the dataset into"):
        run(raw, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_pixels_and_rows_must_fit(raw: Path, tmp_path: Path) -> None:
    patches = run(raw, tmp_path / "set")
    write_set(tmp_path / "odd", list(patches.pixels), patches.table.iloc[:-1])
    with pytest.raises(DataError, match="6 patches but 5 rows"):
        PatchSet.open(tmp_path / "odd")
