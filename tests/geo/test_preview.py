from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from geodiff.errors import DataError, OutputError, UsageError
from geodiff.geo.cog import finish
from geodiff.geo.grid import PixelGrid
from geodiff.geo.mosaic import WorkingRaster
from geodiff.geo.preview import preview
from geodiff.geo.provenance import Provenance
from geodiff.geo.writing import gdal


def mosaic(
    out: Path,
    shape: tuple[int, int],
    bands: int = 3,
    provenance: Provenance | None = None,
    crs: str | None = "EPSG:32613",
) -> Path:
    """A COG whose left half is dark and whose right half is bright."""
    grid = PixelGrid(GeoBox(shape, Affine(1, 0, 5e5, 0, -1, 4e6), crs and CRS(crs)), 0, 0)
    pixels = np.full((bands, *shape), 40, np.uint8)
    pixels[:, :, shape[1] // 2 :] = 200
    with WorkingRaster(out, grid, bands, provenance) as raster:
        raster.write(grid.window, pixels)
    finish(raster.path, out)
    return out


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((1100, 700), 100, (100, 64)),
        ((1100, 700), 2000, (1100, 700)),
        ((600, 2), 60, (60, 1)),
        ((1, 1), 1, (1, 1)),
    ],
)
def test_the_longer_side_is_at_most_size(
    tmp_path: Path, shape: tuple[int, int], size: int, expected: tuple[int, int]
) -> None:
    out = tmp_path / "look.png"
    preview(mosaic(tmp_path / "a.tif", shape), out, size)
    with gdal(), rasterio.open(out) as dataset:
        assert dataset.driver == "PNG"
        assert dataset.shape == expected
        assert dataset.count == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "look.png"]


@pytest.mark.parametrize("crs", ["EPSG:32613", None])
def test_it_shows_the_mosaic(tmp_path: Path, crs: str | None) -> None:
    preview(mosaic(tmp_path / "a.tif", (600, 800), crs=crs), tmp_path / "look.png", 80)
    with gdal(), rasterio.open(tmp_path / "look.png") as dataset:
        pixels = dataset.read()
    assert (pixels[:, :, :38] == 40).all()
    assert (pixels[:, :, 42:] == 200).all()


@pytest.mark.parametrize(("bands", "shown"), [(1, 1), (2, 1), (4, 3)])
def test_three_bands_or_one_are_shown(tmp_path: Path, bands: int, shown: int) -> None:
    preview(mosaic(tmp_path / "a.tif", (8, 8), bands), tmp_path / "look.png")
    with gdal(), rasterio.open(tmp_path / "look.png") as dataset:
        assert dataset.count == shown


def test_the_png_says_that_it_is_synthetic(tmp_path: Path, provenance: Provenance) -> None:
    preview(mosaic(tmp_path / "a.tif", (8, 8), provenance=provenance), tmp_path / "look.png")
    with gdal(), rasterio.open(tmp_path / "look.png") as dataset:
        tags = dataset.tags()
    assert tags["AI_GENERATED"] == "TRUE"
    assert tags["GEODIFF_MODEL"] == provenance.model


def test_outputs_are_checked(tmp_path: Path) -> None:
    path = mosaic(tmp_path / "a.tif", (8, 8))
    out = tmp_path / "look.png"
    out.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists: give --overwrite"):
        preview(path, out)
    assert out.read_bytes() == b"old"
    preview(path, out, overwrite=True)
    assert out.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"does not end in \.png"):
        preview(path, tmp_path / "look.jpg")
    with pytest.raises(UsageError, match="at least 1 pixel"):
        preview(path, out, 0, overwrite=True)
    with pytest.raises(OutputError, match="does not exist"):
        preview(path, tmp_path / "nowhere" / "look.png")
    with pytest.raises(UsageError, match="is a source"):
        preview(out, out, overwrite=True)


def test_unreadable_rasters_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with pytest.raises(DataError, match="does not exist"):
        preview(path, tmp_path / "look.png")
    path.write_bytes(b"II*\0 not a tiff")
    with pytest.raises(DataError, match="cannot be opened"):
        preview(path, tmp_path / "look.png")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]


def test_other_pixel_types_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "height": 4, "width": 4, "count": 1, "dtype": "float32"}
    with gdal(), rasterio.open(path, "w", **profile) as dataset:
        dataset.write(np.zeros((1, 4, 4), np.float32))
    with pytest.raises(DataError, match="float32 pixels: a preview needs uint8"):
        preview(path, tmp_path / "look.png")
