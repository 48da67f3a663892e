"""Features of scenes for comparing modes; the scenes are those of geodiff.jobs.measures.quilts."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.jobs.measures.quilts import (
    Image,
    Scene,
    alone,
    by_place,
    mosaic,
    quilts,
    tiles,
    true_scene,
)
from geodiff.jobs.training.latents import embed_cells
from geodiff.models.bundle import Model

__all__ = [
    "Floats", "Image", "Scene", "alone", "by_place", "cells", "crops", "mosaic", "quilts", "tiles",
    "true_scene",
]  # fmt: skip

Floats = NDArray[np.float64]


def cells(model: Model, images: Image, inset: int = 0) -> Floats:
    """Cell embeddings (n, row, col, feature) of tiles, ``inset`` pixels cut off all around."""
    end = images.shape[-1] - inset
    inner = np.ascontiguousarray(images[:, :, inset:end, inset:end])
    parts = [embed_cells(torch.from_numpy(tile)[None], model.encoder)[0] for tile in inner]
    return np.stack(parts).astype(np.float64)


def crops(features: Floats) -> Floats:
    """Cells (n, row, col, feature) -> crops of 2 x 2 cells, flattened, (m, 4 feature).

    Scaled so that a feature has about unit variance, as a polynomial kernel wants it.
    """
    n, rows, cols, dim = features.shape
    even = features[:, : rows // 2 * 2, : cols // 2 * 2]
    parts = even.reshape(n, rows // 2, 2, cols // 2, 2, dim).transpose(0, 1, 3, 2, 4, 5)
    flat: Floats = parts.reshape(-1, 4 * dim) * math.sqrt(dim)
    return flat
