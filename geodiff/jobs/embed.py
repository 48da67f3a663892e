"""A raster -> an EmbeddingGrid: one unit vector for the pixels of each cell of the lattice."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geodiff.errors import DataError, UsageError
from geodiff.geo.catalogues import ORDERS, SECONDS
from geodiff.geo.embedding_formats import check_grid_target
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.geo.imagery import Imagery
from geodiff.geo.provenance import source_name
from geodiff.geo.raster import Reference
from geodiff.geo.stac_source import BLOCK
from geodiff.jobs.mosaic import values as kinds
from geodiff.jobs.mosaic.catalogue import Catalogue
from geodiff.jobs.mosaic.check import ground_sample
from geodiff.jobs.mosaic.conflicts import check_box_options
from geodiff.jobs.mosaic.grids import default_res, reference_grid
from geodiff.jobs.request import PLACE
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

    source: str | None  # the raster; None: images of a STAC catalogue
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
    stac: str | None = None  # these eight as in SynthesizeRequest
    collection: tuple[str, ...] = ()
    datetime: str | None = None
    asset: str | None = None
    stac_order: str = ORDERS[0]
    stac_timeout: float = SECONDS
    stac_requester_pays: bool = False
    stac_any_href: bool = False
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        kinds.settle(self, PLACE | {"source": raster})
        scaled = self.crs is not None or self.res is not None
        if self.like and (self.bbox or scaled):
            raise UsageError(
                f"--like {self.like} already fixes the grid: leave out --bbox, --crs and --res"
            )
        if not self.bbox and scaled:
            raise UsageError("--crs and --res need --bbox; without it the raster's grid is kept")
        check_box_options(self.bbox, self.bbox_crs, self.gsd)
        if self.source is not None and self.catalogue is not None:
            raise UsageError(f"{self.source} and --stac or --collection are given: leave one out")
        if self.source is None and self.catalogue is None:
            raise UsageError("nothing is given to embed: give a raster (SOURCE) or --stac URL")

    @property
    def catalogue(self) -> Catalogue | None:
        """The STAC search to go by."""
        return Catalogue.of(self)

    def open(self, placed: bool = False) -> Reference | None:
        """The raster, if there is one; raises what can be refused before a model is loaded.

        ``placed`` tells that a grid is given, apart from the request.
        """
        if self.source is not None:
            return Reference.open(self.source, self.bands, self.scale)
        if not (placed or self.bbox or self.like):
            raise UsageError("a STAC search needs a place: give --bbox W,S,E,N or --like FILE")
        assert self.catalogue is not None
        self.catalogue.check()
        return None

    def grid(self, model: Model) -> PixelGrid:
        """The grid whose cells are embedded: like, else the box, else the raster's own."""
        if self.like:
            return raster_grid(self.like)
        if self.source is not None:
            return reference_grid(self.source, self.bbox, self.bbox_crs, self.crs, self.res)
        assert self.bbox is not None
        res = default_res(self.crs, model) if self.res is None else self.res
        return box_grid(self.bbox, self.bbox_crs, self.crs, res)

    def run(
        self, model: Model, reference: Reference | None, grid: PixelGrid
    ) -> Generator[Step, None, EmbeddingGrid]:
        """Embed what was opened on a grid."""
        if reference is not None:
            return (yield from embed_steps(model, reference, grid, gsd=self.gsd))
        assert self.catalogue is not None
        cells = grid.cell_grid(model.cell).window
        found = self.catalogue.open(grid, cells.zoom_in(model.cell).snap(BLOCK))
        if self.out:
            check_grid_target(self.out, True, found.source.files)
        if found.notes:
            yield Step("embed", 0, cells.height, notes=found.notes)
        made = yield from embed_steps(model, found.source, grid, gsd=self.gsd)
        names = map(source_name, found.source.derived_from(grid))
        return replace(made, source="\n".join(names))


def raster(option: str, value: Any) -> str | None:
    """The path of a raster, or None."""
    return None if value is None else kinds.path(option, value)


def steps(request: EmbedRequest) -> Generator[Step, None, EmbeddingGrid]:
    """Embed and save, yielding progress; the generator's value is the grid."""
    check_grid_target(
        request.out, request.overwrite, tuple(filter(None, (request.source, request.like)))
    )
    reference = request.open()
    model = Model.load(request.model, request.device)
    embeddings = yield from request.run(model, reference, request.grid(model))
    embeddings.save(request.out)
    return embeddings


def embed(
    model: Model | str | Path | None,
    source: str | Path | None = None,
    grid: PixelGrid | None = None,
    **options: Any,
) -> EmbeddingGrid:
    """Embed the raster ``source`` and return its grid, without saving it.

    ``model`` is a loaded Model, or the directory of one; None is the one shipped. ``grid`` is what
    to embed on; None takes what ``options`` ask for, else the raster's own grid. ``options`` are
    fields of EmbedRequest, such as bands, bbox, like, or (instead of ``source``) stac and what
    belongs to it, and device where the model is yet to be loaded. Raises UsageError for options
    that make no sense, DataError for a raster or a catalogue that cannot be used.
    """
    placed = sorted({"bbox", "bbox_crs", "crs", "res", "like"} & options.keys())
    if grid is not None and placed:
        raise UsageError(f"a grid is given, so {', '.join(placed)} would do nothing: leave out one")
    if extra := sorted({"model", "out", "overwrite"} & options.keys()):
        raise UsageError(f"embed() saves nothing, so leave out {', '.join(extra)}; see grid.save()")
    request = EmbedRequest(source, "", **options)  # type: ignore[arg-type]  # settles paths
    reference = request.open(grid is not None)
    if not isinstance(model, Model):
        model = Model.load(model, request.device)
    wanted = request.grid(model) if grid is None else grid
    return drain(request.run(model, reference, wanted))


def embed_steps(
    model: Model,
    reference: Imagery,
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


def least_valid(reference: Imagery, grid: PixelGrid, cell: int) -> float:
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
