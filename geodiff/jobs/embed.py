"""A raster -> an EmbeddingGrid: one unit vector for the pixels of each cell of the lattice."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.errors import DataError, UsageError
from geodiff.geo.boxes import parse_crs
from geodiff.geo.embedding_formats import check_grid_target
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.geo.placement import raster_placement
from geodiff.geo.provenance import source_name
from geodiff.geo.raster import Reference
from geodiff.jobs.mosaic import values as kinds
from geodiff.jobs.mosaic.check import ground_sample
from geodiff.jobs.request import PLACE, check_box_options
from geodiff.models.bundle import Model
from geodiff.steps import Step, drain
from geodiff.window import Window

STRIP = 512
"""Rows of pixels that are read at once, a block of a warped reference."""

LEAST_VALID = 0.5
"""Share of a cell's pixels that must be valid for the cell to be embedded; see ``least_valid``."""


@dataclass(frozen=True)
class EmbedRequest:
    """One embedding grid: of which raster, on which grid, and where to."""

    source: str  # the raster
    out: str  # .tif, .zarr or .parquet
    model: str | None = None  # a model directory; None is the one shipped with the package
    bbox: tuple[float, float, float, float] | None = None  # west, south, east, north
    bbox_crs: str | None = None  # CRS of bbox; None: EPSG:4326
    crs: str | None = None  # CRS of the grid; None: the raster's
    res: float | None = None  # pixel size in units of the CRS; None: the raster's
    like: str | None = None  # a raster whose grid is taken
    bands: tuple[int, int, int] | None = None  # from 1; None: 1,2,3
    scale: tuple[float, float] | None = None  # values that become 0 and 255
    gsd: float | None = None  # metres per pixel of a raster without CRS; None: the model's
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        kinds.settle(self, PLACE | {"source": kinds.path})
        scaled = self.crs is not None or self.res is not None
        if self.like and (self.bbox or scaled):
            raise UsageError(
                f"--like {self.like} already fixes the grid: leave out --bbox, --crs and --res"
            )
        if not self.bbox and scaled:
            raise UsageError("--crs and --res need --bbox; without it the raster's grid is kept")
        check_box_options(self.bbox, self.bbox_crs, self.gsd)

    @property
    def grid(self) -> PixelGrid:
        """The grid whose cells are embedded: like, else the box, else the raster's own."""
        if self.like:
            return raster_grid(self.like)
        return reference_grid(self.source, self.bbox, self.bbox_crs, self.crs, self.res)


def steps(request: EmbedRequest) -> Generator[Step, None, EmbeddingGrid]:
    """Embed and save, yielding progress; the generator's value is the grid."""
    check_grid_target(
        request.out, request.overwrite, (request.source, *filter(None, (request.like,)))
    )
    reference = Reference.open(request.source, request.bands, request.scale)
    model = Model.load(request.model, request.device)
    embeddings = yield from embed_steps(model, reference, request.grid, gsd=request.gsd)
    embeddings.save(request.out)
    return embeddings


def embed(
    model: Model | str | Path | None,
    source: str | Path,
    grid: PixelGrid | None = None,
    **options: Any,
) -> EmbeddingGrid:
    """Embed the raster ``source`` and return its grid, without saving it.

    ``model`` is a loaded Model, or the directory of one; None is the one shipped. ``grid`` is what
    to embed on; None takes what ``options`` ask for, else the raster's own grid. ``options`` are
    fields of EmbedRequest: bands, scale, bbox, bbox_crs, crs, res, like, gsd, and device where the
    model is yet to be loaded. Raises UsageError for options that make no sense, DataError for a
    raster that cannot be used.
    """
    placed = sorted({"bbox", "bbox_crs", "crs", "res", "like"} & options.keys())
    if grid is not None and placed:
        raise UsageError(f"a grid is given, so {', '.join(placed)} would do nothing: leave out one")
    if extra := sorted({"model", "out", "overwrite"} & options.keys()):
        raise UsageError(f"embed() saves nothing, so leave out {', '.join(extra)}; see grid.save()")
    request = EmbedRequest(kinds.path("source", source), "", **options)
    reference = Reference.open(request.source, request.bands, request.scale)
    if not isinstance(model, Model):
        model = Model.load(model, request.device)
    wanted = request.grid if grid is None else grid
    return drain(embed_steps(model, reference, wanted, gsd=request.gsd))


def reference_grid(
    path: str,
    bbox: tuple[float, float, float, float] | None,
    bbox_crs: str | None,
    crs: str | None,
    res: float | None,
) -> PixelGrid:
    """The raster's own grid to the bit; with ``bbox`` a snapped one in its CRS and resolution.

    With a box the raster may also be rotated or south-up.
    """
    if bbox is None:
        return raster_grid(path)
    own = raster_placement(path)
    if own.crs is None:
        raise DataError(
            f"{path} has no CRS, so a box on the map cannot be found in it: leave out --bbox "
            "(the mosaic then keeps the raster's pixel grid) or give the raster a CRS"
        )
    if crs is not None and res is None and parse_crs(crs) != own.crs:
        raise UsageError(f"--crs {crs} differs from the CRS of {path}: give --res as well")
    pixel = own.pixel if res is None else res
    return box_grid(bbox, bbox_crs, crs or str(own.crs), snap(pixel))


def snap(res: float) -> float:
    """A resolution without the float noise of some sources: 0.5999999999999943 becomes 0.6."""
    rounded = float(f"{res:.6g}")
    return rounded if abs(rounded - res) < 1e-12 * res else res


def embed_steps(
    model: Model,
    reference: Reference,
    grid: PixelGrid,
    empty: bool = False,
    gsd: float | None = None,
) -> Generator[Step, None, EmbeddingGrid]:
    """Embed the cells that cover ``grid``, some rows of cells at a time.

    ``gsd`` is that of a grid without CRS, in metres; None takes the model's and says so. Raises
    DataError where no cell is covered by at least half, unless ``empty`` allows that, UsageError
    for a ``gsd`` that the grid's CRS tells.
    """
    cell, size = model.cell, ground_sample(grid, gsd, model.gsd)
    cells = grid.cell_grid(cell)
    height, width = cells.window.shape
    least = least_valid(reference, grid, cell)
    values = np.zeros((height, width, model.encoder.dim), np.float32)
    valid = np.zeros((height, width), np.bool_)
    if grid.crs is None and gsd is None and not empty:
        note = f"no CRS: {size:g} m per pixel is assumed; give --gsd METRES if it is another"
        yield Step("embed", 0, height, notes=(note,))
    # A warped raster is read in blocks of the lattice: whole ones, so that none is warped twice.
    for strip in row_strips(cells.window, max(1, STRIP // cell)):
        pixels, mask = reference.read(grid, strip.zoom_in(cell))
        rows = slice(strip.row - cells.row, strip.bottom - cells.row)
        tiles = mask.reshape(strip.height, cell, width, cell)
        valid[rows] = good = well_covered(mask, cell, least)
        if good.any():
            images = pixels.reshape(3, strip.height, cell, width, cell).transpose(1, 3, 0, 2, 4)
            chosen = torch.from_numpy(mend(images[good], tiles.swapaxes(1, 2)[good]))
            values[rows][good] = model.encoder.embed(chosen).numpy()
        yield Step("embed", rows.stop, height)
    if not (valid.any() or empty):
        raise DataError(
            f"{reference.path} covers less than half of every cell of the grid: choose a box "
            "within it, and check the CRS of the box"
        )
    name = source_name(reference.path)
    encoder = model.encoder.fingerprint
    return EmbeddingGrid(values, valid, cells, cell, size, encoder, name, grid.window)


def least_valid(reference: Reference, grid: PixelGrid, cell: int) -> float:
    """The share of a cell's pixels that must be valid for it to be embedded: half.

    Less for a raster smaller than two cells, which may fill none: half of what its best cell holds
    at least, wherever the raster's corner lies on the lattice.
    """
    extent = reference.placement.extent_on(grid)
    sides = () if extent is None else extent.shape
    return LEAST_VALID * math.prod(min(1.0, side / (2 * cell)) for side in sides)


def well_covered(mask: NDArray[np.bool_], cell: int, least: float) -> NDArray[np.bool_]:
    """Which cells of a validity mask of whole cells, bool (row, col) in pixels, are embedded."""
    height, width = (side // cell for side in mask.shape)
    shares = mask.reshape(height, cell, width, cell).mean((1, 3))
    good: NDArray[np.bool_] = shares >= least
    return good


def row_strips(cells: Window, height: int) -> Iterator[Window]:
    """``cells`` in pieces of its full width whose borders are at multiples of ``height``."""
    for row in range(cells.row // height * height, cells.bottom, height):
        piece = cells.intersect(Window(row, cells.col, height, cells.width))
        if piece is not None:
            yield piece


def mend(patches: NDArray[np.uint8], masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Patches (n, 3, row, col) with invalid pixels set to the mean of their own valid ones.

    ``masks`` (n, row, col) tells the valid ones, at least one a patch. A cell is mended from itself
    alone, so that its embedding does not depend on how much of the raster was asked for.
    """
    inside = masks[:, None]
    mean = (patches * inside).sum((2, 3)) / inside.sum((2, 3))
    return np.where(inside, patches, np.rint(mean)[:, :, None, None]).astype(np.uint8)
