"""Preparing cuts equal patches, says where they lie, and keeps places on one side."""

from __future__ import annotations

import os
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
from geodiff.jobs.datasets.collecting import Summary
from geodiff.jobs.datasets.dataset import PatchSet, write_set
from geodiff.jobs.prepare import PrepareConfig, prepare, split_of
from geodiff.steps import drain
from tests.jobs.rasters import UTM, read_raster, texture, write_raster
from tests.jobs.training.test_checkpoint import room_for

SET_FILES = {"pixels.npy", "patches.parquet", "contact.png"}
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


@pytest.mark.parametrize("several", [False, True])
def test_sources_may_be_paths_or_one_path(raw: Path, tmp_path: Path, several: bool) -> None:
    paths: list[str | Path] = [raw, raw / "scene.tif"] if several else []
    for number, sources in enumerate([paths or raw, paths or str(raw)]):
        list(prepare(sources, tmp_path / f"set{number}", SMALL))
        assert len(PatchSet.open(tmp_path / f"set{number}").pixels) == 6
    with pytest.raises(DataError, match=r"no raster found in nowhere$"):
        list(prepare("nowhere", tmp_path / "set", SMALL))


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
        ("id,split\nscene,val\n", UsageError, "no column 'name'; its columns are id, split"),
        ("name,split\nscene_1,val\n", DataError, "names none of the 2 files.*such as other"),
        (
            "name,split,location\nscene,val,here\nother,train,here\n",
            DataError,
            "place here is in more than one split",
        ),
        ("name,split\nscene,val\nother,Train\n", DataError, "other.tif the split 'Train': only"),
        (
            "name,label\nscene,field\nscene,beach\n",
            DataError,
            "names scene twice, with the labels 'field' and 'beach'",
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
    with pytest.raises(DataError, match=r"0\.62 m per pixel \(near\) to 1 \(far\): .*--exclude"):
        run(raw, tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()
    patches = run(raw, tmp_path / "mixed", replace(SMALL, res=1.0))
    assert set(patches.table["gsd"]) == {1.0}


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (texture(32, 32)[:1], "has 1 band, three are needed: give --bands 1,1,1"),
        (texture(32, 32).astype(np.uint16), "holds uint16 numbers, not bytes: give --scale LO,HI"),
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
        patch.setattr("geodiff.jobs.datasets.dataset.os.replace", replacing)
        patch.setattr(gpd.GeoDataFrame, "to_parquet", writing)
        with pytest.raises(KeyboardInterrupt):
            run(raw, out)
    if moment == "patches.tmp.parquet":
        assert len(PatchSet.open(out).pixels) == 6  # the former set, whole
    else:
        with pytest.raises(DataError, match="is not a prepared dataset"):
            PatchSet.open(out)
    assert len(run(raw, out).pixels) == 10
    assert {path.name for path in out.iterdir()} == SET_FILES


def test_a_folder_that_cannot_be_written(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*file"):
        run(raw, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_pixels_and_rows_must_fit(raw: Path, tmp_path: Path) -> None:
    patches = run(raw, tmp_path / "set")
    write_set(tmp_path / "odd", patches.pixels, patches.table)
    patches.table.iloc[:-1].to_parquet(tmp_path / "odd" / "patches.parquet")
    with pytest.raises(DataError, match="6 patches but 5 rows"):
        PatchSet.open(tmp_path / "odd")


def summary(source: list[Path] | Path, out: Path, config: PrepareConfig) -> Summary:
    sources = source if isinstance(source, list) else [source]
    return drain(prepare(sources, out, config))


def test_summary_counts_what_was_left_out_and_why(raw: Path, tmp_path: Path) -> None:
    holed = np.maximum(texture(64, 64, 5), 1)
    holed[:, 40, 50] = 0
    write_raster(raw / "holed.tif", holed, nodata=0)
    write_raster(raw / "twin.tif", texture(96, 70))
    write_raster(raw / "small.tif", texture(31, 90))
    write_raster(raw / "fill.tif", np.zeros((3, 32, 32), np.uint8))
    result = summary(raw, tmp_path / "set", SMALL)
    assert result.skipped == {"nodata": 1, "blank": 1, "duplicate": 6, "small": 1}
    assert (result.train + result.val, result.sources, result.gsd) == (9, 5, 0.6)
    assert result.as_dict()["path"] == str(tmp_path / "set")
    assert read_raster(result.contact).shape == (3, 2 * 32 + 2, 8 * 32 + 7 * 2)


def test_near_duplicates_are_left_out_and_like_places_are_not(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    image = texture(64, 64, 3)
    noise = np.random.default_rng(0).integers(-3, 4, image.shape)
    write_raster(raw / "a.tif", image)
    write_raster(raw / "b.tif", np.clip(image + noise, 0, 255).astype(np.uint8))
    for seed in (1, 2):  # two pieces of open water: one colour, other waves
        waves = 90 + np.random.default_rng(seed).normal(0, 4, image.shape)
        write_raster(raw / f"water{seed}.tif", waves.astype(np.uint8))
    result = summary(raw, tmp_path / "set", replace(SMALL, patch=64))
    assert result.skipped == {"near duplicate": 1}
    assert sorted(PatchSet.open(tmp_path / "set").table["name"]) == [
        "a_0_0", "water1_0_0", "water2_0_0",
    ]  # fmt: skip
    kept = summary(raw, tmp_path / "all", replace(SMALL, patch=64, keep_near=True))
    assert kept.skipped == {}


def same_set(one: Path, other: Path) -> bool:
    first, second = PatchSet.open(one), PatchSet.open(other)
    return np.array_equal(first.pixels, second.pixels) and first.table.equals(second.table)


def test_killed_run_goes_on_to_the_same_set(tmp_path: Path, monkeypatch: Any) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for seed in range(5):
        write_raster(raw / f"s{seed}.tif", texture(64, 64, seed))
    run(raw, tmp_path / "whole")
    for _ in prepare(raw, tmp_path / "set", SMALL):
        break  # abandoned after the first source, as a killed process does
    parts = sorted((tmp_path / "set" / ".prepare").glob("*.json"))
    assert len(parts) == 1
    before = parts[0].stat().st_mtime_ns
    half = parts[0].with_name("half.bin")
    half.write_bytes(b"killed in the middle of a source")
    jobs = prepare(raw, tmp_path / "set", SMALL)
    next(jobs)
    assert parts[0].stat().st_mtime_ns == before  # not cut again
    list(jobs)
    assert same_set(tmp_path / "whole", tmp_path / "set")
    assert {path.name for path in (tmp_path / "set").iterdir()} == SET_FILES


def test_a_changed_file_or_option_is_cut_again(raw: Path, tmp_path: Path) -> None:
    write_raster(raw / "z.tif", texture(32, 32, 4))
    next(prepare(raw, tmp_path / "set", SMALL))
    write_raster(raw / "scene.tif", texture(96, 70, 8))
    os.utime(raw / "scene.tif", ns=(1, 1))
    image = np.moveaxis(read_raster(raw / "scene.tif"), 0, -1)
    patches = run(raw, tmp_path / "set")
    assert np.array_equal(patches.pixels[0], image[:32, :32])
    next(prepare(raw, tmp_path / "set2", SMALL))
    assert len(run(raw, tmp_path / "set2", replace(SMALL, stride=16)).pixels) == 5 * 3 + 1


def test_workers_make_the_same_set(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for seed in range(9):
        write_raster(raw / f"s{seed}.png", texture(64, 64, seed), crs=None)
    config = replace(SMALL, gsd=0.5)
    run(raw, tmp_path / "one", config)
    run(raw, tmp_path / "many", replace(config, workers=4))
    assert same_set(tmp_path / "one", tmp_path / "many")


def test_labels_beside_the_images_are_taken(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for place, seed in (("dock", 1), ("field", 2)):
        (raw / place).mkdir(parents=True)
        write_raster(raw / place / "1.png", texture(32, 32, seed), crs=None)
    write_raster(raw / "extra.png", texture(32, 32, 3), crs=None)
    rows = "dock/1.png,dock,7\nfield/1.png,field,2\ngone.png,field,2\n"
    (raw / "labels.csv").write_text("path,label,label_id\n" + rows)
    steps = list(prepare(raw, tmp_path / "set", replace(SMALL, gsd=1.0)))
    told = [note for step in steps for note in step.notes]
    assert told == [
        f"1 of 3 rows of {raw / 'labels.csv'} match no file", "1 of 3 files have no label",
    ]  # fmt: skip
    table = PatchSet.open(tmp_path / "set").table
    found = {Path(row.source).parent.name: (row.label, row.label_id) for row in table.itertuples()}
    assert found["dock"] == ("dock", 7)
    assert found["field"] == ("field", 2)
    assert table["label"].isna().sum() == table["label_id"].isna().sum() == 1
    assert str(table["label_id"].dtype) == "Int64"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\nscene,a\n", "no column 'label'; its columns are name, class"),
        ("name,label\nelse,a\n", "names none of the 1 files"),
        ("name,label,label_id\nscene,a,x\n", "label_id 'x' of a is no whole number"),
        ("name,label,label_id\nscene,a,1\nb,a,2\n", "the label a has two numbers, 1 and 2"),
        ("name,label,label_id\nscene,a,1\nb,b,\n", "the label b has no label_id, others have"),
        ("", "has no rows"),
    ],
)
def test_labels_that_make_no_sense(raw: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    config = replace(SMALL, labels=str(tmp_path / "l.csv"))
    with pytest.raises((DataError, UsageError), match=message):
        run(raw, tmp_path / "set", config)
    assert not (tmp_path / "set").exists()


def test_blocks_are_places_on_the_lattice_of_the_world(tmp_path: Path) -> None:
    """Two years whose extents are shifted: same ground, same place, hence same split."""
    raw = tmp_path / "raw"
    raw.mkdir()
    shifted = Affine(0.6, 0.0, UTM.c + 0.6 * 40, 0.0, -0.6, UTM.f - 0.6 * 25)
    write_raster(raw / "y2018.tif", texture(300, 300, 1))
    write_raster(raw / "y2020.tif", texture(300, 300, 2), transform=shifted)
    config = replace(SMALL, block=64 * 0.6, val_fraction=0.5)
    table = run(raw, tmp_path / "set", config).table
    assert set(table["crs"]) == {"EPSG:32610"}
    assert (table["row"] % 32 == 0).all()
    assert (table["col"] % 32 == 0).all()
    wanted = [f"EPSG:32610_{r // 64}_{c // 64}" for r, c in zip(table.row, table.col, strict=True)]
    assert list(table["place"]) == wanted
    both = table.groupby("place")["source"].nunique()
    assert (both == 2).any()
    assert (table.groupby("place")["split"].nunique() == 1).all()
    assert set(table["split"]) == {"train", "val"}
    pixels = PatchSet.open(tmp_path / "set").pixels
    image = np.moveaxis(read_raster(raw / "y2018.tif"), 0, -1)
    top, left = round(-UTM.f / 0.6), round(UTM.c / 0.6)
    row, col = int(table["row"][0]) - top, int(table["col"][0]) - left
    assert np.array_equal(pixels[0], image[row : row + 32, col : col + 32])


def test_overlapping_patches_of_two_blocks_never_share_pixels(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "big.tif", texture(256, 256))
    table = run(path, tmp_path / "set", replace(SMALL, stride=8, block=64 * 0.6)).table
    for name in ("row", "col"):
        assert (table[name] // 64 == (table[name] + 31) // 64).all()


def test_blocks_in_degrees_and_mercator_are_cut_in_utm(tmp_path: Path) -> None:
    place = Affine(5e-6, 0, -120.001, 0, -5e-6, 37.001)
    path = write_raster(tmp_path / "degrees.tif", texture(200, 200), "EPSG:4326", place)
    table = run(path, tmp_path / "set", replace(SMALL, res=0.5, block=100.0)).table
    assert set(table["crs"]) == {"EPSG:32611"} or set(table["crs"]) == {"EPSG:32610"}
    assert set(table["gsd"]) == {0.5}
    west, south, east, north = table.total_bounds
    assert -120.0011 < west < east < -119.9999
    assert 36.9999 < south < north < 37.0011


def test_large_rasters_are_read_row_by_row_of_patches(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(raw, tmp_path / "whole", replace(SMALL, stride=16))
    monkeypatch.setattr("geodiff.jobs.datasets.parts.WHOLE", 100)
    run(raw, tmp_path / "pieces", replace(SMALL, stride=16))
    assert same_set(tmp_path / "whole", tmp_path / "pieces")


def test_a_virtual_raster_is_a_raster(raw: Path, tmp_path: Path) -> None:
    from rasterio.shutil import copy

    copy(raw / "scene.tif", tmp_path / "scene.vrt", driver="VRT")
    first = run(tmp_path / "scene.vrt", tmp_path / "set")
    assert np.array_equal(first.pixels, run(raw, tmp_path / "set2").pixels)


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    deep = texture(32, 32).astype(np.uint16) * 100
    path = write_raster(tmp_path / "deep.tif", deep)  # type: ignore[arg-type]
    for res in (None, 0.6):
        config = replace(SMALL, scale=(0.0, 25500.0), bands=(3, 2, 1), res=res)
        pixels = run(path, tmp_path / f"set{res}", config).pixels
        assert np.array_equal(pixels[0], np.moveaxis(texture(32, 32)[::-1], 0, -1))


def test_a_pattern_in_a_name_is_a_name_first(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a[1].tif", texture(32, 32))
    assert len(run(path, tmp_path / "set").pixels) == 1
    with pytest.raises(DataError, match=r"no raster found in .*none\*\.tif$"):
        run([path, tmp_path / "none*.tif"], tmp_path / "set2")


@pytest.mark.parametrize("room", [3_000, 10_000])  # for less than a part, and than the set
def test_full_disk_is_one_line_and_loses_nothing(raw: Path, tmp_path: Path, room: int) -> None:
    run(raw, tmp_path / "set")
    write_raster(raw / "more.tif", texture(32, 64, 7))
    with room_for(room), pytest.raises(OutputError, match="cannot write") as caught:
        run(raw, tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert len(PatchSet.open(tmp_path / "set").pixels) == 6
    left = {path.name for path in (tmp_path / "set").iterdir()}
    assert left == SET_FILES | {".prepare"}
    assert len(run(raw, tmp_path / "set").pixels) == 8
    assert {path.name for path in (tmp_path / "set").iterdir()} == SET_FILES
