"""What a mosaic will be and cost, worked out before anything is painted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.jobs.drawing import placed
from geodiff.jobs.mosaic.charts import Chart, charts, check_reach, layout_of
from geodiff.jobs.mosaic.check import ground_sample
from geodiff.jobs.mosaic.decoding import decode_batch
from geodiff.jobs.mosaic.grids import default_res, reference_grid
from geodiff.jobs.mosaic.sampling import Sampling
from geodiff.jobs.mosaic.sources import Source
from geodiff.jobs.mosaic.targets import grid_of_embeddings, sized_grid
from geodiff.jobs.mosaic.timing import alike, painting_seconds
from geodiff.jobs.request import CHART, SynthesizeRequest
from geodiff.models.bundle import Model

log = logging.getLogger(__name__)

SHIPPED_MB = 100
"""Weights of the shipped model in memory, which MODEL_MB counts."""

FEATURES = 3.3e-3
"""MB that a pixel takes while the paper's codec, of 128 channels, decodes it (measured)."""

MODEL_MB = 900
"""Resident memory of Python, torch and the shipped model (see benchmarks/speed.py)."""


@dataclass(frozen=True)
class Plan:
    """The grid of a mosaic and the work it takes."""

    grid: PixelGrid
    layout: str  # single or world
    charts: tuple[Chart, ...]
    sampling: Sampling
    gsd: float  # metres per pixel that the model is told
    source: str  # what the mosaic goes by, in words
    coverage: float | None  # share of the grid that the source covers
    windows: int  # of a solver step on average, over all charts
    evaluations: int  # network evaluations of one window
    seconds: float  # estimated from one timed network call
    memory_mb: float  # estimated peak
    disk_mb: float  # chart files and COG, uncompressed
    model: str
    notes: tuple[str, ...]
    factor: int = 8  # pixels a latent
    found: Mapping[str, Any] = field(default_factory=dict)  # JSON-ready facts about the source

    @property
    def chart_px(self) -> int | None:
        """Side of a world chart in pixels; None for a single canvas."""
        return self.charts[0].core.height * self.factor if self.layout == "world" else None

    @property
    def layout_words(self) -> str:
        """The layout, with all that pixels depend on."""
        if self.layout == "single":
            return "single"
        halo = (self.charts[0].canvas.height * self.factor - (self.chart_px or 0)) // 2
        return f"world, charts of {self.chart_px} px with a halo of {halo} px"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        box = self.grid.geobox
        height, width = box.shape
        return {
            "crs": None if self.grid.crs is None else self.grid.crs_name,
            "transform": list(box.affine)[:6],
            "width": width,
            "height": height,
            "bounds": list(box.boundingbox.bbox),
            "bounds_lonlat": self.grid.bounds_lonlat(),
            "gsd": self.gsd,
            "megapixels": round(height * width / 1e6, 3),
            "source": self.source,
            "coverage": self.coverage,
            "found": dict(self.found),
            "model": self.model,
            "layout": self.layout,
            "charts": len(self.charts),
            "chart_px": self.chart_px,
            "window_px": self.sampling.size * self.factor,
            "stride_px": self.sampling.stride * self.factor,
            "steps": self.sampling.steps,
            "guidance": self.sampling.guidance,
            "windows": self.windows,
            "evaluations": self.evaluations,
            "seconds": round(self.seconds, 1),
            "memory_mb": round(self.memory_mb),
            "disk_mb": round(self.disk_mb, 1),
            "notes": list(self.notes),
        }


def target_grid(request: SynthesizeRequest, model: Model) -> PixelGrid:
    """The grid of the mosaic: like, else the size, else the box, else the source's own."""
    if request.like:
        return raster_grid(request.like)
    if request.size is not None:
        return sized_grid(request)
    if request.reference:
        return reference_grid(
            request.reference, request.bbox, request.bbox_crs, request.crs, request.res
        )
    if request.embeddings:
        return grid_of_embeddings(request)
    request = placed(request)
    assert request.bbox is not None  # SynthesizeRequest refuses requests without a place
    res = default_res(request.crs, model) if request.res is None else request.res
    return box_grid(request.bbox, request.bbox_crs, request.crs, res)


def make_plan(request: SynthesizeRequest, model: Model, grid: PixelGrid, source: Source) -> Plan:
    """Count the work; times one batch of the network."""
    sampling = Sampling.of(request.mode, model, request.steps, request.guidance, request.batch)
    layout = layout_of(request.layout, grid, request.wants_charts)
    parts = charts(layout, grid, model, sampling, request.chart or CHART)
    check_reach(parts)
    kinds = Counter(alike(sampling, chart) for chart in parts)
    evaluations = sum(n * sampling.evaluations(chart.canvas) for chart, n in kinds.items())
    height, width = grid.window.shape
    where = f"row {grid.row}, column {grid.col} of the lattice"
    log.info("grid: %d x %d px from %s, %s", width, height, where, grid.crs_name)
    gsd = ground_sample(grid, request.gsd, source.gsd or model.gsd)
    found, told = source.found(), notes(model, grid, gsd, source.coverage)
    return Plan(
        grid=grid,
        layout=layout,
        charts=parts,
        sampling=sampling,
        gsd=gsd,
        source=source.words,
        coverage=source.coverage,
        windows=sum(n * sampling.windows(chart.canvas) for chart, n in kinds.items()),
        evaluations=evaluations,
        seconds=painting_seconds(model, sampling, kinds, height * width / 1e6),
        memory_mb=model_mb(model, sampling) + canvas_mb(model, parts, source),
        disk_mb=2 * 3 * height * width / 1e6,
        model=model.name,
        notes=(*found.notes, *told, *idle(request.workers, len(parts))),
        factor=model.codec.factor,
        found=found.facts,
    )


def model_mb(model: Model, sampling: Sampling) -> float:
    """Resident memory of Python, torch and the model at work, in MB."""
    weights = max(0.0, 4 * model.parameters / 1e6 - SHIPPED_MB)
    if model.codec.halo is not None:
        return MODEL_MB + weights
    pixels = decode_batch(model, sampling) * (sampling.size * model.codec.factor) ** 2
    return MODEL_MB + weights + FEATURES * pixels


def canvas_mb(model: Model, parts: tuple[Chart, ...], source: Source) -> float:
    """Memory of one chart's solver state, field and embeddings, in MB."""
    latents = max(chart.canvas.height * chart.canvas.width for chart in parts)
    cells = latents * (model.codec.factor / model.cell) ** 2
    if isinstance(source.saved, EmbeddingGrid):
        cells = source.saved.valid.size
    state = latents * model.codec.channels * 4 * 6
    field = latents * model.dim * 2
    return (state + field + 4 * cells * model.dim * 4) / 1e6


def notes(model: Model, grid: PixelGrid, gsd: float, coverage: float | None) -> list[str]:
    """Things the user should know before the run."""
    told = []
    low, high = model.gsd_range
    if grid.crs is None:
        told.append(
            "no CRS: the mosaic is in pixel coordinates, and the model is told "
            f"{gsd:g} m per pixel (--gsd METRES for another)"
        )
    if coverage is not None and coverage < 1 - 1e-9:
        told.append(f"the source covers {coverage:.1%}; the rest goes by the nearest valid cell")
    if not 0.8 * low <= gsd <= 1.25 * high:
        told.append(
            f"{gsd:.3g} m per pixel is outside the {low:g} to {high:g} m that {model.name} was "
            "trained on; the picture will show things at the wrong size"
        )
    return told


def idle(workers: int, count: int) -> list[str]:
    """A note on workers that no chart is left for."""
    if workers <= count:
        return []
    return [f"{workers} workers are asked for and the mosaic has {count} charts: {count} will do"]
