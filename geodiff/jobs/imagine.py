"""Nothing -> an EmbeddingGrid: the model's prior sampled on the cells of a grid."""

from __future__ import annotations

import numpy as np

from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.models.bundle import Model


def imagine(model: Model, grid: PixelGrid, seed: int = 0) -> EmbeddingGrid:
    """Embeddings for the cells that cover ``grid``, a pure function of seed and cell position."""
    cells = grid.cell_grid(model.cell)
    values = model.prior.sample(seed, cells.window)
    valid = np.ones(cells.window.shape, np.bool_)
    gsd = grid.gsd or model.gsd
    return EmbeddingGrid(values, valid, cells, model.cell, gsd, model.encoder.fingerprint)
