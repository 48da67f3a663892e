"""Two saved embedding grids -> one between them; and arithmetic on grids in memory or in files."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy.typing as npt

from geodiff.errors import DataError, UsageError
from geodiff.geo import embedding_mix
from geodiff.geo.embedding_formats import check_grid_target
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.jobs.mosaic import values
from geodiff.steps import Step

Grid = EmbeddingGrid | str | Path
"""An embedding grid, or the file of one."""


@dataclass(frozen=True)
class MixRequest:
    """One embedding grid between two others."""

    first: str  # the grid at weight 0
    second: str  # the grid at weight 1
    out: str  # .tif, .zarr or .parquet
    weight: float = 0.5  # of the second, 0 .. 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        path = values.path
        values.settle(self, {"first": path, "second": path, "out": path, "weight": values.number})
        if not (math.isfinite(self.weight) and 0 <= self.weight <= 1):
            raise UsageError(f"--weight {self.weight:g} must be between 0 and 1")


def steps(request: MixRequest) -> Generator[Step, None, EmbeddingGrid]:
    """Mix and save, yielding progress; the generator's value is the grid.

    Raises DataError where no cell is valid in both.
    """
    check_grid_target(request.out, request.overwrite, (request.first, request.second))
    yield Step("read", 0, 2)
    first = EmbeddingGrid.open(request.first)
    yield Step("read", 1, 2)
    second = EmbeddingGrid.open(request.second)
    yield Step("read", 2, 2)
    mixed = embedding_mix.mix(first, second, request.weight)
    if not mixed.valid.any():
        raise DataError(
            f"no cell is valid in both {request.first} and {request.second}: mix grids that overlap"
        )
    mixed.save(request.out)
    yield Step("write", 1, 1)
    return mixed


def mix(one: Grid, other: Grid, weight: npt.ArrayLike = 0.5) -> EmbeddingGrid:
    """The grid between ``one`` (weight 0) and ``other`` (weight 1): ``embedding_mix.mix``.

    Each is an EmbeddingGrid or the path of one.
    """
    return embedding_mix.mix(opened(one), opened(other), weight)


def combine(grids: Sequence[Grid], weights: Sequence[float]) -> EmbeddingGrid:
    """The weighted sum of ``grids``, scaled to unit vectors: ``embedding_mix.combine``.

    Each is an EmbeddingGrid or the path of one.
    """
    return embedding_mix.combine([opened(grid) for grid in grids], weights)


def opened(grid: Grid) -> EmbeddingGrid:
    """The grid itself, or the one in the file."""
    return grid if isinstance(grid, EmbeddingGrid) else EmbeddingGrid.open(grid)
