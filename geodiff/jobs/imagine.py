"""A place -> an EmbeddingGrid from the model's prior, which sees no image of it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from geodiff.errors import UsageError
from geodiff.geo.embedding_formats import check_grid_target
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, raster_grid
from geodiff.geo.provenance import source_name
from geodiff.jobs.drawing import hold
from geodiff.jobs.mosaic import values as kinds
from geodiff.jobs.request import CHART, KINDS, MODES, PLACE, SynthesizeRequest
from geodiff.models.bundle import Model
from geodiff.models.prior_condition import Condition
from geodiff.steps import Step
from geodiff.window import Window

if TYPE_CHECKING:
    from geodiff.geo.vector import LabelledPolygons

MOST_CELLS = 32_000_000
"""Cells of one grid: 8 GB of vectors at 64 features."""


WORDS = ("text", "layout_file", "attribute", "layer", "soft_border", "prompt_guidance")
"""What a prior may be asked to follow."""


@dataclass(frozen=True)
class ImagineRequest:
    """One embedding grid from the prior: where, and where to."""

    out: str  # .tif, .zarr or .parquet
    model: str | None = None  # a model directory; None is the one shipped with the package
    bbox: tuple[float, float, float, float] | None = None  # west, south, east, north
    bbox_crs: str | None = None  # CRS of bbox; None: EPSG:4326
    crs: str | None = None  # CRS of the grid; None: UTM of the box's centre
    res: float | None = None  # pixel size in units of the CRS; None: the model's
    like: str | None = None  # a raster whose grid is taken
    size: tuple[int, int] | None = None  # width, height in pixels of a mosaic without a CRS
    gsd: float | None = None  # metres per pixel of a grid without CRS; None: the model's
    seed: int = 0  # of the prior; 0 .. 2**63 - 1
    text: str | None = None  # words that the prior follows (extra `text`)
    layout_file: str | LabelledPolygons | None = None  # vector file of polygons with words
    attribute: str | None = None  # the one that holds the words
    layer: str | None = None  # of the vector file, where it has several
    soft_border: float | None = None  # ground metres in which polygons mix; None: hard borders
    prompt_guidance: float | None = None  # how strictly it follows words; None: 3; 1 is plain
    margin: int | None = None  # cells around the box; None: those that a mosaic of it looks at
    overwrite: bool = False

    def __post_init__(self) -> None:
        asked = {name: KINDS[name] for name in (*WORDS, "size")}
        kinds.settle(self, PLACE | asked | {"seed": kinds.seed, "margin": kinds.whole})
        hold(self)
        if not (self.bbox or self.like or self.size or self.layout_file):
            raise UsageError(
                "nothing says where the embedding grid lies: give --bbox W,S,E,N, --like FILE or "
                "--layout-file FILE, or --size for one without a CRS"
            )
        if self.margin is not None and self.margin < 0:
            raise UsageError(f"--margin {self.margin} must be 0 cells or more")
        self.mosaic  # noqa: B018  (refuses what makes no sense)

    @property
    def mosaic(self) -> SynthesizeRequest:
        """The mosaic of the same place, for whose painting the grid is meant."""
        place = ("model", "bbox", "bbox_crs", "crs", "res", "like", "size", "gsd")
        names = (*place, *WORDS, "seed")
        return SynthesizeRequest("", **{name: getattr(self, name) for name in names})


def steps(request: ImagineRequest) -> Generator[Step, None, EmbeddingGrid]:
    """Sample and save, yielding progress; the generator's value is the grid."""
    from geodiff.jobs.mosaic.check import check_drawn, check_place, ground_sample
    from geodiff.jobs.mosaic.sources import open_source
    from geodiff.jobs.plan import target_grid

    check_grid_target(request.out, request.overwrite, request.mosaic.sources)
    mosaic = request.mosaic
    for words in (mosaic.prompt, mosaic.drawing):
        if words is not None:
            words.check(request.model)
    check_drawn(mosaic)
    if request.bbox is not None:
        check_place(mosaic)
    elif request.like is not None:
        ground_sample(raster_grid(request.like), request.gsd)
    yield Step("load", 0, 1)
    model = Model.load(request.model, "cpu")
    grid = target_grid(mosaic, model)
    notes: tuple[str, ...] = ()
    if grid.crs is None and request.gsd is None:
        notes = (f"no CRS: {model.gsd:g} m per pixel is assumed; give --gsd METRES if it is other",)
    check_size(grid.latents(model.cell))  # before its charts are laid out
    margin = request.margin
    cells = around(model, grid) if margin is None else grid.latents(model.cell).pad(margin)
    check_size(cells)
    source = open_source(mosaic, model, grid)
    yield Step("imagine", 0, 1, notes=(*notes, *source.found().notes))
    imagined = imagine(model, grid, request.seed, cells, request.gsd, source.condition)
    names = "\n".join(map(source_name, source.derived_from))
    imagined = replace(imagined, source=names)
    yield Step("imagine", 1, 1)
    imagined.save(request.out)
    yield Step("write", 1, 1)
    return imagined


def imagine(
    model: Model,
    grid: PixelGrid,
    seed: int = 0,
    cells: Window | None = None,
    gsd: float | None = None,
    condition: Condition | None = None,
) -> EmbeddingGrid:
    """Embeddings made for ``grid``, a pure function of the seed and the positions of the cells.

    ``cells``: which ones, a window of the lattice of cells that covers ``grid``; None: just those
    that do. ``gsd``: metres per pixel of a grid without CRS; None: the model's. ``condition``: what
    the prior is asked for; raises UsageError for one that it does not understand.
    """
    own = grid.cell_grid(model.cell)
    place = own if cells is None else own.crop(cells)
    size, encoder = grid.gsd or gsd or model.gsd, model.encoder.fingerprint
    values = model.prior.sample(seed, place.window, condition, size)
    valid = np.ones(place.window.shape, np.bool_)
    return EmbeddingGrid(values, valid, place, model.cell, size, encoder, "", grid.window)


def around(model: Model, grid: PixelGrid) -> Window:
    """The cells that a mosaic of ``grid`` looks at: those under its canvases, and one more.

    For every mode, with the default layout and charts; between the outermost cells and the canvas
    lies half a cell at least, so that the field inside does not depend on where the cells end.
    """
    from geodiff.jobs.mosaic.charts import charts, layout_of
    from geodiff.jobs.mosaic.sampling import Sampling

    layout, side = layout_of("auto", grid, False), CHART
    settings = [Sampling.of(mode, model, None, None, 1) for mode in MODES]
    parts = [chart for kind in settings for chart in charts(layout, grid, model, kind, side)]
    canvases = [part.canvas for part in parts]
    row, col = min(part.row for part in canvases), min(part.col for part in canvases)
    bottom, right = max(part.bottom for part in canvases), max(part.right for part in canvases)
    whole = Window(row, col, bottom - row, right - col).zoom_in(model.codec.factor)
    return whole.zoom_out(model.cell).pad(1)


def check_size(cells: Window) -> None:
    """Raises UsageError for more cells than fit into memory."""
    if cells.height * cells.width > MOST_CELLS:
        raise UsageError(
            f"the grid would have {cells.height} x {cells.width} cells, more than {MOST_CELLS}: "
            "give a smaller box or a larger --res"
        )
