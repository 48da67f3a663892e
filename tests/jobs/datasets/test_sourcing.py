"""A STAC search becomes a training set: clipped, on the lattice, places the same over the years."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac
import pytest
from affine import Affine
from rasterio.shutil import copy

from geodiff.errors import DataError, UsageError
from geodiff.jobs.datasets.dataset import PatchSet
from geodiff.jobs.prepare import PrepareConfig, prepare
from geodiff.steps import drain
from tests.jobs.rasters import UTM, read_raster, texture, write_raster
from tests.stac import TIFF, api, catalogue, item, pointing
from tests.stac_live import served

SMALL = PrepareConfig(patch=32, block=64 * 0.6, val_fraction=0.4)


def test_items_become_patches_of_places_that_last(tmp_path: Path) -> None:
    items = [item(tmp_path, f"y{y}", y, y, east=30 * (y - 2018)) for y in (2018, 2020)]
    with api(items) as (url, _):
        config = replace(SMALL, stac=url, collection=("naip",), workers=2, stac_any_href=True)
        summary = drain(prepare([], tmp_path / "set", replace(config, collection=())))
    patches = PatchSet.open(tmp_path / "set")
    table = patches.table
    assert summary.sources == 2
    assert summary.skipped == {"nodata": 0} or summary.skipped == {}
    assert set(table["datetime"]) == {f"{y}-06-01T00:00:00+00:00" for y in (2018, 2020)}
    assert (table.groupby("place")["source"].nunique() == 2).any()
    assert (table.groupby("place")["split"].nunique() == 1).all()
    image = read_raster(tmp_path / "y2018.tif")
    first = table[table["source"].str.endswith("y2018.tif")].iloc[0]
    row, col = first["row"] - round(-UTM.f / 0.6), first["col"] - round(UTM.c / 0.6)
    wanted = np.moveaxis(image[:, row : row + 32, col : col + 32], 0, -1)
    assert np.array_equal(patches.pixels[0], wanted)


def test_the_box_clips(tmp_path: Path) -> None:
    made = item(tmp_path, "one", 1, 2020)
    root = catalogue(tmp_path, [made])
    assert made.bbox is not None
    west, south, east, north = made.bbox
    box = (west, south, (west + east) / 2, north)
    whole = drain(prepare([], tmp_path / "whole", replace(SMALL, stac=root)))
    half = drain(prepare([], tmp_path / "half", replace(SMALL, stac=root, bbox=box)))
    assert 0 < half.train + half.val < whole.train + whole.val
    bounds = PatchSet.open(tmp_path / "half").table.total_bounds
    assert bounds[2] <= (west + east) / 2 + 1e-5
    outside = replace(SMALL, stac=root, bbox=(east - 1e-6, south, east + 1, north))
    with pytest.raises(DataError, match="no patch of 32 px came out of 1 items"):
        drain(prepare([], tmp_path / "none", outside))
    assert not (tmp_path / "none").exists()


def test_what_the_web_sends_leads_to_no_file_of_this_computer(tmp_path: Path) -> None:
    """A VRT in the place of a raster would read whatever it names; it may be trusted by name."""
    item(tmp_path, "secret", 1, 2020)
    (tmp_path / "web").mkdir()
    description = (tmp_path / "sent.vrt", tmp_path / "web" / "image.tif")
    copy(tmp_path / "secret.tif", description[0], driver="VRT")
    text = (
        description[0].read_text().replace('relativeToVRT="1">', f'relativeToVRT="0">{tmp_path}/')
    )
    assert f"{tmp_path}/secret.tif" in text
    description[1].write_text(text)
    with (
        served(tmp_path / "web") as web,
        api([pointing(tmp_path, f"{web.url}/image.tif")]) as (url, _),
    ):
        config = replace(SMALL, stac=url)
        with pytest.raises(DataError, match=r"a VRT file at http.* refused; --stac-any-href takes"):
            drain(prepare([], tmp_path / "set", config))
        assert not (tmp_path / "set").exists()
        trusted = drain(prepare([], tmp_path / "set", replace(config, stac_any_href=True)))
    assert trusted.train + trusted.val > 0


def test_three_assets_of_one_band_are_one_image(tmp_path: Path) -> None:
    made = item(tmp_path, "one", 1, 2020)
    pixels = read_raster(tmp_path / "one.tif")
    for name, band in zip(("red", "green", "blue"), pixels, strict=True):
        write_raster(tmp_path / f"{name}.tif", band[None], transform=UTM)
        asset = pystac.Asset(str(tmp_path / f"{name}.tif"), media_type=TIFF)
        made.add_asset(name, asset)
    root = catalogue(tmp_path, [made])
    drain(prepare([], tmp_path / "one", replace(SMALL, stac=root)))
    config = replace(SMALL, stac=root, asset="red,green,blue")
    drain(prepare([], tmp_path / "three", config))
    one, three = PatchSet.open(tmp_path / "one"), PatchSet.open(tmp_path / "three")
    assert len(one.pixels) > 0
    assert np.array_equal(one.pixels, three.pixels)


def test_items_of_two_sizes_are_refused_or_resampled(tmp_path: Path) -> None:
    coarse = item(tmp_path, "coarse", 2, 2010)
    write_raster(
        tmp_path / "coarse.tif", texture(96, 96, 2), transform=Affine(1, 0, UTM.c, 0, -1, UTM.f)
    )
    root = catalogue(tmp_path, [coarse, item(tmp_path, "fine", 3, 2020)])
    config = replace(SMALL, stac=root)
    with pytest.raises(DataError, match=r"0\.6 m per pixel \(fine\) to 1 \(coarse\): .*--res"):
        drain(prepare([], tmp_path / "set", config))
    assert not (tmp_path / "set").exists()
    summary = drain(prepare([], tmp_path / "set", replace(config, res=1.2, patch=16)))
    assert summary.gsd == 1.2
    assert set(PatchSet.open(tmp_path / "set").table["datetime"].str[:4]) == {"2010", "2020"}


def test_an_item_that_cannot_be_used_is_left_out_and_named(tmp_path: Path) -> None:
    good, bare = item(tmp_path, "good", 1, 2020), item(tmp_path, "bare", 2, 2020)
    del bare.assets["image"]
    root = catalogue(tmp_path, [good, bare])
    events = list(prepare([], tmp_path / "set", replace(SMALL, stac=root)))
    notes = [note for event in events for note in event.notes]
    assert any("1 of the items found cannot be used" in note and "bare" in note for note in notes)
    assert set(PatchSet.open(tmp_path / "set").table["source"].map(lambda p: Path(p).stem)) == {
        "good"
    }


def test_nothing_found_leaves_nothing(tmp_path: Path) -> None:
    root = catalogue(tmp_path, [item(tmp_path, "one", 1, 2020)])
    with pytest.raises(DataError, match="found no item for any collection, 1999"):
        drain(prepare([], tmp_path / "set", replace(SMALL, stac=root, datetime="1999")))
    with pytest.raises(DataError, match="leaves out every item"):
        drain(prepare([], tmp_path / "set", replace(SMALL, stac=root, exclude="one")))
    assert not (tmp_path / "set").exists()


def test_requests_that_make_no_sense(tmp_path: Path) -> None:
    for sources, config in ((["a"], replace(SMALL, stac="b")), ([], SMALL)):
        with pytest.raises(UsageError, match="give either rasters to cut or a STAC search"):
            drain(prepare(sources, tmp_path / "set", config))
    with pytest.raises(UsageError, match="--collection needs --stac URL"):
        replace(SMALL, collection=("naip",))
    with pytest.raises(UsageError, match="name files, a STAC search has none"):
        drain(prepare([], tmp_path / "set", replace(SMALL, stac="b", labels="c")))
    with pytest.raises(UsageError, match="give 2020"):
        replace(SMALL, stac="b", datetime="soon")
