from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from geodiff.errors import OutputError
from geodiff.geo.cog import finish
from geodiff.geo.grid import PixelGrid
from geodiff.geo.mosaic import WorkingRaster
from geodiff.geo.writing import histogram, statistics
from geodiff.window import Window

UTM = "EPSG:32613"
LCC = "+proj=lcc +lat_0=39 +lon_0=-105 +lat_1=33 +lat_2=45 +datum=NAD83 +units=m +type=crs"


def grid_of(
    height: int, width: int, crs: str | None = UTM, row: int = -7, col: int = 11
) -> PixelGrid:
    # The step of a real NAIP tile: rounding noise must survive.
    affine = Affine(0.6, 0.0, 500000.4, 0.0, -0.5999999999999928, 4399999.8)
    return PixelGrid(GeoBox((height, width), affine, crs and CRS(crs)), row, col)


def noise(bands: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (bands, height, width), dtype=np.uint8)


def paint(raster: WorkingRaster, pixels: NDArray[np.uint8], windows: list[Window]) -> None:
    """Writes the parts of an image of the whole grid that lie in the windows, zeros beyond it."""
    whole = raster.grid.window
    for window in windows:
        part = np.zeros((len(pixels), *window.shape), np.uint8)
        inside = window.intersect(whole)
        if inside is not None:
            rows, cols = inside.within(window)
            part[:, rows, cols] = pixels[(slice(None), *inside.within(whole))]
        raster.write(window, part)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond ``size`` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("crs", [UTM, LCC, "EPSG:4326", None])
def test_crs_and_transform_are_the_grids_to_the_bit(tmp_path: Path, crs: str | None) -> None:
    grid = grid_of(20, 30, crs)
    with WorkingRaster(tmp_path / "out.tif", grid) as raster:
        pass
    finish(raster.path, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert dataset.transform == grid.geobox.affine
        assert tuple(dataset.transform)[:6] == tuple(grid.geobox.affine)[:6]
        assert dataset.shape == (20, 30)
        if crs is None:
            assert dataset.crs is None
        else:
            assert CRS(dataset.crs) == grid.crs


def test_working_raster_is_hidden_tiled_and_sparse(tmp_path: Path) -> None:
    with WorkingRaster(tmp_path / "out.tif", grid_of(1200, 1200), token="job") as raster:
        raster.write(Window(-7, 11, 2, 2), noise(3, 2, 2))
    assert raster.path == tmp_path / ".out.geodiff-job.tif"
    with rasterio.open(raster.path) as dataset:
        assert dataset.block_shapes == [(512, 512)] * 3
        assert dataset.compression.name == "zstd"
        assert dataset.photometric is None or dataset.photometric.name == "rgb"
        assert [colour.name for colour in dataset.colorinterp] == ["red", "green", "blue"]
    assert raster.path.stat().st_size < 20_000


def test_four_bands_have_no_alpha(tmp_path: Path) -> None:
    with WorkingRaster(tmp_path / "out.tif", grid_of(5, 5), bands=4) as raster:
        raster.write(raster.grid.window, noise(4, 5, 5))
    finish(raster.path, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert [colour.name for colour in dataset.colorinterp][3] == "undefined"
        assert dataset.descriptions == ("red", "green", "blue", "nir")


def test_any_tiling_and_order_gives_the_same_file(tmp_path: Path) -> None:
    grid = grid_of(700, 600)
    pixels = noise(3, 700, 600)
    tilings = {
        "whole": [grid.window],
        "aligned": list(grid.window.tiles(256)),
        "reversed": list(grid.window.tiles(300))[::-1],
        "overlapping": [w.pad(20) for w in grid.window.tiles(350)],
        "strips": [
            Window(grid.row + r, grid.col, min(99, 700 - r), 600) for r in range(0, 700, 99)
        ],
    }
    finished = {}
    for name, windows in tilings.items():
        out = tmp_path / f"{name}.tif"
        with WorkingRaster(out, grid) as raster:
            paint(raster, pixels, windows)
        finish(raster.path, out)
        with rasterio.open(out) as dataset:
            np.testing.assert_array_equal(dataset.read(), pixels)
        finished[name] = out.read_bytes()
    assert len(set(finished.values())) == 1


def test_later_pixels_replace_earlier_ones(tmp_path: Path) -> None:
    grid = grid_of(40, 40)
    with WorkingRaster(tmp_path / "out.tif", grid) as raster:
        raster.write(grid.window, noise(3, 40, 40, seed=1))
        raster.write(grid.window, noise(3, 40, 40, seed=2))
    with rasterio.open(raster.path) as dataset:
        np.testing.assert_array_equal(dataset.read(), noise(3, 40, 40, seed=2))


def test_windows_off_the_grid_change_nothing(tmp_path: Path) -> None:
    with WorkingRaster(tmp_path / "out.tif", grid_of(10, 10)) as raster:
        raster.write(Window(100, 100, 5, 5), noise(3, 5, 5))
    assert histogram(raster.path)[:, 0].tolist() == [100, 100, 100]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 4, 5), np.float32),
        np.zeros((3, 5, 4), np.uint8),
        np.zeros((1, 4, 5), np.uint8),
    ],
)
def test_pixels_that_do_not_fit_are_refused(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    with (
        pytest.raises(ValueError, match=r"pixels must be uint8 \(3, 4, 5\), got"),
        WorkingRaster(tmp_path / "out.tif", grid_of(10, 10)) as raster,
    ):
        raster.write(Window(0, 12, 4, 5), pixels)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_exception_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with WorkingRaster(tmp_path / "out.tif", grid_of(600, 600)) as raster:
            raster.write(raster.grid.window, noise(3, 600, 600))
            assert raster.path.exists()
            raise error

    with pytest.raises(error):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [100, 2_000, 300_000, 800_000, 1_050_000])
def test_a_full_disk_is_one_error_and_no_file(
    tmp_path: Path, limit: int, capfd: pytest.CaptureFixture[str]
) -> None:
    # Strips stay in GDAL's cache until the file is closed, where GDAL fails silently.
    grid = grid_of(600, 600)
    strips = [Window(grid.row + r, grid.col, 50, 600) for r in range(0, 600, 50)]
    with (
        file_size_limit(limit),
        pytest.raises(OutputError, match=r"cannot write .*free on that disk.*--out") as caught,
        WorkingRaster(tmp_path / "out.tif", grid) as raster,
    ):
        paint(raster, noise(3, 600, 600), strips)
    assert capfd.readouterr() == ("", "")  # libtiff's own lines would stand beside ours
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_an_output_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="cannot write"),
        WorkingRaster(tmp_path / "nowhere" / "out.tif", grid_of(5, 5)),
    ):
        pass


def test_statistics_are_numpys() -> None:
    pixels = noise(1, 50, 50)
    found = statistics(np.bincount(pixels.ravel(), minlength=256))
    assert found["STATISTICS_MEAN"] == pytest.approx(pixels.mean())
    assert found["STATISTICS_STDDEV"] == pytest.approx(pixels.std())
    assert found["STATISTICS_MINIMUM"] == pixels.min()
    assert found["STATISTICS_MAXIMUM"] == pixels.max()
