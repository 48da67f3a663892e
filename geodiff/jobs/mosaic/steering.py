"""Cells of a canvas moved towards what is asked of them, by the model's probe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geodiff.diffusion import Denoise, Steered
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.jobs.mosaic.modes import Sampling
from geodiff.models.bundle import Model
from geodiff.models.probe import Probe
from geodiff.window import Window

AT_ONCE = 4096
"""Cells that are taken out of the canvas at once."""


@dataclass(frozen=True, eq=False)
class Asked:
    """The embeddings asked of the cells that lie wholly in a canvas."""

    vectors: Tensor  # float32 (row, col, feature)
    cells: Window  # on the lattice of cells

    @classmethod
    def of(
        cls, embeddings: EmbeddingGrid, grid: PixelGrid, canvas: Window, side: int, factor: int
    ) -> Asked | None:
        """Of a canvas of latents, ``side`` x ``side`` of them a cell, ``factor`` pixels a latent.

        None where no cell lies wholly in it, and where the cells of ``embeddings`` are not those of
        the grid's lattice: between cells a field has no pixels whose embedding it would be.
        """
        top, left = -(-canvas.row // side), -(-canvas.col // side)
        height, width = canvas.bottom // side - top, canvas.right // side - left
        if min(height, width) < 1 or embeddings.cell != side * factor:
            return None
        cells = Window(top, left, height, width)
        vectors = embeddings.on_cells(grid, cells)
        return None if vectors is None else cls(torch.from_numpy(vectors), cells)


@dataclass(frozen=True, eq=False)
class Steering:
    """Moves a clean canvas, in place, a step towards ``asked``. Each cell goes by itself."""

    probe: Probe
    asked: Asked
    canvas: Window  # latents
    strength: float

    def __call__(self, clean: Tensor) -> Tensor:
        """``clean`` (1, channel, row, col) over the canvas, changed."""
        cells, side = self.asked.cells, self.probe.side
        rows = max(1, AT_ONCE // cells.width)
        for row in range(cells.row, cells.bottom, rows):
            part = Window(row, cells.col, min(rows, cells.bottom - row), cells.width)
            place = part.zoom_in(side).within(self.canvas)
            block = clean[0][:, *place]
            asked = self.asked.vectors[part.within(cells)[0]].flatten(0, 1)
            moved = self.probe.nudge(taken(block, side), asked, self.strength)
            block.copy_(put_back(moved, part.height, part.width))
        return clean


@dataclass(frozen=True, eq=False)
class WindowSteering:
    """Moves clean windows that begin and end with whole cells, (n, channel, row, col)."""

    probe: Probe
    asked: Tensor  # float32 (n, row, col, feature)
    strength: float

    def __call__(self, clean: Tensor) -> Tensor:
        """Windows of the same shape."""
        _, rows, cols, _ = self.asked.shape
        sides = [taken(window, self.probe.side) for window in clean]
        moved = self.probe.nudge(torch.cat(sides), self.asked.flatten(0, 2), self.strength)
        windows = moved.unflatten(0, (len(clean), rows * cols))  # type: ignore[no-untyped-call]
        return torch.stack([put_back(window, rows, cols) for window in windows])


def steer_windows(
    inner: Denoise, model: Model, sampling: Sampling, cells: NDArray[np.float32]
) -> Denoise:
    """``inner``, of windows of whole cells, steered towards ``cells`` (n, row, col, feature).

    As it is where the model has no probe or the sampling does not steer.
    """
    if model.probe is None or not sampling.steer:
        return inner
    steering = WindowSteering(model.probe, torch.from_numpy(cells), sampling.steer)
    return Steered(inner, steering, sampling.steered)


def taken(block: Tensor, side: int) -> Tensor:
    """(channel, rows * side, cols * side) -> (rows * cols, channel, side, side), by rows."""
    channels, height, width = block.shape
    apart = block.reshape(channels, height // side, side, width // side, side)
    return apart.permute(1, 3, 0, 2, 4).reshape(-1, channels, side, side)


def put_back(cells: Tensor, rows: int, cols: int) -> Tensor:
    """The inverse of ``taken``."""
    _, channels, side, _ = cells.shape
    apart = cells.reshape(rows, cols, channels, side, side).permute(2, 0, 3, 1, 4)
    return apart.reshape(channels, rows * side, cols * side)
