"""Opening what a mosaic goes by, and how much of the mosaic it covers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyproj import Transformer

from geodiff.errors import DataError
from geodiff.geo.embedding_formats import format_of
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid
from geodiff.geo.provenance import is_remote
from geodiff.geo.raster import Reference
from geodiff.geo.saved import SavedEmbeddings
from geodiff.geo.stac_source import BLOCK
from geodiff.geo.target import check_output
from geodiff.jobs.mosaic.catalogue import Images
from geodiff.jobs.mosaic.charts import charts, layout_of
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.jobs.mosaic.wishes import Found, Wishes, tally
from geodiff.jobs.prompt import nearly_labels
from geodiff.jobs.request import CHART, SynthesizeRequest
from geodiff.models.bundle import Model
from geodiff.models.prior_condition import Condition
from geodiff.window import Window

Saved = EmbeddingGrid | SavedEmbeddings
"""Embeddings in memory, or in a file of which parts can be read."""

REACH = 64
"""Cells around a mosaic in which the images of a catalogue are looked for as well."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What guides a mosaic, opened but not yet embedded."""

    reference: Reference | None
    saved: Saved | None
    seed: int  # of the prior
    words: str
    coverage: float | None
    identity: str  # tells two sources apart, also where a file was replaced by another
    derived_from: tuple[str, ...] = ()  # files and URLs whose content shapes the mosaic
    condition: Condition | None = None  # of the prior
    imagery: Images | None = None  # of a catalogue
    notes: tuple[str, ...] = ()  # on the words

    def found(self) -> Found:
        """What there is to go by, counted for a plan."""
        if self.imagery is not None:
            return Found(self.imagery.facts, self.imagery.notes)
        if self.condition is None:
            return Found()
        where, wishes = self.condition.where, self.condition.wishes
        facts = {"texts": len(wishes), "labels": sum(wish.label is not None for wish in wishes)}
        counted = tally(where) if isinstance(where, Wishes) else Found()
        return Found(facts | counted.facts, (*counted.notes, *self.notes))

    @property
    def gsd(self) -> float | None:
        """Metres per pixel that saved embeddings tell; None without."""
        return None if self.saved is None else self.saved.gsd


def open_source(
    request: SynthesizeRequest, model: Model, grid: PixelGrid, imagery: Images | None = None
) -> Source:
    """Find what the request names and say it in words. Raises DataError for a misfit.

    ``imagery`` is what a catalogue gave before, where that is to be taken.
    """
    seed = request.seed if request.prior_seed is None else request.prior_seed
    if request.reference or request.catalogue is not None:
        model.encoder  # noqa: B018  (refuses a model without one)
    if request.reference:
        reference, coverage = open_reference(request, grid)
        words = f"raster {Path(request.reference).name}"
        which = f"{identity(request.reference)} {reference.bands} {reference.scale}"
        return Source(reference, None, seed, words, coverage, which, (request.reference,))
    if (catalogue := request.catalogue) is not None:
        found = imagery or catalogue.open(grid, region_of(request, model, grid))
        given, which = found.source.derived_from(grid), found.source.identity
        if imagery is None:  # a worker may not even see the place of the output
            check_output(request.out, True, found.source.files)
        coverage = found.source.coverage(grid)
        check_coverage(request, found.source.path, coverage)
        return Source(None, None, seed, found.words, coverage, which, given, imagery=found)
    if request.embeddings:
        saved, coverage = open_embeddings(request, model, grid)
        if isinstance(path := request.embeddings, str):
            words, which = f"embeddings {Path(path).name}", identity(path)
            given = (path, *raster_of(saved, path))
        else:
            words, which, given = request.embeddings_name, path.digest, raster_of(saved, None)
        return Source(None, saved, seed, words, coverage, which, given)
    model.prior  # noqa: B018  (refuses a model without one)
    words, condition = f"prior of {model.name}, seed {seed}", None
    notes: tuple[str, ...] = ()
    if (prompt := request.prompt) is not None:
        words, condition = f"{prompt.words}, {words}", prompt.condition(model)
        notes = nearly_labels(model, [prompt.text])
    if (drawing := request.drawing) is not None:
        which, given = f"{drawing.identity}, {words}", drawing.derived_from
        words, condition = f"{drawing.words}, {words}", drawing.condition(model, grid, seed)
        notes = nearly_labels(model, drawing.polygons.distinct)
        return Source(None, None, seed, words, None, which, given, condition, notes=notes)
    return Source(None, None, seed, words, None, words, (), condition, notes=notes)


def region_of(request: SynthesizeRequest, model: Model, grid: PixelGrid) -> Window:
    """The pixels in which the images of a catalogue have to be known.

    All canvases of the charts, and around them REACH cells from which holes are filled, in whole
    blocks: two boxes that share a chart see the same images in it, and fill its holes alike.
    """
    sampling = Sampling.of(request.mode, model, request.steps, request.guidance, request.batch)
    layout = layout_of(request.layout, grid, request.wants_charts)
    parts = charts(layout, grid, model, sampling, request.chart or CHART)
    first, last = parts[0].canvas, parts[-1].canvas
    whole = Window(first.row, first.col, last.bottom - first.row, last.right - first.col)
    cells = whole.zoom_in(model.codec.factor).zoom_out(model.cell)
    return cells.pad(1 + REACH).zoom_in(model.cell).snap(BLOCK)


def saved_embeddings(request: SynthesizeRequest) -> Saved:
    """The embedding grid of the request: opened if it is a GeoTIFF, read if another file."""
    assert request.embeddings is not None
    if not isinstance(request.embeddings, str):
        return request.embeddings
    if format_of(request.embeddings) == "GeoTIFF":
        return SavedEmbeddings.open(request.embeddings)
    return EmbeddingGrid.open(request.embeddings)


def raster_of(saved: Saved, path: str | None) -> tuple[str, ...]:
    """The rasters that an embedding grid was made from: beside the grid's file, else by name."""
    found = []
    for name in saved.source.splitlines():
        beside = name if path is None or is_remote(name) else str(Path(path).with_name(name))
        found.append(beside if Path(beside).is_file() else name)
    return tuple(found)


def identity(path: str) -> str:
    """Path, size and time of a file or of all in a folder; of what is not local, its name."""
    inside = Path(path).rglob("*") if Path(path).is_dir() else iter([Path(path)])
    try:
        facts = [file.stat() for file in inside]
    except OSError:
        return path
    size, time = (
        sum(fact.st_size for fact in facts),
        max((fact.st_mtime_ns for fact in facts), default=0),
    )
    return f"{path} ({size} bytes of {time})"


def open_reference(request: SynthesizeRequest, grid: PixelGrid) -> tuple[Reference, float]:
    """The reference and how much of the grid it covers. Raises DataError as check_coverage."""
    assert request.reference is not None
    reference = Reference.open(request.reference, request.bands, request.scale)
    coverage = reference.coverage(grid)
    check_coverage(request, request.reference, coverage)
    return reference, coverage


def open_embeddings(
    request: SynthesizeRequest, model: Model, grid: PixelGrid
) -> tuple[Saved, float]:
    """The saved embeddings and how much of the grid they cover; errors as ``open_reference``."""
    saved, name = saved_embeddings(request), request.embeddings_name
    check_encoder(saved, name, model)
    coverage = embedded_share(saved, grid)
    log.info("source: %s, %d x %d cells", name, *saved.grid.window.shape)
    log.info("source: covers %.1f %% of the grid", 100 * coverage)
    check_coverage(request, name, coverage)
    return saved, coverage


def check_encoder(saved: Saved, name: str, model: Model) -> None:
    """Raises DataError for embeddings of another encoder than the model's.

    A model without an encoder takes those of the length that it was trained with.
    """
    own = model.encoder_part
    if own is not None and saved.encoder != own.fingerprint:
        raise DataError(
            f"{name} was made by the encoder {saved.encoder}, the model "
            f"{model.name} has {own.fingerprint}: embed again with this model"
        )
    length = saved.features if isinstance(saved, SavedEmbeddings) else saved.values.shape[2]
    if own is None and length != model.dim:
        raise DataError(
            f"{name} holds embeddings of {length} features, the model {model.name} was trained "
            f"with {model.dim}: embed with the encoder that it was trained with"
        )


def embedded_share(saved: Saved, grid: PixelGrid) -> float:
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
