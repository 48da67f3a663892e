"""Denoising of a canvas: the published sampler to the letter, bits that ignore the batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geodiff.diffusion import canvas as memory
from geodiff.diffusion.noise import plane
from geodiff.errors import UsageError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, box_grid
from geodiff.jobs.imagine import imagine
from geodiff.jobs.mosaic.sampling import (
    DenseConditions,
    Sampling,
    WindowConditions,
    conditions,
    denoise,
)
from geodiff.jobs.request import MODES
from geodiff.models.bundle import Model
from geodiff.window import Window
from tests.conftest import NOISY
from tests.jobs.rasters import UTM
from tests.jobs.toys import Toy, grid_of, toyed

Floats = NDArray[np.float64]


def last(states: Iterator[torch.Tensor]) -> torch.Tensor:
    *_, result = states
    return result


def painted(model: Model, sampling: Sampling, canvas: Window, grid: PixelGrid) -> torch.Tensor:
    known = conditions(model, sampling, imagine(model, grid), grid, canvas)
    return last(denoise(model, sampling, known, canvas, 0.6, 3))


# The published sampler, written from its description, in its own coordinates


def arc(a: Floats, b: Floats, t: float) -> Floats:
    """Slerp of unit vectors."""
    angle = np.arccos(np.clip(a @ b, -1, 1))
    if abs(a @ b) > 0.9995:
        mixed = (1 - t) * a + t * b
        return mixed / np.linalg.norm(mixed)
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def vector(cells: EmbeddingGrid, row: float, col: float) -> Floats:
    """Four neighbours of a point in cells: two horizontal slerps and a vertical one."""
    values, corner = cells.values.astype(np.float64), cells.grid.window
    y = min(max(row - corner.row - 0.5, 0), corner.height - 1)
    x = min(max(col - corner.col - 0.5, 0), corner.width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, corner.height - 1), min(left + 1, corner.width - 1)
    upper = arc(values[top, left], values[top, right], x - left)
    lower = arc(values[bottom, left], values[bottom, right], x - left)
    return arc(upper, lower, y - top)


def epsilon(toy: Toy, x: torch.Tensor, abar: float, known: Floats | None) -> torch.Tensor:
    """Noise prediction of one window in variance preserving coordinates."""
    sigma = ((1 - abar) / abar) ** 0.5
    field = None if known is None else torch.from_numpy(known)[:, None, None].expand(-1, 8, 8)
    clean = toy.predicted(x / abar**0.5 / (1 + sigma), field)
    return (x - abar**0.5 * clean) / (1 - abar) ** 0.5


def reference(
    toy: Toy, cells: EmbeddingGrid, canvas: Window, w: float
) -> Iterator[tuple[torch.Tensor, float]]:
    """States x and their abar: 50 steps, windows of 8 every 2 latents, uniform averages."""
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    abars = np.concatenate([[1.0], np.cumprod(1 - betas)])
    x = torch.from_numpy(plane(3, canvas, 4, "initial")).double()
    for step, t in enumerate(range(1000, 0, -20)):
        abar, before = abars[t], abars[t - 20]
        total, count = torch.zeros_like(x), torch.zeros(canvas.shape)
        for i in range(0, canvas.height - 8 + 1, 2):
            for j in range(0, canvas.width - 8 + 1, 2):
                crop = x[:, i : i + 8, j : j + 8]
                # Latents of 8 px, cells of 16 px: the window's middle in cells of the lattice.
                known = vector(cells, (canvas.row + i + 4) / 2, (canvas.col + j + 4) / 2)
                cond, uncond = epsilon(toy, crop, abar, known), epsilon(toy, crop, abar, None)
                guided = (1 + w) * cond - w * uncond
                clean = (crop - (1 - abar) ** 0.5 * guided) / abar**0.5
                total[:, i : i + 8, j : j + 8] += clean
                count[i : i + 8, j : j + 8] += 1
        clean = total / count
        eps = (x - abar**0.5 * clean) / (1 - abar) ** 0.5
        variance = betas[t - 1] * (1 - before) / (1 - abar)
        z = torch.from_numpy(plane(3, canvas, 4, "ancestral", step)).double()
        x = before**0.5 * clean + (1 - before - variance) ** 0.5 * eps + variance**0.5 * z
        yield x, before


@pytest.mark.parametrize("canvas", [Window(0, 0, 12, 16), Window(-5, 7, 14, 8)])
@pytest.mark.parametrize("guidance", [4.0, 2.5])
def test_paper_equals_a_naive_implementation_at_every_step(
    model: Model, canvas: Window, guidance: float
) -> None:
    model, toy = toyed(model)
    sampling = Sampling.of("paper", model, None, guidance, 4)
    assert (sampling.size, sampling.stride) == (8, 2)
    grid = grid_of(96, 128, canvas.row * 8, canvas.col * 8)
    cells = imagine(model, grid)
    known = conditions(model, sampling, cells, grid, canvas)
    states = denoise(model, sampling, known, canvas, 0.6, 3)
    expected = reference(toy, cells, canvas, guidance - 1)
    for ours, (theirs, abar) in zip(states, expected, strict=True):
        torch.testing.assert_close(ours[0].double() * abar**0.5, theirs, rtol=1e-5, atol=1e-5)


# Bits


@pytest.mark.parametrize("mode", MODES)
def test_batch_does_not_change_a_bit(model: Model, mode: str) -> None:
    model, _ = toyed(model)
    canvas, grid = Window(-4, 3, 19, 26), grid_of(96, 128)
    results = [
        painted(model, Sampling.of(mode, model, 4, None, batch), canvas, grid)
        for batch in (2, 4, 8)
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("mode", MODES)
def test_canvases_in_files_have_the_same_bits(
    model: Model, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = toyed(model)
    canvas, grid = Window(-4, 3, 70, 26), grid_of(512, 128)
    for solver in ("dpmpp_2m", "heun", "euler", "published"):
        sampling = replace(Sampling.of(mode, model, 3, None, 4), solver=solver)
        monkeypatch.setattr(memory, "IN_MEMORY", 1 << 30)
        inside = painted(model, sampling, canvas, grid)
        monkeypatch.setattr(memory, "IN_MEMORY", 0)
        assert torch.equal(painted(model, sampling, canvas, grid), inside)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_a_state_stays_as_it_is(
    model: Model, mode: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "IN_MEMORY", limit)
    model, _ = toyed(model)
    sampling = Sampling.of(mode, model, 4, None, 4)
    canvas, grid = Window(0, 0, 12, 12), grid_of(96, 96)
    known = conditions(model, sampling, imagine(model, grid), grid, canvas)
    copies = []
    states = [
        (copies.append(state.clone()), state)[1]  # type: ignore[func-returns-value]
        for state in denoise(model, sampling, known, canvas, 0.6, 3)
    ]
    assert all(torch.equal(*pair) for pair in zip(states, copies, strict=True))


@pytest.mark.parametrize("mode", ["quality", "balanced", "fast"])
def test_inner_windows_do_not_know_the_box(model: Model, mode: str) -> None:
    sampling = replace(Sampling.of(mode, model, 2, 1.0, 4), pad=16)
    small, large = sampling.canvas(grid_of(16, 16), 8), sampling.canvas(grid_of(64, 64), 8).pad(5)
    assert (large.row - small.row) % sampling.stride  # another corner of the same lattice

    def latents(canvas: Window) -> torch.Tensor:
        field = torch.zeros(8, *canvas.shape, dtype=torch.float16)
        field[0] = 1
        known = DenseConditions(field, canvas)
        return last(denoise(model, sampling, known, canvas, 0.6, 0))

    rows, cols = Window(0, 0, 2, 2).within(small)
    inner = latents(small)[:, :, rows, cols]
    rows, cols = Window(0, 0, 2, 2).within(large)
    # Two steps reach two windows far: 16 latents.
    torch.testing.assert_close(latents(large)[:, :, rows, cols], inner, atol=1e-4, rtol=1e-4)


# Conditions


@pytest.mark.parametrize("rows", [14, 70])
def test_dense_conditions_are_the_field_in_half_precision(model: Model, rows: int) -> None:
    grid, canvas = grid_of(64, 48), Window(-4, -4, rows, 14)
    embeddings = imagine(model, grid, 0)
    known = conditions(model, Sampling.of("fast", model, None, None, 8), embeddings, grid, canvas)
    windows = [Window(-4, -4, 8, 8), Window(1, 2, 8, 8)]
    made = known.at(windows)
    assert made.dtype == torch.float32
    for window, crop in zip(windows, made, strict=True):
        wanted = np.moveaxis(embeddings.field_on(grid, window, 8), -1, 0)
        np.testing.assert_array_equal(crop.numpy(), wanted.astype(np.float16))


def test_window_conditions_are_the_cell_under_an_aligned_window(model: Model) -> None:
    """A window whose middle is the middle of a cell takes that cell's vector, to the bit."""
    grid, canvas = grid_of(160, 160), Window(0, 0, 20, 20)
    embeddings = imagine(model, grid, 0)
    known = conditions(model, Sampling.of("paper", model, None, None, 8), embeddings, grid, canvas)
    windows = [Window(1, 3, 8, 8), Window(5, 5, 8, 8)]  # middles at 2.5, 3.5 and 4.5, 4.5 cells
    made = known.at(windows)
    assert made.shape == (2, 8, 8, 8)
    for crop, cell in zip(made, ((2, 3), (4, 4)), strict=True):
        wanted = torch.from_numpy(embeddings.values[cell].copy())[:, None, None].expand(8, 8, 8)
        assert torch.equal(crop, wanted)


def test_window_conditions_depend_on_the_place_alone(model: Model) -> None:
    """Two boxes of one lattice whose embeddings begin at different cells."""
    sampling = Sampling.of("paper", model, None, None, 8)
    windows = [Window(row, col, 8, 8) for row in range(8, 16, 3) for col in range(9, 15, 2)]
    made = []
    for grid in (grid_of(320, 320), grid_of(250, 260, 16, 33)):
        cells = imagine(model, grid, 0)
        made.append(conditions(model, sampling, cells, grid, Window(6, 6, 24, 24)).at(windows))
    assert torch.equal(*made)


def test_window_conditions_forget_where_coordinates_begin(model: Model) -> None:
    """Saved embeddings count theirs from their own corner: the positions have the same bits."""
    whole = PixelGrid(GeoBox((400, 400), NOISY, "EPSG:26911"), 0, 0)
    rows, cols = np.arange(20.0), np.arange(20.0) * 1.5
    places = []
    for corner in range(0, 160, 16):
        cells = imagine(model, whole.crop(Window(corner, corner, 160, 160)), 0)
        own = PixelGrid(cells.grid.geobox, cells.grid.row, cells.grid.col)
        for grid in (cells.grid, own):
            known = WindowConditions(replace(cells, grid=grid), whole, 8, None)
            places.append(known.cells(rows, cols) + np.array([own.row, own.col]))
    assert all(np.array_equal(places[0], other) for other in places)


def test_window_conditions_find_their_cells_in_another_crs(model: Model) -> None:
    utm = box_grid((-117.0, 34.0, -116.999, 34.001), crs="EPSG:32611", res=0.6)
    other = box_grid((-117.0, 34.0, -116.999, 34.001), crs="EPSG:3857", res=0.75)
    embeddings, latents = imagine(model, utm, 0), other.latents(8)
    window = Window(latents.row + 3, latents.col + 2, 9, 9)  # its middle is that of a latent
    known = conditions(
        model, Sampling.of("paper", model, None, None, 8), embeddings, other, latents
    )
    middle = Window(window.row + 4, window.col + 4, 1, 1)
    wanted = embeddings.field_on(other, middle, 8)[0, 0]
    np.testing.assert_allclose(known.at([window])[0, :, 0, 0].numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize("mode", ["paper", "fast"])
def test_embeddings_without_a_crs_do_not_fit_a_grid_with_one(model: Model, mode: str) -> None:
    nowhere = PixelGrid(GeoBox((64, 64), UTM, None), 0, 0)
    embeddings = imagine(model, grid_of(64, 64), 0)
    sampling = Sampling.of(mode, model, None, None, 8)
    with pytest.raises(UsageError, match="both need a CRS, or neither"):
        conditions(model, sampling, embeddings, nowhere, Window(0, 0, 8, 8))
