"""What a mode paints, in which windows, and how often it asks the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from odc.geo.geobox import GeoBox

from geodiff.geo.grid import PixelGrid
from geodiff.jobs.imagine import imagine
from geodiff.jobs.sampling import Sampling, conditions, denoise
from geodiff.models.bundle import Model
from geodiff.models.denoiser import Denoiser
from geodiff.window import Window
from tests.jobs.rasters import UTM


def grid_of(height: int, width: int) -> PixelGrid:
    return PixelGrid(GeoBox((height, width), UTM, "EPSG:32610"), 0, 0)


@pytest.mark.parametrize("mode", ["balanced", "quality"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("size", [(16, 16), (100, 72)])
def test_counter_counts_the_calls_of_the_network(
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    guidance: float,
    size: tuple[int, int],
) -> None:
    sampling = Sampling.of(mode, model, 4, guidance, 1)
    grid = grid_of(*size)
    canvas = sampling.canvas(grid, 8)
    seen: list[int] = []

    def counted(
        self: Denoiser, noisy: torch.Tensor, time: torch.Tensor, field: object, gsd: float
    ) -> torch.Tensor:
        seen.append(len(noisy))
        return torch.zeros_like(noisy)

    monkeypatch.setattr(Denoiser, "velocity", counted)
    field = torch.zeros(8, *canvas.shape)
    states = list(denoise(model, sampling, field, canvas, 0.6, 0))
    assert sum(seen) == sampling.evaluations(canvas)
    assert len(states) == 4
    assert states[-1].shape == (1, 4, *canvas.shape)


def test_modes_differ_and_options_win(model: Model) -> None:
    balanced = Sampling.of("balanced", model, None, None, 8)
    quality = Sampling.of("quality", model, None, None, 8)
    assert (balanced.stride, balanced.shifted, balanced.guidance) == (6, True, 1.5)
    assert (quality.stride, quality.shifted) == (4, False)
    chosen = Sampling.of("quality", model, 3, 0.0, 2)
    assert (chosen.steps, chosen.guidance, chosen.batch) == (3, 0.0, 2)
    assert len(chosen.sigmas) == 4


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (33, 70), (64, 64)])
def test_canvas_holds_the_grid_and_a_window(model: Model, size: tuple[int, int]) -> None:
    sampling = Sampling.of("balanced", model, None, None, 8)
    grid = grid_of(*size).crop(Window(-5, 13, *size))
    canvas = sampling.canvas(grid, 8)
    assert grid.latents(8).pad(sampling.pad).intersect(canvas) == grid.latents(8).pad(sampling.pad)
    assert min(canvas.shape) >= sampling.size


def test_conditions_are_the_field_in_half_precision(model: Model) -> None:
    grid = grid_of(64, 48)
    canvas = Window(-4, -4, 70, 14)
    embeddings = imagine(model, grid, 0)
    field = conditions(model, embeddings, grid, canvas)
    assert field.dtype == torch.float16
    wanted = np.moveaxis(embeddings.field_on(grid, canvas, 8), -1, 0)
    np.testing.assert_array_equal(field.numpy(), wanted.astype(np.float16))


def test_inner_windows_do_not_know_the_box(model: Model) -> None:
    sampling = replace(Sampling.of("balanced", model, 2, 1.0, 4), pad=16)
    small, large = sampling.canvas(grid_of(16, 16), 8), sampling.canvas(grid_of(64, 64), 8)

    def latents(canvas: Window) -> torch.Tensor:
        field = torch.zeros(8, *canvas.shape)
        field[0] = 1
        return list(denoise(model, sampling, field, canvas, 0.6, 0))[-1]

    rows, cols = Window(0, 0, 2, 2).within(small)
    inner = latents(small)[:, :, rows, cols]
    rows, cols = Window(0, 0, 2, 2).within(large)
    # Two steps reach two windows far: 16 latents.
    torch.testing.assert_close(latents(large)[:, :, rows, cols], inner, atol=1e-4, rtol=1e-4)
