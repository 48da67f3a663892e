"""Pixel grids: boxes snap outwards to one lattice, and a raster's own grid is kept to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.control import GroundControlPoint

from geodiff.errors import DataError, UsageError
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.geo.source import quiet
from geodiff.window import Window

MUNICH = (11.5, 48.1, 11.52, 48.12)


def write(path: Path, **profile: object) -> Path:
    settings = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 3,
        "height": 64,
        "width": 64,
        "crs": "EPSG:32632",
        "transform": Affine(1, 0, 700000, 0, -1, 5300000),
    } | profile
    with quiet(), rasterio.open(path, "w", **settings) as dataset:
        dataset.write(np.ones((3, 64, 64), np.uint8))
    return path


@pytest.mark.parametrize(
    ("crs", "res"),
    [(None, 0.6), (None, 1.0), ("EPSG:3857", 0.3), ("EPSG:4326", 1e-5), ("EPSG:2154", 0.7)],
)
def test_a_box_is_contained_and_snapped_to_exact_multiples(crs: str | None, res: float) -> None:
    grid = box_grid(MUNICH, crs=crs, res=res)
    affine, (height, width) = grid.geobox.affine, grid.geobox.shape
    assert (affine.a, affine.e) == (res, -res)
    assert affine.c == grid.col * res
    assert affine.f == -grid.row * res
    assert (grid.row, grid.col) == (round(-affine.f / res), round(affine.c / res))
    assert grid.crs is not None
    to_map = Transformer.from_crs("EPSG:4326", grid.crs.proj, always_xy=True)
    lon, lat = np.meshgrid(np.linspace(11.5, 11.52, 333), np.linspace(48.1, 48.12, 333))
    x, y = to_map.transform(lon, lat)
    cols, rows = (x - affine.c) / res, (affine.f - y) / res
    assert min(rows.min(), cols.min()) >= -1e-5
    assert rows.max() <= height + 1e-5
    assert cols.max() <= width + 1e-5
    # No more than a pixel of it is to spare on any side.
    assert max(rows.min(), cols.min(), height - rows.max(), width - cols.max()) < 1.01


@pytest.mark.parametrize("res", [0.6, 1.0, 0.3, 1 / 3])
def test_overlapping_boxes_share_pixels_exactly(res: float) -> None:
    one = box_grid((11.5, 48.1, 11.51, 48.11), res=res)
    two = box_grid((11.503, 48.104, 11.513, 48.114), res=res)
    common = one.window.intersect(two.window)
    assert common is not None
    assert one.crop(common) == two.crop(common)
    assert one.crop(two.window) == two


def test_the_bent_edges_of_a_wide_box_are_contained() -> None:
    grid = box_grid((8, 48, 12, 49), res=10)  # its southern edge sags by some 480 m
    to_map = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    _, corner = to_map.transform(8.0, 48.0)
    _, middle = to_map.transform(9.0, 48.0)
    bottom = grid.geobox.boundingbox.bottom
    assert middle < corner - 400
    assert bottom <= middle


@pytest.mark.parametrize(
    ("bbox", "code"),
    [
        (MUNICH, 32632),
        ((-70.1, -33.6, -70.0, -33.4), 32719),
        ((179.9, 10, 180, 10.1), 32660),
        ((-180, 10, -179.9, 10.1), 32601),
    ],
)
def test_the_utm_zone_is_that_of_the_centre(
    bbox: tuple[float, float, float, float], code: int
) -> None:
    grid = box_grid(bbox, res=10)
    assert grid.crs is not None
    assert grid.crs.epsg == code


def test_a_box_in_a_projected_crs_on_the_lattice_is_taken_as_it_is() -> None:
    grid = box_grid((600.6 * 1000, 0.6 * 9e6, 600.6 * 1001, 0.6 * 9e6 + 60), "EPSG:32632", res=0.6)
    assert grid.window == Window(-9000100, 1001000, 100, 1001)


def test_a_polar_box_encloses_the_pole() -> None:
    grid = box_grid((-180, 80, 180, 90), crs="EPSG:3413", res=1000)
    left, bottom, right, top = grid.geobox.boundingbox.bbox
    assert min(right, top, -left, -bottom) > 1e6


@pytest.mark.parametrize(
    ("bbox", "options", "message"),
    [
        ((1, 2, 3), {}, "not four numbers"),
        ((11.5, 48.1, float("nan"), 48.2), {}, "not finite"),
        ((11.5, 48.1, float("inf"), 48.2), {}, "not finite"),
        ((11.5, 48.1, 11.5, 48.2), {}, "is empty"),
        ((11.5, 48.2, 11.6, 48.1), {}, "reversed"),
        ((170, -20, -170, -10), {}, "antimeridian"),
        ((190, 48.1, 190.1, 48.2), {}, "longitude outside"),
        ((-11.5, 48.1, 361, 48.2), {}, "longitude outside"),
        ((-400, 34, -399, 35), {}, "longitude outside"),
        ((-11.5, 48.1, 4000, 48.2), {}, "looks like metres"),
        ((48.1, 91, 48.2, 92), {}, "longitude first"),
        ((500000, 4000000, 501000, 4001000), {}, "looks like metres"),
        ((11.5, 48.1, 11.6, 48.2), {"bbox_crs": "EPSG:32632"}, "looks like degrees"),
        ((600, 500, 500, 600), {"bbox_crs": "EPSG:32632"}, "reversed"),
        (MUNICH, {"crs": "EPSG:999999"}, "unknown CRS 'EPSG:999999'"),
        (MUNICH, {"bbox_crs": "nonsense"}, "unknown CRS 'nonsense'"),
        (MUNICH, {"crs": "EPSG:4978"}, "is no map"),
        (MUNICH, {"res": 0}, "the resolution is 0"),
        (MUNICH, {"res": None}, "the resolution is None"),
        (MUNICH, {"res": float("nan")}, "the resolution is nan"),
        (MUNICH, {"res": 1e-7}, "more than 2147483647 a side"),
        (MUNICH, {"crs": "EPSG:4326"}, "units of the output CRS EPSG:4326"),
        (MUNICH, {"res": 1e5}, "is larger than the box"),
        ((-180, -90, 180, 90), {}, "cannot be shown in EPSG:326"),
        ((11, 85, 12, 86), {}, "UTM is not defined at latitude 85.5"),
    ],
)
def test_bad_boxes_are_refused_in_one_line(
    bbox: tuple[float, ...], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        box_grid(bbox, **({"res": 0.6} | options))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_raster_keeps_its_grid_to_the_bit(noisy_rgb: Path) -> None:
    grid = raster_grid(noisy_rgb)
    with rasterio.open(noisy_rgb) as dataset:
        assert tuple(grid.geobox.affine) == tuple(dataset.transform)
    assert grid.geobox.affine.e == -0.5999999999999928
    assert grid.window == Window(0, 0, 96, 128)
    assert grid.crs == CRS("EPSG:26911")
    assert grid.crop(grid.window) == grid


@pytest.mark.parametrize("kept", [True, False])
def test_crops_are_exact_whichever_way_they_are_reached(noisy_rgb: Path, kept: bool) -> None:
    grid = raster_grid(noisy_rgb) if kept else box_grid(MUNICH, res=0.6)
    here, there = Window(grid.row + 17, grid.col - 900, 33, 7), Window(-5, 7_000_003, 3, 3)
    assert grid.crop(grid.window) == grid
    assert grid.crop(there).crop(here) == grid.crop(here)
    assert grid.crop(there).crop(grid.window) == grid


@pytest.mark.parametrize("cell", [64, 24])
def test_cells_cover_the_grid_and_neighbours_share_them(cell: int) -> None:
    one = box_grid((11.5, 48.1, 11.51, 48.11), res=0.6)
    two = box_grid((11.503, 48.104, 11.513, 48.114), res=0.6)
    cells = one.cell_grid(cell)
    assert cells.window == one.latents(cell) == one.window.zoom_out(cell)
    assert cells.geobox.affine.a == 0.6 * cell
    assert cells.window.zoom_in(cell).intersect(one.window) == one.window
    assert cells.crop(two.latents(cell)) == two.cell_grid(cell)
    pixels = one.crop(cells.window.zoom_in(cell)).geobox.affine
    np.testing.assert_allclose(tuple(cells.geobox.affine)[2::3][:2], (pixels.c, pixels.f))


def test_latents_cover_the_grid() -> None:
    grid = box_grid(MUNICH, res=0.6)
    assert grid.latents(8).zoom_in(8).intersect(grid.window) == grid.window


def test_ground_sample_distance_is_in_true_metres() -> None:
    assert box_grid(MUNICH, res=0.6).gsd == 0.6
    feet = box_grid((-121.0, 39.5, -120.99, 39.51), crs="EPSG:2225", res=1).gsd
    assert feet == pytest.approx(0.3048006, rel=1e-6)
    mercator = box_grid(MUNICH, crs="EPSG:3857", res=0.6).gsd
    assert mercator == pytest.approx(0.6 * np.cos(np.radians(48.11)), rel=5e-3)
    degrees = box_grid(MUNICH, crs="EPSG:4326", res=1e-5).gsd
    metres = 1e-5 * 111195
    assert degrees == pytest.approx(metres * np.sqrt(np.cos(np.radians(48.11))), rel=5e-3)


def test_bounds_in_degrees_enclose_the_box() -> None:
    bounds = box_grid(MUNICH, res=0.6).bounds_lonlat()
    assert bounds is not None
    np.testing.assert_allclose(bounds, MUNICH, atol=1e-3)
    assert bounds[0] <= MUNICH[0]
    assert bounds[3] >= MUNICH[3]


def test_a_raster_without_crs_is_in_pixel_coordinates(tmp_path: Path) -> None:
    grid = raster_grid(write(tmp_path / "plain.tif", crs=None, transform=Affine.identity()))
    assert grid.crs is None
    assert (grid.gsd, grid.bounds_lonlat()) == (None, None)
    assert grid.crop(Window(8, 16, 4, 4)).geobox.affine == Affine(1, 0, 16, 0, 1, 8)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Affine(0.9, 0.1, 700000, 0.1, -0.9, 5300000), "is rotated.*--bbox or --like.*gdalwarp"),
        (Affine(1, 0, 700000, 0, 1, 5300000), "not north-up.*--bbox or --like.*gdalwarp"),
        (Affine.identity(), "no geotransform"),
    ],
)
def test_other_than_north_up_is_refused(tmp_path: Path, transform: Affine, message: str) -> None:
    with pytest.raises(DataError, match=message):
        raster_grid(write(tmp_path / "other.tif", transform=transform))


def test_ground_control_points_are_refused(tmp_path: Path) -> None:
    points = [GroundControlPoint(r, c, c + 7.0, 5.0 - r) for r, c in ((0, 0), (0, 64), (64, 0))]
    path = write(tmp_path / "gcps.tif", transform=None, gcps=points)
    with pytest.raises(DataError, match=r"ground control points only.*gdalwarp"):
        raster_grid(path)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("not a raster")
    whole = write(tmp_path / "whole.tif").read_bytes()
    (tmp_path / "half.tif").write_bytes(whole[: len(whole) // 2])
    for name, message in [
        ("missing.tif", "does not exist"),
        ("empty.tif", "is empty"),
        ("text.tif", "cannot be opened as a raster"),
        ("half.tif", "may be truncated"),
        (".", "is a directory"),
    ]:
        with pytest.raises(DataError, match=message):
            raster_grid(tmp_path / name)


def test_a_rotated_geobox_makes_no_grid() -> None:
    with pytest.raises(UsageError, match="must be north-up"):
        PixelGrid(GeoBox((4, 4), Affine(0.9, 0.1, 0, 0.1, -0.9, 0), "EPSG:32632"), 0, 0)


def test_real_naip_transforms_are_kept(imagery: Path) -> None:
    paths = sorted((imagery / "naip_ca_060cm" / "images").glob("*.tif"))[::300]
    assert paths
    for path in paths:
        grid = raster_grid(path)
        with rasterio.open(path) as dataset:
            assert tuple(grid.geobox.affine) == tuple(dataset.transform)
        assert grid.gsd == pytest.approx(0.6, rel=1e-9)


@pytest.mark.parametrize("south", [89.99, 90.5])
def test_a_grid_at_or_beyond_a_pole_has_a_finite_size_of_pixels(south: float) -> None:
    res = 1e-5
    near = box_grid((10.0, 89.97, 10.001, 89.971), crs="EPSG:4326", res=res)
    rows = round(-south / res)
    there = near.crop(Window(rows - 100, near.col, 100, 100))
    assert there.gsd is not None
    assert 0 < there.gsd < 2
