"""Opening what a mosaic goes by, and how much of the mosaic it covers."""

from __future__ import annotations

import numpy as np
from pyproj import Transformer

from geodiff.errors import DataError
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.geo.raster import Reference
from geodiff.jobs.request import SynthesizeRequest
from geodiff.models.bundle import Model


def open_reference(request: SynthesizeRequest, grid: PixelGrid) -> tuple[Reference, float]:
    """The reference and how much of the grid it covers. Raises DataError as check_coverage."""
    assert request.reference is not None
    reference = Reference.open(request.reference, request.bands, request.scale)
    coverage = reference.coverage(grid)
    check_coverage(request, request.reference, coverage)
    return reference, coverage


def open_embeddings(
    request: SynthesizeRequest, model: Model, grid: PixelGrid
) -> tuple[EmbeddingGrid, float]:
    """The saved embeddings and how much of the grid they cover; errors as ``open_reference``."""
    assert request.embeddings is not None
    saved = EmbeddingGrid.open(request.embeddings)
    if saved.encoder != model.encoder.fingerprint:
        raise DataError(
            f"{request.embeddings} was made by the encoder {saved.encoder}, the model "
            f"{model.name} has {model.encoder.fingerprint}: embed again with this model"
        )
    coverage = embedded_share(saved, grid)
    check_coverage(request, request.embeddings, coverage)
    return saved, coverage


def embedded_share(saved: EmbeddingGrid, grid: PixelGrid) -> float:
    """Share (0..1) of ``grid`` that lies on valid cells, from at most 256 x 256 samples."""
    if (grid.crs is None) != (saved.grid.crs is None):
        raise DataError(
            f"the mosaic's grid is in {grid.crs_name}, the embeddings' in {saved.grid.crs_name}: "
            "both need a CRS, or neither"
        )
    rows, cols = (
        first + (np.arange(n := min(side, 256)) + 0.5) * side / n
        for first, side in zip((grid.row, grid.col), grid.window.shape, strict=True)
    )
    x, y = grid.xys(*np.meshgrid(rows, cols, indexing="ij"))
    if grid.crs is not None and saved.grid.crs is not None and grid.crs != saved.grid.crs:
        x, y = Transformer.from_crs(grid.crs.proj, saved.grid.crs.proj, always_xy=True).transform(
            x, y
        )
    affine, (height, width) = saved.grid.geobox.affine, saved.valid.shape
    row, col = (y - affine.f) / affine.e, (x - affine.c) / affine.a
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    return float(saved.valid[row[inside].astype(int), col[inside].astype(int)].sum() / inside.size)


def check_coverage(request: SynthesizeRequest, source: str, coverage: float) -> None:
    """Raises DataError for a source that covers none of the mosaic, or not all with fill=stop."""
    if coverage == 0:
        raise DataError(
            f"{source} covers nothing of the box: check --bbox and --bbox-crs, or leave it out"
        )
    if coverage < 1 - 1e-9 and request.fill == "stop":
        raise DataError(
            f"{source} covers {coverage:.1%} of the mosaic: give --fill nearest to take "
            "the nearest valid cell for the rest, or a smaller box"
        )
