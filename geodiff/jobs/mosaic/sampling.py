"""The conditions of the windows of one canvas, and the denoising of its latents under them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pyproj import Transformer
from torch import Tensor

from geodiff.diffusion import Denoise, Steered, lanes_on
from geodiff.diffusion import canvas as memory
from geodiff.diffusion.noise import plane
from geodiff.errors import DataError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.jobs.mosaic.guiding import guided
from geodiff.jobs.mosaic.modes import GUIDED_SIGMAS, Sampling
from geodiff.jobs.mosaic.steering import Asked, Steering
from geodiff.jobs.request import MODES
from geodiff.models.bundle import Model
from geodiff.window import Window

__all__ = [
    "GUIDED_SIGMAS",
    "MODES",
    "Conditions",
    "DenseConditions",
    "Sampling",
    "WindowConditions",
    "conditions",
    "denoise",
]

STRIP = 64
"""Rows of latents for which noise and field are made at once."""


class Conditions(Protocol):
    """What the windows of a canvas are painted under."""

    @property
    def asked(self) -> Asked | None:
        """What cells of the canvas are steered towards; None: nothing."""

    def at(self, windows: Sequence[Window]) -> Tensor:
        """float32 (window, feature, row, col) for windows of one size inside the canvas."""


@dataclass(frozen=True, eq=False)
class DenseConditions:
    """The embedding field at every latent: two windows see the same vector at the same place."""

    values: Tensor  # float16 (feature, row, col)
    canvas: Window  # latents that the values cover
    asked: Asked | None = None

    def at(self, windows: Sequence[Window]) -> Tensor:
        """Crops of the field, float32 (window, feature, row, col)."""
        slices = [window.within(self.canvas) for window in windows]
        return torch.stack([self.values[:, rows, cols] for rows, cols in slices]).float()


@dataclass(frozen=True, eq=False)
class WindowConditions:
    """One vector for each window, as published (Graikos et al. 2024): the field at its centre."""

    embeddings: EmbeddingGrid
    grid: PixelGrid  # of the mosaic
    factor: int  # pixels a latent
    across: Transformer | None  # from the mosaic's CRS to the embeddings'; None where they share it
    asked: Asked | None = None  # a window's vector is no cell's

    def at(self, windows: Sequence[Window]) -> Tensor:
        """The vectors spread over their windows, float32 (window, feature, row, col)."""
        rows = np.array([window.row + window.height / 2 for window in windows])
        cols = np.array([window.col + window.width / 2 for window in windows])
        vectors = torch.from_numpy(self.embeddings.at(self.cells(rows, cols)))
        return vectors[:, :, None, None].repeat(1, 1, *windows[0].shape)

    def cells(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (n, 2) in cells from the corner of the embeddings; rows, cols in latents.

        Rounded to 2**-20 of a cell: the same embeddings read from a file have their corner as the
        origin of their coordinates, which moves a place by some 1e-11 of a cell. Raises DataError
        for a place that the CRS of the embeddings cannot show.
        """
        x, y = self.grid.xys(rows * self.factor, cols * self.factor)
        if self.across is not None:
            x, y = self.across.transform(x, y)
            if not np.isfinite(x + y).all():
                raise DataError(
                    f"a part of the mosaic's grid in {self.grid.crs_name} cannot be shown in "
                    f"{self.embeddings.grid.crs_name}, the CRS of the embeddings: choose another "
                    "CRS"
                )
        frame = self.embeddings.frame
        affine, corner = frame.geobox.affine, frame.window
        left, top = frame.xy(0, 0)
        where = np.stack([(y - top) / affine.e, (x - left) / affine.a], axis=-1)
        return np.round(where * 2**20) / 2**20 - (corner.row, corner.col)


def conditions(
    model: Model, sampling: Sampling, embeddings: EmbeddingGrid, grid: PixelGrid, canvas: Window
) -> Conditions:
    """The conditions of the windows of ``canvas``, latents of ``grid``, as ``sampling`` wants them.

    A large dense field lies in a temporary file (see ``diffusion.canvas``). Raises UsageError and
    DataError as ``EmbeddingGrid.field_on`` does.
    """
    factor = model.codec.factor
    if sampling.per_window:
        embeddings.field_on(grid, Window(canvas.row, canvas.col, 1, 1), factor)  # refuses misfits
        return WindowConditions(embeddings, grid, factor, between(grid, embeddings.grid))
    field = memory.zeros((embeddings.values.shape[-1], *canvas.shape), torch.float16)
    for strip in strips(canvas):
        block = embeddings.field_on(grid, strip, factor)
        field[:, strip.within(canvas)[0]] = torch.from_numpy(np.moveaxis(block, -1, 0))
    asked = None
    if sampling.steer and model.probe is not None:
        asked = Asked.of(embeddings, grid, canvas, model.probe.side, factor)
    return DenseConditions(field, canvas, asked)


def between(grid: PixelGrid, other: PixelGrid) -> Transformer | None:
    """From the CRS of ``grid`` to that of ``other``; None where they are the same."""
    if grid.crs is None or other.crs is None or grid.crs == other.crs:
        return None
    return Transformer.from_crs(grid.crs.proj, other.crs.proj, always_xy=True)


def denoise(
    model: Model,
    sampling: Sampling,
    conditions: Conditions,
    canvas: Window,
    gsd: float,
    seed: int,
) -> Iterator[Tensor]:
    """Latents float32 (1, channel, row, col) of the canvas after every solver step.

    ``gsd`` in metres per pixel. A state stays as it is when the next one is made; large ones lie in
    temporary files (see ``diffusion.canvas``), so drop those that are not needed.
    """

    def at(windows: Sequence[Window]) -> Denoise:
        return guided(model, sampling, conditions.at(windows), gsd)

    def noise(purpose: str, step: int, scale: float) -> Tensor:
        made = memory.zeros((1, model.codec.channels, *canvas.shape))
        for strip in strips(canvas):
            values = plane(seed, strip, model.codec.channels, purpose, step)
            made[0, :, strip.within(canvas)[0]] = torch.from_numpy(values) * scale
        return made

    fused: Denoise = sampling.windowed(at, canvas, lanes_on(model.device, sampling.batch))
    if conditions.asked is not None and model.probe is not None:
        steering = Steering(model.probe, conditions.asked, canvas, sampling.steer)
        fused = Steered(fused, steering, sampling.steered)
    yield from sampling.solve(
        fused,
        noise("initial", 0, sampling.start),
        lambda step: noise("ancestral", step, 1.0),
    )


def strips(canvas: Window) -> Iterator[Window]:
    """``canvas`` in pieces of its full width and at most STRIP rows, from the top."""
    for row in range(canvas.row, canvas.bottom, STRIP):
        yield Window(row, canvas.col, min(STRIP, canvas.bottom - row), canvas.width)
