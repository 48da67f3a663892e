"""One virtual raster shows all mosaics of a catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from geodiff.geo.virtual_catalogue import virtual_rasters
from tests.jobs.rasters import texture, write_raster


def tile(folder: Path, name: str, right: int, down: int, crs: str = "EPSG:32610") -> dict[str, Any]:
    """A raster of 64 x 48 px and its item; ``right`` and ``down`` are pixels."""
    place = Affine(0.6, 0, 500000.4 + 0.6 * right, 0, -0.6, 4100000.4 - 0.6 * down)
    (folder / "items").mkdir(exist_ok=True)
    pixels = np.maximum(texture(48, 64, sum(map(ord, name))), 1)
    write_raster(folder / "items" / f"{name}.tif", pixels, crs, place)
    fields = {"proj:code": crs, "proj:shape": [48, 64], "proj:transform": list(place)[:6]}
    return {"id": name, "properties": fields}


def test_the_mosaics_lie_where_they_belong(tmp_path: Path) -> None:
    items = [tile(tmp_path, "a", 0, 0), tile(tmp_path, "b", 100, -20), tile(tmp_path, "c", 30, 40)]
    (name, text), *others = virtual_rasters(items, "twins").items()
    assert (name, others) == ("twins.vrt", [])
    (tmp_path / name).write_text(text)
    with rasterio.open(tmp_path / name) as whole:
        assert whole.shape == (108, 164)
        assert whole.crs.to_epsg() == 32610
        shown, mask = whole.read(), whole.read_masks(1)
        assert whole.tags()["AI_GENERATED"] == "TRUE"
        for one in reversed(items):  # the last lies on top
            with rasterio.open(tmp_path / "items" / f"{one['id']}.tif") as part:
                window = whole.window(*part.bounds).round_offsets().round_lengths()
                rows, cols = window.toslices()
                if one["id"] != "a":  # c covers a corner of it
                    np.testing.assert_array_equal(shown[:, rows, cols], part.read())
        assert (mask > 0).sum() == 2 * 64 * 48 + 64 * 48 - 8 * 34
        assert not shown[:, mask == 0].any()


def test_each_crs_has_its_own(tmp_path: Path) -> None:
    items = [tile(tmp_path, "a", 0, 0), tile(tmp_path, "b", 0, 0, "EPSG:32611")]
    assert set(virtual_rasters(items, "t")) == {"t-EPSG_32610.vrt", "t-EPSG_32611.vrt"}
    assert virtual_rasters([{"id": "x", "properties": {}}], "t") == {}
