"""References: exact where grids coincide, a function of the place where they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.enums import ColorInterp

from geodiff.errors import DataError, UsageError
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.geo.raster import Reference, read_chip
from geodiff.geo.source import quiet
from geodiff.window import Window

NORTH_UP = Affine(0.6, 0.0, 600000.0, 0.0, -0.6, 5300000.4)


def smooth(bands: int = 3, height: int = 200, width: int = 260) -> npt.NDArray[np.uint8]:
    row, col = np.mgrid[:height, :width]
    planes = [120 + 50 * np.sin(row / 25 + band) + 50 * np.cos(col / 30) for band in range(bands)]
    return np.stack(planes).astype(np.uint8)


def write(path: Path, data: npt.NDArray[np.generic], **profile: object) -> Path:
    settings = {
        "driver": "GTiff",
        "dtype": data.dtype,
        "count": data.shape[0],
        "height": data.shape[1],
        "width": data.shape[2],
        "crs": "EPSG:32632",
        "transform": NORTH_UP,
    } | profile
    with quiet(), rasterio.open(path, "w", **settings) as dataset:
        dataset.write(data)
    return path


def beyond(grid: PixelGrid) -> Window:
    """A window that sticks out of the grid at its top left."""
    return Window(grid.row - 9, grid.col - 5, 40, 50)


@pytest.mark.parametrize("snapped", [True, False])
def test_coinciding_grids_copy_to_the_bit(tmp_path: Path, noisy_rgb: Path, snapped: bool) -> None:
    path = write(tmp_path / "a.tif", smooth()) if snapped else noisy_rgb
    with rasterio.open(path) as dataset:
        pixels, bounds = dataset.read(), tuple(dataset.bounds)
    grid = box_grid(bounds, "EPSG:32632", "EPSG:32632", 0.6) if snapped else raster_grid(path)
    reference = Reference.open(path)
    image, valid = reference.read(grid)
    np.testing.assert_array_equal(image, pixels)
    assert valid.all()
    image, valid = reference.read(grid, beyond(grid))
    np.testing.assert_array_equal(image[:, 9:, 5:], pixels[:, :31, :45])
    assert valid[9:, 5:].all()
    assert valid.sum() == 31 * 45
    assert not image[:, ~valid].any()


def test_without_crs_only_the_own_grid_or_a_crop_of_it(tmp_path: Path) -> None:
    data = smooth(height=64, width=64)
    path = write(tmp_path / "a.tif", data, crs=None, transform=Affine.identity())
    reference, grid = Reference.open(path), raster_grid(path)
    image, valid = reference.read(grid.crop(Window(10, 20, 30, 40)))
    np.testing.assert_array_equal(image, data[:, 10:40, 20:60])
    assert valid.all()
    with pytest.raises(DataError, match=r"has no CRS.*EPSG:32632.*--like"):
        reference.read(box_grid((11.5, 48.1, 11.51, 48.11), res=0.6))
    other = PixelGrid(type(grid.geobox)((8, 8), Affine(2, 0, 0, 0, 2, 0), None), 0, 0)
    with pytest.raises(DataError, match="only its own grid"):
        reference.read(other)
    with pytest.raises(DataError, match="the grid has no CRS"):
        Reference.open(write(tmp_path / "b.tif", data)).read(grid)


@pytest.mark.parametrize(
    ("crs", "res"),
    [
        ("EPSG:32632", 0.5),
        ("EPSG:32632", 2.5),
        ("EPSG:3857", 0.9),
        ("EPSG:32633", 0.6),
        ("EPSG:4326", 2e-5),
    ],
)
def test_warped_pixels_do_not_depend_on_the_window(tmp_path: Path, crs: str, res: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (3, 900, 700), dtype=np.uint8)
    reference = Reference.open(write(tmp_path / "a.tif", noise))
    grid = box_grid((600050, 5299500, 600400, 5299990), "EPSG:32632", crs, res)
    image, valid = reference.read(grid)
    assert valid.mean() > 0.9
    height, width = grid.window.shape
    part = Window(grid.row + height // 3, grid.col + width // 4, height // 2, width // 3)
    rows, cols = part.within(grid.window)
    for asked in (reference.read(grid, part), reference.read(grid.crop(part))):
        np.testing.assert_array_equal(asked[0], image[:, rows, cols])
        np.testing.assert_array_equal(asked[1], valid[rows, cols])


def test_a_warp_puts_pixels_where_they_belong(tmp_path: Path) -> None:
    row, col = np.mgrid[:240, :240]
    ramps = np.stack([col, row, np.full_like(row, 77)]).astype(np.uint8)
    reference = Reference.open(write(tmp_path / "a.tif", ramps))
    for res in (0.25, 0.9, 3.0):
        grid = box_grid((600030, 5299880, 600110, 5299970), "EPSG:32632", "EPSG:32632", res)
        image, valid = reference.read(grid)
        assert valid.all()
        rows, cols = np.meshgrid(*(np.arange(n) + 0.5 for n in grid.window.shape), indexing="ij")
        x, y = grid.xys(rows + grid.row, cols + grid.col)
        np.testing.assert_allclose(image[0], (x - NORTH_UP.c) / 0.6 - 0.5, atol=0.6)
        np.testing.assert_allclose(image[1], (NORTH_UP.f - y) / 0.6 - 0.5, atol=0.6)
        assert (image[2] == 77).all()


@pytest.mark.parametrize("res", [0.25, 0.9, 3.0])
def test_colours_do_not_bleed_out_of_invalid_pixels(tmp_path: Path, res: float) -> None:
    data = np.full((3, 240, 240), 200, np.uint8)
    data[:, :, 120:] = 0
    reference = Reference.open(write(tmp_path / "a.tif", data, nodata=0))
    grid = box_grid((600000, 5299860, 600144, 5300000), "EPSG:32632", "EPSG:32632", res)
    image, valid = reference.read(grid)
    assert valid.mean() == pytest.approx(0.5, abs=0.03)
    assert (image[:, valid] == 200).all()
    assert not image[:, ~valid].any()


@pytest.mark.parametrize("degrees", [10, 25, 100])
def test_a_rotated_raster_shows_every_place_where_it_is(tmp_path: Path, degrees: float) -> None:
    angle = np.radians(degrees)
    cos, sin = 0.6 * np.cos(angle), 0.6 * np.sin(angle)
    x0, y0 = 600060.0, 5299940.0  # of the middle
    turned = Affine(cos, sin, x0 - 100 * (cos + sin), sin, -cos, y0 - 100 * (sin - cos))

    def ramps(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.stack([120 + (x - x0), 120 + (y - y0), np.full_like(x, 77)])

    row, col = np.mgrid[:200, :200] + 0.5
    data = ramps(
        *(turned.a * col + turned.b * row + turned.c, turned.d * col + turned.e * row + turned.f)
    )
    path = write(tmp_path / "a.tif", np.rint(data).astype(np.uint8), transform=turned)
    grid = box_grid((x0 - 30, y0 - 24, x0 + 30, y0 + 24), "EPSG:32632", "EPSG:32632", 0.6)
    image, valid = Reference.open(path).read(grid)
    rows, cols = np.mgrid[: grid.window.height, : grid.window.width] + 0.5
    wanted = ramps(*grid.xys(rows + grid.row, cols + grid.col))
    assert valid.all()
    assert np.abs(image - wanted).max() <= 1.2


def test_the_log_tells_what_was_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.tif", smooth(4))
    with caplog.at_level("INFO", "geodiff"):
        Reference.open(path, (4, 1, 2)).coverage(raster_grid(path))
    assert [record.message for record in caplog.records] == [
        "source: a.tif (GTiff), bands (4, 1, 2) of 4 as red, green, blue, 260 x 200 px, EPSG:32632",
        "source: covers 100.0 % of the grid",
    ]


def test_rotated_and_south_up_rasters_are_warped(tmp_path: Path) -> None:
    data = smooth()
    grid = box_grid((600020, 5299900, 600100, 5299980), "EPSG:32632", "EPSG:32632", 0.6)
    wanted, _ = Reference.open(write(tmp_path / "a.tif", data)).read(grid)
    upside = Affine(0.6, 0, NORTH_UP.c, 0, 0.6, NORTH_UP.f - 0.6 * 200)
    path = write(tmp_path / "b.tif", data[:, ::-1], transform=upside)
    image, valid = Reference.open(path).read(grid)
    assert valid.all()
    assert np.abs(image.astype(int) - wanted).max() <= 1
    turned = Affine(0, 0.6, NORTH_UP.c, -0.6, 0, NORTH_UP.f)
    path = write(tmp_path / "c.tif", data.transpose(0, 2, 1), transform=turned)
    image, valid = Reference.open(path).read(grid)
    assert valid.all()
    assert np.abs(image.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask"])
def test_every_kind_of_mask_counts(tmp_path: Path, kind: str) -> None:
    data, good = smooth(), np.ones((200, 260), bool)
    good[:50] = False
    data[:, ~good] = 0
    data[0, 100:110] = 0  # one band of zeros is a colour, not nodata
    path = tmp_path / "a.tif"
    if kind == "alpha":
        data = np.concatenate([data, good[None] * np.uint8(255)])
        write(path, data, photometric="RGB", alpha="yes")
    elif kind == "nodata":
        write(path, data, nodata=0)
    else:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            write(path, data)
            with rasterio.open(path, "r+") as dataset:
                dataset.write_mask(good)
    reference, grid = Reference.open(path), raster_grid(path)
    image, valid = reference.read(grid)
    np.testing.assert_array_equal(valid, good)
    np.testing.assert_array_equal(image, data[:3])
    assert reference.coverage(grid) == pytest.approx(0.75, abs=0.01)
    finer = box_grid((600000, 5299900, 600100, 5300000), "EPSG:32632", "EPSG:32632", 0.5)
    _, valid = reference.read(finer)
    assert not valid[:59].any()
    assert valid[62:].all()


def test_near_infrared_labelled_alpha_is_no_mask(tmp_path: Path) -> None:
    data = np.concatenate([smooth(), smooth(1)])
    path = write(tmp_path / "a.tif", data, photometric="RGB", alpha="yes")
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.alpha
    image, valid = Reference.open(path).read(raster_grid(path))
    assert valid.all()
    np.testing.assert_array_equal(image, data[:3])
    image, _ = Reference.open(path, bands=(4, 1, 2)).read(raster_grid(path))
    np.testing.assert_array_equal(image, data[[3, 0, 1]])


def test_other_numbers_are_scaled(tmp_path: Path) -> None:
    values = np.tile(np.array([0, 100, 600, 1100, 9000], np.float32), (3, 4, 1))
    values[1, 2, 3] = np.nan
    path = write(tmp_path / "a.tif", values)
    image, valid = Reference.open(path, scale=(100, 1100)).read(raster_grid(path))
    np.testing.assert_array_equal(image[0, 0], [0, 0, 128, 255, 255])
    assert not valid[2, 3]
    assert valid.sum() == 19
    deep = write(tmp_path / "b.tif", np.nan_to_num(values).astype(np.uint16))
    image, _ = Reference.open(deep, scale=(100, 1100)).read(raster_grid(deep))
    np.testing.assert_array_equal(image[2, 1], [0, 0, 128, 255, 255])


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3857"])
def test_coverage_is_the_share_of_the_grid(tmp_path: Path, crs: str) -> None:
    reference = Reference.open(write(tmp_path / "a.tif", smooth(height=100, width=100)))
    for box, share in [
        ((600006, 5299950, 600050, 5299990), 1.0),
        ((600000, 5299880.4, 600060, 5300000.4), 0.5),
        ((599000, 5299000, 601000, 5301000), 60 * 60 / 2000**2),
        ((601000, 5299880, 601060, 5300000), 0.0),
    ]:
        grid = box_grid(box, "EPSG:32632", crs, 0.7)
        coverage = reference.coverage(grid)
        if crs == "EPSG:32632":  # in another CRS the grid is the turned box's bounds
            assert coverage == pytest.approx(share, rel=0.05), box
        assert reference.read(grid)[1].mean() == pytest.approx(coverage, rel=0.02), box


def world_map(path: Path, degrees: float, **profile: object) -> Path:
    """A raster of the whole world in longitude and latitude."""
    height, width = round(180 / degrees), round(360 / degrees)
    place = Affine(degrees, 0.0, -180.0, 0.0, -degrees, 90.0)
    return write(
        path, smooth(height=height, width=width), crs="EPSG:4326", transform=place, **profile
    )


@pytest.mark.parametrize("crs", ["EPSG:32611", "EPSG:2193", "EPSG:3031"])
@pytest.mark.parametrize("res", [3_000.0, 30_000.0])
def test_a_map_of_the_world_is_warped_onto_any_grid(tmp_path: Path, crs: str, res: float) -> None:
    # PROJ has no image in these projections for some places on the far side of the globe.
    reference = Reference.open(world_map(tmp_path / "world.tif", 0.5))
    x, y = {"EPSG:32611": (5e5, 4e6), "EPSG:2193": (1.6e6, 5.4e6), "EPSG:3031": (1e6, 1e6)}[crs]
    grid = box_grid((x - 5e5, y - 5e5, x + 5e5, y + 5e5), crs, crs, res)
    assert reference.coverage(grid) == 1
    image, valid = reference.read(grid)
    assert valid.all()
    for row, col in ((0, 0), (1, 2), (3, 3)):  # the pixel shows the place where it lies
        at = grid.xy(grid.row + row + 0.5, grid.col + col + 0.5)
        lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*at)
        truth = smooth(height=360, width=720)[:, int((90 - lat) * 2), int((lon + 180) * 2)]
        assert np.abs(image[:, row, col] - truth.astype(float)).max() < 25
    part = Window(grid.row - 3, grid.col + 1, 5, 2)
    wide, _ = reference.read(grid, grid.window.pad(4))
    again, _ = reference.read(grid, part)
    assert np.array_equal(again, wide[(slice(None), *part.within(grid.window.pad(4)))])


REFUSED = {
    "one": (smooth(1), {}, {}, "has 1 band, three are needed.*--bands 1,1,1"),
    "two": (smooth(2), {}, {}, "has 2 bands, three are needed"),
    "deep": (smooth().astype(np.uint16), {}, {}, "holds uint16 numbers.*--scale LO,HI"),
    "float": (smooth().astype(np.float32), {}, {}, "holds float32 numbers.*--scale LO,HI"),
    "complex": (smooth().astype(np.complex64), {}, {"scale": (0, 1)}, "complex numbers"),
    "nodata": (np.zeros((3, 64, 64), np.uint8), {"nodata": 0}, {}, "has no valid pixel"),
    "nan": (np.full((3, 8, 8), np.nan), {}, {"scale": (0, 1)}, "has no valid pixel"),
    "clear": (
        np.concatenate([smooth(), np.zeros((1, 200, 260), np.uint8)]),
        {"photometric": "RGB", "alpha": "yes"},
        {},
        "has no valid pixel",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_rasters_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    data, profile, options, message = REFUSED[name]
    with pytest.raises(DataError, match=message) as caught:
        Reference.open(write(tmp_path / "a.tif", data, **profile), **options)
    assert "\n" not in str(caught.value)


def test_a_palette_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, smooth(1), photometric="palette")
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {0: (0, 0, 0, 255), 1: (9, 9, 9, 255)})
    with pytest.raises(DataError, match="-expand rgb"):
        Reference.open(path)


@pytest.mark.parametrize(
    "options", [{"bands": (1, 2)}, {"bands": (1, 2, 9)}, {"scale": (9, 3)}, {"scale": (0, np.nan)}]
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, tuple[float, ...]]) -> None:
    path = write(tmp_path / "a.tif", smooth())
    with pytest.raises(UsageError, match=r"bands|scale"):
        Reference.open(path, **options)  # type: ignore[arg-type]


def test_grey_is_used_three_times(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", smooth(1))
    image, _ = Reference.open(path, bands=(1, 1, 1)).read(raster_grid(path))
    np.testing.assert_array_equal(image, smooth(1).repeat(3, axis=0))


def test_broken_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    noise = np.random.default_rng(0).integers(0, 256, (3, 600, 600), dtype=np.uint8)
    path = write(tmp_path / "whole.tif", noise)
    grid, reference = raster_grid(path), Reference.open(path)
    other = box_grid((600010, 5299700, 600300, 5299990), "EPSG:32632", "EPSG:3857", 0.6)
    whole = path.read_bytes()
    (tmp_path / "half.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="does not exist"):
        Reference.open(tmp_path / "missing.tif")
    with pytest.raises(DataError, match="is empty"):
        Reference.open(tmp_path / "empty.tif")
    with pytest.raises(DataError, match="may be truncated"):
        Reference.open(tmp_path / "half.tif")
    path.write_bytes(whole[: len(whole) // 2])  # it broke after it was opened
    for asked in (grid, other):
        with pytest.raises(DataError, match=r"whole\.tif.*may be truncated"):
            reference.read(asked)


def test_a_far_finer_raster_is_refused(tmp_path: Path) -> None:
    reference = Reference.open(write(tmp_path / "a.tif", smooth()))
    with pytest.raises(DataError, match="333 times finer than the grid"):
        reference.read(box_grid((600000, 5299000, 601000, 5300000), "EPSG:32632", None, 200))


def test_read_chip_takes_three_bands_of_any_small_image(tmp_path: Path, noisy_rgb: Path) -> None:
    with rasterio.open(noisy_rgb) as dataset:
        np.testing.assert_array_equal(read_chip(noisy_rgb), dataset.read())
    data = smooth(4)
    plain = write(tmp_path / "a.tif", data, crs=None, transform=Affine.identity())
    np.testing.assert_array_equal(read_chip(plain), data[:3])
    with pytest.raises(DataError, match="does not exist"):
        read_chip(tmp_path / "missing.png")


def test_real_naip_is_wholly_valid(imagery: Path) -> None:
    path = sorted((imagery / "naip_ca_060cm" / "images").glob("*.tif"))[0]
    image, valid = Reference.open(path).read(raster_grid(path))
    assert valid.all()
    np.testing.assert_array_equal(image, read_chip(path))
