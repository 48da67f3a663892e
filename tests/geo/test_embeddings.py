"""Embedding grids: slerp between cell centres, and the field does not depend on the window."""

from __future__ import annotations

import math
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geodiff.errors import DataError, OutputError, UsageError
from geodiff.geo.embeddings import EmbeddingGrid, slerp
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.window import Window

BOX = (11.5, 48.1, 11.503, 48.1015)
CELL = 64


def unit_vectors(shape: tuple[int, int], features: int = 7) -> npt.NDArray[np.float32]:
    values = np.random.default_rng(0).standard_normal((*shape, features))
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def embedding(pixels: PixelGrid, cell: int = CELL, gsd: float = 0.6) -> EmbeddingGrid:
    grid = pixels.cell_grid(cell)
    shape = grid.window.shape
    return EmbeddingGrid(unit_vectors(shape), np.ones(shape, bool), grid, cell, gsd, "test")


@pytest.fixture
def pixels() -> PixelGrid:
    return box_grid(BOX, res=0.6)


@pytest.fixture
def grid(pixels: PixelGrid) -> EmbeddingGrid:
    return embedding(pixels)


def naive_slerp(a: list[float], b: list[float], t: float) -> list[float]:
    angle = math.acos(max(-1.0, min(1.0, sum(x * y for x, y in zip(a, b, strict=True)))))
    if angle < 1e-6:
        return a
    first, second = math.sin((1 - t) * angle), math.sin(t * angle)
    return [(first * x + second * y) / math.sin(angle) for x, y in zip(a, b, strict=True)]


def naive_field(grid: EmbeddingGrid, row: float, col: float) -> list[float]:
    height, width = grid.valid.shape
    row, col = min(max(row - 0.5, 0), height - 1), min(max(col - 0.5, 0), width - 1)
    top, left = int(row), int(col)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    value = grid.values.tolist()
    upper = naive_slerp(value[top][left], value[top][right], col - left)
    lower = naive_slerp(value[bottom][left], value[bottom][right], col - left)
    return naive_slerp(upper, lower, row - top)


def test_field_and_points_equal_slerp_of_four_neighbours(grid: EmbeddingGrid) -> None:
    height, width = grid.valid.shape
    assert min(height, width) >= 3
    rows, cols = np.linspace(-1, height + 1, 23), np.linspace(-1, width + 1, 29)
    field = grid.field(rows, cols)
    wanted = np.array([[naive_field(grid, row, col) for col in cols] for row in rows])
    np.testing.assert_allclose(field, wanted, atol=1e-6)
    points = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1)
    np.testing.assert_array_equal(grid.at(points), field)


def test_field_is_exact_at_centres_and_constant_beyond_them(grid: EmbeddingGrid) -> None:
    height, width = grid.valid.shape
    rows, cols = np.arange(height) + 0.5, np.arange(width) + 0.5
    np.testing.assert_array_equal(grid.field(rows, cols), grid.values)
    np.testing.assert_array_equal(grid.field([-9, height + 9], [0, width])[0, 0], grid.values[0, 0])
    np.testing.assert_array_equal(
        grid.field([-9, height + 9], [0, width])[1, 1], grid.values[-1, -1]
    )


def test_field_has_unit_length_between_centres(grid: EmbeddingGrid) -> None:
    field = grid.field(np.linspace(0, 5, 41), np.linspace(0, 6, 43))
    assert field.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(field, axis=-1), 1, atol=1e-6)


def test_one_cell_is_constant() -> None:
    pixels = box_grid(BOX, res=0.6)
    one = embedding(pixels.crop(Window(0, 0, CELL, CELL)))
    assert one.valid.shape == (1, 1)
    np.testing.assert_array_equal(one.field([0.1, 3], [0.7])[1, 0], one.values[0, 0])


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 0.5, 3.0])
def test_slerp_turns_at_constant_speed(angle: float) -> None:
    a, b = np.array([1.0, 0.0]), np.array([math.cos(angle), math.sin(angle)])
    t = np.linspace(0, 1, 11)
    turned = slerp(np.tile(a, (11, 1)), np.tile(b, (11, 1)), t)
    np.testing.assert_allclose(
        turned, np.stack([np.cos(t * angle), np.sin(t * angle)], -1), atol=1e-7
    )
    np.testing.assert_array_equal(turned[[0, -1]], [a, b])


def test_slerp_between_opposite_vectors_takes_the_nearer_end() -> None:
    a = np.array([0.6, 0.8])
    np.testing.assert_array_equal(slerp(a, -a, [0.0, 0.5, 0.9, 1.0]), [a, a, -a, -a])


def latent_windows(pixels: PixelGrid) -> tuple[Window, Window]:
    whole = pixels.latents(8)
    return whole, Window(whole.row + 3, whole.col + 5, 11, 13)


@pytest.mark.parametrize(
    "target",
    [
        {"res": 0.6},
        {"res": 0.5},
        {"res": 0.6, "crs": "EPSG:3857"},
        {"res": 0.6, "crs": "EPSG:32633"},
        {"res": 6e-6, "crs": "EPSG:4326"},
    ],
)
def test_field_on_a_grid_does_not_depend_on_the_window(
    grid: EmbeddingGrid, target: dict[str, float]
) -> None:
    pixels = box_grid(BOX, **target)  # type: ignore[arg-type]
    whole, part = latent_windows(pixels)
    field = grid.field_on(pixels, whole, 8)
    assert field.shape == (*whole.shape, 7)
    rows, cols = part.within(whole)
    np.testing.assert_array_equal(grid.field_on(pixels, part, 8), field[rows, cols])
    single = grid.field_on(pixels, Window(part.row, part.col, 1, 1), 8)
    np.testing.assert_array_equal(single[0, 0], field[rows, cols][0, 0])
    # Nor does it depend on how the grid that names the lattice was cropped.
    np.testing.assert_array_equal(
        grid.field_on(pixels.crop(part.zoom_in(8)), part, 8), field[rows, cols]
    )


def test_field_on_the_own_lattice_is_exact_at_cell_centres(
    grid: EmbeddingGrid, pixels: PixelGrid
) -> None:
    # Latents of one cell each have their centres on the cells' centres.
    np.testing.assert_array_equal(grid.field_on(pixels, grid.grid.window, CELL), grid.values)


def test_field_on_another_crs_follows_the_place(grid: EmbeddingGrid, pixels: PixelGrid) -> None:
    other = box_grid(BOX, crs="EPSG:3857", res=0.6)
    window = Window(other.row // 8 + 7, other.col // 8 + 9, 1, 1)
    x, y = other.xy((window.row + 0.5) * 8, (window.col + 0.5) * 8)
    east, north = Transformer.from_crs("EPSG:3857", "EPSG:32632", always_xy=True).transform(x, y)
    corner = grid.grid.geobox.affine
    wanted = naive_field(grid, (corner.f - north) / (CELL * 0.6), (east - corner.c) / (CELL * 0.6))
    np.testing.assert_allclose(grid.field_on(other, window, 8)[0, 0], wanted, atol=1e-5)


def test_whole_cells_of_the_own_lattice_are_asked_for_their_vectors(
    grid: EmbeddingGrid, pixels: PixelGrid
) -> None:
    under = grid.grid.window
    np.testing.assert_array_equal(grid.on_cells(pixels, under), grid.values)
    part = Window(under.row + 1, under.col + 1, 1, 2)
    elsewhere = pixels.crop(Window(pixels.row - 500, pixels.col + 7, 3, 5))
    for lattice in (pixels, elsewhere):
        found = grid.on_cells(lattice, part)
        np.testing.assert_array_equal(found, grid.values[part.within(under)])
    around = grid.on_cells(pixels, under.pad(2))  # beyond its border the nearest cell counts
    assert around is not None
    np.testing.assert_array_equal(around[2:-2, 2:-2], grid.values)
    np.testing.assert_array_equal(around[0, 0], grid.values[0, 0])
    np.testing.assert_array_equal(around[-1, 3], grid.values[-1, 1])


def test_a_part_is_asked_for_its_cells_as_the_whole(grid: EmbeddingGrid, pixels: PixelGrid) -> None:
    under = grid.grid.window
    held = Window(under.row, under.col, under.height - 1, under.width - 1)
    part = replace(grid.crop(held), whole=grid.grid)
    asked = Window(under.row, under.col, under.height - 2, under.width - 2)
    assert part.frame == grid.frame
    np.testing.assert_array_equal(part.on_cells(pixels, asked), grid.on_cells(pixels, asked))


@pytest.mark.parametrize(
    "target",
    [
        {"res": 0.5},
        {"res": 0.6, "crs": "EPSG:3857"},
        {"res": 0.6, "crs": "EPSG:32633"},
        {"res": 6e-6, "crs": "EPSG:4326"},
    ],
)
def test_cells_of_another_lattice_are_others(grid: EmbeddingGrid, target: dict[str, float]) -> None:
    other = box_grid(BOX, **target)  # type: ignore[arg-type]
    assert grid.on_cells(other, other.latents(CELL)) is None


def test_cells_that_are_shifted_are_others(grid: EmbeddingGrid, pixels: PixelGrid) -> None:
    shifts = {1e-5: True, 0.1: False, 0.5: False, 1.0: False}  # pixels; the first is rounding
    for shift, same in shifts.items():
        affine = pixels.geobox.affine @ Affine.translation(shift, 0)
        geobox = GeoBox(pixels.window.shape, affine, pixels.crs)
        moved = PixelGrid(geobox, pixels.row, pixels.col)
        assert (grid.on_cells(moved, grid.grid.window) is not None) == same


def test_cells_of_a_grid_without_a_crs_do_not_fit(grid: EmbeddingGrid) -> None:
    plain = PixelGrid(GeoBox((128, 128), Affine.identity(), None), 0, 0)
    with pytest.raises(UsageError, match="both need a CRS, or neither"):
        grid.on_cells(plain, Window(0, 0, 1, 1))
    own = embedding(plain)
    np.testing.assert_array_equal(own.on_cells(plain, Window(0, 0, 2, 2)), own.values)


def test_grids_need_a_crs_both_or_neither(grid: EmbeddingGrid) -> None:
    plain = PixelGrid(GeoBox((128, 128), Affine.identity(), None), 0, 0)
    with pytest.raises(UsageError, match="both need a CRS, or neither"):
        grid.field_on(plain, Window(0, 0, 2, 2), 8)
    own = embedding(plain)
    np.testing.assert_array_equal(own.field_on(plain, Window(0, 0, 2, 2), CELL), own.values)


@pytest.mark.parametrize("kind", ["world", "noisy", "cropped", "plain"])
def test_saving_and_opening_is_exact(tmp_path: Path, noisy_rgb: Path, kind: str) -> None:
    noisy = raster_grid(noisy_rgb)
    pixels = {
        "world": box_grid(BOX, res=0.6),
        "noisy": noisy,
        "cropped": noisy.crop(Window(130, -70, 60, 200)),
        "plain": PixelGrid(GeoBox((96, 128), Affine.identity(), None), 0, 0),
    }[kind]
    made = embedding(pixels, cell=16, gsd=0.1 + 0.2)
    holes = made.valid.copy()
    holes[1, 2] = False
    made = EmbeddingGrid(made.values, holes, made.grid, made.cell, made.gsd, "vit-é 1")
    made.save(tmp_path / "e.tif")
    opened = EmbeddingGrid.open(tmp_path / "e.tif")
    assert opened.values.tobytes() == made.values.tobytes()
    np.testing.assert_array_equal(opened.valid, holes)
    assert tuple(opened.grid.geobox.affine) == tuple(made.grid.geobox.affine)
    assert (opened.grid, opened.cell, opened.gsd, opened.encoder) == (
        made.grid,
        16,
        0.1 + 0.2,
        "vit-é 1",
    )
    _, part = latent_windows(pixels)
    np.testing.assert_array_equal(
        opened.filled().field_on(pixels, part, 8), made.filled().field_on(pixels, part, 8)
    )
    assert [path.name for path in tmp_path.glob("*e.tif*")] == ["e.tif"]


def test_a_file_that_is_no_embedding_grid_is_refused(tmp_path: Path, noisy_rgb: Path) -> None:
    with pytest.raises(DataError, match="lacks the tags GEODIFF_ENCODER, GEODIFF_CELL"):
        EmbeddingGrid.open(noisy_rgb)
    with pytest.raises(DataError, match="does not exist"):
        EmbeddingGrid.open(tmp_path / "missing.tif")


def test_a_damaged_embedding_file_is_refused(tmp_path: Path, grid: EmbeddingGrid) -> None:
    grid.save(tmp_path / "e.tif")
    with rasterio.open(tmp_path / "e.tif", "r+") as dataset:
        dataset.update_tags(GEODIFF_CELL="many")
    with pytest.raises(DataError, match="damaged GEODIFF tags"):
        EmbeddingGrid.open(tmp_path / "e.tif")


def test_saving_into_no_directory_is_refused(tmp_path: Path, grid: EmbeddingGrid) -> None:
    with pytest.raises(OutputError, match="not a directory"):
        grid.save(tmp_path / "nowhere" / "e.tif")


def test_filling_takes_the_nearest_valid_cell(grid: EmbeddingGrid) -> None:
    holes = grid.valid.copy()
    holes[:, 2:] = False
    gappy = EmbeddingGrid(grid.values, holes, grid.grid, CELL, 0.6, "test")
    assert np.isnan(gappy.values[~holes]).all()
    with pytest.raises(UsageError, match=r"call filled\(\) first"):
        gappy.field([0.5], [0.5])
    filled = gappy.filled()
    assert filled.valid.all()
    np.testing.assert_array_equal(filled.values[:, :2], grid.values[:, :2])
    for col in range(2, holes.shape[1]):
        np.testing.assert_array_equal(filled.values[:, col], grid.values[:, 1])


def test_filling_breaks_ties_by_rows_then_columns(grid: EmbeddingGrid) -> None:
    holes = np.zeros_like(grid.valid)
    holes[0, 1] = holes[1, 0] = True
    filled = EmbeddingGrid(grid.values, holes, grid.grid, CELL, 0.6, "test").filled()
    np.testing.assert_array_equal(filled.values[0, 0], grid.values[0, 1])
    np.testing.assert_array_equal(filled.values[1, 1], grid.values[0, 1])


def test_nothing_to_fill_from_is_refused(grid: EmbeddingGrid) -> None:
    empty = EmbeddingGrid(grid.values, np.zeros_like(grid.valid), grid.grid, CELL, 0.6, "test")
    with pytest.raises(DataError, match="no cell of the embedding grid is valid"):
        empty.filled()


def test_to_xarray_is_georeferenced(grid: EmbeddingGrid) -> None:
    array = grid.to_xarray()
    assert array.dims == ("feature", "y", "x")
    assert array.rio.crs.to_epsg() == 32632
    kept = [float(number) for number in array.spatial_ref.attrs["GeoTransform"].split()]
    assert kept == list(grid.grid.geobox.affine.to_gdal())
    np.testing.assert_array_equal(array.values, np.moveaxis(grid.values, 2, 0))
    assert float(array.x[1] - array.x[0]) == pytest.approx(CELL * 0.6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((2, 2, 3))}, "do not fit a grid"),
        ({"gsd": 0.0}, "makes no sense"),
        ({"scale": 1.01}, "must be unit vectors"),
        ({"scale": np.nan}, "must be unit vectors"),
    ],
)
def test_wrong_parts_are_refused(
    grid: EmbeddingGrid, change: dict[str, object], message: str
) -> None:
    values = change.get("values", grid.values * change.get("scale", 1))  # type: ignore[operator]
    with pytest.raises(UsageError, match=message):
        EmbeddingGrid(values, grid.valid, grid.grid, CELL, change.get("gsd", 0.6), "x")  # type: ignore[arg-type]


def test_the_arrays_cannot_be_changed(grid: EmbeddingGrid) -> None:
    with pytest.raises(ValueError, match="read-only"):
        grid.values[0, 0, 0] = 1


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond ``size`` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_error_whichever_byte_is_the_last(
    tmp_path: Path, grid: EmbeddingGrid, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e.tif"
    grid.save(path)
    full = path.stat().st_size
    path.unlink()
    for limit in (100, full // 2, full - 1):  # GDAL itself does not notice the last one
        with (
            file_size_limit(limit),
            pytest.raises(
                OutputError, match=r"cannot write .*e\.tif: .*free on that disk"
            ) as caught,
        ):
            grid.save(path)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_grids_with_the_same_content_are_equal(tmp_path: Path, grid: EmbeddingGrid) -> None:
    holes = grid.valid.copy()
    holes[0, 1] = False
    gappy = replace(grid, valid=holes, source="a.tif")
    gappy.save(tmp_path / "e.tif")
    for same in (EmbeddingGrid.open(tmp_path / "e.tif"), pickle.loads(pickle.dumps(gappy))):
        assert same == gappy
        assert hash(same) == hash(gappy)
        assert same.digest == gappy.digest
    turned = grid.values.copy()
    turned[0, 0] = -turned[0, 0]
    moved = replace(grid.grid, row=grid.grid.row + 1)
    others = [
        replace(grid, **change)
        for change in (
            {"values": turned}, {"grid": moved}, {"gsd": 0.5}, {"encoder": "x"}, {"source": "b"},
            {"valid": holes},
        )
    ]  # fmt: skip
    assert len({grid, *others}) == 7
    assert grid != "test"


def test_the_source_is_kept_where_there_is_one(tmp_path: Path, grid: EmbeddingGrid) -> None:
    grid.save(tmp_path / "none.tif")
    replace(grid, source="scène 1.tif").save(tmp_path / "one.tif")
    for name, source in (("none", None), ("one", "scène 1.tif")):
        with rasterio.open(tmp_path / f"{name}.tif") as dataset:
            assert dataset.tags().get("GEODIFF_SOURCE") == source
        assert EmbeddingGrid.open(tmp_path / f"{name}.tif").source == (source or "")
