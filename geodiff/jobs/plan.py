"""What a mosaic will be and cost, worked out before anything is painted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyproj import Transformer

from geodiff.errors import DataError, UsageError
from geodiff.geo.boxes import parse_crs
from geodiff.geo.embeddings import EmbeddingGrid
from geodiff.geo.grid import PixelGrid, box_grid, raster_grid
from geodiff.geo.raster import Reference
from geodiff.jobs.embed import reference_grid, snap
from geodiff.jobs.request import SynthesizeRequest
from geodiff.jobs.sampling import Sampling
from geodiff.models.bundle import Model
from geodiff.window import Window

MODEL_MB = 900
"""Resident memory of Python, torch and the shipped model (measured with benchmarks/memory.py)."""


@dataclass(frozen=True)
class Plan:
    """The grid of a mosaic and the work it takes."""

    grid: PixelGrid
    canvas: Window  # latents that are painted, on the lattice
    sampling: Sampling
    gsd: float  # metres per pixel that the model is told
    source: str  # what the mosaic goes by, in words
    coverage: float | None  # share of the grid that the source covers
    evaluations: int  # network evaluations of one window
    seconds: float  # estimated from one timed network call
    memory_mb: float  # estimated peak
    disk_mb: float  # working file, uncompressed upper bound
    model: str
    notes: tuple[str, ...]
    factor: int = 8  # pixels a latent

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
            "model": self.model,
            "window_px": self.sampling.size * self.factor,
            "stride_px": self.sampling.stride * self.factor,
            "steps": self.sampling.steps,
            "guidance": self.sampling.guidance,
            "evaluations": self.evaluations,
            "seconds": round(self.seconds, 1),
            "memory_mb": round(self.memory_mb),
            "disk_mb": round(self.disk_mb, 1),
            "notes": list(self.notes),
        }


def target_grid(request: SynthesizeRequest, model: Model) -> PixelGrid:
    """The grid of the mosaic: like, else the box, else the source's own."""
    if request.like:
        return raster_grid(request.like)
    if request.reference:
        return reference_grid(
            request.reference, request.bbox, request.bbox_crs, request.crs, request.res
        )
    if request.embeddings:
        saved = EmbeddingGrid.open(request.embeddings)
        return grid_of_embeddings(request, saved)
    assert request.bbox is not None  # SynthesizeRequest refuses requests without a place
    res = default_res(request, model) if request.res is None else request.res
    return box_grid(request.bbox, request.bbox_crs, request.crs, res)


def default_res(request: SynthesizeRequest, model: Model) -> float:
    """The model's own pixel size in units of the output CRS; refuses degrees."""
    assert request.bbox is not None
    if request.crs is None:
        return model.gsd
    crs = parse_crs(request.crs).proj
    if crs.is_geographic:
        raise UsageError(
            f"--crs {request.crs} counts in degrees: give --res in degrees as well, "
            f"for example --res {model.gsd / 111_320:.7f}"
        )
    return float(model.gsd / crs.axis_info[0].unit_conversion_factor)


def grid_of_embeddings(request: SynthesizeRequest, saved: EmbeddingGrid) -> PixelGrid:
    """All pixels under the saved cells, or those of the box in the cells' CRS and resolution."""
    own = saved.grid
    affine = own.geobox.affine
    pixel = affine.a / saved.cell
    if request.bbox is not None:
        if own.crs is None:
            raise UsageError(
                f"{request.embeddings} has no CRS, so a box cannot be found in it: leave out --bbox"
            )
        if request.crs is not None and request.res is None and parse_crs(request.crs) != own.crs:
            raise UsageError(
                f"--crs {request.crs} differs from the CRS of {request.embeddings}: give --res as "
                "well"
            )
        res = snap(pixel) if request.res is None else request.res
        return box_grid(request.bbox, request.bbox_crs, request.crs or str(own.crs), res)
    return own.pixel_grid(saved.cell)


def make_plan(
    request: SynthesizeRequest, model: Model, grid: PixelGrid, source: str, coverage: float | None
) -> Plan:
    """Count the work; times one batch of the network."""
    sampling = Sampling.of(request.mode, model, request.steps, request.guidance, request.batch)
    canvas = sampling.canvas(grid, model.codec.factor)
    evaluations = sampling.evaluations(canvas)
    height, width = grid.window.shape
    gsd = grid.gsd or model.gsd
    cells = canvas.height * canvas.width
    field = cells * model.encoder.dim * 2
    state = cells * model.codec.channels * 4 * 6
    return Plan(
        grid=grid,
        canvas=canvas,
        sampling=sampling,
        gsd=gsd,
        source=source,
        coverage=coverage,
        evaluations=evaluations,
        seconds=evaluations * seconds_per_window(model, sampling) + height * width / 1e6,
        memory_mb=MODEL_MB + (field + state) / 1e6,
        disk_mb=2 * 3 * height * width / 1e6,
        model=model.name,
        notes=tuple(notes(model, grid, gsd, coverage)),
        factor=model.codec.factor,
    )


def notes(model: Model, grid: PixelGrid, gsd: float, coverage: float | None) -> list[str]:
    """Things the user should know before the run."""
    told = []
    low, high = model.gsd_range
    if grid.crs is None:
        told.append("no CRS: the mosaic is in pixel coordinates, as its source")
    if coverage is not None and coverage < 1 - 1e-9:
        told.append(f"the source covers {coverage:.1%}; the rest goes by the nearest valid cell")
    if not 0.8 * low <= gsd <= 1.25 * high:
        told.append(
            f"{gsd:.3g} m per pixel is outside the {low:g} to {high:g} m that {model.name} was "
            "trained on; the picture will show things at the wrong size"
        )
    return told


@torch.no_grad()
def seconds_per_window(model: Model, sampling: Sampling) -> float:
    """Time of one window in a network call of the job's batch size, on this machine, now."""
    shape = (sampling.batch, model.codec.channels, sampling.size, sampling.size)
    field = torch.zeros(sampling.batch, model.encoder.dim, sampling.size, sampling.size)
    noisy, when = torch.zeros(shape), torch.full((sampling.batch,), 0.5)
    best = float("inf")
    for _ in range(2):
        began = time.perf_counter()
        model.denoiser.velocity(noisy, when, field, model.gsd)
        best = min(best, time.perf_counter() - began)
    return best / sampling.batch


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
