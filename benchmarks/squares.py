"""Squares of one plan, each with its own words: painted as one mosaic, judged by their middles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from arms import Floats, Image
from rasterio.windows import Window as Pixels
from shapely.geometry import box

import geodiff
from geodiff.jobs.imagine import ImagineRequest
from geodiff.jobs.imagine import steps as imagine
from geodiff.models.bundle import Model
from geodiff.steps import drain

CRS, CORNER = "EPSG:32611", (430_000.0, 3_772_500.0)
"""Where the plan lies: metres, near the corner of a cell."""


@dataclass(frozen=True)
class Squares:
    """One square of ``side`` x ``side`` cells for each of ``words``, in rows, without gaps.

    ``metres`` is the side of a cell. The squares are those of the lattice of cells, so that a cell
    belongs to one of them alone.
    """

    words: Sequence[str]
    side: int
    metres: float

    @property
    def columns(self) -> int:
        """Squares in a row."""
        return math.ceil(math.sqrt(len(self.words)))

    def corner(self, number: int) -> tuple[float, float]:
        """The north-west corner of a square: metres east and north."""
        down, across = divmod(number, self.columns)
        east, north = (round(edge / self.metres) for edge in CORNER)
        return (east + across * self.side) * self.metres, (north - down * self.side) * self.metres

    def plan(self) -> geopandas.GeoDataFrame:
        """The polygons, with their words in ``text``."""
        reach, shapes = self.side * self.metres, []
        for left, top in map(self.corner, range(len(self.words))):
            shapes.append(box(left, top - reach, left + reach, top))
        return geopandas.GeoDataFrame({"text": list(self.words)}, geometry=shapes, crs=CRS)

    def middle(self, number: int, inner: int) -> tuple[float, float]:
        """The north-west corner of the ``inner`` x ``inner`` cells in the middle of a square."""
        margin = (self.side - inner) // 2 * self.metres
        left, top = self.corner(number)
        return left + margin, top - margin


def shuffled(labels: Sequence[str], count: int, seed: int) -> list[str]:
    """Every label ``count`` times, so that all kinds of neighbours come together."""
    order = np.random.default_rng(seed).permutation(len(labels) * count)
    return [labels[k % len(labels)] for k in order]


def cut(
    squares: Squares, cells: geodiff.EmbeddingGrid, mosaic: Path, inner: int
) -> tuple[Image, Floats]:
    """The middle of every square: pixels (n, row, col, 3), and its cells with a ring of one cell.

    The second is (n, inner + 2, inner + 2, feature).
    """
    images, vectors = [], []
    with rasterio.open(mosaic) as dataset:
        for number in range(len(squares.words)):
            place = squares.middle(number, inner)
            row, col = whole(dataset.transform, place)
            pixels = Pixels(col, row, inner * cells.cell, inner * cells.cell)
            images.append(np.moveaxis(dataset.read(window=pixels), 0, -1))
            row, col = (at - 1 for at in whole(cells.grid.geobox.affine, place))
            vectors.append(cells.values[row : row + inner + 2, col : col + inner + 2])
    return np.stack(images), np.stack(vectors)


def whole(affine: rasterio.Affine, place: tuple[float, float]) -> tuple[int, int]:
    """Row and column whose north-west corner lies at ``place``."""
    east, north = place
    return round((north - affine.f) / affine.e), round((east - affine.c) / affine.a)


def asked_side_by_side(
    model: Model,
    words: dict[str, str],
    count: int,
    squares: int,
    inner: int,
    gsd: float,
    guidance: float,
    steps: int | None,
    out: Path,
) -> dict[str, tuple[Image, Floats]]:
    """``count`` patches of ``inner`` x ``inner`` cells a label, from squares of one plan.

    ``words`` are what stands on a label's squares. Writes cells.tif and mosaic.tif into ``out``.
    Raises SystemExit for squares with no cell between a patch and their border.
    """
    if squares < inner + 2 or (squares - inner) % 2:
        raise SystemExit(
            f"--squares {squares}: patches have {inner} cells, give {inner} and 2, 4, 6 .. more"
        )
    labels = shuffled(list(words), count, seed=0)
    drawn = Squares([words[label] for label in labels], squares, model.cell * gsd)
    request = ImagineRequest(
        str(out / "cells.tif"), str(model.path), res=gsd, layout_file=drawn.plan(),
        attribute="text", prompt_guidance=guidance, overwrite=True,
    )  # fmt: skip
    cells, mosaic = drain(imagine(request)), out / "mosaic.tif"
    geodiff.synthesize(mosaic, model=model, embeddings=cells, steps=steps, overwrite=True)
    images, vectors = cut(drawn, cells, mosaic, inner)
    numbers = {label: [k for k, own in enumerate(labels) if own == label] for label in words}
    return {label: (images[own], vectors[own]) for label, own in numbers.items()}
